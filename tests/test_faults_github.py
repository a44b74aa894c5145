"""Rows F20 to F33 of the fault matrix: GitHub and the way to it, while agents work.

What the same trouble does to a merge is in the rows P and L; here it meets work on issues.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from orchestrator.patience import LONGEST
from orchestrator.record import Status
from orchestrator.twin import Fault, apply_then, apply_then_reset, status
from orchestrator.twin.faults import Kind, hang, reset
from tests.conftest import MakeHouse
from tests.faulty import FOR_EVER, HOUR, at_work, busy_agent, events, for_a_while, runs, the_pull
from tests.house import House
from tests.merging import CALLED, LANDED, announced, green, no
from tests.story import expect_pull, expect_work, outcomes, poll, ready

COMMENTED = "POST issues/1/comments"


def at(house: House, pattern: str, *nth: int) -> list[float]:
    """When these requests will have come."""
    times: list[float] = []
    for number in nth:
        house.github.before(pattern, lambda: times.append(house.clock.now()), number)
    return times


@pytest.mark.parametrize("code", [500, 503])
def test_F20_reads_that_fail_are_waited_out_and_the_agent_works_on(house: House, lines: list[Any], code: int) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    house.github.faults.add(Fault("GET *", status(code), times=FOR_EVER))
    asked = len(house.github.journal.exchanges)
    poll(house, times=5)
    assert house.daemon is not None
    assert house.daemon.slots.busy() == {"acme/app#1/implement"}
    assert 0 < len(house.github.journal.exchanges) - asked <= 3 * 5
    assert len(events(lines, "repository_set_aside")) == 1
    go_on.touch()
    house.github.faults.clear()
    house.quiet()
    the_pull(house, issue)
    assert runs(house) == 1


@pytest.mark.parametrize("trouble", [apply_then(500), status(502)], ids=["done", "not-done"])
@pytest.mark.parametrize("request_", [COMMENTED, "POST pulls"])
def test_F21_a_write_that_fails_is_looked_for_after_a_while_and_not_repeated_blindly(
    house: House, request_: str, trouble: Kind
) -> None:
    made = at(house, request_, 1, 2)
    looked = at(house, f"GET {request_.split()[1]}", *range(1, 15))
    house.github.faults.add(Fault(request_, trouble))
    issue = ready(house)
    house.quiet()
    the_pull(house, issue)
    assert len(made) == 1 + (trouble.code == 502)
    assert min(time for time in looked if time > made[0]) - made[0] >= 10


BROKEN = {
    "read-cut": ("GET issues/1", reset()),
    "read-silence": ("GET issues/1", hang()),
    "write-cut": (COMMENTED, reset()),
    "write-done-and-cut": (COMMENTED, apply_then_reset()),
    "write-silence": ("POST pulls", hang()),
}


@pytest.mark.parametrize(("request_", "trouble"), BROKEN.values(), ids=BROKEN)
def test_F22_a_connection_that_breaks_is_made_again_and_nothing_is_done_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, request_: str, trouble: Kind
) -> None:
    monkeypatch.setattr("orchestrator.github.transport.TIMEOUT", 1)
    house.github.faults.add(Fault(request_, trouble))
    issue = ready(house)
    house.quiet()
    the_pull(house, issue)


def test_F22_a_name_that_cannot_be_looked_up_is_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    house.quiet()
    issue = ready(house)
    house.github.faults.add(Fault("*", reset()))  # the connection that is there has to be made again
    with monkeypatch.context() as offline:
        offline.setattr(socket, "getaddrinfo", unknown)
        for_a_while(house, HOUR)
        assert issue.reactions == []
    aside = events(lines, "repository_set_aside")
    assert "name was not found" in aside[-1]["reason"]
    assert len(aside) <= 2
    house.until(lambda: bool(house.repo.pulls), most=2 * LONGEST)
    house.quiet()
    the_pull(house, issue)


def test_F23_a_spent_hourly_limit_is_slept_through_and_the_queue_is_kept(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(max_concurrent=1)
    house.token = house.options["github_token"] = house.github.token(house.robot, limit=45)
    issues = [ready(house) for _ in range(3)]
    house.until(lambda: bool(events(lines, "github_limits")))
    assert [issue for issue in issues if issue.labels]
    house.quiet()
    for issue in issues:
        the_pull(house, issue)
    waits = events(lines, "github_limits")
    assert all(HOUR / 2 < one["seconds"] <= HOUR + 1 for one in waits)
    assert len([e for e in house.github.journal.exchanges if e.status == 403]) == len(waits)


@pytest.mark.parametrize(("code", "headers", "least"), [(403, {"retry-after": "90"}, 90), (429, {}, 60)])
def test_F24_a_secondary_limit_stops_every_request_for_its_time(
    house: House, code: int, headers: dict[str, str], least: float
) -> None:
    """It stops the polls with everything else, so they need no other interval; writes are a second apart (P24)."""
    slow_down = status(code, {"message": "You have exceeded a secondary rate limit."}, headers)
    house.github.faults.add(Fault(COMMENTED, slow_down))
    first, second = ready(house), ready(house)
    limited = at(house, COMMENTED, 1, 2)
    everything = at(house, "*", *range(1, 400))
    house.until(lambda: len(limited) == 2)
    began, again = limited
    assert again - began >= least
    # What was on its way by then may still have come in the same moment.
    assert [time for time in everything if began < time < began + least] == []
    house.quiet()
    the_pull(house, first)
    the_pull(house, second)


def test_F25_a_revoked_token_stops_every_change_and_the_same_token_goes_on_without_a_restart(
    house: House, lines: list[Any]
) -> None:
    issue, go_on, pull = ready(house), busy_agent(house), green(house)
    at_work(house)
    house.github.before("GET commits/*/check-runs", lambda: house.github.revokes(house.token))
    house.alice.comments(pull, "/merge")
    poll(house)
    go_on.touch()
    for_a_while(house, HOUR)
    assert (pull.merged, len(house.repo.pulls)) == (False, 1)
    assert len(events(lines, "token_refused")) == 1
    assert house.job("merge", pull.number).status is Status.WAITING
    assert house.github.token(house.robot) == house.token
    house.until(lambda: pull.merged, most=HOUR)
    house.quiet()
    announced(house, pull)
    the_pull(house, issue)
    assert runs(house) == 1
    house.expect(*LANDED)
    house.github.journal.claim(CALLED, times=1)


def test_F26_what_the_token_may_not_do_parks_the_item_with_githubs_own_sentence(make_house: MakeHouse) -> None:
    """The sentence tells a lack of single sign-on from one of a permission."""
    sentence = "Resource protected by organization SAML enforcement. You must grant your token access."
    house = make_house()
    house.github.faults.add(Fault("POST pulls", no(403, sentence)))
    first = ready(house)
    house.quiet()
    second = ready(house)
    house.quiet()
    [said] = outcomes(first)
    assert sentence in said
    assert first.labels == ["needs-human"]
    assert sentence in house.job("implement", 1).reason
    assert house.github.journal.count("POST pulls") == 2
    the_pull(house, second)
    expect_work(house, first)
    house.expect("PUSH refs/heads/feature/issue-1")


def test_F26_the_permission_that_the_token_lacks_is_named(house: House) -> None:
    needed = {"X-Accepted-GitHub-Permissions": "pull_requests=write"}
    refusal = {"message": "Resource not accessible by personal access token"}
    house.github.faults.add(Fault("POST pulls", status(403, refusal, needed)))
    issue = ready(house)
    house.quiet()
    [said] = outcomes(issue)
    assert "The token needs the permission pull_requests=write." in said
    expect_work(house, issue)
    house.expect("PUSH refs/heads/feature/issue-1", "POST pulls")


def test_F26_an_account_that_lost_its_right_to_write_sets_all_aside_and_goes_on_with_it(house: House) -> None:
    issue = ready(house)
    house.github.before("POST issues/1/labels", lambda: house.github.permission(house.robot, house.repo, "read"))
    for_a_while(house, HOUR)
    changes = len(house.github.journal.mutations)
    for_a_while(house, HOUR)
    assert len(house.github.journal.mutations) == changes < 30
    assert house.job("implement", 1).status is Status.WAITING
    assert "may not push to acme/app" in house.job("implement", 1).reason
    assert not any("@alice" in text for text in house.said(issue))
    house.github.permission(house.robot, house.repo, "write")
    house.quiet()
    expect_pull(house, issue)
