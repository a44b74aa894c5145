"""Rows F01 to F13 of the fault matrix: kill -9 of the real daemon at each place of the story, and what comes of it.

The deaths around every change on GitHub are in `test_crash`; here are those between them, in git and while programs
run, and what each row promises beyond the same final world.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.twin import PullHandle
from tests.child import Child
from tests.house import stub
from tests.merging import gone
from tests.story import Record

MakeChild = Callable[..., Child]

PUSH = "POST *.git/git-receive-pack"
CALL = "PUT pulls/2/merge"
DELETE = "DELETE git/refs/heads/topic"

# A git that kills its parent before or after the first command that contains the words in the file `die`.
MURDEROUS_GIT = """#!/bin/sh
here=${0%/*}
if [ -e "$here/die" ]; then
  read -r when what < "$here/die"
  case " $* " in *" $what "*)
    [ "$when" = before ] || GIT "$@"
    rm "$here/die"; kill -9 $PPID; exit 1;;
  esac
fi
exec GIT "$@"
"""


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[MakeChild]:
    made: list[Child] = []

    def make(**settings: Any) -> Child:
        made.append(Child(tmp_path, **settings))
        return made[-1]

    yield make
    for child in made:
        child.close()


@pytest.fixture
def child(make_child: MakeChild) -> Child:
    """An issue that is ready to be worked on."""
    made = make_child()
    made.labelled()
    return made


@pytest.fixture
def merging(make_child: MakeChild) -> Child:
    """A pull request that closes an issue which GitHub itself leaves open, and the word to merge it."""
    return asks_for_merge(make_child(pre_merge_commands='["test -f topic.txt"]'))


def asks_for_merge(child: Child) -> Child:
    child.repo.settings(autoclose=False)
    issue = child.alice.opens_issue(child.repo, "Add a topic")
    child.asked(child.pull(issue.number))
    return child


def dies_in_git(child: Child, when: str, command: str) -> None:
    """The daemon is killed right before or after this git command."""
    programs = child.folder / "programs"
    programs.mkdir()
    (programs / "git").write_text(MURDEROUS_GIT.replace("GIT", str(shutil.which("git"))))
    (programs / "git").chmod(0o755)
    (programs / "die").write_text(f"{when} {command}\n")
    child.start(PATH=f"{programs}:{os.environ['PATH']}")
    child.until(child.killed)
    assert not (programs / "die").exists(), child.log()


def goes_on(child: Child, kind: str = "implement", number: int = 1) -> None:
    """Start again, and until the job is done."""
    child.start()
    child.until(lambda: child.is_done(kind, number))
    child.stop()


def applied(child: Child, request: str) -> int:
    """How often GitHub did this."""
    return len([e for e in child.github.journal.find(request) if 200 <= e.status < 300])


def check_pull(child: Child, runs: int = 1) -> PullHandle:
    """One branch, one pull request, one comment, so many agent runs, and nothing left over."""
    [issue], [pull] = child.repo.issues, child.repo.pulls
    assert child.repo.branches == ["feature/issue-1", "main"]
    assert child.repo.log(pull.head_ref) == ["Greet people", "First commit"]
    assert child.repo.file(pull.head_ref, "agent.txt") == "made by the stub\n"
    assert (issue.labels, issue.reactions, child.said(issue)) == ([], ["eyes"], ["sticky"])
    assert f"Done: #{pull.number} was opened" in issue.comments[-1].body
    assert (child.runs, child.worktrees()) == (runs, [])
    return pull


def check_landed(child: Child) -> PullHandle:
    """One merge, issue closed, branch gone, one comment that tells it."""
    [pull] = child.repo.pulls
    assert applied(child, CALL) == 1
    assert child.repo.log("main") == ["Change (#2)", "First commit"]
    assert (child.repo.branches, [issue.open for issue in child.repo.issues]) == (["main"], [False])
    assert (child.said(pull), child.worktrees()) == (["status-*"], [])
    assert "**Merged**" in pull.comments[-1].body
    return pull


def test_F01_an_item_that_was_only_seen_is_found_again_and_worked_on_once(child: Child) -> None:
    """Seen in the list and not yet on the record; then on the record and not yet looked at."""
    for moment in ("GET issues", "GET issues/1"):
        child.dies_after(moment)
        child.start_and_die()
    assert child.repo.issues[0].labels == ["ready"]
    assert [e for e in child.github.journal.exchanges if e.changes] == []
    goes_on(child)
    check_pull(child)


def test_F02_a_crash_before_the_worktree_was_made_counts_no_attempt(child: Child) -> None:
    dies_in_git(child, "before", "update-ref --stdin")
    assert (child.worktrees(), child.job("implement", 1)["phase"]) == ([], "prepare")
    goes_on(child)
    check_pull(child)
    assert child.job("implement", 1)["attempt"] == 1


def test_F03_a_worktree_whose_making_was_cut_off_is_made_anew(child: Child) -> None:
    dies_in_git(child, "after", "reset --hard")
    making = child.folder / "worktrees/acme/app/mirror.git/trees/issue-1/making"
    assert making.exists()
    goes_on(child)
    check_pull(child)
    assert child.job("implement", 1)["attempt"] == 1
    assert not making.exists()


@pytest.mark.parametrize("sessions", [True, False], ids=["session", "no-session"])
def test_F04_a_run_that_was_cut_off_is_gone_and_its_work_is_saved_and_gone_on_with(
    child: Child, sessions: bool
) -> None:
    """Where the program does not know the session any more, a fresh worktree and another attempt begin."""
    script, known = child.folder / "script", child.folder / "sessions"
    script.write_text("ignores-sigterm\nsuccess\n")
    words = ("--record", str(child.record), "--sessions", str(known), f"@{script}")
    child.settings["claude_command"] = stub(*words)
    child.start()
    child.until(lambda: child.runs == 1 and b"deaf" in Path(child.job("implement", 1)["log"]).read_bytes())
    tree, [run] = child.folder / "worktrees/acme/app/issue-1", Record(child.record).runs
    (tree / "half.txt").write_text("half a thought\n")
    child.kill()
    assert not gone(run["pid"])
    if not sessions:
        shutil.rmtree(known)
    found: list[bool] = []
    child.github.before("GET /user", lambda: found.append(gone(run["pid"])))
    goes_on(child)
    assert found == [True]
    session = session_of(run)
    assert [session_of(one) for one in Record(child.record).runs][1] == session
    pull = check_pull(child, runs=2 if sessions else 3)
    assert child.job("implement", 1)["attempt"] == (1 if sessions else 2)
    assert child.repo.file(pull.head_ref, "half.txt") == ("half a thought\n" if sessions else None)
    saved = ["git", "-C", str(tree.parent / "mirror.git"), "show", "refs/orchestrator/salvage/issue-1/1^{}:half.txt"]
    assert subprocess.run(saved, capture_output=True, text=True).stdout == "half a thought\n"


def session_of(run: dict[str, Any]) -> str:
    """Which session a run of the agent was told to begin or to go on with."""
    flag = "--resume" if "--resume" in run["argv"] else "--session-id"
    return str(run["argv"][run["argv"].index(flag) + 1])


def test_F05_work_that_was_done_and_not_committed_is_committed_and_not_done_again(child: Child) -> None:
    dies_in_git(child, "before", "commit-tree")
    assert (child.job("implement", 1)["phase"], child.worktrees()) == ("commit", ["issue-1"])
    goes_on(child)
    check_pull(child)
    assert child.job("implement", 1)["attempt"] == 1


def test_F06_a_commit_that_was_not_pushed_is_pushed_as_it_is(child: Child) -> None:
    child.dies_before(PUSH)
    child.start_and_die()
    made = child.job("implement", 1)["head"]
    assert made
    assert child.repo.branches == ["main"]
    goes_on(child)
    assert check_pull(child).head_sha == made


def test_F07_a_push_that_was_not_recorded_is_recorded(child: Child) -> None:
    child.dies_after(PUSH)
    child.start_and_die()
    job = child.job("implement", 1)
    assert child.repo.sha("feature/issue-1") == job["head"]
    assert "pushed" not in job["facts"]
    goes_on(child)
    assert check_pull(child).head_sha == job["head"]
    assert child.job("implement", 1)["facts"]["pushed"] == job["head"]
    assert applied(child, "PUSH refs/heads/feature/issue-1") == 1


def test_F08_a_branch_without_its_pull_request_gets_one(child: Child) -> None:
    child.dies_before("POST pulls")
    child.start_and_die()
    assert (child.repo.branches, child.repo.pulls) == (["feature/issue-1", "main"], [])
    goes_on(child)
    check_pull(child)
    assert applied(child, "POST pulls") == 1


def test_F09_a_pull_request_that_was_not_recorded_is_found_by_its_branch(child: Child) -> None:
    """Found by its head branch alone: a pull request of ours carries no marker, so that its text is only text."""
    child.dies_after("POST pulls")
    child.start_and_die()
    assert child.job("implement", 1)["pr"] is None
    goes_on(child)
    assert child.job("implement", 1)["pr"] == check_pull(child).number
    assert child.github.journal.count("POST pulls") == 1


def test_F10_a_comment_that_was_not_recorded_is_found_by_its_marker(child: Child) -> None:
    child.dies_after("POST issues/1/comments")
    child.start_and_die()
    [posted] = child.repo.issues[0].comments
    assert child.job("implement", 1)["effects"] == {"sticky": None}
    goes_on(child)
    check_pull(child)
    assert child.job("implement", 1)["effects"]["sticky"] == posted.id
    assert child.github.journal.count("POST issues/1/comments") == 1


def test_F10_a_review_that_was_not_recorded_is_found_by_its_marker(make_child: MakeChild) -> None:
    child = make_child(review_prs="all")
    pull = child.pull()
    child.dies_after("POST pulls/1/reviews")
    child.start_and_die()
    goes_on(child, "review")
    assert [review.commit_id for review in pull.reviews] == [pull.head_sha]
    assert (child.github.journal.count("POST pulls/1/reviews"), child.runs) == (1, 1)
    assert child.said(pull) == ["sticky"]


def test_F11_commands_that_were_cut_off_run_again_on_the_same_commit(make_child: MakeChild) -> None:
    child = make_child()
    ran, pid, go_on = (child.folder / name for name in ("ran", "pid", "go-on"))
    hangs = f"[ -e {go_on} ] || {{ echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 300; }}"
    tested = f'echo $(git rev-parse "HEAD^1" "HEAD^2" "HEAD^{{tree}}") >> {ran}'
    child.settings["pre_merge_commands"] = json.dumps([tested, hangs])
    asks_for_merge(child)
    child.start()
    child.until(pid.exists)
    child.kill()
    job = child.job("merge", 2)
    assert (job["phase"], job["tree"], applied(child, CALL)) == ("gate", "", 0)
    go_on.touch()
    goes_on(child, "merge", 2)
    assert gone(int(pid.read_text()))
    first, second = ran.read_text().splitlines()
    assert first == second
    assert first.split()[1] == check_landed(child).head_sha


def test_F12_a_merge_that_was_not_recorded_is_read_and_followed_up_once(merging: Child) -> None:
    merging.dies_after(CALL)
    merging.start_and_die()
    assert merging.repo.pulls[0].merged
    assert merging.job("merge", 2)["merge_sha"] == ""
    goes_on(merging, "merge", 2)
    assert merging.job("merge", 2)["merge_sha"] == check_landed(merging).merge_sha
    follow_ups = (CALL, "PATCH issues/1", DELETE, "POST issues/2/comments")
    assert [merging.github.journal.count(request) for request in follow_ups] == [1, 1, 1, 1]


def test_F13_a_branch_that_was_to_be_deleted_is_deleted_once(merging: Child) -> None:
    merging.dies_before(DELETE)
    merging.start_and_die()
    # Not before GitHub is through with what it dropped, which would count as the request that is waited for.
    merging.until(lambda: [e for e in merging.github.journal.find(DELETE) if e.status == 0])
    merging.dies_after(DELETE)
    merging.start_and_die()
    assert "topic" not in merging.repo.branches
    goes_on(merging, "merge", 2)
    assert "was kept" not in check_landed(merging).comments[-1].body
    assert applied(merging, DELETE) == 1
