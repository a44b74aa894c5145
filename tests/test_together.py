"""Reading things that must fit together, over canned answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from orchestrator.clock import Stop
from orchestrator.errors import Retry
from orchestrator.github.together import LATER, TRIES, at_once
from orchestrator.github.transport import Transport
from tests.virtual import VirtualClock

URL = "https://api.github.com"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def transport(clock: VirtualClock) -> Iterator[Transport]:
    made = Transport(URL, "secret-token", clock, Stop())
    yield made
    made.close()


def answers(*many: dict[str, Any]) -> None:
    for one in many:
        responses.add("GET", f"{URL}:443/x", **one)


@responses.activate
def test_after_a_wait_in_its_midst_everything_is_read_again(transport: Transport, clock: VirtualClock) -> None:
    answers({"json": 1}, {"status": 502}, {"json": 2}, {"json": 3}, {"json": 4})
    assert at_once(transport, clock, lambda: (transport.get("/x").data, transport.get("/x").data)) == (3, 4)


@responses.activate
def test_a_new_token_does_not_hide_a_wait(transport: Transport, clock: VirtualClock) -> None:
    answers({"status": 502}, {"json": 1}, {"json": 2})

    def read() -> object:
        found = transport.get("/x").data
        transport.renew(f"token-{found}")
        return found

    assert at_once(transport, clock, read) == 2


@responses.activate
def test_what_takes_too_long_each_time_counts_as_a_failure(transport: Transport, clock: VirtualClock) -> None:
    answers({"json": 1})

    def slow() -> object:
        clock.advance(61)
        return transport.get("/x").data

    with pytest.raises(Retry, match="read together") as told:
        at_once(transport, clock, slow)
    assert told.value.after is None
    assert len(responses.calls) == TRIES


@responses.activate
def test_what_is_limited_each_time_is_no_failure_of_the_item(transport: Transport, clock: VirtualClock) -> None:
    said, wait = {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "9"}
    for _ in range(TRIES):
        answers({"status": 403, "json": said, "headers": wait}, {"json": 1})
    with pytest.raises(Retry, match="read together") as told:
        at_once(transport, clock, lambda: transport.get("/x").data)
    assert told.value.after == LATER
