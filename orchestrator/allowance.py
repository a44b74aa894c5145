"""The limits of a day on agent runs, kept in the state file so that they hold across restarts.

Guaranteed: `take` looks and writes in one step, so that two jobs never get the same last dollar; what a run may cost at
the most is set aside while it is under way, and stays so when nobody hears of its end.
Left alone: a program that spends more than the budget that it was given (see `agents`).
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator import refusals
from orchestrator.clock import Clock
from orchestrator.decide.limits import Limits, enough_at, left_usd, recent, run_at
from orchestrator.model import Actor
from orchestrator.record import Spent
from orchestrator.settings import Settings
from orchestrator.state import State


class Exhausted(Exception):
    """A limit of the day is reached: why, until when, and whether that is so for everybody."""

    def __init__(self, reason: str, until: float, for_all: bool) -> None:
        super().__init__(reason)
        self.until = until
        self.for_all = for_all


class Allowance:
    """What all runs of one daemon share. Thread-safe."""

    def __init__(self, state: State, settings: Settings, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self.limits = limits_of(settings)

    def look(self, actor: Actor | None) -> None:
        """Exhausted while no run that this person causes may begin; None stands for an account that is gone."""
        self._look(self._state.spent, actor)

    def take(self, run_id: str, actor: Actor | None, most: float, counts: bool) -> float:
        """Set aside up to `most` dollars for this run; how many it gets. Exhausted as `look`.

        `counts`: it is one of its person's runs, and not the rest of an earlier one.
        """
        granted = 0.0

        def change(spent: tuple[Spent, ...]) -> tuple[Spent, ...]:
            nonlocal granted
            self._look(spent, actor, counts)
            now = self._clock.now()
            granted = min(most, left_usd(spent, self.limits, now))
            who, login = (_id(actor), actor.login if actor else "") if counts else (0, "")
            return (*recent(spent, now), Spent(now, run_id, granted, who, login))

        self._state.spend(change)
        return granted

    def settle(self, run_id: str, usd: float, counts: bool = True) -> None:
        """What the run cost in the end; without `counts` it is none of its person's runs after all."""

        def change(spent: tuple[Spent, ...]) -> tuple[Spent, ...]:
            now = self._clock.now()
            found = next((one for one in spent if one.run_id == run_id), Spent(now, run_id, 0.0))
            ended = replace(found, usd=usd) if counts else replace(found, usd=usd, actor=0, login="")
            return (*(one for one in recent(spent, now) if one.run_id != run_id), ended)

        self._state.spend(change)

    def exhausted(self) -> tuple[str, float] | None:
        """Why nobody's run may begin, and until when; None while there is enough."""
        try:
            self._look(self._state.spent, None, counts=False)
        except Exhausted as reached:
            return str(reached), reached.until
        return None

    def _look(self, spent: tuple[Spent, ...], actor: Actor | None, counts: bool = True) -> None:
        now = self._clock.now()
        if counts and (until := run_at(spent, _id(actor), self.limits, now)) > now:
            raise Exhausted(
                refusals.runs_used_up(actor.login if actor else None, self.limits.runs), until, for_all=False
            )
        if (until := enough_at(spent, self.limits, now)) > now:
            raise Exhausted(refusals.budget_used_up(self.limits.usd), until, for_all=True)


def limits_of(settings: Settings) -> Limits:
    """The limits that the operator set."""
    return Limits(settings.max_runs_per_actor_day, settings.daily_budget_usd, settings.run_budget_usd)


def _id(actor: Actor | None) -> int:
    # GitHub shows what a deleted account left under one name, so it is counted as one person; 0 counts for nobody.
    return actor.id if actor else -1
