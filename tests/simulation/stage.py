"""Where a simulation happens: the real daemon with all three jobs over a GitHub, a git host and an agent in memory."""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr

from orchestrator.daemon import Daemon
from orchestrator.errors import Missing
from orchestrator.jobs.desk import place_folder
from orchestrator.model import TOO_OLD
from orchestrator.record import Job
from orchestrator.settings import Settings
from orchestrator.state import State
from orchestrator.twin import pushes
from orchestrator.twin.handles import RepoHandle
from orchestrator.twin.say import Person
from tests.histories.direct import URL, QuietTwin, transport
from tests.histories.mirror import shell
from tests.histories.objects import MemoryRepository, Objects
from tests.histories.oracle import HISTORY
from tests.histories.stage import BASES, NAME, SETTINGS, Stage
from tests.histories.turns import Turns
from tests.simulation.agent import ScriptedAgent
from tests.simulation.disk import Disk, Loss
from tests.simulation.ears import Ears
from tests.simulation.git import SimMirror, SimWorktree
from tests.simulation.weather import SimWire, Weather

COMMAND_SECONDS = 45.0
START_AGAIN = 60.0  # seconds that the service manager waits
REPAIR = 15.0  # seconds that a memory is not lost within: what was asked of GitHub before shows by then
CAP = 2


class SimStage(Stage):
    """One repository for one simulation; `folder` may be used again by the next one."""

    def __init__(self, folder: Path, ears: Ears, seed: int, poll: float = 60.0) -> None:
        super().__init__()
        self._ears = ears
        self.clock = Turns()
        self.deaths = 0
        self.slept = 0  # times that the machine did
        self.forgot = False  # the memory was lost once
        self._edges_left = 0  # until the daemon dies; 0: it does not
        self._loss = Loss.NOTHING
        self._pause = 0.0
        objects = Objects()
        self.twin = self.github = QuietTwin(objects, self.clock)
        self.weather = Weather(self.clock, random.Random(seed + 1), self.edge, self._changed)
        self.twin.faults = self.weather
        thing = self.twin.make(NAME)
        self.repo = RepoHandle(self.twin.world, URL, thing)
        Person(self.twin.world, URL, thing.owner).pushes(self.repo, BASES[0], {"README.md": "hello"}, "First")
        self.furnish()
        self.wire = SimWire(self.twin, self.clock, self.token)
        assert isinstance(thing.bare, MemoryRepository)
        self.mirror = SimMirror(thing.bare, self._strikes_git, self._pushed, self.edge)
        self.agent = ScriptedAgent(self.clock, self.mirror, random.Random(seed + 2))
        self.settings = Settings(
            **{**SETTINGS, "review_prs": "all", "poll_interval": poll},
            max_concurrent=CAP,
            disk_floor_gb=0,
            github_api_url=URL,
            github_token=SecretStr(self.token),
            worktree_base=folder / "worktrees",
            state_file=folder / "state.json",
        )
        self.mirror.path = place_folder(self.settings.worktree_base, NAME) / "mirror.git"
        shutil.rmtree(folder / "worktrees", ignore_errors=True)
        for file in folder.glob("state.json*"):
            if file.is_file():
                file.unlink()
        self.state_file = self.settings.state_file.absolute()
        self.disk = Disk(self.state_file, self.edge)
        self.daemon = None
        run = shell(self.mirror, self.clock, COMMAND_SECONDS, _good)
        self._patches: list[Any] = [
            patch("orchestrator.daemon.Transport", transport(self.wire)),
            patch("orchestrator.watch.Mirror", lambda *_, **__: self.mirror),
            patch("orchestrator.jobs.desk.Worktree", SimWorktree),
            patch("orchestrator.process.shell", run),
            patch("orchestrator.process.sweep", lambda _: 0),
            patch("orchestrator.jobs.desk._end_of", lambda _: f"it says {self.token}".encode()),
            # What the real house shows, and what looks at the machine's own clock.
            patch("orchestrator.watch.Watch.tidy_up", lambda *_: None),
            patch("orchestrator.chores.sweep_scratch", lambda _: None),
            patch("orchestrator.state.time", SimpleNamespace(monotonic=self.clock.now, time=self.clock.now)),
            self.disk.attached(),
        ]
        for one in self._patches:
            one.__enter__()
        self.oracle.watch()
        ears.fresh(self.token)
        self.clock.time += 3600
        self.start()

    # -- where the daemon may die

    def edge(self, _: str) -> None:
        """A moment of the daemon between two things that last."""
        if not self.clock.working():
            return
        self.clock.alive()
        if self._edges_left:
            self._edges_left -= 1
            if not self._edges_left:
                self.deaths += 1
                self.clock.killed = True
                self.clock.alive()

    def dies_after(self, edges: int, loss: Loss, pause: float) -> None:
        """kill -9 at the so manieth edge from now on; started again after `pause` seconds."""
        self._edges_left, self._loss = edges, loss
        self._pause = pause if loss is Loss.NOTHING else max(pause, REPAIR)

    def _bury(self) -> None:
        """After a kill: what the disk had is what the next one finds."""
        while self.clock.killed and self.daemon is not None:
            self.clock.kill()
            self.disk.dies(self.daemon.state)
            self.daemon = None
            self.disk.settle(self._loss)
            if self._loss is Loss.ALL:
                self.forgot = True
                self.oracle.forgotten(self.now() - TOO_OLD + HISTORY)
            self._loss = Loss.NOTHING
            self.restarts += 1
            self.clock.time += self._pause
            self.start()

    def start(self) -> None:
        """Start the daemon; where GitHub does not let it in, the service manager tries again."""
        while True:
            try:
                state = State.open(self.settings.state_file)
            except Missing:
                assert self.disk.full
                self.clock.time += START_AGAIN
                self.disk.full = False
                continue
            try:
                daemon = Daemon(self.settings, self.token, state, agent=self.agent, clock=self.clock)
                break
            except Missing:
                state.close()
                self.disk.settle(Loss.NOTHING)
                self.clock.time += START_AGAIN
        self.daemon = daemon

        def loop() -> None:
            daemon.loop(once=False)

        self.clock.start(loop, "daemon")
        self.clock.settle()
        self._bury()

    def restarts_daemon(self, lost: bool) -> None:
        """In order, and between two requests; `lost`: the newest generation is gone afterwards."""
        while self.clock.pausing:
            self.passes(1)
        assert self.daemon is not None
        self.daemon.halt.set("the simulation stops it")
        self.clock.settle()
        if not self.clock.killed:
            assert not self.clock.has("daemon"), "the daemon does not stop"
            self.disk.settle(Loss.FILE if lost else Loss.NOTHING)
            self.clock.time += REPAIR if lost else 0.0
            self.restarts += 1
            self.start()
        self._bury()

    def kills(self, match: str, nth: int, after: bool, lost: bool) -> None:
        def dies() -> None:
            if self.clock.working():
                self._loss, self._pause = (Loss.FILE, REPAIR) if lost else (Loss.NOTHING, 5.0)
                self.deaths += 1
                self.clock.killed = True

        self.twin.faults.hook(match, dies, nth, after)

    def _changed(self) -> None:
        if self.pulls or self.repo.thing.pulls:
            self.oracle.note()

    # -- git and commands

    def _strikes_git(self, method: str, what: str) -> Any:
        path = f"/{NAME}.git/{what}"
        self.weather.run_hooks(method, path, None, after=False)
        self.clock.alive()
        pushes.fetched(self.repo.thing)
        return self.weather.strike(method, path, None)

    def _pushed(self) -> None:
        pushes.sync(self.twin.world, self.repo.thing, self.oracle.robot)
        self.clock.happened += 1
        self.weather.run_hooks("POST", f"/{NAME}.git/git-receive-pack", None, after=True)
        self.clock.alive()

    # -- time

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
        """Time passes also for a daemon that dies meanwhile."""
        end = self.clock.time + seconds
        while True:
            self.clock.advance(max(0.0, end - self.clock.time))
            if not self.clock.killed:
                break
            self._bury()

    def jumps(self, seconds: float) -> None:
        self.slept += 1
        self.clock.jump(seconds)
        self._bury()

    # -- looking

    @property
    def jobs(self) -> list[Job]:
        return list(self.daemon.state.jobs.values()) if self.daemon else []

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        return self.wire.writes

    def trouble(self) -> list[str]:
        dead = [] if self.daemon and self.clock.has("daemon") else ["the loop ended"]
        broke = ["".join(traceback.format_exception(type(b), b, b.__traceback__)).strip() for b in self.clock.broke]
        return [*dead, *self._ears.told, *broke, *self.twin.journal.unknown, *self.wire.leaks]

    def pauses(self) -> bool:
        """Whether the whole daemon waits for something, and says so."""
        daemon = self.daemon
        if daemon is None:
            return False
        return daemon.transport._paused_until > self.now() or bool(daemon.state.pauses or daemon.state.trouble())

    def reachable(self) -> bool:
        """Whether the last poll went well."""
        return self.daemon is not None and self.daemon._patience.reachable(NAME)

    def close(self) -> None:
        self._edges_left = 0
        while self.clock.pausing:
            self.passes(1)
        if self.daemon is not None:
            self.daemon.halt.set("the simulation ends")
            self.clock.settle()
        for one in reversed(self._patches):
            one.__exit__(None, None, None)
        self.oracle.unwatch()


def _good(files: Mapping[str, bytes]) -> bool:
    return "bad" not in files
