"""Find and end what a run left behind: by session, by what was known, by the run id in the environment, and whoever
descends from one of these. An OSError for want of descriptors or memory is raised: it does not say that nobody is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import psutil

from orchestrator.clock import Stop

RUN_ID = "ORCHESTRATOR_RUN_ID"

_Ours = Callable[[str], bool]  # whether a run id is one of those that are to be ended

_GRACE = 0.5  # seconds between SIGTERM and SIGKILL
_PAGE = 64 * 1024  # bytes; an environment is seldom longer
_GONE = (psutil.Error, FileNotFoundError, ProcessLookupError, PermissionError)
_LOOK_AGAIN = 0.01  # seconds; nothing tells us about the end of a process that is not our child


class Process(NamedTuple):
    """A number means another process some day; born (the kernel's count or seconds) tells the two apart."""

    pid: int
    born: float


def end(run_id: str, leader: int, known: Iterable[Process], grace: float | None = None) -> set[Process]:
    """Kill whatever is left until nothing is found; return what there was.

    `grace`: the seconds that it still has; None: it was not asked to end yet, and is now.
    """
    left = _living(run_id.__eq__, leader, known) if grace != 0.0 else set()
    for process in left if grace is None else ():
        _send(process, signal.SIGTERM)
    _wait(left, _GRACE if grace is None else grace)
    return left | _kill(run_id.__eq__, leader, known)


def ask(run_id: str, leader: int, known: Iterable[Process], walled: bool) -> set[Process]:
    """SIGTERM for everybody of a run, also those who left its group; all who live.

    Once each, for some programs take a second one for an order to end at once. `walled`: the leader holds the walls,
    which fall when it ends, and nobody inside could come to an end in order; so it is asked only where it is alone.
    """
    found = _living(run_id.__eq__, leader, known)
    others = [process for process in found if process.pid != leader]
    if not (walled and others):
        _signal_group(leader, signal.SIGTERM)
        others = [process for process in others if _group(process.pid) != leader]
    for process in others:
        _send(process, signal.SIGTERM)
    return found


def strike(run_id: str, leader: int, known: Iterable[Process]) -> set[Process]:
    """SIGKILL for everybody of a run whose leader lives; those outside its group. `end` sees to who came meanwhile.

    Together, for after the leader's death its descendants have other parents.
    """
    others: list[Process] = []
    try:
        others += [p for p in _living(run_id.__eq__, leader, known) if _group(p.pid) != leader]
    finally:
        _signal_group(leader, signal.SIGKILL)
    return {process for process in others if _send(process, signal.SIGKILL)}


def _signal_group(leader: int, number: signal.Signals) -> None:
    """Signal the group; nothing where it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def kill(beginning: str) -> int:
    """Kill every process whose run id begins so, and whoever descends from it, until nothing is found; how many."""
    return len(_kill(lambda run_id: run_id.startswith(beginning), None, ()))


def _kill(ours: _Ours, leader: int | None, known: Iterable[Process]) -> set[Process]:
    killed: set[Process] = set()
    while left := {process for process in _living(ours, leader, known) if _send(process, signal.SIGKILL)}:
        killed |= left
        _wait(left, _GRACE)
    return killed


def _living(ours: _Ours, leader: int | None, known: Iterable[Process]) -> set[Process]:
    everybody = _census.taken()
    found = {one.process for one in everybody if one.session == leader or ours(one.run_id)}
    found |= {one.process for one in everybody}.intersection(known)
    return found | _below({process.pid for process in found}, everybody)


class _Seen(NamedTuple):
    process: Process
    parent: int
    session: int
    run_id: str = ""


def _below(parents: set[int], everybody: Iterable[_Seen]) -> set[Process]:
    children: dict[int, list[Process]] = {}
    for one in everybody:
        children.setdefault(one.parent, []).append(one.process)
    found: set[Process] = set()
    ahead = list(parents)
    while ahead:
        new = children.pop(ahead.pop(), [])
        found.update(new)
        ahead += [process.pid for process in new]
    return found


class _Census:
    """Every process that lives; whoever waits for a census that is being taken gets the next one too.

    So many runs that end at once cost a few looks at all processes and not one each.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._looking = False
        self._last = 0.0, list[_Seen]()  # when it began

    def taken(self) -> list[_Seen]:
        """One that began after this call."""
        asked = time.monotonic()
        with self._turn:
            self._turn.wait_for(lambda: self._last[0] > asked or not self._looking)
            if self._last[0] > asked:
                return self._last[1]
            self._looking = True
        try:
            self._last = time.monotonic(), list(_everybody())
        finally:
            with self._turn:
                self._looking = False
                self._turn.notify_all()
        return self._last[1]


_census = _Census()


def _everybody() -> Iterator[_Seen]:
    for pid in psutil.pids():
        with contextlib.suppress(*_GONE):
            seen = _look(pid)
            with contextlib.suppress(*_GONE):  # of a process that is not ours it cannot be read
                seen = seen._replace(run_id=_run_id(pid))
            yield seen


def _look(pid: int) -> _Seen:
    """One of `_GONE` when it is dead: a zombie is, and where a container's first process does not reap, stays.

    Straight from the kernel where that is one read: psutil takes many times the work, and many runs may end at once.
    """
    if not sys.platform.startswith("linux"):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise ProcessLookupError(pid)
        return _Seen(Process(pid, process.create_time()), process.ppid(), os.getsid(pid))
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split(maxsplit=20)
    if fields[0] in b"ZX" and int(fields[17]) <= 1:  # with more threads only the first of them has ended
        raise ProcessLookupError(pid)
    return _Seen(Process(pid, float(fields[19])), int(fields[1]), int(fields[3]))


def _run_id(pid: int) -> str:
    """The run id in the environment of a process; "" where it has none. One of `_GONE` when it is gone."""
    if not sys.platform.startswith("linux"):
        return psutil.Process(pid).environ().get(RUN_ID, "")
    _, found, rest = (b"\0" + _read(f"/proc/{pid}/environ")).partition(f"\0{RUN_ID}=".encode())
    return rest.partition(b"\0")[0].decode("utf-8", "replace") if found else ""


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(file, _PAGE), b""))
    finally:
        os.close(file)


def _lives(process: Process) -> bool:
    try:
        return _look(process.pid).process == process
    except _GONE:
        return False


def _send(process: Process, number: signal.Signals) -> bool:
    """Signal it; False when it is gone or not ours to signal."""
    if not _lives(process):
        return False
    try:
        os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _wait(processes: Iterable[Process], seconds: float) -> None:
    until, pause = time.monotonic() + seconds, Stop()
    while any(_lives(process) for process in processes) and time.monotonic() < until:
        # Not `psutil.wait_procs`: it takes the exit status of our own children away from those who wait for it.
        pause.wait(_LOOK_AGAIN)
