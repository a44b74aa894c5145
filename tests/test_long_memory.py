"""What days do: old commands stay dead, late pushes stay out, an outage is waited for."""

from __future__ import annotations

from orchestrator.twin import Fault, status
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, LANDED, STOPPED, announced, green, opens, refusal

DAY = 86_400.0


def test_a_command_that_was_answered_stays_dead_when_its_page_is_shown_days_later(make_house: MakeHouse) -> None:
    house = make_house(page=100)
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.alice.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 1)
    house.bob.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 2)
    house.ci.fails(pull, "build")
    house.quiet()
    refusal(house, pull)

    house.clock.advance(2 * DAY)
    house.ci.passes(pull, "build")
    other = house.alice.opens_issue(house.repo, "Elsewhere")
    house.alice.comments(other, "hello")
    house.quiet()
    before = len(house.github.journal.exchanges)
    house.until(lambda: len(house.github.journal.exchanges) > before + 20)
    assert not pull.merged
    assert len(house.said(pull)) == 3
    house.expect(*STOPPED)


def test_M1_a_push_over_a_night_without_the_daemon_is_not_what_was_asked_for(house: House) -> None:
    pull = green(house)
    house.quiet()
    house.stop()
    house.alice.comments(pull, "/merge")
    house.clock.advance(DAY / 4)
    house.mallory.pushes(house.repo, "topic", {"evil.txt": "boo\n"})
    house.ci.passes(pull, "build")
    house.clock.advance(DAY / 2)
    house.quiet()
    assert "arrived after your comment" in refusal(house, pull)
    house.expect("POST issues/comments/*/reactions", "POST issues/*/comments")


def test_checks_that_finish_while_the_rest_is_read_are_not_waited_for_an_hour(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.github.after("POST issues/*/comments", lambda: house.ci.passes(pull, "build"), 1)
    house.alice.comments(pull, "/merge")
    began = house.clock.now()
    house.until(lambda: pull.merged)
    assert house.clock.now() - began < 300
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_an_outage_that_outlasts_every_retry_parks_nothing(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.alice.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 1)
    house.github.faults.add(Fault("*", status(503), times=100))
    house.ci.passes(pull, "build")
    house.until(lambda: pull.merged, most=3 * DAY)
    house.quiet()
    announced(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)


def test_a_merge_that_cannot_be_read_back_is_never_called_unmerged(house: House) -> None:
    pull = green(house)
    house.quiet()
    hidden = Fault("GET pulls/1", status(503), times=45)
    house.github.before(CALLED, lambda: house.github.faults.add(hidden), 1)
    house.github.faults.add(Fault(CALLED, status(502)))
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=3 * DAY)
    house.quiet()
    assert not [text for text in house.said(pull) if "Not merged" in text]
    house.expect(*LANDED)
