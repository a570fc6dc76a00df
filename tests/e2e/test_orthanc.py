"""Source images into a real Orthanc, answered there: what comes back names what made it."""

from __future__ import annotations

from datetime import date, timedelta
from io import BytesIO

import pytest
from highdicom import sr
from pydicom import dcmread

from debian import dciodvfy
from factories import make_brick
from medlego.base import Base
from medlego.cli.app import app
from medlego.cli.outcome import run_app
from medlego.data.synthetic.sample_folder import COMPRESSED, write_dicom
from medlego.generalist import assemble
from orthanc import free_port, orthanc

RULE = 'modality = ["DX"]\nbody_part = ["CHEST"]\nwithin_days = 0\n'


@pytest.fixture
def archive(tmp_path):
    with orthanc(tmp_path / "orthanc") as server:
        yield server


@pytest.fixture
def images(tmp_path):
    """Two patients' studies of three images, compressed in three ways."""
    write_dicom(tmp_path / "images", patients=2, size=64, syntaxes=tuple(COMPRESSED))
    return sorted((tmp_path / "images").rglob("*.dcm"))


def save_generalist(folder):
    base = Base.load("mini")
    bricks = [make_brick("one", 1, base=base), make_brick("two", 2, kind="binary", base=base)]
    made = assemble(bricks)
    made.save(folder)
    return made


def run(archive, verb, folder, *arguments):
    access = archive.access
    return run_app(
        app,
        [
            "dicomweb",
            verb,
            str(folder),
            *("--url", access.url),
            *("--password-file", str(access.password_file)),
            *map(str, arguments),
        ],
    )


def reports(archive):
    instances = [dcmread(BytesIO(content)) for content in archive.objects("SR")]
    return [sr.ComprehensiveSR.from_dataset(each) for each in instances]


def test_a_report_in_the_archive_names_algorithm_bricks_and_source(archive, images, tmp_path):
    archive.put(images[:1])
    made = save_generalist(tmp_path / "generalist")
    source = dcmread(images[0])
    assert run(archive, "analyse", tmp_path / "generalist", "--study", source.StudyInstanceUID) == 0
    (report,) = reports(archive)
    groups = report.content.get_image_measurement_groups()
    said = " ".join(
        item.TextValue
        for group in groups
        for item in group[0].ContentSequence
        if item.ValueType == "TEXT"
    )
    assert "medlego generalist" in said
    assert made.recipe.digest in said
    assert all(brick.digest in said for brick in made.bricks)
    (reference,) = report.get_evidence()
    assert reference == (
        source.StudyInstanceUID,
        source.SeriesInstanceUID,
        source.SOPInstanceUID,
        source.SOPClassUID,
    )
    assert report.PatientID == source.PatientID


def test_what_the_archive_gives_back_conforms(archive, images, tmp_path):
    archive.put(images[:1])
    save_generalist(tmp_path / "generalist")
    study = dcmread(images[0]).StudyInstanceUID
    assert run(archive, "analyse", tmp_path / "generalist", "--study", study) == 0
    contents = archive.objects("SR") + archive.objects("OT")
    assert len(contents) == 3
    for content in contents:
        (tmp_path / "held.dcm").write_bytes(content)
        assert dciodvfy(tmp_path / "held.dcm") == []


def test_a_repeat_leaves_one_report(archive, images, tmp_path):
    archive.put(images[:1])
    save_generalist(tmp_path / "generalist")
    study = dcmread(images[0]).StudyInstanceUID
    for _ in range(2):
        assert run(archive, "analyse", tmp_path / "generalist", "--study", study) == 0
    assert len(archive.objects("SR")) == 1
    assert len(archive.objects("OT")) == 2


def test_a_watch_answers_what_is_new_once(archive, images, tmp_path):
    save_generalist(tmp_path / "generalist")
    (tmp_path / "rule.toml").write_text(RULE)
    watched = (
        *("--rule", tmp_path / "rule.toml"),
        *("--state", tmp_path / "state"),
        *("--saliency", "none"),
        "--once",
    )
    for count in (3, 3, 6):
        archive.put(images[:count])
        assert run(archive, "watch", tmp_path / "generalist", *watched) == 0
        assert len(archive.objects("SR")) == count
    assert len(archive.objects("OT")) == 0


def test_a_watch_looks_at_studies_of_the_last_days_only(archive, images, tmp_path):
    save_generalist(tmp_path / "generalist")
    (tmp_path / "rule.toml").write_text('modality = ["DX"]\nwithin_days = 7\n')
    for path, day in (
        (images[0], date.today() - timedelta(days=3)),
        (images[-1], date(2001, 2, 3)),
    ):
        instance = dcmread(path)
        instance.StudyDate = f"{day:%Y%m%d}"
        instance.save_as(path)
        archive.put([path])
    options = ("--rule", tmp_path / "rule.toml", "--state", tmp_path / "state", "--once")
    assert run(archive, "watch", tmp_path / "generalist", *options, "--saliency", "none") == 0
    (report,) = reports(archive)
    assert report.StudyInstanceUID == dcmread(images[0]).StudyInstanceUID


def test_a_watch_outlives_an_archive_that_starts_again(images, tmp_path):
    from medlego.errors import PacsAwayError
    from medlego.serve import Journal, Rule, Watcher

    port = free_port()
    save_generalist(tmp_path / "generalist")
    rule = Rule(modality=("DX",), within_days=0)
    with Journal.open(tmp_path / "state") as journal:
        with orthanc(tmp_path / "orthanc", port) as first:
            first.put(images)
            watcher = Watcher(
                tmp_path / "generalist",
                first.pacs,
                rule,
                journal,
                method=None,
            )
        with pytest.raises(PacsAwayError):
            watcher.poll()
        with orthanc(tmp_path / "orthanc", port) as again:
            assert watcher.poll().answered == 6
            assert len(again.objects("SR")) == 6


def test_without_the_password_nothing_is_told(archive, tmp_path, capsys):
    save_generalist(tmp_path / "generalist")
    (tmp_path / "wrong").write_text("medlego:wrong")
    access = archive.access
    arguments = ["--url", access.url, "--study", "1.2.3", "--password-file"]
    directory = str(tmp_path / "generalist")
    code = run_app(app, ["dicomweb", "analyse", directory, *arguments, str(tmp_path / "wrong")])
    assert code == 1
    assert "got 401" in capsys.readouterr().err
