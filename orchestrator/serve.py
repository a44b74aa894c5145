"""`orchestrator run` as a process: the daemon in a thread of its own, signals in the main one, and the way out."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path

from orchestrator import heap, place, service
from orchestrator.agents.base import Role
from orchestrator.agents.prompts import prompt_file
from orchestrator.clock import Stop
from orchestrator.credentials import github_token
from orchestrator.daemon import Daemon
from orchestrator.errors import Stopped
from orchestrator.log import get
from orchestrator.settings import Settings, load
from orchestrator.slots import GRACE
from orchestrator.state import State


class _Work:
    """The daemon from its start to its end, in a thread of its own; `rouse` is called when it is over."""

    def __init__(self, settings: Settings, token: str, once: bool, halt: Stop, rouse: Callable[[], object]) -> None:
        self._settings = settings
        self._token = token
        self._once = once
        self._halt = halt
        self._rouse = rouse
        self.daemon: Daemon | None = None
        self.over: Future[int] = Future()
        threading.Thread(target=self._run, name="loop", daemon=True).start()

    def _run(self) -> None:
        try:
            self.over.set_result(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self.over.set_exception(error)
        finally:
            self._rouse()

    def _serve(self) -> int:
        state = State.open(Path(self._settings.state_file))
        _tell_of_losses(state, self._settings.repos)
        _tell_of_place(self._settings.worktree_base, self._settings.state_file)
        try:
            clock = service.WatchedClock()
            daemon = Daemon(self._settings, self._token, state, clock=clock, halt=self._halt, renew=_token)
            # What is compared with times of GitHub's must not depend on a clock that is wrong here.
            if daemon.transport.date:
                clock.agree(daemon.transport.date)
            agent = daemon.check()
        except Stopped:
            state.close()
            return 0
        except BaseException:
            state.close()
            raise
        self.daemon = daemon
        get().info(
            "started",
            repos=[name for name in self._settings.repos if daemon.serves(name)],
            as_user=daemon.me.login,
            scopes=sorted(daemon.scopes),
            agent=agent,
            sandbox=daemon.sandbox.name,
            worktrees=str(self._settings.worktree_base),
            label=self._settings.ready_label,
            prompts=[str(prompt_file(role.value)) for role in Role],
        )
        service.notify("READY=1")
        return daemon.loop(self._once, lambda: service.notify("WATCHDOG=1"))


def _token() -> str:
    """The token as the settings and `gh` have it now."""
    return github_token(load())


def _tell_of_losses(state: State, repos: Iterable[str]) -> None:
    """At every start until a repository was looked at again, not only at the one that found the damage."""
    if state.warning:
        get().error("state_recovered", what=state.warning)
    for name in repos:
        if state.rebuilt_for(name):
            lost = "the memory of this repository was lost; what is under way in it is looked for on GitHub"
            get().warning("memory_rebuilt", repo=name, what=lost)


def _tell_of_place(base: Path, state_file: Path) -> None:
    """Where worktrees lie, at every start while that can be mended."""
    move = place.moving(base, state_file)
    command = f"stop the daemon and run `{move}`"
    if trouble := place.trouble(base):
        get().warning("worktrees_in_checkout", what=f"{trouble}; {command if move else place.outside(base)}")
    elif move:
        stay = f"{base} of an earlier version stays in use; to move it to where new ones are, {command}"
        get().info("worktrees_stay", what=stay)


def main(settings: Settings, token: str, once: bool) -> int:
    """`orchestrator run`: open, poll, leave in order. The exit code of the contract.

    SIGTERM and Ctrl+C stop the daemon, SIGUSR1 wakes it.
    """
    heap.share()  # before the first thread
    receiving, sending = socket.socketpair()
    sending.setblocking(False)

    def rouse() -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            sending.send(b"\0")

    halt = Stop()
    with receiving, sending, _heard_by(sending):
        work = _Work(settings, token, once, halt, rouse)
        leave_at = math.inf
        while not work.over.done() and (left := leave_at - time.monotonic()) > 0:
            receiving.settimeout(None if left == math.inf else left)
            try:
                number = receiving.recv(1)[0]
            except TimeoutError:
                break
            if number == signal.SIGUSR1 and work.daemon is not None:
                work.daemon.wake.set("asked")
            elif number in (signal.SIGTERM, signal.SIGINT) and not halt.is_set():
                leave_at = time.monotonic() + GRACE
                service.notify("STOPPING=1")
                halt.set(f"signal {signal.Signals(number).name}")
        if work.daemon is not None:
            work.daemon.close()
            get().info("stopped", reason=halt.reason)
        return work.over.result() if work.over.done() else 0


@contextlib.contextmanager
def _heard_by(sending: socket.socket) -> Iterator[None]:
    """Each signal leaves its number as a byte: a Python handler may interrupt a lock that it needs itself."""
    signal.set_wakeup_fd(sending.fileno())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
