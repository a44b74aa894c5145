"""A poll at any size: every trigger is found, and what that costs does not grow with what is open."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.errors import Retry
from orchestrator.github.api import Api
from orchestrator.github.feed import FEW, FULL_READ, Feed, comments_wait
from orchestrator.model import IN_PROGRESS, World
from orchestrator.twin import acts
from tests.crowd import POLL, Crowd
from tests.histories.slim import quick

SIZES = (10, 100, 1000, 10_000)
FULL = ["GET issues 200", "GET repo 200", "GET issues 200", "GET pulls 200", "GET issues/comments 200"]
IDLE = ["GET issues 304", "GET issues/comments 304"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Thousands of items in a second: numbers are counted, not looked for, and descriptions are short."""
    monkeypatch.setattr(acts, "next_number", lambda repo: len(repo.issues) + len(repo.gone) + 1)
    with quick():
        yield


@pytest.mark.parametrize("items", SIZES)
def test_every_trigger_is_found_and_costs_the_same_at_any_size(items: int) -> None:
    crowd = Crowd(items)
    wanted = {n for n in (1, 31, items) if n <= items}
    for number in wanted:
        acts.add_label(crowd.world, crowd.things[number - 1], crowd.alice.thing, "ready")
        crowd.things[number - 1].updated_at -= 5000  # where the list of changes ends
    world = crowd.look()
    # At the start everything is read, each list once.
    assert {issue.number for issue in world.ready} == wanted
    assert len(world.pulls) == items // 10 + 1
    pages = math.ceil(len(world.pulls) / 100)
    assert crowd.asked == [
        *("GET issues 200", "GET repo 200", "GET issues 200"),
        *(["GET pulls 200"] * pages),
        *("GET activity 200", "GET issues/comments 200"),
    ]
    # Nothing happens.
    before = crowd.counted
    for _ in range(5):
        assert crowd.look() == replace(world, now=crowd.world.now())
        assert crowd.asked == IDLE
    assert crowd.counted == before
    # Each of these happens to one of them.
    oldest = crowd.things[1]
    acts.add_label(crowd.world, oldest, crowd.alice.thing, "ready")
    assert {issue.number for issue in crowd.look().ready} == {*wanted, 2}
    assert crowd.asked == ["GET issues 200", "GET issues/comments 304"]
    acts.remove_label(crowd.world, oldest, crowd.alice.thing, "ready")
    assert {issue.number for issue in crowd.look().ready} == wanted
    assert crowd.asked == ["GET issues 200", "GET issues/comments 304"]
    head = crowd.alice.pushes(crowd.repo, "last", {"c.txt": "four"})
    assert head in {pull.head_sha for pull in crowd.look().pulls}
    assert crowd.asked == ["GET issues 200", f"GET pulls/{items + 1} 200", "GET issues/comments 304"]
    said = crowd.alice.comments(crowd.pull, "/merge")
    assert said.id in {comment.id for comment in crowd.look().comments}
    assert crowd.asked == ["GET issues 200", f"GET pulls/{items + 1} 200", "GET issues/comments 200"]
    crowd.alice.closes(crowd.pull)
    assert items + 1 not in {pull.number for pull in crowd.look().pulls}
    assert crowd.asked == ["GET issues 200", "GET issues/comments 304"]
    acts.close(crowd.world, crowd.things[0], crowd.alice.thing, "completed")
    assert {issue.number for issue in crowd.look().ready} == wanted - {1}
    crowd.look()
    assert crowd.asked == IDLE


def test_a_start_reads_each_list_once_from_end_to_end() -> None:
    crowd = Crowd(350)
    for thing in crowd.things:
        acts.add_label(crowd.world, thing, crowd.alice.thing, "ready")
    assert len(crowd.look().ready) == 315
    assert crowd.asked.count("GET issues 200") == 1 + 4
    assert crowd.asked.count("GET pulls 200") == 1


def test_more_changes_than_a_page_holds_are_all_found() -> None:
    crowd = Crowd(250)
    crowd.look()
    for thing in crowd.things:
        acts.add_label(crowd.world, thing, crowd.alice.thing, "ready")
    assert len(crowd.look().ready) == 225


def test_many_changed_pull_requests_are_read_from_their_list() -> None:
    crowd = Crowd(100)
    crowd.look()
    head = crowd.alice.pushes(crowd.repo, "topic", {"b.txt": "more"})
    assert [pull.head_sha for pull in crowd.look().pulls].count(head) == 10 > FEW
    assert crowd.asked == ["GET issues 200", "GET pulls 200", "GET issues/comments 304"]


def test_a_push_in_the_second_in_which_the_pull_request_was_read_is_seen() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.clock.time += POLL
    crowd.alice.comments(crowd.pull, "Look at this.")
    crowd.clock.time -= POLL
    crowd.look()
    head = crowd.alice.pushes(crowd.repo, "last", {"c.txt": "four"})
    assert head in {pull.head_sha for pull in crowd.look().pulls}
    assert crowd.asked[0] == "GET issues 304"  # a row of a list shows no head


def test_a_change_that_the_list_does_not_show_is_found_by_the_next_full_reading() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.pull.pull.head_sha = crowd.repo.thing.tip("topic") or ""
    start = crowd.clock.time
    while crowd.pull.pull.head_sha not in {pull.head_sha for pull in crowd.look().pulls if pull.number == 11}:
        assert crowd.asked == IDLE
    assert FULL_READ / 2 <= crowd.clock.time - start <= FULL_READ + POLL


def test_a_pull_request_that_a_full_reading_misses_is_looked_at_by_itself() -> None:
    """A page that shifts while it is read can hide one; else it would be taken for closed."""
    crowd = Crowd(30)
    crowd.look()
    crowd.clock.time += FULL_READ
    for thing, hidden in ((crowd.things[4], False), (crowd.pull.thing, True)):
        thing.hidden = 5  # from the list of changes, too
        if not hidden:
            acts.close(crowd.world, thing, crowd.alice.thing)
    assert crowd.pull.number in {pull.number for pull in crowd.look().pulls}
    assert "GET pulls 200" in crowd.asked
    numbers = {pull.number for pull in crowd.look().pulls}
    assert crowd.pull.number in numbers
    assert 5 not in numbers


def test_full_readings_do_not_come_in_step() -> None:
    crowd = Crowd(10)
    crowd.look()
    times: list[float] = []
    while len(times) < 4:
        crowd.look()
        if "GET pulls 200" in crowd.asked:
            times.append(crowd.clock.time)
    assert len({after - before for before, after in pairwise(times)}) > 1


def test_after_trouble_nothing_is_trusted() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.line.broken = "issues/comments"
    with pytest.raises(Retry):
        crowd.look()
    crowd.line.broken = ""
    crowd.look()
    assert crowd.asked == FULL
    crowd.look()
    assert crowd.asked == IDLE


def test_a_pull_request_that_cannot_be_read_yet_is_read_later() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.alice.pushes(crowd.repo, "new", {"n.txt": "new"})
    crowd.clock.time += POLL
    new = crowd.alice.opens_pr(crowd.repo, "new")
    crowd.clock.time -= POLL
    crowd.line.missing = f"pulls/{new.number}"
    assert new.number not in {pull.number for pull in crowd.look().pulls}
    crowd.line.missing = ""
    assert new.number in {pull.number for pull in crowd.look().pulls}


def test_a_pull_request_that_is_never_there_is_left_alone() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.alice.comments(crowd.pull, "Spam.")
    crowd.line.missing = f"pulls/{crowd.pull.number}"
    for _ in range(4):
        world = crowd.look()
    assert crowd.pull.number not in {pull.number for pull in world.pulls}
    assert crowd.asked == IDLE


@pytest.mark.parametrize("gone", [True, False])
def test_a_ready_issue_whose_work_is_over_is_looked_at_by_itself_once(gone: bool) -> None:
    crowd = Crowd(10)
    acts.add_label(crowd.world, crowd.things[0], crowd.alice.thing, "ready")
    crowd.look()
    if gone:
        acts.delete_issue(crowd.things[0])
    world = crowd.look(ended=1)
    assert {issue.number for issue in world.ready} == (set() if gone else {1})
    assert f"GET issues/1 {410 if gone else 200}" in crowd.asked
    crowd.look(ended=1)
    assert crowd.asked == IDLE


def decided(world: World) -> object:
    """What decisions look at."""
    pulls = [(p.number, p.title, p.labels, p.draft, p.head_sha, p.base_ref, p.updated_at) for p in world.pulls]
    return [(i.number, i.title, i.labels, i.updated_at) for i in world.ready], pulls


def test_a_restart_after_an_idle_hour_costs_nothing() -> None:
    crowd = Crowd(100)
    for thing in crowd.things[:20]:
        acts.add_label(crowd.world, thing, crowd.alice.thing, "ready")
    acts.add_label(crowd.world, crowd.pull.thing, crowd.alice.thing, "Look")
    for _ in range(60):
        world = crowd.look()
    assert len(world.ready) == 18
    memory = crowd.memory
    crowd.fresh()
    again = crowd.look()
    assert crowd.asked == ["GET repo 304", *IDLE]
    assert decided(again) == decided(world)
    assert crowd.memory == memory  # so it is not even written


def test_what_happened_while_the_daemon_was_away_costs_what_changed() -> None:
    crowd = Crowd(100)
    crowd.look()
    acts.add_label(crowd.world, crowd.things[0], crowd.alice.thing, "ready")
    head = crowd.alice.pushes(crowd.repo, "last", {"c.txt": "four"})
    said = crowd.alice.comments(crowd.pull, "/merge")
    crowd.fresh()
    world = crowd.look()
    assert [issue.number for issue in world.ready] == [1]
    assert head in {pull.head_sha for pull in world.pulls}
    assert said.id in {comment.id for comment in world.comments}
    assert crowd.asked == ["GET repo 200", "GET issues 200", "GET pulls/101 200", "GET issues/comments 200"]


def test_a_pull_request_that_is_in_doubt_stays_so_over_a_restart() -> None:
    crowd = Crowd(10)
    crowd.look()
    crowd.clock.time += POLL
    crowd.alice.comments(crowd.pull, "Look at this.")
    crowd.clock.time -= POLL
    crowd.look()
    head = crowd.alice.pushes(crowd.repo, "last", {"c.txt": "four"})
    crowd.fresh()
    assert head in {pull.head_sha for pull in crowd.look().pulls}


def test_comments_that_wait_are_read_again_after_a_restart() -> None:
    crowd = Crowd(10)
    crowd.look()
    said = crowd.alice.comments(crowd.pull, "/merge")
    crowd.look()
    assert crowd.memory is not None
    crowd.memory = comments_wait(crowd.memory)
    crowd.fresh()
    assert said.id in {comment.id for comment in crowd.look().comments}


def test_unchanged_is_not_asked_with_another_token() -> None:
    crowd = Crowd(10)
    crowd.look()
    other = crowd.twin.token(crowd.twin.user("robot"))
    crowd.line.token = other
    crowd.transport.renew(other)
    crowd.look()
    assert crowd.asked == FULL
    crowd.look()
    assert crowd.asked == IDLE
    crowd.line.token = crowd.twin.token(crowd.twin.user("robot"))
    crowd.fresh()
    crowd.look()
    assert crowd.asked == FULL


@pytest.mark.parametrize("seen", [{"picture": 5}, {"called": "acme/other"}, {"etags": []}, {"read_at": None}])
def test_what_does_not_fit_is_not_gone_on_from(seen: dict[str, Any]) -> None:
    crowd = Crowd(10)
    crowd.look()
    assert crowd.memory is not None
    crowd.memory = replace(crowd.memory, seen={**crowd.memory.seen, **seen})
    crowd.fresh()
    crowd.look()
    assert crowd.asked == FULL


def test_another_label_is_looked_for_everywhere() -> None:
    crowd = Crowd(10)
    acts.add_label(crowd.world, crowd.things[0], crowd.alice.thing, "go")
    crowd.look()
    crowd.fresh()
    crowd.feed = Feed(Api(crowd.transport, "acme/app"), "go", IN_PROGRESS)
    assert [issue.number for issue in crowd.look().ready] == [1]


def test_too_many_pull_requests_are_read_again_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.github.picture.MOST_KEPT", 10)
    crowd = Crowd(100)
    crowd.look()
    assert crowd.memory is not None
    assert crowd.memory.seen == {}
    crowd.fresh()
    assert len(crowd.look().pulls) == 11
    assert crowd.asked == FULL


def test_a_secret_in_a_title_is_not_written_down() -> None:
    crowd = Crowd(10)
    secret = "ghp_" + "Zq7" * 12
    for thing in (crowd.things[0], crowd.pull.thing):
        acts.rename(crowd.world, thing, crowd.alice.thing, f"Use {secret}")
        acts.add_label(crowd.world, thing, crowd.alice.thing, "ready")
    crowd.look()
    assert crowd.memory is not None
    assert len(crowd.memory.seen["picture"]["ready"]) == 1
    assert secret not in json.dumps(crowd.memory.seen)
