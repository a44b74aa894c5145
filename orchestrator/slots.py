"""The jobs under way: each in a thread of its own, told to stop one by one or all together.

Guaranteed: no job runs twice at a time; `end` leaves no process of a run and no git child behind, whatever the
threads wait for. What a thread was about to record is then lost, as in a crash, and the next start looks for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from orchestrator import process
from orchestrator.clock import Clock, Stop
from orchestrator.git import lfs_transfer
from orchestrator.git.run import end_all
from orchestrator.jobs.desk import Desk
from orchestrator.jobs.perform import perform

STOP_WITHIN = 3.7  # seconds for everything to end after a signal; an agent that ignores SIGTERM takes 3
GRACE = 1.0  # of these, for a poll and for git commands to come to their own end


class Slots:
    """Thread-safe."""

    def __init__(self, clock: Clock, halt: Stop, freed: Callable[[], object]) -> None:
        """`halt` stops every job; `freed` is called in a job's thread when it is over."""
        self._clock = clock
        self._halt = halt
        self._freed = freed
        self._lock = threading.Lock()
        self._running: dict[str, tuple[threading.Thread, Stop]] = {}
        self._ending = threading.Lock()
        self._halted_at = math.inf
        halt.listen(self._note_halt)

    def busy(self) -> set[str]:
        """The jobs under way."""
        with self._lock:
            return set(self._running)

    def threads(self) -> list[threading.Thread]:
        with self._lock:
            return [thread for thread, _ in self._running.values()]

    def start(self, key: str, desk: Callable[[Stop], Desk], reason: str = "") -> None:
        """A thread for the job, unless it has one; with a `reason` it is told to stop before it begins."""
        stop = Stop()
        if reason:
            stop.set(reason)
        undo = self._halt.listen(lambda: stop.set(self._halt.reason))
        at_desk = desk(stop)

        def work() -> None:
            try:
                perform(at_desk)
            finally:
                undo()
                with self._lock:
                    del self._running[key]
                self._freed()

        with self._lock:
            if key not in self._running:
                self._running[key] = (self._clock.start(work, key), stop)

    def stop(self, key: str, reason: str) -> bool:
        """Tell a job to stop; whether it was under way."""
        with self._lock:
            found = self._running.get(key)
        if found is None:
            return False
        _, stop = found
        stop.set(reason)
        return True

    def end(self, runs: Callable[[set[str]], list[str]]) -> None:
        """After the halt: wait, then kill. `runs`: the run ids of jobs that still hang. Again is harmless."""
        self._note_halt()
        with self._ending:
            self._join(GRACE)
            end_all()
            lfs_transfer.end_all()
            self._join(STOP_WITHIN)
            for run in runs(self.busy()):
                process.sweep(run)

    def _note_halt(self) -> None:
        self._halted_at = min(self._halted_at, time.monotonic())

    def _join(self, within: float) -> None:
        """Wait for the jobs' threads until `within` seconds after the halt."""
        for thread in self.threads():
            thread.join(max(0.0, self._halted_at + within - time.monotonic()))
