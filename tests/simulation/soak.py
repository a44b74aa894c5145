"""Many items through the real daemon in days of virtual time: GitHub here, the daemon in a process of its own.

Items come in waves; between two waves nothing is under way, and then the daemon is measured.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.twin import Twin
from orchestrator.twin.faults import Kind, apply_then, apply_then_reset, cut, html, reset, short, status
from orchestrator.twin.handles import IssueHandle, PullHandle
from tests.simulation.soaked import SharedTime

AGENT = Path(__file__).with_name("agent.sh")
TROUBLE: list[Kind] = [status(500), status(502), status(503), reset(), cut(), short(), html()]
TROUBLE += [apply_then(502), apply_then_reset()]
PIECE = 600.0  # seconds of virtual time between two looks of the people
PATIENCE = 60  # looks until a wave must be over


@dataclass(frozen=True)
class Sample:
    """The daemon when nothing is under way. `memory` in bytes; `worktrees`: more of them than live items."""

    hour: float
    items: int
    memory: int
    threads: int
    files: int
    zombies: int
    worktrees: int

    def __str__(self) -> str:
        return (
            f"{self.hour:5.1f} h, {self.items:4} items: {self.memory / 1e6:6.1f} MB, {self.threads} threads, "
            f"{self.files} files, {self.zombies} zombies, {self.worktrees} stray worktrees"
        )


class Soak:
    """A context manager; `share`: of the requests that fail."""

    def __init__(self, folder: Path, share: float, poll: float, seed: int = 0) -> None:
        for name in ("home", "tmp", "agent"):
            (folder / name).mkdir(parents=True)
        self.folder = folder
        self.time = SharedTime.make(folder / "clock")
        self.github = Twin(folder / "github", now=self.time.get, page=100)
        self.repo = self.github.repo("acme/app", files={"README.md": "hello\n"})
        self.alice = self.github.user("alice", self.repo, permission="write")
        self.bob = self.github.user("bob", self.repo, permission="admin")
        token = self.github.token(self.github.user("robot", self.repo, permission="write"), limit=10_000_000)
        self.done = 0
        self.faults = 0
        self._dice = random.Random(seed)
        self._share = share
        self._fails = self.github.faults.strike
        self.github.faults.strike = self._strike  # type: ignore[method-assign]
        settings = {
            "github_repo": "acme/app",
            "github_api_url": self.github.url,
            "github_token": token,
            "worktree_base": str(folder / "worktrees"),
            "state_file": str(folder / "state.json"),
            "claude_command": shlex.join(["/bin/sh", str(AGENT), str(folder / "agent")]),
            "poll_interval": poll,
            "pre_merge_commands": '["test -f README.md"]',
            "disk_floor_gb": 0,
            "max_runs_per_actor_day": 100_000,
            "daily_budget_usd": 1_000_000,
            "sandbox": "off",
        }
        self._child = self._start({"clock": str(folder / "clock"), "settings": settings})
        self._process = psutil.Process(self._child.pid)

    def _start(self, given: dict[str, Any]) -> subprocess.Popen[str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        with (self.folder / "daemon.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.simulation.soaked", json.dumps(given)],
                cwd=Path(__file__).parents[2],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Soak:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
        self.github.close()
        self.time.close()

    def _strike(self, method: str, path: str, body: Any) -> Kind | None:
        if self._dice.random() >= self._share or path == "/user":
            return self._fails(method, path, body)
        self.faults += 1
        kind = self._dice.choice(TROUBLE)
        # Git itself waits for ever for the rest of such an answer to a push; only real time ends that.
        return cut() if kind == short() and path.endswith("git-receive-pack") else kind

    def passes(self, seconds: float) -> dict[str, Any]:
        """Virtual time goes by; what the daemon says is under way then."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{self.time.get() + seconds}\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the daemon ended: {(self.folder / 'daemon.log').read_text()[-8000:]}"
        return dict(json.loads(line))

    def wave(self, items: int, seconds: float) -> Sample:
        """So many issues become merged pull requests, and the rest of the time nothing happens."""
        until = self.time.get() + seconds
        issues = [self.alice.opens_issue(self.repo, f"Wish {self.done + n}", "Please.") for n in range(items)]
        for issue in issues:
            self.alice.labels(issue, "ready")
        self._until(lambda _: not [issue for issue in issues if not self._has_pull(issue)], "pull requests")
        pulls = [self._pull(issue) for issue in issues]
        self._until(lambda live: not [pull for pull in pulls if not self._is_merged(pull, live)], "merges")
        self.done += items
        with self.github.journal._changed:
            self.github.journal._entries.clear()  # a day of bodies is more than this process should hold
        self.passes(max(1.0, until - self.time.get()))
        return self.sample()

    def _until(self, done: Callable[[bool], bool], what: str) -> None:
        """Until it is so and nothing is under way, whatever has to be asked again meanwhile."""
        for _ in range(PATIENCE):
            told = self.passes(PIECE)
            if done(bool(told["live"])) and not told["live"]:
                return
        raise AssertionError(f"no {what} after {PATIENCE * PIECE:.0f} s: {told}")

    def _has_pull(self, issue: IssueHandle) -> bool:
        """A failed attempt is asked for again."""
        if "needs-human" in issue.labels and "ready" not in issue.labels:
            self.alice.labels(issue, "ready")
        return any(pull.head_ref == f"feature/issue-{issue.number}" for pull in self.repo.pulls)

    def _pull(self, issue: IssueHandle) -> PullHandle:
        return next(pull for pull in self.repo.pulls if pull.head_ref == f"feature/issue-{issue.number}")

    def _is_merged(self, pull: PullHandle, live: bool) -> bool:
        """A merge that was refused is asked for again, when nothing is under way any more."""
        if not pull.merged and not live:
            self.bob.comments(pull, "/merge")
        return pull.merged

    def sample(self) -> Sample:
        """What the daemon holds now."""
        place = self.folder / "worktrees/acme/app"
        trees = [one for one in place.iterdir() if one.name.startswith(("issue-", "pr-review-", "merge-"))]
        parked = self.passes(0.0)["parked"]
        kept = {f"issue-{key.partition('#')[2].partition('/')[0]}" for key in parked if key.endswith("/implement")}
        children = self._process.children(recursive=True)
        return Sample(
            hour=(self.time.get() - 1_790_000_000.0) / 3600,
            items=self.done,
            memory=self._process.memory_info().rss,
            threads=self._process.num_threads(),
            files=self._process.num_fds(),
            zombies=len(children),
            worktrees=sum(tree.name not in kept for tree in trees),
        )
