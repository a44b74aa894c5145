"""The merge gate as a table: which gate speaks for which snapshot, and what can never be merged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.decide.checks import CiVerdict, Reading
from orchestrator.decide.verdict import REPEATS, Done, Merge, Refuse, Snapshot, Verdict, Wait, verdict
from orchestrator.decide.verdict import Test as Build
from orchestrator.model import Actor, Permission, PullRequest

HEAD, OTHER = "a" * 40, "b" * 40
BASE, NEWER = "c" * 40, "d" * 40
REPO, FORK = 1, 2

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
    pull=PULL,
    repo_id=REPO,
    pinned=HEAD,
    base_ref="main",
    permission=Permission.WRITE,
    asked_by="alice",
    ci=CiVerdict(Reading.GREEN),
    base_tip=BASE,
    tested_base=BASE,
    tests=1,
)


def ready(pull: dict[str, Any] | None = None, **changes: Any) -> Snapshot:
    return replace(READY, pull=replace(PULL, **(pull or {})), **changes)


RED = CiVerdict(Reading.RED, ("lint",))
PENDING = CiVerdict(Reading.PENDING, ("slow",))
EMPTY = CiVerdict(Reading.EMPTY)

# In the order of the gates; each row also fails every gate below its own.
GATES: list[tuple[str, dict[str, Any], str | None]] = [
    ("merged", {"pull": {"merged": True, "open": False}}, None),
    ("cancelled", {"cancelled_by": "bob"}, "Cancelled by @bob"),
    ("permission", {"permission": Permission.READ}, "@alice has no write permission"),
    ("closed", {"pull": {"open": False}}, "closed"),
    ("draft", {"pull": {"draft": True}}, "draft"),
    ("fork", {"pull": {"head_repo_id": FORK}}, "fork"),
    ("head", {"pull": {"head_sha": OTHER}}, f"from `{HEAD[:10]}` to `{OTHER[:10]}`"),
    ("base", {"pull": {"base_ref": "next"}}, "`main` to `next`"),
    ("red", {"ci": RED}, "`lint`"),
    ("moving", {"base_tip": NEWER, "tests": REPEATS + 1}, f"{REPEATS + 1} times"),
    ("late", {"ci": PENDING, "waited": 3600.0}, "`slow`"),
]


@pytest.mark.parametrize("place", range(len(GATES)), ids=[name for name, _, _ in GATES])
def test_the_first_gate_that_does_not_pass_decides(place: int) -> None:
    changes: dict[str, Any] = {}
    for _, more, _ in reversed(GATES[place:]):
        changes = {**changes, **more, "pull": {**changes.get("pull", {}), **more.get("pull", {})}}
    decided = verdict(ready(**changes))
    word = GATES[place][2]
    if word is None:
        assert decided == Done()
    else:
        assert isinstance(decided, Refuse)
        assert word in decided.why


@pytest.mark.parametrize(("name", "changes", "word"), GATES[1:], ids=[name for name, _, _ in GATES[1:]])
def test_each_gate_alone_refuses(name: str, changes: dict[str, Any], word: str) -> None:
    decided = verdict(ready(**changes))
    assert isinstance(decided, Refuse)
    assert word in decided.why


@pytest.mark.parametrize(
    ("changes", "decided"),
    [
        ({}, Merge("checks green")),
        ({"permission": Permission.ADMIN}, Merge("checks green")),
        ({"tested_base": "", "tests": 0}, Build()),
        ({"tested_base": "", "tests": 0, "ci": PENDING}, Build()),
        ({"base_tip": NEWER, "tests": REPEATS}, Build()),
        ({"tests": REPEATS + 1}, Merge("checks green")),
        ({"base_tip": "", "tested_base": "", "tests": 0}, Build()),
        ({"ci": PENDING}, Wait("waiting for checks: `slow`")),
        ({"ci": EMPTY}, Wait("waiting for checks: none reported yet")),
        ({"ci": EMPTY, "empty_for": 59.9}, Wait("waiting for checks: none reported yet")),
        ({"ci": EMPTY, "empty_for": 60.0}, Merge("no checks exist")),
        ({"ci": EMPTY, "empty_for": 60.0, "has_workflows": True}, Wait("waiting for checks: none reported yet")),
        ({"pull": {"head_repo_id": None}}, "fork"),
        ({"permission": Permission.NONE}, "write permission"),
        ({"ci": EMPTY, "has_workflows": True, "empty_for": 9e9, "waited": 3600.0}, "workflow files"),
    ],
)
def test_what_is_decided(changes: dict[str, Any], decided: Verdict | str) -> None:
    found = verdict(ready(**changes))
    if isinstance(decided, str):
        assert isinstance(found, Refuse)
        assert decided in found.why
    else:
        assert found == decided


DEVIATIONS: list[tuple[str, Any]] = [
    *(("permission", permission) for permission in Permission),
    *(("ci", CiVerdict(reading, ("one",))) for reading in Reading),
    *(("base_tip", sha) for sha in (NEWER, "")),
    *(("tested_base", sha) for sha in (NEWER, "")),
    *(("tests", count) for count in (0, REPEATS, REPEATS + 1)),
    *(("waited", seconds) for seconds in (3599.0, 3600.0)),
    *(("empty_for", seconds) for seconds in (59.0, 60.0, 9e9)),
    ("has_workflows", True),
    ("cancelled_by", "bob"),
    ("pinned", OTHER),
    *(("pull", {name: value}) for name, value in (("merged", True), ("open", False), ("draft", True))),
    *(("pull", {"head_sha": OTHER}), ("pull", {"head_repo_id": FORK}), ("pull", {"head_repo_id": None})),
    ("pull", {"base_ref": "next"}),
]
# A few things at a time are not as they should be, so that each gate is often the only one in the way.
snapshots = st.lists(st.sampled_from(DEVIATIONS), max_size=4).map(lambda changes: ready(**dict(changes)))


@given(snapshots)
@settings(max_examples=1000, deadline=None)
def test_only_what_was_asked_for_tested_and_green_is_ever_merged(s: Snapshot) -> None:
    without_ci = s.ci.reading is Reading.EMPTY and s.empty_for >= s.ci_settle and not s.has_workflows
    may = (
        s.permission.may_write
        and s.pull.open
        and not s.pull.merged
        and not s.pull.draft
        and s.pull.head_repo_id == s.repo_id
        and s.pull.head_sha == s.pinned
        and s.pull.base_ref == s.base_ref
        and s.tested_base == s.base_tip
        and bool(s.tested_base)
        and not s.cancelled_by
        and (s.ci.reading is Reading.GREEN or without_ci)
    )
    assert isinstance(verdict(s), Merge) is may
