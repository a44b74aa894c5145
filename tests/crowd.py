"""A repository with many open items on a local GitHub without a socket, and a feed that looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from github import Github

from orchestrator.clock import Stop
from orchestrator.github.api import Api
from orchestrator.github.feed import Feed
from orchestrator.github.transport import Transport
from orchestrator.model import IN_PROGRESS, World
from orchestrator.state import RepoMemory
from orchestrator.twin import acts
from orchestrator.twin.api import Request
from orchestrator.twin.handles import RepoHandle
from orchestrator.twin.say import Person
from orchestrator.twin.world import Issue
from tests.histories.direct import URL, QuietTwin
from tests.histories.objects import Objects
from tests.histories.turns import Turns

POLL = 60.0


class Line:
    """What `Transport` asks of PyGithub's requester, answered by a local GitHub without a socket."""

    graphql_url = f"{URL}/graphql"

    def __init__(self, twin: QuietTwin, token: str) -> None:
        self.twin, self.token = twin, token
        self.asked: list[str] = []
        self.broken = self.missing = ""  # the end of a path that meets trouble, or 404

    def requestJson(
        self, method: str, address: str, parameters: Mapping[str, Any], headers: Mapping[str, str], input: Any
    ) -> tuple[int, dict[str, str], str]:
        split = urlsplit(address)
        if self.broken and split.path.endswith(self.broken):
            raise requests.ConnectionError("the connection was reset")
        query = {**dict(parse_qsl(split.query)), **{name: str(value) for name, value in parameters.items()}}
        sent = {"authorization": f"Bearer {self.token}", **{name.lower(): value for name, value in headers.items()}}
        path = f"{split.path}000" if self.missing and split.path.endswith(self.missing) else split.path
        got = self.twin.api.answer(Request(method, path, query, sent, input, URL))
        short = "/".join(split.path.split("/")[3 if split.path.startswith("/repositories/") else 4 :]) or "repo"
        self.asked.append(f"{method} {short} {got.status}")
        seen = {name.lower(): value for name, value in got.headers.items()}
        return got.status, {**seen, "date": formatdate(self.twin.world.now(), usegmt=True)}, got.body.decode()


class Crowd:
    """A repository with so many open items, a tenth of them pull requests, and a feed that looks at it."""

    def __init__(self, items: int) -> None:
        self.clock = Turns()
        self.twin = QuietTwin(Objects(), self.clock)
        self.world = self.twin.world
        self.repo = RepoHandle(self.world, URL, self.twin.make("acme/app"))
        Person(self.world, URL, self.repo.thing.owner).pushes(self.repo, "main", {"a.txt": "one"})
        self.alice = self.twin.user("alice", self.repo, permission="write")
        robot = self.twin.user("robot", self.repo, permission="write")
        self.line = Line(self.twin, self.twin.token(robot))
        self.alice.pushes(self.repo, "topic", {"b.txt": "two"})
        self.things = [self._opens(number, items) for number in range(1, items + 1)]
        self.alice.pushes(self.repo, "last", {"c.txt": "three"})
        self.pull = self.alice.opens_pr(self.repo, "last")
        self.clock.time += 7200
        self.memory: RepoMemory | None = None
        self.fresh()

    def _opens(self, number: int, items: int) -> Issue:
        self.clock.time += 10
        alice, repo = self.alice.thing, self.repo.thing
        if number % 10 == 5:
            return acts.open_pull(self.world, repo, alice, (repo, "topic"), "main", f"{number}", "", draft=False).issue
        return acts.open_issue(self.world, repo, alice, f"{number} of {items}", "Please.")

    def fresh(self) -> None:
        """Another feed, as after a restart; the memory is what a file would give back."""
        if self.memory is not None:
            self.memory = RepoMemory(**json.loads(json.dumps(vars(self.memory))))
        self.transport = Wired(self.line, self.clock)
        self.feed = Feed(Api(self.transport, "acme/app"), "ready", IN_PROGRESS)

    def look(self, *busy: int, ended: int = 0) -> World:
        """A poll, a minute after the last one."""
        self.clock.time += POLL
        self.line.asked.clear()
        world, self.memory = self.feed.look(self.memory, frozenset(busy), False, frozenset((ended,)))
        return world

    @property
    def asked(self) -> list[str]:
        """What the last poll asked, and what was answered."""
        return list(self.line.asked)

    @property
    def counted(self) -> int:
        """Requests that GitHub counted since the hour began."""
        return self.world.tokens[self.line.token].used


class Wired(Transport):
    """The transport over such a line."""

    def __init__(self, line: Line, clock: Turns) -> None:
        super().__init__(URL, line.token, clock, Stop())
        self._line = line

    def _client(self) -> Github:
        return cast("Github", SimpleNamespace(requester=self._line))
