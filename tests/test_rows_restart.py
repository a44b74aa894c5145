"""The rows of the restart table: what the state file says when the daemon dies, and what the next start makes of it.

R1-R4 and R16; the same deaths around every other change are in `test_crash`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.twin import PullHandle
from tests.child import Child

CALL = "PUT pulls/2/merge"


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A pull request that closes an issue which GitHub itself leaves open, and the word to merge it."""
    made = Child(tmp_path, pre_merge_commands='["test -f topic.txt"]')
    made.repo.settings(autoclose=False)
    issue = made.alice.opens_issue(made.repo, "Add a topic")
    made.asked(made.pull(issue.number))
    yield made
    made.close()


def the_pull(child: Child) -> PullHandle:
    return child.repo.pulls[0]


def finish(child: Child) -> None:
    """Start again, and until the merge is done."""
    child.start()
    child.until(lambda: child.is_done("merge", 2))
    child.stop()


def requests(child: Child, since: int) -> list[str]:
    """What was asked since then, as `METHOD path`."""
    return [e.short for e in child.github.journal.exchanges[since:]]


def check_landed(child: Child) -> None:
    """One merge, everything tidied up, one status comment that tells it."""
    pull = the_pull(child)
    assert [e.status for e in child.github.journal.find(CALL) if e.status] == [200]
    assert (pull.merged, child.repo.log("main")) == (True, ["Change (#2)", "First commit"])
    assert child.repo.branches == ["main"]
    assert [issue.open for issue in child.repo.issues] == [False]
    assert child.said(pull) == ["status-*"]
    assert "**Merged**" in pull.comments[-1].body
    assert "with base" in pull.comments[-1].body
    assert child.worktrees() == []


def test_R1_a_call_that_was_announced_and_not_made_passes_the_gate_again_first(child: Child) -> None:
    child.dies_before(CALL)
    child.start_and_die()
    job = child.job("merge", 2)
    assert (job["status"], job["phase"]) == ("running", "land")
    assert job["effects"]["merge"] is None
    assert (job["head"], job["merge_sha"]) == (the_pull(child).head_sha, "")
    assert the_pull(child).open

    before = len(child.github.journal.exchanges)
    finish(child)
    asked = requests(child, before)
    call = max(place for place, one in enumerate(asked) if one == "PUT pulls/2/merge")  # the first was cut off
    assert asked.index("GET pulls/2") < asked.index("GET collaborators/bob/permission") < call
    check_landed(child)


def test_R2_a_call_whose_answer_was_never_heard_is_read_and_not_repeated(child: Child) -> None:
    child.dies_after(CALL)
    child.start_and_die()
    job = child.job("merge", 2)
    assert (job["phase"], job["effects"]["merge"], job["merge_sha"]) == ("land", None, "")
    assert the_pull(child).merged

    before = len(child.github.journal.exchanges)
    finish(child)
    assert "GET collaborators/bob/permission" not in requests(child, before)
    check_landed(child)


@pytest.mark.parametrize(
    ("step", "already", "still"),
    [
        ("PATCH issues/1", "close-1", ["DELETE git/refs/heads/topic", "PATCH issues/comments/*"]),
        ("DELETE git/refs/heads/topic", "branch", ["PATCH issues/comments/*"]),
        ("PATCH issues/comments/*", "", []),
        ("the worktree", "", []),
    ],
    ids=["issue", "branch", "comment", "worktree"],
)
def test_R3_only_the_steps_that_are_left_follow_a_crash_in_the_tail(
    child: Child, step: str, already: str, still: list[str]
) -> None:
    last_edit = "PATCH issues/comments/*"
    child.github.after(CALL, lambda: child.dies_after(last_edit if step == "the worktree" else step))
    child.start_and_die()
    job = child.job("merge", 2)
    assert (job["status"], job["phase"], job["merge_sha"]) == ("running", "tidy", the_pull(child).merge_sha)
    if already:
        assert job["effects"][already] is None
    assert child.worktrees() == ["merge-2"]
    if step == "the worktree":
        shutil.rmtree(child.folder / "worktrees/acme/app/merge-2")

    before = len(child.github.journal.exchanges)
    finish(child)
    for request in still:
        assert [e for e in child.github.journal.find(request) if e.number > before], request
    check_landed(child)


def test_R4_a_comment_that_was_posted_and_not_recorded_is_found_by_its_marker(child: Child) -> None:
    child.dies_after("POST issues/2/comments")
    child.start_and_die()
    posted = [comment.id for comment in the_pull(child).comments if comment.author == "robot"]
    job = child.job("merge", 2)
    assert [outcome for key, outcome in job["effects"].items() if key.startswith("status-")] == [None]

    finish(child)
    job = child.job("merge", 2)
    assert [outcome for key, outcome in job["effects"].items() if key.startswith("status-")] == posted
    check_landed(child)


def test_R16_a_second_daemon_is_refused_and_the_first_goes_on(child: Child) -> None:
    first = child.start()
    child.until(lambda: child.is_done("merge", 2))
    effects = child.job("merge", 2)["effects"]
    second = child.command("run")
    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr.startswith(f"Another daemon (pid {first.pid}) works with ")
    assert len(second.stderr.splitlines()) == 1
    assert (child.is_done("merge", 2), child.job("merge", 2)["effects"]) == (True, effects)

    child.labelled()
    child.until(lambda: child.is_done("implement", 3))
    assert len(child.repo.pulls) == 2
    child.stop()


def test_a_daemon_that_dies_at_every_tenth_request_gets_there_with_a_whole_state_file_each_time(child: Child) -> None:
    for _ in range(4):
        child.dies_before("*", nth=10)
        child.start_and_die()
        whole = json.loads((child.folder / ".orchestrator-state.json").read_bytes())
        assert whole["body"]["generation"] > 0
    child.github.faults.clear()
    finish(child)
    check_landed(child)
