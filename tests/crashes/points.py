"""The daemon's process with its points of death: each durable change is told before and after, and one of them kills.

A point is known by its lane (`loop`, or the kind of the job in whose thread it comes) and its number in that lane
since the start. All are found out by running, so that a new effect, or another way to write the state, needs no
change here. Around each change of GitHub there are three: nothing sent; applied and not answered; answered and not
recorded. Around each write to the state's folder there is one before every step that changes a file, one with half of
the content in the file, and one when all of it is durable.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from orchestrator import log, serve
from orchestrator.clock import Stop
from orchestrator.daemon import Daemon
from orchestrator.git.mirror import Mirror
from orchestrator.github.transport import Transport
from orchestrator.settings import Settings
from orchestrator.state import State

BEFORE, INSIDE, AFTER = "before", "inside", "after"
WRITE = "state"  # what a point at a state write is called
_WORTHLESS = (".lock", ".polled")  # in the state's folder, and without meaning after a crash
_STEPS = {"open": BEFORE, "os.link": "link", "os.rename": "rename", "os.remove": "remove"}


@dataclass(frozen=True)
class Point:
    """A moment at which the daemon can be killed; `what` happens there. Number 0: the first at which this happens."""

    lane: str
    number: int
    what: str = ""

    def __str__(self) -> str:
        return f"{self.lane}.{self.number}"


@dataclass(frozen=True)
class Orders:
    """What a process is to do: die at `fatal`, if it comes there; `halting`: wait at every point for a word.

    `steady`: polls and jobs take turns and people act at once, so that from one world the same points come always.
    """

    fatal: Point | None = None
    halting: bool = False
    steady: bool = False


class Points:
    """Counts the points of one process, tells each to its parent, and kills the process at the fatal one."""

    def __init__(self, channel: Connection, folder: Path, orders: Orders) -> None:
        """`folder`: where the state file is, and nothing that is not the daemon's."""
        self._channel = channel
        self._folder = folder
        self._orders = orders
        self._numbers: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._thread = threading.local()

    def install(self) -> None:
        """Around all that this process does from now on."""
        transport: Any = Transport
        mirror: Any = Mirror
        state: Any = State
        system: Any = os
        if self._orders.steady:
            house: Any = Daemon
            house._rest = _between_jobs(house._rest)
        transport._ask = self._around(transport._ask, _request)
        mirror.push = self._around(mirror.push, lambda *_: ("push", "POST *git-receive-pack"))
        state.beat = self._then_tell(state.beat, "poll")
        system.fsync = self._around_fsync(os.fsync)
        sys.addaudithook(self._audit)

    def _tell(self, *words: str) -> None:
        os.write(self._channel.fileno(), ("\t".join(words) + "\n").encode())

    def _heard(self) -> None:
        os.read(self._channel.fileno(), 1)

    def _reach(self, what: str) -> bool:
        """Count and tell a point; whether it is the fatal one."""
        lane = threading.current_thread().name.rpartition("/")[2]
        with self._lock:
            self._numbers[lane] += 1
            number = self._numbers[lane]
            self._tell("point", lane, str(number), what)
            if self._orders.halting:
                self._heard()
        fatal = self._orders.fatal
        return fatal is not None and fatal.lane == lane and (fatal.number or what) in (number, fatal.what)

    def _die_at(self, what: str) -> None:
        if self._reach(what):
            os.kill(os.getpid(), signal.SIGKILL)

    def _around(self, call: Callable[..., Any], named: Callable[..., tuple[str, str] | None]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            if (found := named(*args)) is None:
                return call(*args, **more)
            what, request = found
            self._die_at(f"{what} {BEFORE}")
            if self._reach(f"{what} {INSIDE}"):
                self._tell("arm", request)
                self._heard()
            answer = call(*args, **more)
            self._die_at(f"{what} {AFTER}")
            return answer

        return wrapped

    def _then_tell(self, call: Callable[..., Any], word: str) -> Callable[..., Any]:
        def wrapped(*args: Any) -> None:
            call(*args)
            self._tell(word)

        return wrapped

    def _around_fsync(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def wrapped(fd: int) -> None:
            status = os.fstat(fd)
            whole_folder = status.st_ino == self._folder.stat().st_ino
            if not whole_folder and (name := self._name(status.st_ino)) and self._reach(f"{WRITE} torn"):
                # Of a new file half is there, of one that grows the last line is not whole.
                os.ftruncate(fd, status.st_size // 2 if ".tmp" in name else status.st_size - 5)
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(fd)
            if whole_folder:
                self._die_at(f"{WRITE} {AFTER}")
                with self._lock:
                    self._tell("wrote")
                    if self._orders.steady:
                        self._heard()

        return wrapped

    def _name(self, inode: int) -> str:
        with suppress(OSError):
            return next((e.name for e in os.scandir(self._folder) if e.inode() == inode), "")
        return ""

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if (step := _STEPS.get(event)) is None or getattr(self._thread, "busy", False):
            return
        if event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return
        self._thread.busy = True
        try:
            if any(isinstance(name, str | os.PathLike) and self._is_state(Path(name)) for name in args[:2]):
                self._die_at(f"{WRITE} {step}")
        finally:
            self._thread.busy = False

    def _is_state(self, path: Path) -> bool:
        return path.parent == self._folder and path.suffix not in _WORTHLESS


def _between_jobs(rest: Callable[[Daemon], None]) -> Callable[[Daemon], None]:
    """Rests until no job is under way, and then for no longer than it takes to look."""

    def wrapped(loop: Daemon) -> None:
        while loop.slots.busy() and not loop.halt.is_set():
            loop.clock.wait(60.0, loop.wake)
            loop.wake = Stop()
            loop._advance()
        loop._next_rest = 0.0
        rest(loop)

    return wrapped


def _request(
    _: Transport, method: str, path: str, __: object, ___: object, body: Mapping[str, Any] | None
) -> tuple[str, str] | None:
    """What a request changes, and the pattern by which the local GitHub knows it; None for one that only reads."""
    query = str((body or {}).get("query", "")).lstrip()
    if method == "GET" or query.startswith("query"):
        return None
    short = path.partition("/repos/acme/app/")[2] or path.rpartition("/")[2]
    return f"{method} {short}", f"{method} *{short}"


def daemon(
    channel: Connection, output: Path, environ: Mapping[str, str], settings: Mapping[str, Any], orders: Orders
) -> None:
    """The process: `orchestrator run` with these settings and nothing else in its environment."""
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environ)
    checked = Settings(**settings)
    log.configure("json", verbose=True)
    Points(channel, checked.state_file.parent, orders).install()
    sys.exit(serve.main(checked, checked.github_token.get_secret_value(), once=False))
