"""An archive watched: rule, journal, polls, and a watch that is killed again and again."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dicomfiles import dataset
from factories import make_base, make_brick
from medlego.errors import PacsAwayError, PacsError, PacsObjectError, SettingsError
from medlego.generalist import assemble
from medlego.serve import Journal, PollResult, Rule, Watcher, keep_watching
from medlego.serve.pacs.client import Instance
from medlego.serve.pacs.journal import FILE, MAX_ATTEMPTS
from medlego.serve.pacs.results.uids import derived_uid

RULE = Rule(modality=("DX",), within_days=0)
NOW = datetime.fromisoformat("2026-03-04T05:06:07+01:00")


def source(number, study=1, **elements):
    array = np.random.default_rng(number).integers(0, 255, (20, 24), dtype=np.uint8)
    stated = {
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": f"1.2.{study}.4",
        "SOPInstanceUID": f"1.2.{study}.4.{number}",
        "Modality": "DX",
        "PatientName": "Doe^Jane",
    }
    return dataset(array, **(stated | elements))


def save_generalist(path, *seeds):
    base = make_base()
    made = assemble([make_brick(f"task-{seed}", seed, base=base) for seed in seeds])
    made.save(path)
    return made, base


@contextmanager
def watching(site, folder, rule=RULE, directory=None):
    """A watcher that makes reports alone, and its journal."""
    directory = directory or folder / "generalist"
    if not directory.exists():
        save_generalist(directory, 1)
    with Journal.open(folder / "state") as journal:
        watcher = Watcher(directory, site.pacs(), rule, journal, base=make_base(), method=None)
        yield watcher, journal


def watch_until_error(poll, waits, interval_s=10.0):
    """Poll until an error ends the watch; `waits` gets the seconds between polls."""
    ignore = lambda *_: None  # noqa: E731
    keep_watching(poll, interval_s, on_result=ignore, on_error=ignore, pause=waits.append)


def test_a_rule_needs_a_modality_and_knows_its_fields(tmp_path):
    path = tmp_path / "rule.toml"
    path.write_text('body_parts = ["CHEST"]\n')
    with pytest.raises(SettingsError, match=r"2 problems\n.*modality.*\n.*body_parts"):
        Rule.load(path)


def test_a_rule_is_read_from_toml(tmp_path):
    path = tmp_path / "rule.toml"
    path.write_text('modality = ["DX", "CR"]\nbody_part = ["chest"]\nwithin_days = 3\n')
    rule = Rule.load(path)
    assert rule == Rule(modality=("DX", "CR"), body_part=("chest",), within_days=3)
    assert rule.since(date(2026, 3, 4)) == date(2026, 3, 1)


def test_the_rule_in_the_docs_is_one(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs" / "dicomweb.md").read_text()
    (tmp_path / "rule.toml").write_text(page.partition("```toml\n")[2].partition("```")[0])
    assert set(Rule.load(tmp_path / "rule.toml").model_fields_set) == set(Rule.model_fields)


@pytest.mark.parametrize(
    ("stated", "fits"),
    [
        ({"Modality": "DX", "SeriesDescription": "Thorax PA [1]"}, True),
        ({"Modality": "DX", "SeriesDescription": "PA Thorax"}, False),
        ({"Modality": "CT", "SeriesDescription": "Thorax PA [1]"}, False),
        ({"Modality": "DX"}, False),
    ],
)
def test_all_fields_of_a_rule_must_fit_in_any_case_of_letters(stated, fits):
    rule = Rule(modality=("DX",), series_description=("nothing", "thorax * [1]"))
    assert rule.fits(stated) is fits


def test_what_is_not_stated_yet_rules_nothing_out():
    rule = Rule(modality=("DX",), body_part=("CHEST",))
    assert not rule.rules_out({"Modality": "DX"})
    assert rule.rules_out({"BodyPartExamined": "HAND"})


def test_a_journal_keeps_what_is_settled(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.settle("1", "answered", "r")
        journal.settle("2", "refused", "r", "why")
        journal.settle("3", "passed", "r", RULE.digest)
        journal.begin("4", "r", NOW)
    with Journal.open(tmp_path) as journal:
        assert [journal.settled(uid, RULE.digest) for uid in "12345"] == [True] * 3 + [False] * 2
        assert journal.counts() == {"answered": 1, "begun": 1, "passed": 1, "refused": 1}


def test_what_one_rule_left_out_is_looked_at_with_another(tmp_path):
    with Journal.open(tmp_path) as journal:
        journal.settle("1", "passed", "r", RULE.digest)
        assert not journal.settled("1", Rule(modality=("CR",)).digest)


def test_work_that_is_begun_again_keeps_its_date_while_the_recipe_stays(tmp_path):
    later = NOW + timedelta(hours=1)
    with Journal.open(tmp_path) as journal:
        assert journal.begin("1", "r", NOW) == NOW
        assert journal.begin("1", "r", later) == NOW
        assert journal.begin("1", "other", later) == later


def test_an_image_that_ends_the_process_each_time_is_given_up(tmp_path):
    with Journal.open(tmp_path) as journal:
        begun = [journal.begin("1", "r", NOW) for _ in range(MAX_ATTEMPTS + 1)]
        assert begun == [NOW] * MAX_ATTEMPTS + [None]
        assert journal.settled("1", RULE.digest)


def test_attempts_for_which_the_image_is_not_to_blame_do_not_count(tmp_path):
    with Journal.open(tmp_path) as journal:
        for _ in range(3 * MAX_ATTEMPTS):
            assert journal.begin("1", "r", NOW) == NOW
            journal.settle("1", "postponed", "r")
        assert journal.attempts("1") == 0


def test_a_journal_is_held_by_one_watch_at_a_time(tmp_path):
    with (
        Journal.open(tmp_path),
        pytest.raises(SettingsError, match="no other watch"),
        Journal.open(tmp_path),
    ):
        pass


def test_another_file_in_the_journals_place_is_refused(tmp_path):
    (tmp_path / FILE).write_text("something else, long enough to be looked at as a database")
    with pytest.raises(SettingsError, match="expected a watch's journal"), Journal.open(tmp_path):
        pass


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_journals_folder_shall_be_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("")
    says = "expected a folder for the journal, got a file"
    with pytest.raises(SettingsError, match=says), Journal.open(tmp_path / place):
        pass


def test_new_images_are_answered_once(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, journal):
        assert watcher.poll() == PollResult(answered=1)
        assert watcher.poll() == PollResult()
        site.add(source(2))
        site.add(source(1, study=2))
        assert watcher.poll() == PollResult(answered=2)
        assert journal.counts() == {"answered": 3}
    assert set(site.stores.values()) == {1}


def test_a_study_that_has_not_grown_is_not_looked_into_again(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, _):
        watcher.poll()
        watcher.poll()
        site.asked.clear()
        watcher.poll()
    assert set(site.asked) == {"GET /studies"}


def test_an_archive_that_tells_no_counts_is_looked_into_each_time(site, tmp_path):
    site.tells_counts = False
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, _):
        assert [watcher.poll().answered for _ in range(2)] == [1, 0]


def test_images_that_do_not_fit_are_left_out_by_what_the_file_says(site, tmp_path):
    site.add(source(1, BodyPartExamined="CHEST", SeriesDescription="PA"))
    site.add(source(2, BodyPartExamined="HAND", SeriesDescription="PA"))
    rule = Rule(modality=("DX",), body_part=("CHEST",), within_days=0)
    with watching(site, tmp_path, rule) as (watcher, _):
        assert watcher.poll() == PollResult(answered=1, passed=1)
        assert watcher.poll() == PollResult()


def test_results_are_not_answered_even_where_the_rule_asks_for_their_modality(site, tmp_path):
    site.add(source(1, Modality="OT"))
    save_generalist(tmp_path / "generalist", 1)
    rule = Rule(modality=("OT",), within_days=0)
    with Journal.open(tmp_path) as journal:
        watcher = Watcher(tmp_path / "generalist", site.pacs(), rule, journal, base=make_base())
        assert watcher.poll() == PollResult(answered=1)
        assert watcher.poll() == PollResult()
    assert len(site.stores) == 2


def test_an_image_that_cannot_be_read_is_refused_once_with_its_reason(site, tmp_path):
    torn = source(1)
    torn.PixelData = torn.PixelData[:-100]
    site.add(torn)
    site.add(source(2))
    with watching(site, tmp_path) as (watcher, _):
        result = watcher.poll()
        assert (result.answered, result.refused) == (1, 1)
        ((problem, count),) = result.problems.items()
        assert problem.startswith("expected")
        assert count == 1
        assert watcher.poll() == PollResult()


def test_results_that_the_archive_refuses_are_not_sent_again(site, tmp_path):
    site.add(source(1))
    site.failures = [0x0122]
    with watching(site, tmp_path) as (watcher, _):
        assert watcher.poll().refused == 1
        assert watcher.poll() == PollResult()


def test_an_archive_that_goes_away_at_any_request_loses_nothing(site, tmp_path):
    images = [site.add(source(number)) for number in range(1, 4)]
    lost = 0
    with watching(site, tmp_path) as (watcher, journal):
        for request in range(14):
            site.statuses = [0] * request + [503]
            with suppress(PacsAwayError):
                watcher.poll()
                lost -= 1
            lost += 1
        site.statuses = []
        watcher.poll()
        assert journal.counts() == {"answered": 3}
    assert lost >= 9
    assert len(site.objects("SR")) == len(images)


def test_credentials_that_are_refused_give_no_image_up(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, journal):
        whole = watcher._pacs.store
        for _ in range(2 * MAX_ATTEMPTS):
            watcher._pacs.store = lambda _: (_ for _ in ()).throw(PacsError("401"))
            with pytest.raises(PacsError):
                watcher.poll()
        watcher._pacs.store = whole
        assert watcher.poll() == PollResult(answered=1)
        assert journal.counts() == {"answered": 1}


def test_an_image_on_which_the_archive_fails_keeps_no_other_from_its_answer(site, tmp_path):
    site.add(source(1))
    site.add(source(1, study=2))
    site.tells_counts = False
    with watching(site, tmp_path) as (watcher, journal):
        whole = watcher._pacs.fetch, watcher._pacs.store
        for number in range(2 * MAX_ATTEMPTS):
            watcher._pacs.fetch = failing(whole[0], "1.2.1.4.1")
            result = watcher.poll()
            assert (result.answered, result.postponed) == (int(number == 0), 1)
        watcher._pacs.fetch = whole[0]
        assert watcher.poll() == PollResult(answered=1)
        assert journal.counts() == {"answered": 2}


@pytest.mark.parametrize("status", [500, 400, 406])
def test_a_failure_on_one_object_is_told_from_an_archive_that_is_away(site, tmp_path, status):
    site.add(source(1))
    site.statuses = [status]
    with pytest.raises(PacsObjectError, match=str(status)):
        site.pacs().fetch(Instance("1.2.1", "1.2.1.4", "1.2.1.4.1"), tmp_path / "x")


def test_results_on_which_the_archive_fails_are_sent_again(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, journal):
        site.statuses = [0, 0, 0, 0, 0, 0, 0, 500]
        results = [watcher.poll() for _ in range(2)]
        assert [result.postponed for result in results] == [1, 0], site.asked
        assert journal.counts() == {"answered": 1}


def test_an_image_of_another_study_than_asked_for_is_not_answered(site, tmp_path):
    site.add(source(1))
    with pytest.raises(PacsObjectError, match="got another"):
        site.pacs().fetch(Instance("1.2.9", "1.2.1.4", "1.2.1.4.1"), tmp_path / "x")


def test_an_image_that_is_given_up_is_told(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, journal):
        recipe = watcher._model.digest
        for _ in range(MAX_ATTEMPTS):
            journal.begin("1.2.1.4.1", recipe, NOW)
        result = watcher.poll()
        assert result == PollResult(
            refused=1, problems={f"given up after {MAX_ATTEMPTS} attempts": 1}
        )


def test_a_full_disk_gives_no_image_up(site, tmp_path):
    site.add(source(1))
    with watching(site, tmp_path) as (watcher, _):
        whole = watcher._pacs.fetch

        def full(*_):
            raise OSError(28, "No space left on device")

        watcher._pacs.fetch = full
        for _ in range(2 * MAX_ATTEMPTS):
            with pytest.raises(OSError, match="space"):
                watcher.poll()
        watcher._pacs.fetch = whole
        assert watcher.poll() == PollResult(answered=1)


def test_after_a_successful_poll_any_error_of_the_archive_is_waited_out():
    steps = iter([PollResult(), PacsError("archive: 401"), PollResult(), SettingsError("end")])
    waits: list[float] = []

    def poll():
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        return step

    with pytest.raises(SettingsError):
        watch_until_error(poll, waits)
    assert waits == [10, 10, 10]


def failing(fetch, sop_uid):
    """The same, but that the archive fails on one instance."""

    def wrapped(instance, path):
        if instance.sop_uid == sop_uid:
            raise PacsObjectError("archive: expected an answer, got 500")
        return fetch(instance, path)

    return wrapped


def test_an_edit_is_taken_over_and_does_not_answer_old_images_again(site, tmp_path):
    site.add(source(1))
    directory = tmp_path / "generalist"
    first, _ = save_generalist(directory, 1)
    second, _ = save_generalist(tmp_path / "edited", 1, 2)
    with watching(site, tmp_path) as (watcher, _):
        watcher.poll()
        directory.rename(tmp_path / "old")
        (tmp_path / "edited").rename(directory)
        site.add(source(2))
        assert watcher.poll() == PollResult(answered=1)
    assert site.results() == sorted(
        derived_uid("report", made.recipe.digest, f"1.2.1.4.{number}")
        for number, made in ((1, first), (2, second))
    )


def test_waits_grow_while_the_archive_is_away_and_are_short_again_afterwards():
    steps = iter(["away", "away", "away", "there", "away", "end"])
    waits: list[float] = []

    def poll():
        match next(steps):
            case "away":
                raise PacsAwayError("archive: away")
            case "end":
                raise SettingsError("something else")
        return PollResult()

    with pytest.raises(SettingsError, match="else"):
        watch_until_error(poll, waits)
    assert waits == [10, 20, 40, 10, 10]


def test_waits_grow_while_every_image_is_postponed():
    none, some = PollResult(postponed=3), PollResult(answered=1, postponed=2)
    results = iter([none, none, PacsAwayError("away"), none, some, none, PollResult(), none])
    waits: list[float] = []

    def poll():
        match next(results, SettingsError("end")):
            case PollResult() as result:
                return result
            case Exception() as error:
                raise error

    with pytest.raises(SettingsError):
        watch_until_error(poll, waits)
    assert waits == [10, 20, 40, 80, 10, 10, 10, 10]


def test_waits_do_not_grow_without_end():
    waits: list[float] = []

    def poll():
        if len(waits) == 40:
            raise PacsError("archive: refused")
        raise PacsAwayError("archive: away")

    with pytest.raises(PacsError):
        watch_until_error(poll, waits, 7.0)
    assert max(waits) == waits[-1] == 300


KILLED = Path(__file__).with_name("killed_watch.py")


def test_a_watch_killed_at_any_point_loses_nothing_and_doubles_nothing(site, tmp_path):
    images = [site.add(source(number, study)) for study in (1, 2) for number in range(1, 5)]
    made, _ = save_generalist(tmp_path / "generalist", 1)
    run = subprocess.run(
        [sys.executable, KILLED, site.url, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 10, "expected the watch to be killed at every point"
    expected = {derived_uid("report", made.recipe.digest, uid) for uid in images}
    assert {str(report.SOPInstanceUID) for report in site.objects("SR")} == expected
    assert set(site.stores) == expected
    assert sum(site.stores.values()) > len(expected), "expected some to be stored twice"
    assert {len(contents) for contents in site.contents.values()} == {1}
    with Journal.open(tmp_path / "state") as journal:
        assert journal.counts() == {"answered": len(images)}
    assert list((tmp_path / "state" / "fetched").iterdir()) == []
