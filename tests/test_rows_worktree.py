"""Rows M and L of the merge specification: worktrees and mirror, whatever was left there and whoever else works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.twin import IssueHandle, PullHandle
from tests.child import Child
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, LANDED, STOPPED, announced, appears, ask, green, opens, refusal, runs, short
from tests.story import Record, eventually, expect_pull, poll, ready


def place(house: House) -> Path:
    return house.folder / "worktrees/acme/app"


def junk(house: House, pull: PullHandle) -> None:
    folder = place(house) / f"merge-{pull.number}"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine\n")


def cut_off(house: House, pull: PullHandle) -> None:
    """A crashed run's worktree: another branch, changed files, git's lock."""
    mirror, folder = place(house) / "mirror.git", place(house) / f"merge-{pull.number}"
    for words in (
        ["init", "--quiet", "--bare", str(mirror)],
        ["-C", str(mirror), "fetch", "--quiet", house.repo.thing.bare.path.as_posix(), "main:refs/heads/stray"],
        ["-C", str(mirror), "worktree", "add", "--quiet", "--lock", str(folder), "stray"],
    ):
        subprocess.run(["git", *words], check=True, capture_output=True)
    (folder / "README.md").write_text("half\n")


def vanished(house: House, pull: PullHandle) -> None:
    """Registered, but the folder is gone."""
    cut_off(house, pull)
    subprocess.run(["rm", "-r", str(place(house) / f"merge-{pull.number}")], check=True)


@pytest.mark.parametrize("left", [junk, cut_off, vanished])
def test_M11_whatever_is_in_the_worktrees_place_is_replaced(make_house: MakeHouse, left: object) -> None:
    house = make_house(pre_merge_commands=("test -f topic.txt", "grep hello README.md", "! test -f notes.txt"))
    checkout = house.folder / "my-checkout"
    subprocess.run(["git", "clone", "--quiet", str(house.repo.thing.bare.path), str(checkout)], check=True)
    (checkout / "README.md").write_text("my own unfinished work\n")
    pull = green(house)
    assert callable(left)
    left(house, pull)
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert (checkout / "README.md").read_text() == "my own unfinished work\n"
    house.expect(*LANDED)


LEFT = ("packed-refs.lock", "shallow.lock", "HEAD.lock", "config.lock", "refs/remotes/origin/main.lock")


def test_M13_locks_that_a_killed_git_left_are_taken_away(house: House) -> None:
    first, second = green(house, "first"), green(house, "second")
    mirror, once = place(house) / "mirror.git", house.folder / "once"
    left = " ".join(str(mirror / name) for name in (*LEFT, f"../merge-{first.number}/.git/index.lock"))
    runs(house, f"[ -e {once} ] || touch {once} {left}")
    ask(house, first)
    announced(house, first)
    assert not (mirror / "refs/remotes/origin/main.lock").exists()
    assert not (mirror / "packed-refs.lock").exists()
    assert [p.name for p in place(house).glob("merge-*")] == []
    asked = house.clock.now()
    ask(house, second)
    announced(house, second)
    assert house.job("merge", second.number).updated_at - asked < 120
    house.expect(*LANDED)


def test_M13_a_lock_whose_owner_lives_is_waited_for(house: House) -> None:
    first, pull = green(house, "first"), green(house)
    ask(house, first)
    mirror = place(house) / "mirror.git"
    lock = mirror / "refs/remotes/origin/main.lock"
    lock.touch()
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=mirror, stdin=subprocess.PIPE) as owner:
        house.alice.comments(pull, "/merge")
        house.until(lambda: any(f"Process {owner.pid} is at work" in job.reason for job in house.jobs))
        assert lock.exists()
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


def test_M14_a_daemon_that_a_git_hook_started_works_on_its_own_repositories(tmp_path: Path) -> None:
    """The whole story, with all that git tells its hooks in the daemon's environment."""
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "--quiet")
    git(mine, "-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "--allow-empty", "-m", "Mine")
    inside = mine / ".git"
    hook = {
        "GIT_DIR": str(inside),
        "GIT_COMMON_DIR": str(inside),
        "GIT_INDEX_FILE": str(inside / "index"),
        "GIT_WORK_TREE": str(mine),
        "GIT_OBJECT_DIRECTORY": str(inside / "objects"),
        "GIT_PREFIX": "",
        "GIT_CONFIG_PARAMETERS": "'user.name=somebody'",
    }

    def look() -> list[str]:
        return [
            git(mine, "log", "--all", "--format=%s"),
            git(mine, "status", "--porcelain"),
            git(mine, "count-objects"),
        ]

    before = look()
    seen = tmp_path / "seen"
    child = Child(tmp_path / "house", pre_merge_commands=json.dumps([f"env > {seen}; git rev-parse HEAD >> {seen}"]))
    try:
        child.labelled()
        child.start(**hook)
        child.until(lambda: child.is_done("implement", 1))
        [pull] = child.repo.pulls
        child.asked(pull)
        child.until(lambda: child.is_done("merge", pull.number))
        child.stop()
        assert pull.merged
        [run] = Record(child.record).runs
        assert [name for name in run["env"] if name in hook] == []
        assert [line for line in seen.read_text().splitlines() if line.startswith("GIT_")] == []
        assert look() == before
    finally:
        child.close()


def our_pull(house: House) -> tuple[IssueHandle, PullHandle]:
    """A pull request that the agent made for an issue."""
    house.options["ci_settle"] = 0
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    house.clock.advance(5)
    return issue, pull


def polls_until(house: House, done: Callable[[], bool]) -> None:
    """Let the daemon poll while processes work."""

    def polled() -> bool:
        if not done():
            poll(house)
        return done()

    eventually(polled)


def gets_to_work(house: House, issue: IssueHandle) -> Path:
    """Another attempt for the issue; it is at work for as long as the file is there."""
    busy, at_work = house.folder / "busy", house.folder / "at-work"
    busy.touch()
    house.alice.labels(issue, "ready")
    polls_until(house, at_work.exists)
    return busy


def setup(house_folder: Path) -> str:
    busy, at_work = house_folder / "busy", house_folder / "at-work"
    return f"[ ! -e {busy} ] || touch {at_work}; while [ -e {busy} ]; do sleep 0.01; done"


def agent_works_said(house: House, issue: IssueHandle, pull: PullHandle) -> bool:
    wanted = f"The agent still works on `feature/issue-{issue.number}` for #{issue.number}"
    return any(text.startswith("**Not merged**") and wanted in text for text in house.said(pull))


def test_M12_a_branch_that_our_agent_works_on_is_not_merged(house: House) -> None:
    house.options["setup_commands"] = (setup(house.folder),)
    issue, pull = our_pull(house)
    old = pull.head_sha
    busy = gets_to_work(house, issue)
    house.alice.comments(pull, "/merge")
    polls_until(house, lambda: agent_works_said(house, issue, pull))
    assert not pull.merged
    busy.unlink()
    house.quiet()
    assert pull.head_sha != old
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert short(pull.head_sha) in announced(house, pull)
    expect_pull(house, issue)
    house.expect(*LANDED)


def test_M12_an_agent_that_begins_while_commands_run_stops_the_merge_before_the_call(house: House) -> None:
    house.options["setup_commands"] = (setup(house.folder),)
    issue, pull = our_pull(house)
    began, go_on = house.folder / "began", house.folder / "go-on"
    house.stop()
    runs(house, f"touch {began}; while [ ! -e {go_on} ]; do sleep 0.01; done")
    house.start()
    house.alice.comments(pull, "/merge")
    poll(house)
    appears(began)
    busy = gets_to_work(house, issue)
    go_on.touch()
    eventually(lambda: agent_works_said(house, issue, pull))
    busy.unlink()
    house.quiet()
    assert house.github.journal.count(CALLED) == 0
    refusal(house, pull)
    expect_pull(house, issue)
    house.expect(*STOPPED)


# A git that takes its time over what moves refs, and tells when two of them do so in one clone at the same time.
SLOW_GIT = """#!/bin/sh
case "$1" in fetch|update-ref)
  mkdir "$(dirname "$0")/busy" || touch "$(dirname "$0")/overlap"
  GIT "$@"; code=$?
  [ "$1" = fetch ] && sleep 0.1
  rmdir "$(dirname "$0")/busy"
  exit $code;;
esac
exec GIT "$@"
"""


def test_L16_merges_into_different_bases_overlap_and_their_git_commands_do_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = house.folder / "programs"
    programs.mkdir()
    (programs / "git").write_text(SLOW_GIT.replace("GIT", str(shutil.which("git"))))
    (programs / "git").chmod(0o755)
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    one, two = green(house, "one"), opens(house, "two", base="develop")
    house.ci.passes(two, "build")
    # Each waits for the other, so that neither passes alone.
    here = house.folder
    runs(
        house,
        f"touch {here}/$(ls | grep -E '^(one|two).txt')",
        f"for i in $(seq 500); do [ -e {here}/one.txt -a -e {here}/two.txt ] && exit 0; sleep 0.01; done; exit 1",
    )
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    house.alice.comments(one, "/merge")
    house.bob.comments(two, "/merge")
    house.quiet()
    announced(house, one)
    announced(house, two)
    assert not (programs / "overlap").exists()
    house.expect(*LANDED)
