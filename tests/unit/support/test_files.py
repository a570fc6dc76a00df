"""Writing files: a reader sees the old content or the new, whatever happens in between."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from factories import make_brick
from medlego.bricks import load_brick, save_brick
from medlego.support import cache_directory, write_atomically

DIES = """
import os, signal, sys
from pathlib import Path
from medlego.support.files import write_atomically
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_content_arrives(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_older_content_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"older and longer")
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "x", b"new")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "x")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failure_leaves_the_older_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(type(error)):
        write_atomically(tmp_path / "x", b"new")
    monkeypatch.undo()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_killed_writer_leaves_the_older_file_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "x").read_bytes() == b"old"


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "x", b"new")


def test_interrupted_save_leaves_the_older_brick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = make_brick("old")
    save_brick(old, tmp_path / "x")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_brick(make_brick("new"), tmp_path / "x")
    monkeypatch.undo()
    assert load_brick(tmp_path / "x").digest == old.digest
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLEGO_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path


def test_cache_follows_the_desktop_s_convention(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDLEGO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "medlego"


def test_cache_lies_in_the_home_folder_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLEGO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == Path.home() / ".cache" / "medlego"


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stdout", "/dev/fd/1"])
def test_a_device_stays_one(name: str, tmp_path: Path) -> None:
    kind = os.lstat(name).st_mode
    with (tmp_path / "out").open("wb") as out:
        script = (
            "import sys; from pathlib import Path; from medlego.support import write_atomically"
        )
        script += "; write_atomically(Path(sys.argv[1]), b'new')"
        subprocess.run([sys.executable, "-c", script, name], stdout=out, check=True)
    assert os.lstat(name).st_mode == kind
    assert (tmp_path / "out").read_bytes() == (b"" if name == "/dev/null" else b"new")
