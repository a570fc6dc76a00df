"""Does the leak check find planted near-duplicates, and leave different images alone?

Limits are chosen on the train splits (`--calibrate` prints what they were chosen on) and reported
on the test splits. Images of `ham_derm` show one lesion each and procedural images are drawn
apart, so that every pair found among them counts as a false alarm.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from functools import cache
from typing import Any

import imagehash
import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from benchmarks.common import SETS, SHARED, dataset, write_result
from benchmarks.planted import PLANTED, plant
from medlego.data import SYNTHETIC_TASKS, ArrayImages, Fingerprints, check_leaks, synthetic_dataset
from medlego.data.leaks.alignment import likeness, texture
from medlego.data.leaks.check import REMEMBERED_LIKE
from medlego.data.leaks.descriptors import SIDE, similarity, thumbnail
from medlego.data.leaks.near_duplicates import LIKE, batched_descriptors, candidates
from medlego.images import from_array

PER_SET = 24
"""Images of each set from which every kind of near-duplicate is made."""
HASHES = {"phash": imagehash.phash, "dhash": imagehash.dhash}
BITS = 64
FALSE_ALARMS = 0.005
"""Share of images, on the train splits, with which a plain hash may raise a false alarm."""


@cache
def arrays(name: str, split: str) -> list[np.ndarray]:
    """A real set's images, or a procedural task's."""
    if name in SETS:
        images = dataset(name).split(split).images
    else:
        seed = ("train", "val", "test").index(split)
        images = synthetic_dataset(name, size=96, counts=(100, 8, 8), seed=seed).train.images
    assert isinstance(images, ArrayImages)
    return list(images.array)


def thumbnails(pictures: list[np.ndarray]) -> Tensor:
    """(n, SIDE, SIDE) uint8."""
    return torch.stack([thumbnail(from_array(picture)) for picture in pictures])


def paired(first: Tensor, second: Tensor) -> np.ndarray:
    """Likeness of thumbnails, pair by pair."""
    likenesses = [
        likeness(texture(one), texture(other))
        for one, other in zip(first.split(64), second.split(64), strict=True)
    ]
    return torch.cat(likenesses).numpy()


def hashes(pictures: list[np.ndarray], name: str) -> np.ndarray:
    """(n, BITS) truth values."""
    made = [HASHES[name](Pillow.fromarray(picture)).hash.ravel() for picture in pictures]
    return np.stack(made)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hamming distances, (n, m)."""
    signs = [np.where(bits, 1.0, -1.0).astype(np.float32) for bits in (first, second)]
    return (BITS - signs[0] @ signs[1].T) / 2


def planted(split: str, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Per kind and detector the score of every planted near-duplicate, higher is more alike."""
    by_kind: dict[str, dict[str, list[np.ndarray]]] = {}
    random = np.random.default_rng(seed)
    for name in SETS:
        pictures = arrays(name, split)
        chosen = random.choice(len(pictures), min(PER_SET, len(pictures)), replace=False)
        small = thumbnails(pictures)
        descriptors = batched_descriptors(small)
        held_hashes = {h: hashes([pictures[i] for i in chosen], h) for h in HASHES}
        for kind in PLANTED:
            duplicates = [plant(kind, pictures[i], random) for i in chosen]
            theirs = thumbnails(duplicates)
            described = batched_descriptors(theirs)
            both = torch.cat([descriptors, described])
            parts = np.repeat([0, 1], [len(descriptors), len(described)])
            near = set(map(tuple, candidates(both, parts).tolist()))
            reached = [(int(i), len(descriptors) + n) in near for n, i in enumerate(chosen)]
            scores = by_kind.setdefault(kind, {})
            alike = np.where(reached, paired(theirs, small[chosen]), 0.0)
            scores.setdefault("check", []).append(alike)
            own = similarity(described, descriptors[chosen]).diagonal().numpy()
            scores.setdefault("remembered", []).append(own)
            for h, bits in held_hashes.items():
                scores.setdefault(h, []).append(-distances(hashes(duplicates, h), bits).diagonal())
    return {k: {d: np.concatenate(v) for d, v in s.items()} for k, s in by_kind.items()}


def apart(split: str) -> dict[str, dict[str, np.ndarray]]:
    """Per set of different images and detector, each image's score with the likest other."""
    by_set = {}
    for name in ("ham_derm", *SYNTHETIC_TASKS):
        pictures = arrays(name, split)
        small = thumbnails(pictures)
        described = batched_descriptors(small)
        pairs = candidates(described, np.zeros(len(small), dtype=int))
        scores = np.zeros(len(small))
        alike = paired(small[pairs[:, 0]], small[pairs[:, 1]])
        for side in pairs.T:
            np.maximum.at(scores, side, alike)
        sims = similarity(described, described).fill_diagonal_(-1).amax(1).numpy()
        by_set[name] = {"check": scores, "remembered": sims}
        for h in HASHES:
            bits = hashes(pictures, h)
            far = distances(bits, bits)
            np.fill_diagonal(far, BITS)
            by_set[name][h] = -far.min(1)
    return by_set


LIMITS = {"check": LIKE, "remembered": REMEMBERED_LIKE}


def limit_of(detector: str, scores: dict[str, dict[str, np.ndarray]], rate: float) -> float:
    """The widest limit at which a hash raises false alarms with at most `rate` of the images."""
    everyone = np.concatenate([by_detector[detector] for by_detector in scores.values()])
    return min(-float(t) for t in range(BITS + 1) if t == 0 or np.mean(everyone >= -t) <= rate)


def calibrate(seed: int) -> None:
    """Print scores on the train splits, which limits are chosen on."""
    for name, detectors in apart("train").items():
        for detector, scores in detectors.items():
            high = np.quantile(scores, [0.5, 0.9, 0.98, 0.995, 1.0]).round(3)
            print(f"different {name:24s} {detector:10s} q50 90 98 99.5 100: {high}", flush=True)
    for kind, by_detector in planted("train", seed).items():
        for detector, values in by_detector.items():
            low = np.quantile(values, [0.02, 0.05, 0.1, 0.25, 0.5]).round(3)
            print(f"{kind:40s} {detector:10s} q2 5 10 25 50: {low}", flush=True)


def as_they_are(name: str) -> dict[str, Any]:
    """What the check finds in a real set: pairs by kind and split, and contradicting labels."""
    start = time.perf_counter()
    report = check_leaks([Fingerprints.of(name, dataset(name))])
    return {
        "part": "as they are",
        "set": name,
        "images": report.images,
        "pairs": {f"{k}: {a}/{b}": n for (k, _, a, _, b), n in sorted(report.counts().items())},
        "leaks": dict(Counter(pair.kind for pair in report.leaks)),
        "contradicting_labels": len(report.conflicts),
        "seconds": round(time.perf_counter() - start, 1),
    }


def searching(count: int, seed: int) -> dict[str, Any]:
    """How long the search for candidates takes among so many images, all in one part."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 256, (count, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    start = time.perf_counter()
    described = batched_descriptors(drawn)
    between = time.perf_counter()
    candidates(described, np.zeros(count, dtype=int))
    return {
        "part": "search",
        "images": count,
        "describe_seconds": round(between - start, 1),
        "seconds": round(time.perf_counter() - between, 1),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibrate", action="store_true", help="train splits only; no result")
    arguments = parser.parse_args()
    if arguments.calibrate:
        calibrate(arguments.seed)
        return
    different = apart("test")
    trained = apart("train")
    limits = LIMITS | {h: limit_of(h, trained, FALSE_ALARMS) for h in HASHES}
    rows: list[dict[str, Any]] = [
        {
            "part": "planted",
            "kind": kind,
            "near_duplicates": len(scores["check"]),
            "recall": {d: float(np.mean(scores[d] >= limits[d])) for d in limits},
        }
        for kind, scores in planted("test", arguments.seed + 1).items()
    ]
    rows += [
        {
            "part": "different",
            "set": name,
            "images": len(scores["check"]),
            "false_alarms": {d: int(np.sum(scores[d] >= limits[d])) for d in limits},
        }
        for name, scores in different.items()
    ]
    rows += [as_they_are(name) for name in SETS]
    rows.append(searching(10_000, arguments.seed))
    write_result(
        "leaks",
        rows,
        seeds=[arguments.seed],
        limits=limits,
        versions={"imagehash": imagehash.__version__},
        data=[SHARED / "data" / f"{name}.npz" for name in SETS],
    )


if __name__ == "__main__":
    main()
