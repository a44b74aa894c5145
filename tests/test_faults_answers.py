"""Rows F27 to F33 of the fault matrix: repositories that move, and answers of GitHub that are wrong, late or no answer.

What the same trouble does to a merge is in the rows P and L; here it meets work on issues.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.github.feed import FULL_READ
from orchestrator.patience import LONGEST
from orchestrator.record import Status
from orchestrator.twin import Fault, RepoHandle, api, apply_then, html, short, status
from orchestrator.twin.api import Request
from orchestrator.twin.faults import Kind, cut
from orchestrator.twin.world import Token
from tests.conftest import MakeHouse
from tests.faulty import at_work, busy_agent, events, for_a_while, runs, the_pull
from tests.house import House
from tests.merging import POLL, STOPPED, opens, refusal
from tests.story import expect_work, outcomes, poll, ready

COMMENTED = "POST issues/1/comments"


def second_repository(house: House) -> RepoHandle:
    other = house.github.repo("acme/other", files={"README.md": "hello\n"})
    house.github.permission(house.robot, other, "write")
    house.github.permission(house.alice, other, "write")
    return other


def test_F27_access_that_is_lost_stops_that_repository_and_none_of_the_others(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    """A run under way there ends by itself; what it made is kept, pushed when the repository is back."""
    house = make_house(github_repo="acme/other,acme/app")
    other = second_repository(house)
    go_on = busy_agent(house)
    there = house.alice.opens_issue(other, "Greet people", labels=("ready",))
    at_work(house)
    house.github.hides(other)
    here = ready(house)
    poll(house)
    at_work(house, 2)
    go_on.touch()
    house.until(lambda: bool(house.repo.pulls))
    for_a_while(house, 4 * LONGEST)
    the_pull(house, here)
    assert other.branches == ["main"]
    assert [line["repo"] for line in events(lines, "repository_set_aside")] == ["acme/other"]
    assert events(lines, "poll_broke") == []

    house.github.hides(other, hidden=False)
    house.until(lambda: bool(other.pulls), most=2 * LONGEST)
    house.quiet()
    assert (there.labels, runs(house)) == ([], 2)
    house.expect("PUSH *", "POST *", "PATCH *", "DELETE *")


def test_F28_a_repository_that_is_renamed_while_the_agent_works_gets_its_pull_request(
    house: House, lines: list[Any]
) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    house.github.renames(house.repo, "acme/better")
    poll(house)
    go_on.touch()
    house.quiet()
    the_pull(house, issue)
    assert len(events(lines, "repository_renamed")) == 1
    assert runs(house) == 1


def test_F28_work_for_a_repository_is_not_pushed_to_another_one_that_took_its_name(house: House) -> None:
    """The next poll stops the run: its issue is not there any more."""
    ready(house)
    go_on = busy_agent(house)
    at_work(house)
    house.github.renames(house.repo, "acme/better")
    new = house.github.repo("acme/app", files={"other.txt": "other\n"})
    house.github.permission(house.robot, new, "write")
    go_on.touch()
    house.clock.advance(POLL)
    house.quiet()
    assert new.branches == ["main"]
    assert house.repo.branches == ["main"]
    house.expect("POST *", "DELETE *", "PATCH *")


def renames_branch(house: House, old: str, new: str) -> None:
    """As GitHub does: the branch, what is based on it, the default."""
    tip = house.repo.sha(old)
    house.alice.force_pushes(house.repo, new, sha=tip)
    for pull in house.repo.pulls:
        house.alice.retargets(pull, new)
    with house.repo.looking():
        house.repo.thing.default_branch = new
    house.alice.deletes_branch(house.repo, old)


def test_F29_a_merge_is_not_made_into_a_default_branch_that_was_renamed_meanwhile(house: House) -> None:
    """A new command, given when the new name is there to be seen, confirms it."""
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    renames_branch(house, "main", "trunk")
    house.ci.passes(pull, "build")
    house.quiet()
    assert "from `main` to `trunk`" in refusal(house, pull)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    house.expect(*STOPPED, "PUT *", "DELETE *")


def test_F29_work_for_a_default_branch_that_was_renamed_meanwhile_goes_on_at_the_next_wish(house: House) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    renames_branch(house, "main", "trunk")
    go_on.touch()
    house.quiet()
    [said] = outcomes(issue)
    assert "GitHub answered 422" in said
    assert issue.labels == ["needs-human"]
    house.alice.labels(issue, "ready")
    house.quiet()
    [pull] = house.repo.pulls
    assert pull.base_ref == "trunk"
    expect_work(house, issue)
    house.expect("PUSH *", "POST pulls")


EMPTY = status(200, "")


@pytest.mark.parametrize("trouble", [html(), EMPTY, short(), cut()], ids=["html", "empty", "truncated", "cut"])
def test_F30_an_answer_that_is_no_json_is_not_taken_for_no_items(house: House, trouble: Kind) -> None:
    """Neither of the issues (nothing would be due), nor of those under way, nor of our comments (said twice)."""
    house.github.faults.add(Fault(COMMENTED, apply_then(502)))

    def breaks() -> None:
        for listed in ("GET issues", "GET issues/1/comments"):
            house.github.faults.add(Fault(listed, trouble, times=7))

    house.github.after(COMMENTED, breaks)
    house.github.faults.add(Fault("GET issues", trouble, times=4))
    issue = ready(house)
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    the_pull(house, issue)
    assert house.github.journal.count(COMMENTED) == 1


def test_F31_a_list_that_is_said_to_be_unchanged_is_read_anew_in_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = api._etag

    def stale(body: bytes, token: Token, request: Request) -> str:
        return 'W/"the same"' if request.path.endswith("/issues") else real(body, token, request)

    monkeypatch.setattr(api, "_etag", stale)
    house.quiet()
    issue = ready(house)
    asked = house.clock.now()
    house.until(lambda: bool(house.repo.pulls))
    assert house.clock.now() - asked <= FULL_READ + 2 * POLL
    house.quiet()
    the_pull(house, issue)


def test_F31_what_a_list_misses_is_neither_given_up_nor_forgotten(house: House) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    house.github.faults.add(Fault("GET issues", status(200, []), times=8))
    late = ready(house)
    poll(house, times=3)
    assert runs(house) == 1
    go_on.touch()
    house.until(lambda: len(house.repo.pulls) == 2)
    house.quiet()
    the_pull(house, issue)
    the_pull(house, late)
    assert runs(house) == 2


def test_F32_pages_that_shift_while_they_are_read_hide_and_double_nothing(house: House) -> None:
    """While the second of three pages is asked for, the last issue jumps to the first: it shows in the next poll."""
    issues = []
    for _ in range(5):
        issues.append(ready(house))
        house.clock.advance(5)
    house.github.before("GET issues", lambda: house.alice.comments(issues[0], "And another thing."), 3)
    house.start()
    house.clock.settle()
    assert len(house.jobs) == 4
    house.quiet()
    for issue in issues:
        the_pull(house, issue)
    assert len(house.repo.pulls) == 5


@pytest.mark.parametrize("lag", [3, 8])
def test_F33_a_pull_request_that_is_not_listed_yet_is_waited_for(house: House, lag: int) -> None:
    house.github.lag("pulls", lag)
    house.github.faults.add(Fault("POST pulls", apply_then(500)))
    issue = ready(house)
    house.quiet()
    pull = the_pull(house, issue)
    assert house.job("implement", 1).pr == pull.number
    assert house.job("implement", 1).status is Status.DONE
    assert len(house.repo.pulls) == 1
