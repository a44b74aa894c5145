"""A clock that two processes share: virtual time lives in a file, and waiting takes none."""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.clock import Stop

_FORMAT = struct.Struct("d")


class Pace:
    """Satisfies `orchestrator.clock.Clock`; of several processes only one may move it."""

    def __init__(self, path: Path, start: float | None = None) -> None:
        """`start`: make the file, at this time; None: it is there."""
        if start is not None:
            path.write_bytes(_FORMAT.pack(start))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _FORMAT.size)

    def now(self) -> float:
        return float(_FORMAT.unpack(self._map[:])[0])

    def move(self, seconds: float) -> None:
        self._map[:] = _FORMAT.pack(self.now() + seconds)

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.move(max(0.0, seconds))
        return stop.is_set()

    def start(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self._map.close()
