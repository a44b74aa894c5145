"""Rows P that are about time and memory: clocks that differ, long pauses, unchanged and stale lists, lost files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.github.feed import FULL_READ
from orchestrator.twin import Fault, api, apply_then_reset
from orchestrator.twin.api import Request
from orchestrator.twin.world import Token
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, LANDED, POLL, REFUSED, SAID, SEEN, STOPPED, announced, green, opens, refusal

HOUR = 3600.0
DAY = 86_400.0


@pytest.mark.parametrize("ahead", [300, -300])
def test_P4_the_machines_clock_may_be_wrong_by_minutes(
    house: House, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    pull = opens(house)
    house.ci.fails(pull, "lint")
    monkeypatch.setattr(house.github.world, "_now", lambda: house.clock.now() - ahead)
    house.start()
    house.quiet()
    first = house.alice.comments(pull, "/merge")
    house.quiet()
    refusal(house, pull)
    house.ci.passes(pull, "lint")
    second = house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert first.reactions == second.reactions == ["eyes"]
    house.github.journal.claim(SEEN, times=2)
    house.expect(*LANDED)


def test_P4_a_slow_clock_does_not_make_a_late_push_look_like_an_early_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = green(house)
    monkeypatch.setattr(house.github.world, "_now", lambda: house.clock.now() + 300)
    house.start()
    house.quiet()
    house.alice.comments(pull, "/merge")
    house.clock.advance(1)
    house.mallory.pushes(house.repo, "topic", {"evil.txt": "boo\n"})
    house.ci.passes(pull, "build")
    house.quiet()
    assert "arrived after your comment" in refusal(house, pull)
    house.expect(*REFUSED)


def test_P9_every_page_since_the_last_poll_is_read_and_in_order(make_house: MakeHouse) -> None:
    house = make_house(page=100)
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.start()
    house.quiet()
    first = house.alice.comments(pull, "/merge")
    for number in range(130):
        house.bob.comments(pull, f"Remark {number}")
    second = house.bob.comments(pull, "/merge")
    before = len(house.github.journal.exchanges)
    house.until(lambda: len(house.said(pull)) == 2)
    pages = [e.query.get("page", "1") for e in house.github.journal.exchanges[before:] if e.short == LISTED and e.query]
    assert {"1", "2"} <= set(pages)
    assert (first.reactions, second.reactions) == (["eyes"], [])
    assert [text for text in house.said(pull) if "asked for by @alice is already under way" in text]
    house.ci.passes(pull, "build")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


LISTED = "GET issues/comments"


def test_P11_an_unchanged_list_costs_nothing_and_changes_nothing(house: House) -> None:
    pull = opens(house)
    house.bob.comments(pull, "Nice.")
    daemon = house.start()
    house.quiet()
    assert daemon.transport.quota is not None
    left, memory = daemon.transport.quota.remaining, daemon.state.repo("acme/app")
    written = (house.folder / "state.json").stat()
    before = len(house.github.journal.exchanges)
    house.until(lambda: len(house.github.journal.exchanges) >= before + 15)
    assert {e.status for e in house.github.journal.exchanges[before:]} == {304}
    assert daemon.transport.quota.remaining == left
    assert daemon.state.repo("acme/app") == memory
    assert (house.folder / "state.json").stat() == written
    assert house.jobs == []


def test_P12_a_list_that_says_unchanged_for_ever_is_not_believed_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    real = api._etag

    def stale(body: bytes, token: Token, request: Request) -> str:
        return 'W/"the same"' if request.path.endswith("/issues/comments") else real(body, token, request)

    monkeypatch.setattr(api, "_etag", stale)
    house.bob.comments(pull, "Nice.")
    house.clock.advance(POLL)
    house.quiet()
    asked_at = house.clock.now()
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged)
    assert 5 * POLL < house.clock.now() - asked_at <= FULL_READ + 2 * POLL
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P13_what_was_asked_while_the_daemon_was_away_is_found_once(house: House) -> None:
    pulls = [green(house, name) for name in ("one", "two", "three")]
    house.start()
    house.quiet()
    house.stop()
    asked = []
    for pull in pulls:
        house.clock.advance(HOUR)
        asked.append(house.alice.comments(pull, "/merge"))
    house.quiet()
    for pull in pulls:
        announced(house, pull)
    assert [comment.reactions for comment in asked] == [["eyes"]] * 3
    house.github.journal.claim(CALLED, times=3)
    house.expect(*LANDED)


def test_P13_what_is_more_than_a_day_old_is_answered_and_not_done(house: House) -> None:
    old, new = green(house, "old"), green(house, "new")
    issue = house.alice.opens_issue(house.repo, "Talk")
    house.start()
    house.quiet()
    house.stop()
    house.alice.comments(old, "/merge")
    house.alice.comments(issue, "/merge")
    house.mallory.comments(old, "/merge")
    house.clock.advance(2 * HOUR)
    house.alice.comments(new, "/merge")
    house.clock.advance(DAY - HOUR)
    house.quiet()
    house.stop()
    house.quiet()
    assert not old.merged
    [said] = house.said(old)
    assert "too long ago" in said
    assert "post it again" in said
    announced(house, new)
    house.alice.comments(old, "/merge")
    house.quiet()
    assert old.merged
    house.expect(*LANDED)


def test_P14_commands_from_before_the_first_start_are_history(house: House) -> None:
    pulls = [green(house, name) for name in ("one", "two", "three")]
    asked = [house.alice.comments(pull, "/merge") for pull in pulls]
    house.clock.advance(HOUR + 1)
    house.quiet()
    house.stop()
    house.quiet()
    assert [comment.reactions for comment in asked] == [[], [], []]
    assert not any(pull.merged for pull in pulls)


def test_P34_a_refusal_that_a_redeploy_cut_off_is_said_once(house: House) -> None:
    pull = opens(house)
    house.ci.fails(pull, "lint")
    asked = house.alice.comments(pull, "/merge")
    house.start()
    ends(house, SAID, nth=2)
    house.clock.settle()
    house.daemon = None
    house.quiet()
    refusal(house, pull)
    assert asked.reactions == ["eyes"]
    house.github.journal.claim(SAID, times=2)
    house.expect(*STOPPED)


def test_P34_an_answer_that_a_redeploy_cut_off_is_given_once(house: House) -> None:
    pull = opens(house)
    house.alice.comments(pull, "/merge now")
    house.start()
    ends(house, SAID, nth=1)
    house.clock.settle()
    house.daemon = None
    house.quiet()
    assert len(house.said(pull)) == 1
    house.github.journal.claim(SAID, times=1)


def ends(house: House, pattern: str, nth: int) -> None:
    """The daemon is stopped when it makes this change, and never hears that it was made."""

    def stop() -> None:
        assert house.daemon is not None
        house.daemon.halt.set("a new version is deployed")
        house.daemon.wake.set("a new version is deployed")

    house.github.before(pattern, stop, nth)
    house.github.faults.add(Fault(pattern, apply_then_reset(), nth))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def lose_both(path: Path) -> None:
    path.unlink()
    path.with_name(f"{path.name}.prev").unlink()


def damage_both(path: Path) -> None:
    cut_short(path)
    cut_short(path.with_name(f"{path.name}.prev"))


@pytest.mark.parametrize("harm", [cut_short, Path.unlink, lose_both, damage_both])
def test_P35_a_merge_that_was_done_is_not_done_again_without_its_record(
    house: House, harm: Callable[[Path], None]
) -> None:
    pull, red = green(house), opens(house, "red")
    house.ci.fails(red, "lint")
    asked = house.alice.comments(pull, "/merge")
    house.alice.comments(red, "/merge")
    house.quiet()
    house.stop()
    house.ci.passes(red, "lint")
    harm(house.folder / "state.json")
    house.quiet()
    assert short_of_nothing(house)
    announced(house, pull)
    refusal(house, red)
    assert len(house.said(pull)) == 1
    assert len(house.said(red)) == 2
    assert asked.reactions == ["eyes"]
    house.github.journal.claim(CALLED, times=1)
    house.github.journal.claim(SAID, times=3)
    house.expect(*LANDED)


def short_of_nothing(house: House) -> bool:
    """The file is whole again, and what could not be read was kept."""
    state = house.folder / "state.json"
    kept = list(house.folder.glob("state.json.unreadable-*"))
    return state.exists() and all(file.stat().st_size == 200 for file in kept)


def test_P35_a_file_of_a_newer_version_stops_the_start_and_stays_as_it_is(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    house.stop()
    path = house.folder / "state.json"
    newer = path.read_text().replace('"version": 1', '"version": 2')
    path.write_text(newer)
    before = len(house.github.journal.exchanges)
    with pytest.raises(Misconfigured, match="newer version"):
        house.start()
    assert path.read_text() == newer
    assert len(house.github.journal.exchanges) == before
    house.expect(*LANDED)
