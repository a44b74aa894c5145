"""What a poll costs, and that nothing is missed: pages, late lists, failures, unchanged answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.clock import Stop
from orchestrator.decide.triggers import decide
from orchestrator.errors import Missing, Retry
from orchestrator.github.api import Api
from orchestrator.github.feed import FEW, FULL_READ, Feed
from orchestrator.github.picture import OVERLAP
from orchestrator.github.transport import Transport
from orchestrator.model import IN_PROGRESS, World
from orchestrator.state import RepoMemory
from orchestrator.twin import Exchange, Fault, PullHandle, html, status
from orchestrator.twin.faults import Kind
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, expect_pull, expect_work, poll, ready


class Polls:
    """A feed on the house's repository without a daemon, and the memory that it is given back at each poll."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.transport = Transport(house.github.url, house.token, house.clock, Stop())
        self.feed = Feed(Api(self.transport, "acme/app"), "ready", IN_PROGRESS)
        self.memory: RepoMemory | None = None

    def look(self, *busy: int, adopt: bool = False) -> World:
        """One poll; the memory is kept only when it was whole."""
        world, self.memory = self.feed.look(self.memory, frozenset(busy), adopt)
        return world

    def requests(self, *busy: int) -> list[Exchange]:
        """What one poll asks."""
        before = len(self.house.github.journal.exchanges)
        self.look(*busy)
        return self.house.github.journal.exchanges[before:]


@pytest.fixture
def polls(house: House) -> Iterator[Polls]:
    made = Polls(house)
    yield made
    made.transport.close()


def opens(house: House, branch: str, base: str = "main") -> PullHandle:
    house.alice.pushes(house.repo, branch, {f"{branch}.txt": "new\n"})
    return house.alice.opens_pr(house.repo, branch, base)


def test_an_idle_daemon_asks_two_questions_that_cost_nothing(house: House) -> None:
    for number in range(5):
        house.alice.comments(house.alice.opens_issue(house.repo, f"Issue {number}", ""), "Hello.")
        opens(house, f"topic-{number}")
    daemon = house.start()
    house.quiet()
    assert daemon.transport.quota is not None
    left = daemon.transport.quota.remaining
    before = len(house.github.journal.exchanges)
    poll(house, 10)
    asked = house.github.journal.exchanges[before:]
    assert sorted({e.short for e in asked}) == ["GET issues", "GET issues/comments"]
    assert len(asked) == 20
    assert {e.status for e in asked} == {304}
    assert daemon.transport.quota.remaining == left


def test_an_idle_daemon_decides_nothing_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = []

    def counted(*given: Any) -> Any:
        decided.append(given)
        return decide(*given)

    monkeypatch.setattr("orchestrator.watch.decide", counted)
    opens(house, "topic")
    house.quiet()
    decided.clear()
    poll(house, 30)
    assert 2 <= len(decided) <= 4  # not for ever: nothing depends on it, but nothing rests on it either
    issue = ready(house)
    house.quiet()
    assert len(house.repo.pulls) == 2
    expect_pull(house, issue)


def test_a_daemon_at_work_asks_two_questions_more(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    record = Record(house.folder / "record")
    daemon = house.start(claude_command=stub("--record", str(record.file), "hang"))
    record.until(1)
    poll(house, 2)
    assert daemon.transport.quota is not None
    left = daemon.transport.quota.remaining
    before = len(house.github.journal.exchanges)
    poll(house, 3)
    assert [e.status for e in house.github.journal.exchanges[before:]] == [304] * 12
    assert daemon.transport.quota.remaining == left
    house.stop()
    expect_work(house, issue)


def test_items_on_every_page_are_seen(house: House, polls: Polls) -> None:
    polls.look()
    issues = [ready(house, f"Task {number}") for number in range(5)]
    pulls = [opens(house, f"topic-{number}") for number in range(5)]
    comments = [house.bob.comments(issues[0], f"Remark {number}") for number in range(7)]
    world = polls.look()
    assert {i.number for i in world.ready} == {i.number for i in issues}
    assert {p.number for p in world.pulls} == {p.number for p in pulls}
    assert {c.id for c in world.comments} == {c.id for c in comments}


def test_a_word_on_a_late_page_is_found_after_a_long_sleep(house: House) -> None:
    pull = opens(house, "topic")
    house.ci.passes(pull, "build")
    house.quiet()
    house.stop()
    house.clock.advance(300)
    house.bob.comments(pull, "/merge")
    for number in range(9):
        house.clock.advance(60)
        house.alice.comments(pull, f"Chat {number}")
    house.clock.advance(80_000)
    house.quiet()
    assert pull.merged
    house.expect("PUT pulls/1/merge", "POST issues/*", "PATCH issues/*", "DELETE git/refs/heads/topic")


@pytest.mark.parametrize("trouble", [status(502), html()])
@pytest.mark.parametrize("request_", ["GET issues", "GET pulls", "GET issues/comments"])
def test_a_later_page_that_fails_acknowledges_nothing(house: House, polls: Polls, request_: str, trouble: Kind) -> None:
    polls.look()
    known = polls.memory
    issues = [ready(house, f"Task {number}") for number in range(3)]
    pulls = [opens(house, f"topic-{number}") for number in range(FEW + 1)]
    comments = [house.bob.comments(issue, "Hello.") for issue in issues]
    house.github.faults.add(Fault(request_, trouble, nth=2, times=3))
    with pytest.raises(Retry):
        polls.look()
    assert polls.memory == known
    world = polls.look()
    assert {i.number for i in world.ready} == {i.number for i in issues}
    assert {p.number for p in world.pulls} == {p.number for p in pulls}
    assert {c.id for c in world.comments} == {c.id for c in comments}


def test_a_daemon_acts_on_nothing_of_a_poll_that_failed_and_on_all_of_it_later(house: House) -> None:
    house.start(max_concurrent=3)
    house.quiet()
    issues = [ready(house, f"Task {number}") for number in range(3)]
    house.github.faults.add(Fault("GET issues", status(500), nth=2, times=3))
    poll(house)
    assert house.jobs == []
    house.quiet()
    assert len(house.repo.pulls) == 3
    expect_pull(house, *issues)


def test_the_cursor_never_passes_what_was_shown(house: House, polls: Polls) -> None:
    issue = house.alice.opens_issue(house.repo, "Talk", "")
    polls.look()
    assert polls.memory is not None
    start = polls.memory.cursor
    house.github.lag("comments", 1)
    late = house.bob.comments(issue, "I am late.")
    house.clock.advance(90)
    polls.look()
    assert polls.memory.cursor == start
    house.github.lag("comments", 0)
    newer = house.bob.comments(issue, "I am newer.")
    assert {c.id for c in polls.look().comments} == {late.id, newer.id}
    assert polls.memory.cursor == newer.thing.updated_at


def test_a_comment_that_shows_late_is_found_behind_the_newest_one(house: House, polls: Polls) -> None:
    issue = house.alice.opens_issue(house.repo, "Talk", "")
    house.bob.comments(issue, "Old.")
    polls.look()
    house.github.lag("comments", 2)
    late = house.bob.comments(issue, "I am late.")
    house.github.lag("comments", 0)
    for _ in range(6):
        house.clock.advance(OVERLAP / 7)
        house.alice.comments(issue, "Chat.")
    assert late.id not in {c.id for c in polls.look().comments}
    house.alice.comments(issue, "More chat.")
    polls.look()
    house.alice.comments(issue, "Even more.")
    assert late.id in {c.id for c in polls.look().comments}


def test_old_comments_are_not_read_to_the_last_page(house: House, polls: Polls) -> None:
    issue = house.alice.opens_issue(house.repo, "Talk", "")
    for _ in range(9):
        house.bob.comments(issue, "Old.")
    house.clock.advance(86_400)
    polls.look()
    house.bob.comments(issue, "New.")
    asked = [e for e in polls.requests() if e.short == "GET issues/comments"]
    assert len(asked) == 2


def test_every_now_and_then_nothing_is_taken_for_unchanged(house: House, polls: Polls) -> None:
    polls.look()
    assert {e.status for e in polls.requests()} == {304}
    house.clock.advance(FULL_READ + 1)
    asked = polls.requests()
    assert {e.status for e in asked[1:]} == {200}  # by the first one GitHub tells what time it is
    assert len(asked) == 6
    assert {e.status for e in polls.requests()} == {304}


def test_a_repository_that_took_the_name_of_one_that_is_gone_is_left_alone(polls: Polls) -> None:
    polls.look()
    assert polls.memory is not None
    polls.memory = RepoMemory(id=5, name="acme/app", cursor=polls.memory.cursor + 9, handled={"1": 2.0})
    with pytest.raises(Missing, match=r"its id was 5.*move the state file away"):
        polls.look()
    assert polls.memory.id == 5


def test_a_repository_that_was_renamed_is_found_though_another_has_its_name(house: House, polls: Polls) -> None:
    polls.look()
    house.github.renames(house.repo, "acme/better")
    other = house.github.repo("acme/app", files={"other.txt": "other\n"})
    house.github.permission(house.robot, other, "write")
    house.mallory.opens_issue(other, "Mine bitcoin", labels=("ready",))
    house.clock.advance(3600)
    assert polls.look().ready == ()
    assert polls.look().repo.id == house.repo.id


def test_what_a_person_takes_back_is_confirmed_by_the_issue_itself(house: House, polls: Polls) -> None:
    issues = [ready(house, f"Task {number}") for number in range(4)]
    _, closed, unlabelled, _ = issues
    for issue in issues[:3]:
        house.robot.labels(issue, IN_PROGRESS)
    house.alice.closes(closed)
    house.alice.unlabels(unlabelled, IN_PROGRESS)
    assert polls.look(1, 2, 3, 99).withdrawn == {2, 3, 99}


def test_an_issue_that_was_transferred_is_withdrawn(house: House, polls: Polls) -> None:
    issue = ready(house)
    house.robot.labels(issue, IN_PROGRESS)
    assert polls.look(1).withdrawn == frozenset()
    elsewhere = {"message": "Moved Permanently", "url": f"{house.github.url}/repositories/5/issues/1"}
    house.github.faults.add(Fault("GET issues/1", status(301, elsewhere, {"Location": elsewhere["url"]}), times=5))
    house.alice.unlabels(issue, IN_PROGRESS)
    assert polls.look(1).withdrawn == {1}
    assert house.github.journal.count("GET /repositories/5/*") == 0


def test_our_own_label_that_does_not_show_yet_is_no_withdrawal(house: House, polls: Polls) -> None:
    issue = ready(house)
    polls.look(1)
    house.github.after("GET issues", lambda: house.robot.labels(issue, IN_PROGRESS), nth=2)
    assert polls.look(1).withdrawn == frozenset()


def test_an_answer_that_github_refuses_does_not_hold_up_what_comes_after_it(house: House) -> None:
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    busy, good = opens(house, "busy", "develop"), opens(house, "good")
    house.ci.runs(busy, "slow")
    house.ci.passes(good, "build")
    house.quiet()
    house.alice.comments(busy, "/merge")
    house.until(lambda: bool(house.said(busy)))
    refusal = {"message": "Unable to create comment because issue is locked."}
    house.github.faults.add(Fault("POST issues/1/comments", status(403, refusal), times=1000))
    house.bob.comments(busy, "/merge")
    house.bob.comments(good, "/merge")
    house.until(lambda: good.merged, most=600)
    assert house.daemon is not None
    assert house.daemon.failed_polls == 0
    house.alice.closes(busy)
    house.quiet()
    house.expect("PUT pulls/2/merge", "POST issues/*", "PATCH issues/*", "DELETE git/refs/heads/good")
