"""The words of the house as frozen data. Times are seconds since 1970 on GitHub's clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

IN_PROGRESS = "in-progress"  # the labels that the daemon itself puts on
NEEDS_HUMAN = "needs-human"

# Seconds after which a merge command is answered and not obeyed; while it is under way `CI_TIMEOUT` comes on top.
TOO_OLD = 86400.0


class Permission(str, Enum):
    """What GitHub's collaborator-permission endpoint answers in `permission` (maintain reads as write)."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @property
    def may_write(self) -> bool:
        return self in (Permission.WRITE, Permission.ADMIN)


class Approval(str, Enum):
    """When a merge needs an approving review beyond what GitHub itself demands."""

    AUTO = "auto"  # GitHub's demand, and nobody who may write asks for changes
    ALWAYS = "always"  # also an approval of exactly this head by somebody who may write
    NEVER = "never"  # GitHub's demand only


class MergeState(str, Enum):
    """GitHub's `mergeStateStatus`; a word that it invents tomorrow is read as UNKNOWN."""

    BEHIND = "BEHIND"
    BLOCKED = "BLOCKED"
    CLEAN = "CLEAN"
    DIRTY = "DIRTY"
    DRAFT = "DRAFT"
    HAS_HOOKS = "HAS_HOOKS"
    UNKNOWN = "UNKNOWN"
    UNSTABLE = "UNSTABLE"


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
class Access:
    """What the endpoint says of somebody; `role` is finer: it knows `triage` and `maintain`, and custom names."""

    permission: Permission
    role: str = ""


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
class Actor:
    """A GitHub account; None stands for a deleted one wherever an Actor may be missing."""

    id: int
    login: str
    is_user: bool = True


@dataclass(frozen=True)
class Repo:
    """A watched repository; `id` is what survives a rename."""

    id: int
    name: str  # owner/name
    default_branch: str
    clone_url: str


@dataclass(frozen=True)
class Issue:
    number: int
    title: str
    body: str
    author: Actor | None
    labels: frozenset[str]
    open: bool
    created_at: float
    updated_at: float


@dataclass(frozen=True)
class PullRequest:
    number: int
    title: str
    body: str
    author: Actor | None
    labels: frozenset[str]
    open: bool
    draft: bool
    head_sha: str
    head_ref: str
    head_repo_id: int | None  # None: the fork was deleted
    base_ref: str
    base_sha: str
    created_at: float
    updated_at: float
    head_pushed_at: float | None = None  # last push to the head's whole repository
    merged: bool = False
    merge_sha: str | None = None
    merged_by: Actor | None = None
    node_id: str = ""


@dataclass(frozen=True)
class Comment:
    id: int
    number: int  # of the issue or PR it stands on
    author: Actor | None
    body: str
    created_at: float
    updated_at: float
    node_id: str = ""


@dataclass(frozen=True)
class LabelEvent:
    """Somebody put a label on, or took it off; the newest one for `ready` says who asked. `id`: word characters."""

    id: str
    label: str
    actor: Actor | None
    created_at: float
    on: bool = True


@dataclass(frozen=True)
class Change:
    """A new title or body of an issue. `at` is 0 where GitHub gives no time."""

    by: Actor | None
    at: float


@dataclass(frozen=True)
class Remark:
    """A comment on an issue, with all that decides whether an agent may read it."""

    author: Actor | None
    body: str
    created_at: float
    edited_at: float | None  # None: never
    minimized: bool


@dataclass(frozen=True)
class IssueFacts:
    """An issue as one query shows it: its text, and who did what to text and labels. All oldest first."""

    repo_id: int
    title: str
    body: str
    open: bool = True
    carries: frozenset[str] = frozenset()  # its labels now, in lower case
    labels: tuple[LabelEvent, ...] = ()
    changes: tuple[Change, ...] = ()
    transfers: tuple[float, ...] = ()  # when it came from another repository
    remarks: tuple[Remark, ...] = ()
    older: int = 0  # comments before `remarks`
    whole: bool = True  # False: there are changes of the text that are not among `changes`


@dataclass(frozen=True)
class CheckRun:
    """One check run or commit status on a head. `conclusion` is GitHub's word; None: not finished."""

    name: str
    source: str  # what a newer run of this name replaces it in: an app, a workflow and event, "status"
    conclusion: str | None
    id: int = 0  # higher is newer


@dataclass(frozen=True)
class Review:
    """One submitted review; `head`: the commit that it was given on."""

    id: int
    author: Actor | None
    state: str  # GitHub's word: APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED, PENDING
    head: str
    body: str


@dataclass(frozen=True)
class BranchRules:
    """What a branch's protection and rule sets demand, as far as a token without administration can read it."""

    checks: tuple[str, ...] = ()  # contexts that must be there and green
    strict: bool = False  # heads must contain the branch's tip


@dataclass(frozen=True)
class Finding:
    """One remark of a review."""

    path: str
    line: int | None
    severity: str
    text: str


@dataclass(frozen=True)
class World:
    """What GitHub showed of one repository in one poll."""

    repo: Repo
    ready: tuple[Issue, ...] = ()
    pulls: tuple[PullRequest, ...] = ()
    comments: tuple[Comment, ...] = ()
    withdrawn: frozenset[int] = frozenset()  # issues under way that a person closed or took the label from
    revoked: frozenset[int] = frozenset()  # issues under way whose asker may not ask any more
    now: float = 0.0  # GitHub's `Date`


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
