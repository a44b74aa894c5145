"""A stream file as a person reads it, while it grows and when it is odd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import transcript


def shown(event: Any) -> str | None:
    return transcript.readable(json.dumps(event).encode() + b"\n")


def test_what_is_written_between_the_last_look_and_the_end_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(b"one\ntw")

    def goes_on() -> bool:
        with file.open("ab") as more:
            more.write(b"o\nthree")
        return False

    assert list(transcript.lines(file, goes_on, lambda _: pytest.fail("waits"))) == [b"one\n", b"two\n", b"three"]


def test_a_growing_file_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.touch()
    later = [b"o", b"ne\n", b"two\n"]

    def grow(seconds: float) -> None:
        assert 0 < seconds <= 1
        with file.open("ab") as more:
            more.write(later.pop(0))

    assert list(transcript.lines(file, lambda: bool(later), grow)) == [b"one\n", b"two\n"]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"type": "assistant", "message": {"content": [{"type": "text", "text": "a\n\x1b[2Jb"}]}}, "a\n\\x1b[2Jb"),
        ({"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": "hm"}]}}, None),
        (
            {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Odd", "input": {"x": [1]}}]}},
            '> Odd: {"x": [1]}',
        ),
        (
            {
                "type": "user",
                "message": {"content": [{"type": "tool_result", "is_error": True, "content": [{"text": "no"}]}]},
            },
            "  ! no",
        ),
        ({"type": "user", "message": {"content": "plain"}}, "plain"),
        (
            {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 4, "error": "rate_limit"},
            "-- the API answered rate_limit; try 1 of 4",
        ),
        (
            {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "rateLimitType": "five_hour"}},
            "-- usage limit: rejected (five_hour)",
        ),
        ({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}}, None),
        # An API failure carries the subtype "success".
        (
            {"type": "result", "subtype": "success", "is_error": True, "terminal_reason": "api_error", "num_turns": 1,
             "duration_ms": 900, "total_cost_usd": 0, "result": "API Error: 500"},
            "== api_error: 1 turns, 1 s, $0.00\nAPI Error: 500",
        ),
        (
            {"type": "result", "subtype": "error_max_turns", "is_error": True, "errors": ["Reached (2)"],
             "num_turns": 3, "duration_ms": 1000, "total_cost_usd": None},
            "== error_max_turns: 3 turns, 1 s, $0.00\nReached (2)",
        ),
        ({"type": "stream_event"}, None),
        ({"type": "assistant", "message": None}, '{"type": "assistant", "message": null}'),
        ([1, 2], "[1, 2]"),
    ],
)  # fmt: skip
def test_an_event_is_shown_for_a_person(event: Any, text: str | None) -> None:
    assert shown(event) == text


def test_bytes_that_are_no_json_and_lines_without_end_are_shown_safely() -> None:
    assert transcript.readable(b"\xff warning\x07\n") == "\ufffd warning\\x07"
    assert transcript.readable(b"\n") is None
    assert transcript.readable(b"[" * 100_000) is not None
    long = shown({"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash",
                  "input": {"command": "x" * 5000}}]}})  # fmt: skip
    assert long is not None
    assert long.endswith("... (5000 characters)")
