"""A scripted Anthropic Messages API on loopback for the real Claude Code CLI (`ANTHROPIC_BASE_URL`).

The script answers the agent's own turns: one reply per request, or a function of the request. The CLI also asks on
the side (a title, a quota probe, token counts); those are told apart by what every turn of ours has and they have not:
a list of tools. They get a harmless answer, use up nothing of the script, and are kept in `asides`.

A request beyond the end of the script is answered 400, which ends the run at once with `BEYOND` in its message.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

BEYOND = "the script of the model has ended"


@dataclass(frozen=True)
class Reply:
    """One answer of the model: content blocks, or an error when `status` is not 200. `a + b` is both in one message."""

    blocks: tuple[dict[str, Any], ...] = ()
    input_tokens: int = 10
    output_tokens: int = 5
    status: int = 200
    failure: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Reply) -> Reply:
        return replace(self, blocks=self.blocks + other.blocks)

    def tokens(self, *, input: int, output: int) -> Reply:
        """The same with other usage numbers: they make the run's cost."""
        return replace(self, input_tokens=input, output_tokens=output)

    @property
    def stop_reason(self) -> str:
        return "tool_use" if any(block["type"] == "tool_use" for block in self.blocks) else "end_turn"


Script = Sequence[Reply] | Callable[[dict[str, Any]], Reply]


def say(text: str) -> Reply:
    """Plain text."""
    return Reply(({"type": "text", "text": text},))


def use(name: str, /, **arguments: Any) -> Reply:
    """A tool call."""
    return Reply(({"type": "tool_use", "name": name, "input": arguments},))


def error(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An API error, e.g. `error(401, "authentication_error", "invalid x-api-key")`."""
    return Reply(status=status, failure={"type": kind, "message": message}, headers=headers or {})


class ModelApi:
    """Context manager; `requests` are the parsed turns in order, `url` is for `ANTHROPIC_BASE_URL`."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self.requests: list[dict[str, Any]] = []
        self.asides: list[str] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="model-api")
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ModelApi:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> Reply:
        """The scripted reply for a turn; a fixed one for anything else."""
        with self._lock:
            if not request.get("tools"):
                self.asides.append(json.dumps(request))
                return say("ok")
            self.requests.append(request)
            if callable(self._script):
                return self._script(request)
            if len(self.requests) > len(self._script):
                return error(400, "invalid_request_error", BEYOND)
            return self._script[len(self.requests) - 1]

    def message(self, reply: Reply, model: str) -> dict[str, Any]:
        """A reply as the API words it, with ids of its own."""
        blocks = [
            {**block, "id": f"toolu_{next(self._ids):08}"} if block["type"] == "tool_use" else block
            for block in reply.blocks
        ]
        return {
            "id": f"msg_{next(self._ids):08}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": blocks,
            "stop_reason": reply.stop_reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
            },
        }


def system_text(request: Mapping[str, Any]) -> str:
    """The whole system prompt of a captured request."""
    system = request.get("system", "")
    return system if isinstance(system, str) else "\n".join(part["text"] for part in system)


def user_texts(request: Mapping[str, Any]) -> list[str]:
    """The text blocks of the user's messages in a captured request, in order."""
    texts: list[str] = []
    for message in request["messages"]:
        content = message["content"]
        if message["role"] == "user":
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            texts += [block["text"] for block in blocks if block["type"] == "text"]
    return texts


def tool_names(request: Mapping[str, Any]) -> set[str]:
    """The tools that a captured request offers to the model."""
    return {tool["name"] for tool in request["tools"]}


def tool_results(request: Mapping[str, Any]) -> list[str]:
    """What the tools answered, in order, as text."""
    found: list[str] = []
    for message in request["messages"]:
        if message["role"] == "user" and not isinstance(message["content"], str):
            results = [block["content"] for block in message["content"] if block["type"] == "tool_result"]
            found += [result if isinstance(result, str) else json.dumps(result) for result in results]
    return found


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as the stream that the API would send."""
    usage = message["usage"]
    empty = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": empty}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            start = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined by server_close(): nothing of a test is left running

    def __init__(self, api: ModelApi) -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of an answer is no trouble of this server."""

    def hang_up(self) -> None:
        """End the connections that clients keep open."""
        with self._lock:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one write
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        path = self.path.partition("?")[0]
        if path == "/v1/messages":
            self._message(json.loads(body))
            return
        self.server.api.asides.append(f"POST {self.path}")
        if path == "/v1/messages/count_tokens":
            self._send(200, {"input_tokens": 10})
        else:
            self._send(404, _failure("not_found_error", "no such thing"))

    def do_GET(self) -> None:
        self.server.api.asides.append(f"{self.command} {self.path}")
        self._send(404, _failure("not_found_error", "no such thing"))

    def do_HEAD(self) -> None:
        self.server.api.asides.append(f"{self.command} {self.path}")
        self._send(200, {})

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _message(self, request: dict[str, Any]) -> None:
        reply = self.server.api.answer(request)
        if reply.status != 200:
            self._send(reply.status, {"type": "error", "error": dict(reply.failure)}, reply.headers)
            return
        message = self.server.api.message(reply, request["model"])
        if request.get("stream"):
            lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in _events(message)]
            self._send_bytes(200, "".join(lines).encode(), {"content-type": "text/event-stream", **reply.headers})
        else:
            self._send(200, message, reply.headers)

    def _send(self, status: int, data: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(data).encode(), {"content-type": "application/json", **(headers or {})})

    def _send_bytes(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"request-id": "req_1", **headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _failure(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}
