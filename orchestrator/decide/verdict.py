"""The merge gate: one frozen snapshot in, one verdict out, in the order of the gates.

Guaranteed: pure (no I/O, no clock: `waited` and `empty_for` are measured by the caller); only `Merge` leads
to the merge call, and only for a snapshot whose pinned head, tested base and green checks belong together.
When unsure it waits, then refuses with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import texts
from orchestrator.decide.checks import CiVerdict, Reading
from orchestrator.model import Permission, PullRequest

REPEATS = 3  # of the test, because the base moved


@dataclass(frozen=True)
class Snapshot:
    """All that the verdict may know, read in one go."""

    pull: PullRequest
    repo_id: int
    pinned: str  # the head that was asked for
    base_ref: str  # the base branch that was asked for
    permission: Permission  # of the one who asked, live
    asked_by: str
    ci: CiVerdict
    base_tip: str
    tested_base: str  # "" while the commands have not passed
    tests: int = 0  # how often the merge was built and passed so far
    cancelled_by: str = ""
    waited: float = 0.0  # seconds since the first reading of the checks
    empty_for: float = 0.0  # seconds since the first of the latest empty readings in a row
    has_workflows: bool = False
    ci_settle: float = 60.0
    ci_timeout: float = 3600.0


@dataclass(frozen=True)
class Merge:
    """Call GitHub now. `checks`: what was green, in words."""

    checks: str


@dataclass(frozen=True)
class Test:
    """Build the merge of pinned head and live base, and run the commands on it."""


@dataclass(frozen=True)
class Wait:
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
    if s.pull.merged:
        return Done()
    refusal = _refusal(s)
    if refusal:
        return Refuse(refusal)
    if s.ci.reading is Reading.RED:
        return Refuse(texts.checks_failed(s.ci.names))
    if not s.tested_base or s.tested_base != s.base_tip:
        return Refuse(texts.base_kept_moving(s.tests)) if s.tests > REPEATS else Test()
    return _checks(s)


def _refusal(s: Snapshot) -> str:
    if s.cancelled_by:
        return texts.cancelled_by(s.cancelled_by)
    if not s.permission.may_write:
        return texts.needs_write(s.asked_by)
    if not s.pull.open:
        return texts.CLOSED
    if s.pull.draft:
        return texts.DRAFT
    if s.pull.head_repo_id != s.repo_id:
        return texts.FORK
    if s.pull.head_sha != s.pinned:
        return texts.head_moved(s.pinned, s.pull.head_sha)
    if s.pull.base_ref != s.base_ref:
        return texts.retargeted(s.base_ref, s.pull.base_ref)
    return ""


def _checks(s: Snapshot) -> Verdict:
    if s.ci.reading is Reading.GREEN:
        return Merge("checks green")
    # GitHub lists nothing for seconds after a push: no checks found is not checks passed (gitmoot#596).
    if s.ci.reading is Reading.EMPTY and not s.has_workflows and s.empty_for >= s.ci_settle:
        return Merge("no checks exist")
    if s.waited >= s.ci_timeout:
        return Refuse(texts.checks_late(s.ci.names, s.ci_timeout))
    return Wait(texts.waiting_for_checks(s.ci.names))
