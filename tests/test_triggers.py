"""What a poll makes due: the world, the jobs and the memory in, jobs and cancellations out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.decide.triggers import Begin, Cancel, Decision, Rules, Tell, decide
from orchestrator.marks import BEGINNING as MARK
from orchestrator.model import Actor, Comment, Issue, PullRequest, Repo, World
from orchestrator.record import Job, Kind, Status
from orchestrator.state import RepoMemory

NOW = 1_800_000_000.0
ROBOT = 99
REPO = Repo(1, "acme/app", "main", "https://example.test/acme/app.git")
BOB = Actor(2, "bob")
MEMORY = RepoMemory(id=1, name="acme/app", since=NOW - 3600, cursor=NOW - 10)
ISSUE = Issue(1, "Greet", "", BOB, frozenset({"ready"}), True, NOW - 50, NOW - 50)
PULL = PullRequest(
    number=2,
    title="Change",
    body="",
    author=BOB,
    labels=frozenset(),
    open=True,
    draft=False,
    head_sha="a" * 40,
    head_ref="topic",
    head_repo_id=1,
    base_ref="main",
    base_sha="b" * 40,
    created_at=NOW - 500,
    updated_at=NOW - 500,
)
MERGE = Comment(7, 2, BOB, "/merge", NOW - 5, NOW - 5)
ALL = (Status.RUNNING, Status.WAITING, Status.PARKED, Status.DONE)


def world(**fields: Any) -> World:
    return World(REPO, now=NOW, **fields)


def job(kind: Kind, number: int, status: Status, trigger: str = "1", **fields: Any) -> Job:
    return Job("acme/app", kind, number, trigger, status, **fields)


def due(
    seen: World,
    *jobs: Job,
    memory: RepoMemory = MEMORY,
    rules: Rules | None = None,
) -> tuple[list[Decision], RepoMemory]:
    return decide(seen, {j.key: j for j in jobs}, memory, rules or Rules(), ROBOT)


def begun(decisions: list[Decision]) -> list[Job]:
    return [d.job for d in decisions if isinstance(d, Begin)]


# Issues


def test_a_ready_issue_without_a_job_begins_one() -> None:
    [new] = begun(due(world(ready=(ISSUE,)))[0])
    assert (new.kind, new.number, new.status, new.attempt, new.title) == (
        Kind.IMPLEMENT,
        1,
        Status.WAITING,
        1,
        "Greet",
    )


@pytest.mark.parametrize("status", ALL)
def test_a_ready_issue_begins_again_only_when_its_job_is_over(status: Status) -> None:
    old = job(Kind.IMPLEMENT, 1, status, trigger="5", attempt=2, cost_usd=1.5, facts={"label_seen": NOW - 60})
    new = begun(due(world(ready=(ISSUE,)), old)[0])
    assert bool(new) is (status in (Status.PARKED, Status.DONE))
    for one in new:
        assert (one.attempt, one.cost_usd, one.facts["answered"]) == (3, 1.5, "5")


def test_another_attempt_keeps_the_sticky_comment_and_what_was_pushed_and_nothing_else() -> None:
    old = job(
        Kind.IMPLEMENT,
        1,
        Status.DONE,
        effects={"sticky": 4, "pull-5": 3},
        facts={"pushed": "abc", "start": "def", "left": "cut"},
        phase="finish",
        head="abc",
    )
    [new] = begun(due(world(ready=(ISSUE,)), old)[0])
    assert new.effects == {"sticky": 4}
    assert set(new.facts) == {"answered", "was", "reason", "pushed"}
    assert (new.phase, new.head) == ("", "")


def test_a_list_that_still_shows_the_label_our_job_took_off_begins_nothing() -> None:
    old = job(Kind.IMPLEMENT, 1, Status.DONE, facts={"label_seen": ISSUE.updated_at + 1})
    assert due(world(ready=(ISSUE,)), old)[0] == []


@pytest.mark.parametrize("status", ALL)
def test_a_withdrawn_wish_cancels_what_is_under_way(status: Status) -> None:
    decisions, _ = due(world(withdrawn=frozenset({1})), job(Kind.IMPLEMENT, 1, status))
    assert bool(decisions) is (status in (Status.RUNNING, Status.WAITING))
    assert all(isinstance(d, Cancel) for d in decisions)


def test_a_run_ends_when_the_one_who_asked_may_not_ask_any_more() -> None:
    running = job(Kind.IMPLEMENT, 1, Status.RUNNING, asked_by="bob")
    [decision] = due(world(revoked=frozenset({1})), running)[0]
    assert isinstance(decision, Cancel)
    assert "@bob" in decision.reason
    assert len(due(world(revoked=frozenset({1}), withdrawn=frozenset({1})), running)[0]) == 1


@pytest.mark.parametrize(
    ("author", "bots", "heard"),
    [
        (replace(BOB, is_user=False), frozenset(), False),
        (replace(BOB, is_user=False), frozenset({2}), True),
        (replace(BOB, login="bob[bot]"), frozenset({3}), False),
        (None, frozenset({2}), False),
    ],
)
def test_a_bots_command_is_heard_when_its_id_is_listed(author: Actor | None, bots: frozenset[int], heard: bool) -> None:
    seen = world(pulls=(PULL,), comments=(replace(MERGE, author=author),))
    assert bool(due(seen, rules=Rules(review="off", bots=bots))[0]) is heard


# Reviews

REVIEWS: dict[str, tuple[Mapping[str, Any], Rules, bool]] = {
    "usual": ({}, Rules(), True),
    "draft": ({"draft": True}, Rules(), False),
    "closed": ({"open": False}, Rules(), False),
    "off": ({}, Rules(review="off"), False),
    "without the label": ({}, Rules(review="label", review_label="look"), False),
    "with the label": ({"labels": frozenset({"look"})}, Rules(review="label", review_label="look"), True),
    "from a deleted fork": ({"head_repo_id": None}, Rules(), True),
    "by a deleted account": ({"author": None}, Rules(), True),
    "just pushed": ({"updated_at": NOW - 30, "created_at": NOW - 30}, Rules(debounce=60), False),
    "rested": ({"updated_at": NOW - 60}, Rules(debounce=60), True),
    "no rest wanted": ({"updated_at": NOW}, Rules(debounce=0), True),
}


@pytest.mark.parametrize("case", REVIEWS)
def test_which_pull_requests_are_reviewed(case: str) -> None:
    changes, rules, wanted = REVIEWS[case]
    decisions, _ = due(world(pulls=(replace(PULL, **changes),)), rules=rules)
    assert [(j.kind, j.trigger) for j in begun(decisions)] == ([(Kind.REVIEW, PULL.head_sha)] if wanted else [])


def test_a_head_that_is_history_is_not_reviewed_until_it_moves() -> None:
    memory = replace(MEMORY, history={"2": PULL.head_sha})
    decisions, kept = due(world(pulls=(PULL,)), memory=memory)
    assert decisions == []
    assert kept.history == {"2": PULL.head_sha}
    moved = replace(PULL, head_sha="c" * 40)
    decisions, kept = due(world(pulls=(moved,)), memory=memory)
    assert len(begun(decisions)) == 1
    assert kept.history == {}


@pytest.mark.parametrize("status", ALL)
def test_a_head_is_reviewed_once_whatever_became_of_it(status: Status) -> None:
    assert due(world(pulls=(PULL,)), job(Kind.REVIEW, 2, status, PULL.head_sha))[0] == []


@pytest.mark.parametrize("status", ALL)
def test_a_new_head_stops_the_review_of_the_old_one_and_is_reviewed_when_that_is_over(status: Status) -> None:
    old = job(Kind.REVIEW, 2, status, "old", effects={"sticky": 4, "review-old": 5}, cost_usd=2.0)
    [decision] = due(world(pulls=(PULL,)), old)[0]
    if status in (Status.RUNNING, Status.WAITING):
        assert isinstance(decision, Cancel)
    else:
        assert isinstance(decision, Begin)
        assert (decision.job.effects, decision.job.cost_usd) == ({"sticky": 4}, 2.0)


def test_pushes_that_keep_coming_keep_the_review_waiting() -> None:
    memory = MEMORY
    for number in range(5):
        pushed = replace(PULL, head_sha=f"{number}" * 40, updated_at=NOW + number * 40)
        decisions, memory = decide(replace(world(pulls=(pushed,)), now=NOW + number * 40), {}, memory, Rules(), ROBOT)
        assert decisions == []
    decisions, _ = decide(replace(world(pulls=(pushed,)), now=NOW + 4 * 40 + 60), {}, memory, Rules(), ROBOT)
    assert len(decisions) == 1


def test_a_remark_does_not_keep_the_review_waiting() -> None:
    _, memory = due(world(pulls=(PULL,)))
    talked = replace(world(pulls=(replace(PULL, updated_at=NOW + 60),)), now=NOW + 60)
    assert len(decide(talked, {}, memory, Rules(), ROBOT)[0]) == 1


# Merges


def test_a_command_begins_a_merge_once() -> None:
    seen = world(pulls=(PULL,), comments=(MERGE,))
    decisions, memory = due(seen, rules=Rules(review="off"))
    [new] = begun(decisions)
    assert (new.kind, new.number, new.trigger, new.asked_by, new.base_ref) == (Kind.MERGE, 2, "7", "bob", "main")
    assert due(seen, memory=memory, rules=Rules(review="off"))[0] == []
    assert due(seen, replace(new, status=Status.DONE), memory=memory, rules=Rules(review="off"))[0] == []


COMMANDS: dict[str, tuple[Mapping[str, Any], bool]] = {
    "usual": ({}, True),
    "by nobody": ({"author": None}, False),
    "by a bot": ({"author": Actor(3, "bot", is_user=False)}, False),
    "our own text": ({"author": Actor(ROBOT, "robot"), "body": f"{MARK}acme/app#2:x -->\n/merge"}, False),
    "our account in person": ({"author": Actor(ROBOT, "robot")}, True),
    "a stranger's imitation of our text": ({"body": f"{MARK}x -->\nHello."}, False),
    "history": ({"created_at": MEMORY.since - 1}, False),
    "in a sentence": ({"body": "I would never /merge this"}, False),
    "quoted": ({"body": "> /merge"}, False),
    "cancel without an attempt": ({"body": "/merge cancel"}, False),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_which_comments_begin_a_merge(case: str) -> None:
    changes, wanted = COMMANDS[case]
    seen = world(pulls=(PULL,), comments=(replace(MERGE, **changes),))
    assert [j.kind for j in begun(due(seen, rules=Rules(review="off"))[0])] == [Kind.MERGE] * wanted


def test_commands_are_not_read_where_merging_is_off() -> None:
    assert due(world(comments=(MERGE,)), rules=Rules(merge=False))[0] == []


def test_a_head_that_was_seen_before_the_comment_is_the_one_that_was_meant() -> None:
    seen = world(pulls=(PULL,), comments=(MERGE,))
    early = replace(MEMORY, heads={"2": [PULL.head_sha, MERGE.created_at - 1]})
    late = replace(MEMORY, heads={"2": [PULL.head_sha, MERGE.created_at]})
    rules = Rules(review="off")
    assert begun(due(seen, memory=early, rules=rules)[0])[0].facts["head_seen"] == PULL.head_sha
    assert begun(due(seen, memory=late, rules=rules)[0])[0].facts["head_seen"] == ""


def test_a_second_command_while_an_attempt_is_under_way_is_answered_and_starts_nothing() -> None:
    live = job(Kind.MERGE, 2, Status.RUNNING, "5", asked_by="alice", base_ref="main", head=PULL.head_sha)
    [decision] = due(world(pulls=(PULL,), comments=(MERGE,)), live, rules=Rules(review="off"))[0]
    assert isinstance(decision, Tell)
    assert "@alice" in decision.text


def test_two_commands_in_one_poll_are_one_attempt() -> None:
    second = replace(MERGE, id=8)
    decisions, memory = due(world(pulls=(PULL,), comments=(MERGE, second)), rules=Rules(review="off"))
    assert [type(d) for d in decisions] == [Begin, Tell]
    assert set(memory.handled) == {"7", "8"}


@pytest.mark.parametrize("status", ALL)
def test_a_cancel_stops_an_attempt_that_is_under_way_in_the_name_of_who_asked(status: Status) -> None:
    live = job(Kind.MERGE, 2, status, "5", base_ref="main", head=PULL.head_sha)
    word = replace(MERGE, body="/merge cancel")
    decisions, _ = due(world(pulls=(PULL,), comments=(word,)), live, rules=Rules(review="off"))
    assert [(d.key, d.by) for d in decisions if isinstance(d, Cancel)] == (
        [(live.key, BOB)] if status in (Status.RUNNING, Status.WAITING) else []
    )


MOVES: dict[str, Mapping[str, Any] | None] = {
    "a new head": {"head_sha": "c" * 40},
    "another base": {"base_ref": "next"},
    "a draft": {"draft": True},
    "closed": None,
}


@pytest.mark.parametrize("move", MOVES)
def test_an_attempt_ends_when_what_it_pinned_is_no_more(move: str) -> None:
    live = job(Kind.MERGE, 2, Status.RUNNING, "5", head=PULL.head_sha, base_ref="main")
    changes = MOVES[move]
    pulls = () if changes is None else (replace(PULL, **changes),)
    decisions, _ = due(world(pulls=pulls), live, rules=Rules(review="off"))
    assert [type(d) for d in decisions] == [Cancel]
    assert due(world(pulls=(PULL,)), live, rules=Rules(review="off"))[0] == []
    merged = replace(live, merge_sha="d" * 40)
    assert due(world(pulls=pulls), merged, rules=Rules(review="off"))[0] == []


def test_handled_comments_are_forgotten_a_day_behind_the_cursor() -> None:
    memory = replace(MEMORY, handled={"1": MEMORY.cursor - 86_401, "2": MEMORY.cursor - 86_399})
    assert set(due(world(), memory=memory)[1].handled) == {"2"}


QUIET = Rules(review="off")


def test_a_command_behind_an_attempt_that_is_still_looked_at_is_offered_again_however_late() -> None:
    mine = Comment(9, 2, Actor(3, "carol"), "/merge", NOW - 400, NOW - 400)
    newer = Comment(10, 3, BOB, "A remark.", NOW - 1, NOW - 1)
    looked_at = job(Kind.MERGE, 2, Status.RUNNING, trigger="7", asked_by="mallory")
    memory = replace(MEMORY, cursor=NOW - 1)
    decisions, after = due(world(pulls=(PULL,), comments=(mine, newer)), looked_at, memory=memory, rules=QUIET)
    assert decisions == []
    assert "9" not in after.handled
    assert after.cursor == NOW - 400


@pytest.mark.parametrize("ends", ["head", "cancel"])
def test_a_command_beside_the_end_of_an_attempt_waits_for_that_end(ends: str) -> None:
    old = job(Kind.MERGE, 2, Status.RUNNING, trigger="5", asked_by="bob", head="a" * 40, base_ref="main")
    pull = replace(PULL, head_sha="c" * 40) if ends == "head" else PULL
    cancel = Comment(6, 2, BOB, "/merge cancel", NOW - 6, NOW - 6)
    comments = (MERGE,) if ends == "head" else (cancel, MERGE)
    decisions, after = due(world(pulls=(pull,), comments=comments), old, rules=QUIET)
    assert [type(d) for d in decisions] == [Cancel]
    assert str(MERGE.id) not in after.handled
    [again] = begun(
        due(world(pulls=(pull,), comments=comments), replace(old, status=Status.DONE), memory=after, rules=QUIET)[0]
    )
    assert again.trigger == str(MERGE.id)


@pytest.mark.parametrize(("draft", "listed", "ends"), [(True, True, True), (False, False, True), (False, True, False)])
def test_a_review_ends_when_its_pull_request_is_closed_or_made_a_draft(draft: bool, listed: bool, ends: bool) -> None:
    old = job(Kind.REVIEW, 2, Status.RUNNING, trigger="a" * 40)
    decisions, _ = due(world(pulls=(replace(PULL, draft=draft),) if listed else ()), old)
    assert [type(d) for d in decisions] == [Cancel] * ends
