"""The daemon's memory: what is written stays, what is damaged is said, what is not ours is left alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import state
from orchestrator.errors import Misconfigured, Missing, Stopped
from orchestrator.model import Job, Kind, Status
from orchestrator.state import RepoMemory, State

KEY = "acme/app#1/implement"


def job(number: int = 1, **fields: Any) -> Job:
    return Job("acme/app", Kind.IMPLEMENT, number, "7", **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def wrote(path: Path, *jobs: Job) -> None:
    """A daemon wrote these, one after the other, and ended."""
    memory = State.open(path)
    for one in jobs:
        memory.put(one)
    memory.close()


def read(path: Path) -> State:
    """What a daemon that starts now knows; it is not running any more."""
    memory = State.open(path)
    memory.close()
    return memory


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Change the body of a file as another version of the program would, checksum and all."""
    document = json.loads(path.read_bytes())
    change(document["body"])
    text = json.dumps(document["body"], sort_keys=True, ensure_ascii=True)
    document["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(document))
    return path.read_bytes()


def test_what_was_put_is_there_after_a_restart(path: Path) -> None:
    whole = job(
        status=Status.PARKED, title="grüße 🎉 \ud83d", effects={"sticky": 5, "push": None}, facts={"left": "cut"}
    )
    memory = State.open(path)
    memory.put(whole)
    memory.put(job(2))
    memory.drop(job(2).key)
    memory.put_repo(RepoMemory(id=3, name="acme/app", cursor=9.5, handled={"5": 1.0}, heads={"2": ["abc", 1.5]}))
    memory.close()
    again = read(path)
    assert again.jobs == {KEY: whole}
    assert again.repo("acme/app") == memory.repo("acme/app")
    assert (again.warning, again.rebuilt) == ("", False)


def test_new_content_is_whole_on_the_disk_before_it_takes_the_place_of_the_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = State.open(path)
    memory.put(job(title="old"))
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        fsync(fd)
        [*new] = path.parent.glob("*.tmp-*")
        synced.append((bool(new) and b'"new"' in new[0].read_bytes(), b'"new"' in path.read_bytes()))

    monkeypatch.setattr("os.fsync", note)
    with path.open("rb") as before:
        memory.put(job(title="new"))
        assert b'"old"' in before.read()
    memory.close()
    assert synced == [(True, False), (False, True)]


def test_a_first_start_is_silent_and_writes_nothing(path: Path) -> None:
    memory = read(path)
    assert (memory.jobs, memory.warning, memory.rebuilt) == ({}, "", False)
    assert not path.exists()


def test_a_poll_that_taught_nothing_writes_nothing(path: Path) -> None:
    memory = State.open(path)
    memory.put_repo(RepoMemory(name="acme/app", cursor=1.0))
    before = path.stat()
    memory.put_repo(RepoMemory(name="acme/app", cursor=1.0))
    memory.beat()
    assert path.stat().st_ino == before.st_ino
    memory.put_repo(RepoMemory(name="acme/app", cursor=2.0))
    assert path.stat().st_ino != before.st_ino
    memory.close()


def test_nobody_else_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        wrote(path, job(), job(2))
    finally:
        os.umask(before)
    for name in ("state.json", "state.json.prev", "state.json.lock"):
        assert (path.parent / name).stat().st_mode & 0o777 == 0o600


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "garbage": lambda good: b"\x00\xff" * 100,
    "too deep": lambda good: b"[" * 100_000,
    "one flipped character": lambda good: good.replace(b'"attempt": 1', b'"attempt": 2'),
    "without a checksum": lambda good: good.replace(b'"checksum"', b'"checksun"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside_and_the_generation_before_is_used(path: Path, damage: str) -> None:
    wrote(path, job(title="old"), job(title="new"))
    bad = DAMAGE[damage](path.read_bytes())
    path.write_bytes(bad)
    memory = State.open(path)
    assert memory.jobs[KEY].title == "old"
    assert not memory.rebuilt
    kept = path.with_name("state.json.unreadable-1")
    assert kept.read_bytes() == bad
    assert "previous generation" in memory.warning
    assert str(kept) in memory.warning
    memory.put(job(title="newest"))
    memory.close()
    assert read(path).jobs[KEY].title == "newest"
    assert read(path).warning == ""


def test_a_second_damaged_file_does_not_replace_the_first_one_that_was_kept(path: Path) -> None:
    for number in (1, 2):
        wrote(path, job(), job(2))
        path.write_text(f"bad {number}")
        read(path)
    assert [path.with_name(f"state.json.unreadable-{n}").read_text() for n in (1, 2)] == ["bad 1", "bad 2"]


def test_where_both_generations_are_damaged_the_memory_is_rebuilt_and_says_so(path: Path) -> None:
    wrote(path, job(), job(2))
    path.write_text("bad")
    path.with_name("state.json.prev").write_text("worse")
    memory = read(path)
    assert memory.rebuilt
    assert memory.jobs == {}
    assert "rebuilt from GitHub" in memory.warning
    assert path.with_name("state.json.unreadable-1").read_text() == "bad"


def test_a_file_that_was_deleted_does_not_make_a_fresh_start(path: Path) -> None:
    wrote(path, job(title="old"), job(title="new"))
    path.unlink()
    memory = read(path)
    assert memory.jobs[KEY].title == "old"
    assert memory.warning


def foreign(document: object) -> Callable[[bytes], bytes]:
    return lambda good: json.dumps(document).encode()


NOT_OURS: dict[str, Callable[[bytes], bytes]] = {
    "an object": foreign({"name": "package", "version": "1.0.0"}),
    "a state of another program": foreign({"format": "other-state", "version": 1, "checksum": "", "body": {}}),
    "a list": foreign([1, 2]),
    "a word": foreign("hello"),
    "a newer version": lambda good: good.replace(b'"version": 1', b'"version": 2'),
    "no version": lambda good: good.replace(b'"version": 1', b'"version": null'),
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_a_file_of_another_program_or_a_newer_version_is_refused_and_left_untouched(path: Path, kind: str) -> None:
    wrote(path, job(), job(2))
    content = NOT_OURS[kind](path.read_bytes())
    path.write_bytes(content)
    previous = path.with_name("state.json.prev").read_bytes()
    with pytest.raises(Misconfigured, match=r"state\.json .*left untouched"):
        State.open(path)
    with pytest.raises(Misconfigured, match="left untouched"):
        state.read(path)
    assert path.read_bytes() == content
    assert path.with_name("state.json.prev").read_bytes() == previous
    assert not list(path.parent.glob("*unreadable*"))
    path.unlink()
    assert read(path).warning


@pytest.mark.parametrize("field", ["kind", "status"])
def test_a_word_of_a_newer_version_is_refused_and_left_untouched(path: Path, field: str) -> None:
    wrote(path, job())
    content = rewrite(path, lambda body: body["jobs"][KEY].update({field: "dreaming"}))
    with pytest.raises(Misconfigured, match=r"dreaming.*left untouched"):
        State.open(path)
    assert path.read_bytes() == content


def test_fields_that_this_version_does_not_know_are_written_back(path: Path) -> None:
    memory = State.open(path)
    memory.put(job())
    memory.put_repo(RepoMemory(name="acme/app"))
    memory.close()

    def add(body: dict[str, Any]) -> None:
        body["mood"] = {"today": "good"}
        body["jobs"][KEY]["colour"] = "red"
        body["repos"]["acme/app"]["weight"] = 3

    rewrite(path, add)
    memory = State.open(path)
    memory.put(job(title="changed"))
    memory.put_repo(RepoMemory(name="acme/app", cursor=1.0))
    memory.close()
    body = json.loads(path.read_bytes())["body"]
    assert body["mood"] == {"today": "good"}
    assert body["jobs"][KEY]["colour"] == "red"
    assert body["jobs"][KEY]["title"] == "changed"
    assert body["repos"]["acme/app"]["weight"] == 3


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(path: Path) -> None:
    first = State.open(path)
    with pytest.raises(Missing, match=rf"pid {os.getpid()}\b.*STATE_FILE"):
        State.open(path)
    first.put(job())
    found = state.holder(path)
    assert found is not None
    assert found.pid == os.getpid()
    assert state.read(path).jobs == (job(),)
    first.close()
    assert state.holder(path) is None
    assert read(path).jobs == {KEY: job()}


def test_a_child_that_lives_on_does_not_hold_the_lock(path: Path) -> None:
    first = State.open(path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        first.close()
        assert read(path).warning == ""
        child.kill()


@pytest.mark.parametrize("place", ["/proc/nowhere/state.json", "a file/state.json"])
def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(Missing, match="STATE_FILE"):
        State.open(tmp_path / place)


def test_temporary_files_of_a_killed_daemon_are_swept(path: Path) -> None:
    wrote(path, job())
    left = path.with_name("state.json.tmp-1-2")
    left.write_text("half")
    other = path.with_name("other.json.tmp-1-2")
    other.touch()
    read(path)
    assert not left.exists()
    assert other.exists()


def test_a_disk_that_is_full_leaves_the_old_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    memory = State.open(path)
    memory.put(job(title="old"))
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            memory.put(job(title="new"))
    memory.close()
    assert not list(path.parent.glob("*.tmp-*"))
    assert read(path).jobs[KEY].title == "old"


def test_a_closed_memory_takes_nothing_any_more(path: Path) -> None:
    memory = read(path)
    with pytest.raises(Stopped):
        memory.put(job())


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from orchestrator.model import Job, Kind
from orchestrator.state import State

path, chance = Path(sys.argv[1]), random.Random(4)
for round in range(40):
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        state = State.open(path)
        for number in range(1, 10_000):
            state.put(Job("a/b", Kind.MERGE, 1, str(round), title="x" * 20_000, attempt=number))
            os.write(sending, b".")
    os.close(sending)
    told = sum(len(os.read(receiving, 1)) for _ in range(chance.randint(1, 4)))
    until = time.monotonic() + chance.random() / 200
    while time.monotonic() < until:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(receiving, 100):
        told += len(more)
    os.close(receiving)
    state = State.open(path)
    job = state.jobs["a/b#1/merge"]
    assert not state.warning, state.warning
    assert job.trigger == str(round) and job.attempt in (told, told + 1), (job.attempt, told)
    state.close()
    assert not list(path.parent.glob("*.tmp-*"))
"""


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_or_the_new_content(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_request_reaches_the_running_daemon(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda pid, number: signals.append((pid, number)))
    memory = State.open(path)
    memory.put(job(status=Status.PARKED))
    said = state.ask(path, "retry", KEY)
    state.ask(path, "clear", KEY)
    assert signals == [(os.getpid(), signal.SIGUSR1)] * 2
    assert f"pid {os.getpid()}" in said
    path.with_name("state.json.requests").joinpath("0.json").write_text("no JSON")
    assert memory.requests() == [("retry", KEY), ("clear", KEY)]
    assert memory.requests() == []
    memory.close()


def test_a_retry_wakes_a_parked_job_from_the_start_and_keeps_its_sticky_comment(path: Path) -> None:
    parked = job(
        status=Status.PARKED, phase="push", attempt=2, reason="no", effects={"sticky": 5, "eyes-7": True}, failures=3
    )
    wrote(path, parked)
    assert "not running" in state.ask(path, "retry", KEY)
    woken = read(path).jobs[KEY]
    assert (woken.status, woken.phase, woken.attempt, woken.reason) == (Status.WAITING, "", 3, "")
    assert (woken.effects, woken.failures) == ({"sticky": 5}, 0)


@pytest.mark.parametrize("status", [Status.DONE, Status.RUNNING])
def test_a_retry_changes_nothing_that_is_done_or_runs(path: Path, status: Status) -> None:
    wrote(path, job(status=status))
    state.ask(path, "retry", KEY)
    assert read(path).jobs == {KEY: job(status=status)}


def test_a_clear_forgets_a_job(path: Path) -> None:
    wrote(path, job(), job(2))
    state.ask(path, "clear", KEY)
    assert list(read(path).jobs) == [job(2).key]
