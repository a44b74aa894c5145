"""What is in a mirror after a test did something, and damage that several tests do."""

from __future__ import annotations

import threading

from orchestrator.git.mirror import Mirror
from orchestrator.git.staging import staging
from orchestrator.git.worktree import Worktree

SALVAGE = "refs/orchestrator/salvage"
BRANCH = "feature/issue-1"


def salvaged(mirror: Mirror) -> list[str]:
    return mirror.call("for-each-ref", "--format=%(refname)", SALVAGE).text.split()


def files(mirror: Mirror, sha: str) -> list[str]:
    return mirror.call("ls-tree", "-r", "-z", "--name-only", sha).names


def content_of(mirror: Mirror, sha: str, path: str) -> bytes:
    return mirror.call("cat-file", "blob", f"{sha}:{path}").out


def dirty(tree: Worktree) -> bool:
    """Whether a file differs from HEAD or is new, ignored ones apart."""
    # Through the tree's own way to call git: what was planted in it must not run here either.
    with staging(tree._known, tree._known.head_or_start()) as files:
        return bool(files.changes().own)


def registered(mirror: Mirror) -> list[str]:
    folder = mirror.path / "trees"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def leave_locks(tree: Worktree) -> None:
    for name in ("index.lock", "HEAD.lock"):
        (tree.path / ".git" / name).touch()


def break_index(tree: Worktree) -> None:
    (tree.path / ".git" / "index").write_bytes(b"DIRC nonsense")


def swept(mirror: Mirror) -> None:
    """Wait until everything that was moved out of the way is deleted."""
    pause = threading.Event()
    for _ in range(2000):
        if not list(mirror.base.glob(".trash-*")):
            return
        pause.wait(0.01)
    raise AssertionError("what was to be deleted is there after 20 s")
