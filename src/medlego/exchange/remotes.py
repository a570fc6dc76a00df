"""Places that bricks are pushed to and pulled from: directories, fsspec's URLs, Hugging Face's hub.

What comes from a place is trusted no more than any file: a brick enters the store only whole and
under its own digest.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from medlego.bricks import MAX_FILE_BYTES, brick_bytes, brick_from_bytes
from medlego.errors import BrickError, MedLegoError, StoreError, raise_all
from medlego.exchange.store import SUFFIX, Store
from medlego.support import Progress, silent, unreachable

HUB = "hf://"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)[\w./-]+")
_STEPS = {
    401: "it is private or not there: hf auth login, or check the name",
    403: "your token may not do that: hf auth login with another",
    404: "it is not there, or private: check the name, or hf auth login",
    412: "somebody changed it meanwhile: try again",
}
"""What to do about an answer of the hub."""


class BrickPlace(Protocol):
    """Bricks by digest, somewhere else."""

    def digests(self) -> list[str]:
        """Of every brick that lies there, sorted."""

    def read(self, digest: str) -> bytes:
        """A brick file's content, not checked."""

    def write(self, contents: Mapping[str, Callable[[], bytes]]) -> None:
        """Put brick files there, each whole or not at all."""


def open_place(url: str) -> BrickPlace:
    """A directory, any URL that fsspec opens, or `hf://OWNER/NAME[@REVISION]`.

    Raises:
        StoreError: no such kind of URL, a package for it is missing, or no network.
    """
    if url.startswith(HUB):
        place = HubPlace.parse(url)
        need_network(url, place.endpoint)
        return place
    import fsspec

    need_network(url, url)
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise StoreError(f"{url}: expected a directory or a URL of fsspec ({error})") from error
    return FilePlace(system, root.rstrip("/") or "/", url)


def need_network(place: str, address: str) -> None:
    """Fail within seconds where an address cannot be reached.

    Raises:
        StoreError: no network, or nothing answers there.
    """
    if (problem := unreachable(address)) is not None:
        raise StoreError(
            f"{place}: expected a place that can be read and written, got {problem}; connect to a "
            "network, or correct the address"
        )


def push(
    store: Store, url: str, digests: Sequence[str] | None = None, *, show: Progress = silent
) -> list[str]:
    """Copy bricks to a place; those that are there already stay as they are.

    Args:
        store: where they come from; each is validated before it leaves.
        url: see `open_place`.
        digests: starts of digests; all bricks by default.
        show: told how many were read.

    Returns:
        Digests of those that were missing there.

    Raises:
        StoreError: no such brick, or the place does not take them.
        BrickError: a brick in the store is damaged.
    """
    chosen = store.digests() if digests is None else [store.find(start) for start in digests]
    place = open_place(url)
    with reached(url):
        there = set(place.digests())
    missing = [digest for digest in dict.fromkeys(chosen) if digest not in there]
    contents: dict[str, Callable[[], bytes]] = {}
    for number, digest in enumerate(missing):
        show("checking bricks", number, len(missing))
        contents[digest] = partial(brick_bytes, store.get(digest))
    with reached(url):
        place.write(contents)
    return missing


def pull(
    store: Store, url: str, digests: Sequence[str] | None = None, *, show: Progress = silent
) -> list[str]:
    """Copy bricks from a place into the store; those that are there already stay as they are.

    Args:
        store: where they go; each is validated before it enters.
        url: see `open_place`.
        digests: starts of digests; all bricks of the place by default.
        show: told how many were read.

    Returns:
        Digests of those that were missing in the store.

    Raises:
        StoreError: no such brick there, the place cannot be read, or files there that are no sound
            bricks; the sound ones have entered then.
    """
    place = open_place(url)
    with reached(url):
        there = place.digests()
    chosen = there if digests is None else [_only(there, start, url) for start in digests]
    present = set(store.digests())
    missing = [digest for digest in dict.fromkeys(chosen) if digest not in present]
    entered, problems = [], []
    for number, digest in enumerate(missing):
        show("pulling bricks", number, len(missing))
        with reached(url):
            content = place.read(digest)
        try:
            brick = brick_from_bytes(content, f"{url}: {digest[:12]}")
        except BrickError as error:
            problems.append(str(error))
            continue
        if brick.digest != digest:
            problems.append(
                f"{digest[:12]}…: expected the brick of its name, got {brick.digest[:12]}…"
            )
            continue
        entered.append(store.add(brick))
    raise_all(StoreError, url, problems)
    return entered


class FilePlace:
    """A folder of a file system that fsspec knows."""

    def __init__(self, system: Any, root: str, url: str) -> None:
        self._system, self._root, self._url = system, root, url

    def digests(self) -> list[str]:
        """See `BrickPlace`."""
        if not self._system.exists(self._root):
            return []
        names = (path.rsplit("/", 1)[-1] for path in self._system.ls(self._root, detail=False))
        return sorted(n.removesuffix(SUFFIX) for n in names if n.endswith(SUFFIX) and n[0] != ".")

    def read(self, digest: str) -> bytes:
        """See `BrickPlace`."""
        path = f"{self._root}/{digest}{SUFFIX}"
        if (size := self._system.size(path)) is not None and size > MAX_FILE_BYTES:
            raise StoreError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes, got {size:,}")
        content: bytes = self._system.cat_file(path)
        return content

    def write(self, contents: Mapping[str, Callable[[], bytes]]) -> None:
        """See `BrickPlace`: under a name of its own, then renamed."""
        self._system.makedirs(self._root, exist_ok=True)
        for digest, content in contents.items():
            scratch = f"{self._root}/.{digest}.{uuid.uuid4().hex}.tmp"
            try:
                self._system.pipe_file(scratch, content())
                self._system.mv(scratch, f"{self._root}/{digest}{SUFFIX}")
            except BaseException:
                if self._system.exists(scratch):
                    self._system.rm_file(scratch)
                raise


class HubPlace:
    """A model repository of the Hugging Face hub, with the bricks in `bricks/`.

    The token is huggingface_hub's own (`hf auth login` or `HF_TOKEN`), the address its
    `HF_ENDPOINT`. A push is one commit.
    """

    def __init__(self, repository: str, revision: str | None = None) -> None:
        self._repository, self._revision = repository, revision
        self._api = hub_api()

    @property
    def endpoint(self) -> str:
        """The hub's address."""
        return str(self._api.endpoint)

    @classmethod
    def parse(cls, url: str) -> HubPlace:
        """From `hf://OWNER/NAME[@REVISION]`.

        Raises:
            StoreError: another form.
        """
        return cls(*hub_address(url))

    def digests(self) -> list[str]:
        """See `BrickPlace`."""
        names = self._api.list_repo_files(self._repository, revision=self._revision)
        inside = (n.removeprefix("bricks/") for n in names if n.startswith("bricks/"))
        return sorted(n.removesuffix(SUFFIX) for n in inside if n.endswith(SUFFIX))

    def read(self, digest: str) -> bytes:
        """See `BrickPlace`."""
        path = self._api.hf_hub_download(
            self._repository, f"bricks/{digest}{SUFFIX}", revision=self._revision
        )
        return Path(path).read_bytes()

    def write(self, contents: Mapping[str, Callable[[], bytes]]) -> None:
        """See `BrickPlace`."""
        from huggingface_hub import CommitOperationAdd

        if not contents:
            return
        self._api.create_commit(
            self._repository,
            [
                CommitOperationAdd(f"bricks/{digest}{SUFFIX}", content())
                for digest, content in contents.items()
            ],
            commit_message=f"Add {len(contents)} brick{'s' * (len(contents) > 1)}",
            revision=self._revision,
        )


def hub_api() -> Any:
    """The hub's client, at `HF_ENDPOINT` where that is set."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def hub_address(text: str, revision: str | None = None) -> tuple[str, str | None]:
    """The repository and the revision of `OWNER/NAME[@REVISION]`, with `hf://` before or without.

    Raises:
        StoreError: another form, or a revision in the text and another beside it.
    """
    repository, _, stated = text.removeprefix(HUB).partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise StoreError(f"{text}: expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    if stated and revision and stated != revision:
        raise StoreError(f"{text}: expected one revision, got {revision!r} too; leave one out")
    if (wanted := revision or stated) and not _REVISION.fullmatch(wanted):
        raise StoreError(
            f"{text}: expected a branch, a tag or a commit of letters, digits and . _ / - without "
            f"'..', got {wanted[:100]!r}; correct it"
        )
    return repository, wanted or None


def _only(digests: Collection[str], start: str, url: str) -> str:
    matching = [digest for digest in digests if digest.startswith(start)]
    if len(matching) != 1:
        several = ", ".join(digest[:16] for digest in matching[:4]) or "none"
        raise StoreError(f"{url}: expected one brick that starts with {start!r}, got {several}")
    return matching[0]


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Whatever a file system or the network raises becomes one error that names the place."""
    try:
        yield
    except MedLegoError:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        step = f"; {_STEPS[status]}" if status in _STEPS else ""
        message = " ".join(str(error).split())[:200]
        raise StoreError(
            f"{url}: expected a place that can be read and written, got "
            f"{type(error).__name__}: {message}{step}"
        ) from error
