"""Training one brick: a specialist's deltas and head on a frozen base."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from medlego.base import Base, Inputs, Moments, features
from medlego.bricks import (
    Brick,
    Card,
    Head,
    check_delta,
    on_device,
    probabilities,
    set_other_bricks,
    tools_used,
)
from medlego.data import Dataset, Kind, Samples, describe
from medlego.errors import BrickError, TrainingError, raise_all
from medlego.metrics import point_scores
from medlego.support import Progress, field_problems, silent
from medlego.train.augment import augmentation_for
from medlego.train.calibrate import fit_calibration
from medlego.train.checkpoint import (
    State,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    run_identity,
    write_checkpoint,
)
from medlego.train.grams import check_images, measure_grams
from medlego.train.head import explicit, implicit, new_head
from medlego.train.head_fit import choose_head
from medlego.train.losses import Loss, class_weights
from medlego.train.merge_aware import Company, needs_random, own_moments
from medlego.train.profiles import make_profile
from medlego.train.settings import GOING_ON, TrainSettings
from medlego.train.starting_points import Earlier
from medlego.train.warm_start import Foundation

EVALUATION_BATCH = 128
Watch = Callable[[Sequence[float], Callable[[], Brick]], None]


def train_brick(
    base: Base,
    dataset: Dataset,
    settings: TrainSettings | None = None,
    *,
    start: Brick | None = None,
    company: Sequence[Brick] = (),
    checkpoint: str | Path | None = None,
    device: str = "auto",
    data_note: str | None = None,
    licence: str | None = None,
    foundation: Foundation | None = None,
    watch: Watch | None = None,
    show: Progress = silent,
) -> Brick:
    """Train a brick on the `train` split and choose its epoch on `val`; `test` stays unread.

    Args:
        base: the frozen backbone; not modified.
        dataset: one task's labelled images.
        settings: see `TrainSettings`; its seed decides every draw.
        start: an earlier brick of this task, of the same targets and rank, to go on from.
        company: published bricks of other tasks on this base, to train among; random
            strangers stand in where there are too few.
        checkpoint: a file that keeps the state after each epoch. An existing one is resumed;
            it is removed when training ends.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one (mixed precision there).
        data_note, licence: free text for the card.
        foundation: deltas of other tasks' bricks to start from, see `medlego.train.adapt`.
        watch: called after each epoch, and before the first where `head_first` is set, with the
            selecting scores so far and a function that makes the brick as it stands.
        show: called with what is under way, done and total.

    Returns:
        The brick of the best epoch, its deltas in canonical form. Same base, data, settings,
        machine type and thread count: same bytes.

    Raises:
        BaseError: targets that the base lacks.
        BrickError: a note that a card cannot hold, or a start or company that does not fit.
        SettingsError: too few images for the Grams that the settings ask for, or company without
            `merge_aware`.
        TrainingError: the loss is not finite, or the checkpoint belongs to another run.
    """
    settings = settings or TrainSettings()
    notes = _notes(data_note, licence)
    if settings.gram:
        check_images(len(dataset.train))
    if settings.profile_epsilon is not None:
        check_delta(settings.profile_delta, len(dataset.train))
    device = default_device(device)
    earlier = Earlier(start, tuple(company), foundation)
    earlier.check(base, dataset.task, settings)
    run = _Run(base, dataset, settings, earlier, device, show)
    path = None if checkpoint is None else Path(checkpoint)
    identity = run_identity(base, dataset, settings, earlier, device)
    state = None if path is None else read_checkpoint(path, identity)
    if state is not None:
        run.restore(*state)
    elif settings.head_first:
        run.fit_head()
        if watch is not None:
            watch(run.state.history, lambda: run.brick(notes))
    while not run.finished:
        run.epoch()
        if watch is not None:
            watch(run.state.history, lambda: run.brick(notes))
        if path is not None:
            write_checkpoint(path, identity, run.state, run.tensors())
    brick = run.with_profile(run.with_grams(run.with_calibration(run.best_brick(notes))))
    if path is not None:
        path.unlink(missing_ok=True)
    return brick


def default_device(device: str) -> str:
    """`auto` becomes a GPU where there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@dataclass(frozen=True, eq=False)
class _Split:
    inputs: Inputs
    labels: Tensor


class _Run:
    """The state of one training run; an epoch's draws depend on seed and epoch alone."""

    def __init__(
        self,
        base: Base,
        dataset: Dataset,
        settings: TrainSettings,
        earlier: Earlier,
        device: str,
        show: Progress,
    ) -> None:
        self._base, self._dataset, self._settings = base, dataset, settings
        self._earlier, self._device, self._show = earlier, device, show
        self._targets = base.targets(settings.targets, settings.stem)
        self._factors = earlier.factors(self._targets, settings, device)
        frozen = on_device(base.module, device)
        if earlier.foundation is not None:
            frozen = earlier.foundation.below(frozen)
        self._model = self._factors.attach(frozen)
        self._head = new_head(dataset.task, base.ref.features, device)
        if (start := earlier.start) is not None:
            self._head = implicit(dataset.task, start.head, device)
        self._optimiser = torch.optim.AdamW(
            [
                *self._factors.groups(),
                {"params": self._head, "lr": settings.head_rate},
            ],
            weight_decay=settings.weight_decay,
        )
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        if start is not None:
            self._rates = [GOING_ON * rate for rate in self._rates[:-1]] + self._rates[-1:]
        self._train = self._split(dataset.train)
        self._val = self._split(dataset.val)
        balanced = settings.class_weights == "balanced"
        weights = class_weights(dataset.task, dataset.train.labels, balanced)
        self._loss = Loss(dataset.task, weights.to(device), settings.label_smoothing)
        self._plain_loss = Loss(dataset.task, weights.to(device))
        self._augment = augmentation_for(dataset.task) if settings.augment else None
        self._epochs = settings.epochs_for(len(dataset.train), going_on=start is not None)
        self._company: Company | None = None
        if settings.merge_aware:
            self._company = self._imagine_company(frozen)
        self._best = self._parameters()
        self.state = State()

    def _imagine_company(self, frozen: nn.Module) -> Company:
        """The merges that merge-aware training takes place in."""
        bricks = self._earlier.company
        own: Moments = {}
        if needs_random(bricks, self._settings):
            own = own_moments(self._base, frozen, self._targets, self._train.inputs)
        if not all(torch.isfinite(moment).all() for moment in own.values()):
            raise TrainingError(
                f"training {self._dataset.task.name!r}: expected finite activations of the base, "
                "got NaN or infinity; check the images"
            )
        return Company(frozen, self._targets, own, bricks, self._settings)

    def _split(self, samples: Samples) -> _Split:
        return _Split(Inputs(samples.images, self._base), torch.from_numpy(samples.labels))

    @property
    def finished(self) -> bool:
        """All epochs done, or none better for `patience` epochs."""
        done = self.state
        return done.epoch >= self._epochs or (
            done.epoch - done.best_epoch >= self._settings.patience
        )

    @torch.no_grad()
    def fit_head(self) -> None:
        """Bring the head to its best on the features as they are; a candidate as epoch 0.

        Source: Kumar et al. 2022, arXiv:2202.10054, who probe before they fine-tune.
        """
        parts = [
            (self._features(split.inputs), samples.labels)
            for split, samples in (
                (self._train, self._dataset.train),
                (self._val, self._dataset.val),
            )
        ]
        task = self._dataset.task
        fitted = choose_head(task, parts[0], parts[1:])
        for parameter, value in zip(
            self._head, implicit(task, fitted.head, self._device), strict=True
        ):
            parameter.copy_(value)
        self._validate()

    def _features(self, inputs: Inputs) -> Tensor:
        """Pooled features of images as they are, on the CPU, as the model stands."""
        found: list[Tensor] = []
        for pixels in inputs.batches(EVALUATION_BATCH):
            self._show("features for the head", len(found) * EVALUATION_BATCH, len(inputs))
            found.append(self._pooled(pixels.to(self._device)).cpu())
        return torch.cat(found)

    def epoch(self) -> None:
        """One pass over the training images, then validation."""
        count, batch = len(self._train.inputs), self._settings.batch_size
        generator = torch.Generator().manual_seed(_mix(self._settings.seed, self.state.epoch))
        order = torch.randperm(count, generator=generator)
        steps = math.ceil(count / batch)
        for step in range(steps):
            self._show(
                f"epoch {self.state.epoch + 1} of {self._epochs}",
                self.state.epoch * steps + step,
                self._epochs * steps,
            )
            self._step(
                order[step * batch : (step + 1) * batch],
                self._rate_at(self.state.epoch * steps + step, self._epochs * steps),
                generator,
            )
        self.state.epoch += 1
        self._validate()
        if self.finished:
            self._show("trained", self._epochs * steps, self._epochs * steps)

    def _step(self, indices: Tensor, rate: float, generator: torch.Generator) -> None:
        pixels = self._train.inputs.take(indices.tolist()).to(self._device)
        if self._augment is not None:
            pixels = self._augment(pixels, generator)
        for group, full in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = full * rate
        if self._company is not None:
            set_other_bricks(self._model, *self._company.draw(self._factors.by_target, generator))
        loss = self._loss(self._logits(pixels), self._train.labels[indices].to(self._device))
        if not torch.isfinite(loss):
            raise TrainingError(
                f"training {self._dataset.task.name!r}: expected a finite loss, got {loss.item()} "
                f"in epoch {self.state.epoch + 1}; lower the learning rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._trainable(), self._settings.clip_norm)
        self._optimiser.step()
        self._factors.retract()

    @torch.no_grad()
    def _validate(self) -> None:
        """Keep the epoch that is best alone and in company, both counting half."""
        set_other_bricks(self._model, 1.0, {})
        scores = self._scores()
        score, loss = self._selecting(scores), scores["loss"]
        if self._company is not None:
            set_other_bricks(self._model, *self._company.largest(self._factors.by_target))
            among = self._scores()
            score = (score + self._selecting(among)) / 2
            loss = (loss + among["loss"]) / 2
            scores |= {f"{name}_in_company": value for name, value in among.items()}
        state = self.state
        state.history.append(round(score, 6))
        if (score, -loss) > (state.best_score, -state.best_loss):
            state.best_epoch, state.best_score, state.best_loss = state.epoch, score, loss
            state.best_scores = scores
            self._best = self._parameters()

    def _scores(self) -> dict[str, float]:
        """Validation scores and the loss without smoothing, as the model stands."""
        logits, task = self._val_logits(), self._dataset.task
        loss = float(self._plain_loss(logits, self._val.labels.to(self._device)))
        probs = probabilities(task, logits).cpu().double().numpy()
        return {**point_scores(task, probs, self._dataset.val.labels), "loss": loss}

    def _val_logits(self) -> Tensor:
        batches = self._val.inputs.batches(EVALUATION_BATCH)
        return torch.cat([self._logits(pixels.to(self._device)) for pixels in batches])

    def _selecting(self, scores: dict[str, float]) -> float:
        by = self._settings.select_by
        if by == "auto":
            task = self._dataset.task
            by = "auroc" if task.kind is Kind.MULTILABEL else "balanced_accuracy"
        return scores[by] if math.isfinite(scores[by]) else -scores["loss"]

    def _logits(self, pixels: Tensor) -> Tensor:
        """Logits in float32."""
        return Head(*explicit(self._dataset.task, self._head)).logits(self._pooled(pixels))

    def _pooled(self, pixels: Tensor) -> Tensor:
        """Features in float32; the backbone in bfloat16 on a GPU."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self._device.startswith("cuda")):
            return features(self._model, self._base.normalise(pixels)).float()

    def _rate_at(self, step: int, total: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        rise = self._settings.warm_up * total
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, total - rise)))

    def _trainable(self) -> list[nn.Parameter]:
        return [p for group in self._optimiser.param_groups for p in group["params"]]

    def _parameters(self) -> list[Tensor]:
        return [p.detach().cpu().clone() for p in self._trainable()]

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs besides `state`."""
        now = {f"now.{i}": p for i, p in enumerate(self._parameters())}
        best = {f"best.{i}": p for i, p in enumerate(self._best)}
        return now | best | optimiser_tensors(self._optimiser)

    def restore(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.state = state
        self._best = [tensors[f"best.{i}"] for i in range(len(self._best))]
        self._assign([tensors[f"now.{i}"] for i in range(len(self._best))])
        restore_optimiser(self._optimiser, tensors)

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._trainable(), values, strict=True):
            parameter.copy_(value)

    def best_brick(self, notes: Card) -> Brick:
        """The brick of the best epoch."""
        self._assign(self._best)
        return self.brick(notes)

    def brick(self, notes: Card) -> Brick:
        """The brick as it stands."""
        task, labels = self._dataset.task, self._dataset.task.labels
        weight, bias = explicit(task, self._head)
        card = notes.model_copy(
            update={
                "images": {
                    "train": describe(self._dataset.train, labels),
                    "val": describe(self._dataset.val, labels),
                },
                "scores": {name: round(s, 6) for name, s in self.state.best_scores.items()},
                "made_with": tools_used(self._device),
            }
        )
        settings = self._settings.of_training()
        settings |= {"epochs": self._epochs, "best_epoch": self.state.best_epoch}
        settings |= self._earlier.digests()
        targets, deltas = self._targets, self._factors.deltas()
        if self._earlier.foundation is not None:
            targets, deltas = self._earlier.foundation.whole(targets, deltas)
        return Brick(
            base=self._base.ref,
            task=task,
            targets=targets,
            deltas=deltas,
            head=Head(weight.detach().cpu().clone(), bias.detach().cpu().clone()),
            settings=settings,
            card=card,
        )

    @torch.no_grad()
    def with_calibration(self, brick: Brick) -> Brick:
        """The best epoch's brick with its calibration, unless settings or few images forbid it."""
        if not self._settings.calibrate:
            return brick
        set_other_bricks(self._model, 1.0, {})
        found = fit_calibration(
            self._dataset.task,
            self._val_logits(),
            self._dataset.val.labels,
            patients=self._dataset.val.patients,
            aim=self._settings.aim,
            seed=self._settings.seed,
        )
        return replace(brick, calibration=found)

    def with_grams(self, brick: Brick) -> Brick:
        """The brick with the Gram matrices that the settings ask for."""
        if not (directions := self._settings.gram):
            return brick
        inputs, device = self._train.inputs, self._device
        grams = measure_grams(self._base, brick, inputs, directions, device=device, show=self._show)
        return replace(brick, grams=grams)

    def with_profile(self, brick: Brick) -> Brick:
        """The brick with its profile, unless the settings or too few images forbid it."""
        inputs, device = self._train.inputs, self._device
        found = make_profile(self._base, inputs, self._settings, device=device, show=self._show)
        return replace(brick, profile=found)


def _notes(data: str | None, licence: str | None) -> Card:
    """The card's free text, refused before an hour of training instead of after it."""
    try:
        return Card(data=data, licence=licence)
    except ValidationError as error:
        raise_all(BrickError, "card", field_problems(error))
        raise


def _mix(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}:{epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "little")
