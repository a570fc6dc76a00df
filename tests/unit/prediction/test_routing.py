"""Which tasks an image belongs to: the nearest's group, none, or mine from elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from factories import make_base, make_brick, make_features, with_profile
from medlego.bricks import Brick
from medlego.errors import BrickError
from medlego.merge import capabilities
from medlego.prediction import OOD_LIMIT, expected_ood_score, groups
from medlego.prediction.routing import ATYPICAL_LIMIT, Router

BASE = make_base()
WIDTH = 2 * BASE.ref.features


def brick(
    name: str,
    center: float | None,
    modality: str | None = None,
    body_part: str | None = None,
    seed: int = 0,
) -> Brick:
    made = make_brick(name, seed=seed, base=BASE)
    task = made.task.model_copy(update={"modality": modality, "body_part": body_part})
    made = replace(made, task=task)
    return made if center is None else with_profile(made, center, seed=seed)


def router(*bricks: Brick) -> Router:
    return Router(capabilities(bricks))


def images(center: float, count: int = 40, seed: int = 7) -> torch.Tensor:
    return make_features(WIDTH, center, images=count, seed=seed)


FAR = 60.0
"""A center so far from 0 that no image lies between."""


def test_images_go_to_the_task_whose_training_images_they_are_like():
    routing = router(brick("near", 0), brick("far", FAR))
    for center, name in ((0, "near"), (FAR, "far")):
        routes = routing.routes(routing.ood_scores(images(center)))
        assert {route.tasks for route in routes} <= {(name,), ()}
        assert sum(route.tasks == (name,) for route in routes) >= 38


def test_images_like_none_get_no_task_and_a_reason():
    routing = router(brick("near", 0), brick("far", FAR))
    for route in routing.routes(routing.ood_scores(images(5 * FAR))):
        assert route.tasks == route.atypical == ()
        assert route.none > 0.99
        assert "like no task's training images; nearest far (OOD score" in route.reason


def ood(*columns: float) -> torch.Tensor:
    return torch.tensor([columns], dtype=torch.float64)


@pytest.mark.parametrize(
    ("z", "tasks", "atypical"),
    [
        (ATYPICAL_LIMIT - 0.01, ("a",), ()),
        (ATYPICAL_LIMIT + 0.01, ("a",), ("a",)),
        (OOD_LIMIT - 0.01, ("a",), ("a",)),
        (OOD_LIMIT + 0.01, (), ()),
        (-5.0, ("a",), ()),
    ],
)
def test_an_image_between_the_limits_is_mine_but_atypical(z, tasks, atypical):
    (route,) = router(brick("a", 0)).routes(ood(z))
    assert (route.tasks, route.atypical) == (tasks, atypical)
    assert ("from another site or device" in route.reason) == bool(atypical)


def test_probabilities_follow_the_formula():
    routing = router(brick("a", 0), brick("b", FAR))
    e = [math.exp(-(z**2) / 2) for z in (1.0, 2.5, OOD_LIMIT)]
    (route,) = routing.routes(ood(1.0, 2.5))
    assert route.probs["a"] == pytest.approx(e[0] / sum(e), rel=1e-12)
    assert route.probs["b"] == pytest.approx(e[1] / sum(e), rel=1e-12)
    assert route.none == pytest.approx(e[2] / sum(e), rel=1e-12)


def test_tasks_of_one_group_do_not_compete_and_all_apply():
    chest = [brick(name, 0, "DX", "CHEST", seed) for seed, name in enumerate(("a", "b"))]
    routing = router(*chest, brick("c", FAR, "MR", "BRAIN"))
    assert routing.groups == (("a", "b"), ("c",))
    e = [math.exp(-(z**2) / 2) for z in (1.5, OOD_LIMIT, 9.0)]
    (route,) = routing.routes(ood(1.5, 0.5, 9.0))
    assert route.tasks == ("b", "a")
    assert route.probs["a"] == pytest.approx(e[0] / sum(e), rel=1e-12)


def test_a_task_of_another_group_does_not_apply_however_near():
    (route,) = router(brick("a", 0), brick("b", FAR)).routes(ood(0.2, 0.1))
    assert route.tasks == ("b",)


def test_a_task_of_the_group_applies_only_within_its_own_limit():
    chest = [brick(name, 0, "DX", "CHEST", seed) for seed, name in enumerate(("a", "b"))]
    (route,) = router(*chest).routes(ood(OOD_LIMIT + 0.5, 0.5))
    assert route.tasks == ("b",)


def test_stated_modality_and_body_part_decide_over_profiles():
    alike = [brick("a", 0, "DX", "CHEST"), brick("b", 0, "DX", "HAND", seed=1)]
    assert groups(capabilities(alike)) == (("a",), ("b",))
    other = [brick("a", 0, "DX", "CHEST"), brick("b", FAR, "DX", "CHEST", seed=1)]
    assert groups(capabilities(other)) == (("a", "b"),)


@pytest.mark.parametrize(("center", "together"), [(0.0, True), (FAR, False)])
def test_profiles_decide_where_nothing_is_stated(center, together):
    grouped = groups(capabilities([brick("a", 0), brick("b", center, seed=1)]))
    assert grouped == ((("a", "b"),) if together else (("a",), ("b",)))


def test_different_modalities_are_never_grouped_by_profiles():
    grouped = groups(capabilities([brick("a", 0, "DX"), brick("b", 0, "MR", seed=1)]))
    assert grouped == (("a",), ("b",))


def test_a_task_without_profile_is_never_chosen_and_named():
    routing = router(brick("a", 0), brick("b", None, seed=1))
    assert routing.tasks == ("a",)
    (route,) = routing.routes(ood(0.1))
    assert set(route.probs) == {"a"}


def test_of_several_sites_the_one_that_knows_best_decides():
    sites = [brick("a", 0), brick("a", FAR, seed=1)]
    routing = router(*sites)
    for center in (0, FAR):
        routes = routing.routes(routing.ood_scores(images(center)))
        assert sum(route.tasks == ("a",) for route in routes) >= 38


def test_adding_a_brick_changes_no_other_tasks_ood_score():
    alone, more = router(brick("a", 0)), router(brick("a", 0), brick("b", FAR))
    features = images(0)
    assert torch.equal(alone.ood_scores(features)[:, 0], more.ood_scores(features)[:, 0])


def test_profiles_of_stems_of_different_depth_are_refused():
    other = brick("b", 0, seed=1)
    assert other.profile is not None
    deeper = replace(other, profile=replace(other.profile, blocks=2))
    with pytest.raises(BrickError, match="'b': expected a profile of a stem of 1 blocks"):
        router(brick("a", 0), deeper)


@pytest.mark.parametrize("center", [0.0, 3.0, FAR])
def test_the_expected_ood_score_is_that_of_the_dense_formula(center):
    own, other = (with_profile(make_brick(base=BASE), c).profile for c in (0.0, center))
    assert own is not None
    assert other is not None

    def covariance(profile):
        gram, scale = profile.correlation, profile.scale.double()
        V, rest = gram.vectors.double(), gram.rest.double()
        correlation = (V * (gram.values.double() - rest)) @ V.T + rest * torch.eye(len(V))
        return correlation * torch.outer(scale, scale)

    inverse, apart = torch.linalg.inv(covariance(own)), (other.mean - own.mean).double()
    squared = torch.trace(inverse @ covariance(other)) + apart @ inverse @ apart
    middle, deviation = own.distance.tolist()
    expected = (math.log(float(squared)) - middle) / deviation
    assert expected_ood_score(own, other) == pytest.approx(expected, rel=1e-5, abs=1e-5)
