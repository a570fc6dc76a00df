"""Answers as DICOM: a structured report, and secondary captures with saliency overlays."""
