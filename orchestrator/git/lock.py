"""A lock that holds between threads and between processes."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType


class Lock:
    """Re-entrant for its thread; exclusive against every other thread and process that uses the same file.

    The operating system releases it when the holder dies; children never inherit it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._handle = -1

    def __enter__(self) -> Lock:
        self._lock.acquire()
        try:
            if self._depth == 0:
                self._handle = self._take()
            self._depth += 1
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            os.close(self._handle)
        self._lock.release()

    def _take(self) -> int:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except BaseException:
            os.close(handle)
            raise
        return handle
