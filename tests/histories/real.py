"""The real stage: HTTP, git and commands as they are. Slow; it shows that the fast one tells the truth."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

from orchestrator.daemon import Daemon
from orchestrator.errors import Missing
from orchestrator.record import Job
from orchestrator.settings import Settings
from orchestrator.state import State
from tests.histories.log import Bugs
from tests.histories.stage import SETTINGS, Stage
from tests.house import House

LOOP = "daemon"


class RealStage(Stage):
    """A killed daemon is one that is told to stop in the midst of a request: a test cannot kill its own process."""

    def __init__(self, folder: Path, bugs: Bugs, **settings: Any) -> None:
        """`settings`: on top of those of every history."""
        super().__init__()
        self.house = House(folder, page=100, **{**SETTINGS, **settings})
        self.state_file = self.house.options["state_file"]
        self.github, self.repo, self.clock = self.house.github, self.house.repo, self.house.clock
        self.daemon = None
        self._bugs = bugs
        self._happened = 0
        self._since = 0
        self._lost = False
        self._move = self.clock.advance
        self._patch = patch.object(self.clock, "advance", self._advance)
        self._patch.start()
        self.furnish()
        self.oracle.watch()
        self.start()

    def _advance(self, seconds: float) -> None:
        self._since = self._happened
        self._move(seconds)

    def start(self) -> None:
        """Start the daemon; where GitHub does not let it in, the service tries again."""
        checked = Settings(**self.house.options)
        while self.daemon is None:
            state = State.open(checked.state_file)
            try:
                self.daemon = Daemon(checked, self.house.token, state, clock=self.clock)
            except Missing:
                state.close()
                self.clock.advance(60)
        daemon = self.daemon

        def loop() -> None:
            daemon.loop(once=False)

        self.clock.start(loop, LOOP)
        self.clock.settle()

    def _revive(self) -> None:
        """Start again what a kill ended."""
        while self.daemon is not None and self.daemon.halt.is_set():
            self.clock.settle()
            self.daemon = None
            if self._lost:
                self._forget()
            self.restarts += 1
            self.start()

    def _forget(self) -> None:
        state = self.house.options["state_file"]
        for file in state.parent.glob(f"{state.name}*"):
            file.unlink()
        self.oracle.forgotten(self.now())

    def now(self) -> float:
        return self.clock.now()

    def happened(self) -> int:
        return self._happened

    def count(self) -> None:
        self._happened += 1

    def since(self) -> int:
        return self._since

    def midst(self) -> bool:
        return False

    def passes(self, seconds: float) -> None:
        end = self.now() + seconds
        while True:
            self.clock.settle()
            self._revive()
            with self.clock._change:
                earliest = min((waiter.until for waiter in self.clock._waiters), default=end)
            if earliest >= end:
                break
            self.clock.advance(max(0.0, earliest - self.now()))
        self.clock.advance(max(0.0, end - self.now()))
        self.clock.settle()

    def jumps(self, seconds: float) -> None:
        self.clock.settle()
        self.clock.advance(seconds)
        self.clock.settle()
        self._revive()

    def restarts_daemon(self, lost: bool) -> None:
        self.clock.settle()
        self._lost = lost
        assert self.daemon is not None
        self.daemon.halt.set("the history stops it")
        self._revive()

    def kills(self, match: str, nth: int, after: bool, lost: bool) -> None:
        def dies() -> None:
            if self.daemon is not None:
                self._lost = lost
                self.daemon.halt.set("the history kills it")

        self.github.faults.hook(match, dies, nth, after)

    @property
    def jobs(self) -> list[Job]:
        return list(self.daemon.state.jobs.values()) if self.daemon else []

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        found = self.github.journal.mutations
        return [(one.method, one.path, one.status) for one in found if one.login == "robot"]

    def trouble(self) -> list[str]:
        dead = [] if any(thread.name == LOOP for thread in threading.enumerate()) else ["the loop ended"]
        return [*dead, *self._bugs.told, *self.github.journal.unknown]

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.halt.set("the history ends")
            self.clock.settle()
        self._patch.stop()
        self.oracle.unwatch()
        self.house.close()
