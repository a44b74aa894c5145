"""A worktree is made, whatever stood in its place, and nothing of that is lost."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest

from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Worktree
from tests.gitremote import Remote, run_git
from tests.worktree.looking import (
    BRANCH,
    SALVAGE,
    break_index,
    content_of,
    dirty,
    files,
    leave_locks,
    registered,
    salvaged,
    swept,
)


def test_a_worktree_has_the_files_and_the_branch(tree: Worktree, start: str) -> None:
    assert (tree.path / "sub" / "b.txt").read_bytes() == b"b\n"
    assert tree.head() == start
    assert not dirty(tree)
    assert run_git("branch", "--show-current", cwd=tree.path) == BRANCH
    assert run_git("status", "--porcelain", cwd=tree.path) == ""


def test_without_a_branch_head_is_detached(mirror: Mirror, start: str) -> None:
    tree = Worktree(mirror, mirror.base / "pr-review-7")
    tree.create(start, None)
    assert run_git("branch", "--show-current", cwd=tree.path) == ""
    assert tree.head() == start


def test_an_agent_can_commit_in_a_worktree(tree: Worktree, mirror: Mirror) -> None:
    (tree.path / "a.txt").write_text("agent\n")
    plain = {"PATH": os.environ["PATH"], "HOME": "/dev/null"}
    assert os.spawnvpe(os.P_WAIT, "git", ["git", "-C", str(tree.path), "commit", "-qam", "mine"], plain) == 0
    assert run_git("log", "-1", "--format=%an", cwd=tree.path) == "The Bot"
    assert mirror.sha(str(tree.head())) is None  # the mirror has it when it was collected
    assert mirror.sha(tree.collect("x").head) == tree.head()


def _delete_folder(tree: Worktree) -> None:
    shutil.rmtree(tree.path)


def _delete_registration(tree: Worktree) -> None:
    shutil.rmtree(tree.mirror.path / "trees" / tree.name)


def _made_by_version_0_1(tree: Worktree) -> None:
    """With git's own means, a worktree of the mirror."""
    shutil.rmtree(tree.path)
    shutil.rmtree(tree.mirror.path / "trees" / tree.name)
    run_git("worktree", "add", "-q", "-f", "-B", BRANCH, str(tree.path), tree._known.start, cwd=tree.mirror.path)


def _switch_branch(tree: Worktree) -> None:
    run_git("switch", "-qc", "another", cwd=tree.path)


def _break_head(tree: Worktree) -> None:
    (tree.path / ".git" / "HEAD").write_bytes(b"\0\0\0")


def _delete_head(tree: Worktree) -> None:
    (tree.path / ".git" / "HEAD").unlink()


def _replace_link(tree: Worktree) -> None:
    shutil.rmtree(tree.path / ".git")
    (tree.path / ".git").write_text("gitdir: /nowhere\n")


def _own_repository(tree: Worktree) -> None:
    shutil.rmtree(tree.path / ".git")
    run_git("init", "-q", cwd=tree.path)


def _make_read_only(tree: Worktree) -> None:
    (tree.path / "sub").chmod(0o500)


def _file_in_its_place(tree: Worktree) -> None:
    shutil.rmtree(tree.path)
    tree.path.write_text("no folder")


def _link_in_its_place(tree: Worktree) -> None:
    tree.path.rename(tree.path.with_name("moved"))
    tree.path.symlink_to(tree.path.with_name("moved"))


def _nothing(tree: Worktree) -> None:
    """A clean worktree that is simply made again."""


@pytest.mark.parametrize(
    "harm",
    [
        _nothing,
        _delete_folder,
        _delete_registration,
        _made_by_version_0_1,
        _switch_branch,
        leave_locks,
        break_index,
        _break_head,
        _delete_head,
        _replace_link,
        _own_repository,
        _make_read_only,
        _file_in_its_place,
        _link_in_its_place,
    ],
)
def test_a_worktree_is_made_again_whatever_became_of_it(
    tree: Worktree, mirror: Mirror, start: str, harm: Callable[[Worktree], None]
) -> None:
    harm(tree)
    tree.create(start, BRANCH)
    assert tree.head() == start
    assert not dirty(tree)
    assert (tree.path / "a.txt").read_bytes() == b"a\n"
    assert run_git("branch", "--show-current", cwd=tree.path) == BRANCH
    assert registered(mirror) == ["issue-1"]
    swept(mirror)


def test_a_creation_that_was_killed_is_replaced_without_salvage(mirror: Mirror, start: str) -> None:
    """F03."""
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree._known.begin()
    tree.path.mkdir()
    (tree.path / "a.txt").write_text("half of")  # the first of its files
    tree.create(start, BRANCH)
    assert not dirty(tree)
    assert salvaged(mirror) == []


def test_a_creation_that_version_0_1_was_killed_in_is_replaced_without_salvage(mirror: Mirror, start: str) -> None:
    """F03: kill -9 during `worktree add` leaves it locked as `initializing`, which prune keeps for ever."""
    tree = Worktree(mirror, mirror.base / "issue-1")
    run_git(
        *["worktree", "add", "--quiet", "--no-checkout", "--lock", "--reason", "initializing", "-b"],
        *(BRANCH, str(tree.path), start),
        cwd=mirror.path,
    )
    (tree.path / "a.txt").write_text("a\n")
    tree.create(start, BRANCH)
    assert not dirty(tree)
    assert salvaged(mirror) == []
    assert not (mirror.path / "worktrees" / "issue-1").exists()


def test_a_creation_waits_for_whoever_holds_the_mirror(mirror: Mirror, start: str) -> None:
    tree = Worktree(mirror, mirror.base / "issue-1")
    with ThreadPoolExecutor(1) as pool:
        with mirror.lock:
            creation = pool.submit(tree.create, start, BRANCH)
            with pytest.raises(TimeoutError):
                creation.result(0.2)
            assert registered(mirror) == []
        creation.result(10)
    assert tree.head() == start


def test_a_creation_that_was_killed_does_not_stop_the_others(mirror: Mirror, remote: Remote, tree: Worktree) -> None:
    Worktree(mirror, mirror.base / "issue-2")._known.begin()
    sha = remote.commit({"later.txt": b"1\n"})
    mirror.fetch("refs/heads/main")
    other = Worktree(mirror, mirror.base / "issue-2")
    other.create(sha, "feature/issue-2")
    assert other.head() == sha
    third = Worktree(mirror, mirror.base / "issue-3")
    third.create(sha, "feature/issue-3")
    assert registered(mirror) == ["issue-1", "issue-2", "issue-3"]


def test_what_was_left_in_a_replaced_worktree_is_kept(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("half a thought\n")
    (tree.path / "new file.txt").write_text("new\n")
    (tree.path / "noise.log").write_text("ignored\n")
    tree.create(start, BRANCH)
    kept = str(mirror.sha(f"{SALVAGE}/issue-1/1"))
    assert content_of(mirror, kept, "a.txt") == b"half a thought\n"
    assert files(mirror, kept) == [".gitignore", "a.txt", "new file.txt", "noise.log", "sub/b.txt"]
    assert mirror.sha(f"{kept}^") == start


def test_commits_that_nobody_else_has_are_kept(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("done\n")
    work = tree.collect("Work").head
    shutil.rmtree(tree.path)
    tree.create(start, BRANCH)
    assert mirror.sha(f"{SALVAGE}/issue-1/1") == work
    tree.create(start, BRANCH)
    assert len(salvaged(mirror)) == 1


def test_commits_that_the_remote_has_are_not_kept_twice(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("done\n")
    mirror.push(tree.collect("Work").head, BRANCH, None)
    tree.create(start, BRANCH)
    assert salvaged(mirror) == []


def test_a_folder_that_is_no_worktree_is_kept_too(mirror: Mirror, start: str) -> None:
    path = mirror.base / "issue-1"
    path.mkdir()
    (path / "notes.txt").write_text("a person's\n")
    Worktree(mirror, path).create(start, BRANCH)
    kept = str(mirror.sha(f"{SALVAGE}/issue-1/1"))
    assert files(mirror, kept) == ["notes.txt"]
    assert not (path / "notes.txt").exists()


@pytest.mark.parametrize("name", [".git", ".g\u200cit"])
def test_what_cannot_be_kept_in_a_commit_is_set_aside_whole(
    tree: Worktree, mirror: Mirror, start: str, name: str
) -> None:
    odd = tree.path / "new" / name
    odd.mkdir(parents=True)
    (odd / "f").write_text("x")
    tree.create(start, BRANCH)
    assert not dirty(tree)
    assert (mirror.base / "issue-1.kept-1" / "new" / name / "f").exists()


def test_two_worktrees_may_be_on_branches_of_one_name(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("older\n")
    newer = Worktree(mirror, mirror.base / "issue-1-again")
    newer.create(start, BRANCH)
    assert run_git("branch", "--show-current", cwd=newer.path) == BRANCH
    assert (tree.path / "a.txt").read_text() == "older\n"
    assert content_of(mirror, newer.collect("x").head, "a.txt") == b"a\n"


def test_a_persons_own_worktree_of_the_branch_is_left_alone(mirror: Mirror, start: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run_git("worktree", "add", "-q", "-b", BRANCH, str(theirs), start, cwd=mirror.path)
    Worktree(mirror, mirror.base / "issue-1").create(start, BRANCH)
    assert (theirs / "a.txt").exists()


@pytest.mark.parametrize("place", ["../outside", "mirror.git", "mirror.git/inside", ".hidden", "a b", "x.lock", "."])
def test_a_worktree_lies_in_the_mirrors_folder_under_a_plain_name(mirror: Mirror, place: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        Worktree(mirror, mirror.base / place)


def test_a_folder_that_leads_out_by_a_link_is_no_place(mirror: Mirror, tmp_path: Path) -> None:
    (mirror.base / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="no place"):
        Worktree(mirror, mirror.base / "link" / "issue-1")


def test_many_worktrees_come_and_go_at_once(mirror: Mirror, start: str) -> None:
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait(10)
        for _ in range(5):
            tree = Worktree(mirror, mirror.base / f"issue-{number}")
            tree.create(start, f"feature/issue-{number}")
            assert (tree.path / "a.txt").exists()
            tree.remove()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result()
    assert registered(mirror) == []
    swept(mirror)
    assert [path.name for path in mirror.base.iterdir() if path.is_dir()] == ["mirror.git"]
