"""A training run's state on disk, so that a killed run goes on where its last epoch ended.

One safetensors file beside the brick to be; no pickle. The identity of the run (base, data,
settings) is stored with it, and a file of another run is refused rather than mixed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medlego.base import Base
from medlego.data import Dataset
from medlego.errors import TrainingError
from medlego.support import write_atomically
from medlego.train.epochs import EpochScores
from medlego.train.settings import TrainSettings
from medlego.train.starting_points import Earlier

_KEY = "medlego_training"
_FORMAT = 2


@dataclass
class State:
    """Where a run stands between two epochs."""

    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    best_score: float = float("-inf")
    best_loss: float = float("inf")
    best_scores: Mapping[str, float] = field(default_factory=dict)
    history: list[EpochScores] = field(default_factory=list)
    """Each epoch, and first what was before them where the head was fitted."""


def write_checkpoint(path: Path, identity: str, state: State, tensors: dict[str, Tensor]) -> None:
    """Write the state atomically."""
    history = [vars(epoch) for epoch in state.history]
    document = {"identity": identity, "format": _FORMAT, **vars(state), "history": history}
    text = json.dumps(document)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(whole, metadata={_KEY: text}))


def read_checkpoint(path: Path, identity: str) -> tuple[State, dict[str, Tensor]] | None:
    """Read the state, or None where there is no file.

    Raises:
        TrainingError: the file is damaged, of another version, or belongs to another run.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            document = json.loads((stream.metadata() or {})[_KEY])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        owner, format = document.pop("identity"), document.pop("format", 1)
        if format == _FORMAT:
            history = [EpochScores(**epoch) for epoch in document.pop("history")]
            state = State(**document, history=history)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise TrainingError(
            f"{path}: expected a training run's state, got a damaged file ({error}); delete it"
        ) from error
    if format != _FORMAT:
        raise TrainingError(
            f"{path}: expected a training run's state of format {_FORMAT}, got {format!r:.20}; "
            "delete it to train from the start, or finish with the medlego that wrote it"
        )
    if owner != identity:
        raise TrainingError(
            f"{path}: expected the state of this run, got another's (base, data or settings "
            "differ); delete it or choose another output"
        )
    return state, tensors


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, flat."""
    return {
        f"optimiser.{number}.{key}": torch.as_tensor(value)
        for number, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def run_identity(
    base: Base, dataset: Dataset, settings: TrainSettings, earlier: Earlier, device: str
) -> str:
    """What must be equal for a run to be resumed: base, settings, task, labels, first images."""
    digest = hashlib.sha256()
    whole = {
        "base": base.ref.model_dump(mode="json"),
        "task": dataset.task.model_dump(mode="json"),
        "settings": settings.of_training(),
        "start": None if earlier.start is None else earlier.start.digest,
        "company": [brick.digest for brick in earlier.others],
        "device": device,
    }
    if earlier.foundation is not None:
        whole["foundation"] = earlier.foundation.record()
    digest.update(json.dumps(whole, sort_keys=True).encode())
    for samples in (dataset.train, dataset.val):
        digest.update(np.ascontiguousarray(samples.labels).tobytes())
        for index in {0, len(samples) // 2, len(samples) - 1}:
            pixels = samples.images[index].pixels
            digest.update(pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()
