"""Answers as DICOM: what a report and a capture say, and that they conform."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from debian import dciodvfy
from dicomfiles import as_bytes, dataset, write
from factories import make_base, make_brick, with_calibration
from medlego.data import Task
from medlego.data.task import Code
from medlego.errors import ImageError
from medlego.generalist import assemble
from medlego.images.dicom.silence import quietly
from medlego.prediction import Answer, Prediction, Route
from medlego.serve.pacs.results import uids as identity
from medlego.serve.pacs.results.algorithm import Algorithm
from medlego.serve.pacs.results.analysis import analyse
from medlego.serve.pacs.results.coding import SCHEME
from medlego.serve.pacs.results.report import RESEARCH_USE, structured_report
from medlego.serve.pacs.results.source import read_source
from medlego.serve.pacs.results.uids import derived_uid
from medlego.serve.reload import Model

WHEN = datetime(2026, 3, 4, 5, 6, 7)
CONTENT = "ContentDate", "ContentTime"
PATIENT = {
    "PatientName": "Müller^Jürgen",
    "PatientID": "P-1",
    "PatientBirthDate": "19500102",
    "PatientSex": "M",
    "AccessionNumber": "A-7",
    "StudyID": "S-3",
    "StudyDate": "20260303",
    "StudyTime": "101500",
    "ReferringPhysicianName": "Roe^Jane",
    "StudyDescription": "Thorax",
}
TASK = Task(
    name="chest",
    kind="multilabel",
    labels=("effusion", "cardiomegaly", "a \\ label of which no terminology knows" + 70 * "x"),
    codes=(
        Code(scheme="SCT", value="60046008", meaning="Pleural effusion"),
        Code(scheme="RADLEX", value="RID35057", meaning="Cardiomegaly"),
        None,
    ),
)
ALGORITHM = Algorithm("ab" * 32, "routed", "mini " + "cd" * 32, {"chest": ("ef" * 32,)})


def source_file(path, *, frames=1, **elements):
    shape = (frames, 20, 24) if frames > 1 else (20, 24)
    array = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "Modality": "OT"}
    stated = {"SpecificCharacterSet": "ISO_IR 100"} | uids | PATIENT | elements
    with quietly():
        return write(path, dataset(array, frames=frames, **stated))


def reported(tmp_path, answers=None, route=None, **elements):
    source = read_source(source_file(tmp_path / "source", **elements))
    answers = (Answer(TASK, (0.25, 0.75, 0.5), "calibrated"),) if answers is None else answers
    report = structured_report(source, Prediction("x", (), answers, route), ALGORITHM, WHEN)
    report.save_as(tmp_path / "report.dcm", enforce_file_format=True)
    return sr.ComprehensiveSR.from_dataset(dcmread(tmp_path / "report.dcm"))


def groups_of(report):
    return report.content.get_image_measurement_groups()


def values(container, name):
    """The values of a container's items of this concept name."""
    return [
        item.TextValue if "TextValue" in item else item.ConceptCodeSequence[0].CodeValue
        for item in container.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


def make_model():
    base = make_base()
    bricks = [make_brick("one", 1, base=base), make_brick("two", 2, kind="binary", base=base)]
    return Model.of(assemble([with_calibration(brick) for brick in bricks]), base, "cpu")


def analysed(path, method="gradient", when=WHEN):
    (analysis,) = analyse(make_model(), [(path, when)], method)
    return analysis


def test_a_label_is_found_by_its_terminologys_code(tmp_path):
    types = [group.finding_type for group in groups_of(reported(tmp_path))]
    assert [(code.scheme_designator, code.value) for code in types[:2]] == [
        ("SCT", "60046008"),
        ("RADLEX", "RID35057"),
    ]


def test_a_label_without_a_code_has_one_of_a_scheme_that_is_declared(tmp_path):
    report = reported(tmp_path)
    code = groups_of(report)[2].finding_type
    assert code.scheme_designator == SCHEME
    assert len(code.value) == 16
    assert len(code.meaning) == 64
    assert "\\" not in code.meaning
    declared = {item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence}
    assert declared == {SCHEME, "SCT", "RADLEX"}


def test_each_findings_probability_is_a_measurement_in_percent(tmp_path):
    measurements = [
        group.get_measurements(name=codes.DCM.CertaintyOfFinding)[0]
        for group in groups_of(reported(tmp_path))
    ]
    assert [measurement.value for measurement in measurements] == [25, 75, 50]
    assert {measurement.unit for measurement in measurements} == {codes.UCUM.Percent}


def test_what_is_answered_is_present_and_the_rest_absent(tmp_path):
    answers = [values(group[0], "Answer") for group in groups_of(reported(tmp_path))]
    present, absent = codes.DCM.Present.value, codes.DCM.Absent.value
    assert answers == [[absent], [present], [absent]]


@pytest.mark.parametrize(
    ("state", "value"),
    [("calibrated", "calibrated"), ("stale", "uncalibrated"), ("none", "uncalibrated")],
)
def test_whether_a_probability_is_calibrated_is_said(tmp_path, state, value):
    report = reported(tmp_path, (Answer(TASK, (0.25, 0.75, 0.5), state),))
    for group in groups_of(report):
        assert values(group[0], "Calibration of the probability") == [value]


def test_the_algorithm_is_named_with_recipe_and_bricks(tmp_path):
    group = groups_of(reported(tmp_path))[0][0]
    assert values(group, "Algorithm Name") == ["medlego generalist"]
    assert values(group, "Algorithm Version") == [ALGORITHM.version]
    assert values(group, "Algorithm Parameters") == [
        f"recipe {'ab' * 32}",
        "mode routed",
        f"base mini {'cd' * 32}",
        "task chest",
        f"brick chest {'ef' * 32}",
    ]


def test_a_merged_answer_names_every_brick_and_a_routed_one_its_own():
    bricks = {"a": ("1" * 64,), "b": ("2" * 64, "3" * 64)}
    routed, merged = (Algorithm("r", mode, "base", bricks) for mode in ("routed", "merged"))
    assert [line for line in routed.parameters("b") if line.startswith("brick")] == [
        f"brick b {'2' * 64}",
        f"brick b {'3' * 64}",
    ]
    assert sum(line.startswith("brick") for line in merged.parameters("b")) == 3


def test_the_source_image_is_referred_to(tmp_path):
    report = reported(tmp_path)
    source = read_source(tmp_path / "source")
    assert report.get_evidence() == [
        (source.study_uid, source.series_uid, source.sop_uid, source.sop_class_uid)
    ]
    for group in groups_of(report):
        (reference,) = group.source_images
        assert reference.referenced_sop_instance_uid == source.sop_uid
        assert reference.referenced_frame_numbers is None


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.6", "1.2.276.0.99"])
def test_images_of_retired_and_private_classes_are_referred_to(tmp_path, sop_class):
    report = reported(tmp_path, SOPClassUID=sop_class)
    assert report.get_evidence()[0][3] == sop_class
    (reference,) = groups_of(report)[0].source_images
    assert reference.referenced_sop_class_uid == sop_class


def test_of_several_frames_the_one_that_was_answered_is_named(tmp_path):
    (reference,) = groups_of(reported(tmp_path, frames=4))[0].source_images
    assert reference.referenced_frame_numbers == [3]


def test_abstention_is_said_with_its_reason(tmp_path):
    route = Route((), (), {"chest": 0.01}, 0.99, {"chest": 7.5})
    (group,) = groups_of(reported(tmp_path, (), route))
    assert values(group[0], "Answer") == ["abstained"]
    (comment,) = values(group[0], "Comment")
    assert comment.startswith("No answer: like no task's training images; nearest chest")
    assert not group.get_measurements()
    assert values(group[0], "Algorithm Parameters")[-1] == f"brick chest {'ef' * 32}"


def test_an_atypical_image_is_reported_as_such(tmp_path):
    route = Route(("chest",), ("chest",), {"chest": 0.6}, 0.4, {"chest": 2.5})
    groups = groups_of(reported(tmp_path, route=route))
    name = "Typicality among the training images"
    assert [values(group[0], name) for group in groups] == [["atypical"]] * 3


def test_a_report_is_for_research_and_unverified(tmp_path):
    report = reported(tmp_path)
    assert values(report, "Comment") == [RESEARCH_USE]
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_patient_and_study_are_the_sources_in_any_character_set(tmp_path):
    report = reported(tmp_path)
    for keyword, value in PATIENT.items():
        assert str(report[keyword].value) == value
    assert report.StudyInstanceUID == "1.2.3"
    assert report.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("offset", "dated"),
    [("-0330", "20260303 233607 -0330"), ("+1400", "20260304 170607 +1400")],
)
def test_results_are_dated_in_the_images_offset_from_utc(tmp_path, offset, dated):
    path = source_file(tmp_path / "source", TimezoneOffsetFromUTC=offset)
    for result in analysed(path, when=WHEN.replace(hour=3, tzinfo=UTC)).results:
        for day, time in (("InstanceCreationDate", "InstanceCreationTime"), CONTENT):
            got = f"{result[day].value} {result[time].value} {result.TimezoneOffsetFromUTC}"
            assert got == dated
        assert dciodvfy(write(tmp_path / "result.dcm", result)) == []


@pytest.mark.parametrize("offset", ["", "0100", "+0160", "+1500", "Z"])
def test_an_offset_that_cannot_be_read_is_none(tmp_path, offset):
    path = source_file(tmp_path / "source", TimezoneOffsetFromUTC=offset)
    analysis = analysed(path, method=None)
    assert "TimezoneOffsetFromUTC" not in analysis.results[0]
    assert analysis.results[0].ContentTime == "050607"


def test_values_that_break_the_standard_are_filed_as_they_stand(tmp_path):
    odd = {"PatientSex": "unknown", "PatientBirthDate": "about 1950", "StudyDate": "yesterday"}
    analysis = analysed(source_file(tmp_path / "odd", **odd), method=None)
    with quietly():
        content = dcmread(write(tmp_path / "written", analysis.results[0]))
    assert {keyword: content.get_item(keyword).value.decode().strip() for keyword in odd} == odd


def test_what_identifies_a_patient_is_neither_logged_nor_shown(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    path = source_file(tmp_path / "source", PatientName="Doe")
    analysis = analysed(path)
    assert len(analysis.results) == 3
    assert "Doe" not in caplog.text
    assert [each for each in caplog.records if each.name.startswith("highdicom")] == []
    assert "Doe" not in repr(read_source(path)) + repr(analysis.source)


def test_results_conform_to_the_standard(tmp_path):
    report = reported(tmp_path)
    assert dciodvfy(tmp_path / "report.dcm") == []
    route = Route((), (), {"chest": 0.01}, 0.99, {"chest": 7.5})
    assert report.SOPInstanceUID == reported(tmp_path, (), route).SOPInstanceUID
    assert dciodvfy(tmp_path / "report.dcm") == []
    for result in analysed(tmp_path / "source").results:
        assert dciodvfy(write(tmp_path / "result.dcm", result)) == []


def test_the_validator_finds_what_does_not_conform(tmp_path):
    reported(tmp_path)
    broken = dcmread(tmp_path / "report.dcm")
    del broken.VerificationFlag
    assert dciodvfy(write(tmp_path / "broken.dcm", broken)) != []


def test_each_answer_has_a_capture_of_its_image(tmp_path):
    path = source_file(tmp_path / "source")
    analysis = analysed(path)
    report, *captures = analysis.results
    assert report.Modality == "SR"
    assert [answer.task.name for answer in analysis.prediction.answers] == ["one", "two"]
    for capture in captures:
        (reference,) = capture.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == analysis.source.sop_uid
        assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
        assert capture.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert capture.PatientID == "P-1"


def test_captures_of_both_sides_share_a_series_that_has_none(tmp_path):
    for number, side in enumerate("LR"):
        uids = {"SOPInstanceUID": f"1.2.3.4.{number}", "Laterality": side}
        capture = analysed(source_file(tmp_path / side, **uids)).results[1]
        assert (capture.get("Laterality"), capture.ImageLaterality) == (None, side)
        assert dciodvfy(write(tmp_path / "capture.dcm", capture)) == []


def test_a_large_image_gives_a_small_capture(tmp_path):
    array = np.zeros((2000, 100), dtype=np.uint8)
    uids: dict[str, Any] = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    analysis = analysed(write(tmp_path / "tall", dataset(array, **uids)))
    assert max(analysis.results[1].Rows, analysis.results[1].Columns) == 1024


def test_the_same_work_gives_the_same_bytes(tmp_path):
    path = source_file(tmp_path / "source")
    first, second = analysed(path), analysed(path)
    assert [as_bytes(r) for r in first.results] == [as_bytes(r) for r in second.results]


def test_uids_are_uuids_of_version_8_and_tell_their_parts_apart():
    uid = derived_uid("report", "a", "b")
    number = int(uid.removeprefix("2.25."))
    assert UID(uid).is_valid
    assert (number >> 76 & 0xF, number >> 62 & 0x3) == (8, 2)
    assert uid == derived_uid("report", "a", "b") == "2.25." + str(number)
    assert len({uid, derived_uid("report", "ab"), derived_uid("report", "b", "a")}) == 3


def test_results_of_another_format_are_other_objects(monkeypatch):
    uid = derived_uid("report", "a", "b")
    monkeypatch.setattr(identity, "FORMAT", "2")
    assert derived_uid("report", "a", "b") != uid


def test_every_result_has_a_uid_of_its_own_in_two_series(tmp_path):
    analysis = analysed(source_file(tmp_path / "source"))
    assert len({result.SOPInstanceUID for result in analysis.results}) == 3
    assert len({result.SeriesInstanceUID for result in analysis.results}) == 2


def test_another_recipe_or_image_gives_other_uids(tmp_path):
    path = source_file(tmp_path / "source")
    model = make_model()
    other = Model.of(assemble([make_brick("one", 5, base=model.base)]), model.base, "cpu")
    second = source_file(tmp_path / "second", SOPInstanceUID="1.2.9")
    ours, elsewhere = analyse(model, [(path, WHEN), (second, WHEN)], None)
    (theirs,) = analyse(other, [(path, WHEN)], None)
    assert len({a.results[0].SOPInstanceUID for a in (ours, theirs, elsewhere)}) == 3


def test_one_bad_file_does_not_keep_the_others_from_an_answer(tmp_path):
    good, bad = source_file(tmp_path / "good"), tmp_path / "bad"
    bad.write_bytes(good.read_bytes()[:-200])
    analyses = analyse(make_model(), [(bad, WHEN), (good, WHEN)], None)
    assert [bool(one.results) for one in analyses] == [False, True]
    assert analyses[0].problem.startswith("expected")


def test_results_of_medlegos_own_are_not_answered(tmp_path):
    capture = analysed(source_file(tmp_path / "source")).results[1]
    again = analysed(write(tmp_path / "capture.dcm", capture))
    assert again.results == ()
    assert again.problem.startswith("a result of medlego")


def test_an_image_without_the_uids_to_refer_to_is_refused_with_all_of_them(tmp_path):
    path = source_file(tmp_path / "source", StudyInstanceUID="", SeriesInstanceUID="1.x")
    with pytest.raises(ImageError, match=r"2 problems\n.*StudyInstanceUID.*\n.*SeriesInstanceUID"):
        read_source(path)
