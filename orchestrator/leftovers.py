"""Find and end what a run left behind: by session, by known descendants, and by the run id in the environment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from orchestrator.clock import Stop

RUN_ID = "ORCHESTRATOR_RUN_ID"

_Ours = Callable[[str], bool]  # whether a run id is one of those that are to be ended

_GRACE = 0.5  # seconds between SIGTERM and SIGKILL
_LOOK_AGAIN = 0.02  # seconds; nothing tells us about the end of a process that is not our child


def end(run_id: str, session: int, known: Iterable[psutil.Process]) -> int:
    """Ask everything that is left to end, then kill until nothing is found; return how many processes there were."""
    left = _living(run_id.__eq__, session, known)
    for process in left:
        _send(process, signal.SIGTERM)
    _wait(left, _GRACE)
    return len({*left, *_kill(run_id.__eq__, session, known)})


def kill(beginning: str) -> int:
    """Kill every process whose run id begins so, until nothing is found; return how many processes there were."""
    return len(_kill(lambda run_id: run_id.startswith(beginning), None, ()))


def _kill(ours: _Ours, session: int | None, known: Iterable[psutil.Process]) -> set[psutil.Process]:
    killed: set[psutil.Process] = set()
    while left := [process for process in _living(ours, session, known) if _send(process, signal.SIGKILL)]:
        killed.update(left)
        _wait(left, _GRACE)
    return killed


def _living(ours: _Ours, session: int | None, known: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = set(known)
    for parent in tuple(found):
        with contextlib.suppress(psutil.Error):
            found.update(parent.children(recursive=True))
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if _belongs(pid, ours, session):
                process = psutil.Process(pid)
                if _belongs(pid, ours, session):  # still, now that psutil knows which process it is
                    found.add(process)
    return [process for process in found if _runs(process)]


def _belongs(pid: int, ours: _Ours, session: int | None) -> bool:
    return os.getsid(pid) == session or ours(_run_id(pid))


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
