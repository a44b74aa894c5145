"""Whose turn it is among the jobs that wait."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.decide.schedule import runnable
from orchestrator.model import Job, Kind, Status

NOW = 1000.0


def job(kind: Kind, number: int, status: Status = Status.WAITING, **fields: Any) -> Job:
    return Job("acme/app", kind, number, str(number), status, **{"base_ref": "main", **fields})


def starts(*jobs: Job, running: tuple[Job, ...] = (), slots: int = 2) -> list[tuple[Kind, int]]:
    found = runnable([*jobs, *running], {j.key for j in running}, NOW, slots)
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


def test_a_merge_that_waits_for_another_try_keeps_its_lane() -> None:
    later = job(MERGE, 5, phase="gate", head="a" * 40, not_before=NOW + 10)
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
