"""What a watch has done, on disk: which images were answered by which recipe.

Results have UIDs that follow from image and recipe, so work that was cut short is simply done
again. The journal saves the doing: it keeps what is settled, and when work was begun, so that a
second attempt makes the same bytes as the first. It holds UIDs, no patient's name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from medlego.errors import SettingsError

FILE = "journal.sqlite"
MAX_ATTEMPTS = 5
"""Times that work on an image may end without a word before the image is given up."""

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


class Journal:
    """A folder's journal, held by one process at a time; every change is on disk when it returns.

    `outcome` is `begun`, `answered`, `refused` (no image, or the archive did not take the results;
    `note` says which) or `passed` (the rule does not fit; `note` has its digest).
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, folder: str | Path) -> Iterator[Journal]:
        """Open the journal of a folder, made where it is missing; nobody else may hold it.

        Raises:
            SettingsError: another process holds it, or the file is no journal.
        """
        folder = Path(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise SettingsError(
                f"{folder}: expected a folder that no other watch uses, got one in use; "
                "stop that one, or choose another folder"
            ) from None
        try:
            connection = sqlite3.connect(folder / FILE, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_TABLE)
            except sqlite3.DatabaseError:
                connection.close()
                raise SettingsError(
                    f"{folder / FILE}: expected a watch's journal, got another file; "
                    "choose another folder"
                ) from None
            try:
                yield cls(connection)
            finally:
                connection.close()
        finally:
            lock.release()

    def settled(self, sop_uid: str, rule: str) -> bool:
        """Whether nothing is left to do for an image while the rule of this digest holds."""
        row = self._row(sop_uid)
        if row is None or row[0] == "begun":
            return False
        return row[0] != "passed" or row[1] == rule

    def begin(self, sop_uid: str, recipe: str, now: datetime) -> datetime | None:
        """Note that work on an image begins.

        Returns:
            When it first began with this recipe, to date results by; None where it was begun too
            often and is given up.
        """
        found = self._connection.execute(
            "SELECT begun, attempts FROM image "
            "WHERE sop_uid = ? AND outcome = 'begun' AND recipe = ?",
            (sop_uid, recipe),
        ).fetchone()
        begun, attempts = found or (now.isoformat(), 0)
        if attempts >= MAX_ATTEMPTS:
            self._settle(sop_uid, "refused", recipe, f"given up after {attempts} attempts")
            return None
        self._connection.execute(
            "INSERT OR REPLACE INTO image VALUES (?, 'begun', ?, ?, ?, '')",
            (sop_uid, recipe, begun, attempts + 1),
        )
        return datetime.fromisoformat(begun)

    def postpone(self, sop_uid: str) -> None:
        """Note that work ended for no fault of the image's: the attempt does not count."""
        self._connection.execute(
            "UPDATE image SET attempts = attempts - 1 WHERE sop_uid = ? AND outcome = 'begun'",
            (sop_uid,),
        )

    def answered(self, sop_uid: str, recipe: str) -> None:
        """Note that the archive has the results."""
        self._settle(sop_uid, "answered", recipe, "")

    def refused(self, sop_uid: str, recipe: str, note: str) -> None:
        """Note that there will be no results, and why."""
        self._settle(sop_uid, "refused", recipe, note)

    def passed(self, sop_uid: str, rule: str) -> None:
        """Note that the rule of this digest does not fit."""
        self._settle(sop_uid, "passed", "", rule)

    def counts(self) -> dict[str, int]:
        """Images by outcome."""
        query = "SELECT outcome, count(*) FROM image GROUP BY outcome ORDER BY outcome"
        return dict(self._connection.execute(query).fetchall())

    def attempts(self, sop_uid: str) -> int:
        """How often work on an image was begun and ended without a word."""
        row = self._connection.execute(
            "SELECT attempts FROM image WHERE sop_uid = ? AND outcome = 'begun'", (sop_uid,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _row(self, sop_uid: str) -> tuple[str, str] | None:
        query = "SELECT outcome, note FROM image WHERE sop_uid = ?"
        row: tuple[str, str] | None = self._connection.execute(query, (sop_uid,)).fetchone()
        return row

    def _settle(self, sop_uid: str, outcome: str, recipe: str, note: str) -> None:
        self._connection.execute(
            "INSERT INTO image (sop_uid, outcome, recipe, note) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (sop_uid) DO UPDATE SET "
            "outcome = excluded.outcome, recipe = excluded.recipe, note = excluded.note",
            (sop_uid, outcome, recipe, note),
        )
