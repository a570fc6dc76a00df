"""A whole experiment run: what its file asks for, in one folder, resumable after every step."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medlego.base import Base, resolve_device
from medlego.bricks import Brick, load_brick, save_brick, tools_used
from medlego.data import Dataset, fingerprint
from medlego.errors import MedLegoError, SettingsError, TrainingError, raise_all
from medlego.evaluation import evaluate
from medlego.generalist import DOCUMENT, Generalist, assemble
from medlego.merge import SEARCHED
from medlego.support import Progress, load_tables, parse_object, silent, write_atomically
from medlego.train.checkpoint import run_identity
from medlego.train.epochs import log_csv
from medlego.train.experiment import Experiment
from medlego.train.experiment_results import (
    ExperimentResult,
    Place,
    read_scores,
    results_csv,
    summary,
)
from medlego.train.loop import train_brick
from medlego.train.search import search_coefficients
from medlego.train.starting_points import Earlier

COPY, VERSIONS, RESULTS, SUMMARY = "experiment.toml", "versions.json", "results.csv", "results.md"


def run_experiment(
    path: str | Path, output: str | Path, *, device: str = "auto", show: Progress = silent
) -> ExperimentResult:
    """Train, assemble and evaluate all that an experiment's file asks for.

    What one data set or method fails of does not stop the others. An interrupted run goes on
    when it is repeated and ends with the same bytes. A finished one is not touched; all its images
    and labels are read again, and refused if they are others by now.

    Args:
        path: the experiment in TOML, see `medlego.train.experiment.Experiment`.
        output: a new folder, or the same experiment's: `bricks`, `generalists`, `reports`,
            `results.csv` with every score, and `results.md` with means over seeds.
        device: `cpu`, `cuda` or `auto`.
        show: called with what is under way, done and total.

    Raises:
        SettingsError: problems of the file, all together; or the folder holds something else,
            another experiment, one that other versions began, or one finished with other data.
        BaseError: the base is not to be had.
    """
    path, folder = Path(path), Path(output)
    experiment = Experiment.load(path)
    device = resolve_device(device)
    grid = tuple(
        Place(seed, name, split)
        for seed in experiment.seeds
        for name in experiment.methods
        for split in experiment.evaluation.splits
    )
    with _alone(folder):
        _check_same(folder, path)
        run = _Run(experiment, path.parent, folder, device, show)
        if _finished(folder, experiment, grid):
            run.check_data(grid)
            return ExperimentResult(folder, read_scores(folder, grid), (), untouched=True)
        _check_versions(folder, device)
        (folder / SUMMARY).unlink(missing_ok=True)
        done = run.all()
        result = ExperimentResult(folder, read_scores(folder, done), tuple(run.failures))
        write_atomically(folder / RESULTS, results_csv(result.scores).encode())
        write_atomically(folder / SUMMARY, summary(result).encode())
        return result


class _Run:
    """The steps, each of which leaves a file that a repeat finds."""

    def __init__(
        self, experiment: Experiment, sources: Path, folder: Path, device: str, show: Progress
    ) -> None:
        self._experiment, self._sources, self._folder = experiment, sources, folder
        self._device, self._show = device, show
        self.failures: list[str] = []
        self._fingerprints: dict[tuple[str, str], str] = {}
        for name in ("bricks", "generalists", "reports"):
            (folder / name).mkdir(exist_ok=True)

    def all(self) -> list[Place]:
        """Which reports there are."""
        base, datasets, done = self._experiment.load_base(self._sources), {}, []
        for task in self._experiment.data:
            with self._noting(f"data.{task}"):
                self._show(f"reading {task}", 0, 0)
                datasets[task] = self._experiment.read(task, self._sources, self._show)
        for seed in self._experiment.seeds:
            bricks = []
            for task, dataset in datasets.items():
                with self._noting(f"data.{task}, seed {seed}"):
                    bricks.append(self._brick(base, dataset, seed))
            judged = {brick.task.name: datasets[brick.task.name] for brick in bricks}
            for name in self._experiment.methods if bricks else ():
                with self._noting(f"methods.{name}, seed {seed}"):
                    generalist = self._generalist(base, name, bricks, judged, seed)
                    for split in self._experiment.evaluation.splits:
                        place = Place(seed, name, split)
                        self._report(base, generalist, judged, place)
                        done.append(place)
        return done

    def check_data(self, grid: tuple[Place, ...]) -> None:
        """Compare every image and label with those that bricks and reports are of.

        Raises:
            SettingsError: some are others by now.
        """
        problems = []
        for task in self._experiment.data:
            dataset = self._experiment.read(task, self._sources, self._show)
            owner = self._owner(self._brick_file(task, self._experiment.seeds[0]))
            known = dict(zip(("train", "val"), owner.read_text().split("\n")[1:], strict=True))
            for place in grid:
                report = parse_object(place.report(self._folder).read_bytes())
                known[place.split] = report["fingerprints"][task]
            problems += [
                f"data.{task}, {split}: expected the images and labels of these results, got others"
                for split, own in known.items()
                if self._fingerprint(dataset, split) != own
            ]
        if problems:
            problems[-1] += f"; choose a new folder, or delete {SUMMARY} to go on with these"
        raise_all(SettingsError, str(self._folder), problems)

    def _brick_file(self, task: str, seed: int) -> Path:
        return self._folder / "bricks" / f"{task}-seed{seed}.brick.safetensors"

    def _owner(self, brick: Path) -> Path:
        return brick.with_name(f"{brick.name}.run")

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Keep what fails for the end."""
        try:
            yield
        except (MedLegoError, OSError) as error:
            self.failures.append(f"{what}: {error}")

    def _named(self, prefix: str) -> Progress:
        return lambda what, done, total: self._show(f"{prefix}: {what}", done, total)

    def _fingerprint(self, dataset: Dataset, split: str) -> str:
        """Of all images and labels, read once."""
        place = dataset.task.name, split
        if place not in self._fingerprints:
            self._show(f"fingerprint of {dataset.task.name}, {split}", 0, 0)
            self._fingerprints[place] = fingerprint(dataset.split(split))
        return self._fingerprints[place]

    def _brick(self, base: Base, dataset: Dataset, seed: int) -> Brick:
        task, device = dataset.task.name, self._device
        settings = self._experiment.settings(task, seed)
        path = self._brick_file(task, seed)
        owner, partial = self._owner(path), path.with_name(f"{path.name}.partial")
        prints = [self._fingerprint(dataset, split) for split in ("train", "val")]
        identity = "\n".join([run_identity(base, dataset, settings, Earlier(), device), *prints])
        for begun in (path, partial):
            if begun.exists() and not (owner.exists() and owner.read_text() == identity):
                raise TrainingError(
                    f"{begun}: expected the brick of these data and settings, got another's; "
                    "delete it to train it anew"
                )
        if path.exists():
            return load_brick(path)
        write_atomically(owner, identity.encode())
        return train_brick(
            base,
            dataset,
            settings,
            checkpoint=partial,
            callbacks=[log_csv(path)],
            device=device,
            data_note=self._experiment.data[task].note,
            licence=self._experiment.data[task].licence,
            save=lambda brick: save_brick(brick, path),
            show=self._named(f"{task}, seed {seed}"),
        )

    def _generalist(
        self, base: Base, name: str, bricks: list[Brick], data: Mapping[str, Dataset], seed: int
    ) -> Generalist:
        directory = self._folder / "generalists" / f"{name}-seed{seed}"
        if (directory / DOCUMENT).is_file():
            generalist = Generalist.load(directory)
            if [b.digest for b in generalist.bricks] == [b.digest for b in bricks]:
                return generalist
            shutil.rmtree(directory)
        table = self._experiment.methods[name]
        method, show = table.method or name, self._named(f"{name}, seed {seed}")
        options: dict[str, Any] = table.model_dump(exclude={"method", "coefficients"})
        options["seed"] = seed
        if table.coefficients == SEARCHED:
            generalist = search_coefficients(
                bricks, data, method, base=base, device=self._device, show=show, **options
            ).generalist
        else:
            show("assemble", 0, 0)
            generalist = assemble(bricks, method, coefficients=table.coefficients, **options)
        generalist.save(directory)
        return generalist

    def _report(
        self, base: Base, generalist: Generalist, data: Mapping[str, Dataset], place: Place
    ) -> None:
        file, table = place.report(self._folder), self._experiment.evaluation
        owner = {
            "generalist": generalist.recipe.digest,
            "fingerprints": {n: self._fingerprint(data[n], place.split) for n in sorted(data)},
            "resamples": table.resamples,
            "seed": table.seed,
        }
        if file.exists():
            found = parse_object(file.read_bytes())
            if found | owner == found:
                return
        report = evaluate(
            generalist,
            data,
            base=base,
            split=place.split,
            resamples=table.resamples,
            seed=table.seed,
            device=self._device,
            show=self._named(f"{place.method}, seed {place.seed}"),
        )
        document = {**owner, **report.as_dict()}
        write_atomically(file.with_suffix(".csv"), report.as_csv().encode())
        write_atomically(file, _json(document))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have the folder, made if need be, alone.

    Raises:
        SettingsError: it cannot be made, holds something else, or another run is at it.
    """
    try:
        folder.mkdir(exist_ok=True)
        occupied = not (folder / COPY).exists() and any(
            entry.name != ".lock" for entry in folder.iterdir()
        )
    except OSError as error:
        raise SettingsError(
            f"{folder}: expected a place for a new folder ({error.strerror}); choose another"
        ) from error
    if occupied:
        raise SettingsError(
            f"{folder}: expected a new folder or this experiment's, got another; choose another"
        )
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise SettingsError(
            f"{folder}: expected a folder that no other run uses, got one in use; wait for it"
        ) from None


def _check_same(folder: Path, path: Path) -> None:
    """Keep a copy of the experiment, or refuse to go on with another's folder.

    Raises:
        SettingsError: says all that differs.
    """
    copy, what = folder / COPY, "an experiment"
    if not copy.exists():
        write_atomically(copy, path.read_bytes())
        return
    begun, now = (dict(_flat(load_tables(file, SettingsError, what))) for file in (copy, path))
    _refuse_changes(folder, begun, now, "choose a new folder")


def _check_versions(folder: Path, device: str) -> None:
    """The same of the versions that decide the bytes.

    Raises:
        SettingsError: says all that differs.
    """
    file, now = folder / VERSIONS, {"python": platform.python_version(), **tools_used(device)}
    if not file.exists():
        write_atomically(file, _json(now))
        return
    way_out = "go on with those, or choose a new folder"
    _refuse_changes(folder, parse_object(file.read_bytes()), now, way_out)


def _refuse_changes(
    folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any], way_out: str
) -> None:
    problems = [
        f"{key}: expected {begun.get(key, 'none')!r:.60} as it was begun with, "
        f"got {now.get(key, 'none')!r:.60}"
        for key in sorted({*begun, *now})
        if begun.get(key) != now.get(key)
    ]
    if problems:
        problems[-1] += f"; {way_out}"
    raise_all(SettingsError, str(folder), problems)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _finished(folder: Path, experiment: Experiment, grid: tuple[Place, ...]) -> bool:
    """Whether nothing is left to do: every report is there, of all tasks, and so is the summary."""
    files = [folder / RESULTS, folder / SUMMARY, *(place.report(folder) for place in grid)]
    return all(file.exists() for file in files) and all(
        parse_object(file.read_bytes())["tasks"].keys() == experiment.data.keys()
        for file in files[2:]
    )


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
