"""The daemon's state without a write per change: a restart reads a real file, written when the daemon ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.errors import Stopped
from orchestrator.record import Job, Quota
from orchestrator.state import State
from orchestrator.statefile import RepoMemory


class QuickState(State):
    """What `put` was given is what the next `open` finds, as with the file that is replaced each time."""

    worth = True  # whether somebody will read the file

    def _save(self, jobs: dict[str, Job], repos: dict[str, RepoMemory], rest: dict[str, Any] | None = None) -> None:
        if self._fd is None:
            raise Stopped("the state file is closed")
        self._jobs, self._repos = jobs, repos
        self._rest = self._rest if rest is None else rest

    def beat(self, quota: Quota | None = None) -> None:
        """Nobody asks for the status."""

    def requests(self) -> list[tuple[Path, str, str]]:
        return []

    def close(self) -> None:
        """Write the file, let go of the lock."""
        if self._fd is not None and self.worth:
            State._save(self, self._jobs, self._repos)
        super().close()
