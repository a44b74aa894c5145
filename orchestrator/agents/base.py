"""What the jobs need of a coding agent, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from orchestrator.clock import Stop


class Role(str, Enum):
    """What a run may do: change the working tree, or only read it."""

    IMPLEMENT = "implement"
    REVIEW = "review"


class Outcome(str, Enum):
    """How a run ended. Everything but DONE leaves `RunResult.data` empty."""

    DONE = "done"
    TURNS = "turns"  # the turn limit
    BUDGET = "budget"  # the money limit
    AUTH = "auth"  # not logged in, or refused: nothing can run until the operator acts
    BILLING = "billing"  # the account cannot pay: nothing can run until the operator acts
    USAGE_LIMIT = "usage_limit"  # nothing can run until `resets_at`
    TRANSIENT = "transient"  # the model's service failed: later, as it is
    BAD_REQUEST = "bad_request"  # the model's service refused this very task: never as it is
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    STOPPED = "stopped"  # by us
    CRASHED = "crashed"  # no usable end: an exit without a result, an answer in the wrong form
    MISSING = "missing"  # the program is not there


@dataclass(frozen=True)
class Task:
    """One run. `instructions` is a file appended to the system prompt, `prompt` the data, `log` the full stream."""

    role: Role
    cwd: Path
    instructions: Path
    prompt: str
    session_id: str  # a UUID, new for each session
    run_id: str
    log: Path
    schema: dict[str, Any] | None = None  # JSON schema of the answer wanted in `RunResult.data`
    resume: bool = False  # go on with `session_id` instead of starting it


@dataclass(frozen=True)
class RunResult:
    """What came of a run; a run that was cut short reports what was known by then.

    `detail` says in one sentence for a person why the outcome is not DONE. `resets_at` is in seconds since 1970.
    """

    outcome: Outcome
    text: str
    data: dict[str, Any] | None
    session_id: str
    turns: int
    cost_usd: float
    seconds: float
    detail: str
    resets_at: float | None = None


@dataclass(frozen=True)
class Bounds:
    """The most that one run may take: turns of the model, dollars, seconds in all, seconds of silence."""

    max_turns: int
    budget_usd: float
    total: float
    stall: float


class Agent(Protocol):
    """A coding agent on this machine."""

    name: str

    def run(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        """Do the task within the bounds; trouble of every expected kind is an `Outcome`."""

    def version(self) -> str:
        """The program's own version line; raises Missing with the command that mends it."""

    def probe(self) -> RunResult:
        """One real turn of the model in an empty folder, to see that the agent can work at all."""
