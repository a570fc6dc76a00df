"""The device that a model runs on."""

from __future__ import annotations

import re

import torch

from medlego.errors import SettingsError


def resolve_device(device: str) -> str:
    """`auto` becomes a GPU if there is one.

    Raises:
        SettingsError: another word than `auto`, `cpu`, `cuda` or `cuda:N`, or no such GPU.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise SettingsError(f"device: expected cpu, cuda, cuda:N or auto, got {device!r}")
    if device == "cpu":
        return device
    count = torch.cuda.device_count()
    if int(device.partition(":")[2] or 0) >= count:
        raise SettingsError(
            f"device: expected one of {count} GPUs here, got {device!r}; choose cpu or auto"
        )
    return device
