"""A little of the fuzzing of `tests/fuzz.py`, and what more of it has found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import fuzz
import fuzztargets
from dicomfiles import as_bytes, dataset
from fuzzmutations import bytewise
from medlego.errors import ImageError
from medlego.images import read_header, read_image

GREY = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_damaged_input_is_read_or_refused(tmp_path: Path, name: str) -> None:
    run = fuzz.Run(name, 1, tmp_path)
    assert [run.one(*run.input(number), number) for number in range(60)] == [None] * 60


def test_an_input_follows_from_target_seed_and_number(tmp_path: Path) -> None:
    one, other = (fuzz.Run("toml", 3, tmp_path / name) for name in "ab")
    assert [one.input(number) for number in range(9)] == [other.input(n) for n in range(9)]


def test_a_finding_is_counted_once_and_its_input_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_path: Path) -> None:
        raise KeyError("x")

    target = fuzztargets.Target(lambda: [(".x", b"abc")], bytewise, fails)
    monkeypatch.setitem(fuzz.TARGETS, "failing", target)
    run = fuzz.Run("failing", 0, tmp_path)
    for number in range(3):
        run.one(*run.input(number), number)
    run.save()
    (found,) = fuzz.Run("failing", 0, tmp_path).counts["findings"].values()
    assert (tmp_path / "failing" / found["input"]).read_bytes() == run.input(0)[1]
    assert fuzz.Run("failing", 0, tmp_path).counts["tried"] == 3


def test_an_input_that_ended_the_process_is_a_finding_of_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "toml").mkdir()
    (tmp_path / "toml" / "input.gate").write_bytes(b"x")
    fuzz.Run("toml", 0, tmp_path).save(running=[7, ".gate"])
    run = fuzz.Run("toml", 0, tmp_path)
    assert run.counts["tried"] == 8
    assert run.counts["findings"]["its process ended"]["input"] == "finding-0-7.gate"


def test_a_meta_element_that_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    content = as_bytes(dataset(GREY, SOPClassUID=None)).replace(b"\x02\0UI", b"\x02\0U\x0f", 1)
    (tmp_path / "x").write_bytes(content)
    assert read_header(tmp_path / "x").sop_class_uid is None


def test_an_image_type_that_is_a_sequence_says_nothing(tmp_path: Path) -> None:
    text = b"\x08\0\x08\0CS\x12\0ORIGINAL\\PRIMARY\\M"
    sequence = b"\x08\0\x08\0SQ\0\0\x12\0\0\0ORIGINAL\\PRIMARY\\M"
    content = as_bytes(dataset(GREY, ImageType=["ORIGINAL", "PRIMARY", "M"]))
    (tmp_path / "x").write_bytes(content.replace(text, sequence))
    assert text in content
    assert read_image(tmp_path / "x").pixels.shape == (1, 8, 8)


def test_a_window_of_almost_no_width_overflows_in_silence(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(as_bytes(dataset(GREY, WindowCenter=31500, WindowWidth="1e-310")))
    assert read_image(tmp_path / "x").pixels.unique().tolist() == [0, 1]


def test_a_page_of_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    pages = [Pillow.fromarray(GREY.astype(np.uint8))] * 2
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    content = (tmp_path / "x.tif").read_bytes()
    compression = b"\x03\x01\x03\0\x01\0\0\0\x01\0"
    at = content.rindex(compression)
    (tmp_path / "x.tif").write_bytes(
        content[:at] + compression[:8] + b"\x49\x2a" + content[at + 10 :]
    )
    with pytest.raises(ImageError, match="expected a whole image, got one that cannot be decoded"):
        read_image(tmp_path / "x.tif", 1)
