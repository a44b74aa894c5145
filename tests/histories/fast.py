"""The fast stage: the real daemon, jobs, effects and rules of GitHub; no socket, no git process, turns for threads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from pydantic import SecretStr

from orchestrator.agents.base import Agent
from orchestrator.daemon import Daemon
from orchestrator.errors import Missing
from orchestrator.record import Job
from orchestrator.settings import Settings
from orchestrator.twin.handles import RepoHandle
from orchestrator.twin.say import Person
from tests.histories.direct import URL, QuietTwin, Wire, transport
from tests.histories.log import Bugs
from tests.histories.mirror import MemoryMirror, MemoryWorktree, shell
from tests.histories.objects import MemoryRepository, Objects
from tests.histories.quickstate import QuickState
from tests.histories.stage import BASES, NAME, SETTINGS, Stage
from tests.histories.turns import Turns

COMMAND_SECONDS = 45.0


@cache
def _settings(folder: Path) -> Settings:
    return Settings(
        **SETTINGS,
        github_api_url=URL,
        github_token=SecretStr("ghp_unused"),
        worktree_base=folder / "worktrees",
        state_file=folder / "state.json",
    )


class FastStage(Stage):
    """`folder` may be used again by the next history."""

    agent: Agent | None = None
    worktree: type[MemoryWorktree] = MemoryWorktree

    def __init__(self, folder: Path, bugs: Bugs) -> None:
        super().__init__()
        self._bugs = bugs
        self.clock = Turns()
        objects = Objects()
        self.twin = self.github = QuietTwin(objects, self.clock)
        thing = self.twin.make(NAME)
        self.repo = RepoHandle(self.twin.world, URL, thing)
        Person(self.twin.world, URL, thing.owner).pushes(self.repo, BASES[0], {"README.md": "hello"}, "First")
        self.furnish()
        self.wire = Wire(self.twin, self.clock, self.token)
        assert isinstance(thing.bare, MemoryRepository)
        self.mirror = self.mirror_of(thing.bare)
        self.settings = self.settings_in(folder)
        self.state_file = self.settings.state_file
        self.forget_state()
        self.daemon = None
        self._lost = False
        self._patches: list[Any] = [
            patch("orchestrator.daemon.Transport", transport(self.wire)),
            patch("orchestrator.watch.Mirror", lambda *_, **__: self.mirror),
            patch("orchestrator.jobs.desk.Worktree", self.worktree),
            patch("orchestrator.process.shell", shell(self.mirror, self.clock, COMMAND_SECONDS, _good)),
            patch("orchestrator.process.sweep", lambda _: 0),
            patch("orchestrator.jobs.desk._end_of", lambda _: b""),
            # There is nothing on the disk to tidy up.
            patch("orchestrator.watch.Watch.tidy_up", lambda *_: None),
            patch("orchestrator.chores.sweep_scratch", lambda _: None),
            patch("orchestrator.jobs.desk.Desk.new_log", lambda _, name: folder / name),
        ]
        for one in self._patches:
            one.start()
        self.oracle.watch()
        self.clock.time += 3600
        self.start()

    def settings_in(self, folder: Path) -> Settings:
        return _settings(folder)

    def mirror_of(self, bare: MemoryRepository) -> MemoryMirror:
        return MemoryMirror(bare, self.fetches)

    def fetches(self) -> bool:
        """One fetch; whether the host answers."""
        faults = self.twin.faults
        faults.run_hooks("GET", f"/{NAME}.git/info/refs", None, after=False)
        self.clock.alive()
        return faults.strike("GET", f"/{NAME}.git/info/refs", None) is None

    def start(self) -> None:
        """Start the daemon; where GitHub does not let it in, the service tries again."""
        while True:
            state = QuickState.open(self.settings.state_file)
            try:
                daemon = Daemon(self.settings, self.token, state, agent=self.agent, clock=self.clock)
                break
            except Missing:
                state.close()
                self.clock.time += 60
        self.daemon = daemon

        def loop() -> None:
            daemon.loop(once=False)

        self.clock.start(loop, "daemon")
        self.clock.settle()
        self._bury()

    def _bury(self) -> None:
        """After a kill: what the disk had is what the next one finds."""
        while self.clock.killed and self.daemon is not None:
            self.clock.kill()
            self.daemon.state.close()
            self.daemon = None
            if self._lost:
                self.forget_state()
            self.restarts += 1
            self.start()

    def forget_state(self) -> None:
        state = self.settings.state_file
        for file in (state, state.with_name(f"{state.name}.prev")):
            file.unlink(missing_ok=True)
        self.oracle.forgotten(self.now())

    def now(self) -> float:
        return self.clock.time

    def happened(self) -> int:
        return self.clock.happened

    def count(self) -> None:
        self.clock.happened += 1

    def since(self) -> int:
        return self.clock.since()

    def midst(self) -> bool:
        return self.clock.pausing > 0

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._bury()

    def jumps(self, seconds: float) -> None:
        self.clock.jump(seconds)
        self._bury()

    def restarts_daemon(self, lost: bool) -> None:
        assert self.daemon is not None
        self.daemon.halt.set("the test stops it")
        self.clock.settle()
        self._lost = lost
        if not self.clock.killed:
            if lost:
                self.forget_state()
            self.restarts += 1
            self.start()
        self._bury()

    def kills(self, match: str, nth: int, after: bool, lost: bool) -> None:
        def dies() -> None:
            if self.clock.working():
                self._lost = lost
                self.clock.killed = True

        self.twin.faults.hook(match, dies, nth, after)

    @property
    def jobs(self) -> list[Job]:
        return list(self.daemon.state.jobs.values()) if self.daemon else []

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        return self.wire.writes

    def trouble(self) -> list[str]:
        dead = [] if self.daemon and self.clock.has("daemon") else ["the loop ended"]
        return [*dead, *self._bugs.told, *map(repr, self.clock.broke), *self.twin.journal.unknown]

    def close(self) -> None:
        if self.daemon is not None:
            cast("QuickState", self.daemon.state).worth = False
            self.daemon.halt.set("the history ends")
            self.clock.settle()
        for one in self._patches:
            one.stop()
        self.oracle.unwatch()


def _good(files: Mapping[str, bytes]) -> bool:
    return "bad" not in files
