"""Whether jobs can work in one repository: what they met there, for the loop to see."""

from __future__ import annotations

import threading

from orchestrator.patience import LONGEST


class Standing:
    """Thread-safe. While jobs are shut out, one of them is let in every `LONGEST` seconds to find out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason = ""
        self._until = 0.0
        self._doubted = False

    @property
    def reason(self) -> str:
        """Why no job can work here; "" when one can."""
        with self._lock:
            return self._reason

    def shut(self, reason: str, now: float) -> None:
        """A job met what every other one would meet, too."""
        with self._lock:
            self._reason, self._until = reason, now + LONGEST

    def opened(self) -> None:
        """A job got through."""
        with self._lock:
            self._reason = ""

    def admits(self, now: float) -> bool:
        """Whether a job may start; while they are shut out, one alone."""
        with self._lock:
            return not self._reason or self._until <= now

    def enters(self, now: float) -> None:
        """A job starts."""
        with self._lock:
            self._until = now + LONGEST

    def doubt(self) -> None:
        """A job was told no in a way that may be about the whole repository."""
        with self._lock:
            self._doubted = True

    def take_doubt(self) -> bool:
        """Whether there was doubt since this was asked last."""
        with self._lock:
            doubted, self._doubted = self._doubted, False
            return doubted
