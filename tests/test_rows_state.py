"""Rows F14 to F17 and F69 to F71 of the fault matrix: the state file at every crash, full disk and odd content."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import state
from orchestrator.errors import Misconfigured, Retry
from orchestrator.record import Kind, Status
from orchestrator.state import RepoMemory, State
from orchestrator.statefile import Content, load, replace
from tests.memory import KEY, job, read, rewrite, script, wrote

ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("STATE_KILLS", "500"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def leftovers(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir() if ".tmp-" in file.name]


def content(title: str, generation: int = 1) -> bytes:
    return Content({KEY: job(title=title)}, generation=generation).encoded()


def title(path: Path) -> str:
    found = load(path)
    assert found is not None
    return found.jobs[KEY].title


# Each round forks a writer from a process that has everything in memory already, lets it write, and kills it at a
# moment that may lie anywhere in a write.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from orchestrator.record import Job, Kind
from orchestrator.state import State
from orchestrator.statefile import beside, load

path, rounds, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
state, torn = State.open(path), 0
for number in range(rounds):
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        for attempt in range(1, 10_000):
            state.put(Job("a/b", Kind.MERGE, 1, str(number), title="x" * 20_000, attempt=attempt))
            os.write(sending, b".")
    os.close(sending)
    told = len(os.read(receiving, 1))
    until = time.perf_counter() + chance.random() * 0.004
    while time.perf_counter() < until:
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(receiving, 1000):
        told += len(more)
    os.close(receiving)
    [job] = load(path).jobs.values()
    assert (job.trigger, job.attempt - told) in ((str(number), 0), (str(number), 1)), (number, told, job.attempt)
    assert number == 0 and told == 1 or load(beside(path, ".prev")).jobs
    if list(path.parent.glob("*.tmp-*")):
        torn += 1
        state.close()
        state = State.open(path)
        assert not state.warning and list(state.jobs.values()) == [job]
        assert not list(path.parent.glob("*.tmp-*"))
assert torn > rounds / 20, f"only {torn} of {rounds} kills hit a write"
"""


def test_F14_a_kill_in_the_middle_of_a_write_leaves_the_old_or_the_new_content(path: Path) -> None:
    script(KILLED, path, KILLS, 14)


# What the writing of the file asks of the system, in one list.
CALLS: list[tuple[Any, str]] = [
    *((os, name) for name in ("open", "write", "fsync", "close", "link")),
    (Path, "replace"),
    (Path, "unlink"),
]
Before = Callable[[str, tuple[Any, ...]], None]


@contextmanager
def watched(before: Before) -> Iterator[None]:
    """`before` is called with each of these calls and may raise in its place; a close is done all the same."""

    def wrapped(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            try:
                before(name, args)
            except OSError:
                if name == "close":
                    real(*args, **more)
                elif name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                raise
            return real(*args, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, wrapped(getattr(owner, name), name))
        yield


class Disk:
    """Fails with the nth call; `for_good`: and with every later one."""

    def __init__(self, nth: int, number: int, for_good: bool) -> None:
        self.calls: list[str] = []
        self._nth, self._number, self._for_good = nth, number, for_good

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        self.calls.append(name)
        if len(self.calls) == self._nth or (self._for_good and len(self.calls) > self._nth):
            raise OSError(self._number, os.strerror(self._number))

    @property
    def struck(self) -> bool:
        return len(self.calls) >= self._nth


def test_F16_the_file_is_on_the_disk_before_the_rename_and_the_folder_after_it(path: Path) -> None:
    replace(path, content("old"))
    seen: list[tuple[str, str]] = []

    def name_of(fd: int) -> str:
        number = os.fstat(fd).st_ino
        [found] = [file.name for file in (path.parent, *path.parent.iterdir()) if file.stat().st_ino == number]
        return found.partition("-")[0]

    def note(name: str, args: tuple[Any, ...]) -> None:
        if name in ("write", "fsync"):
            seen.append((name, name_of(args[0])))
        elif name in ("link", "replace"):
            seen.append((name, Path(args[1]).name.partition("-")[0]))

    with watched(note):
        replace(path, content("new"))
    assert seen == [
        ("write", "state.json.tmp"),
        ("fsync", "state.json.tmp"),
        ("link", "state.json.tmp"),
        ("replace", "state.json.prev"),
        ("replace", "state.json"),
        ("fsync", path.parent.name.partition("-")[0]),
    ]
    assert (title(path), title(path.with_name("state.json.prev"))) == ("new", "old")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from-then-on"])
def test_F17_whichever_call_of_a_write_fails_the_file_is_the_old_or_the_new_one(
    path: Path, number: int, for_good: bool
) -> None:
    for nth in range(1, 100):
        replace(path, content("oldest"))
        replace(path, content("old"))
        disk = Disk(nth, number, for_good)
        told = 0
        with watched(disk):
            try:
                replace(path, content("new"))
            except OSError as error:
                told = error.errno or 0
        assert told == (number if disk.struck else 0)
        renamed = disk.calls[: nth - 1].count("replace") == 2  # the previous generation, and the file itself
        assert title(path) == ("new" if renamed else "old"), (nth, disk.calls)
        assert title(path.with_name("state.json.prev")) in ("old", "oldest")
        assert for_good or leftovers(path) == [], (nth, disk.calls)
        replace(path, content("newest"))  # the disk works again; what was left is in nobody's way
        assert title(path) == "newest"
        assert leftovers(path) == []
        if not disk.struck:
            break
    assert nth > 10
    assert len(list(path.parent.iterdir())) == 2


# The kernel itself refuses the rest of a file that grows beyond the limit: a part is written, then comes the error.
TOO_LARGE = """
import os, resource, sys
from pathlib import Path
from orchestrator.record import Job, Kind
from orchestrator.statefile import Content, load, replace

path = Path(sys.argv[1])
new = Content({"k": Job("a/b", Kind.MERGE, 1, "new")}).encoded()
replace(path, Content({"k": Job("a/b", Kind.MERGE, 1, "old")}).encoded())
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for size in range(len(new)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        replace(path, new)
    except OSError as error:
        assert "too large" in str(error)
    else:
        raise AssertionError(size)
    assert list(load(path).jobs) == ["a/b#1/merge"] and load(path).jobs["a/b#1/merge"].trigger == "old"
    assert os.listdir(path.parent) == [path.name], os.listdir(path.parent)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
replace(path, new)
assert load(path).jobs["a/b#1/merge"].trigger == "new"
"""


def test_F17_a_disk_that_takes_only_a_part_keeps_the_old_content_at_every_byte(path: Path) -> None:
    script(TOO_LARGE, path)


def test_F17_a_memory_that_cannot_be_written_is_what_the_file_is_and_goes_on_later(path: Path) -> None:
    memory = State.open(path)
    memory.put(job(title="old"))
    with (
        watched(Disk(1, errno.ENOSPC, for_good=True)),
        pytest.raises((OSError, Retry), match="No space left on device"),
    ):
        memory.put(job(title="new"))
    assert memory.jobs[KEY].title == "old" == title(path)
    memory.put(job(title="newer"))
    memory.close()
    assert read(path).jobs[KEY].title == "newer"


def test_F69_cut_at_every_byte_the_generation_before_is_used_and_the_damaged_file_kept(path: Path) -> None:
    wrote(path, job(title="old"), job(title="new"))
    whole, kept = path.read_bytes(), path.with_name("state.json.unreadable-1")
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        memory = read(path)
        assert memory.jobs[KEY].title == "old", size
        assert "previous generation" in memory.warning
        assert kept.read_bytes() == whole[:size]
        kept.unlink()
    path.write_bytes(whole)
    assert (read(path).warning, read(path).jobs[KEY].title) == ("", "new")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "bad checksum": lambda good: good.replace(b'"attempt": 1', b'"attempt": 2'),
    "no JSON": lambda good: b"\x00" * len(good),
    "half": lambda good: good[: len(good) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_F69_without_a_good_generation_the_memory_is_rebuilt_and_nothing_is_lost(path: Path, damage: str) -> None:
    wrote(path, job(), job(2))
    for file in (path, path.with_name("state.json.prev")):
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    bad = path.read_bytes()
    for warning in ("rebuilt from GitHub", ""):  # the first start, and one before anything was looked at
        memory = read(path)
        assert warning in memory.warning
        assert (memory.jobs, memory.rebuilt_for("acme/app")) == ({}, True)
    assert path.with_name("state.json.unreadable-1").read_bytes() == bad


def test_F70_a_file_of_the_first_version_is_read_as_it_was_meant(path: Path) -> None:
    path.write_bytes((ROOT / "tests/states/version-1.json").read_bytes())
    before = json.loads(path.read_bytes())["body"]
    memory = State.open(path)
    assert memory.warning == ""
    parked = memory.jobs["acme/app#1/implement"]
    assert (parked.kind, parked.status, parked.attempt) == (Kind.IMPLEMENT, Status.PARKED, 2)
    assert parked.effects == {"sticky": 11, "eyes-101": True, "busy-101": None}
    assert memory.jobs["acme/app#2/merge"].effects == {"merge": None}
    assert memory.jobs["acme/app#2/review"].facts["review"]["findings"][0]["text"] == "A remark."
    assert memory.repo("acme/app") == RepoMemory(
        id=7,
        name="acme/app",
        since=1.6e9,
        cursor=1.7e9,
        handled={"301": 1.7e9},
        heads={"2": ["a" * 40, 1.7e9]},
        history={"4": "d" * 40},
    )
    memory.put(job(9))
    memory.close()
    after = json.loads(path.read_bytes())["body"]
    assert after["generation"] == 42
    for key, old in before["jobs"].items():
        assert {**after["jobs"][key], **old} == after["jobs"][key], "what was there is there still, unchanged"


def test_F70_fields_that_are_not_there_yet_or_not_any_more_do_no_harm(path: Path) -> None:
    wrote(path, job(title="kept"))

    def older(body: dict[str, Any]) -> None:
        body["jobs"][KEY] = {k: v for k, v in body["jobs"][KEY].items() if k in WRITTEN} | {"colour": "red"}

    rewrite(path, older)
    memory = State.open(path)
    assert memory.jobs[KEY] == job(title="kept")
    memory.put(job(title="new"))
    memory.close()
    assert json.loads(path.read_bytes())["body"]["jobs"][KEY]["colour"] == "red"


WRITTEN = ("repo", "kind", "number", "trigger", "status", "title")

NEWER: dict[str, Callable[[dict[str, Any]], object]] = {
    "kind": lambda body: body["jobs"][KEY].update(kind="dream"),
    "status": lambda body: body["jobs"][KEY].update(status="dreaming"),
}


@pytest.mark.parametrize("newer", ["version", *NEWER])
def test_F71_a_newer_file_is_refused_and_nothing_beside_it_is_touched(path: Path, newer: str) -> None:
    wrote(path, job(), job(2))
    if newer == "version":
        path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    else:
        rewrite(path, NEWER[newer])

    def folder() -> dict[str, tuple[bytes, int]]:
        return {f.name: (f.read_bytes(), f.stat().st_ino) for f in path.parent.iterdir() if f.suffix != ".lock"}

    before = folder()
    for reading in (State.open, state.read):
        with pytest.raises(
            Misconfigured, match=r"written by a newer version \(.*\); it was left untouched\. Install that"
        ):
            reading(path)
    assert folder() == before
    assert state.holder(path) is None
