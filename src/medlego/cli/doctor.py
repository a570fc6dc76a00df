"""medlego doctor, and what `medlego --version` prints"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlego.cli.terminal import Terminal
from medlego.errors import CheckError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_NAMED = ("torch", "timm", "safetensors", "numpy", "pydicom", "polars")
"""Libraries whose versions explain most differences."""

_DEVELOPMENT = "dev"
"""The extra that nobody needs to use medlego."""


@dataclass(frozen=True)
class SelfCheck:
    """One check: its `state` is ok, missing or broken; `step` is what to do then."""

    check: str
    state: str
    says: str
    step: str = ""


def command(terminal: Terminal) -> None:
    """Show versions, codecs, devices and folders, and say how to get what is missing.

    Uses no network. Exit code 1 if something is broken that every command needs; a missing extra
    is no fault.

    Example:
        medlego doctor
        medlego doctor --json doctor.json
    """
    findings = [finding for check in _CHECKS for finding in _run(check)]
    about = facts()
    terminal.say("\n".join(version_lines(about)))
    for one in findings:
        terminal.say(f"{one.check:<18}{one.state:<9}{one.says}")
    for step in dict.fromkeys(one.step for one in findings if one.step):
        terminal.say(f"to do: {step}")
    terminal.emit({**about, "findings": [asdict(one) for one in findings]})
    if broken := [one.check for one in findings if one.state == "broken"]:
        raise CheckError(f"doctor: expected nothing broken, got {', '.join(broken)}")


def facts() -> dict[str, Any]:
    """What a bug report needs at least: medlego by version and content, what it runs on."""
    from medlego import __version__

    return {
        "medlego": __version__,
        "sources": sources_digest(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name) for name in _NAMED},
    }


def version_lines(about: Mapping[str, Any]) -> list[str]:
    """The facts in three lines."""
    return [
        f"medlego {about['medlego']}, sources {about['sources'][:12]}",
        f"Python {about['python']}, {about['platform']}",
        ", ".join(f"{name} {version}" for name, version in about["libraries"].items()),
    ]


def sources_digest() -> str:
    """SHA-256 of the installed package's files, names and content: equal for equal sources."""
    root, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    files = (path for path in root.rglob("*") if path.is_file())
    for name in sorted(path.relative_to(root).as_posix() for path in files):
        if "__pycache__" not in name:
            digest.update(name.encode() + b"\0")
            digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()


def _run(check: Callable[[], Iterable[SelfCheck]]) -> list[SelfCheck]:
    """A check's findings; one that cannot run at all is a finding itself."""
    try:
        return list(check())
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        says = f"{type(error).__name__}: {error}"
        return [SelfCheck(name, "broken", says, "pip install --force-reinstall medlego")]


def _packages() -> Iterator[SelfCheck]:
    required = _required("")
    missing = _missing(required)
    if missing:
        step = f"pip install {' '.join(map(_quoted, missing))}"
        yield SelfCheck("packages", "broken", f"missing or too old: {_names(missing)}", step)
    else:
        yield SelfCheck("packages", "ok", f"all {len(required)} that medlego needs")


def _model() -> Iterator[SelfCheck]:
    import torch

    from medlego.base import Base, features

    base = Base.load("mini")
    side = base.ref.image_size
    with torch.inference_mode():
        features(base.module, torch.zeros(1, 3, side, side))
    yield SelfCheck("model", "ok", "the embedded base runs")


def _devices() -> Iterator[SelfCheck]:
    import torch

    yield SelfCheck("cpu", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads")
    count = torch.cuda.device_count()
    for number in range(count):
        facts = torch.cuda.get_device_properties(number)
        yield SelfCheck(f"cuda:{number}", "ok", f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")
    if not count:
        yield SelfCheck("cuda", "ok", f"no GPU that torch {torch.__version__} can use")


def _codecs() -> Iterator[SelfCheck]:
    from medlego.images import missing_codecs

    codecs = missing_codecs()
    absent = {name: package for name, package in codecs.items() if package}
    says = f"{len(codecs) - len(absent)} of {len(codecs)} DICOM transfer syntaxes can be decoded"
    if absent:
        packages = ", ".join(sorted(set(absent.values())))
        says += f"; not {', '.join(absent)} ({packages})"
    step = "pip install 'medlego[dicom]'" if absent else ""
    yield SelfCheck("codecs", "missing" if absent else "ok", says, step)


def _folders() -> Iterator[SelfCheck]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from medlego.exchange import default_store
    from medlego.support import cache_directory

    for check, path, variable in (
        ("cache", cache_directory(), "MEDLEGO_CACHE"),
        ("store", default_store(), "MEDLEGO_STORE"),
        ("hub cache", Path(HF_HUB_CACHE), "HF_HUB_CACHE"),
    ):
        name = f"${variable}" if os.environ.get(variable) else _below_home(path)
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            free = shutil.disk_usage(there).free / 1e9
            yield SelfCheck(check, "ok", f"{name}, {free:,.0f} GB free")
        else:
            step = f"set {variable} to a folder that you may write to"
            yield SelfCheck(check, "missing", f"{name} cannot be written", step)


def _extras() -> Iterator[SelfCheck]:
    for extra in metadata.metadata("medlego").get_all("Provides-Extra") or ():
        if extra == _DEVELOPMENT:
            continue
        missing, name = _missing(_required(extra)), f"extra {extra}"
        if missing:
            step = f"pip install 'medlego[{extra}]'"
            yield SelfCheck(name, "missing", f"no {_names(missing)}", step)
        else:
            yield SelfCheck(name, "ok", "complete")


_CHECKS = (_packages, _model, _devices, _codecs, _folders, _extras)


def _required(extra: str) -> list[Requirement]:
    """What the package's metadata ask for: of an extra, or of every installation."""
    from packaging.requirements import Requirement

    needed = []
    for text in metadata.requires("medlego") or ():
        one = Requirement(text)
        always, asked = (
            one.marker is None or one.marker.evaluate({"extra": name}) for name in ("", extra)
        )
        if asked and always is not bool(extra):
            inner = [r for name in one.extras for r in _required(name)]
            needed += inner if one.name == "medlego" else [one]
    return needed


def _missing(required: Iterable[Requirement]) -> list[Requirement]:
    """Those that are not installed, or not in a version that fits."""
    return [
        one
        for one in required
        if (version := _version(one.name)) is None
        or not one.specifier.contains(version, prereleases=True)
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _names(required: Iterable[Requirement]) -> str:
    return ", ".join(one.name for one in required)


def _quoted(one: Requirement) -> str:
    return f"'{one.name}{one.specifier}'"


def _below_home(path: Path) -> str:
    """Without the name of whoever's home it is."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
