"""What the daemon writes is for its own account alone, however careless the account is with its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.child import Child


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    before = os.umask(0)
    child = Child(tmp_path, review_prs="all", setup_commands='["echo ready"]', pre_merge_commands='["echo fine"]')
    yield child
    os.umask(before)
    child.close()


def test_a_whole_story_leaves_nothing_that_others_may_read_or_write(child: Child) -> None:
    given = {child.folder / name for name in ("home", "tmp", "github", "runs.jsonl", "daemon.log")}
    process = child.start()
    issue = child.labelled()
    child.until(lambda: child.is_done("implement", issue.number))
    [pull] = child.repo.pulls
    child.until(lambda: child.is_done("review", pull.number))
    failing = child.labelled("Another")
    child.until(lambda: child.is_done("implement", failing.number))
    assert child.command("retry", str(failing.number)).returncode == 0
    child.asked(pull)
    child.until(lambda: pull.merged and child.is_done("merge", pull.number))
    found = {}
    for top, folders, files in os.walk(child.folder):
        folders[:] = [name for name in folders if Path(top, name) not in given]
        for path in (Path(top, name) for name in (*folders, *files)):
            if path not in given and not path.is_symlink():
                found[str(path.relative_to(child.folder))] = path.stat().st_mode & 0o077
    assert {path for path, mode in found.items() if mode} == set()
    names = {Path(path).name for path in found}
    assert {".orchestrator-state.json", ".orchestrator-state.json.prev", ".orchestrator-state.json.lock"} <= names
    assert {"runs.jsonl", "mirror.git", "logs", "HEAD", "issue-1-setup-1.1.log", "worktrees"} <= names
    assert process.poll() is None
    child.stop()
