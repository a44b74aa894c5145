"""The daemon in its house for tests: the local GitHub, people, a scripted agent, virtual time."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.daemon import Daemon
from orchestrator.record import Job, Status
from orchestrator.settings import Settings
from orchestrator.state import State
from orchestrator.twin import IssueHandle, Twin
from tests.conformance import check
from tests.virtual import VirtualClock

STUB = Path(__file__).parent / "stub_agent.py"


def stub(*words: str) -> str:
    """The CLAUDE_COMMAND that plays a scenario of `tests/stub_agent.py`."""
    return shlex.join([sys.executable, str(STUB), *words])


class House:
    """One repository `acme/app`, alice and bob who may write, mallory who may not, and the daemon as `robot`."""

    def __init__(self, folder: Path, page: int = 2, **settings: Any) -> None:
        """`page`: the most items that GitHub shows at once; small, so that every list has several pages."""
        self.folder = folder
        self.clock = VirtualClock()
        self.github = Twin(folder / "github", now=self.clock.now, page=page)
        self.github.__enter__()
        self.repo = self.github.repo("acme/app", files={"README.md": "hello\n"})
        self.alice = self.github.user("alice", self.repo, permission="write")
        self.bob = self.github.user("bob", self.repo, permission="admin")
        self.mallory = self.github.user("mallory", self.repo, permission="read")
        self.robot = self.github.user("robot", self.repo, permission="write")
        self.ci = self.github.ci(self.repo)
        self.token = self.github.token(self.robot)
        self.options: dict[str, Any] = {
            "github_repo": "acme/app",
            "github_api_url": self.github.url,
            "github_token": self.token,
            "worktree_base": folder / "worktrees",
            "state_file": folder / "state.json",
            "claude_command": stub("success"),
            "review_prs": "off",
            "sandbox": "off",  # what walls hold is tested where they stand
            "disk_floor_gb": 0,  # what the machine has left is no part of a test
            **settings,
        }
        self.daemon: Daemon | None = None
        # An hour passes before the daemon comes, so that what people do next is never history.
        self.clock.advance(3600)

    def start(self, renew: Callable[[], str] | None = None, checks: bool = False, **settings: Any) -> Daemon:
        """Start the daemon (again), with these settings on top; `renew` reads its token anew.

        `checks`: look at everything first, as `orchestrator run` does; Missing when that ends the start.
        """
        self.options.update(settings)
        checked = Settings(**self.options)
        daemon = Daemon(checked, self.token, State.open(checked.state_file), clock=self.clock, renew=renew)
        if checks:
            try:
                daemon.check()
            except BaseException:
                daemon.close()
                raise
        self.daemon = daemon

        def loop() -> None:
            daemon.loop(once=False)

        self.clock.start(loop, "daemon")
        return daemon

    def stop(self) -> None:
        """End the daemon in order."""
        if self.daemon is not None:
            self.daemon.halt.set("the test ends")
            self.daemon.wake.set("the test ends")
            self.clock.settle()
            self.daemon = None

    def until(self, condition: Callable[[], bool], most: float = 86_400.0) -> None:
        """Start the daemon if needed, and let time pass until the condition holds."""
        if self.daemon is None:
            self.start()
        self.clock.run_until(condition, most)

    def quiet(self) -> None:
        """Until no job is under way or waits, over three polls."""
        calm = 0
        polls = [0.0]

        def done() -> bool:
            nonlocal calm
            idle = all(j.status in (Status.DONE, Status.PARKED) for j in self.jobs)
            if not idle:
                calm = 0
            elif polls[0] != self.clock.now():
                polls[0] = self.clock.now()
                calm += 1
            return calm > 3

        self.until(done)

    @property
    def jobs(self) -> list[Job]:
        return list(self.daemon.state.jobs.values()) if self.daemon else []

    def job(self, kind: str, number: int) -> Job:
        """The record of a job."""
        assert self.daemon is not None
        found = self.daemon.state.job(f"acme/app#{number}/{kind}")
        assert found is not None, f"no {kind} job for #{number}"
        return found

    def said(self, target: IssueHandle) -> list[str]:
        """What the daemon wrote on an issue or PR, without its markers, each from its first line on."""
        return [c.body.split("-->\n", 1)[-1] for c in target.comments if c.author == "robot"]

    def expect(self, *patterns: str) -> None:
        """These changes, each any number of times, and no others, are what the daemon did."""
        for pattern in patterns:
            self.github.journal.claim(pattern)

    def check_claims(self) -> None:
        """Fails on a request that GitHub does not know, on one that does not conform, on a change nobody expected."""
        journal = self.github.journal
        assert journal.unknown == []
        problems = [p for e in journal.exchanges for p in check(e)]
        assert problems == [], problems[:3]
        left = journal.unclaimed("robot")
        assert left == [], left

    def close(self) -> None:
        self.stop()
        self.github.__exit__(None, None, None)
