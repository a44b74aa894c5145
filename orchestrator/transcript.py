"""A run's stream file as a person reads it: what the agent said, which tools it called, how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.printable import printable

_PAUSE = 0.2  # seconds between two looks at a growing file
_MOST = 400  # characters of a tool call or of its answer
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description")


def lines(file: Path, goes_on: Callable[[], bool], wait: Callable[[float], object]) -> Iterator[bytes]:
    """The file's lines as they are written, until nothing is left and `goes_on` says no; OSError when it is gone.

    `wait(seconds)` is called between two looks at a file that has not grown.
    """
    with file.open("rb") as stream:
        rest = b""
        last_look = False
        while True:
            chunk = stream.read(1 << 20)
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in whole)
            if chunk:
                continue
            if last_look:
                break
            # What was written between the look and the answer is fetched by one look more.
            last_look = not goes_on()
            if not last_look:
                wait(_PAUSE)
        if rest:
            yield rest


def readable(line: bytes) -> str | None:
    """One line of the stream for a person; None when it says nothing to one."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        return printable(text, "\t") or None
    try:
        return _event(event)
    except (AttributeError, KeyError, TypeError, ValueError):
        # An event of another shape than known is shown as it is, never lost.
        return printable(_short(text))


def _event(event: dict[str, Any]) -> str | None:
    kind = (event.get("type"), event.get("subtype"))
    if kind == ("system", "init"):
        return printable(f"-- started: {event.get('model', 'unknown model')}, session {event.get('session_id', '-')}")
    if kind == ("system", "api_retry"):
        return printable(f"-- the API answered {event.get('error')}; try {event['attempt']} of {event['max_retries']}")
    if kind[0] == "rate_limit_event" and event["rate_limit_info"].get("status") != "allowed":
        info = event["rate_limit_info"]
        return printable(f"-- usage limit: {info['status']} ({info.get('rateLimitType', 'unnamed')})")
    if kind[0] in ("assistant", "user"):
        content = event["message"]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return "\n".join(shown for block in blocks if (shown := _block(block))) or None
    return _result(event) if kind[0] == "result" else None


def _block(block: dict[str, Any]) -> str | None:
    if block["type"] == "text":
        return printable(block["text"], "\n\t").strip() or None
    if block["type"] == "tool_use":
        given = block.get("input") or {}
        told = next((str(given[name]) for name in _TELLING if name in given), json.dumps(given))
        return printable(f"> {block['name']}: {_short(told)}")
    if block["type"] == "tool_result":
        content = block.get("content") or ""
        if isinstance(content, list):
            content = "\n".join(str(part.get("text", "")) for part in content)
        first, *more = content.strip().splitlines() or [""]
        mark = "!" if block.get("is_error") else "<"
        return printable(f"  {mark} {_short(first)}" + (f" (and {len(more)} more lines)" if more else ""))
    return None


def _result(event: dict[str, Any]) -> str:
    # An API failure ends with subtype "success" and is_error true: the flag is what counts.
    end = event.get("terminal_reason") or event.get("subtype") if event.get("is_error") else "done"
    spent = f"{event.get('num_turns', 0)} turns, {event.get('duration_ms', 0) / 1000:.0f} s"
    head = f"== {end}: {spent}, ${event.get('total_cost_usd') or 0:.2f}"
    said = [str(e) for e in event.get("errors") or ()] or ([str(event["result"])] if event.get("result") else [])
    return printable("\n".join([head, *said]), "\n\t")


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}... ({len(text)} characters)"
