"""Training settings: one frozen value, stored in the brick that was trained with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medlego.base import DEFAULT_KINDS
from medlego.bricks import MAX_EPSILON, MAX_GRAM_DIRECTIONS
from medlego.errors import SettingsError
from medlego.metrics import Aim
from medlego.support import FrozenModel, read_fields

Rate = Annotated[float, Field(gt=0, le=1)]


class TrainSettings(FrozenModel, populate_by_name=True):
    """Everything that decides a training run besides the base and the data.

    `epochs` left out becomes as many as make about `AUTO_STEPS` steps, within bounds.
    """

    rank: Annotated[int, Field(ge=1, le=1024)] = 4
    """Of each target's update."""
    targets: tuple[str, ...] = DEFAULT_KINDS
    """Linear layers of each block that are adapted, such as `q`, `k`, `v`, `proj`, `fc1`, `fc2`."""
    stem: Annotated[int, Field(ge=0)] = 0
    """Leading blocks that are not adapted."""
    parametrisation: Literal["svd", "lora"] = "svd"
    """Whether U, S and Vh are trained, or the two factors of plain LoRA."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=1 << 20)] = 32
    """Images per step."""
    learning_rate: Rate = 5e-3
    """Of the singular vectors, or of both LoRA factors."""
    singular_rate: Rate = 3e-2
    """Of the singular values."""
    head_rate: Rate = 2e-3
    """Of the head."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Of AdamW."""
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the rates rise."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient of a step."""
    class_weights: Literal["balanced", "none"] = "balanced"
    """Of the loss: `balanced` gives rare labels more weight."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the target probability that is spread over all labels."""
    augment: bool = True
    """Change the training images at random, as far as the modality allows."""
    views: Annotated[int, Field(ge=0, le=1024)] = 0
    """Augmentations of each training image that are made once; epochs take turns. Only their tokens
    after the stem are kept, which saves its passes: 2 · tokens · width bytes a view, 19 kB on
    DeiT-Tiny at 112 px. 0 augments anew at each step."""
    merge_aware: bool = False
    """Train with other bricks' deltas, as in a merge; see `medlego.train.merge_aware`."""
    merge_size: Annotated[int, Field(ge=2, le=64, alias="company")] = 5
    """Bricks in the largest merge that training simulates, this one included; files call it
    `company`."""
    alone: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the steps that train the brick alone."""
    select_by: Literal["auto", "balanced_accuracy", "auroc"] = "auto"
    """Validation score that chooses the epoch; `auto` is that of the task's kind."""
    patience: Annotated[int, Field(ge=1)] = 15
    """Epochs without a better score before training stops."""
    head_first: bool = False
    """Fit the head to the features that training sets out from, before the first epoch."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of every random draw."""
    gram: Annotated[int, Field(ge=0, le=MAX_GRAM_DIRECTIONS)] = 0
    """Leading directions of each module's inputs that the brick keeps; for `regmean`."""
    profile: bool = True
    """Keep a profile of the training images in the brick, by which a generalist knows its own."""
    profile_epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)] | None = None
    """Release the profile with Gaussian noise: (epsilon, delta), see `bricks.private_profile`."""
    profile_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Goes with `profile_epsilon`."""
    calibrate: bool = True
    """Fit a calibration on val, where there are enough images."""
    sensitivity: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of each label of a binary or multilabel task, that thresholds are chosen for on val."""
    specificity: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The same with specificity; at most one of the two."""

    @model_validator(mode="after")
    def _one_aim(self) -> TrainSettings:
        aims = (self.sensitivity, self.specificity)
        if None not in aims or (aims != (None, None) and not self.calibrate):
            raise ValueError("expected sensitivity or specificity, one of them, with calibrate")
        return self

    @property
    def aim(self) -> Aim | None:
        """What operating points are chosen for."""
        return Aim.of(vars(self))

    @classmethod
    def build(cls, **values: Any) -> TrainSettings:
        """Validate values from flags or a file.

        Raises:
            SettingsError: an unknown key or a value out of range, all together.
        """
        return read_fields(cls, values, name="training settings", error=SettingsError)

    def of_training(self) -> dict[str, Any]:
        """What decides the training itself, as plain values.

        Not those of Grams, profile and calibration, which are measured after it, and of merge-aware
        training only what is used; nor `head_first` and `views` where they are not asked for.
        """
        unused = set() if self.merge_aware else {"merge_size", "alone"}
        unused |= {name for name in ("head_first", "views") if not getattr(self, name)}
        return self.model_dump(mode="json", by_alias=True, exclude={*AFTERWARDS, *unused})

    def epochs_for(self, images: int, *, going_on: bool = False) -> int:
        """Epochs to train, given the number of training images.

        `going_on` from an earlier brick takes `GOING_ON` of the epochs from scratch.
        """
        if self.epochs is not None:
            return self.epochs
        steps = -(-images // self.batch_size)
        epochs = min(MAX_AUTO_EPOCHS, max(MIN_AUTO_EPOCHS, round(AUTO_STEPS / steps)))
        return max(1, round(GOING_ON * epochs)) if going_on else epochs


AFTERWARDS = (
    "gram",
    "profile",
    "profile_epsilon",
    "profile_delta",
    "calibrate",
    "sensitivity",
    "specificity",
)
"""What is measured after training, and changes nothing of it."""
AUTO_STEPS = 500
MIN_AUTO_EPOCHS = 8
MAX_AUTO_EPOCHS = 50
GOING_ON = 0.5
"""Share of epochs, and of the rates of U, S and Vh, when training goes on from a brick."""
