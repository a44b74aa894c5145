"""What the daemon remembers: its jobs and what they wait for, as frozen data. Times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

CUT = "cut"  # as the fact `left`: a run began, and its log tells what came of it


class Kind(str, Enum):
    """The three jobs."""

    IMPLEMENT = "implement"
    REVIEW = "review"
    MERGE = "merge"


class Status(str, Enum):
    """Where a job stands. `RUNNING` in a file that nobody holds means: cut off, go on."""

    RUNNING = "running"
    WAITING = "waiting"  # tries again by itself at `not_before`
    PARKED = "parked"  # only a person's act wakes it
    DONE = "done"


@dataclass(frozen=True)
class Pause:
    """Nothing that needs `what` starts before that works again; `until`: when it is tried next."""

    what: str  # "agent" or "disk"
    kind: str  # why, in one word: an agent's outcome, or "full"
    reason: str
    since: float
    until: float


@dataclass(frozen=True)
class Aside:
    """A repository that is not served, with the reason; `still`: what is done in it nevertheless."""

    repo: str
    reason: str
    since: float
    still: str = ""


@dataclass(frozen=True)
class Quota:
    """What GitHub said of the hourly limit, on its own clock; `per_hour`: what we took of late, None: not known yet."""

    limit: int
    remaining: int
    reset: float
    at: float
    per_hour: float | None = None

    @property
    def hours_left(self) -> float | None:
        """How long it would last if nothing was added at `reset`; None: for ever, or not known yet."""
        return self.remaining / self.per_hour if self.per_hour else None


@dataclass(frozen=True)
class Spent:
    """One agent run, for the limits of a day; `actor`: the id of who caused it, 0 for nobody or not for the first time.

    `usd` is set aside when it begins and is what it cost from its end on.
    """

    at: float
    run_id: str
    usd: float
    actor: int = 0
    login: str = ""


@dataclass(frozen=True)
class Job:
    """One story under way, as the state file keeps it: everything a restart needs to go on.

    `effects` maps an effect's natural key to its outcome; None there means "announced, outcome unknown".
    """

    repo: str
    kind: Kind
    number: int
    trigger: str  # what asked for it: labeled-event id, head SHA or comment id
    status: Status = Status.RUNNING
    phase: str = ""
    title: str = ""
    asked_by: str = ""
    attempt: int = 1
    # Each kind of delay has a counter of its own, since the first alone ends with giving up.
    failures: int = 0  # in a row, of the machinery, not of the agent
    continuations: int = 0  # agent runs that were cut off and taken up again
    pauses: int = 0  # agent runs that ended because the service could not work for anybody
    waits: int = 0  # times in the queue for a turn
    crashes: list[float] = field(default_factory=list)  # when the daemon died while this was under way
    not_before: float = 0.0
    reason: str = ""
    branch: str = ""
    head: str = ""
    base: str = ""
    base_ref: str = ""
    tree: str = ""
    pr: int | None = None
    merge_sha: str = ""
    session_id: str = ""
    run_id: str = ""
    log: str = ""
    cost_usd: float = 0.0
    turns: int = 0
    seconds: float = 0.0
    summary: str = ""
    started_at: float = 0.0
    updated_at: float = 0.0
    effects: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # what one phase leaves for the next

    @property
    def key(self) -> str:
        """Unique for the thing worked on, so that two jobs for it cannot exist."""
        return f"{self.repo}#{self.number}/{self.kind.value}"
