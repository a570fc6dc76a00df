"""Two tasks on the same kind of image: sent to both bricks whole, or to the merge of their group?

    python -m benchmarks.groups [--seeds 0 1 2] [--only-val]

Two real sets, each cut into two disjoint halves of its training images, as two hospitals have
them; each half is labelled for another question. Four bricks, two groups. `routed` answers each
question by its own brick, which passes an image once a task; `grouped` by the merge of the two,
one pass. Chosen on validation; the test splits are read once, for the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from benchmarks.bricks import settings_of
from benchmarks.common import (
    BASE_FILE,
    CACHE,
    SHARED,
    arguments,
    base,
    dataset,
    file_digest,
    key,
    write_result,
)
from benchmarks.parallel import in_processes
from benchmarks.scoring import BOOTSTRAP_SEED, cached_features, facts, read, summary
from medlego.bricks import Brick, load_brick, save_brick
from medlego.data import SPLITS, Dataset, Samples
from medlego.generalist import Generalist, assemble, specialist
from medlego.metrics import RESAMPLES, Replicates, Sample, point_scores, score_replicates
from medlego.train import train_brick

SIZE = 112
QUESTIONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "malignancy": (
        "ham_derm",
        {
            "nv": "benign",
            "bkl": "benign",
            "df": "benign",
            "vasc": "benign",
            "mel": "malignant",
            "bcc": "malignant",
            "akiec": "malignant",
        },
    ),
    "cell-line": (
        "ham_derm",
        {
            "mel": "melanocytic",
            "nv": "melanocytic",
            "bcc": "keratinocytic",
            "akiec": "keratinocytic",
            "bkl": "keratinocytic",
            "df": "other",
            "vasc": "other",
        },
    ),
    "any-tumour": (
        "btc_mri",
        {
            "no_tumor": "none",
            "glioma": "tumour",
            "meningioma": "tumour",
            "pituitary": "tumour",
        },
    ),
    "tumour-type": (
        "btc_mri",
        {"glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary"},
    ),
}
"""Per question its set and what each of the set's labels is called; one left out has no answer."""


@cache
def rows_of(question: str, seed: int, split: str) -> np.ndarray:
    """Where one hospital's images of a question stand in the set's split; on test all do."""
    name, names = QUESTIONS[question]
    whole = dataset(name)
    known = np.array([label in names for label in whole.task.labels])
    samples = whole.split(split)
    rows = np.arange(len(samples))
    if split != "test":
        half = [q for q, (other, _) in QUESTIONS.items() if other == name].index(question)
        order = np.random.default_rng((seed, SPLITS.index(split))).permutation(len(samples))
        rows = np.sort(order[half::2])
    matching: np.ndarray = rows[known[samples.labels[rows]]]
    return matching


@cache
def part(question: str, seed: int) -> Dataset:
    """One hospital's half of a set's training and validation images, and all test images."""
    name, names = QUESTIONS[question]
    whole = dataset(name)
    labels = tuple(dict.fromkeys(names.values()))
    kind = "binary" if len(labels) == 2 else "multiclass"
    task = whole.task.model_copy(update={"name": question, "labels": labels, "kind": kind})
    to = np.array([labels.index(names[old]) if old in names else -1 for old in whole.task.labels])
    parts: dict[str, Samples] = {}
    for split in SPLITS:
        taken = whole.split(split).take(rows_of(question, seed, split))
        parts[split] = replace(taken, labels=to[taken.labels])
    return Dataset.of(task, parts, whole.notes)


@cache
def brick(question: str, seed: int) -> Brick:
    """One hospital's brick, trained where the cache has none."""
    name, names = QUESTIONS[question]
    files = [file_digest(BASE_FILE), file_digest(SHARED / "data" / f"{name}.npz")]
    settings = settings_of(name, "svd", seed)
    decided = key(files, SIZE, question, names, settings.of_training())
    path = CACHE / "groups" / f"{question}-seed{seed}-{decided}.brick.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        print(f"  training {question}, seed {seed}", flush=True)
        partial_path = path.with_name(path.name + ".partial")
        made = train_brick(
            base(SIZE), part(question, seed), settings, checkpoint=partial_path, device="cpu"
        )
        save_brick(made, path)
    return load_brick(path)


def model(kind: str, question: str, seed: int) -> Generalist:
    """What answers a question."""
    own = QUESTIONS[question][0]
    if kind == "routed":
        return specialist(brick(question, seed))
    among = [q for q, (name, _) in QUESTIONS.items() if kind == "merged" or name == own]
    return assemble([brick(q, seed) for q in among], mode="merged")


KINDS = ("routed", "grouped", "merged")


def probs(kind: str, question: str, seed: int, split: str) -> np.ndarray:
    """Probabilities of a question's images."""
    generalist = model(kind, question, seed)
    name, _ = QUESTIONS[question]
    build = partial(generalist.fold, base(SIZE))
    pooled = cached_features(
        f"{kind}-{question}", generalist.recipe.digest, build, name, split, SIZE
    )
    rows = rows_of(question, seed, split)
    own = brick(question, seed)
    return read(own.task, own.head, pooled[torch.from_numpy(rows)])


def scored(kind: str, split: str, seeds: tuple[int, ...]) -> dict[str, Replicates]:
    """Per question balanced accuracy and its replicates, mean over seeds."""
    scores = {}
    for number, question in enumerate(QUESTIONS):
        each = [
            score_replicates(
                Sample(
                    part(question, seed).task,
                    probs(kind, question, seed, split),
                    part(question, seed).split(split).labels,
                ),
                resamples=RESAMPLES,
                seed=BOOTSTRAP_SEED + number,
            )["balanced_accuracy"]
            for seed in seeds
        ]
        scores[question] = Replicates.mean(each)
    return scores


def validation(kind: str, seeds: tuple[int, ...]) -> float:
    """Mean balanced accuracy over questions and seeds."""
    return float(
        np.mean(
            [
                point_scores(
                    part(question, seed).task,
                    probs(kind, question, seed, "val"),
                    part(question, seed).val.labels,
                )["balanced_accuracy"]
                for question in QUESTIONS
                for seed in seeds
            ]
        )
    )


def main() -> None:
    """Train what is missing, choose on validation, write the table."""
    options = arguments(__doc__).parse_args()
    seeds = tuple(options.seeds)
    torch.set_num_threads(1)
    jobs = [(question, seed) for seed in seeds for question in QUESTIONS]
    list(in_processes(lambda job: brick(*job).digest, jobs, options.workers))
    chosen_on = {kind: validation(kind, seeds) for kind in KINDS}
    for kind, score in chosen_on.items():
        print(f"{score:.4f} {kind}", flush=True)
    if options.only_val:
        return
    drawn = {kind: scored(kind, "test", seeds) for kind in KINDS}
    whole = Replicates.mean(list(drawn["routed"].values()))
    rows: list[dict[str, Any]] = []
    for kind, questions in drawn.items():
        mean = Replicates.mean(list(questions.values()))
        rows.append(
            {
                "kind": kind,
                "validation": round(chosen_on[kind], 4),
                "mean_balanced_accuracy": summary(mean),
                "minus_routed": summary(mean - whole),
                "questions": {question: summary(value) for question, value in questions.items()},
            }
        )
    names = tuple(dict.fromkeys(name for name, _ in QUESTIONS.values()))
    write_result(f"groups-{SIZE}px", rows, seeds=list(seeds), **facts(SIZE, names))


if __name__ == "__main__":
    main()
