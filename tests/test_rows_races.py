"""What happens in the midst of an attempt: limits, retargeting, refusals that are cut off, repeated and old commands.

Through the daemon with real git. Names begin with the section of the specification.
"""

from __future__ import annotations

import contextlib
import threading

import pytest

from orchestrator.errors import Retry, Stopped
from orchestrator.twin import Fault, PullHandle, status
from orchestrator.twin.faults import Kind, apply_then
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import (
    CALLED,
    EDITED,
    LANDED,
    SAID,
    SEEN,
    STOPPED,
    announced,
    appears,
    ask,
    forgets,
    green,
    no,
    opens,
    poll,
    refusal,
    runs,
)

SECONDARY = status(403, {"message": "You have exceeded a secondary rate limit."}, {"retry-after": "1800"})
PARTIAL = (*STOPPED, *LANDED)
DAYS = 3 * 86_400


def passes(house: House, seconds: float) -> None:
    until = house.clock.now() + seconds
    house.until(lambda: house.clock.now() >= until)


def pending(house: House, branch: str = "topic") -> PullHandle:
    pull = opens(house, branch)
    house.ci.runs(pull, "slow")
    return pull


def held_up(house: House, *more: str) -> threading.Event:
    """A command that runs until the event is set; it has begun when this returns."""
    started, go = house.folder / "started", house.folder / "go"
    runs(house, f"touch {started}; while [ ! -e {go} ]; do sleep 0.05; done")
    opened = green(house)
    house.alice.comments(opened, "/merge")
    house.start()
    poll(house)
    appears(started)
    done = threading.Event()
    done.set = go.touch  # type: ignore[method-assign]
    return done


# The final reading


@pytest.mark.parametrize("kind", [SECONDARY, status(502)], ids=["limit", "error"])
def test_1_7_a_wait_in_the_midst_of_the_final_reading_makes_all_of_it_be_read_again(house: House, kind: Kind) -> None:
    pull = green(house)
    rules = "GET rules/branches/*"
    house.github.faults.add(Fault(rules, kind, nth=2))  # the first reading is before the test of the merge
    house.github.before(rules, lambda: house.github.permission(house.alice, house.repo, "read"), nth=2)
    ask(house, pull)
    assert "@alice has no write permission" in refusal(house, pull)
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_1_7_checks_that_turn_red_during_a_limit_are_seen(house: House) -> None:
    pull = green(house)
    house.start()
    tip = "GET git/ref/heads/main"
    house.github.faults.add(Fault(tip, SECONDARY, nth=2))
    house.github.before(tip, lambda: house.ci.fails(pull, "build"), nth=2)
    ask(house, pull)
    assert "`build`" in refusal(house, pull)
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_1_7_a_call_that_must_not_wait_does_not_stand_behind_a_write_that_does(house: House) -> None:
    issue = house.alice.opens_issue(house.repo, "Other")
    daemon = house.start()
    poll(house)
    path = f"/repos/acme/app/issues/{issue.number}/comments"
    house.github.faults.add(Fault(f"POST issues/{issue.number}/comments", SECONDARY))

    def other() -> None:
        with contextlib.suppress(Stopped):
            daemon.transport.write("POST", path, {"body": "x"})

    house.clock.start(other, "other")
    assert house.github.journal.wait_for(lambda: house.github.journal.count(SAID) == 1, 20)
    house.clock.settle()
    with pytest.raises(Retry):
        daemon.transport.write("PUT", "/repos/acme/app/pulls/1/merge", {}, patient=False)
    assert house.github.journal.count(CALLED) == 0
    house.expect(SAID)


# The base and the head that were asked for


def test_1_3_a_base_that_was_changed_before_the_command_was_read_is_not_merged_into(house: House) -> None:
    house.alice.pushes(house.repo, "release", {"release.txt": "release\n"})
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.clock.advance(2)
    house.alice.retargets(pull, "release")
    house.quiet()
    assert "The base was changed" in refusal(house, pull)
    house.expect(SEEN, SAID)


def test_1_3_a_base_that_was_changed_while_another_one_is_merged_ends_the_attempt(house: House) -> None:
    house.alice.pushes(house.repo, "release", {"release.txt": "release\n"})
    first, second = pending(house, "first"), green(house, "second")
    house.alice.comments(first, "/merge")
    house.clock.advance(2)
    house.alice.comments(second, "/merge")
    passes(house, 300)
    assert [c.reactions for c in second.comments if c.author == "alice"] == [["eyes"]]
    assert "waiting for its turn" in house.said(second)[0]
    house.alice.retargets(second, "release")
    passes(house, 300)
    assert "The base was changed from `main` to `release`" in refusal(house, second)
    house.ci.fails(first, "slow")
    house.quiet()
    house.expect(*STOPPED)


def test_M1_a_head_that_was_away_when_the_comment_was_written_is_not_what_was_seen(house: House) -> None:
    pull = green(house)
    polled = pull.head_sha
    house.start()
    poll(house)
    house.alice.pushes(house.repo, "topic", {"fix.txt": "fix\n"})
    house.clock.advance(5)
    house.bob.comments(pull, "/merge")
    house.clock.advance(5)
    house.alice.force_pushes(house.repo, "topic", sha=polled)
    house.quiet()
    assert "arrived after your comment" in refusal(house, pull)
    house.expect(SEEN, SAID)


# A no is a no


@pytest.mark.parametrize("nth", [1, 2], ids=["before it is said", "while it is said"])
def test_1_9_what_was_refused_is_over_although_the_daemon_stopped_before_it_was_written(house: House, nth: int) -> None:
    pull = green(house)
    house.bob.labels(pull, "hold")
    daemon = house.start()

    def stops() -> None:
        daemon.halt.set("a new version is deployed")
        daemon.wake.set("a new version is deployed")

    house.github.faults.add(Fault(EDITED, status(502)))
    (house.github.before if nth == 1 else house.github.after)(SAID, stops, nth=2)
    house.alice.comments(pull, "/merge")
    house.until(daemon.halt.is_set)
    house.stop()
    house.bob.unlabels(pull, "hold")
    house.clock.advance(60)
    house.start()
    house.quiet()
    assert "label `hold`" in refusal(house, pull)
    house.expect(*STOPPED)


def test_1_9_the_reason_of_a_no_stays_although_it_cannot_be_said_for_long(house: House) -> None:
    pull = green(house)
    house.bob.labels(pull, "hold")
    house.github.faults.add(Fault(SAID, status(502), nth=2, times=30))
    ask(house, pull)
    assert "label `hold`" in refusal(house, pull)
    house.expect(*STOPPED)


# Commands that follow one another


def test_1_5_a_push_and_another_command_within_one_poll_make_another_attempt(house: House) -> None:
    go = held_up(house)
    [pull] = house.repo.pulls
    house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.clock.advance(3)
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    go.set()
    poll(house)
    house.quiet()
    assert pull.merged
    assert not any("already under way" in text for text in house.said(pull))
    house.expect(*PARTIAL)


def test_1_5_a_cancel_and_another_command_within_one_poll_make_another_attempt(house: House) -> None:
    go = held_up(house)
    [pull] = house.repo.pulls
    house.alice.comments(pull, "/merge cancel")
    house.clock.advance(3)
    house.alice.comments(pull, "/merge")
    go.set()
    poll(house)
    house.quiet()
    assert pull.merged
    assert sum("Cancelled by @alice" in text for text in house.said(pull)) >= 1
    house.expect(*PARTIAL)


def test_1_9_a_command_that_was_told_to_start_nothing_starts_nothing_although_the_memory_is_lost(house: House) -> None:
    pull = pending(house)
    house.alice.comments(pull, "/merge")
    passes(house, 120)
    house.bob.comments(pull, "/merge")
    passes(house, 120)
    house.ci.fails(pull, "slow")
    house.quiet()
    house.ci.passes(pull, "slow")
    forgets(house)
    house.quiet()
    assert not pull.merged
    house.expect(*STOPPED)


def test_1_9_an_attempt_older_than_an_hour_goes_on_although_the_memory_is_unreadable(make_house: MakeHouse) -> None:
    house = make_house(ci_timeout=7200)
    pull = pending(house)
    house.alice.comments(pull, "/merge")
    passes(house, 4000)
    house.stop()
    for file in house.folder.glob("state.json*"):
        if not file.name.endswith(".lock"):
            file.write_text("{")
    house.ci.passes(pull, "slow")
    house.start()
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize("first", [True, False], ids=["under way", "waiting for its turn"])
def test_P13_what_was_asked_for_three_days_ago_is_answered_and_not_done(house: House, first: bool) -> None:
    pull = pending(house)
    other = None if first else green(house, "other")
    house.alice.comments(pull, "/merge")
    house.clock.advance(2)
    if other:
        house.alice.comments(other, "/merge")
    passes(house, 300)
    house.stop()
    house.clock.advance(DAYS)
    house.ci.passes(pull, "slow")
    house.start()
    house.quiet()
    assert "came too long ago" in refusal(house, other or pull)
    assert not pull.merged
    house.expect(*STOPPED)


# Our own merge, seen late


def test_L2_a_merge_under_way_that_github_tells_of_is_waited_for(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, status(502)))
    house.github.faults.add(Fault(CALLED, no(405, "Merge already in progress"), nth=2))
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=3)
    house.expect(*LANDED)


def test_L10_a_merge_whose_answer_was_lost_and_that_shows_late_is_ours(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, apply_then(502)))
    house.github.lag("merged", 3)
    ask(house, pull)
    said = announced(house, pull)
    assert "while this attempt was under way" not in said
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)
