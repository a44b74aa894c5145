"""The rows of the restart table: what the state file says when the daemon dies, and what the next start makes of it.

R1-R4, R14-R17 and M24; the same deaths around every other change are in `test_crash`.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.record import Job, Kind, Status
from orchestrator.state import State
from orchestrator.twin import PullHandle
from orchestrator.twin.faults import Fault, hang
from tests.child import LEAVES, PATIENCE, Child
from tests.house import House
from tests.merging import CALLED, LANDED, announced, gone, green

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
        ("PATCH issues/comments/*", "", ["PATCH issues/1", "DELETE git/refs/heads/topic"]),
        ("PATCH issues/1", "close-1", ["DELETE git/refs/heads/topic"]),
        ("DELETE git/refs/heads/topic", "branch", []),
        ("the worktree", "branch", []),
    ],
    ids=["comment", "issue", "branch", "worktree"],
)
def test_R3_only_the_steps_that_are_left_follow_a_crash_in_the_tail(
    child: Child, step: str, already: str, still: list[str]
) -> None:
    last_change = "DELETE git/refs/heads/topic"
    child.github.after(CALL, lambda: child.dies_after(last_change if step == "the worktree" else step))
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
    # Not by the record: it forgets the effects of what is over.
    assert [comment.id for comment in the_pull(child).comments if comment.author == "robot"] == posted
    assert child.github.journal.find(f"PATCH issues/comments/{posted[0]}")
    check_landed(child)


def test_R16_a_second_daemon_is_refused_and_the_first_goes_on(child: Child) -> None:
    first = child.start()
    child.until(lambda: child.is_done("merge", 2))
    merged = child.job("merge", 2)["merge_sha"]
    second = child.command("run")
    assert (second.returncode, second.stdout) == (3, "")
    assert second.stderr.startswith(f"Another daemon (pid {first.pid}) works with ")
    assert len(second.stderr.splitlines()) == 1
    assert (child.is_done("merge", 2), child.job("merge", 2)["merge_sha"]) == (True, merged)

    child.labelled()
    child.until(lambda: child.is_done("implement", 3))
    assert len(child.repo.pulls) == 2
    child.stop()


BASE_READ = "GET git/ref/heads/main"


def test_R14_with_a_full_disk_the_call_is_not_made_and_the_old_state_stays(child: Child) -> None:
    file = child.folder / ".orchestrator-state.json"
    state = State.open(file)  # larger than what may be written later
    state.put(Job("acme/app", Kind.IMPLEMENT, 99, "1", Status.PARKED, summary="x" * 200_000))
    state.close()
    before: list[bytes] = []

    def fills_up() -> None:
        before.append(file.read_bytes())
        resource.prlimit(child.started[-1].pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    child.github.before(BASE_READ, fills_up, nth=2)
    child.start()
    child.until(lambda: "job_lost" in child.log())
    assert child.github.journal.count(CALL) == 0
    assert (file.read_bytes(), list(child.folder.glob("*.tmp-*"))) == (before[0], [])
    child.stop()
    finish(child)
    check_landed(child)


def test_R14_once_there_is_room_again_the_job_goes_on_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.state.NO_ROOM", 0.0)  # it is tried at each poll
    file, aside = house.folder / "state.json", house.folder / "aside"

    def fills_up() -> None:
        file.rename(aside)
        file.mkdir()  # nothing can be put in its place

    pull = green(house)
    house.github.before(BASE_READ, fills_up, nth=2)
    house.alice.comments(pull, "/merge")
    house.until(file.is_dir)
    assert house.github.journal.count(CALLED) == 0
    file.rmdir()
    aside.rename(file)
    house.quiet()
    announced(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)


PHASES = {
    "POST issues/comments/*/reactions": "hear",
    "GET commits/*/check-runs": "gate",
    "POST *.git/git-upload-pack": "the fetch",
    "PUT pulls/2/merge": "land",
    "PATCH issues/1": "the issue",
    "DELETE git/refs/heads/topic": "the branch",
}


def leaves(child: Child, asked: float) -> None:
    """Out in time and in order; nothing of what it started is left, and the state is whole."""
    assert child.started[-1].wait(PATIENCE) == 0, child.log()
    assert time.monotonic() - asked < LEAVES
    assert child.processes() == []
    assert child.job("merge", 2)["status"] in ("running", "waiting", "done")


@pytest.mark.parametrize("request_", PHASES, ids=PHASES.values())
def test_R15_a_stop_in_any_phase_is_orderly_and_the_next_start_goes_on(child: Child, request_: str) -> None:
    asked: list[float] = []

    def stop() -> None:
        asked.append(time.monotonic())
        child.started[-1].send_signal(signal.SIGTERM)

    child.github.before(request_, stop)
    child.start()
    child.until(lambda: asked)
    leaves(child, asked[0])
    if not child.is_done("merge", 2):  # what little was left may have been done on the way out
        finish(child)
    check_landed(child)


def test_R15_a_stop_while_the_call_is_not_answered_leaves_it_announced(child: Child) -> None:
    reached: list[float] = []
    child.github.faults.add(Fault(CALL, hang()))
    child.github.before(CALL, lambda: reached.append(time.monotonic()))
    child.start()
    child.until(lambda: reached)
    child.started[-1].send_signal(signal.SIGTERM)
    leaves(child, time.monotonic())
    job = child.job("merge", 2)
    assert (job["phase"], job["effects"]["merge"], job["merge_sha"]) == ("land", None, "")
    finish(child)
    check_landed(child)


def test_R17_a_crash_loop_says_everything_once(tmp_path: Path) -> None:
    child = Child(tmp_path, pre_merge_commands='["exit 1"]')
    pull = child.pull()
    try:
        child.later()
        child.alice.comments(pull, "/merge now")
        child.asked(pull)
        for _ in range(3):
            child.dies_after("POST issues/1/comments")
            child.start_and_die()
        assert child.command("run", CLAUDE_COMMAND="/no/such/agent").returncode == 3
        child.start()
        child.until(lambda: child.is_done("merge", 1))
        child.stop()
        assert sorted(child.said(pull)) == ["refused-*", "reply-*", "status-*"]
        assert child.github.journal.count("POST issues/1/comments") == 3
    finally:
        child.close()


def test_M24_what_a_killed_daemon_left_running_is_ended_before_the_attempt_begins_again(child: Child) -> None:
    ran, pids, go_on = (child.folder / name for name in ("ran", "pids", "go-on"))
    hangs = f"[ -e {go_on} ] && exit 0; setsid sleep 300 & echo $$ $! > {pids}.part; mv {pids}.part {pids}; sleep 300"
    child.settings["pre_merge_commands"] = json.dumps([f"echo first >> {ran}", hangs])
    child.start()
    child.until(pids.exists)
    child.kill()
    left = [int(pid) for pid in pids.read_text().split()]
    assert [gone(pid) for pid in left] == [False, False]
    go_on.touch()

    found: list[bool] = []
    child.github.before("GET /user", lambda: found.extend(map(gone, left)))
    finish(child)
    assert found == [True, True]
    assert ran.read_text().split() == ["first", "first"]
    check_landed(child)


def test_a_daemon_that_dies_at_every_tenth_request_gets_there_with_a_whole_state_file_each_time(child: Child) -> None:
    for _ in range(4):
        child.dies_before("*", nth=10)
        child.start_and_die()
        whole = json.loads((child.folder / ".orchestrator-state.json").read_bytes())
        assert whole["body"]["generation"] > 0
    child.github.faults.clear()
    finish(child)
    check_landed(child)
