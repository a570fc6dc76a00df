"""What a whole experiment is: data sets, training, seeds, methods and evaluation, in one TOML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from medlego.base import Base
from medlego.data import (
    Columns,
    Dataset,
    LabelMap,
    TaskHints,
    Uncertain,
    find_kind,
    load_dataset,
)
from medlego.errors import SettingsError, collect, raise_all
from medlego.merge import SEARCHED, as_mode, as_sites, check_kind, check_slope, find_method
from medlego.metrics import RESAMPLES
from medlego.support import FrozenModel, Progress, load_tables, read_fields
from medlego.train.settings import TrainSettings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Of a task or a method; it becomes part of file names."""


class DataTable(FrozenModel):
    """`[data.TASK]`: where a task's labelled images are and how they are read, as for `train`."""

    source: str
    """Folder, table or file of labelled images, or `medmnist:NAME`."""
    images: str | None = None
    """Folder of the images, where `source` is a table that lies elsewhere."""
    kind: str | None = None
    """Of the task, such as `ordinal`; guessed where left out."""
    labels: tuple[str, ...] | None = None
    """In order; those that the data have where left out."""
    positive: str | None = None
    """The label that means disease, of a binary task."""
    modality: str | None = None
    """As DICOM says it, such as `MR`."""
    body_part: str | None = None
    """As DICOM says it, such as `BRAIN`."""
    labels_map: str | None = None
    """A label map's file."""
    path_column: str | None = None
    """Of a table: the name of its column of image files."""
    label_columns: tuple[str, ...] = ()
    """Of a table: one column of labels, or one a label of a multilabel task."""
    patient_column: str | None = None
    """Of a table: its column of patients."""
    split_column: str | None = None
    """Of a table: its column of splits."""
    uncertain: Uncertain = "unknown"
    """What -1 means in a `label_NAME` column."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Of splits that are drawn."""
    note: str | None = None
    """Where the data come from, for the brick's card."""
    licence: str | None = None
    """Of the data, for the brick's card."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings that differ from the experiment's."""


class MethodTable(FrozenModel):
    """`[methods.NAME]`: one way to assemble; see `medlego.generalist.assemble`."""

    method: str | None = None
    """The table's name by default."""
    coefficients: str | float = "auto"
    """Also `search`, which reads val alone."""
    sites: str = "auto"
    """How several bricks of one task become one."""
    rank: Annotated[int, Field(ge=1)] | None = None
    """Largest rank of the merged deltas."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own; see the last table."""
    svc: bool = False
    """Calibrate the merge's singular values."""
    slope: float | None = None
    """How merged coefficients fall from the last block to the first."""
    mode: str = "auto"
    """How images are answered: `routed`, `grouped` or `merged`."""


class EvaluationTable(FrozenModel):
    """`[evaluation]`: what the generalists are judged on."""

    splits: Annotated[tuple[Literal["val", "test"], ...], Field(min_length=1, max_length=2)] = (
        "test",
    )
    """Each gets a report."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = RESAMPLES
    """Of the bootstrap that gives intervals."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of these resamples."""


class Experiment(FrozenModel):
    """A whole experiment; paths are relative to its file's folder."""

    base: str = "mini"
    """Name of the frozen backbone."""
    base_weights: str | None = None
    """A file of its weights."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """In pixels; the base's own where left out."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1)] = (0,)
    """Everything is trained and assembled once for each."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of every training; see the first table."""
    data: Annotated[dict[Name, DataTable], Field(min_length=1)]
    """One table for each task."""
    methods: Annotated[dict[Name, MethodTable], Field(min_length=1)]
    """One table for each way to assemble."""
    evaluation: EvaluationTable = EvaluationTable()
    """See its table."""

    @classmethod
    def load(cls, path: str | Path) -> Experiment:
        """Read an experiment's file and check all that can be checked before any work.

        Raises:
            SettingsError: all problems together.
        """
        path = Path(path)
        tables = load_tables(path, SettingsError, "an experiment")
        experiment = read_fields(cls, tables, name=str(path), error=SettingsError)
        raise_all(SettingsError, str(path), experiment.problems(path.parent))
        return experiment

    def problems(self, folder: Path) -> list[str]:
        """What does not hold of names, settings and paths."""
        problems: list[str] = []
        for name, values in (("seeds", self.seeds), ("splits", self.evaluation.splits)):
            if len(set(values)) != len(values):
                problems.append(f"{name}: expected each once, got {', '.join(map(str, values))}")
        for table, names in (("methods", self.methods.keys()), ("data", self.data.keys())):
            if len({name.lower() for name in names}) != len(names):
                problems.append(
                    f"{table}: expected names that differ in more than case; rename one"
                )
        if self.base_weights is not None and not (folder / self.base_weights).is_file():
            problems.append(f"base_weights: expected a file, found none at {self.base_weights!r}")
        for name, data in self.data.items():
            with collect(problems):
                self.settings(name, self.seeds[0])
            problems += [f"data.{name}.{problem}" for problem in _data_problems(data, folder)]
        for name, method in self.methods.items():
            found: list[str] = []
            with collect(found):
                find_method(method.method or name).check_settings(method.settings)
            if method.coefficients != SEARCHED:
                with collect(found):
                    check_kind(method.coefficients, len(self.data))
            with collect(found):
                as_sites(method.sites)
            with collect(found):
                check_slope(method.slope or 0.0)
            if method.mode != "auto":
                with collect(found):
                    as_mode(method.mode)
            problems += [f"methods.{name}: {problem}" for problem in found]
        return problems

    def settings(self, task: str, seed: int) -> TrainSettings:
        """Of a task's training with a seed.

        Raises:
            SettingsError: unknown keys or values out of range, all together.
        """
        values = self.training | self.data[task].training
        name = f"training of {task}"
        if "seed" in values:
            raise SettingsError(f"{name}: seed: expected in seeds, got it here; move it")
        return read_fields(TrainSettings, values | {"seed": seed}, name=name, error=SettingsError)

    def load_base(self, folder: Path) -> Base:
        """The base, kept so that others find it by fingerprint.

        Raises:
            BaseError: it is not to be had.
        """
        weights = None if self.base_weights is None else folder / self.base_weights
        base = Base.load(self.base, weights=weights, image_size=self.image_size)
        base.keep()
        return base

    def read(self, task: str, folder: Path, show: Progress) -> Dataset:
        """A task's data set.

        Raises:
            DatasetError, ImageError: as `load_dataset`.
        """
        data = self.data[task]
        source = _located(data.source, folder)
        images = None if data.images is None else str(folder / data.images)
        renames = None if data.labels_map is None else LabelMap.load(folder / data.labels_map)
        return load_dataset(
            source if images is None else images,
            TaskHints(
                name=task,
                kind=data.kind,
                labels=data.labels,
                modality=data.modality,
                body_part=data.body_part,
                positive=data.positive,
            ),
            labels=None if images is None else source,
            label_map=renames,
            seed=data.split_seed,
            columns=Columns(
                data.path_column, data.label_columns, data.patient_column, data.split_column
            ),
            uncertain=data.uncertain,
            show=show,
        )


def _located(source: str, folder: Path) -> str:
    return source if source.startswith("medmnist:") else str(folder / source)


def _data_problems(data: DataTable, folder: Path) -> list[str]:
    paths: Mapping[str, str | None] = {
        "source": None if data.source.startswith("medmnist:") else data.source,
        "images": data.images,
        "labels_map": data.labels_map,
    }
    problems = [
        f"{name}: expected a path that exists, found nothing at {path!r}"
        for name, path in paths.items()
        if path is not None and not (folder / path).exists()
    ]
    if data.kind is not None:
        try:
            find_kind(data.kind)
        except ValueError as error:
            problems.append(f"kind: {error}")
    return problems
