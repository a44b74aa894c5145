"""A run's stream file as a person reads it: what the agent said, which tools it called, how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.printable import printable
from orchestrator.record import Job

_PAUSE = 0.2  # seconds between two looks at a growing file
_MOST = 400  # characters of a tool call or of its answer
_TELLING = ("command", "file_path", "path", "pattern", "url", "query", "description")


def header(job: Job) -> str:
    """Which run is shown, and the file that it is read from."""
    run = f", run {job.run_id[:8]}" if job.run_id else ""
    return printable(f"{job.repo}#{job.number} {job.kind.value}, attempt {job.attempt}{run}: {job.log}")


def silence(file: Path, running: bool) -> str:
    """The sentence for a run of which nothing was shown; the errors of an agent are in a file beside its stream."""
    if file.stat().st_size:
        what = "This run wrote nothing that a person can read; --raw shows all of it"
    else:
        what = f"This run {'has written nothing yet' if running else 'wrote nothing'}"
    errors = file.with_name(f"{file.name}.stderr")
    more = f"; its error messages are in {errors}" if errors.is_file() and errors.stat().st_size else ""
    return printable(f"{what}{more}.")


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


class Reader:
    """The stream of one run for a person, line by line; what was said once is not said again at the end."""

    def __init__(self) -> None:
        self._said = ""

    def readable(self, line: bytes) -> str | None:
        """One line of the stream; None when it says nothing to a person."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            return printable(text, "\t") or None
        try:
            return self._event(event)
        except (AttributeError, KeyError, TypeError, ValueError):
            # An event of another shape than known is shown as it is, never lost.
            return printable(_short(text))

    def _event(self, event: dict[str, Any]) -> str | None:
        kind = (event.get("type"), event.get("subtype"))
        if kind == ("system", "init"):
            started = f"{event.get('model', 'unknown model')}, session {event.get('session_id', '-')}"
            return printable(f"-- started: {started}")
        if kind == ("system", "api_retry"):
            tries = f"try {event['attempt']} of {event['max_retries']}"
            return printable(f"-- the API answered {event.get('error')}; {tries}")
        if kind[0] == "rate_limit_event" and event["rate_limit_info"].get("status") != "allowed":
            info = event["rate_limit_info"]
            return printable(f"-- usage limit: {info['status']} ({info.get('rateLimitType', 'unnamed')})")
        if kind[0] in ("assistant", "user"):
            content = event["message"]["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            shown = [text for block in blocks if (text := _block(block))]
            if kind[0] == "assistant":
                self._said = next((b["text"] for b in reversed(blocks) if b["type"] == "text"), self._said)
            return "\n".join(shown) or None
        return self._result(event) if kind[0] == "result" else None

    def _result(self, event: dict[str, Any]) -> str:
        # An API failure ends with subtype "success" and is_error true: the flag is what counts.
        end = event.get("terminal_reason") or event.get("subtype") if event.get("is_error") else "done"
        spent = f"{event.get('num_turns', 0)} turns, {event.get('duration_ms', 0) / 1000:.0f} s"
        head = f"== {end}: {spent}, ${event.get('total_cost_usd') or 0:.2f}"
        said = [str(one) for one in event.get("errors") or (event.get("result") or "",)]
        new = [one for one in said if one.strip() and one.strip() != self._said.strip()]
        return printable("\n".join([head, *new]), "\n\t")


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


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}... ({len(text)} characters)"
