"""The twin's memory: what exists, without any rule of how it changes (see `acts`, `pushes`, `merging`).

Everything is read and written under `World.lock`. Times are whole seconds, as GitHub's are.
"""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.twin.checks import App, CheckRun, Status, Suite
from orchestrator.twin.protection import Protection, RuleSet
from orchestrator.twin.repository import BareRepository, Person

PERMISSIONS = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(eq=False)
class User:
    id: int
    login: str
    type: str = "User"
    created_at: int = 0

    @property
    def person(self) -> Person:
        return Person(self.login, f"{self.id}+{self.login}@users.noreply.github.com")


@dataclass(eq=False)
class Token:
    text: str
    user: User
    scopes: str
    used: int = 0
    window: int = 0  # when the hour that `used` counts began
    graphql_used: int = 0
    limit: int = 5000


@dataclass(eq=False)
class Label:
    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


@dataclass(eq=False)
class Reaction:
    id: int
    user: User
    content: str
    created_at: int


@dataclass(eq=False)
class Event:
    id: int
    event: str
    actor: User | None
    created_at: int
    label: Label | None = None
    commit_id: str | None = None
    rename: tuple[str, str] | None = None


@dataclass(eq=False)
class Edit:
    """A version of an issue's body: who wrote it and when. The first is the one that it was opened with."""

    editor: User | None
    edited_at: int


@dataclass(eq=False)
class Comment:
    id: int
    issue: Issue
    user: User | None
    body: str
    created_at: int
    updated_at: int
    edited_at: int | None = None
    minimized: bool = False
    reactions: list[Reaction] = field(default_factory=list)
    hidden: int = 0  # list reads until it shows
    deleted: bool = False


@dataclass(eq=False)
class Issue:
    """An issue, or the issue face of a PR: they share numbers, labels, comments and events."""

    id: int
    repo: Repository
    number: int
    title: str
    body: str | None
    user: User | None
    created_at: int
    updated_at: int
    state: str = "open"
    state_reason: str | None = None
    closed_at: int | None = None
    closed_by: User | None = None
    locked: bool = False
    labels: list[Label] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)  # of the body; none while it is as it was opened
    reactions: list[Reaction] = field(default_factory=list)
    pull: Pull | None = None
    hidden: int = 0


@dataclass(eq=False)
class ReviewComment:
    id: int
    review: Review
    user: User | None
    path: str
    body: str
    hunk: str
    commit_id: str
    line: int
    side: str
    start_line: int | None
    start_side: str | None
    created_at: int
    resolved: bool = False


@dataclass(eq=False)
class Review:
    id: int
    user: User | None
    state: str  # APPROVED CHANGES_REQUESTED COMMENTED DISMISSED PENDING
    body: str
    commit_id: str
    submitted_at: int
    comments: list[ReviewComment] = field(default_factory=list)


@dataclass(eq=False)
class Pull:
    """What a PR has beyond an issue. `updated_at` moves apart from the issue's (a review moves only this one)."""

    id: int
    issue: Issue
    head_repo: Repository | None
    head_owner: User
    head_ref: str
    head_sha: str
    base_ref: str
    base_sha: str
    updated_at: int
    draft: bool = False
    merged_at: int | None = None
    merged_by: User | None = None
    merge_sha: str | None = None
    maintainer_can_modify: bool = False
    reviews: list[Review] = field(default_factory=list)
    linked: set[int] = field(default_factory=set)
    unknown_reads: int = 0  # reads until `mergeable` is known
    told_mergeable: bool | None = None  # a stale value to show instead
    merged_hidden: int = 0  # reads that still say "open" after the merge

    @property
    def number(self) -> int:
        return self.issue.number

    @property
    def repo(self) -> Repository:
        return self.issue.repo

    @property
    def linked_issues(self) -> list[Issue]:
        """What the PR closes, where it is now."""
        found = ((self.repo.issues.get(n) or self.repo.gone.get(n)) for n in sorted(self.linked))
        return [issue for issue in found if issue is not None]

    @property
    def review_comments(self) -> list[ReviewComment]:
        return [c for review in self.reviews for c in review.comments if review.state != "PENDING"]


@dataclass(eq=False)
class Activity:
    id: int
    ref: str
    before: str
    after: str
    timestamp: int
    type: str
    actor: User | None


@dataclass(eq=False)
class MergeRequest:
    """A merge that runs in the background; `status` as GitHub tells it: pending, enqueued, merged, failed."""

    uuid: str
    pull: Pull
    actor: User
    method: str  # default, merge, squash or rebase
    action: str  # default, merge_queue or direct_merge
    sha: str  # the head it is for
    title: str | None
    text: str | None
    due: int  # when it runs
    updated_at: int
    status: str = "pending"
    message: str = ""


@dataclass(eq=False)
class QueueEntry:
    """A PR in the merge queue of its base; `request` where it came by one."""

    id: int
    pull: Pull
    by: User
    sha: str  # the head that was enqueued
    added_at: int
    request: MergeRequest | None = None


@dataclass(eq=False)
class Repository:
    id: int
    owner: User
    name: str
    bare: BareRepository
    default_branch: str
    created_at: int
    pushed_at: int
    private: bool = True
    parent: Repository | None = None
    allow_squash: bool = True
    allow_merge: bool = True
    allow_rebase: bool = True
    has_hooks: bool = False  # pre-receive hooks, as GitHub Enterprise Server has them
    offers_async: bool = True  # GitHub Enterprise Server has no merge-async
    delete_branch_on_merge: bool = False
    autoclose: bool = True  # GitHub closes linked issues; it can fail silently
    hidden: bool = False  # as good as gone, for everybody
    archived: bool = False
    has_issues: bool = True
    has_pulls: bool = True
    shut: tuple[int, str, dict[str, str]] | None = None  # the answer to everything: status, sentence, headers
    git_status: int = 0  # with which the git host refuses everything; 0: it does not
    permissions: dict[int, str] = field(default_factory=dict)  # user id -> one of PERMISSIONS
    told_permissions: dict[int, tuple[str, str]] = field(default_factory=dict)  # `permission` and `role_name` instead
    told_associations: dict[int, str] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)  # user ids
    gone: dict[int, Issue | None] = field(default_factory=dict)  # number -> where it was transferred to; None: deleted
    labels: list[Label] = field(default_factory=list)
    issues: dict[int, Issue] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # branches as last seen
    suites: list[Suite] = field(default_factory=list)
    check_runs: list[CheckRun] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    activity: list[Activity] = field(default_factory=list)
    protections: dict[str, Protection] = field(default_factory=dict)
    rule_sets: list[RuleSet] = field(default_factory=list)
    site_from: str | None = None  # the branch that GitHub Pages publishes, "" where a workflow does it
    late_refs: list[LateRef] = field(default_factory=list)
    merge_requests: list[MergeRequest] = field(default_factory=list)
    queue: list[QueueEntry] = field(default_factory=list)  # of all branches, first come first

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[Pull]:
        return [issue.pull for issue in self.issues.values() if issue.pull is not None]

    @property
    def comments(self) -> list[Comment]:
        return [comment for issue in self.issues.values() for comment in issue.comments]

    def tip(self, branch: str) -> str | None:
        """The commit a branch points to."""
        return self.refs.get(f"refs/heads/{branch}")

    def find_label(self, name: str) -> Label | None:
        """Label names are one, whatever their case."""
        return next((label for label in self.labels if label.name.lower() == name.lower()), None)


@dataclass(eq=False)
class LateRef:
    """A `refs/pull/N/head` that git still shows where it was."""

    ref: str
    sha: str
    fetches: int


class World:
    """Everything that exists on this GitHub."""

    def __init__(self, root: Path, now: Callable[[], float], mergeable_after: int) -> None:
        """`mergeable_after`: reads of a PR after a push that still answer `mergeable: null`."""
        self.lock = threading.RLock()
        self.root = root
        self.mergeable_after = mergeable_after
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.repos: dict[int, Repository] = {}
        self.renamed: dict[str, int] = {}  # old full name, lower case -> repository id
        self.apps: dict[str, App] = {}
        self.lags: dict[str, int] = {}
        self.background_seconds = 0  # from a merge request to its execution
        self._now = now
        self._ids: Iterator[int] = itertools.count(1_000_001, 7)

    def now(self) -> int:
        """GitHub's clock: whole seconds."""
        return int(self._now())

    def new_id(self) -> int:
        """A numeric id, unique and growing over all kinds of things."""
        return next(self._ids)

    def user(self, login: str, kind: str = "User") -> User:
        """The account of this name, made when it is new."""
        key = login.lower()
        if key not in self.users:
            self.users[key] = User(self.new_id(), login, kind, self.now())
        return self.users[key]

    def find_repo(self, owner: str, name: str) -> Repository | None:
        """A repository by its present name."""
        wanted = f"{owner}/{name}".lower()
        return next((repo for repo in self.repos.values() if repo.full_name.lower() == wanted), None)

    def app(self, slug: str) -> App:
        """The app that checks are posted by, made when it is new."""
        if slug not in self.apps:
            self.apps[slug] = App(15368 if slug == "github-actions" else self.new_id(), slug)
        return self.apps[slug]

    def permission(self, repo: Repository, user: User | None) -> str:
        """One of PERMISSIONS; on a public repository everybody reads."""
        if user is None or repo.hidden:
            return "none"
        if user is repo.owner:
            return "admin"
        return repo.permissions.get(user.id, "none" if repo.private else "read")

    def may(self, repo: Repository, user: User | None, wanted: str) -> bool:
        """Whether the user's permission is at least `wanted`."""
        return PERMISSIONS.index(self.permission(repo, user)) >= PERMISSIONS.index(wanted)

    def comment_by_id(self, repo: Repository, number: int) -> Comment | None:
        """A comment of the repository that still exists."""
        return next((c for c in repo.comments if c.id == number and not c.deleted), None)


def node_id(prefix: str, number: int) -> str:
    """GitHub's global id of an object: opaque, with the kind in front."""
    return f"{prefix}_" + base64.urlsafe_b64encode(f"kw{number}".encode()).decode().rstrip("=")
