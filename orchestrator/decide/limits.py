"""What agent runs may still take today: pure, from what was taken, the limits and the time.

A day is the last 24 hours, so a limit that is reached moves on by itself and has no midnight to wait for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.record import Spent

DAY = 86400.0
LEAST_USD = 0.5  # with less an agent gets nowhere, and what it takes is lost


@dataclass(frozen=True)
class Limits:
    """The operator's: runs of one person and dollars of all within a day, dollars of one run."""

    runs: int
    usd: float
    run_usd: float

    @property
    def least(self) -> float:
        """Dollars without which no run begins."""
        return min(LEAST_USD, self.run_usd, self.usd)


def recent(spent: Iterable[Spent], now: float) -> tuple[Spent, ...]:
    """What still counts."""
    return tuple(one for one in spent if now - one.at < DAY)


def left_usd(spent: Iterable[Spent], limits: Limits, now: float) -> float:
    """Dollars that are neither spent nor set aside; never below 0."""
    return max(0.0, limits.usd - sum(one.usd for one in recent(spent, now)))


def enough_at(spent: Iterable[Spent], limits: Limits, now: float) -> float:
    """When there is enough for a run: `now`, or when so much of what was spent has left the day."""
    counted = sorted(recent(spent, now), key=lambda one: one.at)
    taken = sum(one.usd for one in counted)
    at = now
    for one in counted:
        if limits.usd - taken >= limits.least - 1e-9:
            break
        taken -= one.usd
        at = one.at + DAY
    return at


def runs_left(spent: Iterable[Spent], actor: int, limits: Limits, now: float) -> int:
    """Runs that this person may still cause."""
    return max(0, limits.runs - sum(one.actor == actor for one in recent(spent, now)))


def run_at(spent: Iterable[Spent], actor: int, limits: Limits, now: float) -> float:
    """When this person may cause the next run: `now`, or when enough of theirs have left the day."""
    theirs = sorted(one.at for one in recent(spent, now) if one.actor == actor)
    return theirs[-limits.runs] + DAY if len(theirs) >= limits.runs else now
