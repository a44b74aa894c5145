"""Time, waiting and stopping: the only place that sleeps.

Everything that waits does so through a `Clock`, so that a test drives days in milliseconds
and a signal ends every wait at once. Limits on running processes are the exception: they use
the operating system's monotonic clock directly (see `process`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Stop:
    """A request to stop, set once, with a reason. Waiters wake; listeners are called in the setter's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self.reason = ""

    def set(self, reason: str) -> None:
        """Ask to stop. The first reason wins; later calls change nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            listeners = list(self._listeners)
        for call in listeners:
            call()

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Block up to `seconds` of real time; True when a stop was asked for."""
        return self._event.wait(seconds)

    def listen(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` when the stop is set (at once when it already is); returns the undo."""
        with self._lock:
            already = self._event.is_set()
            if not already:
                self._listeners.append(call)
        if already:
            call()

        def undo() -> None:
            with self._lock:
                if call in self._listeners:
                    self._listeners.remove(call)

        return undo


class Clock(Protocol):
    """What the daemon needs of time. `SystemClock` is the real one; tests bring a virtual one."""

    def now(self) -> float:
        """Wall-clock seconds since 1970; for records and GitHub's times, never for limits."""

    def wait(self, seconds: float, stop: Stop) -> bool:
        """Block the calling thread for `seconds` or until `stop`; True when stopped."""

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        """Run `work` in a new daemon thread that this clock knows of."""


class SystemClock:
    """The machine's own time, which nobody can set: it goes on from what the wall clock showed at first, also asleep.

    Left alone: under Python 3.10 a wait during which the wall clock is set back lasts longer by as much (bpo-41710).
    """

    def __init__(self) -> None:
        self._ahead = time.time() - _since_boot()

    def agree(self, now: float) -> None:
        """Take over somebody else's time, to the second; before anything waits."""
        if abs(now - self.now()) >= 1:
            self._ahead = now - _since_boot()

    def now(self) -> float:
        return _since_boot() + self._ahead

    def wait(self, seconds: float, stop: Stop) -> bool:
        return stop.wait(max(0.0, seconds))

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread


def _since_boot() -> float:
    """Seconds that no setting of a clock moves, sleep included (on macOS CLOCK_MONOTONIC counts it)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
