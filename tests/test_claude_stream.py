"""What Claude Code's stream of events means, judged without a process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.agents.base import Bounds, Outcome
from orchestrator.agents.claude_stream import Stream, Tally, judge
from orchestrator.agents.prompts import REVIEW_SCHEMA
from orchestrator.process import Cause, Ended

WIDE = Bounds(max_turns=7, budget_usd=2.5, total=60.0, stall=60.0)


GOOD = {"type": "result", "subtype": "success", "is_error": False, "terminal_reason": "completed"}
API = {**GOOD, "is_error": True, "terminal_reason": "api_error", "result": "Sorry."}
REJECTED = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 5}}
ALLOWED = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed", "resetsAt": 6}}


def said(word: str) -> dict[str, Any]:
    return {"type": "assistant", "error": word, "message": {"id": "m", "content": [{"type": "text", "text": "x"}]}}


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([{**GOOD, "terminal_reason": None}], Outcome.DONE),
        ([{key: GOOD[key] for key in ("type", "subtype", "is_error")}], Outcome.DONE),
        ([{**API, "is_error": True}, GOOD], Outcome.DONE),
        ([GOOD, API], Outcome.TRANSIENT),
        ([{**GOOD, "is_error": True}], Outcome.TRANSIENT),
        ([{**GOOD, "is_error": "no"}], Outcome.TRANSIENT),
        ([{**GOOD, "terminal_reason": "hook_stopped"}], Outcome.CRASHED),
        ([{**GOOD, "subtype": "error_during_execution"}], Outcome.CRASHED),
        ([{**API, "subtype": "error_max_structured_output_retries"}], Outcome.CRASHED),
        ([{**API, "terminal_reason": "prompt_too_long", "api_error_status": None}], Outcome.BAD_REQUEST),
        ([{**API, "terminal_reason": "image_error", "api_error_status": None}], Outcome.BAD_REQUEST),
        ([{**API, "stop_reason": "refusal"}], Outcome.BAD_REQUEST),
        ([{**API, "api_error_status": None}], Outcome.TRANSIENT),
        ([{**API, "api_error_status": True}], Outcome.TRANSIENT),
        *(([{**API, "api_error_status": status}], Outcome.TRANSIENT) for status in (408, 429, 500, 503, 529)),
        *(([{**API, "api_error_status": status}], Outcome.AUTH) for status in (401, 403)),
        *(([{**API, "api_error_status": status}], Outcome.BAD_REQUEST) for status in (400, 404, 413)),
        ([{**API, "api_error_status": 402}], Outcome.BILLING),
        ([said("billing_error"), {**API, "api_error_status": 400}], Outcome.BILLING),
        ([said("rate_limit"), said(""), {**API, "api_error_status": 400}], Outcome.BAD_REQUEST),
        ([said("authentication_failed")], Outcome.AUTH),
        ([REJECTED, API], Outcome.USAGE_LIMIT),
        ([REJECTED], Outcome.USAGE_LIMIT),
        ([REJECTED, ALLOWED, API], Outcome.TRANSIENT),
        ([{**API, "result": "usage limit reached, not logged in, 401"}], Outcome.TRANSIENT),
    ],
)
def test_an_end_is_judged_by_fields_and_never_by_prose(events: list[dict[str, Any]], outcome: Outcome) -> None:
    stream = Stream()
    for event in events:
        stream.take(json.dumps(event).encode())
    verdict = judge(stream, Ended(0, Cause.EXITED, 1.0, 0), WIDE, None, "", "")
    assert verdict.outcome is outcome
    assert (verdict.detail == "") == (outcome is Outcome.DONE)


def test_a_form_that_the_model_never_met_is_told_as_such() -> None:
    stream = Stream()
    stream.take(json.dumps({**API, "subtype": "error_max_structured_output_retries"}).encode())
    verdict = judge(stream, Ended(1, Cause.EXITED, 1.0, 0), WIDE, REVIEW_SCHEMA, "", "")
    assert verdict.detail == "It gave no answer in the form that was asked for, after several tries."


@pytest.mark.parametrize("cause", [Cause.STOPPED, Cause.TOTAL, Cause.STALLED, Cause.FLOODED])
def test_a_result_stands_even_if_the_process_had_to_be_ended(cause: Cause) -> None:
    stream = Stream()
    stream.take(json.dumps(GOOD).encode())
    assert judge(stream, Ended(-9, cause, 1.0, 0), WIDE, None, "told to", "").outcome is Outcome.DONE


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-1", "1e400", "true", '"3"', "null", "[]", "9" * 400])
def test_odd_numbers_count_as_unknown(odd: str) -> None:
    stream = Stream()
    stream.take(f'{{"type": "result", "num_turns": {odd}, "total_cost_usd": {odd}}}'.encode())
    assert (stream.turns, stream.cost_usd) == (None, 0.0)


def message(*blocks: dict[str, Any], name: str = "m", tokens: int = 0) -> bytes:
    about = {"id": name, "content": list(blocks), "usage": {"input_tokens": tokens}}
    return json.dumps({"type": "assistant", "message": about}).encode()


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_message_in_several_events_is_one_turn_and_only_its_text_is_text() -> None:
    stream, tally = Stream(), Tally()
    for block in (text("Hello"), {"type": "thinking", "text": "secret"}, {"type": "tool_use"}, text("")):
        stream.take(message(block))
        tally.take(message(block))
    assert (tally.turns, stream.text) == (1, "Hello")


def test_a_message_counts_as_its_last_event_says_however_many_there_are() -> None:
    tally = Tally()
    for number in range(1000):
        for tokens in (5, number):
            tally.take(message(name=f"m{number}", tokens=tokens))
    assert (tally.turns, tally.tokens) == (1000, sum(range(1000)))


def test_what_was_said_last_is_known_however_much_came_after_it() -> None:
    stream = Stream()
    stream.take(message(text("First."), text("Second.")))
    for _ in range(3):
        stream.take(message({"type": "tool_use", "input": {"text": "x" * 50_000}}))
    assert stream.text == "Second."
    stream.take(message(text("Third.")))
    assert stream.text == "Third."


def test_the_error_is_that_of_the_last_message_whoever_spoke_last() -> None:
    stream = Stream()
    stream.take(json.dumps(said("rate_limit")).encode())
    stream.take(b"[]")
    assert (stream.error, stream.error) == ("rate_limit", "rate_limit")
    stream.take(message({"type": "tool_use"}))
    assert stream.error == ""


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"type": "user", "message": {"content": [{"type": "tool_result", "content": json.dumps(GOOD)}]}}),
        json.dumps({"message": {"content": json.dumps(GOOD), "about": GOOD}, "type": "user"}),
        json.dumps({"type": "user", "tool_use_result": GOOD}, separators=(",", ":")),
        json.dumps({"type": "assistant", "message": {"content": [{"type": "tool_use", "input": GOOD}]}}),
        json.dumps({"type": "stream_event", "event": GOOD}),
        json.dumps([GOOD]),
        json.dumps(json.dumps(GOOD)),
        json.dumps(GOOD)[:-1],
    ],
)
def test_a_result_that_is_only_quoted_is_none(line: str) -> None:
    stream = Stream()
    stream.take(line.encode())
    assert (stream.result, stream.text) == (None, "")


@pytest.mark.parametrize(
    "line",
    [
        b'{"result": "Done.", "type": "result"}',
        b'  { "type"\t:  "result" , "result":"Done."}\r',
        b'{"type":"\\u0072esult","result":"Done."}',
        b'{"type":"result","errors":["\\ud83d"],"result":"Done."}',
        b'{"type":"result","errors":["\xff"],"result":"Done."}',
        b'{"type":"result","deep":' + b"[" * 300 + b"]" * 300 + b',"result":"Done."}',
        b'{"type":"result","usage":[NaN,-Infinity,' + b"9" * 3000 + b'],"result":"Done."}',
    ],
)
def test_a_result_is_known_however_it_is_written(line: bytes) -> None:
    stream = Stream()
    stream.take(line)
    assert stream.text == "Done."


def test_a_message_is_known_however_it_is_written() -> None:
    stream, tally = Stream(), Tally()
    line = b'{ "message": {"id": "m", "content": [{"text": "Caf\xff \\ud83d", "type": "text"}]}, "type": "assistant" }'
    stream.take(line)
    tally.take(line)
    assert (tally.turns, stream.text.encode("utf-8", "replace")) == (1, "Caf\ufffd ?".encode())
