"""A stream file as a person reads it, while it grows and when it is odd."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import transcript
from orchestrator.record import Job, Kind


def shown(event: Any) -> str | None:
    return transcript.Reader().readable(json.dumps(event).encode() + b"\n")


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


def said(*texts: str) -> bytes:
    event = {"type": "assistant", "message": {"content": [{"type": "text", "text": text} for text in texts]}}
    return json.dumps(event).encode()


def ended(**more: Any) -> bytes:
    return json.dumps({"type": "result", "num_turns": 1, "duration_ms": 0, "total_cost_usd": 0, **more}).encode()


def test_what_the_agent_said_last_is_not_said_again_by_the_end() -> None:
    reader = transcript.Reader()
    assert reader.readable(said("First.", "All is\ndone.\n")) == "First.\nAll is\ndone."
    tool = {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {}}]}}
    assert reader.readable(json.dumps(tool).encode()) == "> Bash: {}"
    answer = {"type": "user", "message": {"content": [{"type": "text", "text": "Go on."}]}}
    assert reader.readable(json.dumps(answer).encode()) == "Go on."
    assert reader.readable(ended(result="All is\ndone.")) == "== done: 1 turns, 0 s, $0.00"
    assert reader.readable(ended(result="First.")) == "== done: 1 turns, 0 s, $0.00\nFirst."
    assert reader.readable(ended(errors=["All is\ndone.", "Too many."])) == "== done: 1 turns, 0 s, $0.00\nToo many."
    assert transcript.Reader().readable(ended(result="All is\ndone.")) == "== done: 1 turns, 0 s, $0.00\nAll is\ndone."


def test_an_odd_message_is_shown_as_it_is() -> None:
    reader = transcript.Reader()
    for odd in ({"type": "text", "text": 5}, {"type": "text"}, 7):
        line = json.dumps({"type": "assistant", "message": {"content": [odd]}}).encode()
        assert reader.readable(line) == line.decode()
    assert reader.readable(ended(result="Done.")) == "== done: 1 turns, 0 s, $0.00\nDone."


def test_the_header_names_the_run_and_its_file() -> None:
    run = Job("octo/demo", Kind.MERGE, 7, "1", attempt=2, run_id="0123456789abcdef", log="/logs/\x1bmerge-7-1.log")
    assert transcript.header(run) == "octo/demo#7 merge, attempt 2, run 01234567: /logs/\\x1bmerge-7-1.log"
    assert transcript.header(replace(run, run_id="")) == "octo/demo#7 merge, attempt 2: /logs/\\x1bmerge-7-1.log"


def test_a_run_of_which_nothing_was_shown_is_one_sentence(tmp_path: Path) -> None:
    file, errors = tmp_path / "run.log", tmp_path / "run.log.stderr"
    file.touch()
    assert transcript.silence(file, running=False) == "This run wrote nothing."
    errors.touch()
    assert transcript.silence(file, running=True) == "This run has written nothing yet."
    errors.write_text("Segmentation fault")
    assert transcript.silence(file, running=False) == f"This run wrote nothing; its error messages are in {errors}."
    file.write_text("\n")
    errors.unlink()
    assert transcript.silence(file, running=False) == (
        "This run wrote nothing that a person can read; --raw shows all of it."
    )


def test_bytes_that_are_no_json_and_lines_without_end_are_shown_safely() -> None:
    assert transcript.Reader().readable(b"\xff warning\x07\n") == "\ufffd warning\\x07"
    assert transcript.Reader().readable(b"\n") is None
    assert transcript.Reader().readable(b"[" * 100_000) is not None
    long = shown({"type": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash",
                  "input": {"command": "x" * 5000}}]}})  # fmt: skip
    assert long is not None
    assert long.endswith("... (5000 characters)")
