"""The index that a worktree's creation leaves: only touched files are read again, and no change is missed for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.git.disk import small
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.staging import staging
from orchestrator.git.worktree import Worktree
from tests.gitremote import run_git
from tests.worktree.looking import BRANCH, SALVAGE, content_of, dirty, files

# A program in a temporary folder is not in reach behind the walls.
BY_A_PROGRAM_OF_OURS = pytest.mark.parametrize("sandbox", ["off"], indirect=True)


def read_again(tree: Worktree) -> list[str]:
    """The files whose content git must look at, since their size, inode, owner or times are not those of the index."""
    with staging(tree._known, tree.head()) as stage:
        entries = stage.call("ls-files", "--debug").text.split("flags: 0")
    odd = []
    for entry in entries[:-1]:
        path, *about = entry.split()
        known = dict(zip(about[::2], about[1::2], strict=True))
        now = (tree.path / path).lstat()
        there = [f"{moment // 10**9}:{moment % 10**9}" for moment in (now.st_mtime_ns, now.st_ctime_ns)]
        there += map(str, (now.st_size, now.st_ino, now.st_uid, now.st_gid))
        if there != [known[word] for word in ("mtime:", "ctime:", "size:", "ino:", "uid:", "gid:")]:
            odd.append(path)
    return odd


def as_made(tree: Worktree) -> Path:
    [found] = (tree.mirror.path / "trees" / tree.name).glob("as-made-*")
    return found


def test_only_touched_files_are_read_again(tree: Worktree) -> None:
    assert read_again(tree) == []
    (tree.path / "a.txt").touch()
    assert read_again(tree) == ["a.txt"]


def test_a_commit_of_the_agents_makes_nothing_else_to_be_read(tree: Worktree) -> None:
    (tree.path / "a.txt").write_text("changed\n")
    run_git("commit", "-qam", "mine", cwd=tree.path)
    assert read_again(tree) == ["a.txt"]


def test_a_change_whose_times_were_set_back_is_found(tree: Worktree, mirror: Mirror) -> None:
    file = tree.path / "a.txt"
    before = file.stat()
    file.write_bytes(b"b\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree.modified()[0] == ["a.txt"]
    assert content_of(mirror, tree.collect("x").head, "a.txt") == b"b\n"


def test_git_is_told_when_the_index_was_written(tree: Worktree) -> None:
    """What was written in the same instant is looked at again, and only then."""
    with staging(tree._known, tree.head()) as stage:
        assert (stage.folder / "index").stat().st_mtime_ns == as_made(tree).stat().st_mtime_ns


def _cut(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-30])


def _emptied(index: Path) -> None:
    index.write_bytes(b"")


def _folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


@pytest.mark.parametrize("harm", [_cut, _emptied, _folder, Path.unlink])
def test_a_broken_one_costs_time_and_nothing_else(
    tree: Worktree, mirror: Mirror, start: str, harm: Callable[[Path], None]
) -> None:
    harm(as_made(tree))
    (tree.path / "a.txt").write_text("1\n")
    assert content_of(mirror, tree.collect("x").head, "a.txt") == b"1\n"
    assert not dirty(tree)
    tree.create(start, BRANCH)
    assert content_of(mirror, f"{SALVAGE}/issue-1/1", "a.txt") == b"1\n"


def test_a_conflict_is_looked_for_only_where_somebody_used_the_index(tree: Worktree) -> None:
    assert tree._known.untouched
    (tree.path / "a.txt").write_text("1\n")
    run_git("add", "a.txt", cwd=tree.path)
    assert not tree._known.untouched


def test_a_folder_that_becomes_the_whole_tree_needs_no_new_object(tree: Worktree, mirror: Mirror) -> None:
    for path in tree.path.iterdir():
        if path.name not in (".git", "sub"):
            path.unlink()
    (tree.path / "sub" / "b.txt").rename(tree.path / "b.txt")
    assert files(mirror, tree.collect("x").head) == ["b.txt"]


@BY_A_PROGRAM_OF_OURS
def test_what_is_said_behind_the_walls_is_no_option_for_git_outside(
    tree: Worktree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, evil = tmp_path / "programs", tmp_path / "evil"
    programs.mkdir()
    lie = f'[ "$5" != orchestrator-all ] || {{ echo --output={evil}; exit; }}'
    (programs / "git").write_text(f'#!/bin/sh\n{lie}\nexec {shutil.which("git")} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tree.path / "a.txt").write_text("1\n")
    with pytest.raises(GitError, match="named no tree"):
        tree.collect("x")
    assert not evil.exists()


def test_a_pipe_in_the_place_of_a_small_file_holds_nobody(tmp_path: Path) -> None:
    pipe, plain = tmp_path / "pipe", tmp_path / "plain"
    os.mkfifo(pipe)
    plain.write_bytes(b"ref: x\n")
    (tmp_path / "link").symlink_to(plain)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(small, pipe)
        try:
            assert read.result(10) == b""
        finally:
            os.close(os.open(pipe, os.O_RDWR))  # lets a reader go that waits
    assert (small(plain), small(plain, 3)) == (b"ref: x\n", b"ref")
    assert small(tmp_path / "link") == small(tmp_path) == small(tmp_path / "none") == b""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The git commands since the last look, as the daemon started them."""
    programs, said = tmp_path / "programs", tmp_path / "said"
    programs.mkdir()
    (programs / "git").write_text(f'#!/bin/sh\necho "$1" >>{said}\nexec {shutil.which("git")} "$@"\n')
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def look() -> list[str]:
        lines = said.read_text().split()
        said.unlink()
        return lines

    return look


@BY_A_PROGRAM_OF_OURS
def test_an_item_takes_few_starts_of_git(mirror: Mirror, start: str, counted: Callable[[], list[str]]) -> None:
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(start, BRANCH)
    assert counted() == ["update-ref", "for-each-ref", "reset"]
    assert tree.collect("nothing").head == start
    assert counted() == ["cat-file", "-c", "diff-tree"]
    (tree.path / "new.txt").write_text("new\n")
    head = tree.collect("x").head
    before, after = ["cat-file", "-c", "-c"], ["index-pack", "diff-tree", "cat-file"]
    assert counted() == [*before, *after, "commit-tree", "update-ref"]
    mirror.push(head, BRANCH, None)
    counted()
    tree.remove()
    assert counted() == ["rev-parse", "rev-list", "update-ref"]
