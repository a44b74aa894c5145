"""One world in a folder: the local GitHub, its people, and the daemon as a process that is killed and restarted."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import pickle
import select
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator.github.effects import READ_BACK
from orchestrator.twin import Twin
from tests.crashes import sight
from tests.crashes.points import Orders, Point, daemon

AGENT = Path(__file__).with_name("agent.sh")
PATIENCE = 60.0  # real seconds for one life of the daemon
CALM = 3  # polls without a change, after which none is expected any more

# The server has imported the daemon and forks it: a start costs no second of imports, and no thread is in the way.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.crashes.points"])

# A start looks at all other children too, and what one thread hears of an end is lost for the other.
_one_at_a_time = threading.Lock()


class Broken(Exception):
    """The daemon ended by itself, or came to no end."""


@dataclass(frozen=True)
class Life:
    """One life of the daemon: the points it came by, and whether it was killed at the fatal one."""

    points: tuple[Point, ...]
    killed: bool


@dataclass(frozen=True)
class Snapshot:
    """A stage without a living daemon, to begin from again."""

    folder: Path
    github: bytes
    exchanges: int
    ahead: float
    asked: tuple[str, ...]

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


class Stage:
    """Alice's issue in `acme/app`, labelled `ready`, and bob, who asks for the review of what came of it and the merge.

    People wait for the end of a job before they ask for the next one, so that the same points come in each run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stage"
        self.state = self.folder / "state/state.json"
        self._snapshots = (folder / f"snapshot-{number}" for number in itertools.count())
        for name in ("home", "tmp", "state"):
            (self.folder / name).mkdir(parents=True)
        self._ahead = 0.0
        self._asked: tuple[str, ...] = ()  # of bob, for these jobs
        self.github = Twin(self.folder / "github", now=lambda: time.time() + self._ahead, mergeable_after=0)
        repo = self.github.repo("acme/app", files={"README.md": "hello\n"})
        repo.settings(autoclose=False)  # as where the base is not the default branch
        alice = self.github.user("alice", repo, permission="write")
        self.github.user("bob", repo, permission="admin")
        self._settings = {
            "github_repo": "acme/app",
            "github_api_url": self.github.url,
            "github_token": self.github.token(self.github.user("robot", repo, permission="write")),
            "worktree_base": self.folder / "worktrees",
            "state_file": self.state,
            "claude_command": shlex.join(["/bin/sh", str(AGENT)]),
            "poll_interval": 0.3,  # a look in the midst of a job is one more world each time, and tells nothing new
            "review_prs": "label",
            "review_debounce": 0,
            "ci_settle": 0,
            "pre_merge_commands": ("test -f agent.txt",),
            "sandbox": "off",
        }
        issue = alice.opens_issue(repo, "Greet people", "Please.")
        self._later()
        alice.labels(issue, "ready")

    def _later(self) -> None:
        """GitHub's clock tells whole seconds, so what people do comes a few after what they have seen."""
        self._ahead += 5

    def live(self, orders: Orders, at_point: Callable[[Point], object] = lambda _: None) -> Life:
        """Start the daemon and see it through to its death or to the end of the story. Broken when neither comes.

        `at_point` is called for each point while the process stands still, with `Orders.halting`.
        """
        ours, theirs = _processes.Pipe()
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        arguments = (theirs, self.folder / "daemon.log", environ, self._settings, orders)
        self._ahead += READ_BACK + 1  # a daemon does not start again in the very second of its death
        process = _processes.Process(target=daemon, args=arguments)
        with _one_at_a_time:
            process.start()
        theirs.close()
        assert process.pid is not None
        points: list[Point] = []
        calm = 0
        try:
            with ours:
                for verb, *words in _told(ours):
                    if verb == "point":
                        points.append(Point(words[0], int(words[1]), words[2]))
                        calm = 0
                        if orders.halting:
                            self._at(points[-1], process.pid, ours, at_point)
                    elif verb == "arm":
                        self._kill_at(words[0], process.pid)
                        os.write(ours.fileno(), b"!")
                    elif verb == "wrote":
                        self._people_look()
                        if orders.steady:
                            os.write(ours.fileno(), b"!")
                    elif verb == "poll" and self._over():
                        calm += 1
                        if calm == CALM:
                            process.terminate()
            with _one_at_a_time:
                process.join(PATIENCE)
            if process.exitcode not in (0, -signal.SIGKILL) or (process.exitcode == 0 and calm < CALM):
                raise Broken(f"the daemon ended with {process.exitcode} (None: it came to no end)\n{self.log()}")
            return Life(tuple(points), process.exitcode != 0)
        finally:
            with _one_at_a_time:
                process.kill()
                process.join()
                process.close()

    def _at(self, point: Point, pid: int, channel: Connection, call: Callable[[Point], object]) -> None:
        os.kill(pid, signal.SIGSTOP)
        call(point)
        os.kill(pid, signal.SIGCONT)
        os.write(channel.fileno(), b"!")

    def _kill_at(self, request: str, pid: int) -> None:
        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        self.github.after(request, kill)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs of the state file by their kind."""
        if not self.state.exists():
            return {}
        jobs = json.loads(self.state.read_bytes())["body"]["jobs"]
        return {key.rpartition("/")[2]: job for key, job in jobs.items()}

    def _people_look(self) -> None:
        """Bob asks for what is next when the job before it is done."""
        jobs = self.jobs()
        for done, following in (("implement", "review"), ("review", "merge")):
            if following not in self._asked and jobs.get(done, {}).get("status") == "done":
                self._asked += (following,)
                self._later()
                bob, pull = self.github.users["bob"], self.github.repos["acme/app"].pulls[0]
                bob.labels(pull, "review") if following == "review" else bob.comments(pull, "/merge")

    def _over(self) -> bool:
        """Nothing more is bound to happen: the merge was answered, or something waits for a person."""
        jobs = self.jobs()
        statuses = {job["status"] for job in jobs.values()}
        return "parked" in statuses or ("merge" in jobs and statuses == {"done"})

    def log(self) -> str:
        """The end of the daemon's log."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-8000:]

    def settle(self) -> list[str]:
        """Wait a moment for what a killed daemon left running; what is left after it."""
        end, pause = time.monotonic() + 2, threading.Event()
        while (left := self._left()) and time.monotonic() < end:
            pause.wait(0.01)
        return left

    def _left(self) -> list[str]:
        asked = self.github.connections
        found = sight.processes(self.folder, self.github.url)
        return found + ([f"{asked} requests that GitHub is not through with"] if asked else [])

    def traces(self) -> str:
        """What the next start would find (`sight.traces`)."""
        return f"{self._asked} {sight.traces(self.github, self.folder)}"

    def snapshot(self) -> Snapshot:
        """What is there now, to be restored as often as wanted."""
        self.settle()
        folder = next(self._snapshots)
        world = self.github.world
        with world.lock:
            shutil.copytree(self.folder, folder, symlinks=True)
            kept = {name: value for name, value in vars(world).items() if name not in ("lock", "_now", "_ids")}
            first = world.new_id()
            self._number_from(first)
            github = pickle.dumps((kept, first))
            return Snapshot(folder, github, len(self.github.journal.exchanges), self._ahead, self._asked)

    def restore(self, snapshot: Snapshot) -> None:
        """Begin again from there."""
        world = self.github.world
        with world.lock:
            shutil.rmtree(self.folder)
            shutil.copytree(snapshot.folder, self.folder, symlinks=True)
            kept, first = pickle.loads(snapshot.github)
            vars(world).update(kept)
            self._number_from(first)
            del self.github.journal._entries[snapshot.exchanges :]
        self._ahead, self._asked = snapshot.ahead, snapshot.asked

    def _number_from(self, first: int) -> None:
        """The numeric id that GitHub gives next."""
        self.github.world._ids = itertools.count(first, 7)

    def close(self) -> None:
        self.github.close()


def _told(channel: Connection) -> Iterator[list[str]]:
    """What the process tells, word by word, until it is dead, or its time is up."""
    end = time.monotonic() + PATIENCE
    rest = b""
    while True:
        readable, _, _ = select.select([channel], [], [], max(0.0, end - time.monotonic()))
        data = b""
        if readable:
            with contextlib.suppress(ConnectionResetError):
                data = os.read(channel.fileno(), 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode().split("\t")
