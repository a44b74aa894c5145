"""The agent of a simulation: takes its time, leaves work behind piece by piece, and ends in every way there is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.agents.base import Bounds, Outcome, Role, RunResult, Task
from orchestrator.clock import Clock, Stop
from tests.simulation.git import SimMirror, SimWorktree

FOLDER = "agent/"  # where the pieces of work lie
MADE = "made"
NO_CHANGE = "no change"
IMPLEMENT = [MADE] * 10 + ["commits"] * 3 + [NO_CHANGE] * 2
IMPLEMENT += ["crashed", "timed_out", "stalled", "turns", "budget", "bad_request", "transient"]
REVIEW = [MADE] * 8 + ["crashed", "timed_out", "stalled", "transient"]
GOOD = {MADE, NO_CHANGE, "commits"}
ANSWER = {"summary": "It was read.", "verdict": "comment", "findings": []}


@dataclass
class Service:
    """How the agent's service is: nobody can work before `until` (seconds since 1970), for this reason."""

    outcome: Outcome | None = None
    until: float = 0.0
    names_end: bool = True


@dataclass
class ScriptedAgent:
    """Satisfies `orchestrator.agents.base.Agent`; outlives the daemon, as the sessions on a disk do."""

    clock: Clock
    mirror: SimMirror
    dice: random.Random
    live: Counter[str] = field(default_factory=Counter)
    began: Callable[[str], None] = lambda name: None
    service: Service = field(default_factory=Service)
    luck: bool = True  # whether runs may also go wrong
    made: set[str] = field(default_factory=set)  # paths of work that must not be lost
    runs: int = 0
    probes: int = 0
    told: list[str] = field(default_factory=list)  # everything that an agent got to see
    name: str = "scripted"
    _sessions: set[str] = field(default_factory=set)
    _ends: dict[str, RunResult] = field(default_factory=dict)

    def run(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        self.told.append(task.prompt)
        if task.resume and task.session_id not in self._sessions:
            return self._end(task, Outcome.NO_SESSION, "No conversation found with that id.")
        if trouble := self._trouble(task.session_id):
            return trouble
        self.runs += 1
        task.log.write_bytes(b"{}\n")
        self._sessions.add(task.session_id)
        self.live[task.cwd.name] += 1
        self.began(task.cwd.name)
        try:
            return self._work(task, bounds, stop)
        finally:
            self.live[task.cwd.name] -= 1

    def _work(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        reads = task.role is Role.REVIEW
        plan = self.dice.choice(REVIEW if reads else IMPLEMENT) if self.luck else MADE
        if plan in ("stalled", "timed_out"):
            stopped = self.clock.wait(bounds.stall if plan == "stalled" else bounds.total, stop)
            return self._end(task, Outcome.STOPPED if stopped else Outcome(plan), "It said nothing any more.")
        for part in range(self.dice.randint(1, 4)):
            if self.clock.wait(self.dice.choice((5, 30, 120, 400)), stop):
                return self._end(task, Outcome.STOPPED, "")
            if not reads and plan != NO_CHANGE:
                self._write(task, f"{FOLDER}{self.runs}-{part}.txt", plan == "commits" or self.dice.random() < 0.2)
        if plan not in GOOD:
            return self._end(task, Outcome(plan), f"It ended badly: {plan}.")
        if trouble := self._trouble(task.session_id):
            return trouble
        self._ends[task.run_id] = self._end(task, Outcome.DONE, "")
        self.mirror.edge("agent")
        return self._ends[task.run_id]

    def _write(self, task: Task, path: str, commit: bool) -> None:
        self.made.add(path)
        SimWorktree(self.mirror, task.cwd).write(path, path.encode(), commit)
        self.mirror.edge("agent")

    def _end(self, task: Task, outcome: Outcome, detail: str) -> RunResult:
        data = ANSWER if task.schema is not None and outcome is Outcome.DONE else None
        return RunResult(outcome, "Done as asked.", data, task.session_id, 2, 0.25, 60.0, detail)

    def _trouble(self, session: str) -> RunResult | None:
        service, now = self.service, self.clock.now()
        if service.outcome is None or now >= service.until:
            return None
        resets = service.until if service.names_end and service.outcome is Outcome.USAGE_LIMIT else None
        return RunResult(service.outcome, "", None, session, 0, 0.0, 1.0, "Nobody can work now.", resets)

    def read_back(self, task: Task, bounds: Bounds) -> RunResult | None:
        return self._ends.get(task.run_id)

    def version(self) -> str:
        return "0.0.0 (scripted)"

    def check(self) -> str:
        return self.version()

    def probe(self, stop: Stop) -> RunResult:
        self.probes += 1
        return self._trouble("") or RunResult(Outcome.DONE, "yes", None, "", 1, 0.01, 1.0, "")
