"""The daemon as a process of its own, in virtual time that its parent sets the pace of and shares with GitHub.

Started as `python -m tests.simulation.soaked SETTINGS`, it reads moments from stdin, lets time pass until then, and
answers each with a line of what is under way.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import struct
import sys
import threading
from pathlib import Path
from typing import Any

import structlog

from orchestrator import heap
from orchestrator.daemon import Daemon
from orchestrator.record import Status
from orchestrator.settings import Settings
from orchestrator.state import State
from tests.virtual import VirtualClock

BEGIN = 1_790_000_000.0
FORMAT = struct.Struct("d")


class SharedTime:
    """A moment in a file that two processes see."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), FORMAT.size)

    @staticmethod
    def make(path: Path) -> SharedTime:
        path.write_bytes(FORMAT.pack(BEGIN))
        return SharedTime(path)

    def get(self) -> float:
        return float(FORMAT.unpack(self._map[:])[0])

    def set(self, moment: float) -> None:
        self._map[:] = FORMAT.pack(moment)

    def close(self) -> None:
        self._map.close()
        self._file.close()


class SharedClock(VirtualClock):
    """Tells the other process when time moves."""

    def __init__(self, shared: SharedTime) -> None:
        super().__init__(shared.get())
        self._shared = shared

    def advance(self, seconds: float) -> None:
        # First the other one's time: what wakes up here asks there.
        self._shared.set(self.time + seconds)
        super().advance(seconds)


def main(given: dict[str, Any]) -> None:
    """Until stdin ends."""
    heap.share()
    level = structlog.make_filtering_bound_logger(40)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=level)
    shared = SharedTime(Path(given["clock"]))
    clock = SharedClock(shared)
    settings = Settings(**given["settings"])
    daemon = Daemon(settings, given["settings"]["github_token"], State.open(settings.state_file), clock=clock)

    def loop() -> None:
        daemon.loop(once=False)

    clock.start(loop, "daemon")
    clock.settle()
    for line in sys.stdin:
        try:
            clock.pass_until(float(line))
        except AssertionError:
            faulthandler.dump_traceback()  # where everybody hangs
            raise
        live = [job.key for job in daemon.state.jobs.values() if job.status in (Status.RUNNING, Status.WAITING)]
        parked = [job.key for job in daemon.state.jobs.values() if job.status is Status.PARKED]
        sys.stdout.write(json.dumps({"live": live, "parked": parked, "threads": threading.active_count()}) + "\n")
        sys.stdout.flush()
    daemon.halt.set("the soak ends")
    clock.settle()
    shared.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
