"""Attacks on the operator's money: people who cause work; the numbers are those of the threat model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.twin import PullHandle
from tests.conftest import MakeHouse
from tests.faulty import HOUR, events, for_a_while
from tests.house import House, stub
from tests.merging import opens
from tests.story import Record, expect_pull, expect_work, outcomes, ready, sticky
from tests.test_attacks_secrets import acts
from tests.test_review import expect_review

DAY = 24 * HOUR


def test_A51_a_stranger_causes_so_many_runs_a_day_and_nobody_else_waits(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(review_prs="all", review_debounce=0, max_runs_per_actor_day=2, poll_interval=HOUR)
    pulls = [_cheap(house, n) for n in range(4)]
    begun = house.clock.now()
    for_a_while(house, 2 * HOUR)
    reviewed = [p for p in pulls if p.reviews]
    assert len(reviewed) == 2
    waiting = next(p for p in pulls if not p.reviews)
    assert any("@mallory" in text and "MAX_RUNS_PER_ACTOR_DAY" in text for text in sticky(waiting))
    assert not list((house.folder / "worktrees/acme/app").glob("pr-review-*")), "nothing is made for what waits"
    house.stop()
    house.start()
    ours = opens(house)
    for_a_while(house, 2 * HOUR)
    assert len(ours.reviews) == 1
    assert len([p for p in pulls if p.reviews]) == 2, "also after a restart"
    house.until(lambda: all(p.reviews for p in pulls), 2 * DAY)
    assert DAY <= house.clock.now() - begun <= DAY + 2 * HOUR
    assert [len(p.reviews) for p in pulls] == [1] * 4
    assert {j.attempt for j in house.jobs} == {1}
    assert {j.failures for j in house.jobs} == {0}
    expect_review(house, *pulls, ours)


def test_A51_two_hundred_pull_requests_cost_what_two_cost(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=0, max_runs_per_actor_day=2, poll_interval=HOUR)
    pulls = [_cheap(house, n) for n in range(200)]
    for_a_while(house, 3 * HOUR)
    ours = opens(house)
    for_a_while(house, 2 * HOUR)
    assert len(ours.reviews) == 1
    reviewed = [p for p in pulls if p.reviews]
    assert [len(p.reviews) for p in reviewed] == [1, 1]
    expect_review(house, *reviewed, ours)
    house.expect("POST issues/*/reactions", "POST issues/*/comments", "PATCH issues/comments/*")


def _cheap(house: House, number: int) -> PullHandle:
    return house.mallory.opens_fork_pr(house.repo, {f"{number}.txt": "x\n"}, head=f"cheap-{number}")


def test_A51_an_issue_and_the_review_of_what_came_of_it_are_its_labellers_runs(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=0, max_runs_per_actor_day=2, poll_interval=HOUR)
    first, second = ready(house), None
    house.quiet()
    [pull] = house.repo.pulls
    assert len(pull.reviews) == 1
    second = ready(house, "Another")
    for_a_while(house, HOUR)
    assert len(house.repo.pulls) == 1
    assert "@alice" in sticky(second)[0]
    house.alice.closes(second)
    house.quiet()
    expect_pull(house, first)
    expect_review(house, pull)
    expect_work(house, second)


def test_A51_the_money_of_a_day_is_the_limit_for_all_and_is_told_once(make_house: MakeHouse, lines: list[Any]) -> None:
    house = make_house(daily_budget_usd=1.2, run_budget_usd=0.6, max_concurrent=1, poll_interval=2 * HOUR)
    issues = [ready(house, f"Wish {n}") for n in range(4)]
    begun = house.clock.now()
    for_a_while(house, 5 * HOUR)
    assert len(house.repo.pulls) == 3, "each took $0.25, and $0.45 is less than a run can use"
    assert len(events(lines, "paused")) == 1
    assert house.daemon is not None
    assert house.daemon.state.pauses["budget"].until == pytest.approx(begun + DAY, abs=5 * HOUR)
    house.stop()
    house.start()
    for_a_while(house, HOUR)
    assert len(house.repo.pulls) == 3
    late = ready(house, "A late wish")
    for_a_while(house, 5 * HOUR)
    assert "DAILY_BUDGET_USD" in sticky(late)[0]
    house.until(lambda: len(house.repo.pulls) == 5, 3 * DAY)
    house.quiet()
    assert house.clock.now() >= begun + DAY
    assert {j.attempt for j in house.jobs} == {1}
    expect_pull(house, *issues, late)


def test_A51_a_run_gets_no_more_than_what_is_left(make_house: MakeHouse) -> None:
    record = Record(Path())
    house = make_house(daily_budget_usd=5.2, run_budget_usd=5, max_concurrent=1)
    record.file = house.folder / "record"
    house.options["claude_command"] = stub("--record", str(record.file), "success")
    issues = [ready(house, f"Wish {n}") for n in range(2)]
    house.quiet()
    budgets = [float(run["argv"][run["argv"].index("--max-budget-usd") + 1]) for run in record.runs]
    assert budgets == [5.0, pytest.approx(4.95)]
    expect_pull(house, *issues)


def test_A51_a_change_that_is_too_large_is_kept_and_not_pushed(make_house: MakeHouse) -> None:
    house = make_house(claude_command=acts("head -c 20000 /dev/zero | tr '\\0' x > big.txt"), max_diff_kb=16)
    issue = ready(house)
    house.quiet()
    assert house.repo.pulls == []
    assert house.repo.branches == ["main"]
    [said] = outcomes(issue)
    assert "16 kB of diff (`MAX_DIFF_KB`)" in said
    kept = house.folder / "worktrees/acme/app/issue-1/big.txt"
    assert kept.stat().st_size == 20_000
    assert "needs-human" in issue.labels
    house.stop()
    house.start(max_diff_kb=64)
    house.alice.labels(issue, "ready")
    house.quiet()
    assert len(house.repo.pulls) == 1
    expect_pull(house, issue)
