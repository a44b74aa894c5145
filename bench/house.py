"""The real command as a process against the local GitHub, in real time, with moments stamped as they pass."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.measure import Broken, cpu_of, until
from orchestrator import state
from orchestrator.record import Job, Status
from orchestrator.twin import IssueHandle, PullHandle, Twin

ROOT = Path(__file__).parent.parent
CHILDREN = Path(__file__).parent / "children"
NAME = "acme/app"
NO_LIMIT = 1_000_000_000


def child(name: str, *words: str) -> str:
    """The command line of a script in `children/`, as quick to start as Python can be."""
    return shlex.join([sys.executable, "-I", "-S", str(CHILDREN / f"{name}.py"), *words])


def tree(count: int) -> dict[str, str]:
    """So many files of about 3.5 KB in 97 folders; the same ones at every call."""
    dice = random.Random(count)
    line = "One line of the kind of text that a program is made of.\n"
    sizes = (max(1, int(dice.lognormvariate(3.4, 1.1))) for _ in range(count))
    return {f"src/d{n % 97}/f{n}.txt": f"{n}\n" + line * size for n, size in enumerate(sizes)}


class Moment:
    """The first time that something happened: on the monotonic clock, and our CPU by then."""

    def __init__(self, cpu: Callable[[], float] = lambda: 0.0) -> None:
        self.at = 0.0
        self.cpu = 0.0
        self._cpu = cpu
        self.passed = threading.Event()

    def stamp(self) -> None:
        if not self.passed.is_set():
            self.at, self.cpu = time.monotonic(), self._cpu()
            self.passed.set()

    def await_(self, what: str, seconds: float = 300.0) -> None:
        """Block until it passed; Broken names what did not come."""
        if not self.passed.wait(seconds):
            raise Broken(f"waited {seconds:g} s in vain for {what}")


class House:
    """One repository `acme/app`, alice and bob who may write, and the daemon of `robot`."""

    def __init__(self, folder: Path, files: int, **settings: Any) -> None:
        """`settings`: as in `.env`, in lower case."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(1)
        self.ahead = 0.0  # of the local GitHub's clock
        self.twin = Twin(folder / "github", now=lambda: time.time() + self.ahead, page=100)
        try:
            self._move_in(files, settings)
        except BaseException:
            self.twin.close()
            raise

    def _move_in(self, files: int, settings: dict[str, Any]) -> None:
        self.repo = self.twin.repo(NAME, files=tree(files))
        self.alice = self.twin.user("alice", self.repo, permission="write")
        self.bob = self.twin.user("bob", self.repo, permission="admin")
        self.robot = self.twin.user("robot", self.repo, permission="write")
        self.token = self.twin.token(self.robot, limit=NO_LIMIT)
        self.settings: dict[str, Any] = {
            "github_repo": NAME,
            "github_api_url": self.twin.url,
            "github_token": self.token,
            "poll_interval": 0.25,
            "review_prs": "off",
            "ci_settle": 0,
            "disk_floor_gb": 0,
            "max_runs_per_actor_day": 100_000,
            "daily_budget_usd": 1_000_000,
            "sandbox": "off",
            "log_format": "json",
            "claude_command": child("agent"),
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.twin.close()

    def environment(self) -> dict[str, str]:
        """All that a command of ours gets to see."""
        given = {name.upper(): str(value) for name, value in self.settings.items()}
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
        return {**kept, **given}

    def start(self) -> None:
        """Start `orchestrator run`; returns when it has looked once."""
        looked = Moment()
        self.twin.after("GET issues/comments", looked.stamp)
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "run"],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with self.explained():
            looked.await_("the first poll", 60)

    def stop(self) -> None:
        """End the daemon in order; again is harmless."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            finally:
                self.process.kill()
                self.process.wait()
                self.process = None

    def kill(self) -> None:
        """kill -9; returns when the daemon is dead."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def cpu(self) -> float:
        """CPU seconds of the daemon itself so far."""
        return cpu_of(self.process.pid) if self.process else 0.0

    def killed(self) -> bool:
        """Whether the daemon is dead."""
        return self.process is None or self.process.poll() is not None

    def peak(self) -> float:
        """The daemon's memory at its most, in MB."""
        assert self.process is not None
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1000 if found else 0.0

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Show the end of the daemon's log with what broke in here."""
        try:
            yield
        except Broken as trouble:
            log = (self.folder / "daemon.log").read_text(errors="replace")
            raise Broken(f"{trouble}\n{log[-3000:]}") from trouble

    # -- what people do, and when it shows

    def label(self, count: int = 1) -> tuple[list[IssueHandle], Moment]:
        """So many issues with the label, at once; the moment when the daemon's list first shows them."""
        seen = Moment(self.cpu)
        with self.repo.looking():
            self.twin.after("GET issues", seen.stamp)
            issues = [self.alice.opens_issue(self.repo, f"Wish {n}", "Please.") for n in range(count)]
            for issue in issues:
                self.alice.labels(issue, "ready")
        return issues, seen

    def opened(self, count: int = 1) -> Moment:
        """The moment when so many more pull requests were opened."""
        opened = Moment(self.cpu)
        self.twin.after("POST pulls", opened.stamp, count)
        return opened

    def pulls(self, count: int) -> list[PullHandle]:
        """So many pull requests of alice's, each with a file of its own."""
        found = []
        for _ in range(count):
            number = next(self._numbers)
            self.alice.pushes(self.repo, f"topic-{number}", {f"topic/{number}.txt": "new\n"})
            found.append(self.alice.opens_pr(self.repo, f"topic-{number}"))
        return found

    def on_write(self, call: Callable[[], object]) -> None:
        """Call at each changing request, a push included, after it was applied and before it is answered."""

        def hook(pattern: str) -> None:
            def again() -> None:
                hook(pattern)
                call()

            self.twin.after(pattern, again)

        for method in ("POST", "PATCH", "PUT", "DELETE"):
            hook(f"{method} /repos/*")
        hook("POST *git-receive-pack")

    def close_pulls(self) -> None:
        """Close what is open: each one in a list costs the local GitHub, and so everybody, some milliseconds."""
        for pull in self.repo.pulls:
            if pull.open:
                self.bob.closes(pull)

    # -- what is

    @property
    def made(self) -> int:
        """The daemon's pull requests so far."""
        return sum(pull.head_ref.startswith("feature/") for pull in self.repo.pulls)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The daemon's records as they are on the disk."""
        return state.read(self.folder / ".orchestrator-state.json").jobs

    def idle(self) -> bool:
        """Whether every job is over."""
        return all(job.status in (Status.DONE, Status.PARKED) for job in self.jobs)

    def has_pull(self, issue: IssueHandle) -> bool:
        """Whether the issue's branch has a pull request."""
        return any(pull.head_ref == f"feature/issue-{issue.number}" for pull in self.repo.pulls)

    def finished(self, issue: IssueHandle) -> bool:
        """Whether the daemon is through with the issue."""
        return any(job.number == issue.number and job.status is Status.DONE for job in self.jobs)

    def settle(self) -> None:
        """Wait until every job is over."""
        with self.explained():
            until(self.idle, "the jobs to end", 300)

    def log(self, *words: str) -> list[str]:
        """The lines of the daemon's log that hold one of the words."""
        lines = (self.folder / "daemon.log").read_text(errors="replace").splitlines()
        return [line for line in lines if any(word in line for word in words)]
