"""A clock that gives its threads turns: one works at a time, in an order that is always the same.

A thread's turn lasts until it waits; so a history that failed once fails again. `kill` ends all threads where
they are, as a power cut does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.clock import Stop

HUNG = 30.0  # real seconds of one turn


class Killed(BaseException):
    """The daemon's process is gone."""


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class _Worker:
    name: str
    go: threading.Lock = field(default_factory=_closed)
    until: float = 0.0
    since: int = 0  # what had happened when its last wait of its own ended


@dataclass
class Turns:
    """Satisfies `orchestrator.clock.Clock`. `happened` counts what people and GitHub did."""

    time: float = 1_790_000_000.0
    happened: int = 0
    killed: bool = False
    broke: list[BaseException] = field(default_factory=list)
    pausing: int = 0  # threads in the midst of a slow request
    _ready: deque[_Worker] = field(default_factory=deque)
    _waiting: list[_Worker] = field(default_factory=list)
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _back: threading.Lock = field(default_factory=_closed)

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: Stop) -> bool:
        worker = self._workers.get(threading.get_ident())
        if worker is None:
            self.time += max(0.0, seconds)
            return stop.is_set()
        undo = self._yield(worker, seconds, stop)
        worker.since = self.happened
        undo()
        return stop.is_set()

    def pause(self, seconds: float) -> None:
        """GitHub is slow: time passes, but the thread is still in the midst of what it does."""
        worker = self._workers.get(threading.get_ident())
        if worker is not None:
            self.pausing += 1
            try:
                self._yield(worker, seconds, Stop())
            finally:
                self.pausing -= 1

    def _yield(self, worker: _Worker, seconds: float, stop: Stop) -> Callable[[], None]:
        self.alive()
        worker.until = self.time + max(0.0, seconds)
        self._waiting.append(worker)
        undo = stop.listen(lambda: self._wake(worker))
        self._back.release()
        worker.go.acquire()
        self.alive()
        return undo

    def alive(self) -> None:
        """Killed, in a thread of a daemon that is gone."""
        if self.killed and threading.get_ident() in self._workers:
            raise Killed

    def working(self) -> bool:
        """Whether this is a thread of the daemon."""
        return threading.get_ident() in self._workers

    def has(self, name: str) -> bool:
        """Whether a thread of this name lives."""
        return any(worker.name == name for worker in self._workers.values())

    def since(self) -> int:
        """What had happened when the thread that works now last came back from waiting."""
        worker = self._workers.get(threading.get_ident())
        return worker.since if worker else self.happened

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        worker = _Worker(name, since=self.happened)

        def run() -> None:
            worker.go.acquire()
            self._workers[threading.get_ident()] = worker
            try:
                self.alive()
                work()
            except Killed:
                pass
            except BaseException as bug:  # noqa: BLE001 - told by the oracle
                self.broke.append(bug)
            finally:
                del self._workers[threading.get_ident()]
                self._back.release()

        self._ready.append(worker)
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def settle(self) -> None:
        """Turns for everybody, until all wait. The loop comes last: when it ends, it waits for its jobs."""
        while self._ready:
            worker = next((one for one in self._ready if one.name != "daemon"), self._ready[0])
            self._ready.remove(worker)
            worker.go.release()
            assert self._back.acquire(timeout=HUNG), f"{worker.name} hangs"

    def advance(self, seconds: float) -> None:
        """Let time pass, and everybody work when it is their time."""
        self.settle()
        end = self.time + seconds
        while self._waiting and not self.killed:
            earliest = min(worker.until for worker in self._waiting)
            if earliest > end:
                break
            self._reach(earliest)
        self.time = max(self.time, end)

    def jump(self, seconds: float) -> None:
        """Time is over at once, as after the machine slept."""
        self.settle()
        self._reach(self.time + seconds)

    def kill(self) -> None:
        """Everybody ends where they are."""
        self.killed = True
        for worker in list(self._waiting):
            self._wake(worker)
        self.settle()
        self.killed = False

    def _reach(self, moment: float) -> None:
        self.time = max(self.time, moment)
        for worker in sorted(self._waiting, key=lambda one: one.until):
            if worker.until <= self.time:
                self._wake(worker)
        self.settle()

    def _wake(self, worker: _Worker) -> None:
        if worker in self._waiting:
            self._waiting.remove(worker)
            self._ready.append(worker)
