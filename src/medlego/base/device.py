"""The device that a model runs on."""

from __future__ import annotations

import torch

from medlego.errors import SettingsError


def resolve_device(device: str) -> str:
    """`auto` becomes a GPU if there is one.

    Raises:
        SettingsError: another word than `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise SettingsError(f"device: expected cpu, cuda or auto, got {device!r}")
    return device
