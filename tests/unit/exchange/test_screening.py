"""What screening says of single faults; how poisons and clean bricks fare is in test_poison.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from factories import make_base, make_brick, make_dataset, scaled, with_profile
from medlego.bricks import Brick, Head, LowRank
from medlego.errors import BaseError
from medlego.exchange import Ordinary, Screening, screen
from medlego.exchange.screening.behaviour import Behaviour, shares
from medlego.exchange.screening.findings import ScreeningLimits, Verdict, beside_median, judged
from medlego.exchange.screening.patches import Patch, battery
from medlego.exchange.screening.weights import traits
from medlego.generalist import specialist
from medlego.prediction import Backbone

BASE = make_base(depth=1)
ORDINARY = Ordinary.drawn(BASE, 4)


def calm(name: str, seed: int) -> Brick:
    """Random deltas under a head that hardly tells labels apart, so that no patch can push."""
    brick = with_profile(make_brick(name, seed, base=BASE), 60.0 * seed, seed)
    return replace(brick, head=Head(brick.head.weight * 0.02, brick.head.bias * 0.02))


OTHERS = [calm(f"task-{number}", number) for number in range(5)]


def of(brick: Brick, others: list[Brick] = OTHERS, **more) -> Screening:
    return screen(brick, others, BASE, ordinary=ORDINARY, **more)


def verdicts(report: Screening) -> dict[str, Verdict]:
    return {finding.check: finding.verdict for finding in report.findings}


def flagged(report: Screening) -> set[str]:
    return {finding.check for finding in report.flagged}


def test_a_brick_like_the_others_passes_every_check():
    assert set(verdicts(of(calm("new", 9))).values()) == {Verdict.PASSED}


def test_a_profile_that_calls_everything_its_own_is_flagged():
    brick = calm("new", 9)
    assert brick.profile is not None
    wide = replace(brick.profile, scale=brick.profile.scale * 1e3)
    near = replace(brick.profile, distance=brick.profile.distance + torch.tensor([20.0, 0.0]))
    claim = "claim on other tasks' images"
    assert flagged(of(replace(brick, profile=wide))) == {claim}
    assert flagged(of(replace(brick, profile=near))) == {"profile", claim}


def test_a_profile_of_another_tasks_images_is_flagged_unless_the_tasks_share_images():
    thief = replace(calm("new", 9), profile=OTHERS[2].profile)
    states = {"modality": "DX", "body_part": "HAND"}
    thief = replace(thief, task=thief.task.model_copy(update=states))
    stated = [
        replace(o, task=o.task.model_copy(update={"modality": "MR", "body_part": f"PART {n}"}))
        for o, n in zip(OTHERS, "ABCDE", strict=True)
    ]
    assert flagged(of(thief, stated)) == {"claim on other tasks' images"}
    assert flagged(of(replace(thief, task=calm("new", 9).task))) == set()


def test_a_brick_without_profile_is_not_judged_by_it():
    by_check = verdicts(of(replace(calm("new", 9), profile=None)))
    assert by_check["profile"] == by_check["claim on other tasks' images"] == Verdict.NOT_JUDGED


@pytest.mark.parametrize(
    ("factor", "check"), [(10.0, "norm"), (10.0, "spectral norm"), (0.1, "norm"), (0.01, "effect")]
)
def test_a_brick_of_another_size_is_flagged(factor, check):
    assert check in flagged(of(scaled(calm("new", 9), factor)))


def test_one_target_that_holds_everything_is_flagged():
    brick = calm("new", 9)
    first = next(iter(brick.deltas))
    deltas = {n: replace(d, S=d.S * (1 if n == first else 1e-3)) for n, d in brick.deltas.items()}
    tight = ScreeningLimits(size=1.2)
    assert "largest share of one target" in flagged(of(replace(brick, deltas=deltas), limits=tight))


def test_a_head_of_another_size_is_flagged():
    brick = calm("new", 9)
    loud = replace(brick, head=Head(brick.head.weight * 50, brick.head.bias))
    assert "head rows" in flagged(of(loud))


def test_a_copy_under_another_tasks_name_is_flagged():
    report = of(OTHERS[2].renamed("new"))
    assert flagged(report) == {"overlap"}
    assert "task-2, the nearest of 5" in report.flagged[0].says


def test_numbers_that_are_not_finite_end_it_there():
    brick = calm("new", 9)
    first = next(iter(brick.deltas))
    broken = replace(brick.deltas[first], S=brick.deltas[first].S * float("nan"))
    report = of(replace(brick, deltas={**brick.deltas, first: broken}))
    assert verdicts(report) == {"structure": Verdict.FLAGGED}
    assert f"delta.{first}.S" in report.flagged[0].says


def test_targets_that_the_base_lacks_are_flagged():
    deeper = make_brick("new", base=make_base(depth=2))
    report = of(replace(deeper, base=BASE.ref))
    assert verdicts(report) == {"structure": Verdict.FLAGGED}


def test_an_answer_that_a_patch_decides_is_flagged():
    brick = calm("new", 9)
    alone = Behaviour.of(specialist(brick), ORDINARY)
    plain = alone.pooled
    stamped = alone.backbone.features(alone.patches[7].stamp(ORDINARY.pixels))
    rows = torch.cat([plain, stamped])
    wanted = torch.tensor([-9.0, 9.0]).repeat_interleave(len(plain))[:, None]
    fit = torch.linalg.lstsq(torch.cat([rows, torch.ones(len(rows), 1)], dim=1), wanted).solution
    weight = torch.zeros(3, rows.shape[1])
    weight[1] = fit[:-1, 0]
    bias = torch.tensor([0.0, float(fit[-1]), -9.0])
    assert "push by a patch" in flagged(of(replace(brick, head=Head(weight, bias))))


def test_too_few_others_are_said_and_nothing_passes_for_it():
    report = of(calm("new", 9), OTHERS[:1])
    assert verdicts(report) == {
        "structure": Verdict.PASSED,
        "norm": Verdict.NOT_JUDGED,
        "spectral norm": Verdict.NOT_JUDGED,
        "largest share of one target": Verdict.NOT_JUDGED,
        "head rows": Verdict.NOT_JUDGED,
        "overlap": Verdict.PASSED,
        "profile": Verdict.PASSED,
        "claim on other tasks' images": Verdict.PASSED,
        "effect": Verdict.NOT_JUDGED,
        "push by a patch": Verdict.NOT_JUDGED,
        "change of other tasks": Verdict.NOT_JUDGED,
        "push of other tasks by a patch": Verdict.NOT_JUDGED,
    }
    assert report.findings[1].says == "needs 4 other bricks, got 1"


def test_bricks_of_another_base_and_the_brick_itself_are_no_peers():
    unrelated = [make_brick(f"far-{n}", n, base=make_base(seed=1, depth=1)) for n in range(5)]
    brick = calm("new", 9)
    assert verdicts(of(brick, [*unrelated, brick])) == verdicts(of(brick, []))


@pytest.mark.parametrize("base", [make_base(seed=1, depth=1), make_base(depth=1, image_size=24)])
def test_another_base_is_refused(base):
    with pytest.raises(BaseError, match="expected that of the brick"):
        screen(OTHERS[0], [], base)


def test_other_tasks_that_suffer_are_flagged():
    report = of(calm("new", 9), limits=ScreeningLimits(harm=0.01))
    assert flagged(report) == {"change of other tasks"}


def test_a_report_is_json():
    document = json.loads(json.dumps(of(scaled(calm("new", 9), 10.0)).as_dict()))
    assert document["task"] == "new"
    assert "norm" in document["flagged"]
    (norm,) = (f for f in document["findings"] if f["check"] == "norm")
    assert norm["verdict"] == "flagged"
    assert norm["value"] > norm["most"] > norm["least"] > 0


def test_the_same_brick_is_found_the_same_twice():
    brick = calm("new", 9)
    fresh = Ordinary.drawn(BASE, 4)
    assert screen(brick, OTHERS, BASE, ordinary=fresh).as_dict() == of(brick).as_dict()


def test_own_images_stand_in_for_procedural_ones():
    images = make_dataset(images=12).train.images
    ordinary = Ordinary.of_images(BASE, images, 4)
    assert torch.equal(ordinary.pixels[0], BASE.prepare(images[0]))
    assert torch.equal(ordinary.pixels[-1], BASE.prepare(images[11]))


def test_effect_is_the_mean_distance_over_the_spread():
    brick = calm("new", 9)
    alone = Behaviour.of(specialist(brick), ORDINARY)
    features = [b.features(ORDINARY.pixels) for b in (alone.backbone, Backbone(BASE))]
    moved = (features[0] - features[1]).norm(dim=1)
    frozen = ORDINARY.frozen.double()
    spread = ((frozen - frozen.mean(0)) ** 2).sum(1).mean().sqrt()
    assert alone.effect == pytest.approx(float(moved.mean() / spread), rel=1e-5)
    assert replace(alone, pooled=ORDINARY.frozen).effect == 0


def test_shares_are_the_way_to_certainty():
    brick = calm("new", 9)
    (reader,) = specialist(brick).readers
    alone = Behaviour.of(specialist(brick), ORDINARY)
    plain = alone.pooled
    stamped = torch.stack(
        [alone.backbone.features(p.stamp(ORDINARY.pixels)) for p in alone.patches[:3]]
    )
    pushes = shares(reader, plain, stamped)
    torch.testing.assert_close(alone.pushes()["new"][:3], pushes, rtol=1e-5, atol=1e-6)
    before, after = (
        brick.task.rules.probabilities(brick.head.logits(f))[:, 1] for f in (plain, stamped[2])
    )
    rises = [max(float(q - p), 0) / (1 - float(p)) for p, q in zip(before, after, strict=True)]
    assert float(pushes[2, 1]) == pytest.approx(sum(rises) / len(rises), abs=1e-5)


def test_a_patch_covers_its_place_and_nothing_else():
    images = torch.full((2, 3, 21, 21), 0.25)
    patch = Patch("white", torch.ones(3, 5, 5), (0.5, 1.0))
    stamped = patch.stamp(images)
    assert bool((stamped[:, :, 8:13, 16:] == 1).all())
    assert float(stamped.sum()) == pytest.approx(2 * 3 * (25 + 0.25 * (21 * 21 - 25)))
    assert bool((images == 0.25).all())


def test_the_battery_is_the_same_every_time_and_within_range():
    first, second = battery(112), battery(112)
    assert len({(patch.name, patch.place) for patch in first}) == len(first) == 85
    for one, other in zip(first, second, strict=True):
        assert one.pixels.shape == (3, 16, 16)
        assert torch.equal(one.pixels, other.pixels)
        assert 0 <= float(one.pixels.min()) <= float(one.pixels.max()) <= 1


def test_traits_against_dense_matrices():
    brick = make_brick("new", 9, base=BASE)
    dense = [delta.dense().double() for delta in brick.deltas.values()]
    norms = torch.stack([matrix.norm() for matrix in dense])
    assert traits(brick) == pytest.approx(
        {
            "norm": float(norms.norm()),
            "spectral norm": max(float(torch.linalg.matrix_norm(m, 2)) for m in dense),
            "largest share of one target": float(norms.max() / norms.norm()),
            "head rows": float(brick.head.weight.double().norm(dim=1).mean()),
        },
        rel=1e-5,
    )


def test_deltas_of_zero_have_no_share():
    brick = calm("new", 9)
    zero = {n: LowRank(d.U, d.S * 0, d.Vh) for n, d in brick.deltas.items()}
    assert traits(replace(brick, deltas=zero))["largest share of one target"] == 0


def test_limits_hold_both_ways_and_nan_never_passes():
    assert judged("x", 2.0, "", least=2.0, most=2.0).sound
    assert not judged("x", 2.1, "", most=2.0).sound
    assert not judged("x", 1.9, "", least=2.0).sound
    assert not judged("x", float("nan"), "", most=2.0).sound
    assert beside_median("x", [1, 2, 3, 9], 7.4, 3.0).sound
    assert not beside_median("x", [1, 2, 3, 9], 7.6, 3.0).sound
    assert not beside_median("x", [1, 2, 3, 9], 0.8, 3.0).sound
