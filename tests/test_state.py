"""The daemon's memory: what is written stays, what is damaged is said, what is not ours is left alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import state
from orchestrator.errors import Missing, Retry, Stopped
from orchestrator.record import Pause, Spent, Status
from orchestrator.state import NO_ROOM, RepoMemory, State
from orchestrator.statefile import load
from tests.memory import KEY, job, read, rewrite, wrote


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


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
    assert (again.warning, again.rebuilt_for("acme/app")) == ("", False)


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
    assert (memory.jobs, memory.warning, memory.rebuilt_for("acme/app")) == ({}, "", False)
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
        with pytest.raises(Retry, match="No space") as trouble:
            memory.put(job(title="new"))
        assert trouble.value.after == NO_ROOM
        assert "No space" in memory.trouble()
        assert memory.jobs[KEY].title == "old"
    assert "No space" in memory.trouble(), "it is not tried at every question"
    monkeypatch.setattr("orchestrator.state.NO_ROOM", 0.0)
    assert memory.trouble() == ""
    memory.close()
    assert not list(path.parent.glob("*.tmp-*"))
    assert read(path).jobs[KEY].title == "old"


def test_what_the_whole_daemon_waits_for_outlives_a_restart(path: Path) -> None:
    pauses = [Pause(what, "kind", "Why.", 1.0, 2.0) for what in ("agent", "disk")]
    memory = State.open(path)
    for pause in pauses:
        memory.put_pause(pause)
    memory.put_pause(replace(pauses[0], until=3.0))
    memory.end_pause("disk")
    memory.end_pause("never begun")
    memory.close()
    assert read(path).pauses == {"agent": replace(pauses[0], until=3.0)}
    assert state.read(path).pauses == (replace(pauses[0], until=3.0),)


def test_a_daemon_that_died_is_told_from_one_that_left(path: Path) -> None:
    memory = State.open(path)
    assert not memory.crashed
    left_by_the_dead = path.with_name("state.json.lock").read_text()
    memory.close()
    assert not read(path).crashed
    path.with_name("state.json.lock").write_text(left_by_the_dead)
    assert read(path).crashed


def test_a_closed_memory_takes_nothing_any_more(path: Path) -> None:
    memory = read(path)
    with pytest.raises(Stopped):
        memory.put(job())


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from orchestrator.record import Job, Kind
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
    path.with_name("state.json.requests").joinpath("1.json").write_text("[]")
    requests = memory.requests()
    assert [words for _, *words in requests] == [["retry", KEY], ["clear", KEY]]
    assert memory.requests() == requests, "they stay until they are obeyed"
    for request, *_ in requests:
        memory.obeyed(request)
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


def test_what_was_noted_is_seen_at_once_and_written_with_the_next_change(path: Path) -> None:
    memory = State.open(path)
    memory.put(job())
    memory.note(job(title="noted"))
    assert memory.jobs[KEY].title == "noted"
    assert json.loads(path.read_bytes())["body"]["jobs"][KEY]["title"] != "noted"
    memory.put(job(2))
    assert json.loads(path.read_bytes())["body"]["jobs"][KEY]["title"] == "noted"
    memory.close()


@pytest.mark.parametrize("end", [State.beat, State.close])
def test_what_was_only_noted_is_written_at_the_next_poll_and_at_the_end(
    path: Path, end: Callable[[State], object]
) -> None:
    memory = State.open(path)
    memory.note(job(title="noted"))
    memory.spend(lambda spent: (*spent, Spent(1.0, "run", 2.0)))
    assert not path.exists()
    end(memory)
    found = state.read(path)
    assert [j.title for j in found.jobs] == ["noted"]
    assert [s.run_id for s in found.spent] == ["run"]
    memory.close()


def test_what_is_kept_of_earlier_writes_changes_no_byte(path: Path) -> None:
    memory = State.open(path)
    for title in ("one", "two", "three"):
        memory.put(job(title=title))
        memory.put(job(2, title="other"))
        memory.put_repo(RepoMemory(name="acme/app", handled={title: 1.0}))
    memory.drop(job(2).key)
    memory.put_repo(RepoMemory(name="acme/other"))
    memory.close()
    content = load(path)
    assert content is not None
    assert content.encoded() == path.read_bytes()
    assert [j.title for j in content.jobs.values()] == ["three"]


def test_nothing_is_noted_once_the_file_is_closed(path: Path) -> None:
    memory = State.open(path)
    memory.close()
    with pytest.raises(Stopped):
        memory.note(job())
    with pytest.raises(Stopped):
        memory.spend(lambda spent: spent)
    memory.beat()
    assert memory.jobs == {}
