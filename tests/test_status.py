"""What `status` shows, from saved jobs to text and JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import state, status
from orchestrator.decide.limits import Limits
from orchestrator.errors import Missing
from orchestrator.record import Job, Kind, Pause, Spent, Status
from orchestrator.state import Saved, State
from orchestrator.statelock import Holder
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.merging import LANDED, STOPPED, opens
from tests.story import expect_pull, expect_work, ready

NOW = 1_800_000_000.0
LIMITS = Limits(runs=20, usd=50, run_usd=5)
HOLDER = Holder(4242, NOW - 7500)


def job(number: int, kind: Kind = Kind.IMPLEMENT, at: Status = Status.RUNNING, **more: Any) -> Job:
    base = {"repo": "octo/demo", "trigger": "1", "title": f"Title {number}", "phase": "run", "started_at": NOW - 720,
            "updated_at": NOW - 60, "cost_usd": 0.41}  # fmt: skip
    return Job(number=number, kind=kind, status=at, **{**base, **more})


JOBS = (
    job(42, Kind.IMPLEMENT, Status.PARKED, attempt=2, reason="The agent made no change.", pr=None),
    job(43, Kind.IMPLEMENT, pr=57),
    job(57, Kind.REVIEW, Status.WAITING, not_before=NOW + 90, reason="GitHub answered 502"),
    job(50, Kind.MERGE, Status.DONE, merge_sha="abc", cost_usd=0),
    job(12, Kind.MERGE, Status.DONE, updated_at=NOW - 200_000),
)


PAUSE = Pause("agent", "usage_limit", "The usage limit of the Claude account is reached.", NOW - 720, NOW + 3600)


def test_what_stops_everybody_comes_before_everything() -> None:
    saved = Saved(JOBS[:1], NOW - 12, HOLDER, (PAUSE,))
    assert status.text(saved, NOW, LIMITS).startswith(
        "paused: no agent runs for 12 min, tried again in 1 h\n"
        "      The usage limit of the Claude account is reached.\n"
        "\n"
        "needs you (1)\n"
    )
    assert status.document(saved, NOW, LIMITS)["pauses"] == [
        {"what": "agent", "kind": "usage_limit", "reason": PAUSE.reason, "since": NOW - 720, "until": NOW + 3600}
    ]


def test_what_needs_a_person_comes_first_and_old_work_is_left_out() -> None:
    assert status.text(Saved(JOBS, NOW - 12, HOLDER), NOW, LIMITS) == (
        "needs you (1)\n"
        "  #42  implement  run  11 min  attempt 2  $0.41\n"
        "      Title 42\n"
        "      The agent made no change.\n"
        "\n"
        "running (1)\n"
        "  #43  implement  run  12 min  attempt 1  $0.41  PR #57\n"
        "      Title 43\n"
        "\n"
        "waiting (1)\n"
        "  #57  review  run  11 min  attempt 1  $0.41\n"
        "      Title 57\n"
        "      again in 1 min: GitHub answered 502\n"
        "\n"
        "done (1)\n"
        "  #50  merge  run  11 min  attempt 1  $0.00\n"
        "      Title 50\n"
        "      merged as abc\n"
        "\n"
        "daemon pid 4242, up 2 h 5 min, last poll 12 s ago, spent $1.64"
    )


SHA = "abcdef0123456789"
OUTCOMES: list[tuple[Job, str | None]] = [
    (job(1, Kind.MERGE, Status.DONE, merge_sha=SHA), "merged as abcdef0123"),
    (job(1, Kind.MERGE, Status.DONE, merge_sha=SHA, facts={"merged_by": "bob"}), "merged by @bob as abcdef0123"),
    (job(1, Kind.MERGE, Status.DONE, merge_sha=SHA, facts={"merged_before": True}), "was merged before, as abcdef0123"),
    (
        job(1, Kind.MERGE, Status.DONE, merge_sha=SHA, reason="GitHub answered 500"),
        "merged as abcdef0123, but GitHub answered 500",
    ),
    (
        job(1, Kind.MERGE, Status.DONE, reason="It conflicts.\nSee below.", facts={"failed": True}),
        "refused: It conflicts.",
    ),
    (
        job(1, Kind.MERGE, Status.DONE, reason="the comment was deleted"),
        "nothing to do any more: the comment was deleted",
    ),
    (job(1, Kind.IMPLEMENT, Status.DONE, pr=4), "PR #4 opened"),
    (job(1, Kind.IMPLEMENT, Status.DONE), None),
    (
        job(1, Kind.IMPLEMENT, Status.DONE, pr=4, reason="The issue was closed."),
        "nothing to do any more: The issue was closed.",
    ),
    (job(1, Kind.IMPLEMENT, Status.PARKED, reason="It hung.\nLong story."), "needs a person: It hung."),
    (
        job(1, Kind.IMPLEMENT, Status.PARKED, attempt=2, reason="r", effects={"nothing-1-1": 5}),
        "needs a person: r",
    ),
    (job(1, Kind.IMPLEMENT, Status.PARKED, attempt=2, reason="r", effects={"nothing-1-2": 5}), "no change"),
    (
        job(1, Kind.REVIEW, Status.DONE, head=SHA, facts={"verdict": "approve", "findings": 2}),
        "reviewed abcdef0123: approve, 2 findings",
    ),
    (
        job(1, Kind.REVIEW, Status.DONE, head=SHA,
            facts={"verdict": "request_changes", "findings": 1}),
        "reviewed abcdef0123: request changes, 1 finding",
    ),
    (job(1, Kind.REVIEW, Status.DONE, head=SHA), None),
    (job(1, Kind.REVIEW, Status.RUNNING, reason="r"), None),
    (job(1, Kind.MERGE, Status.WAITING, reason="r", merge_sha=SHA), None),
]  # fmt: skip


@pytest.mark.parametrize(("done", "words"), OUTCOMES)
def test_what_came_of_an_item_is_told_in_words(done: Job, words: str | None) -> None:
    assert status.outcome(done) == words
    saved = Saved((done,), NOW, HOLDER)
    (item,) = status.document(saved, NOW, LIMITS)["items"]
    assert item["outcome"] == words
    shown = status.text(saved, NOW, LIMITS)
    assert (words is not None and words in shown) is (words is not None and done.status is Status.DONE)
    assert "None" not in shown


def outcomes(house: House) -> dict[str, str | None]:
    """What `status` says came of each item."""
    items = status.document(state.read(house.folder / "state.json"), NOW, LIMITS)["items"]
    return {f"{item['kind']} {item['number']}": item["outcome"] for item in items}


def test_the_outcome_of_every_story_that_ends_well_is_told(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", pre_merge_commands=("test -f agent.txt",))
    issue = ready(house)
    house.quiet()
    expect_pull(house, issue)
    (pull,) = house.repo.pulls
    house.bob.comments(pull, "/merge")
    house.quiet()
    (made,) = [e for e in house.github.journal.exchanges if e.path.endswith("/reviews") and e.method == "POST"]
    findings = len(made.body["comments"])
    assert outcomes(house) == {
        "implement 1": "PR #2 opened",
        "review 2": f"reviewed {pull.head_sha[:10]}: comment, {findings} finding",
        "merge 2": f"merged as {(pull.merge_sha or '')[:10]}",
    }
    house.expect("POST issues/2/*", "POST pulls/2/reviews", *LANDED)


def test_the_outcome_of_every_story_that_ends_badly_is_told(make_house: MakeHouse) -> None:
    house = make_house(
        review_prs="all", pre_merge_commands=("false",), claude_command=stub("--review", "exit-1", "no-change")
    )
    issue, pull = ready(house), opens(house)
    house.bob.comments(pull, "/merge")
    house.quiet()
    told = outcomes(house)
    assert told["implement 1"] == "no change"
    assert str(told["review 2"]).startswith(f"needs a person: No review of `{pull.head_sha[:10]}`: ")
    assert told["merge 2"] == "refused: Command 1 of 1, `false`, ended with exit status 1."
    expect_work(house, issue)
    house.expect("POST issues/2/*", *STOPPED)


def test_a_poll_is_told_when_it_was_and_not_when_a_daemon_only_started(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    State.open(file).close()
    assert state.read(file).polled_at is None
    memory = State.open(file)
    memory.beat()
    memory.close()
    polled = state.read(file).polled_at
    assert polled is not None
    assert time.time() - 60 < polled < time.time() + 60
    os.utime(tmp_path / "state.json.polled", (NOW, NOW))
    memory = State.open(file)
    with pytest.raises(Missing):
        State.open(file)
    assert state.read(file).polled_at == NOW
    memory.close()
    assert state.read(file).polled_at == NOW


def test_work_that_was_cut_off_is_not_shown_as_running() -> None:
    saved = Saved((job(43),), NOW - 7200, None)
    said = status.text(saved, NOW, LIMITS)
    assert "waiting (1)" in said
    assert "cut off; the daemon goes on with it at its next start" in said
    assert "daemon not running, last poll 2 h ago" in said
    assert status.document(saved, NOW, LIMITS)["items"][0]["group"] == "waiting"


def test_items_of_several_repositories_are_told_apart() -> None:
    saved = Saved((job(1), job(1, repo="octo/other")), NOW, HOLDER)
    assert "octo/demo#1 " in status.text(saved, NOW, LIMITS)
    assert "octo/other#1 " in status.text(saved, NOW, LIMITS)


def test_an_empty_memory_says_so() -> None:
    assert status.text(Saved((), None, None), NOW, LIMITS).splitlines()[0].startswith("Nothing to show")
    assert "no poll yet" in status.text(Saved((), None, None), NOW, LIMITS)


def test_no_line_is_wider_than_asked_and_none_drives_the_terminal() -> None:
    wild = job(43, title="\x1b[31m" + "long words " * 30, reason="a\nb" * 60, at=Status.PARKED)
    said = status.text(Saved((wild,), NOW, HOLDER), NOW, LIMITS, width=60)
    assert all(len(line) <= 60 for line in said.splitlines() if line.startswith("      "))
    assert "\x1b" not in said


def test_the_document_counts_and_lists_everything() -> None:
    document = json.loads(json.dumps(status.document(Saved(JOBS, NOW - 12, HOLDER), NOW, LIMITS)))
    assert document["version"] == 1
    assert document["generated_at"] == NOW
    assert document["daemon"] == {"running": True, "pid": 4242, "since": NOW - 7500, "polled_at": NOW - 12,
                                  "open_files": None}  # fmt: skip
    assert document["counts"] == {"needs_you": 1, "running": 1, "waiting": 1, "done": 2}
    assert document["cost_usd"] == 1.64
    first = next(item for item in document["items"] if item["number"] == 42)
    assert (first["key"], first["group"], first["attempt"]) == ("octo/demo#42/implement", "needs_you", 2)
    assert (first["reason"], first["elapsed_seconds"]) == ("The agent made no change.", 660)
    assert next(i for i in document["items"] if i["number"] == 43)["pr"] == 57


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (11_100, "3 h 5 min"),
     (172_800, "2 d"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_a_length_of_time_has_two_units_at_most(seconds: float, words: str) -> None:
    assert status.duration(seconds) == words


def test_what_is_left_of_the_day_is_shown_once_something_was_taken() -> None:
    taken = (
        Spent(NOW - 60, "1", 0.25, 7, "alice"),
        Spent(NOW - 30, "2", 5.0, 9, "mallory\x1b[2J"),
        Spent(NOW, "3", 1.0),
    )
    saved = Saved((), NOW - 12, HOLDER, spent=(*taken, Spent(NOW - 90_000, "0", 40.0, 9, "mallory")))
    shown = status.text(saved, NOW, LIMITS, width=100)
    assert "left within 24 hours: $43.75 of $50; of 20 runs each: alice 19, mallory\\x1b[2J 19" in shown
    assert status.document(saved, NOW, LIMITS)["limits"] == {
        "daily_budget_usd": 50,
        "left_usd": 43.75,
        "max_runs_per_actor_day": 20,
        "actors": [
            {"id": 7, "login": "alice", "runs_left": 19},
            {"id": 9, "login": "mallory\x1b[2J", "runs_left": 19},
        ],
    }


def test_that_nothing_holds_agents_is_shown() -> None:
    saved = Saved((), None, None)
    assert "SANDBOX=off" in status.text(saved, NOW, LIMITS, sandbox="off")
    assert "SANDBOX=off" not in status.text(saved, NOW, LIMITS)
    assert status.document(saved, NOW, LIMITS, "off")["sandbox"] == "off"
