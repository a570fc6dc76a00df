"""Does a generalist know which task an image belongs to, and that it belongs to none?

    python -m benchmarks.routing

No brick is trained: a profile needs the frozen base alone. Profiles of the five sets' training
images after different numbers of blocks; their test images mixed; each set left out in turn, and
images that nobody knows. Depth and limits were chosen with the `val` rows at hand; a first trial
showed the test images' OOD scores too (decision 021).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from sklearn.metrics import roc_auc_score

from benchmarks.common import CACHE, SETS, base, dataset, key, write_result
from benchmarks.scoring import BOOTSTRAP_SEED, facts, summary
from benchmarks.strangers import DEVICES, NAMES, elsewhere, strangers
from medlego.base import Inputs
from medlego.bricks import STEM_BLOCKS, Brick, Card, Head, Noise, fit_private_profile, fit_profile
from medlego.data import ImageSource
from medlego.merge import capabilities
from medlego.prediction import OOD_LIMIT
from medlego.prediction.routing import ATYPICAL_LIMIT, Router
from medlego.train.profiles import measure_features, reference

SIZE = 112
DEPTHS = (0, 1, 2, 3, 6, 12)
RESAMPLES = 1000
EPSILONS, DELTA, DRAWS = (1.0, 3.0, 8.0), 1e-5, 5
LEVEL = 0.95
"""Share of known images that a false-accept rate is told at."""


def features(name: str, images: ImageSource, blocks: int) -> torch.Tensor:
    """Stem features, from the cache where they were computed before."""
    path = CACHE / "stems" / f"{key(base(SIZE).ref.fingerprint, SIZE, name, blocks)}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            measured = measure_features(base(SIZE), Inputs(images, base(SIZE)), blocks=blocks)
            np.save(path, measured.numpy())
    return torch.from_numpy(np.load(path))


def of_set(name: str, split: str, blocks: int) -> torch.Tensor:
    """Stem features of a real set's split."""
    return features(f"{name} {split}", dataset(name).split(split).images, blocks)


@cache
def brick(name: str, blocks: int) -> Brick:
    """A brick of nothing but a profile, as `train` would put it in."""
    task = dataset(name).task.model_copy(update={"name": name})
    rows, outputs = task.head_shape
    return Brick(
        base=base(SIZE).ref,
        task=task,
        targets=(),
        deltas={},
        head=Head(torch.zeros(rows, base(SIZE).ref.features), torch.zeros(outputs)),
        settings={},
        card=Card(data=name),
        profile=fit_profile(of_set(name, "train", blocks), blocks=blocks),
    )


def router(names: tuple[str, ...], blocks: int) -> Router:
    """Of the bricks of some sets."""
    return Router(capabilities([brick(name, blocks) for name in names]))


def nearest(routing: Router, measured: torch.Tensor) -> np.ndarray:
    """The smallest OOD score of each image, which decides whether it is anybody's."""
    smallest: np.ndarray = routing.ood_scores(measured).amin(dim=1).numpy()
    return smallest


def right_task(blocks: int, split: str) -> dict[str, Any]:
    """Top-1 over the mixed images, and what the limits do to each set's own images."""
    routing = router(tuple(SETS), blocks)
    hits, sets = [], {}
    for number, name in enumerate(SETS):
        scores = routing.ood_scores(of_set(name, split, blocks))
        routes = routing.routes(scores)
        hit = (scores.argmin(dim=1) == number).numpy()
        hits.append(hit)
        sets[name] = {
            "images": len(hit),
            "top_1": round(float(hit.mean()), 4),
            **shares(routes, name),
        }
    return {"top_1": summary(bootstrapped(np.concatenate(hits))), "sets": sets}


def shares(routes: Any, name: str) -> dict[str, float]:
    """Where a set's images are sent."""
    count = len(routes)
    own = sum(name in route.tasks for route in routes)
    silent = sum(not route.tasks for route in routes)
    atypical = sum(name in route.atypical for route in routes)
    counts = {"own": own, "unlike": atypical, "none": silent, "another": count - own - silent}
    return {what: round(number / count, 4) for what, number in counts.items()}


def bootstrapped(values: np.ndarray) -> np.ndarray:
    """Mean of values, and of resamples of them: (1 + resamples,)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    return np.append(values.mean(), drawn)


def abstention(known: np.ndarray, unknown: np.ndarray) -> dict[str, Any]:
    """How well OOD scores tell unknown images from known ones."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    aurocs = [_auroc(known, unknown)]
    for _ in range(RESAMPLES):
        a, b = (x[rng.integers(0, len(x), len(x))] for x in (known, unknown))
        aurocs.append(_auroc(a, b))
    limit = np.quantile(known, LEVEL)
    return {
        "auroc": summary(np.array(aurocs)),
        "false_accepts_at_95": round(float((unknown <= limit).mean()), 4),
        "false_accepts_at_limit": round(float((unknown <= OOD_LIMIT).mean()), 4),
        "true_accepts_at_limit": round(float((known <= OOD_LIMIT).mean()), 4),
        "images": len(unknown),
    }


def _auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    truth = np.repeat([0, 1], [len(known), len(unknown)])
    return float(roc_auc_score(truth, np.concatenate([known, unknown])))


def left_out(blocks: int, split: str) -> dict[str, Any]:
    """Each set left out in turn: its images are nobody's."""
    abstentions = {}
    for name in SETS:
        others = tuple(other for other in SETS if other != name)
        routing = router(others, blocks)
        known = np.concatenate([nearest(routing, of_set(o, split, blocks)) for o in others])
        abstentions[name] = abstention(known, nearest(routing, of_set(name, split, blocks)))
    return abstentions


def nobodys(blocks: int, split: str) -> dict[str, Any]:
    """Images of no set, beside all five."""
    routing = router(tuple(SETS), blocks)
    known = np.concatenate([nearest(routing, of_set(name, split, blocks)) for name in SETS])
    return {
        name: abstention(
            known, nearest(routing, features(f"stranger {name}", strangers(name), blocks))
        )
        for name in NAMES
    }


def other_devices(blocks: int, split: str) -> dict[str, Any]:
    """Known images changed: still their own task's, and said to be atypical?"""
    routing = router(tuple(SETS), blocks)
    by_device = {}
    for device in DEVICES:
        for name in SETS:
            label = f"{name} {split} {device}"
            images = elsewhere(dataset(name).split(split), device)
            routes = routing.routes(routing.ood_scores(features(label, images, blocks)))
            by_device[f"{name}, {device}"] = shares(routes, name)
    return by_device


def private(epsilon: float, split: str) -> dict[str, Any]:
    """The same with profiles that were released with noise, a mean over `DRAWS` of it."""
    noise, draws = Noise(epsilon=epsilon, delta=DELTA), []
    shown = {name: of_set(name, split, STEM_BLOCKS) for name in SETS}
    public = reference(base(SIZE))
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        bricks = [
            replace(
                brick(name, STEM_BLOCKS),
                profile=fit_private_profile(
                    of_set(name, "train", STEM_BLOCKS), public, noise, generator=generator
                ),
            )
            for name in SETS
        ]
        routing = Router(capabilities(bricks))
        scores = {name: routing.ood_scores(images).numpy() for name, images in shown.items()}
        draws.append(_private_scores(scores))
    means = {name: round(float(np.mean([one[name] for one in draws])), 4) for name in draws[0]}
    return {"split": split, "epsilon": epsilon, "delta": DELTA, "draws": DRAWS, **means}


def _private_scores(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Top-1, own images that are answered, and each set left out in turn."""
    nearest_own = np.concatenate(
        [z.argmin(axis=1) == number for number, z in enumerate(scores.values())]
    )
    within = np.concatenate([z.min(axis=1) <= OOD_LIMIT for z in scores.values()])
    aurocs, accepted = [], []
    for number, name in enumerate(SETS):
        smallest = {n: np.delete(z, number, axis=1).min(axis=1) for n, z in scores.items()}
        known = np.concatenate([z for other, z in smallest.items() if other != name])
        aurocs.append(_auroc(known, smallest[name]))
        accepted.append(float((smallest[name] <= OOD_LIMIT).mean()))
    return {
        "top_1": float(nearest_own.mean()),
        "own": float((nearest_own & within).mean()),
        "left_out_mean_auroc": float(np.mean(aurocs)),
        "left_out_mean_false_accepts_at_limit": float(np.mean(accepted)),
    }


def row(blocks: int, split: str) -> dict[str, Any]:
    """Everything about one depth."""
    print(f"{split}, {blocks} blocks", flush=True)
    outside = left_out(blocks, split)
    return {
        "blocks": blocks,
        "split": split,
        "default": blocks == STEM_BLOCKS,
        **right_task(blocks, split),
        "left_out_mean_auroc": round(
            float(np.mean([scores["auroc"]["value"] for scores in outside.values()])), 4
        ),
        "left_out_mean_false_accepts_at_95": round(
            float(np.mean([scores["false_accepts_at_95"] for scores in outside.values()])), 4
        ),
        "left_out": outside,
        "strangers": nobodys(blocks, split),
        "other_devices": other_devices(blocks, split),
    }


def main() -> None:
    """Every depth on validation, then on test."""
    torch.set_num_threads(1)
    rows = [row(blocks, split) for split in ("val", "test") for blocks in DEPTHS]
    write_result(
        f"routing-{SIZE}px",
        rows,
        seeds=[0],
        **facts(SIZE),
        private=[private(epsilon, split) for split in ("val", "test") for epsilon in EPSILONS],
        setting={"limit": OOD_LIMIT, "familiar": ATYPICAL_LIMIT, "level": LEVEL},
    )


if __name__ == "__main__":
    main()
