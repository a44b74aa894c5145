"""How well GitHub can be reached: faults that were asked for, a share that fails by itself, outages, slow answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.twin.faults import Faults, Kind, apply_then, apply_then_reset, cut, html, reset, short, status
from orchestrator.twin.world import Comment, Issue
from tests.histories.direct import Sent, Wire
from tests.histories.turns import Turns

SECONDARY = {"message": "You have exceeded a secondary rate limit."}
LATE = 8  # seconds; the daemon looks for what it wrote after 10
SPENT = {"message": "API rate limit exceeded for user ID 1."}
PASSING: list[Kind] = [status(500), status(502), status(503), reset(), cut(), short(), html()]
PASSING += [apply_then(500), apply_then(502), apply_then_reset()]
PASSING += [status(429, SECONDARY, {"Retry-After": "20"}), status(403, SECONDARY)]


def spent(now: float, seconds: float) -> Kind:
    """The primary limit is used up."""
    said = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(now + seconds))}
    return status(403, SPENT, said)


@dataclass
class Outage:
    """Every request meets one of these until then; `git`: those to the git host, too."""

    kinds: list[Kind]
    until: float
    git: bool = True


class Weather(Faults):
    """In place of the local GitHub's faults; `edge` is called around each request."""

    def __init__(
        self, clock: Turns, dice: random.Random, edge: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        """`changed` is called after each request that may have changed something."""
        super().__init__()
        self._changed = changed
        self._clock = clock
        self._dice = dice
        self._edge = edge
        self.share = 0.0  # of the requests that fail by themselves
        self.slow = 0.0  # of the requests that take their time
        self.outage = Outage([], 0.0)
        self.struck = 0

    def run_hooks(self, method: str, path: str, body: Any, after: bool) -> None:
        if not after and self._dice.random() < self.slow:
            self._clock.pause(self._dice.choice((0.2, 1, 3)))
        if after and method != "GET":
            self._changed()
        self._edge("request" if not after else "answer")
        super().run_hooks(method, path, body, after)

    def strike(self, method: str, path: str, body: Any) -> Kind | None:
        kind = super().strike(method, path, body) or self._passing(path.endswith(("info/refs", "receive-pack")))
        self.struck += kind is not None
        return kind

    def _passing(self, git: bool) -> Kind | None:
        if self._clock.now() < self.outage.until and (self.outage.git or not git):
            return self._dice.choice(self.outage.kinds)
        return self._dice.choice(PASSING) if self._dice.random() < self.share else None

    def fine(self) -> None:
        """Nothing fails from now on."""
        self.clear()
        self._hooks.clear()
        self.share = self.slow = 0.0
        self.outage = Outage([], 0.0)


@dataclass
class SimWire(Wire):
    """Looks at everything that leaves, and can hide changes behind `304`."""

    stale_until: float = 0.0
    leaks: list[str] = field(default_factory=list)

    def requestJson(
        self, method: str, address: str, parameters: Mapping[str, Any], headers: Mapping[str, str], input: Any
    ) -> Sent:
        if self.token in f"{address}{parameters}{input}":
            self.leaks.append(f"{method} {address}")
        if self._late():
            self._answers.clear()  # what shows late comes nearer by each reading
        if self.clock.now() < self.stale_until and "If-None-Match" in headers:
            self.clock.alive()
            return 304, {"etag": headers["If-None-Match"]}, ""
        return super().requestJson(method, address, parameters, headers, input)

    def _late(self) -> bool:
        """Whether a list shows less than there is; nothing is late for longer than the daemon waits for it."""
        now = self.twin.world.now()
        found = False
        for repo in self.twin.world.repos.values():
            for pull in repo.pulls:
                if pull.merged_at is not None and pull.merged_at + LATE <= now:
                    pull.merged_hidden = 0
            for issue in repo.issues.values():
                things: list[Issue | Comment] = [issue, *issue.comments]
                for thing in things:
                    if thing.hidden and thing.created_at + LATE <= now:
                        thing.hidden = 0
                    found = found or thing.hidden > 0
        return found
