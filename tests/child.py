"""The real command as a process of its own against the local GitHub, in real time: killed, stopped, started again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from orchestrator.git.mirror import TRASH
from orchestrator.github.effects import READ_BACK
from orchestrator.twin import IssueHandle, PullHandle, Twin
from orchestrator.twin.faults import Fault, reset
from tests.conformance import check
from tests.house import stub

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # real seconds for anything that is bound to happen
LEAVES = 5.0  # seconds that the daemon may take after a signal


class Child:
    """One repository `acme/app`, alice and bob who may write, and the daemon of `robot` as a process.

    Everything that the daemon starts inherits a HOME of its own or works on its mirror; so it is found again.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        """`settings`: as in `.env`, in lower case."""
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._place = str(folder / "worktrees")
        self._ahead = 0.0
        self.github = Twin(folder / "github", now=lambda: time.time() + self._ahead, page=2)
        self.repo = self.github.repo("acme/app", files={"README.md": "hello\n"})
        self.alice = self.github.user("alice", self.repo, permission="write")
        self.bob = self.github.user("bob", self.repo, permission="admin")
        self.robot = self.github.user("robot", self.repo, permission="write")
        self.token = self.github.token(self.robot)
        self.record = folder / "runs.jsonl"
        self.settings: dict[str, Any] = {
            "github_repo": "acme/app",
            "github_api_url": self.github.url,
            "github_token": self.token,
            "worktree_base": self._place,
            "poll_interval": 0.05,
            "review_prs": "off",
            "review_debounce": 0,
            "disk_floor_gb": 0,
            "sandbox": "off",
            "ci_settle": 0.05,
            "log_format": "json",
            "claude_command": stub("--record", str(self.record), "success"),
            **settings,
        }
        self.started: list[subprocess.Popen[bytes]] = []
        self.sink: int | None = None
        self._ended_runs = 0

    # What people do; GitHub's clock tells whole seconds, so each act comes a few later than what it answers.

    def later(self) -> None:
        """Some seconds pass on GitHub."""
        self._ahead += 5

    def labelled(self, title: str = "Greet people") -> IssueHandle:
        """An issue of alice's, labelled `ready`."""
        self.later()
        issue = self.alice.opens_issue(self.repo, title, "Please.")
        self.alice.labels(issue, "ready")
        return issue

    def pull(self, number: int | None = None) -> PullHandle:
        """A pull request of alice's that changes a file, and closes the issue of this number."""
        self.later()
        self.alice.pushes(self.repo, "topic", {"topic.txt": "new\n"})
        return self.alice.opens_pr(self.repo, "topic", body=f"Closes #{number}" if number else "")

    def asked(self, pull: PullHandle) -> None:
        """Bob asks for the merge."""
        self.later()
        self.bob.comments(pull, "/merge")

    # The process

    def environment(self, **more: str) -> dict[str, str]:
        """All that a command of ours gets to see."""
        given = {name.upper(): str(value) for name, value in self.settings.items() if value is not None}
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            **given,
            **more,
        }

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """Start `orchestrator run`; its log is appended to `daemon.log`, or goes to the descriptor `sink`.

        Before it starts again GitHub is through with what the dead one asked, and its clock has gone on.
        """
        if self.started and self.killed():
            self.until(lambda: self.github.connections == 0)
            self._ahead += READ_BACK + 1
        with (self.folder / "daemon.log").open("ab") as file:
            sink = file.fileno() if self.sink is None else self.sink
            child = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "run", *words],
                cwd=self.folder,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        self.started.append(child)
        return child

    def kill(self) -> None:
        """kill -9; returns when the daemon is dead."""
        self.started[-1].kill()
        self.started[-1].wait(PATIENCE)

    def killed(self) -> bool:
        return self.started[-1].poll() is not None

    def dies_after(self, request: str, nth: int = 1) -> None:
        """kill -9 once GitHub has done this; the daemon never hears the answer."""
        self.github.after(request, self.kill, nth)

    def dies_before(self, request: str, nth: int = 1) -> None:
        """kill -9 as this is about to happen; GitHub never gets it."""
        self.github.before(request, self.kill, nth)
        self.github.faults.add(Fault(request, reset(), nth))

    def start_and_die(self) -> None:
        """Start, and wait until the daemon was killed."""
        self.start()
        self.until(self.killed)
        assert self.started[-1].returncode == -signal.SIGKILL, self.log()

    def until(self, done: Callable[[], object]) -> None:
        """Wait, bounded, until it is so."""
        end = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not done():
            assert time.monotonic() < end, f"it did not happen within {PATIENCE:g} s\n{self.log()}"
            pause.wait(0.02)

    def stop(self) -> None:
        """SIGTERM; the daemon leaves in time and with 0."""
        self.started[-1].terminate()
        assert self.started[-1].wait(PATIENCE) == 0, self.log()

    # What is

    def log(self) -> str:
        """The end of the daemon's log."""
        file = self.folder / "daemon.log"
        return file.read_text(errors="replace")[-40_000:] if file.exists() else "(no log)"

    def state(self) -> dict[str, Any]:
        """The body of the state file as it is on the disk."""
        file = self.folder / ".orchestrator-state.json"
        return dict(json.loads(file.read_bytes())["body"]) if file.exists() else {"jobs": {}}

    def job(self, kind: str, number: int) -> dict[str, Any]:
        """A job as it is on the disk; empty when there is none."""
        return dict(self.state()["jobs"].get(f"acme/app#{number}/{kind}", {}))

    def is_done(self, kind: str, number: int) -> bool:
        return bool(self.job(kind, number).get("status") == "done")

    @property
    def runs(self) -> int:
        """How many agent runs have begun, as the stub agent wrote it down."""
        return len(self.record.read_text().splitlines()) if self.record.exists() else 0

    def worktrees(self) -> list[str]:
        """Folders of worktrees that are there; one that is being deleted is none, and a stop may leave that so."""
        place = self.folder / "worktrees/acme/app"
        found = place.iterdir() if place.exists() else []
        names = {p.name for p in found if p.is_dir() and not p.name.startswith(TRASH)}
        return sorted(names - {"mirror.git", "logs", "surroundings"})

    def processes(self) -> list[str]:
        """Everything that lives and was started by the daemon or by what it started, the daemon included."""
        found = []
        for process in psutil.process_iter():
            try:
                command, environ = " ".join(process.cmdline()), process.environ()
                # git gets no HOME of ours, but works on our mirror or talks to our GitHub.
                by_git = environ.get("GIT_DIR", "").startswith(self._place) or self.github.url in command
                if (environ.get("HOME") == str(self.home) or by_git) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(command)
            except (psutil.Error, OSError):
                continue
        return found

    def said(self, target: IssueHandle) -> list[str]:
        """The keys of the daemon's comments on an issue or PR, oldest first; ids and SHAs in them as `*`."""
        ours = [c.body for c in target.comments if c.author == "robot"]
        keys = [re.match(r"<!-- orchestrator:[^:]+:(\S+) \w+ -->", body) for body in ours]
        return [re.sub(r"-[0-9a-f]{40}$|-\d+(?=-|$)", "-*", key[1]) if key else "unmarked" for key in keys]

    def close(self) -> None:
        """End everything. AssertionError when something is left, or GitHub was asked what it does not know."""
        for child in self.started:
            if child.poll() is None:
                child.terminate()
        for child in self.started:
            try:
                child.wait(PATIENCE)
            finally:
                child.kill()
                child.wait()
        left = self.processes()
        self.github.close()
        assert left == []
        assert self.github.journal.unknown == []
        assert [problem for e in self.github.journal.exchanges if e.status for problem in check(e)] == []
