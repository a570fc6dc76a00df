"""A training run's state on disk, so that a killed run goes on where its last epoch ended.

One safetensors file beside the brick to be; no pickle. The identity of the run (base, data,
settings) is stored with it, and a file of another run is refused rather than mixed in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
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
_DAMAGE = (
    SafetensorError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


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


def read_checkpoint(
    path: Path, identity: str, parameters: Sequence[Tensor] | None = None
) -> tuple[State, dict[str, Tensor]] | None:
    """Read the state of a run that trains these parameters, or None where there is no file.

    Without `parameters` history and tensors are left to the caller.

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
            state = TypeAdapter(State).validate_json(json.dumps(document), strict=True)
            if parameters is not None:
                _check_history(state)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
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
    try:
        if parameters is not None:
            _check_tensors(state, tensors, parameters)
    except ValueError as error:
        raise _damaged(path, error) from error
    return state, tensors


def _damaged(path: Path, error: Exception) -> TrainingError:
    why = str(error).partition("\n")[0]
    return TrainingError(
        f"{path}: expected a training run's state, got a damaged file ({why}); delete it"
    )


def _check_history(state: State) -> None:
    """Refuse rows that are not one an epoch up to the last, each with its loss.

    Raises:
        ValueError: they are not.
    """
    numbers = [row.number for row in state.history]
    whole = numbers in (list(range(first, state.epoch + 1)) for first in (0, 1))
    if not (numbers and whole and state.best_epoch in (0, *numbers)):  # 0: none was better
        raise ValueError("its history is not that of its epochs")
    if not all("loss" in row.scores for row in state.history):
        raise ValueError("an epoch has no loss")


def _check_tensors(
    state: State, tensors: Mapping[str, Tensor], parameters: Sequence[Tensor]
) -> None:
    """Refuse other tensors than the parameters, now and at best, and all of AdamW's or none.

    Raises:
        ValueError: names or shapes differ.
    """
    expected: dict[str, torch.Size] = {}
    stepped = False
    for i, parameter in enumerate(parameters):
        expected |= {f"now.{i}": parameter.shape, f"best.{i}": parameter.shape}
        names = (f"optimiser.{i}.{key}" for key in ("step", "exp_avg", "exp_avg_sq"))
        shapes = torch.Size(), parameter.shape, parameter.shape
        own = dict(zip(names, shapes, strict=True))
        if own.keys() & tensors.keys():  # a parameter without a gradient has none
            expected |= own
            stepped = True
    if stepped != (state.epoch > 0) or expected != {n: t.shape for n, t in tensors.items()}:
        raise ValueError("its tensors are not those of the run")


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
    """What must be equal for a run to be resumed: base, settings, task, labels, a few images.

    Three a split, so that no run reads every image twice; `medlego run`, whose results stay,
    compares all.
    """
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
