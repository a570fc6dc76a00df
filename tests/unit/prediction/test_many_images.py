"""Jobs over many images: rows as `predict` answers, resumed, refused where something changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock

from batchparts import (
    same_answers,
    same_values,
    save_merged,
    save_routed,
    write_image,
    write_images,
)
from medlego.errors import DatasetError, GeneralistError, InputError, JobError, SettingsError
from medlego.generalist import Generalist
from medlego.images import read_image
from medlego.prediction import predict, predict_many
from medlego.prediction.batch import answering
from medlego.prediction.batch.answering import AHEAD, Answerer, Work
from medlego.prediction.batch.job import job_of
from medlego.prediction.batch.listing import JobPart, write_listing
from medlego.prediction.batch.local import run_local
from medlego.prediction.batch.rows import SCHEMA
from medlego.prediction.batch.sources import find_images

COUNT = 11
PARTS = 4
"""Images to a part: three parts, the last of three images."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two generalists and a folder of images of which one cannot be read."""
    work = tmp_path_factory.mktemp("many")
    save_merged(work / "merged")
    save_routed(work / "routed", work / "training")
    images = work / "images"
    write_images(images, COUNT - 4)
    write_image(images / "dark" / "ä ß 医.png", 50, high=120)
    write_image(images / "dark" / "x.png", 51, high=120)
    write_image(images / "z" / "bright.png", 52, low=140)
    (images / "001.txt.png").write_bytes(b"no image")
    return work


@pytest.fixture(scope="module")
def whole(place: Path) -> pl.DataFrame:
    """The merged generalist's table, made without a stop."""
    predict_many(place / "merged", place / "images", place / "whole.parquet", part_images=PARTS)
    return pl.read_parquet(place / "whole.parquet")


class StopError(Exception):
    """What ends a job here."""


def stop_after(images: int):
    """A progress that ends the job once so many images are done."""

    def show(_what: str, done: int, total: int) -> None:
        if total and done >= images:
            raise StopError

    return show


def stopped(place: Path, output: Path, images: int = PARTS, source: Path | None = None) -> Path:
    """A job's folder after a stop."""
    with pytest.raises(StopError):
        predict_many(
            place / "merged",
            source or place / "images",
            output,
            part_images=PARTS,
            show=stop_after(images),
        )
    assert not output.exists()
    return output.with_name(f"{output.name}.job")


@pytest.mark.parametrize("name", ["merged", "routed"])
@pytest.mark.parametrize("asked", [{}, {"every_task": True}], ids=["routes", "every task"])
def test_rows_say_what_predict_says(place, tmp_path, name, asked):
    generalist = Generalist.load(place / name)
    out = tmp_path / "out.parquet"
    predict_many(place / name, place / "images", out, part_images=PARTS, batch_size=3, **asked)
    rows = pl.read_parquet(out).filter(pl.col("outcome") != "unreadable")
    names = rows["image"].unique(maintain_order=True).to_list()
    assert len(names) == COUNT - 1
    predictions = predict(generalist, [place / "images" / n for n in names], **asked)
    for image, prediction in zip(names, predictions, strict=True):
        own = rows.filter(pl.col("image") == image).to_dicts()
        route = prediction.route
        assert [row["applied"] for row in own] == [list(prediction.applied)] * len(own)
        if not prediction.answers:
            assert route
            (row,) = own
            assert (row["outcome"], row["task"]) == ("abstained", None)
            assert row["reason"] == route.reason
            same_values(row["ood_score"], min(route.ood_scores.values()), 1e-5)
            continue
        for row, answer in zip(own, prediction.answers, strict=True):
            said = answer.as_dict()
            labels = row["probabilities"]
            assert (row["outcome"], row["task"], row["kind"]) == (
                "answered",
                said["task"],
                said["kind"],
            )
            same_values(
                {entry["label"]: entry["probability"] for entry in labels},
                said["probabilities"],
                1e-5,
            )
            assert [entry["label"] for entry in labels if entry["answered"]] == said["labels"]
            limits = {e["label"]: e["threshold"] for e in labels if e["threshold"] is not None}
            assert limits == (said["thresholds"] or {})
            single = said["kind"] != "multilabel"
            assert row["label"] == (said["labels"][0] if single else None)
            assert row["calibration"] == said["calibration"]
            routed = generalist.recipe.mode == "routed"
            source = generalist.capability(answer.task.name) if routed else generalist
            assert row["bricks"] == [brick.digest for brick in source.bricks]
            if route is None:
                assert row["routed"] is row["route_probability"] is row["ood_score"] is None
            else:
                assert row["routed"] is (answer.task.name in route.tasks)
                assert row["atypical"] is (answer.task.name in route.atypical)
                same_values(row["route_probability"], route.probs[answer.task.name], 1e-5)
                same_values(row["none_probability"], route.none, 1e-5)
                same_values(row["ood_score"], route.ood_scores[answer.task.name], 1e-5)
                assert row["reason"] == (route.reason or None)


def test_a_routed_job_has_every_outcome(place, tmp_path):
    out = tmp_path / "out.parquet"
    summary = predict_many(place / "routed", place / "images", out)
    counts = dict(pl.read_parquet(out).group_by("outcome").len().iter_rows())
    assert counts.keys() == {"answered", "abstained", "unreadable"}
    assert (summary.abstained, summary.unreadable) == (counts["abstained"], 1)
    assert (summary.images, summary.rows) == (COUNT, sum(counts.values()))


def test_one_task_can_be_asked_alone(place, tmp_path):
    out = tmp_path / "out.parquet"
    predict_many(place / "merged", place / "images", out, task="ordinal")
    assert set(pl.read_parquet(out)["task"]) == {"ordinal", None}


def test_an_unreadable_image_gets_a_row_with_the_error(whole):
    (row,) = whole.filter(pl.col("outcome") == "unreadable").to_dicts()
    assert (row["image"], row["position"], row["task"]) == ("001.txt.png", 2, None)
    assert "expected a PNG, JPEG, JPEG 2000, TIFF, BMP, PGM, DICOM or NIfTI" in row["reason"]


def test_an_image_that_breaks_the_reader_ends_no_job(place, tmp_path, monkeypatch):
    def read(path: Path, **options):
        if path.name == "x.png":
            raise RuntimeError("with what the file says")
        return read_image(path, **options)

    monkeypatch.setattr(answering, "read_image", read)
    out = tmp_path / "out.parquet"
    assert predict_many(place / "merged", place / "images", out).unreadable == 2
    (row,) = pl.read_parquet(out).filter(pl.col("image") == "dark/x.png").to_dicts()
    assert "RuntimeError" in row["reason"]
    assert "with what the file says" not in row["reason"]


@pytest.mark.parametrize(
    "settings",
    [
        {"part_images": 1, "workers": 1},
        {"part_images": 5, "batch_size": 2},
        {"part_images": 100, "batch_size": 100},
    ],
    ids=str,
)
def test_rows_do_not_depend_on_parts_batches_and_workers(place, whole, tmp_path, settings):
    predict_many(place / "merged", place / "images", tmp_path / "o.parquet", **settings)
    same_answers(pl.read_parquet(tmp_path / "o.parquet"), whole, 1e-5)


def test_positions_are_those_of_the_images_in_order(whole):
    assert whole["position"].unique(maintain_order=True).to_list() == list(range(COUNT))


def test_limit_takes_the_first(place, whole, tmp_path):
    out = tmp_path / "out.parquet"
    assert predict_many(place / "merged", place / "images", out, limit=5).images == 5
    same_answers(pl.read_parquet(out), whole.filter(pl.col("position") < 5), 1e-5)


@pytest.mark.usefixtures("whole")
def test_the_table_says_which_job_it_is_of(place):
    job = job_of(place / "whole.parquet")
    assert job.generalist == Generalist.load(place / "merged").recipe.digest
    assert (job.mode, job.images) == ("merged", COUNT)


def test_nothing_is_left_beside_the_table(place, tmp_path):
    predict_many(place / "merged", place / "images", tmp_path / "out.parquet", limit=2)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.parquet"]
    assert not (tmp_path / "out.parquet.job").exists()


def test_every_column_is_explained():
    page = (Path(__file__).resolve().parents[3] / "docs" / "many-images.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(SCHEMA)


# Which images


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_table_names_images_more_than_once(place, tmp_path, suffix, elsewhere):
    names = ["dark/ä ß 医.png", "000.png", "000.png", "nothing.png"]
    frame = pl.DataFrame({"path": names, "patient_id": ["a", "b", "c", "d"]})
    home = tmp_path if elsewhere else place / "images"
    table = home / f"table.{suffix}"
    (frame.write_csv if suffix == "csv" else frame.write_parquet)(table)
    source = f"{table}@{place / 'images'}" if elsewhere else table
    try:
        predict_many(place / "merged", source, tmp_path / "out.parquet", task="binary")
    finally:
        table.unlink()
    rows = pl.read_parquet(tmp_path / "out.parquet")
    assert rows["image"].to_list() == names
    assert rows["position"].to_list() == [0, 1, 2, 3]
    assert rows["outcome"].to_list() == ["answered"] * 3 + ["unreadable"]
    same_values(rows["probabilities"][1].to_list(), rows["probabilities"][2].to_list(), 1e-5)


def test_a_name_that_is_no_text_is_spelled(place, tmp_path):
    image = write_image(tmp_path / "in" / "a.png", 0)
    try:
        image.rename(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system has no such names")
    predict_many(place / "merged", tmp_path / "in", tmp_path / "out.parquet", task="binary")
    assert pl.read_parquet(tmp_path / "out.parquet")["image"].to_list() == ["caf\\xe9.png"]


def test_hidden_files_links_to_folders_dicomdirs_and_the_job_are_no_images(tmp_path):
    write_image(tmp_path / "b" / "1.png", 0)
    write_image(tmp_path / "a.png", 1)
    write_image(tmp_path / ".hidden" / "1.png", 2)
    write_image(tmp_path / "out.parquet.job" / "1.png", 3)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "c").symlink_to(tmp_path / "b", target_is_directory=True)
    root, images = find_images(tmp_path, tmp_path / "out.parquet.job")
    assert root == tmp_path
    assert [image.name for image in images] == ["a.png", "b/1.png"]


def test_a_folder_that_goes_away_while_images_are_looked_for_is_told(tmp_path):
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "b").mkdir()
    _, images = find_images(tmp_path, tmp_path / "none")
    assert next(images).name == "a.png"
    (tmp_path / "b").rmdir()
    with pytest.raises(DatasetError, match=r"b: expected a folder that can be read, got No such"):
        next(images)


def test_folders_may_lie_in_each_other_a_thousand_times(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    place = tmp_path / Path(*["a"] * 1200)
    image = write_image(place / "x.png", 1)
    names = [each.name for each in find_images(tmp_path, tmp_path / "none")[1]]
    image.unlink()
    for folder in [place, *place.parents][:1200]:  # rmtree goes down by recursion
        folder.rmdir()
    assert names == ["a/" * 1200 + "x.png"]


def test_links_that_lead_nowhere_are_no_images(tmp_path):
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "nowhere.png").symlink_to("none.png")
    image = write_image(tmp_path / "one.png", 1)
    (tmp_path / "two.png").symlink_to(image)
    names = [each.name for each in find_images(tmp_path, tmp_path / "none")[1]]
    assert names == ["one.png", "two.png"]


def test_dicom_is_found_by_content(tmp_path):
    (tmp_path / "IM1").write_bytes(bytes(128) + b"DICM")
    _, images = find_images(tmp_path, tmp_path / "none")
    assert [image.name for image in images] == ["IM1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns: expected one 'path', got none; name image files there, or pass t"),
        ("image,label\na,b\n", "columns: expected one 'path', got image, label"),
        ("path,path\na,b\n", "columns: expected one 'path', got path, path"),
        ("path,label\n,b\n\na\n", "2 problems.*row 2: path.*\n.*row 4: expected 2 cells, got 1"),
        ("path\n\xff\n", "expected UTF-8 CSV"),
    ],
)
def test_a_table_without_paths_is_refused(place, tmp_path, text, says):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=f"(?s){says}"):
        predict_many(place / "merged", tmp_path / "t.csv", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_parquet_table_without_paths_is_refused(place, tmp_path):
    file = tmp_path / "t.parquet"
    pl.DataFrame({"path": ["a", None, " "]}).write_parquet(file)
    with pytest.raises(DatasetError, match=r"(?s)2 problems.*row 3: path.*row 4: path"):
        predict_many(place / "merged", file, tmp_path / "out.parquet")
    pl.DataFrame({"path": [1]}).write_parquet(file)
    with pytest.raises(DatasetError, match="path: expected text, got Int64"):
        predict_many(place / "merged", file, tmp_path / "out.parquet")
    file.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="expected a whole Parquet file"):
        predict_many(place / "merged", file, tmp_path / "out.parquet")


def test_an_empty_input_is_refused_and_leaves_nothing(place, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "t.csv").write_text("path\n")
    for source in (tmp_path / "in", tmp_path / "t.csv"):
        with pytest.raises(DatasetError, match="expected images, found none"):
            predict_many(place / "merged", source, tmp_path / "out.parquet")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["in", "t.csv"]


def test_an_input_that_is_not_there_is_refused(place, tmp_path):
    noise = tmp_path / "notes.txt"
    noise.write_text("no image")
    with pytest.raises(DatasetError, match=r"expected an image, a folder .*found nothing there"):
        predict_many(place / "merged", tmp_path / "none", tmp_path / "out.parquet")
    with pytest.raises(DatasetError, match=r"got \.txt"):
        predict_many(place / "merged", noise, tmp_path / "out.parquet")


def test_one_image_is_an_input_too(place, tmp_path):
    out = tmp_path / "out.parquet"
    predict_many(place / "merged", place / "images" / "000.png", out, task="binary")
    assert pl.read_parquet(out)["image"].to_list() == ["000.png"]


def test_a_listing_gives_back_each_part(tmp_path):
    for number in range(7):
        write_image(tmp_path / "in" / f"{number}.png", 0)
    _, images = find_images(tmp_path / "in", tmp_path)
    listing = write_listing(images, tmp_path / "list", 3)
    parts = [listing.part(number) for number in range(len(listing.offsets))]
    assert [part.names for part in parts] == [
        ("0.png", "1.png", "2.png"),
        ("3.png", "4.png", "5.png"),
        ("6.png",),
    ]
    assert [part.start for part in parts] == [0, 3, 6]


# Going on


def test_a_stopped_job_goes_on_where_it_stood(place, whole, tmp_path):
    out = tmp_path / "out.parquet"
    folder = stopped(place, out)
    assert [path.name for path in (folder / "parts").iterdir()] == ["000000.parquet"]
    summary = predict_many(place / "merged", place / "images", out, part_images=PARTS)
    assert (summary.before, summary.images) == (PARTS, COUNT)
    same_answers(pl.read_parquet(out), whole, 1e-5)
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["cut", "other", "half", "left over"])
def test_a_part_that_is_not_whole_is_done_again(place, whole, tmp_path, damage):
    out = tmp_path / "out.parquet"
    part = stopped(place, out) / "parts" / "000000.parquet"
    match damage:
        case "cut":
            part.write_bytes(part.read_bytes()[:100])
        case "other":
            pl.DataFrame({"position": [0, 1, 2, 3]}).write_parquet(part)
        case "half":
            pl.read_parquet(part).filter(pl.col("position") != 2).write_parquet(part)
        case _:
            part.rename(part.with_name(".000000.parquet.abc.tmp"))
    assert predict_many(place / "merged", place / "images", out, part_images=PARTS).before == 0
    same_answers(pl.read_parquet(out), whole, 1e-5)


def test_images_whose_disk_goes_away_are_not_called_unreadable(place, tmp_path):
    images, away = tmp_path / "images", tmp_path / "away"
    write_images(images, 9)

    def unmount(_: str, done: int, total: int) -> None:
        if total and done == 2:
            images.rename(away)
            images.mkdir()

    asked: dict[str, Any] = {"part_images": 2, "batch_size": 1}
    with pytest.raises(JobError, match="gone or empty"):
        predict_many(place / "merged", images, tmp_path / "o.parquet", show=unmount, **asked)
    images.rmdir()
    away.rename(images)
    summary = predict_many(place / "merged", images, tmp_path / "o.parquet", **asked)
    assert (summary.unreadable, summary.before > 0) == (0, True)


@pytest.mark.parametrize("name", ["x.parquet", "999999.parquet", "0.parquet"])
def test_a_file_that_is_no_part_is_taken_away(place, whole, tmp_path, name):
    folder = stopped(place, tmp_path / "o.parquet")
    first = folder / "parts" / "000000.parquet"
    (folder / "parts" / name).write_bytes(first.read_bytes())
    predict_many(place / "merged", place / "images", tmp_path / "o.parquet", part_images=PARTS)
    same_answers(pl.read_parquet(tmp_path / "o.parquet"), whole, 0)


def test_a_disk_that_is_full_at_the_end_loses_nothing(place, whole, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise pl.exceptions.ComputeError("No space left on device")

    output = tmp_path / "o.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(pl, "scan_parquet", full)
        with pytest.raises(JobError, match="room for the table"):
            predict_many(place / "merged", place / "images", output, part_images=PARTS)
    summary = predict_many(place / "merged", place / "images", output, part_images=PARTS)
    assert summary.before == summary.images
    same_answers(pl.read_parquet(output), whole, 0)


def test_an_output_without_a_name_is_refused(place):
    with pytest.raises(SettingsError, match="expected a name that ends in"):
        predict_many(place / "merged", place / "images", ".")


def test_a_job_of_another_generalist_is_refused(place, tmp_path):
    out = tmp_path / "out.parquet"
    shutil.copytree(place / "merged", tmp_path / "merged")
    shutil.copytree(place / "images", tmp_path / "images")
    stopped(tmp_path, out)
    shutil.rmtree(tmp_path / "merged")
    save_merged(tmp_path / "merged", seed=9)
    with pytest.raises(JobError, match=r"generalist: expected .*… as it was begun with, got .*…"):
        predict_many(tmp_path / "merged", tmp_path / "images", out, part_images=PARTS)
    assert not out.exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"task": "binary"}, "task: expected None as it was begun with, got 'binary'"),
        ({"every_task": True}, "every_task: expected False"),
        ({"mode": "routed"}, "mode: expected 'merged'"),
        ({"limit": 5}, "2 problems.*images: expected 11.*images_sha256"),
        ({"part_images": 5}, "part_images: expected 4"),
    ],
    ids=str,
)
def test_a_job_that_asks_otherwise_is_refused(place, tmp_path, asked, says):
    out = tmp_path / "out.parquet"
    folder = stopped(place, out)
    before = sorted((folder / "parts").iterdir())
    with pytest.raises(JobError, match=f"(?s){says}.*or delete {folder} to start anew"):
        predict_many(place / "merged", place / "images", out, **({"part_images": PARTS} | asked))
    assert sorted((folder / "parts").iterdir()) == before


@pytest.mark.parametrize("change", ["more", "less", "other bytes", "touched"])
def test_a_job_whose_images_changed_is_refused(place, tmp_path, change):
    source = tmp_path / "images"
    shutil.copytree(place / "images", source)
    stopped(place, tmp_path / "out.parquet", source=source)
    image = source / "003.png"
    match change:
        case "more":
            write_image(source / "new.png", 0)
        case "less":
            image.unlink()
        case "other bytes":
            write_image(image, 77)
        case _:
            os.utime(image, ns=(1, 1))
    with pytest.raises(JobError, match="images_sha256: expected"):
        predict_many(place / "merged", source, tmp_path / "out.parquet", part_images=PARTS)


def test_a_generalist_that_is_edited_meanwhile_is_refused(place):
    work = make_work(place, generalist="0" * 64)
    with pytest.raises(JobError, match="it was edited meanwhile"):
        Answerer(work, "cpu")


def test_a_job_that_cannot_be_read_is_refused(place, tmp_path):
    folder = stopped(place, tmp_path / "out.parquet")
    (folder / "job.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(JobError, match=r"job\.json: format: expected 1, got 2; .* to start anew"):
        predict_many(place / "merged", place / "images", tmp_path / "out.parquet")


def test_a_finished_job_is_left_as_it_is(place, tmp_path):
    out = tmp_path / "out.parquet"
    first = predict_many(place / "merged", place / "images", out, limit=3)
    content = out.read_bytes()
    shutil.copytree(stopped(place, tmp_path / "other.parquet"), tmp_path / "out.parquet.job")
    again = predict_many(place / "merged", place / "images", out, limit=3)
    assert (again.before, again.rows) == (3, first.rows)
    assert out.read_bytes() == content
    assert not (tmp_path / "out.parquet.job").exists()


def test_an_output_of_another_job_is_refused(place, tmp_path):
    out = tmp_path / "out.parquet"
    predict_many(place / "merged", place / "images", out, limit=3)
    with pytest.raises(JobError, match=r"(?s)images: expected 3.*choose another output"):
        predict_many(place / "merged", place / "images", out, limit=4)
    assert not (tmp_path / "out.parquet.job").exists()


@pytest.mark.parametrize("kind", ["text", "table"])
def test_a_file_that_no_job_wrote_is_not_overwritten(place, tmp_path, kind):
    out = tmp_path / "out.parquet"
    if kind == "text":
        out.write_text("mine")
    else:
        pl.DataFrame({"a": [1]}).write_parquet(out)
    content = out.read_bytes()
    with pytest.raises(JobError, match="expected a new file, found one that no job wrote"):
        predict_many(place / "merged", place / "images", out, limit=1)
    assert out.read_bytes() == content


def test_a_file_that_no_job_wrote_is_refused_before_images_are_looked_for(place, tmp_path):
    out = tmp_path / "out.parquet"
    out.write_text("mine")
    said: list[str] = []
    with pytest.raises(JobError, match="found one that no job wrote"):
        predict_many(
            place / "merged", place / "images", out, show=lambda what, *_: said.append(what)
        )
    assert said == []


def test_two_cannot_be_at_one_job(place, tmp_path):
    folder = tmp_path / "out.parquet.job"
    folder.mkdir()
    with FileLock(folder / ".lock"), pytest.raises(JobError, match="somebody else at it"):
        predict_many(place / "merged", place / "images", tmp_path / "out.parquet")


# Settings and devices


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"batch_size": 0, "workers": 0}, SettingsError, "(?s)2 problems.*batch_size.*workers"),
        ({"limit": 0}, SettingsError, "limit: expected at least 1, got 0"),
        ({"engine": "dask"}, SettingsError, "engine: expected local or ray, got 'dask'"),
        ({"task": "liver"}, GeneralistError, "task: expected one of"),
        ({"mode": "x"}, InputError, "mode: expected one of"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_made(place, tmp_path, settings, error, says):
    with pytest.raises(error, match=says):
        predict_many(place / "merged", place / "images", tmp_path / "out.parquet", **settings)
    assert not list(tmp_path.glob("out*"))


def test_an_output_without_a_folder_is_refused(place, tmp_path):
    with pytest.raises(JobError, match="expected a place for a folder, got none"):
        predict_many(place / "merged", place / "images", tmp_path / "no" / "out.parquet")


def make_work(place: Path, **changes: object) -> Work:
    settings: dict[str, Any] = {
        "directory": place / "merged",
        "generalist": Generalist.load(place / "merged").recipe.digest,
        "base_weights": None,
        "mode": "merged",
        "task": "binary",
        "every_task": False,
        "root": place / "images",
        "batch_size": 2,
        "workers": 2,
    }
    return Work(**(settings | changes))


def parts_of(count: int, taken: list[int]):
    """Parts of one image each; notes which were taken."""
    for number in range(count):
        taken.append(number)
        yield JobPart(number, number, ("000.png",))


def test_images_are_read_a_few_batches_ahead_and_no_more(place):
    taken: list[int] = []
    answers: Any = Answerer(make_work(place), "cpu").answer(parts_of(50, taken))
    for number in range(10):
        assert next(answers)[0] == number
        assert len(taken) <= number + AHEAD + 1
    answers.close()


def test_several_devices_share_the_parts(place):
    taken: list[int] = []
    done = dict(run_local(make_work(place), parts_of(9, taken), ("cpu", "cpu", "cpu")))
    assert sorted(done) == taken == list(range(9))
    for number, content in done.items():
        assert pl.read_parquet(content)["position"].to_list() == [number]


def test_a_failure_on_one_device_ends_the_job(place):
    def parts():
        yield JobPart(0, 0, ("000.png",))
        raise StopError

    with pytest.raises(StopError):
        list(run_local(make_work(place), parts(), ("cpu", "cpu")))


def long_rows(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Image, task, label, probability and whether it is the answer, of a Parquet table."""
    return [
        (row["image"], row["task"], one["label"], one["probability"], one["answered"])
        for row in table.iter_rows(named=True)
        for one in row["probabilities"] or [{"label": None, "probability": None, "answered": None}]
    ]


def test_a_csv_has_a_row_for_each_label_of_what_the_parquet_table_says(place, whole, tmp_path):
    out = tmp_path / "out.csv"
    summary = predict_many(place / "merged", place / "images", out, part_images=PARTS)
    rows = pl.read_csv(out)
    assert rows.select("image", "task", "label", "probability", "answered").rows() == long_rows(
        whole
    )
    assert rows["bricks"].drop_nulls().str.split("; ").to_list()[0] == whole["bricks"][0].to_list()
    assert (summary.rows, summary.unreadable) == (len(whole), 1)


def test_a_csv_job_goes_on_after_a_stop(place, tmp_path):
    predict_many(place / "merged", place / "images", tmp_path / "all.csv", part_images=PARTS)
    out = tmp_path / "out.csv"
    stopped(place, out)
    assert predict_many(place / "merged", place / "images", out, part_images=PARTS).before == PARTS
    assert out.read_bytes() == (tmp_path / "all.csv").read_bytes()


def test_a_finished_csv_is_known_again_by_what_lies_beside_it(place, tmp_path):
    out = tmp_path / "out.csv"
    predict_many(place / "merged", place / "images", out, limit=3)
    content = out.read_bytes()
    assert predict_many(place / "merged", place / "images", out, limit=3).before == 3
    assert out.read_bytes() == content
    beside = {path.name for path in (tmp_path / "out.csv.job").iterdir()}
    assert beside <= {"job.json", "written", ".lock"}
    with pytest.raises(JobError, match=r"(?s)images: expected 3.*choose another output"):
        predict_many(place / "merged", place / "images", out, limit=4)


def test_a_csv_that_was_edited_is_not_overwritten(place, tmp_path):
    out = tmp_path / "out.csv"
    predict_many(place / "merged", place / "images", out, limit=3)
    out.write_text("mine")
    with pytest.raises(JobError, match="found one that no job wrote"):
        predict_many(place / "merged", place / "images", out, limit=3)
    assert out.read_text() == "mine"


def test_a_csv_that_was_deleted_can_be_made_of_other_images(place, tmp_path):
    out = tmp_path / "out.csv"
    predict_many(place / "merged", place / "images", out, limit=3)
    out.unlink()
    assert predict_many(place / "merged", place / "images", out, limit=4).images == 4


def test_another_ending_of_the_table_is_refused_before_any_work(tmp_path):
    with pytest.raises(SettingsError, match=r"ends in \.csv or \.parquet, got \.xlsx"):
        predict_many(tmp_path / "nothing", tmp_path / "nothing", tmp_path / "out.xlsx")
    assert list(tmp_path.iterdir()) == []
