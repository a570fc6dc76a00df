"""A store of bricks by digest: a plain directory that several processes may use at once.

A brick enters by one rename, so a kill at any moment leaves it whole or absent. Names are digests,
so nothing is ever overwritten by anything else.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from medlego.bricks import Brick, Label, load_brick, read_label, save_brick
from medlego.errors import BrickError, StoreError
from medlego.support import ShortRepr, leftovers

SUFFIX = ".brick.safetensors"
LOCK_TIMEOUT_S = 60


def default_store() -> Path:
    """`$MEDLEGO_STORE`, else `medlego/store` under `$XDG_DATA_HOME` or `~/.local/share`."""
    if chosen := os.environ.get("MEDLEGO_STORE"):
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "medlego" / "store"


@dataclass(frozen=True, repr=False)
class Store(ShortRepr):
    """The bricks in one directory, which is made when the first one enters."""

    path: Path

    def digests(self) -> list[str]:
        """Of every brick, sorted."""
        if not self._bricks.is_dir():
            return []
        names = (file.name for file in self._bricks.glob(f"*{SUFFIX}"))
        return sorted(n.removesuffix(SUFFIX) for n in names if not n.startswith("."))

    def file(self, digest: str) -> Path:
        """Where a brick lies, or would lie."""
        return self._bricks / f"{digest}{SUFFIX}"

    def find(self, start: str) -> str:
        """The whole digest that starts so.

        Raises:
            StoreError: none, or several.
        """
        matching = [digest for digest in self.digests() if digest.startswith(start)]
        if len(matching) != 1:
            several = ", ".join(digest[:16] for digest in matching[:4]) or "none"
            raise StoreError(
                f"{self.path}: expected one brick that starts with {start!r}, got {several}; "
                "see medlego store ls"
            )
        return matching[0]

    def add(self, brick: Brick) -> str:
        """Put a brick in; one that is there already stays as it is.

        Returns:
            Its digest.

        Raises:
            StoreError: another process holds the store for too long.
        """
        digest = brick.digest
        self._bricks.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if not self.file(digest).exists():
                save_brick(brick, self.file(digest))
        return digest

    def get(self, start: str) -> Brick:
        """Read and validate the brick whose digest starts so.

        Raises:
            StoreError: none, several, or a file under another brick's name.
            BrickError: the file is damaged.
        """
        digest = self.find(start)
        brick = load_brick(self.file(digest))
        if brick.digest != digest:
            raise StoreError(
                f"{self.file(digest)}: expected the brick of its name, got {brick.digest[:12]}…; "
                "remove it"
            )
        return brick

    def remove(self, start: str) -> str:
        """Delete a brick.

        Returns:
            Its digest.

        Raises:
            StoreError: none or several start so, or the store is held for too long.
        """
        digest = self.find(start)
        self.purge([digest])
        return digest

    def purge(self, digests: Collection[str]) -> list[str]:
        """Delete bricks, and what killed writers left of them, where there is any.

        Returns:
            Digests of those that there was something of, sorted.

        Raises:
            StoreError: the store is held for too long.
        """
        if not self._bricks.is_dir():
            return []
        gone = []
        with self._alone():
            for digest in sorted(digests):
                begun = leftovers(self._bricks, digest)
                files = [file for file in (self.file(digest), *begun) if file.exists()]
                for file in files:
                    file.unlink()
                gone += [digest] * bool(files)
        return gone

    def labels(
        self,
        *,
        task: str | None = None,
        modality: str | None = None,
        body_part: str | None = None,
        base: str | None = None,
    ) -> tuple[list[Label], list[str]]:
        """What the bricks say of themselves, those that match, by task and digest.

        Args:
            task: part of the name, in any case.
            modality, body_part: DICOM words, in any case.
            base: the base's name, or the start of its fingerprint.

        Returns:
            The labels, and a sentence for each file that is no brick.
        """
        labels, problems = [], []
        for digest in self.digests():
            try:
                label = read_label(self.file(digest))
            except BrickError as error:
                problems.append(str(error))
                continue
            matches = (
                task is None or task.casefold() in label.task.name.casefold(),
                modality is None or modality.upper() == label.task.modality,
                body_part is None or body_part.upper() == label.task.body_part,
                base is None
                or base == label.base.name
                or (len(base) >= 6 and label.base.fingerprint.startswith(base)),
            )
            if all(matches):
                labels.append(label)
        return sorted(labels, key=lambda label: (label.task.name, label.digest)), problems

    def collect(self, used: Collection[str] | None = None) -> list[Path]:
        """Delete what killed writers left and, where `used` is given, every brick outside it.

        Returns:
            The files that went.

        Raises:
            StoreError: the store is held for too long.
        """
        if not self._bricks.is_dir():
            return []
        with self._alone():
            gone = [file for file in self._bricks.iterdir() if file.name.startswith(".")]
            if used is not None:
                gone += [self.file(digest) for digest in self.digests() if digest not in used]
            for file in gone:
                file.unlink()
        return gone

    @property
    def _bricks(self) -> Path:
        return self.path / "bricks"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time; the lock of a killed one is free."""
        try:
            with FileLock(self.path / ".lock", timeout=LOCK_TIMEOUT_S):
                yield
        except Timeout:
            raise StoreError(
                f"{self.path}: expected to write alone, got another writer for "
                f"{LOCK_TIMEOUT_S} s; try again when it is done"
            ) from None
