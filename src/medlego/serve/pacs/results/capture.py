"""Saliency as a secondary capture: the overlay with its legend, in colour."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from PIL import Image as Pillow
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medlego.images import Image, nothing_said
from medlego.prediction import Saliency, draw_overlay
from medlego.serve.pacs.results.algorithm import Algorithm
from medlego.serve.pacs.results.source import Source, stamp
from medlego.serve.pacs.results.uids import derived_uid

LARGEST_SIDE = 1024
"""Pixels: larger pictures are shrunk, since a map has one number for sixteen pixels a side."""
SERIES_NUMBER = 9902


def saliency_capture(
    source: Source, image: Image, saliency: Saliency, algorithm: Algorithm, when: datetime
) -> Dataset:
    """Show the saliency of one task's label over its image.

    Args:
        source: the image that `saliency` is of.
        image: its pixels.
        saliency: of the label that is shown.
        algorithm: what answered.
        when: the capture's date and time, given in the image's offset from UTC where it states one.

    Returns:
        A Secondary Capture in the image's study, in RGB, derived from the image. Its UID follows
        from the image, the recipe, the task and the method; its bytes from the arguments.
    """
    picture = draw_overlay(image, saliency, note="research use only")
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Pillow.Resampling.LANCZOS)
    task, method = saliency.task.name, saliency.method
    with nothing_said():
        capture = SCImage.from_ref_dataset(
            ref_dataset=source.reference(),
            pixel_array=np.asarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),
            series_instance_uid=derived_uid("capture series", algorithm.recipe, source.study_uid),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid("capture", algorithm.recipe, source.sop_uid, task, method),
            instance_number=source.number,
            series_description="medlego saliency, research use only",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            **algorithm.equipment,
        )
        capture.PatientOrientation = []  # a picture with a legend has none
        capture.Laterality = ""
        if source.laterality:
            # Laterality is the series', and one series holds captures of both sides.
            del capture.Laterality
            capture.ImageLaterality = source.laterality
        capture.ConversionType = "WSD"
        capture.SourceImageSequence = [_reference(source)]
        capture.DerivationDescription = (
            f"Evidence for and against {saliency.label!r} of task {task} by {method}; "
            f"recipe {algorithm.recipe}"
        )
        for keyword in ("LossyImageCompression", "BurnedInAnnotation"):
            if keyword in source.attributes:
                setattr(capture, keyword, source.attributes[keyword])
        stamp(capture, "{}OfSecondaryCapture", source.local(when))
        source.finish(capture, when)
    return capture


def _reference(source: Source) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class_uid
    reference.ReferencedSOPInstanceUID = source.sop_uid
    if source.frame is not None:
        reference.ReferencedFrameNumber = source.frame
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    reference.PurposeOfReferenceCodeSequence = [CodedConcept(*purpose)]
    reference.SpatialLocationsPreserved = "NO"
    return reference
