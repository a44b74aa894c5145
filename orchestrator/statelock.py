"""Who works with the state file: the lock beside it, and what stands in that.

The operating system releases it when its holder dies; its file stays. It says nothing of other machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.clock import Stop
from orchestrator.statefile import beside

LOCK_TRIES = 10
_PAUSE = 0.05  # seconds between two of them


@dataclass(frozen=True)
class Holder:
    """The living daemon that holds the state file; `open_files` where the system tells."""

    pid: int
    since: float
    open_files: int | None = None


def _try(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(beside(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def lock(path: Path) -> int:
    """The file descriptor that holds the lock. OSError while a daemon has it.

    A `status` that looks who holds the lock holds it for a moment itself.
    """
    for _ in range(LOCK_TRIES):
        try:
            return _try(path)
        except BlockingIOError:
            Stop().wait(_PAUSE)
    return _try(path)


def holder(path: Path) -> Holder | None:
    """Who holds the state file now, None when nobody does. `pid` is 0 while a daemon starts."""
    file = beside(path, ".lock")
    if not file.exists():
        return None
    try:
        os.close(_try(path))
    except OSError:
        pid, since = ([*file.read_text().split(), "0", "0"])[:2]
        files: int | None = None
        with contextlib.suppress(OSError):
            files = len(list(Path(f"/proc/{int(pid)}/fd").iterdir()))
        return Holder(int(pid), float(since), files)
    return None
