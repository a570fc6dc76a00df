"""The modalities there are to draw."""

from __future__ import annotations

from medlego.data.synthetic import cells, mri, ultrasound, xray

MODALITIES = (xray, ultrasound, mri, cells)
