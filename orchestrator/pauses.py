"""Pauses of the whole daemon: what is no item's fault stops everything that needs it, once, and ends by itself.

Guaranteed: while the agent cannot work for anybody (its account's limit, its login, its program, its service) no item
tries and none loses an attempt; a probe of one turn, not an item, finds out when it works again. While the disk has
less room than `DISK_FLOOR_GB` no worktree is made, while less than a useful rest is left of the day's dollars no
agent is started. Each pause is one log line at its begin and one at its end, stands
in `status`, and outlives a restart.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.agents.base import Agent, Outcome, RunResult
from orchestrator.allowance import Allowance
from orchestrator.clock import Clock, Stop
from orchestrator.decide.schedule import Need
from orchestrator.errors import Misconfigured, Missing, Retry
from orchestrator.log import get
from orchestrator.record import Pause
from orchestrator.state import State

GIGABYTE = 1e9
DISK_AGAIN = 60.0  # seconds

# Seconds before the first probe and between two. A limit that names its end is probed then.
_PROBES = {
    Outcome.USAGE_LIMIT: (1800.0, 900.0),
    Outcome.TRANSIENT: (10.0, 120.0),
    Outcome.MISSING: (60.0, 60.0),
    Outcome.AUTH: (300.0, 300.0),
    Outcome.BILLING: (900.0, 900.0),
}
LONGEST = 6 * 3600.0  # seconds between two looks: somebody may have bought more, or logged in elsewhere
BROKEN = 60.0  # seconds after a probe that could not even be tried
SHARED = frozenset(_PROBES)  # outcomes that would be every item's
# Of a probe: these say nothing about the agent's service, so what was so before is still taken to be so.
_NO_ANSWER = frozenset((Outcome.STOPPED, Outcome.TIMED_OUT, Outcome.STALLED, Outcome.INCOMPLETE))


class Pauses:
    """Thread-safe, but `missing` is for the loop's thread alone."""

    def __init__(
        self,
        state: State,
        agent: Agent,
        clock: Clock,
        halt: Stop,
        ended: Callable[[], object],
        base: Path,
        floor: float,
        allowance: Allowance,
    ) -> None:
        """`ended` is called after each probe; `base`: where worktrees are made; `floor`: gigabytes."""
        self.allowance = allowance
        self._state = state
        self._agent = agent
        self._clock = clock
        self._halt = halt
        self._ended = ended
        self._base = base
        self._floor = floor
        self._lock = threading.Lock()
        self._probing = False
        self._started_now = True  # a pause of the daemon before this one is looked at once, whenever it was to end

    def begin(self, result: RunResult) -> float:
        """A run ended with one of `SHARED`: until when nobody runs, on our clock."""
        with self._lock:
            now = self._clock.now()
            first, _ = _PROBES[result.outcome]
            until = min(max(now + 60.0, result.resets_at), now + LONGEST) if result.resets_at else now + first
            self._note(Pause(Need.AGENT.value, result.outcome.value, result.detail, now, until))
            return until

    def missing(self) -> frozenset[Need]:
        """What nothing may start with now; probes what is due."""
        self._look_at_disk()
        self._look_at_budget()
        with self._lock:
            pause = self._state.pauses.get(Need.AGENT.value)
            due = pause is not None and (self._started_now or pause.until <= self._clock.now())
            self._started_now = False
            if pause and due and not self._probing and not self._halt.is_set():
                self._clock.start(lambda: self._probe(pause), "probe")
                self._probing = True
        return frozenset(need for need in Need if need.value in self._state.pauses)

    def _probe(self, pause: Pause) -> None:
        try:
            trouble = self._ask(Outcome(pause.kind))
            with self._lock:
                if trouble is None:
                    self._end(Need.AGENT)
                elif not self._halt.is_set():
                    now = self._clock.now()
                    _, again = _PROBES[trouble.outcome]
                    until = min(max(now + again, trouble.resets_at or 0.0), now + LONGEST)
                    self._note(Pause(pause.what, trouble.outcome.value, trouble.detail, pause.since, until))
        except Exception:  # noqa: BLE001 - logged whole
            get().exception("probe_broke")
            with self._lock:
                self._note(replace(pause, until=self._clock.now() + BROKEN))
        finally:
            with self._lock:
                self._probing = False
            self._ended()

    def _ask(self, kind: Outcome) -> RunResult | None:
        """What still keeps everybody from working, None when nothing does."""
        try:
            self._agent.check()
        except (Missing, Misconfigured) as trouble:
            return RunResult(Outcome.MISSING, "", None, "", 0, 0.0, 0.0, str(trouble))
        if kind is Outcome.MISSING:
            return None
        result = self._agent.probe(self._halt)
        get().info("agent_probed", outcome=result.outcome.value, cost_usd=result.cost_usd)
        if result.cost_usd:
            self.allowance.settle(f"probe-{self._clock.now():.0f}", result.cost_usd)
        if result.outcome in _NO_ANSWER:
            return replace(result, outcome=kind)
        return result if result.outcome in SHARED else None

    def _look_at_disk(self) -> None:
        place = next(p for p in (self._base, *self._base.parents) if p.exists())
        free = shutil.disk_usage(place).free / GIGABYTE
        paused = self._state.pauses.get(Need.DISK.value)
        if free >= self._floor:
            if paused:
                self._end(Need.DISK)
        elif not paused:
            now = self._clock.now()
            why = f"Only {free:.1f} GB are free in {place}; DISK_FLOOR_GB is {self._floor:g}. Make room."
            self._note(Pause(Need.DISK.value, "full", why, now, now + DISK_AGAIN))

    def why_not(self, need: Need) -> str:
        """What is told of a pause that is on; "" while there is none."""
        pause = self._state.pauses.get(need.value)
        return pause.reason if pause else ""

    def _look_at_budget(self) -> None:
        exhausted = self.allowance.exhausted()
        paused = self._state.pauses.get(Need.BUDGET.value)
        if exhausted is None:
            if paused:
                self._end(Need.BUDGET)
            return
        reason, until = exhausted
        now = self._clock.now()
        if paused is None or paused.until != until:
            self._note(Pause(Need.BUDGET.value, "spent", reason, paused.since if paused else now, until))

    def _note(self, pause: Pause) -> None:
        before = self._state.pauses.get(pause.what)
        with contextlib.suppress(Retry):  # the disk is full, which the loop tells of; it is tried again
            self._state.put_pause(pause)
        if before is None or before.kind != pause.kind:
            seconds = round(pause.until - self._clock.now())
            get().error("paused", what=pause.what, reason=pause.reason, again_in_seconds=seconds)

    def _end(self, what: Need) -> None:
        pause = self._state.pauses.get(what.value)
        if pause is not None:
            try:
                self._state.end_pause(what.value)
            except Retry:
                return  # the disk is full; it is tried again
            get().info("goes_on", what=what.value, paused_for_seconds=round(self._clock.now() - pause.since))
