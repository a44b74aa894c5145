"""Which repositories are asked in a poll: one that fails is asked less and less often, and said so once.

Guaranteed: the first failure costs nothing (the next poll asks again); after that the pauses double up to five
minutes; the first good poll ends them. One log line for each reason, not for each poll, and one at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.log import get

LONGEST = 300.0  # seconds


@dataclass(frozen=True)
class _Trouble:
    reason: str
    times: int  # in a row
    until: float


class Patience:
    """The troubles of all repositories. For the loop's thread alone."""

    def __init__(self, interval: float) -> None:
        """`interval`: seconds between two polls."""
        self._interval = interval
        self._troubles: dict[str, _Trouble] = {}

    def due(self, name: str, now: float) -> bool:
        """Whether this poll should ask the repository."""
        trouble = self._troubles.get(name)
        return trouble is None or trouble.until <= now

    def reachable(self, name: str) -> bool:
        """Whether its last poll was good: jobs would only meet the same trouble."""
        return name not in self._troubles

    def failed(self, name: str, now: float, reason: str) -> None:
        """The poll failed at `now`."""
        last = self._troubles.get(name)
        times = last.times + 1 if last else 1
        pause = min(self._interval * (2 ** min(times - 1, 20) - 1), LONGEST)
        self._troubles[name] = _Trouble(reason, times, now + pause)
        if last is None or last.reason != reason:
            get().warning("repository_set_aside", repo=name, reason=reason)

    def answered(self, name: str) -> None:
        """The poll was good."""
        trouble = self._troubles.pop(name, None)
        if trouble is not None:
            get().info("repository_back", repo=name, failed_polls=trouble.times)
