"""What a child may take of the machine, set from outside right after its start."""

from __future__ import annotations

import contextlib
import resource
import time
from pathlib import Path

MOST_TASKS = 4096  # that a run may start beside what the machine runs already


def hold(pid: int) -> None:
    """Let a bomb hit itself: set right after the start, and inherited by everything that comes of it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # gone already, or another system
        for _ in range(20):
            # Linux hands a process to its user only some moments after its exec has closed the pipe we waited for.
            with contextlib.suppress(PermissionError):
                Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
                break
            time.sleep(0.001)
        tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        most = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        wanted = tasks + MOST_TASKS
        resource.prlimit(pid, resource.RLIMIT_NPROC, (wanted, wanted) if most < 0 or most > wanted else (most, most))
