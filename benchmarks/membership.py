"""What does a published profile give away of the images that it was made from?

    python -m benchmarks.membership

An attacker has a profile, images of the same kind of which none is in it, and an image: was it in?
`likelihood` compares its distance under the profile with that under the attacker's own profile of
the same kind. `tracing` knows that a mean was published: it looks how far the mean was pulled
towards the image (Homer et al. 2008; Dwork et al. 2015), in units of the spread of the attacker's
images, or in their whole covariance (`whitened tracing`).
Cohorts are drawn from the train split, by patient where ids are known: members, the attacker's
images, and images of neither, as many as members, stem from different patients.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from benchmarks.common import write_result
from benchmarks.depths import split
from benchmarks.fifteen import BASES, FIFTEEN, base_of, data_file
from medlego.bricks import Noise, Profile, Reference, fit_private_profile, fit_profile
from medlego.support import one_thread
from medlego.train.profiles import reference

SIZES, COHORTS = (24, 60, 120, 240, 500), 120
EPSILONS, DELTA = (1.0, 8.0), 1e-5
FEATURES = "patches 1 + deviation 1"
"""What the product's profiles are of."""
LEAST_KNOWN = 48
"""Images that the attacker has at least."""
FPR = 0.01
NAMES = ("auc", "tpr_at_1_percent_fpr")
RESAMPLES, SEED = 500, 0


@cache
def public(base: str) -> Reference:
    """What noise is measured by."""
    return reference(base_of(base))


def publishers(base: str) -> dict[str, Callable[[Tensor, int], Profile]]:
    """Ways to publish a profile of features, by name."""
    ways: dict[str, Callable[[Tensor, int], Profile]] = {
        "exact": lambda features, seed: fit_profile(features, seed=seed)
    }
    for epsilon in EPSILONS:

        def private(features: Tensor, seed: int, epsilon: float = epsilon) -> Profile:
            noise, generator = Noise(epsilon=epsilon, delta=DELTA), torch.Generator()
            generator.manual_seed(seed)
            return fit_private_profile(features, public(base), noise, generator=generator)

        ways[f"epsilon {epsilon:g}"] = private
    return ways


def cohorts(base: str, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Members, the attacker's images and images of neither; sets that have enough in turns."""
    enough = [n for n in FIFTEEN if len(split(base, n, "train").patients) >= 2 * size + LEAST_KNOWN]
    drawn = (_drawn(base, enough[n % len(enough)], size, n) for n in itertools.count())
    return itertools.islice((one for one in drawn if len(one[1]) >= LEAST_KNOWN), COHORTS)


def _drawn(base: str, name: str, size: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    own = split(base, name, "train")
    rng = np.random.default_rng([SEED, size, number])
    order = np.argsort(rng.permutation(own.patients.max() + 1)[own.patients], kind="stable")
    new = np.append(np.flatnonzero(np.diff(own.patients[order])) + 1, len(order))
    first = int(new[new >= size][0])  # each part ends where another patient begins
    second = int(new[np.searchsorted(new, first + size).clip(max=len(new) - 1)])
    features = own.of(FEATURES).float()[order]
    return features[:first], features[second:], features[first:second]


def likelihood(published: Profile, own: Profile, images: Tensor) -> Tensor:
    """Higher for members, (N,)."""
    return own.squared_distance(images).log() - published.squared_distance(images).log()


def tracing(published: Profile, own: Profile, images: Tensor) -> Tensor:
    """Higher for members, (N,)."""
    pulled = (published.mean - own.mean) / own.scale
    return ((images - own.mean) / own.scale) @ pulled


def whitened(published: Profile, own: Profile, images: Tensor) -> Tensor:
    """`tracing` in the metric of the attacker's covariance, (N,)."""
    pull = published.mean - own.mean
    return (own.squared_distance(images + pull) - own.squared_distance(images - pull)) / 4


ATTACKS = {"likelihood": likelihood, "tracing": tracing, "whitened tracing": whitened}


def standardised(members: Tensor, others: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A cohort's scores on one scale with other cohorts', both sides treated alike."""
    deviation, mean = torch.std_mean(torch.cat([members, others]).double())
    return ((members - mean) / deviation).numpy(), ((others - mean) / deviation).numpy()


def measured(scores: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Of pooled cohorts the AUC, and the share of members found where `FPR` of others are."""
    members, others = (np.concatenate(side) for side in zip(*scores, strict=True))
    ranks = rankdata(np.concatenate([members, others]))[: len(members)]
    auc = (ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others))
    return float(auc), float((members > np.quantile(others, 1 - FPR)).mean())


def pooled(scores: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """With intervals of a bootstrap over cohorts."""
    rng, count = np.random.default_rng(SEED), len(scores)
    draws = [measured([scores[i] for i in rng.integers(0, count, count)]) for _ in range(RESAMPLES)]
    named = zip(NAMES, measured(scores), *np.quantile(draws, [0.025, 0.975], axis=0), strict=True)
    return {
        name: {"value": round(value, 4), "interval": [round(float(low), 4), round(float(high), 4)]}
        for name, value, low, high in named
    }


def rows(base: str, size: int) -> list[dict[str, Any]]:
    """Every way to publish against every attack."""
    ways = publishers(base)
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for number, (members, known, others) in enumerate(cohorts(base, size)):
        own = fit_profile(known)
        for way, publish in ways.items():
            profile = publish(members, number)
            for name, attack in ATTACKS.items():
                both = (attack(profile, own, images) for images in (members, others))
                found.setdefault((way, name), []).append(standardised(*both))
    return [
        {"base": base, "size": size, "published": way, "attack": name, **pooled(scores)}
        for (way, name), scores in found.items()
    ]


def main() -> None:
    """Write results/membership-BASE.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", nargs="+", choices=BASES, default=list(BASES))
    files = [data_file(name) for name in FIFTEEN]
    for base in parser.parse_args().bases:
        everything = []
        with one_thread():
            for size in SIZES:
                everything += rows(base, size)
                print(f"{base}: cohorts of {size}", flush=True)
        used = [BASES[base][1], *files]
        write_result(f"membership-{base}", everything, seeds=[SEED], data=used, cohorts=COHORTS)


if __name__ == "__main__":
    main()
