"""A remote, a mirror of it and a worktree, fresh for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Worktree
from orchestrator.sandbox import OPEN, Bubblewrap, Sandbox
from tests.boxed import walled
from tests.gitremote import BOT, Remote, mirror_of
from tests.worktree.looking import BRANCH


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote and its mirror, copied for each test."""
    folder = tmp_path_factory.mktemp("template")
    remote = Remote(folder / "remote.git")
    remote.commit({"a.txt": b"a\n", ".gitignore": b"*.log\n", "sub/b.txt": b"b\n"})
    mirror_of(remote, folder / "work")
    return folder


@pytest.fixture
def remote(template: Path, tmp_path: Path) -> Remote:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Remote(tmp_path / "remote.git")


@pytest.fixture(params=["off", pytest.param("bwrap", marks=walled)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """What git reads the worktree in."""
    return OPEN if request.param == "off" else Bubblewrap()


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path, sandbox: Sandbox) -> Mirror:
    return Mirror(tmp_path / "work" / "mirror.git", Access(str(remote.path)), BOT, sandbox=sandbox)


@pytest.fixture
def start(mirror: Mirror) -> str:
    return str(mirror.sha("refs/remotes/origin/main"))


@pytest.fixture
def tree(mirror: Mirror, start: str) -> Worktree:
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(start, BRANCH)
    return tree
