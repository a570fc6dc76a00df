"""Edits: what each leads to, what becomes stale, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factories import make_base, make_brick, make_bricks
from medlego.bricks import Card, RefitHead, Signer, sign_brick
from medlego.errors import GeneralistError, MergeError
from medlego.generalist import (
    Generalist,
    Stamp,
    add,
    assemble,
    prepared_beside,
    rebuild_state,
    redo,
    remove,
    undo,
    update,
    withdraw,
)
from medlego.train import with_heads

BASE = make_base(depth=1)
A, B, C, D = make_bricks("abcd", BASE)
A2 = make_brick("a", seed=11, base=BASE)
STAMP = Stamp("2026-11-25T10:00:00Z", "Ada")


def refitted(generalist: Generalist, task: str) -> Generalist:
    """As after a head round."""
    capability = generalist.capability(task)
    head = RefitHead(generalist.recipe.model, capability.task, capability.head, {}, Card())
    return with_heads(generalist, [head])


def numbers(generalist: Generalist) -> list[float]:
    return [item.coefficient for item in generalist.recipe.bricks]


def tasks(generalist: Generalist) -> list[str]:
    return [brick.task.name for brick in generalist.bricks]


def test_an_edit_says_what_when_and_who():
    after = add(assemble([A, B]), C, stamp=STAMP)
    entry = after.lineage[-1]
    assert (entry.action, entry.added, entry.when, entry.by) == (
        "add",
        (C.digest,),
        STAMP.when,
        STAMP.by,
    )


def test_the_generalist_edited_stays_as_it_was():
    before = assemble([A, B])
    digest, lineage = before.recipe.digest, before.lineage
    add(before, C)
    remove(before, "a")
    assert (before.recipe.digest, before.lineage) == (digest, lineage)


def test_a_rule_is_applied_again():
    assert numbers(add(assemble([A, B]), C)) == pytest.approx([3**-0.5] * 3)


def test_a_rule_leaves_no_room_for_a_coefficient():
    with pytest.raises(MergeError, match=r"expected none where the rule 'auto' .*, got 0\.5"):
        add(assemble([A, B]), C, coefficient=0.5)


def test_one_number_for_all_is_a_new_tasks_number_too():
    assert numbers(add(assemble([A, B], coefficients=0.3), C)) == [0.3, 0.3, 0.3]


def test_a_coefficient_beside_one_number_leaves_each_brick_its_own():
    after = add(assemble([A, B], coefficients=0.3), C, coefficient=0.7)
    assert numbers(after) == [0.3, 0.3, 0.7]
    assert numbers(remove(after, "a")) == [0.3, 0.7]


def test_bricks_with_numbers_of_their_own_ask_for_one_more():
    before = assemble([A, B], coefficients=[0.3, 0.6])
    with pytest.raises(MergeError, match="expected a number for brick 'c'"):
        add(before, C)
    assert numbers(add(before, C, coefficient=0.1)) == [0.3, 0.6, 0.1]


def test_an_update_keeps_place_and_coefficient():
    after = update(assemble([A, B], coefficients=[0.3, 0.6]), A2)
    assert after.bricks == (A2, B)
    assert numbers(after) == [0.3, 0.6]


def test_an_update_of_one_site_of_several_asks_which():
    sites = assemble([A, A2, B])
    newer = make_brick("a", seed=12, base=BASE)
    with pytest.raises(GeneralistError, match=f"choose one of {A.digest[:12]}, {A2.digest[:12]}"):
        update(sites, newer)
    assert update(sites, newer, site=A2.digest[:8]).bricks == (A, newer, B)


def test_one_site_can_be_removed():
    assert remove(assemble([A, A2, B]), "a", site=A.digest[:8]).bricks == (A2, B)


def test_a_site_that_is_not_there_is_refused():
    with pytest.raises(GeneralistError, match="got 'zz', which fits 0"):
        remove(assemble([A, A2, B]), "a", site="zz")


def test_the_last_task_stays():
    with pytest.raises(GeneralistError, match="expected a brick besides those of 'a', got none"):
        remove(assemble([A, A2]), "a")


def test_an_unknown_task_is_refused():
    with pytest.raises(GeneralistError, match="expected one of a, b, got 'x'"):
        remove(assemble([A, B]), "x")


def test_a_brick_twice_is_refused():
    with pytest.raises(MergeError, match="lacks, got one that it has; there is nothing to add"):
        add(assemble([A, B]), A)


def test_a_default_slope_follows_the_bricks_and_a_given_one_stays():
    prepared = replace(make_brick("p", seed=5, base=BASE), settings={"merge_aware": True})
    assert assemble([A, B]).recipe.slope == 0.75
    after = add(assemble([A, B]), prepared)
    assert after.recipe.slope == 0
    assert remove(after, "p").recipe.digest == assemble([A, B]).recipe.digest
    assert add(assemble([A, B], slope=0.75), prepared).recipe.slope == 0.75


def test_refitted_heads_become_stale_and_come_back_by_undo():
    before = refitted(assemble([A, B]), "a")
    after = add(before, C)
    assert (dict(after.heads), after.lineage[-1].stale) == ({}, ("head a",))
    assert remove(after, "a").lineage[-1].stale == ()
    assert undo(after).recipe == before.recipe
    assert undo(after).heads["a"].digest == before.heads["a"].digest
    assert undo(after).lineage[-1].stale == ()


def test_a_new_head_round_is_no_longer_stale():
    after = refitted(add(refitted(assemble([A, B]), "a"), C), "a")
    assert after.lineage[-1].stale == ()


def test_undo_and_redo_walk_along_the_edits():
    first = assemble([A, B])
    third = remove(add(first, C), "a")
    assert tasks(undo(third)) == ["a", "b", "c"]
    assert tasks(undo(undo(third))) == ["a", "b"]
    assert tasks(redo(undo(undo(third)))) == ["a", "b", "c"]
    assert tasks(redo(redo(undo(undo(third))))) == ["b", "c"]


def test_after_a_new_edit_redo_has_nothing_to_go_to_but_undo_can_reach_any_entry():
    after = add(undo(add(assemble([A, B]), C)), D)
    assert tasks(after) == ["a", "b", "d"]
    with pytest.raises(GeneralistError, match="nothing to redo"):
        redo(after)
    assert tasks(undo(after, to=1)) == ["a", "b", "c"]


def test_the_first_state_cannot_be_undone():
    with pytest.raises(GeneralistError, match="nothing to undo"):
        undo(assemble([A, B]))


@pytest.mark.parametrize("to", [-1, 5])
def test_an_entry_that_is_not_there_is_refused(to):
    with pytest.raises(GeneralistError, match=f"expected an entry from 0 to 0, got {to}"):
        undo(assemble([A, B]), to=to)


def test_undo_past_a_withdrawal_is_refused_with_the_reason():
    after = withdraw(add(assemble([A, B]), C), "a")
    assert tasks(after) == ["b", "c"]
    assert A.digest not in after.past.bricks
    with pytest.raises(GeneralistError, match="withdrawn in entry 2, for good"):
        undo(after)
    with pytest.raises(GeneralistError, match="withdrawn in entry 2, for good"):
        rebuild_state(after, 0)


def test_a_withdrawal_takes_older_versions_and_bricks_removed_before():
    before = remove(update(assemble([A, B]), A2), "a")
    after = withdraw(before, "a")
    assert not {A.digest, A2.digest} & set(after.past.bricks)
    assert after.recipe == before.recipe
    assert after.lineage[-1].withdrawn


def test_a_withdrawal_of_one_site_leaves_the_other():
    newer = make_brick("a", seed=12, base=BASE)
    before = update(assemble([A, A2, B]), newer, site=A.digest)
    after = withdraw(before, "a", site=newer.digest)
    assert after.bricks == (A2, B)
    assert set(after.past.bricks) == {A2.digest, B.digest}


def test_a_withdrawal_takes_the_heads_refitted_to_the_task():
    before = refitted(refitted(assemble([A, B, C]), "a"), "b")
    after = withdraw(before, "a")
    assert [head.task.name for head in after.past.heads.values()] == ["b"]


KEY = Signer.new()
OLD, NEW = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


def signed(brick, when):
    return sign_brick(brick, KEY, when)


@pytest.mark.parametrize("edit", [update, lambda g, *w, **k: add(remove(g, "a"), *w, **k)])
def test_an_older_brick_takes_a_newer_ones_place_only_if_that_is_allowed(edit):
    before = assemble([A, B]).signed([signed(A, NEW)])
    late, early = signed(A2, "2026-01-01T00:00:00.5Z"), signed(A2, "2026-01-01T00:30:00+01:00")
    says = f"got one signed at 2026-01-01T00:30:00.01:00, before {A.digest[:12]}"
    with pytest.raises(GeneralistError, match=says) as refused:
        edit(before, A2, signature=early)
    assert "allow it (--allow-older)" in str(refused.value)
    assert A2 in edit(before, A2, signature=early, allow_older=True).bricks
    assert A2 in edit(before, A2, signature=late).bricks


@pytest.mark.parametrize("when", [None, "yesterday", "99999"])
def test_where_a_signature_states_no_time_its_age_is_unknown(when):
    before = assemble([A, B]).signed([signed(A, NEW)])
    assert A2 in update(before, A2, signature=signed(A2, when)).bricks
    assert A2 in update(before, A2).bricks
    before = assemble([A, B]).signed([signed(A, when)])
    assert A2 in update(before, A2, signature=signed(A2, OLD)).bricks


def test_a_brick_that_an_update_replaced_comes_back_only_by_undo_or_if_it_is_allowed():
    after = update(assemble([A, B]), A2)
    for edit in (update, add, lambda g, *w, **k: add(remove(g, "a"), *w, **k)):
        with pytest.raises(GeneralistError, match="got one that entry 1 replaced by a newer one"):
            edit(after, A)
        assert A in edit(after, A, allow_older=True).bricks
    assert A in undo(after).bricks
    assert A2 in update(undo(after), A2).bricks


def test_another_site_may_have_signed_earlier():
    before = assemble([A, B]).signed([signed(A, NEW)])
    assert len(add(before, A2, signature=signed(A2, OLD)).bricks) == 3


def test_a_withdrawn_brick_does_not_slip_in_again():
    after = withdraw(assemble([A, B]), "a")
    with pytest.raises(GeneralistError, match="entry 1 withdrew; add it with --after-withdrawal"):
        add(after, A)
    assert tasks(add(after, A, after_withdrawal=True)) == ["b", "a"]


def test_bricks_prepared_beside_a_removed_one_are_named():
    beside = replace(B, settings={"refit_company": [A.deltas_digest]})
    trained = replace(C, settings={"company_bricks": [A.digest]})
    (first, second) = prepared_beside([beside, trained, D], [A])
    assert first.startswith("b (")
    assert "prepared beside the removed a" in second
