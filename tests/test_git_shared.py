"""The mirror where others are at work in its folder: what they plant, whose name they use, their locks."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import Retry
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror, Pushed
from orchestrator.git.worktree import Worktree
from tests.gitremote import BOT, Remote, mirror_of, run_git

MAIN = "refs/heads/main"
HERE = "refs/remotes/origin/main"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"a.txt": b"a\n"})
    return remote


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Mirror:
    return mirror_of(remote, tmp_path / "work")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program that leaves a trace beside itself."""
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    script.chmod(0o755)
    return script


def use_the_mirror(remote: Remote, mirror: Mirror) -> None:
    """All that the daemon's own git does there; it comes out as if nothing had been planted."""
    main = remote.commit({"b": b"1"})
    mirror.fetch(MAIN)
    mirror.diff(str(mirror.sha(f"{main}^")), main)
    assert mirror.push(main, "copy", None) is Pushed.DONE
    Worktree(mirror, mirror.base / "issue-1").create(main, "feature/issue-1")
    assert mirror.sha(HERE) == main
    assert remote.sha("refs/heads/copy") == main


def test_A30_planted_hooks_run_nothing(remote: Remote, mirror: Mirror, script: Path) -> None:
    hooks = mirror.path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-push", "post-index-change"):
        shutil.copy(script, hooks / name)
    use_the_mirror(remote, mirror)
    assert not script.with_name("ran").exists()


def test_A31_planted_config_runs_nothing(remote: Remote, mirror: Mirror, script: Path, tmp_path: Path) -> None:
    elsewhere = Remote(tmp_path / "elsewhere.git")
    elsewhere.commit({"evil": b"1"})
    for key, value in (
        ("diff.external", str(script)),
        ("core.fsmonitor", str(script)),
        ("core.alternateRefsCommand", str(script)),
        ("uploadpack.packObjectsHook", str(script)),
        (f"url.{elsewhere.path}.insteadOf", str(remote.path)),
    ):
        run_git("config", key, value, cwd=mirror.path)
    use_the_mirror(remote, mirror)
    assert not script.with_name("ran").exists()
    assert b"evil" not in (mirror.path / "config").read_bytes()


def test_A37_lfs_filters_and_their_config_fetch_nothing(
    remote: Remote, mirror: Mirror, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git LFS is installed for the user, as it is on most machines, and a PR points it to a host of its own."""
    programs, home = script.parent / "bin", script.parent / "home"
    programs.mkdir()
    home.mkdir()
    script.rename(programs / "git-lfs")
    (home / ".gitconfig").write_text(
        '[filter "lfs"]\n\tsmudge = git-lfs smudge\n\tprocess = git-lfs filter-process\n\trequired = true\n'
    )
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    config = b"[lfs]\n\turl = http://127.0.0.1:9/\n"
    sha = remote.commit({"big.bin": pointer, ".gitattributes": b"* filter=lfs\n", ".lfsconfig": config})
    mirror.fetch(MAIN)
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(sha, "feature/issue-1")
    (tree.path / "big.bin").write_bytes(pointer + b"\n")
    tree.collect("x")
    assert (tree.path / "big.bin").read_bytes() == pointer + b"\n"
    assert not (programs / "ran").exists()


def test_an_agent_may_commit_under_the_daemons_name(remote: Remote, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "w" / "mirror.git", Access(str(remote.path)), BOT)
    mirror.ensure()
    assert run_git("config", "user.email", cwd=mirror.path) == "bot@example.test"


def test_a_name_with_quotes_and_newlines_survives_in_the_config(remote: Remote, tmp_path: Path) -> None:
    bot = type(BOT)('A "b" \\ ; # c\n[x]', "e@x")
    mirror = Mirror(tmp_path / "w" / "mirror.git", Access(str(remote.path)), bot)
    mirror.ensure()
    assert run_git("config", "user.name", cwd=mirror.path) == 'A "b" \\ ; # c[x]'


@pytest.mark.parametrize("told_by", ["folder", "environment"])
def test_M13_a_lock_of_git_stays_while_a_git_lives_there_and_goes_with_it(
    remote: Remote, mirror: Mirror, told_by: str
) -> None:
    sha = str(mirror.sha(HERE))
    lock = mirror.path / "refs" / "remotes" / "origin" / "b.lock"
    lock.touch()
    inside = told_by == "folder"
    environ = {"PATH": os.environ["PATH"], **({} if inside else {"GIT_DIR": str(mirror.path)})}
    words = ["git", "cat-file", "--batch"]  # until its input ends
    where = mirror.path if inside else Path("/")
    at_work = subprocess.Popen(words, cwd=where, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with at_work, pytest.raises(Retry, match=rf"Process {at_work.pid} is at work .* b\.lock"):
        mirror.push(sha, "b", None)
    assert mirror.push(sha, "b", None) is Pushed.DONE
    assert not lock.exists()


def test_M13_a_lock_stays_while_any_program_has_it_open(remote: Remote, mirror: Mirror) -> None:
    sha = str(mirror.sha(HERE))
    lock = mirror.path / "refs" / "remotes" / "origin" / "b.lock"
    with lock.open("w"), pytest.raises(Retry, match=rf"Process {os.getpid()} is at work"):
        mirror.push(sha, "b", None)
    assert mirror.push(sha, "b", None) is Pushed.DONE


@pytest.mark.parametrize("name", ["packed-refs.lock", "config.lock", "HEAD.lock", "shallow.lock"])
def test_M13_locks_that_a_killed_process_left_block_nothing(remote: Remote, mirror: Mirror, name: str) -> None:
    new = remote.commit({"b.txt": b"b\n"})
    (mirror.path / name).touch()
    (mirror.path / "refs/remotes/origin/main.lock").touch()
    again = Mirror(mirror.path, mirror.access, mirror.identity)
    again.ensure()
    again.fetch(MAIN, "refs/heads/never")
    assert again.sha(HERE) == new


def _is_free(lock: Path) -> bool:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_another_process_that_holds_the_lock_is_waited_for(mirror: Mirror) -> None:
    program = (
        "import sys; from pathlib import Path; from orchestrator.git.lock import Lock\n"
        "with Lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    lock = mirror.path.with_name("mirror.git.lock")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        assert not _is_free(lock)
        other.stdin.close()
        with mirror.lock:
            with mirror.lock:
                pass
            assert not _is_free(lock)
    assert _is_free(lock)


def test_a_child_does_not_keep_the_lock_of_its_parent(mirror: Mirror) -> None:
    with mirror.lock:
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert _is_free(mirror.path.with_name("mirror.git.lock"))
    finally:
        child.kill()
        child.wait()
