"""The words of the house as frozen data. Times are seconds since 1970 on GitHub's clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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


@dataclass(frozen=True)
class Access:
    """What the endpoint says of somebody; `role` is finer: it knows `triage` and `maintain`, and custom names."""

    permission: Permission
    role: str = ""


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
class RepoFacts:
    """A repository with what it allows and what hangs on it, as its own page of the API tells it."""

    repo: Repo
    may_push: bool  # the account of the token
    may_admin: bool
    archived: bool = False
    disabled: bool = False  # by GitHub
    has_issues: bool = True
    has_pulls: bool = True
    upstream: tuple[str, ...] = ()  # what it is a fork of: its parent, and the first of them all
    has_pages: bool = False  # a web site is published from it


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
