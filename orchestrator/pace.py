"""How long the loop rests between two polls, and how long GitHub's hourly limit lasts.

Guaranteed: never more polls than GitHub asks for, whatever `POLL_INTERVAL` says (its own server is asked at most as
often as one round of serial requests takes). While less than a tenth of the hourly limit is left, and it falls, the
rests are stretched so that it lasts until GitHub sets it back; said once each time.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.log import get
from orchestrator.record import Quota

REQUEST = 0.15  # seconds that one list of one repository takes at least
LISTS = 2  # of each repository
LOW = 0.1  # of the limit
KNOWN_AFTER = 300.0  # seconds of polling that tell a pace
_DAY = 86400.0


class Pace:
    """For the loop's thread alone."""

    def __init__(self, interval: float, repos: int, public: bool) -> None:
        """`interval`: wanted, in seconds; `public`: GitHub's own server, not one of somebody's own."""
        self._interval = max(interval, REQUEST * repos * LISTS) if public else interval
        self._last: Quota | None = None
        self._since = 0.0  # GitHub's time
        self._spent = 0.0  # requests since then
        self._slow = False

    @property
    def interval(self) -> float:
        """The rest while there is enough left of the limit."""
        return self._interval

    def rest(self, said: Quota | None) -> float:
        """Seconds until the next poll; `said`: by GitHub in its last answer."""
        if said is None:
            return self._interval
        last, self._last = self._last or said, said
        new_hour = said.reset > last.reset
        spent = 0 if new_hour else max(0, last.remaining - said.remaining)
        self._count(said, spent)
        if new_hour or said.remaining >= LOW * said.limit:
            if self._slow:
                get().info("polls_at_full_pace", remaining=said.remaining)
            self._slow = False
            return self._interval
        left = max(0.0, said.reset - said.at)
        rest = min(left, max(self._interval, left * spent / max(1, said.remaining)))
        if rest > self._interval and not self._slow:
            self._slow = True
            get().warning("polls_slowed_down", remaining=said.remaining, of=said.limit, reset_in_seconds=round(left))
        return max(self._interval, rest)

    def forecast(self) -> Quota | None:
        """What GitHub said last, with our pace of the last day."""
        if self._last is None:
            return None
        passed = self._last.at - self._since
        return replace(self._last, per_hour=self._spent / passed * 3600 if passed >= KNOWN_AFTER else None)

    def _count(self, said: Quota, spent: int) -> None:
        self._since = self._since or said.at
        self._spent += spent
        if said.at - self._since > _DAY:
            # What is long ago weighs less and less.
            self._spent /= 2
            self._since = said.at - (said.at - self._since) / 2
