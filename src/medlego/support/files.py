"""Reading files of bounded size; writing them so that nobody ever sees half of one."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medlego.errors import MedLegoError

TEMPORARY = ".tmp"
"""How names end of what is still being written: `.NAME.????????.tmp`, as `tempfile` makes them."""
_BEGUN = re.compile(r"\.(.+)\.[a-z0-9_]{8}" + re.escape(TEMPORARY))


def leftovers(folder: Path, name: str = "") -> list[Path]:
    """What writers of a folder began and never finished, where the name to be begins so.

    Hold the folder alone: otherwise a writer may still be at it.
    """
    begun = ((path, _BEGUN.fullmatch(path.name)) for path in folder.glob(f".*{TEMPORARY}"))
    return sorted(path for path, match in begun if match and match[1].startswith(name))


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file beside it, fsync and rename.

    A device or pipe, such as `/dev/null` or `/dev/stdout`, is written into and stays what it is.

    Raises:
        OSError: the directory is missing or not writable; `path` is then as it was.
    """
    if _is_device(path):
        with path.open("wb") as stream:
            stream.write(content)
        return
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _is_device(path: Path) -> bool:
    if re.fullmatch("/dev|/dev/fd|/proc/(self|[0-9]+)/fd", str(path.absolute().parent)):
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def put_in_place(finished: Path, path: Path) -> None:
    """Give a file that was written on the same file system its name, once it is on the disk."""
    with finished.open("rb+") as stream:
        os.fsync(stream.fileno())
    finished.replace(path)
    _sync_directory(path.parent)


def read_expected(path: Path, limit: int, error: type[MedLegoError], what: str) -> bytes:
    """The content of a file that somebody names, or one error that says what was expected there.

    Args:
        path: the file.
        limit: bytes at most.
        error: the class to raise.
        what: for the message, for example `a trust file`.

    Raises:
        MedLegoError: of the class given: nothing there, not readable, a folder or device, or too
            large; nothing of it was read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: expected {what}, got a folder or device")
        if status.st_size > limit:
            raise error(f"{path}: expected at most {limit:,} bytes, got {status.st_size:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path}: expected {what}, found nothing there") from None
    except OSError as failure:
        raise error(f"{path}: expected a readable file ({failure.strerror})") from failure


def cache_directory() -> Path:
    """Where medlego keeps bases and downloads: `$MEDLEGO_CACHE`, else `~/.cache/medlego`."""
    if own := os.environ.get("MEDLEGO_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medlego"


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def scratch_beside(goal: Path) -> Iterator[Path]:
    """A folder on the goal's file system, to be renamed to it when it is whole; else it goes."""
    scratch = Path(tempfile.mkdtemp(TEMPORARY, f".{goal.name}.", goal.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
