"""The merge gate: one frozen snapshot in, one verdict out, in the order of the gates.

Guaranteed: pure (no I/O; the time is a field of the snapshot); only `Merge` leads to the merge call, and only
for a snapshot whose pinned head, tested base and green checks belong together. When unsure it waits, then
refuses with the reason. What GitHub's own protection demands is demanded here too, because the token may be
exempt from it (a REST merge by an exempt administrator goes through while the state says BLOCKED).

Left to the merge itself: conflicts (`DIRTY` is often stale; the local merge decides), and unresolved
conversations where GitHub does not report them as BLOCKED.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator import refusals, texts
from orchestrator.decide.checks import CiVerdict, Reading
from orchestrator.model import TOO_OLD, Approval, MergeState, Permission, PullRequest

REPEATS = 3  # of the test, because the base moved
SHA_DIGITS = 12  # hex digits that name a commit beyond doubt where a SHA is demanded
BLOCKED_FOR = 60.0  # seconds that GitHub may call a PR blocked after the last requirement that we can see is met
BLOCKED_POLL = 10.0  # seconds


@dataclass(frozen=True)
class Asked:
    """The command, and what was pinned when it was heard."""

    by: str
    head: str
    base_ref: str
    at: float = 0.0  # when
    sha: str = ""  # as named in the command
    demands: str = ""  # why the SHA must be named; "" where the command alone is enough


@dataclass(frozen=True)
class Policy:
    """The operator's settings that the gates obey. Times are seconds."""

    approval: Approval = Approval.AUTO
    allow_forks: bool = False
    hold_label: str = "hold"
    ci_settle: float = 60.0
    ci_timeout: float = 3600.0
    trigger: str = "/merge"


@dataclass(frozen=True)
class Attempt:
    """How far this attempt is; the times are those of the first reading of their kind, 0 for none."""

    tested_base: str = ""  # "" while the commands have not passed
    tests: int = 0  # how often the merge was built and passed so far
    ci_since: float = 0.0
    empty_since: float = 0.0  # of the latest empty readings in a row
    blocked_since: float = 0.0


@dataclass(frozen=True)
class Reviews:
    """What people who may write think of it."""

    decision: str = ""  # GitHub's `reviewDecision`, "" where nothing is required
    rejected_by: tuple[str, ...] = ()  # their newest review asks for changes
    approved_by: tuple[str, ...] = ()  # their newest review approves exactly the pinned head (GitHub: nobody one's own)


@dataclass(frozen=True)
class Snapshot:
    """All that the verdict may know, read in one go."""

    now: float
    asked: Asked
    pull: PullRequest
    repo_id: int
    permission: Permission  # of the one who asked, live
    ci: CiVerdict
    base_tip: str
    state: MergeState = MergeState.CLEAN
    reviews: Reviews = field(default_factory=Reviews)
    policy: Policy = field(default_factory=Policy)
    attempt: Attempt = field(default_factory=Attempt)
    cancelled_by: str = ""
    has_workflows: bool = False
    behind: bool = False  # the branch demands heads that contain its tip, and this one does not, as git sees it
    queued: bool = False  # the branch takes merges through GitHub's queue only, which enforces its own rules


@dataclass(frozen=True)
class Merge:
    """Call GitHub now. `checks`: what was green, in words."""

    checks: str


@dataclass(frozen=True)
class Test:
    """Build the merge of pinned head and live base, and run the commands on it."""


@dataclass(frozen=True)
class Wait:
    """Look at everything again at `until` at the latest, or when the checks changed."""

    until: float
    why: str


@dataclass(frozen=True)
class Refuse:
    why: str


@dataclass(frozen=True)
class Done:
    """It is merged already."""


Verdict = Merge | Test | Wait | Refuse | Done


def verdict(s: Snapshot) -> Verdict:
    """The first gate that does not pass decides."""
    for gate in GATES:
        decided = gate(s)
        if decided is not None:
            return decided
    return Merge("no checks exist" if s.ci.reading is Reading.EMPTY else "checks green")


def broken(pull: PullRequest, head: str, base_ref: str, hold_label: str) -> str:
    """Why an attempt that pinned `head` and `base_ref` must end; "" while it may go on."""
    if not pull.open:
        return refusals.CLOSED
    if pull.draft:
        return refusals.DRAFT
    if pull.head_sha != head:
        return refusals.head_moved(head, pull.head_sha)
    if pull.base_ref != base_ref:
        return refusals.retargeted(base_ref, pull.base_ref)
    if hold_label.lower() in pull.labels:
        return refusals.held(hold_label)
    return ""


def _merged(s: Snapshot) -> Verdict | None:
    return Done() if s.pull.merged else None


def _asked(s: Snapshot) -> Verdict | None:
    if s.cancelled_by:
        return Refuse(refusals.cancelled_by(s.cancelled_by))
    if not s.permission.may_write:
        return Refuse(refusals.needs_write(s.asked.by))
    # The daemon was off for long while this was under way.
    late = s.now - s.asked.at > TOO_OLD + s.policy.ci_timeout
    return Refuse(refusals.too_old(TOO_OLD / 3600)) if late else None


def _pinned(s: Snapshot) -> Verdict | None:
    why = broken(s.pull, s.asked.head, s.asked.base_ref, s.policy.hold_label)
    return Refuse(why) if why else None


def _origin(s: Snapshot) -> Verdict | None:
    if s.pull.head_repo_id != s.repo_id and not s.policy.allow_forks:
        return Refuse(refusals.FORK)
    if s.asked.demands and len(s.asked.sha) < SHA_DIGITS:
        return Refuse(refusals.name_the_sha(s.asked.demands, s.asked.head, s.policy.trigger))
    return None


def _reviewed(s: Snapshot) -> Verdict | None:
    if s.policy.approval is not Approval.NEVER and s.reviews.rejected_by:
        return Refuse(refusals.changes_requested(s.reviews.rejected_by))
    if s.reviews.decision == "CHANGES_REQUESTED":
        return Refuse(refusals.changes_requested(()))
    if s.reviews.decision == "REVIEW_REQUIRED":
        return Refuse(refusals.REVIEW_REQUIRED)
    if s.policy.approval is Approval.ALWAYS and not s.reviews.approved_by:
        return Refuse(refusals.approval_missing(s.asked.head))
    return None


def _not_red(s: Snapshot) -> Verdict | None:
    return Refuse(refusals.checks_failed(s.ci.names)) if s.ci.reading is Reading.RED else None


def _protection(s: Snapshot) -> Verdict | None:
    """What GitHub's rules forbid; with a queue GitHub enforces them itself, whoever asks."""
    if s.queued:
        return None
    if s.state is MergeState.BEHIND or s.behind:
        return Refuse(refusals.behind(s.asked.base_ref))
    if s.state is MergeState.BLOCKED and s.ci.reading is not Reading.PENDING:
        if s.attempt.blocked_since and s.now - s.attempt.blocked_since >= BLOCKED_FOR:
            return Refuse(refusals.blocked(s.asked.base_ref))
        return Wait(s.now + BLOCKED_POLL, texts.BLOCKED)
    return None


def _tested(s: Snapshot) -> Verdict | None:
    if s.attempt.tested_base and s.attempt.tested_base == s.base_tip:
        return None
    return Refuse(refusals.base_kept_moving(s.attempt.tests)) if s.attempt.tests > REPEATS else Test()


def _green(s: Snapshot) -> Verdict | None:
    if s.ci.reading is Reading.GREEN:
        return None
    waits_until = s.attempt.ci_since + s.policy.ci_timeout
    if s.ci.reading is Reading.EMPTY and not s.has_workflows:
        # GitHub lists nothing for seconds after a push: no checks found is not checks passed (gitmoot#596).
        settled = s.attempt.empty_since + s.policy.ci_settle
        if s.attempt.empty_since and s.now >= settled:
            return None
        waits_until = min(waits_until, settled)
    if s.now >= s.attempt.ci_since + s.policy.ci_timeout:
        return Refuse(refusals.checks_late(s.ci.names, s.policy.ci_timeout))
    return Wait(waits_until, texts.waiting_for_checks(s.ci.names))


Gate = Callable[[Snapshot], Verdict | None]
GATES: tuple[Gate, ...] = (_merged, _asked, _pinned, _origin, _reviewed, _not_red, _protection, _tested, _green)
