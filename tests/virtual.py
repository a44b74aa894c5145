"""Time for tests: it moves only when every thread of the daemon waits for it.

`run_until` lets the threads work, and when all of them wait for time, checks the condition and moves on to
the earliest moment that somebody waits for. A test of a day takes as long as the work in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.clock import Stop

HUNG = 60.0  # real seconds without everybody waiting: something hangs


@dataclass(eq=False)
class _Waiter:
    until: float
    name: str
    woken: bool = False


@dataclass
class VirtualClock:
    """Satisfies `orchestrator.clock.Clock`."""

    time: float = 1_790_000_000.0
    _known: set[int] = field(default_factory=set)
    _working: int = 0
    _waiters: list[_Waiter] = field(default_factory=list)
    _change: threading.Condition = field(default_factory=threading.Condition)

    def now(self) -> float:
        with self._change:
            return self.time

    def wait(self, seconds: float, stop: Stop) -> bool:
        if threading.get_ident() not in self._known:
            self.advance(max(0.0, seconds))
            return stop.is_set()
        waiter = _Waiter(self.time + max(0.0, seconds), threading.current_thread().name)
        with self._change:
            self._waiters.append(waiter)
        undo = stop.listen(lambda: self._wake(waiter))
        with self._change:
            self._working -= 1
            self._change.notify_all()
            while not waiter.woken:
                self._change.wait()
        undo()
        return stop.is_set()

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        def run() -> None:
            with self._change:
                self._known.add(threading.get_ident())
            try:
                work()
            finally:
                with self._change:
                    self._known.discard(threading.get_ident())
                    self._working -= 1
                    self._change.notify_all()

        with self._change:
            self._working += 1
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def advance(self, seconds: float) -> None:
        """Move time by hand, whatever the threads do."""
        with self._change:
            self.time += seconds
            due = [w for w in self._waiters if w.until <= self.time]
        for waiter in due:
            self._wake(waiter)

    def run_until(self, condition: Callable[[], bool], most: float = 86_400.0) -> None:
        """Let the daemon work until `condition` holds while everybody waits; AssertionError after `most` seconds."""
        end = self.time + most
        while True:
            self.settle()
            if condition():
                return
            with self._change:
                assert self._waiters, "nobody waits for time, so nothing can happen any more"
                earliest = min(w.until for w in self._waiters)
            assert earliest <= end, f"the condition did not come true within {most} s"
            self.advance(max(0.0, earliest - self.time))

    def pass_until(self, moment: float) -> None:
        """Let the daemon work through all that is due until this moment, and move there."""
        while True:
            self.settle()
            with self._change:
                earliest = min((w.until for w in self._waiters), default=moment)
            if earliest >= moment:
                break
            self.advance(max(0.0, earliest - self.time))
        self.advance(max(0.0, moment - self.time))
        self.settle()

    def settle(self) -> None:
        """Block until every thread waits for time."""
        deadline = time.monotonic() + HUNG
        with self._change:
            while self._working:
                left = deadline - time.monotonic()
                assert left > 0, f"{self._working} threads still work: {[t.name for t in threading.enumerate()]}"
                self._change.wait(left)

    def _wake(self, waiter: _Waiter) -> None:
        with self._change:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                waiter.woken = True
                self._working += 1
                self._change.notify_all()
