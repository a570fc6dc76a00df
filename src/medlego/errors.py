"""Every error that medlego raises on purpose.

    MedLegoError
    ├── InputError          what came in is wrong: the CLI exits with 2
    │   ├── ImageError          an image file
    │   ├── DatasetError        a folder, manifest or npz of images
    │   ├── BaseError           a base's name, weights or input size
    │   ├── BrickError          a brick, or the file that should hold one
    │   ├── MergeError          bricks that do not go together, or a method's settings
    │   ├── GeneralistError     a generalist's directory, or an edit of it
    │   ├── StoreError          a store of bricks, or a place that bricks are pushed to
    │   ├── InteropError        another tool's file, or a brick that it cannot hold
    │   ├── SignatureError      a key, a signature, or who may sign what
    │   ├── JobError            a job over many images that cannot go on as it was begun
    │   └── SettingsError       training settings
    └── FailureError        the work itself failed: the CLI exits with 1
        ├── TrainingError       training diverged
        ├── CheckError          a claim that was to be checked does not hold
        ├── DownloadError       a file could not be fetched whole
        └── PacsError           a picture archive refused what it was asked
            └── PacsAwayError       it does not answer now, and may later

A message reads `<subject>: expected <rule>, got <value>; <next step>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class MedLegoError(Exception):
    """Root of every error that medlego raises on purpose."""

    exit_code = 1


class InputError(MedLegoError):
    """Something that was handed in is wrong."""

    exit_code = 2


class ImageError(InputError):
    """An image file cannot be read as what it claims to be."""


class NoPatientImageError(ImageError):
    """A DICOM object is whole, but no image of a patient: a segmentation, a localizer, a report."""


class DatasetError(InputError):
    """A data set's files, labels or splits are wrong."""


class BaseError(InputError):
    """A base's name, weights or input size are wrong."""


class BrickError(InputError):
    """A brick, or the file that should hold one, is wrong."""


class MergeError(InputError):
    """Bricks that do not go together, or a merge method's settings."""


class GeneralistError(InputError):
    """A generalist's directory, or an edit of it, is wrong."""


class StoreError(InputError):
    """A store of bricks, or a place that bricks are pushed to or pulled from."""


class InteropError(InputError):
    """Another tool's file is wrong, or what is to be exported does not fit into one."""


class SignatureError(InputError):
    """A key, a signature or a trust file is wrong, or something is not signed as it must be."""


class JobError(InputError):
    """A job over many images, begun with something else or held by somebody else."""


class SettingsError(InputError):
    """Training settings are wrong."""


class FailureError(MedLegoError):
    """The input was fine and the work still failed."""


class TrainingError(FailureError):
    """Training diverged or could not go on."""


class CheckError(FailureError):
    """A claim that was to be checked does not hold."""


class DownloadError(FailureError):
    """A file could not be fetched whole."""


class PacsError(FailureError):
    """A picture archive refused what it was asked, or answered something else."""


class PacsAwayError(PacsError):
    """A picture archive does not answer at the moment; trying again later makes sense."""


class PacsObjectError(PacsError):
    """A picture archive fails on one object; others may go well, and this one later."""


@contextmanager
def collect(problems: list[str], error: type[MedLegoError] = MedLegoError) -> Iterator[None]:
    """Note an error as one more problem instead of letting it out, so that others are found too."""
    try:
        yield
    except error as problem:
        problems.append(str(problem))


def raise_all(error: type[MedLegoError], subject: str, problems: Sequence[str]) -> None:
    """Raise one error that lists every problem; return quietly where there is none.

    Args:
        error: the class to raise.
        subject: what the problems are about, for example a file's path.
        problems: sentences of the form `<field>: expected <rule>, got <value>; <next step>`.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise error(f"{subject}: {problems[0]}")
    listed = "\n".join(f"  - {problem}" for problem in problems)
    raise error(f"{subject}: {len(problems)} problems\n{listed}")
