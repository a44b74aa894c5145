"""The scripted model API answers as the real one words it."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.model_api import BEYOND, ModelApi, Reply, error, say, system_text, tool_names, tool_results, use, user_texts

TURN: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "be good"}, {"type": "text", "text": "be brief"}],
    "tools": [{"name": "Bash", "input_schema": {}}, {"name": "Read", "input_schema": {}}],
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "out"}]},
        {"role": "user", "content": [{"type": "text", "text": "more"}]},
    ],
}


def post(api: ModelApi, body: dict[str, Any], path: str = "/v1/messages") -> requests.Response:
    return requests.post(f"{api.url}{path}", json=body, timeout=5)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_a_message_holds_the_scripted_blocks_and_usage() -> None:
    reply = (say("look") + use("Bash", command="ls")).tokens(input=7, output=3)
    with ModelApi([reply]) as api:
        message = post(api, TURN).json()
    text, tool = message["content"]
    assert text == {"type": "text", "text": "look"}
    assert (tool["name"], tool["input"]) == ("Bash", {"command": "ls"})
    assert message["stop_reason"] == "tool_use"
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (7, 3)


def test_a_stream_carries_the_same_message_in_pieces() -> None:
    with ModelApi([say("hé\n") + use("Write", file_path="a", content="b")]) as api:
        answer = post(api, {**TURN, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream"
    seen = events(answer.content.decode())
    assert [event["type"] for event in seen] == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_stop"] * 2,
        "message_delta",
        "message_stop",
    ]
    assert seen[2]["delta"] == {"type": "text_delta", "text": "hé\n"}
    assert json.loads(seen[5]["delta"]["partial_json"]) == {"file_path": "a", "content": "b"}
    assert seen[-2]["delta"]["stop_reason"] == "tool_use"


def test_every_tool_call_has_an_id_of_its_own() -> None:
    with ModelApi(lambda request: use("Bash", command="ls") + use("Bash", command="ls")) as api:
        ids = [block["id"] for _ in range(2) for block in post(api, TURN).json()["content"]]
    assert len(set(ids)) == 4


def test_an_error_has_its_status_type_and_headers() -> None:
    with ModelApi([error(429, "rate_limit_error", "slow down", {"retry-after": "3600"})]) as api:
        answer = post(api, TURN)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
    assert answer.json() == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}


def test_a_request_on_the_side_uses_up_nothing_of_the_script() -> None:
    with ModelApi([say("first")]) as api:
        title = post(api, {"model": "claude-haiku-4-5", "max_tokens": 1, "messages": []})
        count = post(api, TURN, "/v1/messages/count_tokens?beta=true")
        head = requests.head(api.url, timeout=5)
        unknown = requests.get(f"{api.url}/api/hello", timeout=5)
        turn = post(api, TURN)
    assert title.json()["content"] == [{"type": "text", "text": "ok"}]
    assert count.json() == {"input_tokens": 10}
    assert (head.status_code, unknown.status_code) == (200, 404)
    assert turn.json()["content"] == [{"type": "text", "text": "first"}]
    assert (len(api.requests), len(api.asides)) == (1, 4)


def test_a_request_beyond_the_script_is_refused() -> None:
    with ModelApi([say("only")]) as api:
        post(api, TURN)
        beyond = post(api, TURN)
    assert beyond.status_code == 400
    assert beyond.json()["error"]["message"] == BEYOND


def test_a_script_may_be_a_function_of_the_request() -> None:
    def script(request: dict[str, Any]) -> Reply:
        return say(request["messages"][0]["content"])

    with ModelApi(script) as api:
        assert post(api, TURN).json()["content"][0]["text"] == "hello"


def test_a_captured_request_is_easy_to_read() -> None:
    with ModelApi([say("ok")]) as api:
        post(api, TURN)
    (request,) = api.requests
    assert system_text(request) == "be good\nbe brief"
    assert user_texts(request) == ["hello", "more"]
    assert tool_names(request) == {"Bash", "Read"}
    assert tool_results(request) == ["out"]


def test_an_idle_client_does_not_hold_the_server_open() -> None:
    with requests.Session() as idle:
        with ModelApi([say("ok")]) as api:
            idle.post(f"{api.url}/v1/messages", json=TURN, timeout=5)
        try:
            idle.get(api.url, timeout=5)
        except requests.ConnectionError:
            return
    raise AssertionError("the server still answers")
