"""From the daemon's transport to the local GitHub's endpoints, without a socket; faults strike as on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from github import Github

from orchestrator.clock import Clock, Stop
from orchestrator.github.transport import Answer, Transport, _Passing
from orchestrator.twin.api import Api, Request
from orchestrator.twin.faults import Faults, Kind, Trouble
from orchestrator.twin.journal import Journal
from orchestrator.twin.twin import Twin
from orchestrator.twin.world import Repository, World
from tests.histories.objects import MemoryRepository, Objects
from tests.histories.turns import Turns

_NOWHERE = Path("/nowhere")
URL = "http://127.0.0.1:9"  # nobody listens there
_SAME = re.compile(r"/(issues|comments|pulls|reviews|permission|branches/.*|rules/.*|ref/.*|check-runs|status)$")
Sent = tuple[int, dict[str, str], str]

_date = lru_cache(64)(lambda now: formatdate(now, usegmt=True))


class QuietTwin(Twin):
    """The same GitHub, with its git in memory, and no server."""

    def __init__(self, objects: Objects, clock: Turns) -> None:
        self.world = World(_NOWHERE, clock.now, mergeable_after=1)
        self.journal = Journal()
        self.faults = Faults()
        self.api = Api(self.world, self.journal, 100)
        self.objects = objects

    @property
    def url(self) -> str:
        return URL

    def close(self) -> None:
        """Nothing is open."""

    def make(self, name: str) -> Repository:
        """An empty repository `owner/name`."""
        owner, _, short = name.partition("/")
        number = self.world.new_id()
        bare = MemoryRepository(_NOWHERE / f"{number}.git", self.objects)
        now = self.world.now()
        repo = Repository(number, self.world.user(owner), short, bare, "main", now, now)
        self.world.repos[number] = repo
        return repo


@dataclass
class Wire:
    """What `Transport` asks of PyGithub's requester."""

    twin: QuietTwin
    clock: Turns
    token: str
    writes: list[tuple[str, str, int]] = field(default_factory=list)  # what was applied: method, path, status
    graphql_url: str = f"{URL}/graphql"
    _version: tuple[int, int] = (0, 0)
    _answers: dict[str, Sent] = field(default_factory=dict)

    def requestJson(
        self,
        method: str,
        address: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str],
        input: Any,
    ) -> Sent:
        """One exchange. ConnectionError or Timeout where none comes back; Killed in a daemon that is gone."""
        self.clock.alive()
        split = urlsplit(address)
        path = split.path
        query = {**dict(parse_qsl(split.query)), **{name: str(value) for name, value in parameters.items()}}
        faults = self.twin.faults
        faults.run_hooks(method, path, input, after=False)
        self.clock.alive()
        kind = faults.strike(method, path, input)
        if kind is not None and kind.trouble in (Trouble.STATUS, Trouble.RESET, Trouble.HTML):
            answered: Sent = _refused(kind)
        else:
            answered = self._applied(method, path, query, headers, input)
            if kind is not None:
                answered = _spoiled(answered, kind)
        faults.run_hooks(method, path, input, after=True)
        self.clock.alive()
        if answered[0] == 0:
            raise requests.ConnectionError("the connection was reset")
        answered[1]["date"] = _date(self.twin.world.now())
        return answered

    def _applied(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Sent:
        version = (self.clock.happened, len(self.writes))
        address = f"{path}?{query}"
        cached = method == "GET" and _SAME.search(path) is not None
        if cached and self._version == version and (known := self._answers.get(address)):
            # Nothing happened since, so GitHub says the same; it need not be put together again.
            if "If-None-Match" in headers and known[1].get("etag") == headers["If-None-Match"]:
                return 304, dict(known[1]), ""
            if known[0] != 304:
                return known[0], dict(known[1]), known[2]
        if self._version != version:
            self._answers.clear()
            self._version = version
        sent = {"authorization": f"Bearer {self.token}", **{name.lower(): value for name, value in headers.items()}}
        plain = json.loads(json.dumps(body)) if body is not None else None
        got = self.twin.api.answer(Request(method, path, query, sent, plain, URL))
        if method != "GET" and path != "/graphql":
            self.writes.append((method, path, got.status))
        lower = {name.lower(): value for name, value in got.headers.items()}
        answered = (got.status, lower, got.body.decode())
        if cached:
            self._answers[address] = answered
        return answered[0], dict(lower), answered[2]


def _refused(kind: Kind) -> Sent:
    if kind.trouble is Trouble.RESET:
        return 0, {}, ""
    if kind.trouble is Trouble.HTML:
        return 200, {"content-type": "text/html"}, "<!DOCTYPE html><html></html>"
    body = kind.body if kind.body is not None else {"message": f"Fault {kind.code}"}
    headers = {name.lower(): value for name, value in kind.headers.items()}
    return kind.code, headers, body if isinstance(body, str) else json.dumps(body)


def _spoiled(answered: Sent, kind: Kind) -> Sent:
    if kind.trouble is Trouble.APPLY_THEN_STATUS:
        return _refused(kind)
    if kind.trouble is Trouble.APPLY_THEN_RESET:
        return 0, {}, ""
    return answered[0], answered[1], answered[2][: len(answered[2]) // 2]


@dataclass
class _Client:
    requester: Wire

    def close(self) -> None:
        """Nothing is open."""


class _Gate:
    """In place of the lock around writes: who waits for it gives the turn away."""

    def __init__(self, clock: Turns) -> None:
        self._clock = clock
        self._taken = False

    def __enter__(self) -> None:
        while self._taken:
            self._clock.pause(1.0)
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


def transport(wire: Wire) -> Callable[..., Transport]:
    """In place of the class `Transport`: the same, over this wire."""

    class Direct(Transport):
        def __init__(self, url: str, token: str, clock: Clock, stop: Stop) -> None:
            super().__init__(url, token, clock, stop)
            self._writing = cast("Any", _Gate(wire.clock))

            self._first: Exception | None = None

        def _client(self) -> Github:
            return cast("Github", _Client(wire))

        def get(self, path: str, parameters: Mapping[str, str | int] | None = None, etag: str | None = None) -> Answer:
            """The same: only a first try that fails is worth the machinery of a second."""
            try:
                return super()._once("GET", path, parameters or {}, {"If-None-Match": etag} if etag else {}, None)
            except _Passing as trouble:
                self._first = trouble
                return super().get(path, parameters, etag)

        def _once(self, *given: Any, **named: Any) -> Answer:
            if self._first is not None:
                failed, self._first = self._first, None
                raise failed
            return super()._once(*given, **named)

    return Direct
