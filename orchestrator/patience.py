"""Which repositories are asked in a poll: one that fails is asked less and less often.

Guaranteed: the first failure costs nothing (the next poll asks again); after that the pauses double up to five
minutes; the first good poll ends them.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 300.0  # seconds


@dataclass(frozen=True)
class Trouble:
    """Why a repository cannot be asked; `lasting`: somebody has to do something about it."""

    reason: str
    lasting: bool
    times: int  # in a row
    until: float


class Patience:
    """The troubles of all repositories. For the loop's thread alone."""

    def __init__(self, interval: float) -> None:
        """`interval`: seconds between two polls."""
        self._interval = interval
        self._troubles: dict[str, Trouble] = {}

    def due(self, name: str, now: float) -> bool:
        """Whether this poll should ask the repository."""
        trouble = self._troubles.get(name)
        return trouble is None or trouble.until <= now

    def reachable(self, name: str) -> bool:
        """Whether its last poll was good: jobs would only meet the same trouble."""
        return name not in self._troubles

    def trouble(self, name: str) -> Trouble | None:
        return self._troubles.get(name)

    def failed(self, name: str, now: float, reason: str, lasting: bool) -> None:
        """The poll failed at `now`."""
        last = self._troubles.get(name)
        times = last.times + 1 if last else 1
        pause = min(self._interval * (2 ** min(times - 1, 20) - 1), LONGEST)
        self._troubles[name] = Trouble(reason, lasting, times, now + pause)

    def answered(self, name: str) -> None:
        """The poll was good."""
        self._troubles.pop(name, None)
