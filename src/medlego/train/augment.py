"""Augmentation fit for the modality, on whole batches, driven by an explicit generator.

torchvision's transforms draw from the global generator and apply one draw to a whole batch;
a resumed run must repeat the same draws, so they are made here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medlego.data import Task


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed and still show the same finding."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotation_deg: float = 10.0
    scale: float = 0.1
    """Largest relative change of size."""
    shift: float = 0.06
    """Largest shift, relative to the side."""
    gain: float = 0.15
    """Largest relative change of contrast."""
    offset: float = 0.08
    """Largest change of brightness, of the full range."""

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Change each image of a batch on its own.

        Args:
            pixels: (N, 3, size, size) in [0, 1].
            generator: on the CPU; one call draws the same numbers whatever the device.

        Returns:
            A new batch, same shape, in [0, 1].
        """
        count = len(pixels)

        def draw(limit: float) -> Tensor:
            spread = torch.rand(count, generator=generator) * 2 - 1
            return (spread * limit).to(pixels.device)

        def coin(allowed: bool) -> Tensor:
            up = torch.rand(count, generator=generator) < 0.5
            sign = 1.0 - 2.0 * up.float() * float(allowed)
            return sign.to(pixels.device)

        angle, size = draw(math.radians(self.rotation_deg)), 1 + draw(self.scale)
        cosine, sine = angle.cos() * size, angle.sin() * size
        flip_x, flip_y = coin(self.flip_horizontal), coin(self.flip_vertical)
        rows = torch.stack(
            [
                torch.stack([cosine * flip_x, -sine * flip_y, draw(2 * self.shift)], dim=1),
                torch.stack([sine * flip_x, cosine * flip_y, draw(2 * self.shift)], dim=1),
            ],
            dim=1,
        )
        grid = F.affine_grid(rows, list(pixels.shape), align_corners=False)
        moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        gain, offset = 1 + draw(self.gain), draw(self.offset)
        middle = moved.mean(dim=(1, 2, 3), keepdim=True)
        changed = (moved - middle) * gain.view(-1, 1, 1, 1) + middle + offset.view(-1, 1, 1, 1)
        return changed.clamp(0.0, 1.0)


_RADIOGRAPH = Augmentation()
_UPRIGHT = Augmentation(flip_horizontal=True)
_ANY_SIDE_UP = Augmentation(flip_horizontal=True, flip_vertical=True, rotation_deg=180.0)

_BY_MODALITY = {
    **dict.fromkeys(("US", "MR", "CT", "MG", "OP", "OPT"), _UPRIGHT),
    **dict.fromkeys(("SM", "GM", "DMS"), _ANY_SIDE_UP),
}


def augmentation_for(task: Task) -> Augmentation:
    """The augmentation that a task's modality allows.

    Radiographs and unknown modalities are never flipped: left and right, up and down carry
    meaning there (the heart's side, an air-fluid level).
    """
    return _BY_MODALITY.get(task.modality or "", _RADIOGRAPH)
