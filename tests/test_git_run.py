"""The one way to call git, on its own: what a child inherits, obeys and leaves behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import Missing, Retry
from orchestrator.git import run
from orchestrator.git.access import Access
from orchestrator.git.environment import Place
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError, git, version
from orchestrator.twin import Twin
from tests.gitremote import BOT, run_git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    run_git("init", "-q", cwd=path)
    (path / "a.txt").write_text("1\n")
    run_git("add", "-A", cwd=path)
    run_git("commit", "-qm", "one", cwd=path)
    return path


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def evil(tmp_path: Path, witness: Path) -> Path:
    """A program that leaves a trace."""
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("key", ["core.fsmonitor", "diff.external", "core.sshCommand", "core.pager"])
def test_A31_programs_in_a_config_do_not_run(repository: Path, evil: Path, witness: Path, key: str) -> None:
    run_git("config", key, str(evil), cwd=repository)
    witness.unlink(missing_ok=True)
    (repository / "a.txt").write_text("2\n")
    here = Place(repository / ".git", None, repository)
    assert git("status", "--porcelain", at=here).text == "M a.txt"
    git("diff", "--no-ext-diff", at=here)
    assert not witness.exists()


def test_A30_hooks_do_not_run(repository: Path, evil: Path, witness: Path) -> None:
    shutil.copy(evil, repository / ".git" / "hooks" / "reference-transaction")
    git("update-ref", "refs/heads/x", "HEAD", at=Place(repository / ".git"))
    assert not witness.exists()


def test_A33_the_common_folder_is_the_one_that_is_named(
    repository: Path, evil: Path, witness: Path, tmp_path: Path
) -> None:
    """A rewritten `commondir` gives the worktree another config although GIT_DIR is explicit."""
    work = tmp_path / "work"
    run_git("worktree", "add", "-q", "--detach", str(work), cwd=repository)
    other = tmp_path / "other.git"
    shutil.copytree(repository / ".git", other)
    run_git("config", "filter.evil.clean", str(evil), cwd=other)
    (work / ".gitattributes").write_text("* filter=evil\n")
    (work / "a.txt").write_text("2\n")
    admin = repository / ".git" / "worktrees" / "work"
    (admin / "commondir").write_text(str(other))
    git("add", "-A", at=Place(admin, repository / ".git", work))
    assert not witness.exists()


def test_A38_without_access_no_transport_is_allowed(repository: Path) -> None:
    run_git("config", "protocol.file.allow", "always", cwd=repository)
    with pytest.raises(GitError, match="transport 'file' not allowed"):
        git("fetch", str(repository), at=Place(repository / ".git"))


def test_A38_an_access_allows_its_own_transport_and_no_other(repository: Path, evil: Path, witness: Path) -> None:
    run_git("config", "protocol.ext.allow", "always", cwd=repository)
    with pytest.raises(GitError, match="transport 'ext' not allowed"):
        git("fetch", f"ext::{evil}", at=Place(repository / ".git"), access=Access(str(repository)))
    assert not witness.exists()


def test_passwords_in_the_home_folder_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """curl would read `.netrc` and answer whoever asks."""
    with Twin(tmp_path / "twin") as twin:
        repo = twin.repo("acme/app", files={"a": "1\n"})
        token = twin.token(twin.user("robot", repo, permission="write"))
        (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login x password {token}\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(Missing, match="refuses the token"):
            Mirror(tmp_path / "mirror.git", Access(repo.clone_url), BOT).ensure()


def test_output_is_cut_where_the_caller_wants_it(repository: Path) -> None:
    blob = run_git("hash-object", "-w", "--stdin", cwd=repository, stdin=b"x" * 1_000_000)
    here = Place(repository / ".git")
    cut = git("cat-file", "blob", blob, at=here, cut=10)
    assert cut.out == b"x" * 10
    assert not cut.whole
    exact = git("cat-file", "blob", blob, at=here, cut=1_000_000)
    assert exact.whole
    assert len(exact.out) == 1_000_000


def test_a_flood_is_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FLOOD", 1)
    with pytest.raises(GitError, match="wrote more than"):
        git("rev-parse", "HEAD", at=Place(repository / ".git"))


def test_an_error_says_what_failed_and_why(repository: Path) -> None:
    with pytest.raises(
        GitError, match=r"git cat-file -p 'no such' ended with 128: fatal: Not a valid object name"
    ) as caught:
        git("cat-file", "-p", "no such", at=Place(repository / ".git"))
    assert caught.value.code == 128
    assert not isinstance(caught.value, Retry)


def test_git_reads_what_it_is_given_and_does_not_wait_for_a_terminal(repository: Path) -> None:
    here = Place(repository / ".git")
    assert git("hash-object", "--stdin", at=here, stdin=b"").text == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git("hash-object", "--stdin", at=here).text == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_a_machine_without_git_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert version()[0].isdigit()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="Install git"):
        version()


@pytest.mark.parametrize(("said", "good"), [("2.30.9", False), ("2.39.5 (Apple Git-154)", True), ("3.0", True)])
def test_a_git_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, good: bool) -> None:
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\necho 'git version {said}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if good:
        assert version() == said
    else:
        with pytest.raises(Missing, match="too old"):
            version()
