"""The CI verdict: what is green, what is not yet, and that everything else is red."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.decide.checks import CiVerdict, Reading, judge
from orchestrator.model import CheckRun

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may fill the machine
GREEN = ("success", "skipped", "neutral")
UNFINISHED = (None, "queued", "in_progress", "pending", "waiting", "requested")
RED = ("failure", "error", "cancelled", "timed_out", "stale", "startup_failure", "action_required")


def run(
    name: str = "test", conclusion: str | None = "success", source: str = "github-actions", id: int = 1
) -> CheckRun:
    return CheckRun(name, source, conclusion, id)


def read(*runs: CheckRun, required: tuple[str, ...] = ()) -> CiVerdict:
    return judge(runs, required)


@pytest.mark.parametrize("count", [31, 101])
def test_K3_the_failing_one_of_many_is_seen_wherever_it_stands(count: int) -> None:
    for place in (0, count // 2, count - 1):
        runs = [run(f"check {number}", "failure" if number == place else "success") for number in range(count)]
        assert read(*runs) == CiVerdict(Reading.RED, (f"check {place}",))


def test_K4_a_red_status_beside_green_check_runs_refuses_and_the_reverse() -> None:
    assert read(run("build"), run("ci/old", "failure", "status")) == CiVerdict(Reading.RED, ("ci/old",))
    assert read(run("build", "failure"), run("ci/old", "success", "status")) == CiVerdict(Reading.RED, ("build",))
    assert read(run("build"), run("build", "failure", "status")) == CiVerdict(Reading.RED, ("build",))
    assert read(run("build"), run("ci/old", "success", "status")) == CiVerdict(Reading.GREEN)


def test_K5_the_newest_run_of_one_name_and_app_wins() -> None:
    assert read(run(conclusion="failure", id=1), run(conclusion="success", id=2)).reading is Reading.GREEN
    assert read(run(conclusion="success", id=2), run(conclusion="failure", id=1)).reading is Reading.GREEN
    assert read(run(conclusion="success", id=1), run(conclusion="failure", id=2)).reading is Reading.RED
    assert read(run(conclusion="failure", id=1), run(conclusion=None, id=2)).reading is Reading.PENDING


def test_K5_runs_that_cannot_be_told_apart_all_count() -> None:
    assert read(run(conclusion="success", id=0), run(conclusion="failure", id=0)).reading is Reading.RED
    assert read(run(conclusion="failure", id=0), run(conclusion="success", id=0)).reading is Reading.RED


def test_K6_one_name_from_two_apps_must_pass_twice() -> None:
    assert read(run(source="a", id=1, conclusion="failure"), run(source="b", id=2)) == CiVerdict(Reading.RED, ("test",))
    assert read(run(source="a", conclusion=None), run(source="b"), required=("test",)).reading is Reading.PENDING
    assert read(run(source="a"), run(source="b"), required=("test",)).reading is Reading.GREEN


@pytest.mark.parametrize("conclusion", [*RED, "invented_tomorrow", "", "SUCCESS", " success"])
def test_K7_any_other_word_is_not_green(conclusion: str) -> None:
    shown = "bad (action_required)" if conclusion == "action_required" else "bad"
    assert read(run("good"), run("bad", conclusion)) == CiVerdict(Reading.RED, (shown,))


@pytest.mark.parametrize("conclusion", GREEN)
def test_K8_skipped_and_neutral_are_green(conclusion: str) -> None:
    assert read(run(conclusion=conclusion), required=("test",)) == CiVerdict(Reading.GREEN)


def test_K9_a_required_context_that_never_reported_is_waited_for_by_name() -> None:
    assert read(run("a"), required=("z", "a", "m")) == CiVerdict(Reading.PENDING, ("m", "z"))
    assert read(required=("a",)) == CiVerdict(Reading.PENDING, ("a",))
    assert read(run("A"), required=("a",)) == CiVerdict(Reading.PENDING, ("a",))


def test_K10_nothing_observed_and_nothing_required_is_empty_and_not_pending() -> None:
    assert read() == CiVerdict(Reading.EMPTY)


@pytest.mark.parametrize("conclusion", UNFINISHED)
def test_what_is_not_finished_is_pending_by_name(conclusion: str | None) -> None:
    assert read(run("b", conclusion), run("a"), run("c", conclusion)) == CiVerdict(Reading.PENDING, ("b", "c"))


def test_red_wins_over_pending_and_missing() -> None:
    assert read(run("a", None), run("b", "failure"), required=("c",)) == CiVerdict(Reading.RED, ("b",))


runs = st.builds(
    run,
    name=st.sampled_from("abc"),
    conclusion=st.sampled_from((*GREEN, *UNFINISHED, *RED)),
    source=st.sampled_from(("status", "x", "y")),
    id=st.integers(0, 3),
)
readings = st.lists(runs, max_size=8)
requirements = st.lists(st.sampled_from("abcd"), max_size=3).map(tuple)


@calm
@given(readings, requirements, st.sampled_from(RED))
def test_a_red_check_more_never_makes_green(before: list[CheckRun], required: tuple[str, ...], word: str) -> None:
    more = run("another", word)
    assert read(*before, more, required=required).reading is Reading.RED


@calm
@given(readings, requirements, st.randoms())
def test_the_order_of_the_runs_is_irrelevant(before: list[CheckRun], required: tuple[str, ...], random: object) -> None:
    mixed = list(before)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert read(*mixed, required=required) == read(*before, required=required)


@calm
@given(readings, st.text())
def test_an_unknown_word_is_never_green(before: list[CheckRun], word: str) -> None:
    if word not in GREEN:
        assert read(*before, run("another", word)).reading is not Reading.GREEN


@calm
@given(readings, requirements)
def test_green_means_that_every_newest_run_is_green_and_every_required_one_is_there(
    before: list[CheckRun], required: tuple[str, ...]
) -> None:
    verdict = read(*before, required=required)
    newest = [
        one for one in before if one.id == max(o.id for o in before if (o.name, o.source) == (one.name, one.source))
    ]
    good = all(one.conclusion in GREEN for one in newest) and set(required) <= {one.name for one in before}
    assert (verdict.reading in (Reading.GREEN, Reading.EMPTY)) == good
    assert (verdict.reading is Reading.EMPTY) == (not before and not required)
    assert list(verdict.names) == sorted(set(verdict.names))
    assert bool(verdict.names) == (verdict.reading in (Reading.RED, Reading.PENDING))
