"""Rows F05b, F36 to F38 and F45 to F49 of the fault matrix: git, in the worktree, the mirror and on the way."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.git import content, mirror
from orchestrator.twin import Fault, apply_then_reset, status
from orchestrator.twin.faults import Kind, cut, reset, short
from tests.conftest import MakeHouse
from tests.faulty import HOUR, at_work, busy_agent, for_a_while, runs, the_pull
from tests.house import House, stub
from tests.merging import LANDED, announced, appears, green, poll
from tests.story import expect_pull, expect_work, outcomes, ready

PUSH = "POST */git-receive-pack"
BRANCH = "feature/issue-1"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


def place(house: House) -> Path:
    return house.folder / "worktrees/acme/app"


def also(house: House, script: str) -> None:
    """The agent does this in its worktree, and then its work."""
    words = ["sh", "-c", f'{script}; exec "$@"', "sh", *shlex.split(stub("success"))]
    house.options["claude_command"] = shlex.join(words)


BAD = {
    "nested": ("git init -q inner && echo x > inner/file && git -C inner add file", "`inner` is a git repository"),
    "link": ("ln -s /etc/passwd link", "`link` is a link to `/etc/passwd`"),
    "size": ("head -c 5000 /dev/zero > 'big file'", "`big file` is "),
}


@pytest.mark.parametrize("bad", BAD)
def test_F05b_work_that_must_not_be_pushed_parks_the_item_and_names_the_path(
    house: House, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setattr(content, "LARGEST_FILE", 4000)
    script, said = BAD[bad]
    also(house, script)
    issue = ready(house)
    house.quiet()
    [text] = outcomes(issue)
    assert said in text
    assert "Nothing was pushed" in text
    assert issue.labels == ["needs-human"]
    assert (place(house) / "issue-1/agent.txt").exists()
    assert house.repo.branches == ["main"]
    expect_work(house, issue)


@pytest.mark.parametrize(
    "trouble", [reset(), cut(), apply_then_reset(), status(502)], ids=["before", "in", "after", "refused"]
)
def test_F36_a_push_that_is_cut_leaves_the_old_or_the_new_and_is_made_once(house: House, trouble: Kind) -> None:
    house.github.faults.add(Fault(PUSH, trouble))
    issue = ready(house)
    house.quiet()
    assert the_pull(house, issue).head_sha == house.job("implement", 1).head
    house.github.journal.claim(f"PUSH refs/heads/{BRANCH}", times=1)


def test_F36_an_answer_to_a_push_that_breaks_off_whole_does_not_hold_the_slot_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git waits for the rest of it without end: remote-curl and send-pack wait for each other."""
    monkeypatch.setattr(mirror, "PUSH_TIMEOUT", 0.5)
    house.github.faults.add(Fault(PUSH, short()))
    issue = ready(house)
    house.quiet()
    assert the_pull(house, issue).head_sha == house.job("implement", 1).head
    house.github.journal.claim(f"PUSH refs/heads/{BRANCH}", times=1)


def test_F37_commits_of_somebody_else_on_our_branch_stop_the_push_and_are_told_once(house: House) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    foreign = house.alice.pushes(house.repo, BRANCH, {"by-alice.txt": "mine\n"}, "Alice was faster")
    go_on.touch()
    house.quiet()
    for_a_while(house, HOUR / 3)
    assert house.repo.sha(BRANCH) == foreign
    [said] = outcomes(issue)
    assert "Somebody else pushed" in said
    assert (issue.labels, runs(house)) == (["needs-human"], 1)
    assert (place(house) / "issue-1/agent.txt").exists()
    expect_work(house, issue)


def again(house: House) -> None:
    """The agent has begun another attempt on its own pull request."""
    issue, go_on = ready(house), busy_agent(house)
    go_on.touch()
    house.quiet()
    go_on.unlink()
    house.alice.labels(issue, "ready")
    at_work(house, 2)


def test_F38_a_forced_push_of_a_person_is_not_overwritten(house: House) -> None:
    again(house)
    [issue] = house.repo.issues
    rewritten = house.alice.force_pushes(house.repo, BRANCH, {"by-alice.txt": "mine\n"}, "Alice starts over")
    (house.folder / "go-on").touch()
    house.quiet()
    assert house.repo.sha(BRANCH) == rewritten
    [said] = outcomes(issue)
    assert "their commits were left alone" in said
    assert issue.labels == ["needs-human"]
    expect_pull(house, issue)


def test_F45_a_worktree_that_somebody_deleted_is_made_anew(house: House) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    house.stop()
    shutil.rmtree(place(house) / "issue-1")
    go_on.touch()
    house.quiet()
    the_pull(house, issue)
    assert runs(house) == 2


def test_F46_a_branch_that_a_person_has_checked_out_elsewhere_is_no_obstacle(house: House) -> None:
    """Neither in a clone of theirs nor in a worktree that they made of our mirror; both stay as they are."""
    issue = ready(house)
    house.quiet()
    clone, theirs = house.folder / "clone", house.folder / "theirs"
    git(house.folder, "clone", "--quiet", "--branch", BRANCH, str(house.repo.thing.bare.path), str(clone))
    git(place(house) / "mirror.git", "fetch", "--quiet", str(clone), f"{BRANCH}:{BRANCH}")
    git(place(house) / "mirror.git", "worktree", "add", "--quiet", str(theirs), BRANCH)
    for folder in (clone, theirs):
        (folder / "agent.txt").write_text("unfinished\n")
    house.alice.labels(issue, "ready")
    house.quiet()
    pull = the_pull(house, issue)
    assert house.repo.log(pull.head_ref) == ["Greet people", "Greet people", "First commit"]
    assert [(folder / "agent.txt").read_text() for folder in (clone, theirs)] == ["unfinished\n"] * 2


@pytest.mark.parametrize("moment", ["crash", "agent"])
def test_F47_a_lock_that_nobody_holds_is_no_obstacle_and_a_persons_own_stays(house: House, moment: str) -> None:
    clone = house.folder / "clone"
    git(house.folder, "clone", "--quiet", str(house.repo.thing.bare.path), str(clone))
    (clone / ".git/index.lock").touch()
    lock = place(house) / "issue-1/.git/index.lock"
    issue = ready(house)
    if moment == "crash":
        go_on = busy_agent(house)
        at_work(house)
        house.stop()
        lock.touch()
        go_on.touch()
    else:
        also(house, f"touch {shlex.quote(str(lock))}")
    house.quiet()
    the_pull(house, issue)
    assert (clone / ".git/index.lock").exists()


def empties(folder: Path) -> None:
    """As after a power loss: what was written last is there by name only."""
    for file in (f for f in folder.rglob("*") if f.is_file()):
        file.chmod(0o600)
        file.write_bytes(b"")


def test_F48_a_corrupt_index_spoils_no_work(house: House) -> None:
    also(house, "printf garbage > $(git rev-parse --git-path index)")
    issue = ready(house)
    house.quiet()
    the_pull(house, issue)


@pytest.mark.parametrize("harm", ["objects", "refs/remotes"])
def test_F48_a_mirror_that_is_damaged_is_set_aside_and_made_anew(house: House, harm: str) -> None:
    """What can still be read of our own branches and of the work that was saved is taken over."""
    mirror, saved = place(house) / "mirror.git", "refs/heads/feature/issue-9"
    first = ready(house)
    house.quiet()
    the_pull(house, first)
    house.stop()
    git(mirror, "update-ref", saved, str(house.repo.sha("main")))
    empties(mirror / harm)
    second = ready(house)
    house.quiet()
    the_pull(house, second)
    git(mirror, "fsck")
    assert (place(house) / "mirror.git.damaged-1" / harm).is_dir()
    assert git(mirror, "for-each-ref", "--format=%(refname)", saved).split() == ([] if harm == "objects" else [saved])


def test_F48_a_mirror_that_is_damaged_while_an_agent_works_costs_that_run_and_nothing_else(house: House) -> None:
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    empties(place(house) / "mirror.git/objects")
    go_on.touch()
    house.quiet()
    the_pull(house, issue)
    assert runs(house) == 2
    assert (place(house) / "mirror.git.damaged-1").is_dir()
    assert outcomes(issue) == []


def test_F49_a_person_who_cleans_up_with_git_during_a_run_harms_nothing(make_house: MakeHouse) -> None:
    """Neither in a clone of theirs nor in our mirror; also a merge on paper stays while commands run on it."""
    house = make_house()
    issue, go_on = ready(house), busy_agent(house)
    at_work(house)
    mirror = place(house) / "mirror.git"
    git(mirror, "gc", "--quiet", "--prune=now")
    git(mirror, "worktree", "prune", "--expire=now")
    go_on.touch()
    house.quiet()
    the_pull(house, issue)

    pull, began, tested = green(house), house.folder / "began", house.folder / "tested"
    house.stop()
    house.start(pre_merge_commands=(f"touch {began}; while [ ! -e {tested} ]; do sleep 0.01; done; git fsck",))
    house.alice.comments(pull, "/merge")
    poll(house)
    appears(began)
    git(mirror, "gc", "--quiet", "--prune=now")
    tested.touch()
    house.quiet()
    assert "with base" in announced(house, pull)
    house.expect(*LANDED)
