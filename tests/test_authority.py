"""Who may ask, as tables: each rule says no to everything but what it names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import refusals
from orchestrator.decide.authority import (
    Trust,
    digest,
    frozen,
    heard,
    late,
    late_authors,
    may_label,
    may_write,
    readable,
    trusted,
    wish,
)
from orchestrator.model import Access, Actor, Change, IssueFacts, LabelEvent, Permission, Remark

ALICE, MALLORY, ROBOT = Actor(1, "alice"), Actor(2, "mallory"), Actor(3, "robot")
BOT, NAMED = Actor(4, "helper", is_user=False), Actor(5, "evil[bot]")
LISTED = Trust(frozenset({4, 5}))
NOBODY = Trust()
WRITE = Access(Permission.WRITE, "write")
TEN = 10.0


@pytest.mark.parametrize(
    ("actor", "trust", "expected"),
    [
        (ALICE, NOBODY, True),
        (None, NOBODY, False),
        (None, LISTED, False),
        (BOT, NOBODY, False),
        (BOT, LISTED, True),
        (NAMED, NOBODY, False),
        (replace(NAMED, login="Evil[BOT]"), NOBODY, False),
        (NAMED, LISTED, True),
        (replace(BOT, id=6), LISTED, False),
    ],
)
def test_people_are_heard_and_bots_by_their_id(actor: Actor | None, trust: Trust, expected: bool) -> None:
    assert heard(actor, trust) is expected


@pytest.mark.parametrize("role", ["none", "read", "triage", "write", "maintain", "admin", "", "custom"])
@pytest.mark.parametrize("permission", [None, *Permission])
@pytest.mark.parametrize("triage", [False, True])
def test_write_permission_counts_and_the_role_only_where_the_operator_says_so(
    permission: Permission | None, role: str, triage: bool
) -> None:
    access = None if permission is None else Access(permission, role)
    writes = permission in (Permission.WRITE, Permission.ADMIN)
    assert may_write(ALICE, access, Trust(triage=triage)) is writes
    labels = writes or (triage and role == "triage" and permission is not None)
    assert (may_label(ALICE, access, "ready", Trust(triage=triage)) == "") is labels


@pytest.mark.parametrize("actor", [None, BOT, NAMED])
def test_who_is_not_heard_may_nothing(actor: Actor | None) -> None:
    everything = Access(Permission.ADMIN, "triage")
    assert not may_write(actor, everything, NOBODY)
    said = may_label(actor, everything, "ready", Trust(triage=True))
    assert said
    assert ("@" in said) is (actor is not None)


def on(actor: Actor | None, at: float, label: str = "ready") -> LabelEvent:
    return LabelEvent(f"{label}{at:g}", label, actor, at)


def off(actor: Actor | None, at: float, label: str = "ready") -> LabelEvent:
    return replace(on(actor, at, label), on=False)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], None),
        ([on(ALICE, 1)], 1),
        ([on(ALICE, 1), on(MALLORY, 2)], 2),
        ([on(ALICE, 1, "READY"), on(ALICE, 2, "bug")], 1),
        ([on(ALICE, 1), off(ALICE, 2, "bug")], 1),
        ([on(ALICE, 1), off(ALICE, 2)], None),
        ([on(ALICE, 1), off(None, 2)], None),
        ([on(ALICE, 1), off(ROBOT, 2)], 1),
        ([on(ALICE, 1), off(ROBOT, 2), off(MALLORY, 3)], None),
        ([on(ALICE, 1), off(MALLORY, 1), on(MALLORY, 1)], 1),
        ([on(None, 1)], 1),
    ],
)
def test_the_newest_label_that_no_person_took_off_is_the_wish(events: list[LabelEvent], expected: float | None) -> None:
    found = wish(events, "Ready", ROBOT.id)
    assert (found.created_at if found else None) == expected
    assert found is None or found.on


@pytest.mark.parametrize(
    ("at", "asked_at", "expected"),
    [(9.0, TEN, False), (10.0, TEN, True), (11.0, TEN, True), (0.0, TEN, True), (-1.0, TEN, True), (9.0, 0.0, True)],
)
def test_what_is_not_surely_before_the_label_is_after_it(at: float, asked_at: float, expected: bool) -> None:
    assert late(at, asked_at) is expected


FACTS = IssueFacts(7, "T", "B")


@pytest.mark.parametrize(
    ("facts", "writers", "expected", "why"),
    [
        (FACTS, set(), "", ""),
        (FACTS, set(), digest("T", "B"), ""),
        (FACTS, set(), digest("T", "b"), refusals.EDITED_MEANWHILE),
        (replace(FACTS, changes=(Change(MALLORY, 9),)), set(), "", ""),
        (replace(FACTS, changes=(Change(None, 9),)), set(), "", ""),
        (replace(FACTS, changes=(Change(MALLORY, TEN),)), set(), "", refusals.EDITED_AFTER_LABEL),
        (replace(FACTS, changes=(Change(MALLORY, 0),)), set(), "", refusals.EDITED_AFTER_LABEL),
        (replace(FACTS, changes=(Change(None, 11),)), {2}, "", refusals.EDITED_AFTER_LABEL),
        (replace(FACTS, changes=(Change(ALICE, 11),)), {1}, "", ""),
        (replace(FACTS, changes=(Change(ALICE, 11),)), {1}, digest("T", "old"), refusals.EDITED_MEANWHILE),
        (replace(FACTS, changes=(Change(MALLORY, 11), Change(ALICE, 12))), {1}, "", refusals.EDITED_AFTER_LABEL),
        (replace(FACTS, transfers=(9.0,)), set(), "", ""),
        (replace(FACTS, transfers=(TEN,)), set(), "", refusals.MOVED_HERE),
        (replace(FACTS, transfers=(0.0,)), set(), "", refusals.MOVED_HERE),
        (replace(FACTS, whole=False), {1, 2}, "", refusals.EDITED_AFTER_LABEL),
    ],
)
def test_the_words_are_those_that_the_label_was_for(
    facts: IssueFacts, writers: set[int], expected: str, why: str
) -> None:
    assert frozen(facts, TEN, writers, expected) == why


def test_only_those_who_changed_the_words_late_are_asked_about() -> None:
    changes = (Change(ALICE, 9), Change(MALLORY, 10), Change(None, 11), Change(BOT, 0))
    assert late_authors(replace(FACTS, changes=changes), TEN) == [MALLORY, BOT]


def test_title_and_body_are_told_apart() -> None:
    assert digest("a", "b") != digest("ab", "")
    assert digest("a\ud800", "") != digest("a", "")


REMARK = Remark(ALICE, "Yes.", 9.0, None, False)


@pytest.mark.parametrize(
    ("remark", "expected"),
    [
        (REMARK, True),
        (replace(REMARK, edited_at=9.5), True),
        (replace(REMARK, author=None), False),
        (replace(REMARK, minimized=True), False),
        (replace(REMARK, created_at=TEN), False),
        (replace(REMARK, created_at=0.0), False),
        (replace(REMARK, edited_at=TEN), False),
        (replace(REMARK, edited_at=0.0), False),
    ],
)
def test_a_comment_is_read_as_it_stood_before_the_label(remark: Remark, expected: bool) -> None:
    assert readable(remark, TEN) is expected
    assert trusted(remark, TEN, WRITE, NOBODY) is expected


@pytest.mark.parametrize("access", [None, Access(Permission.NONE), Access(Permission.READ, "triage")])
def test_a_comment_of_somebody_who_may_not_write_is_not_read(access: Access | None) -> None:
    assert not trusted(REMARK, TEN, access, Trust(triage=True))
    assert not trusted(replace(REMARK, author=BOT), TEN, WRITE, NOBODY)
    assert trusted(replace(REMARK, author=BOT), TEN, WRITE, LISTED)
