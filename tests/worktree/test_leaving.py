"""Saving, reading, putting back and removing a worktree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.worktree import Worktree
from tests.gitremote import run_git
from tests.worktree.looking import SALVAGE, dirty, files, registered, salvaged, swept


def test_save_keeps_everything_once_and_changes_nothing(tree: Worktree, mirror: Mirror) -> None:
    assert tree.save("issue-1") is None
    (tree.path / "new.txt").write_text("new\n")
    before = run_git("status", "--porcelain", cwd=tree.path)
    kept = tree.save("issue-1")
    assert kept is not None
    assert files(mirror, kept) == [".gitignore", "a.txt", "new.txt", "sub/b.txt"]
    assert tree.save("issue-1") == kept
    (tree.path / "new.txt").write_text("newer\n")
    assert tree.save("issue-1") != kept
    assert salvaged(mirror) == [f"{SALVAGE}/issue-1/1", f"{SALVAGE}/issue-1/2"]
    assert run_git("status", "--porcelain", cwd=tree.path) == before


def test_save_leaves_nested_repositories_out(tree: Worktree, mirror: Mirror) -> None:
    nested = tree.path / "nested"
    nested.mkdir()
    run_git("init", "-q", cwd=nested)
    run_git("commit", "-q", "--allow-empty", "-m", "x", cwd=nested)
    (tree.path / "new.txt").write_text("new\n")
    kept = tree.save("issue-1")
    assert kept is not None
    assert files(mirror, kept) == [".gitignore", "a.txt", "new.txt", "sub/b.txt"]


def test_modified_names_tracked_files_only(tree: Worktree) -> None:
    (tree.path / "sub" / "b.txt").write_text("changed\n")
    (tree.path / "new.txt").write_text("new\n")
    assert tree.modified()[0] == ["sub/b.txt"]
    assert dirty(tree)
    (tree.path / "sub" / "b.txt").unlink()
    assert tree.modified()[0] == ["sub/b.txt"]


def test_a_worktree_that_is_gone_is_an_error_and_not_an_empty_answer(tree: Worktree) -> None:
    shutil.rmtree(tree.path)
    for call in (lambda: dirty(tree), tree.modified, lambda: tree.collect("x").head):
        with pytest.raises((GitError, OSError)):
            call()


def test_a_link_in_place_of_the_worktree_is_not_followed(tree: Worktree, tmp_path: Path) -> None:
    shutil.rmtree(tree.path)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key").write_text("secret")
    tree.path.symlink_to(secrets)
    with pytest.raises(GitError, match="is gone"):
        tree.collect("x")
    tree.remove()
    assert (secrets / "key").exists()
    assert not tree.path.is_symlink()


def test_remove_takes_folder_registration_and_pushed_branch(tree: Worktree, mirror: Mirror) -> None:
    tree.remove()
    assert not tree.path.exists()
    assert registered(mirror) == []
    swept(mirror)
    tree.remove()


def test_remove_saves_commits_that_only_we_have(tree: Worktree, mirror: Mirror) -> None:
    (tree.path / "a.txt").write_text("1\n")
    head = tree.collect("x").head
    tree.remove()
    assert mirror.sha(f"{SALVAGE}/issue-1/1") == head


def test_remove_touches_nothing_that_the_clones_head_names(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / ".git" / "HEAD").write_text("ref: refs/remotes/origin/main\n")
    tree.remove()
    assert mirror.sha("refs/remotes/origin/main") == start


def test_remove_deletes_folders_that_were_made_read_only(tree: Worktree) -> None:
    deep = tree.path / "sub" / "deep"
    deep.mkdir()
    (deep / "f").write_text("x")
    deep.chmod(0o000)
    (tree.path / "sub").chmod(0o500)
    tree.remove()
    swept(tree.mirror)
    assert not list(tree.mirror.base.glob("*issue-1*"))
