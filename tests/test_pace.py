"""How often GitHub is asked, how long its limit lasts, and what `status` tells of that."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator import polled, status
from orchestrator.clock import Stop
from orchestrator.decide.limits import Limits
from orchestrator.github.transport import Transport
from orchestrator.github.trouble import quota
from orchestrator.pace import Pace
from orchestrator.record import Quota
from orchestrator.state import Saved, read
from tests.conftest import MakeHouse
from tests.faulty import events
from tests.house import House
from tests.virtual import VirtualClock

START = 1_790_000_000.0
HOUR = 3600.0
LIMITS = Limits(runs=20, usd=50, run_usd=5)


def said(remaining: int, at: float, reset: float = START + HOUR, limit: int = 5000) -> Quota:
    return Quota(limit, remaining, reset, at)


@pytest.mark.parametrize(("wanted", "repos", "rest"), [(60, 1, 60), (60, 200, 60), (60, 1000, 300), (0, 1, 0.3)])
def test_github_is_not_asked_more_often_than_it_wants(wanted: float, repos: int, rest: float) -> None:
    assert Pace(wanted, repos, public=True).rest(None) == pytest.approx(rest)
    assert Pace(wanted, repos, public=False).rest(None) == wanted


@pytest.mark.parametrize(
    ("url", "public"), [("https://api.github.com", True), ("https://api.x.ghe.com", True), ("http://127.0.0.1", False)]
)
def test_a_server_of_ones_own_is_asked_as_often_as_wanted(url: str, public: bool) -> None:
    assert Transport(url, "ghp_x", VirtualClock(), Stop()).public is public


def test_the_rests_grow_so_that_what_is_left_lasts_until_the_reset(lines: list[Any]) -> None:
    pace, at, left = Pace(60, 1, public=True), START, 450
    rests = []
    while at < START + HOUR:
        rests.append(pace.rest(said(left, at)))
        at, left = at + rests[-1], left - 40
        assert left >= 0 or at >= START + HOUR, "it did not last"
    assert rests[0] == 60
    assert all(rest > 60 for rest in rests[1:])
    assert [line["remaining"] for line in events(lines, "polls_slowed_down")] == [410]
    # The next hour begins.
    assert pace.rest(said(4990, at, START + 2 * HOUR)) == 60
    assert len(events(lines, "polls_at_full_pace")) == 1


def test_little_that_does_not_fall_slows_nothing_down(lines: list[Any]) -> None:
    pace = Pace(60, 1, public=True)
    assert [pace.rest(said(100, START + 60 * n)) for n in range(5)] == [60] * 5
    assert lines == []


def test_enough_that_falls_slows_nothing_down() -> None:
    pace = Pace(60, 1, public=True)
    assert [pace.rest(said(left, START + n)) for n, left in enumerate((5000, 2000, 600))] == [60] * 3


def test_with_nothing_left_it_is_asked_again_at_the_reset() -> None:
    pace = Pace(60, 1, public=True)
    pace.rest(said(50, START + 1800))
    assert pace.rest(said(0, START + 2000)) == 1600


def test_the_forecast_is_by_the_pace_of_the_last_day() -> None:
    pace = Pace(60, 1, public=True)
    assert pace.forecast() is None
    pace.rest(said(5000, START))
    first = pace.forecast()
    assert first is not None
    assert (first.per_hour, first.hours_left) == (None, None)
    pace.rest(said(4900, START + 1800))
    later = pace.forecast()
    assert later is not None
    assert later.per_hour == pytest.approx(200)
    assert later.hours_left == pytest.approx(24.5)
    # What another hour gave back is no pace; a day of rest is.
    pace.rest(said(5000, START + 2 * HOUR, START + 3 * HOUR))
    for n in range(40):
        pace.rest(said(5000, START + (3 + n) * HOUR, START + (4 + n) * HOUR))
    calm = pace.forecast()
    assert calm is not None
    assert calm.per_hour is not None
    assert calm.per_hour < 5


def test_what_is_left_at_a_poll_is_found_and_a_half_written_file_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "state.json.polled"
    assert polled.found(file) == (None, None)
    polled.leave(file, None)
    assert polled.found(file) == (file.stat().st_mtime, None)
    left = said(4000, START)
    polled.leave(file, left)
    assert polled.found(file) == (file.stat().st_mtime, left)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text('{"limit": 5')
    assert polled.found(file) == (file.stat().st_mtime, None)
    polled.leave(tmp_path / "nowhere" / "file", left)


def test_status_tells_what_is_left_and_how_long_it_lasts() -> None:
    saved = Saved((), START, None, quota=Quota(5000, 4000, START + 1920, START, 250.0))
    assert json.loads(json.dumps(status.document(saved, START, LIMITS)))["quota"] == {
        "limit": 5000,
        "remaining": 4000,
        "reset": START + 1920,
        "at": START,
        "per_hour": 250.0,
        "hours_left": 16.0,
    }
    line = "GitHub: 4000 of 5000 requests left, all again in 32 min"
    assert f"{line}; they last 16 h at the pace of the last day\n" in status.text(saved, START, LIMITS)
    unknown = Saved((), START, None, quota=said(4000, START, START + 1920))
    assert f"{line}\n" in status.text(unknown, START, LIMITS)
    assert status.document(Saved((), START, None), START, LIMITS)["quota"] is None
    assert "GitHub:" not in status.text(Saved((), START, None), START, LIMITS)


def test_the_daemon_leaves_what_is_left_for_status(house: House) -> None:
    house.quiet()
    left = read(house.folder / "state.json").quota
    assert left is not None
    assert (left.limit, left.at) == (5000, house.clock.now())
    assert 4980 < left.remaining < 5000


def test_the_daemon_polls_less_often_while_little_is_left(make_house: MakeHouse, lines: list[Any]) -> None:
    house = make_house(auto_merge_enabled=False)
    chat = house.alice.opens_issue(house.repo, "Chat", "")
    house.quiet()
    token = house.github.world.tokens[house.token]
    token.used = 4900
    reset = token.window + HOUR
    times: list[float] = []

    def looks() -> None:
        times.append(house.clock.now())
        house.alice.comments(chat, "Hello.")
        house.github.before("GET issues/comments", looks)

    house.github.before("GET issues/comments", looks)
    house.until(lambda: house.clock.now() >= reset)
    assert max(after - before for before, after in pairwise(times)) > 60
    assert token.used <= token.limit
    assert len(events(lines, "polls_slowed_down")) == 1


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, 41),
        ({"x-ratelimit-resource": "core"}, 41),
        ({"x-ratelimit-resource": "graphql"}, None),
        ({"x-ratelimit-remaining": "many"}, None),
    ],
)
def test_only_what_is_said_of_rest_counts(changed: dict[str, str], left: int | None) -> None:
    headers = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "41", "date": "Mon, 21 Sep 2026 15:16:20 GMT"}
    found = quota({**headers, **changed})
    assert (found.remaining if found else None) == left
    # A server of one's own may have no limits, and says nothing of them.
    assert quota({"date": headers["date"]}) is None
