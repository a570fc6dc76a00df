"""Cross-sections turned to how they are read, by what the file says of the patient's axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ORIENTATION_TOLERANCE = 1e-2
"""How far two direction cosines may be from unit length and a right angle."""

_READ_AS = {0: (1, 2, (1, -1)), 1: (0, 2, (1, -1)), 2: (0, 1, (1, 1))}
"""Normal axis → axis along columns, axis along rows, and which way each runs (LPS).

Sagittal: columns run posterior, rows run down to the feet. Coronal: left and feet. Axial: left
and posterior.
"""

_NAMES = {0: "sagittal", 1: "coronal", 2: "axial"}
_ENDS = (("R", "L"), ("A", "P"), ("F", "H"))


@dataclass(frozen=True)
class Turn:
    """How stored rows and columns become those that are read."""

    transposed: bool
    flipped_rows: bool
    flipped_columns: bool
    applied: str

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Turn (rows, columns, …)."""
        if self.transposed:
            array = array.swapaxes(0, 1)
        return array[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]


def turn_for(cosines: tuple[float, ...]) -> Turn | None:
    """The turn of an Image Orientation (Patient), None where its six numbers say nothing.

    The nearest of axial, coronal and sagittal decides; an oblique image is turned by quarters
    and flips only, never interpolated.
    """
    if len(cosines) != 6 or not np.isfinite(cosines).all():
        return None
    columns, rows = np.array(cosines[:3]), np.array(cosines[3:])
    skew = abs(columns @ columns - 1), abs(rows @ rows - 1), abs(columns @ rows)
    if max(skew) > ORIENTATION_TOLERANCE:
        return None
    normal = int(np.abs(np.cross(columns, rows)).argmax())
    across, down, (right, below) = _READ_AS[normal]
    transposed = abs(columns[across]) < abs(rows[across])
    if transposed:
        columns, rows = rows, columns
    flips = bool(rows[down] * below < 0), bool(columns[across] * right < 0)
    ends = _ENDS[across][right > 0], _ENDS[down][below > 0]
    changed = transposed or any(flips)
    how = "turned" if changed else "as stored"
    phrase = f"orientation: {_NAMES[normal]}, {how}, columns to {ends[0]}, rows to {ends[1]}"
    return Turn(transposed, *flips, phrase)
