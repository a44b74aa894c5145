"""Rows P about GitHub's bad hours: limits, outages, refused tokens, lost repositories, what is not there yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator.patience import LONGEST
from orchestrator.record import Status
from orchestrator.twin import Fault, html, short, status
from orchestrator.twin.faults import Kind, hang, stall
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, EDITED, LANDED, POLL, SAID, STOPPED, announced, green, no, opens, refusal
from tests.story import expect_pull, outcomes, ready, sticky

HOUR = 3600.0
FOR_EVER = 1_000_000
LISTED = "GET issues/comments"


def events(lines: list[Any], name: str) -> list[Any]:
    """The log lines of this name."""
    return [line for line in lines if line["event"] == name]


def for_a_while(house: House, seconds: float) -> None:
    """Let the daemon work for so long."""
    end = house.clock.now() + seconds
    house.until(lambda: house.clock.now() >= end)


@pytest.fixture
def lines() -> Any:
    with capture_logs() as seen:
        yield seen


def at(house: House, pattern: str, *nth: int) -> list[float]:
    """When these requests will have come."""
    times: list[float] = []
    for number in nth:
        house.github.before(pattern, lambda: times.append(house.clock.now()), number)
    return times


def test_P21_what_was_just_seen_in_a_list_may_be_missing_for_a_moment(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    issue, pull = ready(house), green(house)
    missing = no(404, "Not Found")
    house.github.faults.add(Fault(f"GET issues/{issue.number}", missing, times=2))
    house.github.faults.add(Fault(f"GET pulls/{pull.number}", missing, times=2))
    house.quiet()
    assert outcomes(issue) == []
    assert len(house.repo.pulls) == 2
    assert [len(one.reviews) for one in house.repo.pulls] == [1, 1]
    house.expect("PUSH refs/heads/feature/issue-1", "POST *", "PATCH issues/comments/*", "DELETE *")


def test_P21_a_comment_that_was_just_made_may_be_missing_for_a_moment(house: House) -> None:
    issue = ready(house)
    missing = Fault(EDITED, no(404, "Not Found"), times=2)
    house.github.after("DELETE issues/1/labels/in-progress", lambda: house.github.faults.add(missing))
    house.quiet()
    [one] = sticky(issue)
    assert one.startswith("Done")
    expect_pull(house, issue)


def test_P21_what_stays_missing_is_believed_and_said_once(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(f"GET pulls/{pull.number}", no(404, "Not Found"), times=FOR_EVER))
    house.alice.comments(pull, "/merge")
    began = house.clock.now()
    house.quiet()
    assert "404" in refusal(house, pull)
    assert 20 < house.clock.now() - began < 600
    house.expect(SAID)


@pytest.mark.parametrize("how", ["lost", "404"])
def test_P22_a_repository_that_is_gone_is_set_aside_and_comes_back(
    make_house: MakeHouse, lines: list[Any], how: str
) -> None:
    house = make_house(github_repo="acme/other,acme/app")
    other = house.github.repo("acme/other", files={"README.md": "hello\n"})
    house.github.permission(house.robot, other, "write")
    house.github.permission(house.alice, other, "write")
    house.start()
    house.quiet()
    if how == "lost":
        house.github.permission(house.robot, other, "none")
    else:
        house.github.faults.add(Fault("GET /repos/acme/other/*", no(404, "Not Found"), times=FOR_EVER))
    there = house.alice.opens_issue(other, "Greet people", labels=("ready",))
    polls = house.github.journal.count("GET /repos/acme/app/issues/comments")
    asked = house.github.journal.count("GET /repos/acme/other/*")
    for_a_while(house, HOUR / 2)
    assert [line["repo"] for line in events(lines, "repository_set_aside")] == ["acme/other"]
    assert house.github.journal.count("GET /repos/acme/other/*") - asked < HOUR / 2 / LONGEST + 5
    assert house.github.journal.count("GET /repos/acme/app/issues/comments") - polls > HOUR / 2 / POLL - 5
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=300)
    assert there.reactions == []

    house.github.faults.clear()
    house.github.permission(house.robot, other, "write")
    house.until(lambda: bool(other.pulls), most=2 * LONGEST)
    house.quiet()
    assert len(events(lines, "repository_back")) == 1
    house.expect(*LANDED, "PUSH refs/heads/feature/issue-1", "POST *", "DELETE *")


def test_P22_a_renamed_repository_is_found_by_its_id(house: House, lines: list[Any]) -> None:
    first = green(house, "one")
    house.start()
    house.quiet()
    house.github.renames(house.repo, "acme/better")
    house.alice.comments(first, "/merge")
    house.quiet()
    announced(house, first)
    issue = ready(house)
    house.quiet()
    assert len(house.repo.pulls) == 2
    assert len(events(lines, "repository_renamed")) == 1
    # Nothing was followed: what was sent to the old name changed nothing, and the new name was asked for by id.
    changes = [e.path for e in house.github.journal.mutations if not e.git and e.status < 400]
    assert all(path.startswith(("/repos/acme/better/", "/graphql")) for path in changes)
    assert house.github.journal.count(f"GET /repositories/{house.repo.id}") == 1
    expect_pull(house, issue)
    house.expect(*LANDED)


def test_P22_a_rename_while_a_job_works_sends_no_change_to_the_old_name(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.alice.comments(pull, "/merge")
    house.github.before("GET issues/1", lambda: house.github.renames(house.repo, "acme/better"))
    house.until(lambda: pull.merged)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P22_a_name_that_leads_elsewhere_is_not_followed_when_it_was_never_seen(house: House, lines: list[Any]) -> None:
    green(house)
    house.github.renames(house.repo, "acme/better")
    issue = ready(house)
    house.start()
    for_a_while(house, HOUR / 4)
    [line] = events(lines, "repository_set_aside")
    assert "moved to" in line["reason"]
    assert issue.reactions == []
    assert house.github.journal.count("GET /repositories/*") == 0


def test_P25_a_limit_without_a_time_is_waited_for_a_minute_and_then_longer(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    times = at(house, LISTED, 1, 2, 3)
    house.github.faults.add(Fault(LISTED, no(403, "You have exceeded a secondary rate limit."), times=2))
    house.alice.comments(pull, "/merge")
    house.quiet()
    first, second, third = times
    assert second - first >= 60
    assert third - second >= 120
    announced(house, pull)
    house.expect(*LANDED)


def test_P25_a_403_that_is_no_limit_is_a_no_at_once(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.github.faults.add(Fault("GET commits/*", no(403, "Resource not accessible by personal access token")))
    times = at(house, "GET commits/*", 1)
    house.alice.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 2, most=2 * POLL)
    assert "not accessible" in refusal(house, pull)
    assert house.clock.now() - times[0] < 60
    house.expect(*STOPPED)


def test_P26_a_401_that_comes_once_is_asked_again_and_nothing_else(house: House, lines: list[Any]) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.github.faults.add(Fault(LISTED, no(401, "Bad credentials")))
    house.github.faults.add(Fault(CALLED, no(401, "Bad credentials")))
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=300)
    house.quiet()
    announced(house, pull)
    assert events(lines, "repository_set_aside") == events(lines, "token_refused") == []
    house.github.journal.claim(CALLED, times=2)
    house.expect(*LANDED)


def test_P26_a_token_that_is_refused_stops_every_change_until_it_is_good_again(house: House, lines: list[Any]) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    house.github.faults.add(Fault("*", no(401, "Bad credentials"), times=FOR_EVER))
    house.ci.passes(pull, "build")
    house.alice.labels(house.alice.opens_issue(house.repo, "Greet people"), "ready")
    changes = len(house.github.journal.mutations)
    asked = len(house.github.journal.exchanges)
    for_a_while(house, HOUR)
    # The job may send one change before the refusal is known.
    assert len(house.github.journal.mutations) - changes <= 1
    assert len(house.github.journal.exchanges) - asked < 60
    assert house.job("merge", pull.number).status is Status.WAITING
    assert len(house.said(pull)) == 1
    assert len(events(lines, "token_refused")) == 1
    house.github.faults.clear()
    house.until(lambda: pull.merged, most=HOUR)
    house.quiet()
    announced(house, pull)
    assert len(events(lines, "token_taken_again")) == 1
    house.github.journal.claim(CALLED, times=1)
    expect_pull(house, house.repo.issues[0])
    house.expect(*LANDED)


def test_P26_a_change_that_comes_first_is_not_sent_again_and_again(house: House) -> None:
    issue = ready(house)
    refused = Fault("*", no(401, "Bad credentials"), times=FOR_EVER)
    house.github.before("DELETE issues/1/labels/in-progress", lambda: house.github.faults.add(refused))
    house.until(lambda: bool(house.repo.pulls))
    for_a_while(house, HOUR)
    assert house.github.journal.count("DELETE issues/1/labels/in-progress") <= 2
    house.github.faults.clear()
    house.until(lambda: issue.labels == [], most=HOUR)
    house.quiet()
    expect_pull(house, issue)


@pytest.mark.parametrize("code", [502, 503])
def test_P27_an_hour_of_outage_is_waited_out_in_silence(house: House, lines: list[Any], code: int) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.github.faults.add(Fault("*", status(code), times=FOR_EVER))
    house.alice.comments(pull, "/merge")
    asked = len(house.github.journal.exchanges)
    for_a_while(house, HOUR)
    assert len(house.github.journal.exchanges) - asked < 60
    assert len(house.github.journal.mutations) == 0
    assert len(events(lines, "repository_set_aside")) == 1
    house.github.faults.clear()
    house.until(lambda: pull.merged, most=2 * LONGEST)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize("trouble", [short(), html()])
@pytest.mark.parametrize("request_", [LISTED, "GET pulls", "GET commits/*/check-runs"])
def test_P28_half_an_answer_is_trouble_and_not_an_empty_list(house: House, request_: str, trouble: Kind) -> None:
    pull = opens(house)
    house.ci.fails(pull, "lint")
    house.start()
    house.quiet()
    house.github.faults.add(Fault(request_, trouble, times=15))
    house.alice.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 2, most=HOUR)
    house.quiet()
    assert "lint" in refusal(house, pull)
    house.expect(*STOPPED)


@pytest.mark.parametrize("trouble", [hang(), stall()])
def test_P29_an_answer_that_stops_coming_ends_by_itself_and_the_loop_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, trouble: Kind
) -> None:
    monkeypatch.setattr("orchestrator.github.transport.TIMEOUT", 1)
    pull = green(house)
    house.start()
    house.quiet()
    house.github.faults.add(Fault(LISTED, trouble))
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=HOUR)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P31_a_job_that_always_breaks_ends_after_a_while_and_the_others_go_on(house: House, lines: list[Any]) -> None:
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    bad, good = opens(house, "bad", base="develop"), green(house, "good")

    def spoil() -> None:
        """Its record is such that nothing can be done with it."""
        assert house.daemon is not None
        house.daemon.state.put(replace(house.job("merge", bad.number), facts={}))

    house.start()
    house.quiet()
    house.github.before(f"GET issues/{bad.number}/comments", spoil)
    house.alice.comments(bad, "/merge")
    house.alice.comments(good, "/merge")
    house.until(lambda: good.merged, most=2 * POLL)
    announced(house, good)
    assert house.job("merge", bad.number).status is Status.WAITING
    began = len(events(lines, "job_started"))
    house.quiet()
    assert len(events(lines, "job_started")) - began <= 6
    refusal(house, bad)
    assert len(house.said(bad)) == 1
    house.expect(*LANDED)


def test_P31_a_decision_that_cannot_be_carried_out_holds_up_none_of_the_others(house: House) -> None:
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    bad, good = opens(house, "bad", base="develop"), green(house, "good")
    house.ci.runs(bad, "build")
    house.alice.comments(bad, "/merge")
    house.until(lambda: bool(house.said(bad)))
    house.github.faults.add(Fault(f"GET pulls/{bad.number}", status(500), times=FOR_EVER))
    house.bob.comments(bad, "/merge cancel")
    house.alice.comments(good, "/merge")
    house.until(lambda: good.merged, most=3 * POLL)
    house.until(lambda: house.job("merge", good.number).status is Status.DONE)
    announced(house, good)
    house.github.faults.clear()
    house.quiet()
    assert "Cancelled by @bob" in refusal(house, bad)
    house.expect(*LANDED)
