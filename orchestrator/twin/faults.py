"""Trouble as data: which request fails how, and what happens around a request.

A fault counts the requests that match it from the moment it was added: it strikes from the `nth` one on,
`times` times. Faults that apply first and fail afterwards are the ones that find doubled effects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from orchestrator.twin.journal import matches


class Trouble(str, Enum):
    """How a request goes wrong."""

    STATUS = "status"  # refused before it does anything
    DELAY = "delay"  # answered normally, late
    HANG = "hang"  # applied never, answered never
    RESET = "reset"  # connection dropped before it does anything
    CUT = "cut"  # applied; half the body under the full Content-Length, then closed
    SHORT = "short"  # applied; half the body with a matching Content-Length
    STALL = "stall"  # applied; the head and half the body, then silence
    HTML = "html"  # 200 and a web page; not applied
    APPLY_THEN_STATUS = "apply_then_status"
    APPLY_THEN_RESET = "apply_then_reset"


@dataclass(frozen=True)
class Kind:
    """A trouble and its numbers; made by the functions below."""

    trouble: Trouble
    code: int = 0
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def status(code: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Kind:
    """Refuse with this status; `body` is sent as JSON (text as it is), by default GitHub's `message` form."""
    return Kind(Trouble.STATUS, code=code, body=body, headers=headers or {})


def delay(seconds: float) -> Kind:
    """Answer normally after `seconds`."""
    return Kind(Trouble.DELAY, seconds=seconds)


def hang() -> Kind:
    """Never answer; ends when the client gives up or the twin closes."""
    return Kind(Trouble.HANG)


def reset() -> Kind:
    """Drop the connection before anything was done."""
    return Kind(Trouble.RESET)


def cut() -> Kind:
    """Send half of the announced body, then close."""
    return Kind(Trouble.CUT)


def short() -> Kind:
    """Send half of the body as if it were whole: it arrives well and does not parse."""
    return Kind(Trouble.SHORT)


def stall() -> Kind:
    """Send the head and half of the body, then nothing more until the client gives up or the twin closes."""
    return Kind(Trouble.STALL)


def html() -> Kind:
    """Answer 200 with a web page."""
    return Kind(Trouble.HTML)


def apply_then(code: int) -> Kind:
    """Do what was asked, then answer with this status (kodiak#397: GitHub answers 5xx after merging)."""
    return Kind(Trouble.APPLY_THEN_STATUS, code=code)


def apply_then_reset() -> Kind:
    """Do what was asked, then drop the connection."""
    return Kind(Trouble.APPLY_THEN_RESET)


@dataclass(frozen=True)
class Fault:
    """From the `nth` request that matches (`PUT */pulls/*/merge`), `times` times, `kind` happens."""

    match: str
    kind: Kind
    nth: int = 1
    times: int = 1


@dataclass
class _Armed:
    fault: Fault
    seen: int = 0


@dataclass
class _Hook:
    match: str
    call: Callable[[], object]
    nth: int
    after: bool
    seen: int = 0


class Faults:
    """The faults and hooks of one twin. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._hooks: list[_Hook] = []

    def add(self, fault: Fault) -> None:
        """Arm a fault; it counts from now on."""
        with self._lock:
            self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Disarm everything that has not struck yet."""
        with self._lock:
            self._armed.clear()

    def hook(self, match: str, call: Callable[[], object], nth: int, after: bool) -> None:
        """Call `call` once, around the `nth` request that matches."""
        with self._lock:
            self._hooks.append(_Hook(match, call, nth, after))

    def strike(self, method: str, path: str, body: Any) -> Kind | None:
        """The trouble this request meets, if any; every matching fault counts it."""
        struck: Kind | None = None
        with self._lock:
            for armed in self._armed:
                if not matches(armed.fault.match, method, path, body):
                    continue
                armed.seen += 1
                if struck is None and armed.fault.nth <= armed.seen < armed.fault.nth + armed.fault.times:
                    struck = armed.fault.kind
        return struck

    def run_hooks(self, method: str, path: str, body: Any, after: bool) -> None:
        """Run what was asked for before or after this request, in the calling thread, without any lock."""
        due: list[Callable[[], object]] = []
        with self._lock:
            for hook in self._hooks:
                if hook.after is after and matches(hook.match, method, path, body):
                    hook.seen += 1
                    if hook.seen == hook.nth:
                        due.append(hook.call)
        for call in due:
            call()
