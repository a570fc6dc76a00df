"""Training one brick: a specialist's deltas and head on a frozen base."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from medlego.base import Base, BaseLike, open_base, resolve_device
from medlego.bricks import (
    IN_MERGE,
    Brick,
    Card,
    Head,
    check_delta,
    on_device,
    set_other_bricks,
)
from medlego.data import Dataset, DatasetLike, open_dataset
from medlego.errors import TrainingError
from medlego.metrics import check_aim, point_scores
from medlego.support import Progress, silent
from medlego.train.batches import Batches, ImageBatches, TokenBatches, mix
from medlego.train.calibrate import fit_calibration
from medlego.train.card import card_notes, training_card
from medlego.train.checkpoint import (
    State,
    optimiser_tensors,
    read_checkpoint,
    restore_optimiser,
    run_identity,
    write_checkpoint,
)
from medlego.train.epochs import Callback, Epoch, EpochScores, check_callbacks
from medlego.train.grams import check_images, measure_grams
from medlego.train.head import explicit, implicit, new_head
from medlego.train.head_fit import choose_head
from medlego.train.merge_aware import SimulatedMerges, needs_random, own_moments
from medlego.train.profiles import make_profile
from medlego.train.settings import GOING_ON, TrainSettings
from medlego.train.starting_points import Earlier
from medlego.train.warm_start import Foundation


def train_brick(
    base: BaseLike,
    dataset: DatasetLike,
    settings: TrainSettings | None = None,
    *,
    start: Brick | None = None,
    others: Sequence[Brick] = (),
    checkpoint: str | Path | None = None,
    device: str = "auto",
    data_note: str | None = None,
    licence: str | None = None,
    foundation: Foundation | None = None,
    callbacks: Sequence[Callback] = (),
    save: Callable[[Brick], object] | None = None,
    show: Progress = silent,
) -> Brick:
    """Train a brick on the `train` split and choose its epoch on `val`; `test` stays unread.

    Args:
        base: the frozen backbone, or its name; not modified.
        dataset: one task's labelled images, or what `load_dataset` reads.
        settings: see `TrainSettings`; its seed decides every draw.
        start: an earlier brick of this task, of the same targets and rank, to go on from.
        others: published bricks of other tasks on this base, for merge-aware training; random
            deltas stand in where there are too few.
        checkpoint: a file that keeps the state after each epoch. An existing one is resumed;
            it is removed when training has ended and `save` returned.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one (mixed precision there).
        data_note, licence: free text for the card.
        foundation: deltas of other tasks' bricks to start from, see `medlego.train.adapt`.
        callbacks: each is called with an `Epoch` after each epoch, and before the first where
            `head_first` is set; first with the last finished epoch where a run is resumed. The
            checkpoint is written before, so that an error of theirs ends the run and loses nothing.
        save: called with the brick before the checkpoint is removed, so that nothing is lost
            where writing it fails.
        show: called with what is under way, done and total.

    Returns:
        The brick of the best epoch, its deltas in canonical form. Same base, data, settings,
        machine type and thread count: same bytes.

    Raises:
        BaseError: targets that the base lacks.
        BrickError: a note that a card cannot hold, or a start or others that do not fit.
        DatasetError: no training image of a label can be read, or no data set.
        SettingsError: too few images for the Grams that the settings ask for, others without
            `merge_aware`, or callbacks that are no functions.
        TrainingError: the loss is not finite, or the checkpoint belongs to another run.
    """
    base, dataset = open_base(base), open_dataset(dataset)
    settings = settings or TrainSettings()
    check_aim(settings.aim, dataset.task)
    check_callbacks(callbacks)
    notes = card_notes(data_note, licence)
    device = resolve_device(device)
    earlier = Earlier(start, tuple(others), foundation)
    earlier.check(base, dataset.task, settings)
    run = _Run(base, dataset, settings, earlier, device, show)
    if settings.gram:
        check_images(len(run.dataset.train))
    if settings.profile_epsilon is not None:
        check_delta(settings.profile_delta, len(run.dataset.train))
    path = None if checkpoint is None else Path(checkpoint)
    identity = run_identity(base, run.dataset, settings, earlier, device)
    state = None if path is None else read_checkpoint(path, identity, run.trainable())
    if state is not None:
        run.restore(*state)
        run.tell(callbacks, notes)
    elif settings.head_first:
        run.fit_head()
        run.keep(path, identity)
        run.tell(callbacks, notes)
    while not run.finished:
        run.epoch()
        run.keep(path, identity)
        run.tell(callbacks, notes)
    brick = run.finish(notes)
    if save is not None:
        save(brick)
    if path is not None:
        path.unlink(missing_ok=True)
    return brick


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
        self._images = ImageBatches(base, dataset, settings, device)
        self.dataset = dataset = self._images.dataset
        self._train, self._val = self._images.inputs
        self._base, self._settings = base, settings
        self._earlier, self._device, self._show = earlier, device, show
        self._targets = base.targets(settings.targets, settings.stem)
        self._factors = earlier.factors(self._targets, settings, device)
        frozen = on_device(base.module, device)
        if earlier.foundation is not None:
            frozen = earlier.foundation.below(frozen)
        self._frozen, self._model = frozen, self._factors.attach(frozen)
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
        self._labels = torch.from_numpy(dataset.train.labels)
        weights = torch.ones(len(dataset.task.labels))
        if settings.class_weights == "balanced":
            weights = dataset.task.rules.class_weights(dataset.train.labels)
        self._weights = weights.to(device)
        self._epochs = settings.epochs_for(len(dataset.train), going_on=start is not None)
        self._merges: SimulatedMerges | None = None
        if settings.merge_aware:
            random = needs_random(earlier.others, settings)
            own = own_moments(base, frozen, self._targets, self._train) if random else {}
            self._merges = SimulatedMerges(frozen, self._targets, own, earlier.others, settings)
        self._best = self._parameters()
        self.state = State()

    @cached_property
    def _batches(self) -> Batches:
        """Made when it is first read, after all checks."""
        if not self._settings.views:
            return self._images
        return TokenBatches(self._images, self._frozen, self._settings, self._show)

    @property
    def finished(self) -> bool:
        """All epochs done, or none better for `patience` epochs."""
        waited = self.state.epoch - self.state.best_epoch
        return self.state.epoch >= self._epochs or waited >= self._settings.patience

    @torch.no_grad()
    def fit_head(self) -> None:
        """Bring the head to its best on the features as they are; a candidate as epoch 0.

        Source: Kumar et al. 2022, arXiv:2202.10054, who probe before they fine-tune.
        """
        task = self.dataset.task
        train, val = self._images.labelled_features(self._model, self._show)
        fitted = implicit(task, choose_head(task, train, [val]).head, self._device)
        for parameter, value in zip(self._head, fitted, strict=True):
            parameter.copy_(value)
        self._validate(None, 0.0)

    def epoch(self) -> None:
        """One pass over the training images, then validation."""
        count, batch = len(self._train), self._settings.batch_size
        generator = torch.Generator().manual_seed(mix(self._settings.seed, self.state.epoch))
        order = torch.randperm(count, generator=generator)
        steps, summed, rate = math.ceil(count / batch), 0.0, 0.0
        done, total = self.state.epoch * steps, self._epochs * steps
        for step, indices in enumerate(torch.split(order, batch), start=done):
            self._show(f"epoch {self.state.epoch + 1} of {self._epochs}", step, total)
            rate = self._rate_at(step, total)
            summed += self._step(indices, rate, generator) * len(indices)
        self.state.epoch += 1
        self._validate(summed / count, rate)
        if self.finished:
            self._show("trained", total, total)

    def _step(self, indices: Tensor, rate: float, generator: torch.Generator) -> float:
        """The loss before the step."""
        batch = self._batches.train(indices, self.state.epoch, generator)
        for group, full in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = full * rate
        if self._merges is not None:
            set_other_bricks(self._model, *self._merges.draw(self._factors.by_target, generator))
        logits, labels = self._logits(batch), self._labels[indices].to(self._device)
        smoothing = self._settings.label_smoothing
        loss = self.dataset.task.rules.loss(logits, labels, self._weights, smoothing)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"training {self.dataset.task.name!r}: expected a finite loss, got {loss.item()} "
                f"in epoch {self.state.epoch + 1}; lower the learning rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.trainable(), self._settings.clip_norm)
        self._optimiser.step()
        self._factors.retract()
        return loss.item()

    @torch.no_grad()
    def _validate(self, train_loss: float | None, rate: float) -> None:
        """Keep the epoch that is best alone and in a merge, both counting half."""
        set_other_bricks(self._model, 1.0, {})
        scores = self._scores()
        score, loss = self._selecting(scores), scores["loss"]
        if self._merges is not None:
            set_other_bricks(self._model, *self._merges.largest(self._factors.by_target))
            merged = self._scores()
            score = (score + self._selecting(merged)) / 2
            loss = (loss + merged["loss"]) / 2
            scores |= {name + IN_MERGE: value for name, value in merged.items()}
        state = self.state
        best = (score, -loss) > (state.best_score, -state.best_loss)
        selecting = round(score, 6)
        state.history.append(EpochScores(state.epoch, train_loss, scores, selecting, rate, best))
        if best:
            state.best_epoch, state.best_score, state.best_loss = state.epoch, score, loss
            state.best_scores = scores
            self._best = self._parameters()

    def _scores(self) -> dict[str, float]:
        """Validation scores and the loss without smoothing, as the model stands."""
        logits, task, labels = self._val_logits(), self.dataset.task, self.dataset.val.labels
        truth = torch.from_numpy(labels).to(self._device)
        loss = float(task.rules.loss(logits, truth, self._weights))
        probs = task.rules.probabilities(logits).cpu().double().numpy()
        return {**point_scores(task, probs, labels), "loss": loss}

    def _val_logits(self) -> Tensor:
        return torch.cat([self._logits(batch) for batch in self._batches.val()])

    def _selecting(self, scores: dict[str, float]) -> float:
        by = self._settings.select_by
        if by == "auto":
            by = self.dataset.task.rules.selects_by
        return scores[by] if math.isfinite(scores[by]) else -scores["loss"]

    def _logits(self, batch: Tensor) -> Tensor:
        """Logits in float32."""
        pooled = self._batches.features(self._model, batch)
        return Head(*explicit(self.dataset.task, self._head)).logits(pooled)

    def _rate_at(self, step: int, total: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        rise = self._settings.warm_up * total
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, total - rise)))

    def trainable(self) -> list[nn.Parameter]:
        """All parameters, the head's last."""
        return [p for group in self._optimiser.param_groups for p in group["params"]]

    def _parameters(self) -> list[Tensor]:
        return [p.detach().cpu().clone() for p in self.trainable()]

    def tell(self, callbacks: Sequence[Callback], notes: Card) -> None:
        """Call each with the last epoch, whose brick can be made until all have been called."""
        history = tuple(
            replace(row, scores=MappingProxyType(dict(row.scores))) for row in self.state.history
        )
        last, over, task = history[-1], False, self.dataset.task.name

        def brick() -> Brick:
            if over:
                raise TrainingError(
                    f"training {task!r}: expected brick() of epoch {last.number} during its "
                    "callback, got it later; call it in the callback and keep the brick"
                )
            scores = last.scores
            return self.brick(
                notes, replace(self.state, best_epoch=last.number, best_scores=scores)
            )

        epoch = Epoch(**vars(last), epochs=self._epochs, history=history, brick=brick)
        try:
            for callback in callbacks:
                callback(epoch)
        finally:
            over = True

    def keep(self, path: Path | None, identity: str) -> None:
        """Write the checkpoint, if there is to be one."""
        if path is not None:
            write_checkpoint(path, identity, self.state, self.tensors())

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
        for parameter, value in zip(self.trainable(), values, strict=True):
            parameter.copy_(value)

    def brick(self, notes: Card, state: State) -> Brick:
        """The brick as it stands; `state` has the epoch and scores that it states."""
        task = self.dataset.task
        weight, bias = explicit(task, self._head)
        card = training_card(notes, self.dataset, self._train, self._val, state, self._device)
        settings = self._settings.of_training()
        settings |= {"epochs": self._epochs, "best_epoch": state.best_epoch}
        settings |= self._earlier.record()
        if (aim := self._settings.aim) is not None:
            settings[aim.aim] = aim.value
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
    def finish(self, notes: Card) -> Brick:
        """The brick of the best epoch, with the calibration, Grams and profile of the settings."""
        self._assign(self._best)
        set_other_bricks(self._model, 1.0, {})
        brick, settings, val = self.brick(notes, self.state), self._settings, self.dataset.val
        device, show = self._device, self._show
        if settings.calibrate:
            calibration = fit_calibration(
                brick.task,
                self._val_logits(),
                val.labels,
                patients=val.patients,
                aim=settings.aim,
                seed=settings.seed,
            )
            brick = replace(brick, calibration=calibration)
        if settings.gram:
            inputs, directions = self._train, settings.gram
            grams = measure_grams(self._base, brick, inputs, directions, device=device, show=show)
            brick = replace(brick, grams=grams)
        profile = make_profile(self._base, self._train, settings, device=device, show=show)
        return replace(brick, profile=profile)
