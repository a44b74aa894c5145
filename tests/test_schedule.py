"""Whose turn it is among the jobs that wait."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.decide.schedule import HEARD_AT_ONCE, Need, runnable
from orchestrator.record import Job, Kind, Status

NOW = 1000.0


def job(kind: Kind, number: int, status: Status = Status.WAITING, **fields: Any) -> Job:
    """One that was heard, unless `phase` says otherwise."""
    return Job("acme/app", kind, number, str(number), status, **{"base_ref": "main", "phase": "prepare", **fields})


def starts(
    *jobs: Job, running: tuple[Job, ...] = (), slots: int = 2, missing: tuple[Need, ...] = ()
) -> list[tuple[Kind, int]]:
    found = runnable([*jobs, *running], {j.key for j in running}, NOW, slots, missing)
    return [(j.kind, j.number) for j in found]


IMPLEMENT, REVIEW, MERGE = Kind.IMPLEMENT, Kind.REVIEW, Kind.MERGE


def test_reviews_come_before_new_work_and_older_issues_before_newer_ones() -> None:
    assert starts(job(IMPLEMENT, 1), job(IMPLEMENT, 3), job(REVIEW, 9), slots=2) == [(REVIEW, 9), (IMPLEMENT, 1)]


def test_agents_get_no_more_than_their_slots() -> None:
    busy = (job(IMPLEMENT, 1, Status.RUNNING), job(REVIEW, 2, Status.RUNNING))
    assert starts(job(IMPLEMENT, 3), running=busy, slots=2) == []
    assert starts(job(IMPLEMENT, 3), job(IMPLEMENT, 4), running=busy, slots=3) == [(IMPLEMENT, 3)]


def test_merges_need_no_slot() -> None:
    busy = (job(IMPLEMENT, 1, Status.RUNNING),)
    assert starts(job(MERGE, 2), job(REVIEW, 3), running=busy, slots=1) == [(MERGE, 2)]
    assert starts(job(IMPLEMENT, 3), running=(job(MERGE, 2, Status.RUNNING),), slots=1) == [(IMPLEMENT, 3)]


def test_merges_into_one_base_go_one_at_a_time_in_the_order_of_their_comments() -> None:
    first = job(MERGE, 5, facts={"asked_at": 1.0})
    second = job(MERGE, 2, facts={"asked_at": 2.0})
    other = job(MERGE, 3, base_ref="next", facts={"asked_at": 3.0})
    assert starts(second, first, other) == [(MERGE, 5), (MERGE, 3)]
    assert starts(second, running=(first,)) == []


def test_a_merge_that_was_cut_off_goes_first() -> None:
    cut = job(MERGE, 5, Status.RUNNING, facts={"asked_at": 9.0})
    assert starts(job(MERGE, 2, facts={"asked_at": 1.0}), cut) == [(MERGE, 5)]


def test_a_wish_is_heard_however_busy_the_daemon_is() -> None:
    busy = (job(IMPLEMENT, 1, Status.RUNNING), job(MERGE, 2, Status.RUNNING))
    new = [job(kind, number, phase="") for kind, number in ((IMPLEMENT, 3), (REVIEW, 4), (MERGE, 5))]
    assert starts(*new, running=busy, slots=1) == [(MERGE, 5), (IMPLEMENT, 3), (REVIEW, 4)]


def test_what_is_heard_takes_no_slot_from_work() -> None:
    heard = (job(IMPLEMENT, 1, Status.RUNNING, phase="claim"), job(REVIEW, 2, Status.RUNNING, phase="hear"))
    assert starts(job(IMPLEMENT, 3), running=heard, slots=1) == [(IMPLEMENT, 3)]


def test_not_all_wishes_are_heard_at_once() -> None:
    heard = tuple(job(IMPLEMENT, number, Status.RUNNING, phase="claim") for number in range(HEARD_AT_ONCE - 1))
    new = [job(IMPLEMENT, number, phase="") for number in (7, 9, 8)]
    assert starts(*new, running=heard, slots=0) == [(IMPLEMENT, 7)]


def test_an_older_command_that_is_just_being_heard_comes_first_on_its_base() -> None:
    second = job(MERGE, 2, facts={"asked_at": 2.0})
    for phase in ("", "hear"):
        first = job(MERGE, 5, Status.RUNNING, phase=phase, facts={"asked_at": 1.0})
        assert starts(second, running=(first,)) == []
        assert starts(job(MERGE, 3, base_ref="next", facts={"asked_at": 3.0}), running=(first,)) == [(MERGE, 3)]
    later = job(MERGE, 5, Status.RUNNING, phase="hear", facts={"asked_at": 3.0})
    assert starts(second, running=(later,)) == [(MERGE, 2)]


def test_a_merge_that_waits_for_another_try_keeps_its_lane() -> None:
    later = job(MERGE, 5, phase="gate", not_before=NOW + 10)
    assert starts(job(MERGE, 2), later) == []
    assert starts(job(MERGE, 2), job(MERGE, 5, phase="hear", not_before=NOW + 10)) == [(MERGE, 2)]


@pytest.mark.parametrize(
    ("status", "not_before", "due"),
    [
        (Status.WAITING, NOW, True),
        (Status.WAITING, NOW + 1, False),
        (Status.RUNNING, 0.0, True),
        (Status.PARKED, 0.0, False),
        (Status.DONE, 0.0, False),
    ],
)
def test_what_waits_or_was_cut_off_is_due_in_its_time(status: Status, not_before: float, due: bool) -> None:
    assert bool(starts(job(IMPLEMENT, 1, status, not_before=not_before))) is due


@pytest.mark.parametrize("phase", ["prepare", "run"])
def test_without_an_agent_only_what_needs_one_waits(phase: str) -> None:
    waiting = (job(IMPLEMENT, 1, phase=phase), job(REVIEW, 2, phase=phase))
    others = (job(IMPLEMENT, 3, phase="push"), job(MERGE, 4, phase="gate"), job(IMPLEMENT, 5, phase=""))
    found = starts(*waiting, *others, slots=9, missing=(Need.AGENT,))
    assert sorted(number for _, number in found) == [3, 4, 5]


def test_without_room_nothing_that_makes_a_worktree_begins() -> None:
    waiting = (job(IMPLEMENT, 1), job(REVIEW, 2, phase="run"), job(MERGE, 3), job(MERGE, 4, phase="gate", base_ref="x"))
    others = (job(MERGE, 5, phase="land", base_ref="y"), job(REVIEW, 6, phase="post"), job(MERGE, 7, phase="tidy"))
    found = starts(*waiting, *others, slots=9, missing=(Need.DISK,))
    assert sorted(number for _, number in found) == [5, 6, 7]


def test_without_money_only_a_run_whose_log_is_not_read_yet_may_go_on() -> None:
    cut = job(IMPLEMENT, 1, phase="run", facts={"left": "cut"})
    others = [job(IMPLEMENT, 2, phase="run", facts={"left": "waited"}), job(REVIEW, 3), job(IMPLEMENT, 4, phase="run")]
    others += [job(kind, 5, facts={"left": "cut"}) for kind in (IMPLEMENT, REVIEW)]
    assert starts(cut, *others, slots=9, missing=(Need.BUDGET,)) == [(IMPLEMENT, 1)]
    assert starts(cut, slots=9, missing=(Need.BUDGET, Need.AGENT)) == []


def test_jobs_that_the_daemon_died_with_twice_go_one_at_a_time() -> None:
    suspects = [job(IMPLEMENT, n, crashes=[NOW - 60, NOW - 30]) for n in (1, 2)]
    once, long_ago = job(IMPLEMENT, 3, crashes=[NOW - 60]), job(IMPLEMENT, 4, crashes=[NOW - 700] * 3)
    assert starts(*suspects, once, long_ago, slots=9) == [(IMPLEMENT, 1), (IMPLEMENT, 3), (IMPLEMENT, 4)]
    assert starts(suspects[1], once, running=(suspects[0],), slots=9) == [(IMPLEMENT, 3)]
