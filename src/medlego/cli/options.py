"""Options and arguments that several verbs take, each declared once, and what their groups give.

A group is a dataclass: a verb takes it as one parameter, and `medlego.cli.verb` spells it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from medlego.cli.checks import need_extra, read_pairs, refuse_existing
from medlego.errors import SettingsError

if TYPE_CHECKING:
    from medlego.base import Base, BaseRef
    from medlego.data import Dataset, Task, TaskHints
    from medlego.exchange import Store
    from medlego.generalist import Stamp
    from medlego.support import Progress
    from medlego.train import Callback, TrainSettings

DATA_HELP = (
    "{medlego.data.readers:READERS.shape}, or medmnist:NAME[:SIZE]. A folder has one folder per "
    "class; a table has labels by image path or by DICOM SOP, series or study UID; TABLE@FOLDER "
    "is a table whose images lie in FOLDER."
)

Data = Annotated[str, Argument(metavar="DATA", help=f"Labelled images: {DATA_HELP}")]
SiteData = Annotated[str, Argument(metavar="DATA", help=f"The site's labelled images: {DATA_HELP}")]
TaskData = Annotated[
    list[str], Option("--data", metavar="TASK=DATA", help="Labelled images; repeatable.")
]
Directory = Annotated[Path, Argument(metavar="DIR", help="A generalist.")]
BrickFile = Annotated[Path, Argument(metavar="BRICK", help="A brick file.")]
BrickFiles = Annotated[list[Path], Argument(metavar="BRICK…", help="Brick files.")]

NewBrick = Annotated[Path, Option("--output", "-o", help="Brick file to write.")]
NewDirectory = Annotated[Path, Option("--output", "-o", help="Directory to create.")]
Force = Annotated[bool, Option("--force", help="Overwrite an existing file.")]
JsonFile = Annotated[
    Path | None,
    Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON to FILE, which ends in .json; print it without FILE.",
    ),
]

BaseName = Annotated[str, Option(help="'mini' or a timm vision transformer's name.")]
BaseWeights = Annotated[Path | None, Option(help="Safetensors file with the base's weights.")]
ImageSize = Annotated[
    int | None,
    Option(help="Input side in pixels, a multiple of the patch size; the base's own by default."),
]
BodyPart = Annotated[str | None, Option(help="DICOM body part, such as CHEST.")]
Kind = Annotated[str | None, Option(help="{medlego.data:KINDS}; derived from the data by default.")]
LabelsMap = Annotated[
    Path | None,
    Option(
        help="Table with columns from, to and optionally task that renames the data's labels "
        "(names, or codes as SCHEME:VALUE) to the task's; other labels are dropped."
    ),
]
FactsFile = Annotated[
    Path | None, Option(help="TOML: what people state, from use to contact; for the card.")
]
EvaluationFile = Annotated[
    Path | None, Option(help="What evaluate --json FILE wrote of this model; for the card.")
]
GateFile = Annotated[
    Path | None, Option(help="Limits in TOML; an edit that breaks one is refused.")
]
GateData = Annotated[
    list[str] | None,
    Option(metavar="TASK=DATA", help="Labelled test images for --gate; repeatable."),
]
RequireSigned = Annotated[
    Path | None, Option(help="Trust file: refuse bricks without an accepted signature.")
]
Sensitivity = Annotated[
    float | None,
    Option(
        help="Choose thresholds on val that reach this sensitivity for each label, for example "
        "0.95 ({medlego.data:KINDS.thresholds} tasks)."
    ),
]
Specificity = Annotated[float | None, Option(help="The same for specificity.")]
StoreFolder = Annotated[
    Path | None,
    Option(
        "--store",
        metavar="FOLDER",
        help="The store; $MEDLEGO_STORE or ~/.local/share/medlego/store by default.",
    ),
]


@dataclass(frozen=True)
class Compute:
    """Where a model's weights come from and where it runs."""

    base_weights: BaseWeights = None
    device: Annotated[str, Option(help="cpu, cuda, or auto.")] = "auto"

    @property
    def place(self) -> str:
        """The device; `auto` is a GPU if there is one."""
        from medlego.base import resolve_device

        return resolve_device(self.device)

    def find(self, ref: BaseRef) -> Base:
        """The base that a brick or generalist stands on."""
        from medlego.base import Base

        return Base.find(ref, weights=self.base_weights)

    def load(self, name: str, image_size: int | None) -> Base:
        """A base by name, kept so that others find it by fingerprint."""
        from medlego.base import Base

        base = Base.load(name, weights=self.base_weights, image_size=image_size)
        base.keep()
        return base


@dataclass(frozen=True)
class Reading:
    """How labelled images are read."""

    data_seed: Annotated[int, Option(min=0, help="Seed of the split, if DATA has none.")] = 0
    labels_map: LabelsMap = None
    path_column: Annotated[
        str | None, Option(help="Column of a table that names the image; path by default.")
    ] = None
    label_column: Annotated[
        list[str] | None,
        Option(help="Column of the label; repeat it for the columns of a multilabel task."),
    ] = None
    patient_column: Annotated[str | None, Option(help="Column of the patient's id.")] = None
    split_column: Annotated[str | None, Option(help="Column of the split.")] = None
    uncertain: Annotated[
        str, Option(help="What -1 means in a column of a label: unknown, positive or negative.")
    ] = "unknown"

    def read(
        self,
        data: str,
        hints: TaskHints,
        show: Progress,
        *,
        keep_torn: bool = False,
        needs: Sequence[str] = ("train", "val", "test"),
    ) -> Dataset:
        """The data set of DATA; `needs` are the splits that must have images."""
        from medlego.data import Columns, LabelMap, as_uncertain, load_dataset

        renames = None if self.labels_map is None else LabelMap.load(self.labels_map)
        show("reading data", 0, 0)
        return load_dataset(
            data,
            hints,
            label_map=renames,
            seed=self.data_seed,
            keep_torn=keep_torn,
            columns=Columns(
                self.path_column,
                tuple(self.label_column or ()),
                self.patient_column,
                self.split_column,
            ),
            uncertain=as_uncertain(self.uncertain),
            needs=needs,
            show=show,
        )

    def read_for(
        self,
        task: Task,
        data: str,
        show: Progress,
        *,
        needs: Sequence[str] = ("train", "val", "test"),
    ) -> Dataset:
        """The data set of DATA for a known task: its kind, and its labels if they are renamed."""
        from medlego.data import TaskHints

        hints = TaskHints(kind=task.kind)
        if self.labels_map is not None:
            hints = TaskHints(task.name, task.kind, task.labels, codes=task.codes)
        return self.read(data, hints, show, needs=needs)

    def read_all(
        self, tasks: Iterable[Task], texts: list[str], show: Progress, *, needs: Sequence[str] = ()
    ) -> dict[str, Dataset]:
        """The data sets of `TASK=DATA` texts by task.

        Raises:
            SettingsError: a text of another form, a task twice or one that is not among `tasks`.
        """
        known, pairs = {t.name: t for t in tasks}, read_pairs("--data", "TASK=DATA", texts)
        if unknown := [name for name in pairs if name not in known]:
            raise SettingsError(
                f"--data: expected tasks out of {', '.join(known)}, got {', '.join(unknown)}"
            )
        return {
            name: self.read_for(known[name], data, show, needs=needs)
            for name, data in pairs.items()
        }


@dataclass(frozen=True)
class TaskOptions:
    """What DATA does not say of its task."""

    task_name: Annotated[str | None, Option(help="Name of the task; DATA's stem by default.")] = (
        None
    )
    kind: Kind = None
    labels: Annotated[
        str | None, Option(help="Labels in order, comma-separated; of a scale lowest first.")
    ] = None
    positive: Annotated[
        str | None,
        Option(
            help="The one of two labels that sensitivity speaks of; by default that of a "
            "well-known pair (malignant, not benign), else the second."
        ),
    ] = None
    modality: Annotated[
        str | None, Option(help="DICOM modality, such as MR; decides the augmentation.")
    ] = None
    body_part: BodyPart = None

    def hints(self, data: str) -> TaskHints:
        """The task of a data set; a MedMNIST name is left to its reader."""
        from medlego.data import TaskHints, as_task_name, find_kind, task_stem

        name, labels = self.task_name, self.labels
        if name is None and not data.startswith("medmnist:"):
            name = as_task_name(task_stem(data))
        try:
            kind = None if self.kind is None else find_kind(self.kind).name
        except ValueError as error:
            raise SettingsError(f"--kind: {error}") from error
        return TaskHints(
            name=name,
            kind=kind,
            labels=None if labels is None else tuple(part.strip() for part in labels.split(",")),
            modality=self.modality,
            body_part=self.body_part,
            positive=self.positive,
        )


@dataclass(frozen=True)
class TrainingOptions:
    """What `train` and `adapt` set of a training run."""

    rank: Annotated[int | None, Option(help="Rank of each delta; 4 by default.")] = None
    epochs: Annotated[
        int | None, Option(help="Epochs; by default chosen by the number of images.")
    ] = None
    seed: Annotated[int | None, Option(help="Random seed; 0 by default.")] = None
    settings: Annotated[Path | None, Option(help="TOML file with further training settings.")] = (
        None
    )
    data_note: Annotated[str | None, Option(help="Where the data come from.")] = None
    licence: Annotated[str | None, Option(help="Licence of the brick.")] = None

    log: Annotated[
        str | None,
        Option(help="tensorboard: write each epoch's losses and scores for TensorBoard, too."),
    ] = None

    def callbacks(self, output: Path, force: bool, runs: Sequence[str] = ("",)) -> list[Callback]:
        """What logs each epoch beside the brick; `runs` are the starts, where there are several.

        Raises:
            SettingsError: an unknown log, its library is missing, or a log of another run is there.
        """
        from medlego.train import epoch_logs

        if self.log not in (None, "tensorboard"):
            raise SettingsError(f"--log: expected tensorboard, got {self.log!r}")
        if self.log is not None:
            need_extra("tensorboard", "tensorboard")
        tensorboard = self.log is not None
        old, callbacks = epoch_logs(output, runs, tensorboard=tensorboard)
        state = f"{output.name}.partial"
        interrupted = any(file.name.startswith(state) for file in output.parent.iterdir())
        for file in () if interrupted else old:
            refuse_existing(file, force)
        return callbacks

    def build(self, **flags: Any) -> TrainSettings:
        """The file's settings; those of flags that are not None go before."""
        from medlego.support import load_tables
        from medlego.train import TrainSettings

        values: dict[str, Any] = {}
        if self.settings is not None:
            values = load_tables(self.settings, SettingsError, "training settings")
        flags |= {"rank": self.rank, "epochs": self.epochs, "seed": self.seed}
        return TrainSettings.build(**values | {k: v for k, v in flags.items() if v is not None})


@dataclass(frozen=True)
class Author:
    """Who makes an entry of the lineage."""

    by: Annotated[str | None, Option(help="Your name, for the record.")] = None
    key: Annotated[Path | None, Option(help="Private key that signs the lineage's entry.")] = None

    def stamp(self) -> Stamp:
        """This moment, by that name, with that key."""
        from medlego.bricks import load_signer
        from medlego.generalist import Stamp

        return Stamp.now(self.by, None if self.key is None else load_signer(self.key))


@dataclass(frozen=True)
class Scoring:
    """Which images are scored, and how intervals are drawn."""

    split: Annotated[str, Option(help="{medlego.data:SPLITS}, or all.")] = "test"
    resamples: Annotated[int, Option(min=100, max=100_000, help="Bootstrap replicates.")] = 2000
    seed: Annotated[int, Option(min=0, help="Random seed of the bootstrap.")] = 0


def open_store(folder: Path | None) -> Store:
    """The store at a folder, or the default one."""
    from medlego.exchange import Store, default_store

    return Store(folder or default_store())
