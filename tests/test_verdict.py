"""The merge gate as a table: which gate speaks for which snapshot, and what can never be merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import texts
from orchestrator.decide import verdict as gate
from orchestrator.decide.checks import CiVerdict, Reading
from orchestrator.decide.verdict import (
    REPEATS,
    Asked,
    Attempt,
    Done,
    Merge,
    Refuse,
    Snapshot,
    Verdict,
    Wait,
    verdict,
)
from orchestrator.decide.verdict import Test as Build
from orchestrator.model import Actor, Approval, MergeState, Permission, PullRequest

HEAD, OTHER = "a" * 40, "b" * 40
BASE, NEWER = "c" * 40, "d" * 40
REPO, FORK = 1, 2
NOW = 1_000_000.0

PULL = PullRequest(
    number=7,
    title="Change",
    body="",
    author=Actor(1, "alice"),
    labels=frozenset(),
    open=True,
    draft=False,
    head_sha=HEAD,
    head_ref="topic",
    head_repo_id=REPO,
    base_ref="main",
    base_sha=BASE,
    created_at=0.0,
    updated_at=0.0,
)
READY = Snapshot(
    now=NOW,
    asked=Asked("alice", HEAD, "main", NOW - 100),
    pull=PULL,
    repo_id=REPO,
    permission=Permission.WRITE,
    ci=CiVerdict(Reading.GREEN),
    base_tip=BASE,
    attempt=Attempt(tested_base=BASE, tests=1, ci_since=NOW - 1),
)


def ready(changes: Mapping[str, Any] = {}) -> Snapshot:
    """The snapshot that merges, but for these fields; `pull.open` names a field of a part."""
    found = READY
    for name, value in changes.items():
        part, _, field = name.partition(".")
        found = replace(found, **{part: replace(getattr(found, part), **{field: value}) if field else value})
    return found


RED = CiVerdict(Reading.RED, ("lint",))
PENDING = CiVerdict(Reading.PENDING, ("slow",))
EMPTY = CiVerdict(Reading.EMPTY)

# In the order of the specification; each row also fails every gate below its own.
GATES: list[tuple[str, dict[str, Any], str | None]] = [
    ("merged", {"pull.merged": True, "pull.open": False}, None),
    ("cancelled", {"cancelled_by": "bob"}, "Cancelled by @bob"),
    ("permission", {"permission": Permission.READ}, "@alice has no write permission"),
    ("too old", {"asked.at": NOW - 86400 - 3601}, "too long ago"),
    ("closed", {"pull.open": False}, "closed"),
    ("draft", {"pull.draft": True}, "draft"),
    ("head", {"pull.head_sha": OTHER}, f"from `{HEAD[:10]}` to `{OTHER[:10]}`"),
    ("base", {"pull.base_ref": "next"}, "`main` to `next`"),
    ("hold", {"pull.labels": frozenset({"hold"})}, "label `hold`"),
    ("fork", {"pull.head_repo_id": FORK}, "on the daemon's machine"),
    ("sha demanded", {"asked.demands": "It changes CI"}, f"`/merge {HEAD[:12]}`"),
    ("changes requested", {"reviews.rejected_by": ("bob",)}, "@bob asks for changes"),
    ("review required", {"reviews.decision": "REVIEW_REQUIRED"}, "approving review"),
    ("approval", {"policy.approval": Approval.ALWAYS}, "REQUIRE_APPROVAL=always"),
    ("red", {"ci": RED}, "`lint`"),
    ("behind", {"state": MergeState.BEHIND}, "newest commit"),
    ("blocked", {"state": MergeState.BLOCKED, "attempt.blocked_since": NOW - 60}, "blocked"),
    ("moving", {"base_tip": NEWER, "attempt.tests": REPEATS + 1}, f"{REPEATS + 1} times"),
    ("late", {"ci": EMPTY, "has_workflows": True, "attempt.ci_since": NOW - 3600}, "workflow files"),
]
NAMES = [name for name, _, _ in GATES]


@pytest.mark.parametrize("place", range(len(GATES)), ids=NAMES)
def test_the_first_gate_that_does_not_pass_decides(place: int) -> None:
    changes: dict[str, Any] = {}
    for _, more, _ in reversed(GATES[place:]):
        changes = {**changes, **more}
    decided = verdict(ready(changes))
    word = GATES[place][2]
    if word is None:
        assert decided == Done()
    else:
        assert isinstance(decided, Refuse)
        assert word in decided.why


@pytest.mark.parametrize(("changes", "word"), [row[1:] for row in GATES[1:]], ids=NAMES[1:])
def test_each_gate_alone_refuses(changes: dict[str, Any], word: str) -> None:
    decided = verdict(ready(changes))
    assert isinstance(decided, Refuse)
    assert word in decided.why


GREEN = Merge("checks green")
NONE_YET = "waiting for checks: none reported yet"
LATE = NOW - 1 + 3600  # the first reading of READY, and CI_TIMEOUT


@pytest.mark.parametrize(
    ("changes", "decided"),
    [
        ({}, GREEN),
        ({"permission": Permission.ADMIN}, GREEN),
        ({"permission": Permission.NONE}, "write permission"),
        ({"pull.labels": frozenset({"bug"})}, GREEN),
        ({"policy.hold_label": "Frozen", "pull.labels": frozenset({"frozen"})}, "`Frozen`"),
        ({"pull.head_repo_id": None}, "fork"),
        ({"pull.head_repo_id": FORK, "policy.allow_forks": True}, GREEN),
        ({"pull.head_repo_id": None, "policy.allow_forks": True, "asked.demands": "fork"}, "/merge"),
        ({"asked.demands": "fork", "asked.sha": HEAD[:11]}, "/merge"),
        ({"asked.demands": "fork", "asked.sha": HEAD[:12]}, GREEN),
        ({"reviews.decision": "APPROVED"}, GREEN),
        ({"reviews.decision": "CHANGES_REQUESTED"}, "asks for changes"),
        ({"reviews.rejected_by": ("bob", "carol")}, "@bob, @carol ask for changes"),
        ({"policy.approval": Approval.NEVER, "reviews.rejected_by": ("bob",)}, GREEN),
        ({"policy.approval": Approval.NEVER, "reviews.decision": "CHANGES_REQUESTED"}, "asks for changes"),
        ({"policy.approval": Approval.NEVER, "reviews.decision": "REVIEW_REQUIRED"}, "approving review"),
        ({"policy.approval": Approval.ALWAYS, "reviews.approved_by": ("bob",)}, GREEN),
        *(({"state": state}, GREEN) for state in ("CLEAN", "HAS_HOOKS", "UNSTABLE", "UNKNOWN", "DIRTY")),
        ({"state": MergeState.UNKNOWN, "behind": True}, "newest commit"),
        ({"state": MergeState.BEHIND, "queued": True}, GREEN),
        ({"state": MergeState.BLOCKED, "queued": True, "attempt.blocked_since": 1.0}, GREEN),
        (
            {"state": MergeState.BLOCKED},
            Wait(NOW + 10, texts.BLOCKED),
        ),
        ({"state": MergeState.BLOCKED, "attempt.blocked_since": NOW - 59}, Wait),
        ({"state": MergeState.BLOCKED, "attempt.blocked_since": NOW - 60, "attempt.tested_base": ""}, "blocked"),
        ({"state": MergeState.BLOCKED, "ci": PENDING}, Wait(LATE, "waiting for checks: `slow`")),
        ({"attempt.tested_base": "", "attempt.tests": 0}, Build()),
        ({"attempt.tested_base": "", "attempt.tests": 0, "ci": PENDING}, Build()),
        ({"base_tip": NEWER, "attempt.tests": REPEATS}, Build()),
        ({"attempt.tests": REPEATS + 1}, GREEN),
        ({"base_tip": "", "attempt.tested_base": ""}, Build()),
        ({"ci": PENDING}, Wait(LATE, "waiting for checks: `slow`")),
        ({"ci": PENDING, "attempt.ci_since": NOW - 3600}, "`slow`"),
        ({"ci": EMPTY, "attempt.empty_since": NOW}, Wait(NOW + 60, NONE_YET)),
        ({"ci": EMPTY, "attempt.empty_since": NOW - 59.9}, Wait),
        ({"ci": EMPTY, "attempt.empty_since": NOW - 60}, Merge("no checks exist")),
        ({"ci": EMPTY, "attempt.empty_since": NOW - 60, "has_workflows": True}, Wait(LATE, NONE_YET)),
        ({"ci": EMPTY, "attempt.empty_since": 1.0, "has_workflows": True, "attempt.ci_since": 1.0}, "workflow files"),
    ],
)
def test_what_is_decided(changes: dict[str, Any], decided: Verdict | str | type[Wait]) -> None:
    found = verdict(ready(changes))
    if isinstance(decided, str):
        assert isinstance(found, Refuse)
        assert decided in found.why
    elif isinstance(decided, type):
        assert isinstance(found, decided)
    else:
        assert found == decided


DEVIATIONS: list[tuple[str, Any]] = [
    *(("permission", permission) for permission in Permission),
    *(("ci", CiVerdict(reading, ("one",))) for reading in Reading),
    *(("state", state) for state in MergeState),
    *(("base_tip", sha) for sha in (NEWER, "")),
    *(("attempt.tested_base", sha) for sha in (NEWER, "")),
    *(("attempt.tests", count) for count in (0, REPEATS, REPEATS + 1)),
    *(("attempt.ci_since", NOW - seconds) for seconds in (3599.0, 3600.0)),
    *(("attempt.empty_since", NOW - seconds) for seconds in (59.0, 60.0, 9e4)),
    *(("attempt.blocked_since", NOW - seconds) for seconds in (59.0, 60.0)),
    *(("has_workflows", True), ("behind", True), ("queued", True), ("cancelled_by", "bob")),
    *(("asked.head", OTHER), ("asked.demands", "why"), ("asked.sha", HEAD[:7]), ("asked.sha", HEAD[:12])),
    ("asked.at", NOW - 86400 - 3601),
    *(("pull.merged", True), ("pull.open", False), ("pull.draft", True), ("pull.base_ref", "next")),
    *(("pull.head_sha", OTHER), ("pull.head_repo_id", FORK), ("pull.head_repo_id", None)),
    *(("pull.labels", frozenset({"hold"})), ("policy.allow_forks", True)),
    *(("policy.approval", word) for word in Approval),
    *(("reviews.decision", word) for word in ("APPROVED", "REVIEW_REQUIRED", "CHANGES_REQUESTED")),
    *(("reviews.rejected_by", ("bob",)), ("reviews.approved_by", ("carol",))),
]
# A few things at a time are not as they should be, so that each gate is often the only one in the way.
snapshots = st.lists(st.sampled_from(DEVIATIONS), max_size=4).map(dict).map(ready)


@given(snapshots)
@settings(max_examples=1500, deadline=None)
def test_only_what_was_asked_for_tested_and_green_is_ever_merged(s: Snapshot) -> None:
    settled = bool(s.attempt.empty_since) and s.now - s.attempt.empty_since >= s.policy.ci_settle
    without_ci = s.ci.reading is Reading.EMPTY and settled and not s.has_workflows
    may = (
        s.permission.may_write
        and s.now - s.asked.at <= 86400 + s.policy.ci_timeout
        and s.pull.open
        and not s.pull.merged
        and not s.pull.draft
        and (s.pull.head_repo_id == s.repo_id or s.policy.allow_forks)
        and (not s.asked.demands or len(s.asked.sha) >= 12)
        and s.pull.head_sha == s.asked.head
        and s.pull.base_ref == s.asked.base_ref
        and "hold" not in s.pull.labels
        and s.reviews.decision in ("", "APPROVED")
        and not (s.reviews.rejected_by and s.policy.approval is not Approval.NEVER)
        and (bool(s.reviews.approved_by) or s.policy.approval is not Approval.ALWAYS)
        and (s.queued or not (s.state in (MergeState.BEHIND, MergeState.BLOCKED) or s.behind))
        and s.attempt.tested_base == s.base_tip
        and bool(s.attempt.tested_base)
        and not s.cancelled_by
        and (s.ci.reading is Reading.GREEN or without_ci)
    )
    assert isinstance(verdict(s), Merge) is may


def test_every_gate_has_its_row() -> None:
    refused_by = set()
    for _, changes, _ in GATES:
        s = ready(changes)
        refused_by.add(next(g for g in gate.GATES if g(s) is not None))
    assert refused_by == set(gate.GATES)
