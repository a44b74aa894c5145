"""Find and end what a run left behind: by session, by known descendants, and by the run id in the environment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from orchestrator.clock import Stop

RUN_ID = "ORCHESTRATOR_RUN_ID"

_Ours = Callable[[str], bool]  # whether a run id is one of those that are to be ended

_GRACE = 0.5  # seconds between SIGTERM and SIGKILL
_LOOK_AGAIN = 0.01  # seconds; nothing tells us about the end of a process that is not our child


def end(run_id: str, session: int, known: Iterable[psutil.Process], grace: float | None = None) -> int:
    """Kill whatever is left until nothing is found; return how many processes there were.

    `grace`: the seconds that it still has; None: it was not asked to end yet, and is now.
    """
    left = _living(run_id.__eq__, session, known) if grace != 0.0 else []
    for process in left if grace is None else ():
        _send(process, signal.SIGTERM)
    _wait(left, _GRACE if grace is None else grace)
    return len({*left, *_kill(run_id.__eq__, session, known)})


def ask(run_id: str, leader: int, known: Iterable[psutil.Process], walled: bool) -> list[psutil.Process]:
    """SIGTERM for everybody of a run, also those who left its group; all who live.

    Once each, for some programs take a second one for an order to end at once. `walled`: the leader holds the walls,
    which fall when it ends, and nobody inside could come to an end in order; so it is asked only where it is alone.
    """
    found = _living(run_id.__eq__, leader, [*known, *descendants(leader)])
    others = [process for process in found if process.pid != leader]
    if not (walled and others):
        signal_group(leader, signal.SIGTERM)
        others = [process for process in others if _group(process.pid) != leader]
    for process in others:
        _send(process, signal.SIGTERM)
    return found


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal the group; nothing where it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def kill(beginning: str) -> int:
    """Kill every process whose run id begins so, until nothing is found; return how many processes there were."""
    return len(_kill(lambda run_id: run_id.startswith(beginning), None, ()))


def _kill(ours: _Ours, session: int | None, known: Iterable[psutil.Process]) -> set[psutil.Process]:
    killed: set[psutil.Process] = set()
    while left := [process for process in _living(ours, session, known) if _send(process, signal.SIGKILL)]:
        killed.update(left)
        _wait(left, _GRACE)
    return killed


def descendants(leader: int) -> list[psutil.Process]:
    """As they are now; after a death in between they have other parents."""
    return _processes(_below({leader}, _census.taken()))


def _living(ours: _Ours, session: int | None, known: Iterable[psutil.Process]) -> list[psutil.Process]:
    everybody = _census.taken()
    found = {process for process in known if _runs(process)}
    below = _below({process.pid for process in found}, everybody)
    marked = (one for one in everybody if one.session == session or ours(one.run_id))
    found.update(_processes({*below, *marked}))
    return [process for process in found if _runs(process)]


class _Seen(NamedTuple):
    pid: int
    parent: int
    session: int
    run_id: str
    born: float  # by which two processes of one number are told apart


def _below(parents: set[int], everybody: Iterable[_Seen]) -> list[_Seen]:
    children: dict[int, list[_Seen]] = {}
    for one in everybody:
        children.setdefault(one.parent, []).append(one)
    found: list[_Seen] = []
    ahead = list(parents)
    while ahead:
        new = children.pop(ahead.pop(), [])
        found += new
        ahead += [one.pid for one in new]
    return found


def _processes(seen: Iterable[_Seen]) -> list[psutil.Process]:
    """Those whose numbers still mean the same process."""
    found = []
    for one in seen:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(one.pid)
            if _look(one.pid).born == one.born:
                found.append(process)
    return found


class _Census:
    """Every process; whoever waits for a census that is being taken gets the next one too.

    So many runs that end at once cost a few looks at all processes and not one each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = 0.0
        self._found: list[_Seen] = []

    def taken(self) -> list[_Seen]:
        """One that began after this call."""
        asked = time.monotonic()
        with self._lock:
            if self._began < asked:
                self._began = time.monotonic()
                self._found = list(_everybody())
            return self._found


_census = _Census()


def _everybody() -> Iterator[_Seen]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            yield _look(pid)


def _look(pid: int) -> _Seen:
    """OSError or psutil.Error when it is gone."""
    run_id = ""
    with contextlib.suppress(psutil.Error, OSError):  # of a process that is not ours it cannot be read
        run_id = _run_id(pid)
    if not sys.platform.startswith("linux"):
        process = psutil.Process(pid)
        return _Seen(pid, process.ppid(), os.getsid(pid), run_id, process.create_time())
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return _Seen(pid, int(fields[1]), int(fields[3]), run_id, float(fields[19]))


def _run_id(pid: int) -> str:
    """The run id in the environment of a process; "" where it has none. OSError or psutil.Error when it is gone."""
    if not sys.platform.startswith("linux"):
        return psutil.Process(pid).environ().get(RUN_ID, "")
    # Straight from the kernel: psutil takes apart every variable of every process, many times the work.
    environ = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    _, found, rest = environ.partition(f"\0{RUN_ID}=".encode())
    return rest.partition(b"\0")[0].decode("utf-8", "replace") if found else ""


def _runs(process: psutil.Process) -> bool:
    """Whether it lives. A zombie does not; where a container's first process does not reap, it stays for ever."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    """Signal it; False when it is gone or not ours to signal. psutil checks that the pid still means this process."""
    try:
        process.send_signal(number)
    except psutil.Error:
        return False
    return True


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    until, pause = time.monotonic() + seconds, Stop()
    while any(_runs(process) for process in processes) and time.monotonic() < until:
        # Not `psutil.wait_procs`: it takes the exit status of our own children away from those who wait for it.
        pause.wait(_LOOK_AGAIN)
