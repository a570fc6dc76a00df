"""What a watch has done, on disk: which images were answered by which recipe.

Results have UIDs that follow from image and recipe, so interrupted work is simply done again. The
journal saves work: it keeps what is settled, and when work was begun, so that a second attempt
makes the same bytes as the first. It holds UIDs, no patient's name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from medlego.errors import SettingsError
from medlego.support import NoPickle

FILE = "journal.sqlite"
MAX_ATTEMPTS = 5
"""Times that the process may end during work on an image before the image is given up."""

Outcome = Literal["answered", "refused", "passed", "postponed"]
"""Of an image: the archive has its results; there will be none; the rule does not fit; the archive
failed on it, and it is tried again. The first three are settled."""

_TABLE = """
CREATE TABLE IF NOT EXISTS image (
    sop_uid TEXT PRIMARY KEY,
    outcome TEXT NOT NULL CHECK (outcome IN ('begun', 'answered', 'refused', 'passed')),
    recipe TEXT NOT NULL DEFAULT '',
    begun TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT ''
) STRICT
"""


class Journal(NoPickle, instead="open its folder there, once this one is closed"):
    """A folder's journal, held by one process at a time; every change is on disk when it returns.

    `note` says why an image was refused, or has the digest of the rule that did not fit.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._execute = connection.execute

    @classmethod
    @contextmanager
    def open(cls, folder: str | Path) -> Iterator[Journal]:
        """Open the journal of a folder, made where it is missing; no other process may hold it.

        Raises:
            SettingsError: no folder, another process holds it, or the file is no journal.
        """
        folder = Path(folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SettingsError(
                f"{folder}: expected a folder for the journal, got a file; choose another"
            ) from None
        with ExitStack() as stack:
            try:
                stack.enter_context(FileLock(folder / ".lock", timeout=0))
                connection = sqlite3.connect(folder / FILE, isolation_level=None)
                stack.callback(connection.close)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_TABLE)
            except Timeout:
                raise SettingsError(
                    f"{folder}: expected a folder that no other watch uses, got one in use; "
                    "stop that one, or choose another folder"
                ) from None
            except sqlite3.DatabaseError:
                raise SettingsError(
                    f"{folder / FILE}: expected a watch's journal, got another file; "
                    "choose another folder"
                ) from None
            yield cls(folder, connection)

    def settled(self, sop_uid: str, rule: str) -> bool:
        """Whether nothing is left to do for an image while the rule of this digest holds."""
        query = "SELECT outcome, note FROM image WHERE sop_uid = ?"
        outcome, note = self._execute(query, (sop_uid,)).fetchone() or ("begun", "")
        return outcome != "begun" and (outcome != "passed" or note == rule)

    def begin(self, sop_uid: str, recipe: str, now: datetime) -> datetime | None:
        """Note that work on an image begins.

        Returns:
            When it first began with this recipe, to date results by; None where it was begun too
            often and is given up.
        """
        row = self._execute(
            "SELECT begun, attempts FROM image "
            "WHERE sop_uid = ? AND outcome = 'begun' AND recipe = ?",
            (sop_uid, recipe),
        ).fetchone()
        begun, attempts = row or (now.isoformat(), 0)
        if attempts >= MAX_ATTEMPTS:
            self.settle(sop_uid, "refused", recipe, f"given up after {attempts} attempts")
            return None
        self._execute(
            "INSERT OR REPLACE INTO image VALUES (?, 'begun', ?, ?, ?, '')",
            (sop_uid, recipe, begun, attempts + 1),
        )
        return datetime.fromisoformat(begun)

    def settle(self, sop_uid: str, outcome: Outcome, recipe: str, note: str = "") -> None:
        """Note an image's outcome; an attempt that is postponed does not count."""
        if outcome == "postponed":
            self._execute(
                "UPDATE image SET attempts = attempts - 1 WHERE sop_uid = ? AND outcome = 'begun'",
                (sop_uid,),
            )
            return
        self._execute(
            "INSERT INTO image (sop_uid, outcome, recipe, note) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (sop_uid) DO UPDATE SET "
            "outcome = excluded.outcome, recipe = excluded.recipe, note = excluded.note",
            (sop_uid, outcome, recipe, note),
        )

    def counts(self) -> dict[str, int]:
        """Images by outcome."""
        query = "SELECT outcome, count(*) FROM image GROUP BY outcome ORDER BY outcome"
        return dict(self._execute(query).fetchall())

    def attempts(self, sop_uid: str) -> int:
        """How often the process ended during work on an image."""
        row = self._execute(
            "SELECT attempts FROM image WHERE sop_uid = ? AND outcome = 'begun'", (sop_uid,)
        ).fetchone()
        return 0 if row is None else int(row[0])
