"""A prediction as a structured report after TID 1500, one measurement group per label."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from highdicom import sr
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medlego.images import nothing_said
from medlego.prediction import Answer, Prediction
from medlego.serve.pacs.results.algorithm import MODEL, NAME, Algorithm
from medlego.serve.pacs.results.coding import declared, label_code, own_code
from medlego.serve.pacs.results.source import Source
from medlego.serve.pacs.results.uids import derived_uid

RESEARCH_USE = "For research use only. Not a diagnosis, and not verified by a physician."
SERIES_NUMBER = 9901

_STATES = {
    "calibrated": ("calibrated", "Calibrated on validation images"),
    "stale": ("uncalibrated", "Not calibrated"),
    "none": ("uncalibrated", "Not calibrated"),
}


def structured_report(
    source: Source, prediction: Prediction, algorithm: Algorithm, when: datetime
) -> Dataset:
    """Report a generalist's answers to one image.

    Args:
        source: the image.
        prediction: the answers to it; without any, the report says so and why.
        algorithm: what answered.
        when: the report's date and time, given in the image's offset from UTC where it states one.

    Returns:
        A Comprehensive SR in the image's study. Its UID follows from the image and the recipe, its
        bytes from the arguments. Each label is a coded finding with its probability in percent
        (DCM 111012), whether it is answered, and whether its probability is calibrated.
    """
    with nothing_said():
        groups = list(_groups(source, prediction, algorithm))
        content = sr.MeasurementReport(
            observation_context=_observer(algorithm),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        )
        content[0].ContentSequence.append(_comment(RESEARCH_USE))
        schemes = (
            code.scheme
            for answer in prediction.answers
            for code in answer.task.codes or ()
            if code is not None
        )
        report = sr.ComprehensiveSR(
            evidence=[source.reference()],
            content=content[0],
            series_instance_uid=derived_uid("report series", algorithm.recipe, source.study_uid),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid("report", algorithm.recipe, source.sop_uid),
            instance_number=source.number,
            series_description="medlego report, research use only",
            coding_schemes=declared(("SCT", *schemes)),
            is_complete=True,
            **algorithm.equipment,
        )
        (study,) = report.CurrentRequestedProcedureEvidenceSequence
        (image,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        image.ReferencedSOPClassUID = source.sop_class_uid
        source.finish(report, when)
    return report


def _observer(algorithm: Algorithm) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", algorithm.recipe),
        name=MODEL,
        manufacturer_name=NAME,
        model_name=MODEL,
        serial_number=algorithm.recipe,
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(sr.CodedConcept(*codes.DCM.Device), device)
    )


def _groups(
    source: Source, prediction: Prediction, algorithm: Algorithm
) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    atypical = () if prediction.route is None else prediction.route.atypical
    for answer in prediction.answers:
        for label, prob in zip(answer.task.labels, answer.probs, strict=True):
            yield _finding(source, answer, label, prob, algorithm, answer.task.name in atypical)
    if not prediction.answers:
        yield _abstention(source, prediction, algorithm)


def _finding(
    source: Source, answer: Answer, label: str, prob: float, algorithm: Algorithm, atypical: bool
) -> sr.MeasurementsAndQualitativeEvaluations:
    task = answer.task.name
    presence = codes.DCM.Present if label in answer.labels else codes.DCM.Absent
    calibration = own_code(*_STATES[answer.state])
    evaluations = [
        _evaluation("answer", "Answer", presence),
        _evaluation("calibration", "Calibration of the probability", calibration),
    ]
    if atypical:
        value = own_code("atypical", "Atypical; from another site or device?")
        name = "Typicality among the training images"
        evaluations.append(_evaluation("typicality", name, value))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derived_uid("finding", algorithm.recipe, source.sop_uid, task, label),
            identifier=f"{task}: {label}",
        ),
        finding_type=label_code(answer.task, label),
        algorithm_id=_identification(algorithm, task),
        measurements=[
            sr.Measurement(
                codes.DCM.CertaintyOfFinding, value=round(100 * prob, 4), unit=codes.UCUM.Percent
            )
        ],
        qualitative_evaluations=evaluations,
        source_images=[_image(source)],
    )


def _abstention(
    source: Source, prediction: Prediction, algorithm: Algorithm
) -> sr.MeasurementsAndQualitativeEvaluations:
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=derived_uid("abstention", algorithm.recipe, source.sop_uid),
            identifier="no answer",
        ),
        algorithm_id=_identification(algorithm, None),
        qualitative_evaluations=[
            _evaluation("answer", "Answer", own_code("abstained", "No answer is given"))
        ],
        source_images=[_image(source)],
    )
    reason = "" if prediction.route is None else prediction.route.reason
    group[0].ContentSequence.append(_comment(f"No answer: {reason or 'no task was asked'}"))
    return group


def _evaluation(name: str, meaning: str, value: Code | CodedConcept) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(own_code(name, meaning), value)


def _identification(algorithm: Algorithm, task: str | None) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=MODEL,
        version=algorithm.version,
        parameters=algorithm.parameters(task),
        manufacturer=NAME,
    )


def _image(source: Source) -> sr.SourceImageForMeasurementGroup:
    return sr.SourceImageForMeasurementGroup(
        source.sop_class_uid,
        source.sop_uid,
        None if source.frame is None else [source.frame],
    )


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(
        codes.DCM.Comment, text, relationship_type=sr.RelationshipTypeValues.CONTAINS
    )
