"""Do saliency maps show what the answer rests on, and do they need the trained model?

    python -m benchmarks.saliency

For test images of five real sets and their specialists: what the likeliest label's probability is
once the patches that a map ranks first are replaced by the image's mean colour (deletion, less is
better), and when they alone are left (insertion, more is better), beside random ranks; and the
rank correlation with maps of models whose head, deltas and blocks are random. The method's layer
and steps were chosen on validation images (decision 026).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.bricks import get_brick
from benchmarks.common import BASE_FILE, SETS, SHARED, base, dataset, write_result
from medlego.generalist import specialist
from medlego.images import Image
from medlego.prediction import Saliency, explain
from medlego.prediction.saliency.explain import METHODS
from medlego.prediction.saliency.randomised import STAGES, agreement
from medlego.prediction.saliency.scene import Scene, answering

SIZE, SEED, IMAGES = 112, 0, 32
SHARES = (0.1, 0.2, 0.3, 0.5)
"""Of the patches that are replaced, or left; scores are means over these."""
RESAMPLES = 2000


def chosen(name: str) -> list[Image]:
    """Some test images of a set."""
    images = dataset(name).test.images
    order = np.random.default_rng(SEED).permutation(len(images))[:IMAGES]
    return [images[int(index)] for index in order]


def probs(scene: Scene, pixels: Tensor, labels: Tensor) -> Tensor:
    """The labels' probabilities, (N,)."""
    with torch.no_grad():
        odds = scene.log_odds(scene.backbone.embed(pixels), 0)
    return odds.sigmoid().gather(1, labels[:, None])[:, 0]


def faithfulness(
    scene: Scene, pixels: Tensor, labels: Tensor, ranks: Tensor
) -> dict[str, np.ndarray]:
    """Deletion and insertion per image; `ranks` (N, patches), the first patch first."""
    plain = pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels)
    curves: dict[str, list[Tensor]] = {"deletion": [], "insertion": []}
    for share in SHARES:
        first = ranks[:, : round(share * ranks.shape[1])]
        mask = torch.zeros(ranks.shape).scatter_(1, first, 1.0).view(-1, 1, *scene.grid)
        mask = torch.nn.functional.interpolate(mask, SIZE)
        for kind, keep in (("deletion", 1 - mask), ("insertion", mask)):
            mixed = keep * pixels + (1 - keep) * plain
            curves[kind].append(probs(scene, mixed, labels))
    return {kind: torch.stack(values).mean(dim=0).numpy() for kind, values in curves.items()}


def of_set(name: str) -> list[dict[str, Any]]:
    """Every method's scores on one set, per image."""
    generalist, images = specialist(get_brick(name, "svd", SEED, SIZE)), chosen(name)
    (task,) = (task.name for task in generalist.tasks)
    scene = Scene.of(base(SIZE), *answering(generalist, task, base(SIZE), None), "cpu")
    pixels = torch.stack([base(SIZE).prepare(image) for image in images])
    rows: list[dict[str, Any]] = []
    maps: dict[str, list[Saliency]] = {
        method: explain(generalist, images, task, method=method, base=base(SIZE))
        for method in METHODS
    }
    labels = torch.tensor([s.task.labels.index(s.label) for s in maps["gradient"]])
    values = {
        m: torch.stack([s.patches.flatten() for s in saliencies]) for m, saliencies in maps.items()
    }
    generator = torch.Generator().manual_seed(SEED)
    values["random ranks"] = torch.rand(values["gradient"].shape, generator=generator)
    for method, patches in values.items():
        ranks = patches.argsort(dim=1, descending=True)
        row: dict[str, Any] = faithfulness(scene, pixels, labels, ranks)
        if method in METHODS:
            correlations = agreement(generalist, images, task, method=method, base=base(SIZE))
            row |= {
                f"correlation, random {stage}": np.array(correlations[stage]) for stage in STAGES
            }
        rows.append({"set": name, "method": method, **row})
        print(name, method, {k: round(float(np.nanmean(v)), 3) for k, v in row.items()}, flush=True)
    return rows


def summed(values: np.ndarray) -> dict[str, Any]:
    """Mean over images with a 95 % bootstrap interval."""
    drawn = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.nanmean(values[drawn], axis=1), [0.025, 0.975])
    numbers = (float(np.nanmean(values)), float(low), float(high))
    value, *interval = (round(number, 3) for number in numbers)
    return {"value": value, "interval": interval}


def main() -> None:
    torch.set_num_threads(1)
    per_image = [row for name in SETS for row in of_set(name)]
    methods = list(dict.fromkeys(row["method"] for row in per_image))
    rows = []
    for part in (*SETS, "all sets"):
        for method in methods:
            own = [r for r in per_image if r["method"] == method and part in (r["set"], "all sets")]
            scores = [key for key in own[0] if key not in ("set", "method")]
            summary = {key: summed(np.concatenate([r[key] for r in own])) for key in scores}
            rows.append({"set": part, "method": method, **summary})
    write_result(
        f"saliency-{SIZE}px",
        rows,
        seeds=[SEED],
        images_per_set=IMAGES,
        shares=list(SHARES),
        bootstrap={"resamples": RESAMPLES, "seed": SEED, "level": 0.95},
        data=[BASE_FILE, *(SHARED / "data" / f"{name}.npz" for name in SETS)],
    )


if __name__ == "__main__":
    main()
