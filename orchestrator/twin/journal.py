"""Every exchange the twin had, and the bookkeeping of which changes a test expected."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

_MUTATION = re.compile(r"\s*mutation\b[^{]*\{\s*(\w+)")
_REPO_PREFIX = re.compile(r"^/(repos/[^/]+/[^/]+|repositories/\d+)/")


@dataclass(frozen=True)
class Exchange:
    """One request and what was answered; status 0 means the connection was dropped without an answer."""

    number: int
    method: str
    path: str  # without the query
    query: dict[str, str]
    body: Any  # parsed JSON of the request, or None
    status: int
    headers: dict[str, str]  # of the response, lower-case keys
    answer: Any  # parsed JSON of the response (as it was before a fault cut it), or None
    login: str  # who called; "" for an unknown token
    git: bool = False

    @property
    def short(self) -> str:
        """As patterns name it best: `METHOD path` without the repository, or what GraphQL is asked."""
        return _asked(self.path, self.body) or f"{self.method} {_REPO_PREFIX.sub('', self.path)}"

    @property
    def changes(self) -> bool:
        """Whether it can have changed something; git changes are listed as PUSH."""
        if self.git:
            return self.method == "PUSH"
        return self.method != "GET" and not self.short.startswith("QUERY ")


def matches(pattern: str, method: str, path: str, body: Any = None) -> bool:
    """fnmatch of `METHOD path`, with or without the repository's prefix (`*` crosses slashes); of GraphQL also of
    `QUERY OperationName` or `MUTATE fieldName`."""
    short = _REPO_PREFIX.sub("", path)
    forms = [f"{method} {form}" for form in (path, short, short.lstrip("/"))]
    return any(fnmatchcase(form, pattern) for form in [*forms, _asked(path, body) or ""])


def _asked(path: str, body: Any) -> str | None:
    """What a GraphQL request is for; None for any other request."""
    if path != "/graphql" or not isinstance(body, dict):
        return None
    found = _MUTATION.match(str(body.get("query")))
    return f"MUTATE {found[1]}" if found else f"QUERY {body.get('operationName')}"


@dataclass
class Journal:
    """Thread-safe list of exchanges in the order in which they ended."""

    _entries: list[Exchange] = field(default_factory=list)
    _unknown: list[str] = field(default_factory=list)
    _claimed: set[int] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def record(self, **fields: Any) -> None:
        """Add an exchange; its number is given here."""
        with self._changed:
            self._entries.append(Exchange(number=len(self._entries) + 1, **fields))
            self._changed.notify_all()

    def record_unknown(self, request: str) -> None:
        """Note a request that the twin does not know; a test must fail on it."""
        with self._changed:
            self._unknown.append(request)

    @property
    def exchanges(self) -> list[Exchange]:
        with self._changed:
            return list(self._entries)

    @property
    def unknown(self) -> list[str]:
        """Requests answered 501."""
        with self._changed:
            return list(self._unknown)

    @property
    def mutations(self) -> list[Exchange]:
        """Everything that can have changed something, pushed refs included."""
        return [e for e in self.exchanges if e.changes]

    def find(self, pattern: str) -> list[Exchange]:
        """The exchanges that match, e.g. `POST issues/42/comments` or `MUTATE dequeuePullRequest`."""
        return [e for e in self.exchanges if matches(pattern, e.method, e.path, e.body)]

    def count(self, pattern: str) -> int:
        """How many exchanges match."""
        return len(self.find(pattern))

    def claim(self, pattern: str, times: int | None = None) -> list[Exchange]:
        """Say that these mutations were expected; exactly `times` of them, else at least one. AssertionError if not."""
        found = [e for e in self.find(pattern) if e.changes]
        with self._changed:
            self._claimed.update(e.number for e in found)
        if len(found) != times if times is not None else not found:
            wanted = "at least one" if times is None else str(times)
            raise AssertionError(f"expected {wanted} of {pattern!r}, saw {len(found)}; mutations: {self._shown()}")
        return found

    def unclaimed(self, login: str | None = None) -> list[str]:
        """Mutations nobody expected, as `METHOD path → status`; of one login or of all."""
        with self._changed:
            claimed = set(self._claimed)
        return [_show(e) for e in self.mutations if e.number not in claimed and login in (None, e.login)]

    def wait_for(self, condition: Callable[[], bool], timeout: float = 10.0) -> bool:
        """Block until `condition` holds, looked at after every exchange; False after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            with self._changed:
                seen = len(self._entries)
            # Outside our lock, because a condition takes the world's and the server takes both.
            if condition():
                return True
            if not self._longer_than(seen, end - time.monotonic()):
                return condition()

    def _longer_than(self, seen: int, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._entries) > seen, max(0.0, seconds))

    def _shown(self) -> str:
        return "; ".join(_show(e) for e in self.mutations) or "none"


def _show(exchange: Exchange) -> str:
    return f"{exchange.short} → {exchange.status}"
