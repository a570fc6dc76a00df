"""A job on disk: what it was begun with, and the parts that are done.

Beside the output lies a folder of the same name with `.job` behind it, until the output is there:

    job.json            what the job is; written before any part
    images.jsonl        the images, one a line
    parts/NNNNNN.parquet    rows of one part's images
    written             SHA-256 of a CSV output; written before that has its name

A Parquet output says itself which job it is of. Beside a CSV one `job.json` and `written` stay.

Every file is renamed into place when it is whole and on the disk, so that the names of the parts
are the journal: a part is done if its file is there, and a kill leaves nothing in between.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from filelock import FileLock, Timeout
from pydantic import Field

from medlego import __version__
from medlego.base import Digest
from medlego.errors import JobError, raise_all
from medlego.merge import Mode
from medlego.prediction.batch.answering import Work
from medlego.prediction.batch.listing import Listing
from medlego.prediction.batch.rows import SCHEMA, flat
from medlego.support import (
    FrozenModel,
    left_out,
    put_in_place,
    read_document,
    read_expected,
    table_suffix,
    write_atomically,
)

SUFFIX = ".job"
LISTING = "images.jsonl"
METADATA = "medlego"
"""The key under which a finished table says which job it is of."""

_DOCUMENT, _PARTS, _PART, _JOINED = "job.json", "parts", ".parquet", "joined"
_WRITTEN = "written"
_MAX_DOCUMENT_BYTES = 1 << 16
_GONE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


class Job(FrozenModel):
    """Everything that decides what a job's table says; two jobs alike in it are one."""

    format: Literal[1]
    medlego: str
    generalist: Digest
    mode: Mode
    task: str | None
    every_task: bool
    any_object: bool = False
    images: Annotated[int, Field(ge=1)]
    images_sha256: Digest
    part_images: Annotated[int, Field(ge=1)]

    _sparse = left_out(any_object=False)

    @classmethod
    def of(cls, work: Work, listing: Listing) -> Job:
        """What is asked, of which images."""
        return cls(
            format=1,
            medlego=__version__,
            generalist=work.generalist,
            mode=work.mode,
            task=work.task,
            every_task=work.every_task,
            any_object=work.any_object,
            images=listing.images,
            images_sha256=listing.sha256,
            part_images=listing.part_images,
        )

    def check_same(self, begun: Job, place: Path, way_out: str) -> None:
        """Refuse to go on with what was begun otherwise.

        Raises:
            JobError: says all that differs.
        """
        mine, other = self.model_dump(), begun.model_dump()
        problems = [
            f"{name}: expected {_short(other[name])} as it was begun with, got {_short(mine[name])}"
            for name in mine
            if mine[name] != other[name]
        ]
        if problems:
            problems[-1] += f"; {way_out}"
        raise_all(JobError, str(place), problems)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a job's folder alone, made if need be; a folder in which nothing began is removed.

    Raises:
        JobError: somebody else is at it, or there is no place for it.
    """
    try:
        folder.mkdir(exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError):
        raise JobError(f"{folder}: expected a place for a folder, got none there") from None
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise JobError(
            f"{folder}: expected to work on it alone, got somebody else at it; wait for them"
        ) from None
    try:
        yield
    finally:
        if not (folder / _DOCUMENT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def begin(folder: Path, job: Job) -> None:
    """Write down what the job is, or see that it is the one that was begun here.

    Raises:
        JobError: another one was.
    """
    file = folder / _DOCUMENT
    if (folder / _WRITTEN).exists() and not (folder / _PARTS).exists():  # its table was deleted
        file.unlink(missing_ok=True)
    if file.exists():
        way_out = f"finish that one first, or delete {folder} to start anew"
        job.check_same(_read(file), folder, way_out)
    else:
        write_atomically(file, job.spelled())
    (folder / _PARTS).mkdir(exist_ok=True)


def _read(file: Path) -> Job:
    try:
        text = read_expected(file, _MAX_DOCUMENT_BYTES, JobError, "what a job was begun with")
        return read_document(Job, text, name=str(file), error=JobError, format=1)
    except JobError as error:
        raise JobError(f"{error}; delete {file.parent} to start anew") from error


def done_parts(folder: Path, listing: Listing) -> set[int]:
    """Numbers of the parts that have every image; what a kill or a disk spoilt is done again."""
    return {n for n in range(len(listing.offsets)) if _is_whole(folder, listing, n)}


def _is_whole(folder: Path, listing: Listing, number: int) -> bool:
    file, start = _part_file(folder, number), number * listing.part_images
    try:
        if pl.read_parquet_schema(file) != SCHEMA:
            return False
        positions = pl.read_parquet(file, columns=["position"])["position"]
    except _GONE:
        return False
    expected = list(range(start, start + listing.span(number)))
    return positions.unique(maintain_order=True).to_list() == expected


def keep_part(folder: Path, number: int, content: bytes) -> None:
    """Write a part that is done."""
    write_atomically(_part_file(folder, number), content)


def _part_file(folder: Path, number: int) -> Path:
    return folder / _PARTS / f"{number:06d}{_PART}"


def finish(folder: Path, job: Job, listing: Listing, output: Path) -> None:
    """Join all parts, in the order of the images, to the output; the folder goes with its lock."""
    files = [_part_file(folder, number) for number in range(len(listing.offsets))]
    joined = folder / _JOINED
    metadata = {METADATA: job.spelled().decode()}
    try:
        rows = pl.scan_parquet(files, glob=False)
        if _is_csv(output):
            flat(rows).sink_csv(joined, maintain_order=True)
            write_atomically(folder / _WRITTEN, _sha256(joined))
        else:
            rows.sink_parquet(joined, metadata=metadata, maintain_order=True)
    except _GONE as error:
        raise JobError(
            f"{folder}: expected parts that can be joined and room for the table, got "
            f"{type(error).__name__}; see to the disk and start again, what is done is kept"
        ) from error
    put_in_place(joined, output)
    clear(folder, output)


def clear(folder: Path, output: Path) -> None:
    """Take a finished job's folder away, the document last of what a later run looks at."""
    shutil.rmtree(folder / _PARTS, ignore_errors=True)
    if _is_csv(output):
        (folder / LISTING).unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def job_of(output: Path) -> Job:
    """The job that wrote a table.

    Raises:
        JobError: none did.
    """
    try:
        if _is_csv(output):
            folder = output.with_name(f"{output.name}{SUFFIX}")
            if (folder / _WRITTEN).read_bytes() != _sha256(output):
                raise KeyError(_WRITTEN)
            return _read(folder / _DOCUMENT)
        text = pl.read_parquet_metadata(output)[METADATA].encode()
        return read_document(Job, text, name=str(output), error=JobError)
    except (*_GONE, KeyError, JobError):
        raise JobError(
            f"{output}: expected a new file, found one that no job wrote; choose another"
        ) from None


def scan(output: Path) -> pl.LazyFrame:
    """A finished table's image, task and outcome of each answer."""
    if _is_csv(output):
        columns = ("position", "task", "outcome")
        return pl.scan_csv(output, glob=False, infer_schema=False).select(columns).unique()
    return pl.scan_parquet(output, glob=False)


def _is_csv(output: Path) -> bool:
    return table_suffix(output) == ".csv"


def _sha256(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest().encode()


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text[1:13]}…" if isinstance(value, str) and len(value) == 64 else text
