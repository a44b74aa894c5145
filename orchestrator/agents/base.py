"""What the jobs need of a coding agent, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    CRASHED = "crashed"  # no usable end
    INCOMPLETE = "incomplete"  # no end at all: an exit without a result, or silence from the first second on
    FORM = "form"  # a good end, but no answer in the form that was asked for
    MISSING = "missing"  # the program is not there
    NO_SESSION = "no_session"  # the run that was to be gone on with is not known any more


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
    env: Mapping[str, str] = field(default_factory=dict)  # variables of its worktree
    see: tuple[Path, ...] = ()  # what it may read beside `cwd`
    write: tuple[Path, ...] = ()  # what it may write to beside a scratch folder, whatever its role
    keep: Path | None = None  # where its program may keep what going on with a session needs; None: nowhere
    resume: bool = False  # go on with `session_id` instead of starting it


@dataclass(frozen=True)
class RunResult:
    """What came of a run; a run that was cut short reports what was known by then.

    `detail` says in one sentence for a person why the outcome is not DONE. `resets_at` is in seconds since 1970.
    `billed`: what `cost_usd` is for, in tokens of the price of input, 0 where nothing tells; on a resumed session it
    may hold earlier processes too. `tokens`: what was seen to be used at least, where `billed` does not tell.
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
    tokens: float = 0.0
    billed: float = 0.0


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

    def read_back(self, task: Task, bounds: Bounds) -> RunResult | None:
        """What a run whose end nobody saw came to, by its log: INCOMPLETE without a result, None without a log."""

    def version(self) -> str:
        """The program's own version line; raises Missing with the command that mends it."""

    def check(self) -> str:
        """As `version`, and that the program still takes what it is called with; free while the file is the same."""

    def probe(self, stop: Stop) -> RunResult:
        """One real turn of the model in an empty folder, to see that the agent can work at all."""
