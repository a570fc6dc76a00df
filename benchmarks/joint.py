"""Joint training on all sets at once: the ceiling that needs every image in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from medlego.base import Base, Inputs, features
from medlego.bricks import Brick, Card, Head, attach
from medlego.data import Dataset
from medlego.metrics import point_scores
from medlego.train import TrainSettings
from medlego.train.augment import augmentation_for
from medlego.train.checkpoint import (
    State,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    write_checkpoint,
)
from medlego.train.factors import SvdFactors

VALIDATION_BATCH = 128


def train_joint(
    base: Base,
    sets: Mapping[str, Dataset],
    settings: TrainSettings,
    checkpoint: Path,
    show: Callable[[str, int, int], None],
) -> dict[str, Brick]:
    """One set of deltas and one head per task, trained on the union of all training images.

    Batches hold one task each, in proportion to its images; the epoch with the best mean
    validation balanced accuracy is kept. Multiclass tasks only.

    Returns:
        One brick per task; all share the same deltas.
    """
    targets = base.targets(settings.targets, settings.stem)
    factors = SvdFactors(targets, settings, "cpu")
    model = attach(base.module, targets, factors.by_target)
    heads = {name: _head(data, base.ref.features) for name, data in sets.items()}
    trainable = [p for pair in heads.values() for p in pair]
    optimiser = torch.optim.AdamW(
        [*factors.groups(), {"params": trainable, "lr": settings.head_rate}],
        weight_decay=settings.weight_decay,
    )
    rates = [group["lr"] for group in optimiser.param_groups]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    inputs = {name: Inputs(data.train.images, base) for name, data in sets.items()}
    val = {name: Inputs(data.val.images, base) for name, data in sets.items()}
    weights = {name: d.task.rules.class_weights(d.train.labels) for name, d in sets.items()}
    done, best = State(), [p.detach().clone() for p in parameters]
    identity = f"joint {base.ref.fingerprint} {base.ref.image_size} {settings.model_dump_json()}"
    if (saved := read_checkpoint(checkpoint, identity)) is not None:
        done, tensors = saved
        best = [tensors[f"best.{i}"] for i in range(len(best))]
        _assign(parameters, [tensors[f"now.{i}"] for i in range(len(best))])
        restore_optimiser(optimiser, tensors)
    epochs = settings.epochs_for(sum(map(len, inputs.values())))
    while done.epoch < epochs:
        generator = torch.Generator().manual_seed(settings.seed * 100_003 + done.epoch)
        batches = _batches(inputs, settings.batch_size, generator)
        for step, (name, indices) in enumerate(batches):
            position = (done.epoch * len(batches) + step) / (epochs * len(batches))
            show(f"joint epoch {done.epoch + 1}", step, len(batches))
            for group, full in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = full * _rate(position, settings.warm_up)
            augment = augmentation_for(sets[name].task)
            pixels = augment(inputs[name].take(indices.tolist()), generator)
            pooled = features(model, base.normalise(pixels))
            labels = torch.from_numpy(sets[name].train.labels)[indices]
            logits, rules = Head(*heads[name]).logits(pooled), sets[name].task.rules
            optimiser.zero_grad(set_to_none=True)
            loss = rules.loss(logits, labels, weights[name], settings.label_smoothing)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimiser.step()
            factors.retract()
        done.epoch += 1
        scores = {
            name: _validate(model, base, val[name], d, heads[name]) for name, d in sets.items()
        }
        mean = sum(scores.values()) / len(scores)
        if mean > done.best_score:
            done.best_score, done.best_epoch = mean, done.epoch
            done.best_scores = scores
            best = [p.detach().clone() for p in parameters]
        at_best = {f"best.{i}": t for i, t in enumerate(best)}
        now = {f"now.{i}": p.detach() for i, p in enumerate(parameters)}
        state = at_best | now | optimiser_tensors(optimiser)
        write_checkpoint(checkpoint, identity, done, state)
    _assign(parameters, best)
    deltas = factors.deltas()
    return {
        name: Brick(
            base.ref,
            data.task,
            targets,
            deltas,
            Head(*(p.detach().clone() for p in heads[name])),
            settings.model_dump(mode="json"),
            Card(data="joint training on all sets"),
        )
        for name, data in sets.items()
    }


def _head(data: Dataset, width: int) -> list[nn.Parameter]:
    rows, outputs = data.task.head_shape
    return [nn.Parameter(torch.zeros(rows, width)), nn.Parameter(torch.zeros(outputs))]


def _batches(
    inputs: Mapping[str, Inputs], size: int, generator: torch.Generator
) -> list[tuple[str, Tensor]]:
    batches = []
    for name, images in inputs.items():
        order = torch.randperm(len(images), generator=generator)
        batches += [(name, part) for part in torch.split(order, size)]
    mixed = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in mixed]


def _rate(position: float, warm_up: float) -> float:
    if position < warm_up:
        return max(position / warm_up, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (position - warm_up) / (1 - warm_up)))


@torch.no_grad()
def _validate(
    model: nn.Module, base: Base, inputs: Inputs, data: Dataset, head: list[nn.Parameter]
) -> float:
    pooled = torch.cat(
        [features(model, base.normalise(b)) for b in inputs.batches(VALIDATION_BATCH)]
    )
    probs = Head(*head).logits(pooled).softmax(dim=1).double().numpy()
    return point_scores(data.task, probs, data.val.labels)["balanced_accuracy"]


@torch.no_grad()
def _assign(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
