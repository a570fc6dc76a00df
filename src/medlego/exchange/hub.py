"""One brick or one generalist as a model repository of the Hugging Face hub.

The files lie as in a generalist's directory; a lone brick has `bricks/` and `signatures/` of it, so
that `store pull` finds the bricks of either. Nothing that arrives is taken on trust: only files of
these names, of bounded size, are fetched, and they are checked as any others before they land.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medlego.bricks import (
    MAX_FILE_BYTES,
    SIGNATURE_SUFFIX,
    Brick,
    BrickSignature,
    load_brick,
    load_signature,
    save_brick,
    save_signature,
    signature_beside,
)
from medlego.errors import StoreError, raise_all
from medlego.evaluation import Evaluated, Facts, brick_card, generalist_card
from medlego.exchange.remotes import hub_address, hub_api, need_network, reached
from medlego.exchange.store import SUFFIX
from medlego.generalist import DOCUMENT, Generalist, Trust, named_digests, verify
from medlego.support import Progress, ShortRepr, cache_directory, scratch_beside, silent

CARD = "README.md"
MAX_FILES = 10_000
MAX_BYTES = 32 << 30
"""Of one repository's files together."""

_NAME = re.compile(
    rf"{re.escape(DOCUMENT)}|bricks/[0-9a-f]{{64}}{re.escape(SUFFIX)}|recipes/[0-9a-f]{{64}}\.json"
    rf"|heads/[0-9a-f]{{64}}\.head\.safetensors|merged/[0-9a-f]{{64}}\.safetensors"
    rf"|signatures/[0-9a-f]{{64}}{re.escape(SIGNATURE_SUFFIX)}"
)
"""Files that are fetched; a card and whatever else lies there is left where it is."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, eq=False, repr=False)
class HubCopy(ShortRepr):
    """What a repository held at a commit, checked, and where it lies now.

    `path` is a brick's file or a generalist's directory. `signed_by` names the trusted keys that
    vouch for the bricks, empty where no trust file was given.
    """

    repository: str = field(repr=False)
    commit: str
    content: Brick | Generalist
    path: Path = field(repr=False)
    signed_by: tuple[str, ...] = ()


def push_to_hub(
    content: Brick | Generalist | str | Path,
    repository: str,
    *,
    facts: Facts = Facts(),
    evaluated: Evaluated | None = None,
    public: bool = False,
    show: Progress = silent,
) -> str:
    """Publish a brick or a generalist with its card, as one commit.

    What the repository held of the same kind before gives way; earlier commits keep it.

    Args:
        content: itself, or a brick file (with the signature beside it) or a directory.
        repository: `OWNER/NAME`, or with `@BRANCH`; made if it is not there.
        facts: what people state, for the card.
        evaluated: its numbers, for the card.
        public: whether a repository that is made can be read by everybody.
        show: called with what is under way.

    Returns:
        The commit.

    Raises:
        StoreError: no network, no right to write, or the repository holds something else.
        BrickError, GeneralistError: a path holds neither.
        SettingsError: the numbers are of another model.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name, branch = hub_address(repository)
    signature = None
    if not isinstance(content, Brick | Generalist):
        path = Path(content)
        if path.is_dir():
            content = Generalist.load(path)
        else:
            content, signature = load_brick(path), signature_beside(path)
    api = _connect(repository)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "content"
        if isinstance(content, Brick):
            card = brick_card(content, facts=facts, evaluated=evaluated, signature=signature)
            _lay_out(content, signature, place)
        else:
            card = generalist_card(content, facts=facts, evaluated=evaluated)
            content.save(place)
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        names = {path.relative_to(place).as_posix(): path for path in files}
        show("uploading", 0, len(names))
        with reached(repository):
            api.create_repo(name, private=not public, exist_ok=True)
            info = api.model_info(name, revision=branch)
            listed = (file.rfilename for file in info.siblings or ())
            there = {file for file in listed if _NAME.fullmatch(file)}
            _check_kind(content, there, repository)
            operations: list[CommitOperationAdd | CommitOperationDelete]
            operations = [CommitOperationAdd(CARD, card.encode())]
            operations += [CommitOperationAdd(own, str(path)) for own, path in names.items()]
            operations += [CommitOperationDelete(old) for old in sorted(there - set(names))]
            done = api.create_commit(
                name,
                operations,
                commit_message=_title(content),
                revision=branch,
                parent_commit=info.sha,
            )
    return str(done.oid)


def from_hub(
    repository: str,
    output: str | Path | None = None,
    *,
    revision: str | None = None,
    trust: Trust | str | Path | None = None,
    show: Progress = silent,
) -> HubCopy:
    """Fetch a brick or a generalist, check it, and only then let it land.

    A generalist is merged anew from its bricks, as `medlego edit verify` does.

    Args:
        repository: `OWNER/NAME`, or with `@REVISION`.
        output: brick file or directory to write, new; by default the cache, by commit.
        revision: a branch, a tag or a commit; the default branch otherwise.
        trust: whose signatures every brick, those of earlier states too, and every entry of a
            lineage must have.
        show: called with files done and files in all.

    Raises:
        StoreError: no network, no such repository or revision, another commit than the one asked
            for, unsafe or too many or too large files, neither a brick nor a generalist, or a claim
            that does not hold.
        BrickError, GeneralistError, SignatureError: a file is damaged or not signed as it must be.
    """
    name, wanted = hub_address(repository, revision)
    for there in () if output is None else (output, f"{output}{SIGNATURE_SUFFIX}"):
        if Path(there).exists():
            raise StoreError(
                f"{there}: expected a new place, found something there; choose another"
            )
    accepted = trust if trust is None or isinstance(trust, Trust) else Trust.load(trust)
    cache = cache_directory() / "hub" / name.replace("/", "--")
    pinned = (wanted or "").lower()
    if not _COMMIT.fullmatch(pinned):
        pinned = ""
    commit = pinned
    if output is not None or not pinned or not (cache / pinned).is_dir():
        api = _connect(repository)
        with reached(repository):
            info = api.model_info(name, revision=wanted, files_metadata=True)
        if not _COMMIT.fullmatch(commit := str(info.sha)):
            raise StoreError(f"{repository}: expected a commit's digest, got {commit[:60]!r}")
        if pinned and commit != pinned:
            raise StoreError(
                f"{repository}: expected commit {pinned}, got {commit}; check the address"
            )
    if output is None and (cache / commit).is_dir():
        content, path, signed = _checked(cache / commit, accepted, repository)
        return HubCopy(name, commit, content, path, signed)
    files = _expected_files({f.rfilename: f.size for f in info.siblings or ()}, repository)
    goal = cache / commit if output is None else Path(output)
    goal.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(goal) as scratch:
        for number, file in enumerate(_in_turn(files, scratch)):
            show("downloading", number, len(files))
            with reached(repository):
                api.hf_hub_download(name, file, revision=commit, local_dir=scratch)
        shutil.rmtree(scratch / ".cache", ignore_errors=True)  # the library's notes
        show("checking", 0, 0)
        content, path, signed = _checked(scratch, accepted, repository)
        if isinstance(content, Brick) and output is not None:
            signature = _signature(scratch, content)
            if signature is not None and signature.digest == content.digest:
                save_signature(signature, f"{goal}{SIGNATURE_SUFFIX}")
            save_brick(content, goal)
            return HubCopy(name, commit, content, goal, signed)
        scratch.chmod(0o755)
        try:
            scratch.replace(goal)
        except OSError:
            if output is not None or not goal.is_dir():
                raise  # else another process had the same commit first
    if isinstance(content, Generalist):
        content = Generalist.load(goal)  # its earlier states are read from where it lies
    return HubCopy(name, commit, content, goal / path.relative_to(scratch), signed)


def _connect(repository: str) -> Any:
    api = hub_api()
    need_network(repository, str(api.endpoint))
    return api


def _lay_out(brick: Brick, signature: BrickSignature | None, place: Path) -> None:
    (place / "bricks").mkdir(parents=True)
    save_brick(brick, place / "bricks" / f"{brick.digest}{SUFFIX}")
    if signature is not None and signature.digest == brick.digest:
        (place / "signatures").mkdir()
        save_signature(signature, place / "signatures" / f"{brick.digest}{SIGNATURE_SUFFIX}")


def _check_kind(content: Brick | Generalist, there: set[str], repository: str) -> None:
    """Refuse to replace what is of another kind."""
    bricks = sum(name.startswith("bricks/") for name in there)
    if isinstance(content, Generalist) and bricks and DOCUMENT not in there:
        raise StoreError(f"{repository}: expected a generalist's place, got bricks; choose another")
    if isinstance(content, Brick) and (DOCUMENT in there or bricks > 1):
        got = "a generalist" if DOCUMENT in there else f"{bricks} bricks"
        raise StoreError(
            f"{repository}: expected one brick's place, got {got}; choose another, or medlego "
            "store push"
        )


def _title(content: Brick | Generalist) -> str:
    if isinstance(content, Brick):
        return f"Brick {content.task.name} {content.digest[:12]}"
    return f"Generalist {content.recipe.digest[:12]}"


def _expected_files(sizes: Mapping[str, int | None], repository: str) -> list[str]:
    """Names to fetch.

    Raises:
        StoreError: names that lead elsewhere, or too much.
    """
    unsafe = [
        name
        for name in sizes
        if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name
    ]
    problems = [f"expected names below the repository, got {name[:100]!r}" for name in unsafe]
    chosen = sorted(name for name in sizes if _NAME.fullmatch(name))
    if len(chosen) > MAX_FILES:
        problems.append(f"expected at most {MAX_FILES:,} files, got {len(chosen):,}")
    if (total := sum(sizes[name] or 0 for name in chosen)) > MAX_BYTES:
        problems.append(f"expected at most {MAX_BYTES:,} bytes in all, got {total:,}")
    problems += [
        f"{name}: expected at most {MAX_FILE_BYTES:,} bytes, got {size}"
        for name in chosen
        if (size := sizes[name]) is None or size > MAX_FILE_BYTES
    ]
    if DOCUMENT not in chosen and sum(name.startswith("bricks/") for name in chosen) != 1:
        problems.append(
            f"expected a generalist or one brick, got {len(chosen)} files of medlego; medlego "
            "store pull fetches several bricks"
        )
    raise_all(StoreError, repository, problems)
    return chosen


def _in_turn(files: Sequence[str], place: Path) -> Iterator[str]:
    """The document, then the recipes that it names, then what these name; nothing else of it."""
    if DOCUMENT not in files:
        yield from files
        return
    yield DOCUMENT
    for recipes in (True, False):
        named = named_digests(place)
        for file in files:
            digest = file.rpartition("/")[2].partition(".")[0]
            if file.startswith("recipes/") == recipes and digest in named:
                yield file


def _checked(
    place: Path, trust: Trust | None, repository: str
) -> tuple[Brick | Generalist, Path, tuple[str, ...]]:
    """What lies in a folder, once everything that it claims holds."""
    if (place / DOCUMENT).is_file():
        for check in verify(place, trust):
            if not check.holds:
                raise StoreError(f"{repository}: expected {check.claim}, got: {check.outcome}")
        generalist, now = Generalist.load(place), datetime.now(UTC)
        if trust is None:
            return generalist, place, ()
        past = generalist.past
        signed = [
            trust.check_brick(brick, past.signatures.get(brick.digest), now).name
            for brick in past.bricks.values()
        ]
        return generalist, place, tuple(dict.fromkeys(signed))
    paths = [p for p in place.glob("bricks/*") if _NAME.fullmatch(f"bricks/{p.name}")]
    if len(paths) != 1:
        raise StoreError(f"{place}: expected one brick, got {len(paths)}; delete the folder")
    (path,) = paths
    brick = load_brick(path)
    if path.name != f"{brick.digest}{SUFFIX}":
        raise StoreError(
            f"{repository}: expected the brick that its file names, got {brick.digest[:12]}…"
        )
    if trust is None:
        return brick, path, ()
    signer = trust.check_brick(brick, _signature(place, brick), datetime.now(UTC))
    return brick, path, (signer.name,)


def _signature(place: Path, brick: Brick) -> BrickSignature | None:
    file = place / "signatures" / f"{brick.digest}{SIGNATURE_SUFFIX}"
    return load_signature(file) if file.is_file() else None
