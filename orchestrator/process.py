"""The one way to run a bounded child process.

`run` starts a program, watches it, and returns when the program has ended *and* nothing that it started is left.

Guaranteed
- The child gets exactly the environment that the caller gives, plus `ORCHESTRATOR_RUN_ID`, and a session of its own.
- Each limit is kept on the monotonic clock, which stands still while a Linux machine sleeps. Reaching one, or `stop`,
  sends SIGTERM to everybody in the tree; after `grace` seconds the child and its tree are killed.
- The tree is ended after every run, also after a good one: agent command lines leave `nohup`, `setsid` and
  double-forked children behind on exit 0. It is found in four ways, because killing the group is not enough: the
  group, the session, every process whose environment carries the run id, and the descendants of all these, as they
  were before the signal that ended their parents. The search is repeated until it finds nothing.
- The return waits for the child's exit, never for the end of its output: a background grandchild that holds a pipe
  open delays nothing (cpython#74340). Output is drained while it comes, so neither side can block the other.
- Linux: when memory runs out the kernel ends a run before the daemon, and a run may start some thousand processes, not
  all that the account may have (the account of root is not bound by that).
- Until the tree is gone the dead child stays unreaped, so that its number cannot pass to a stranger while it is used
  to signal (on macOS, where Python < 3.13 has no `waitid`, this last point does not hold).

Known and left alone
- Without a sandbox, a process that leaves the session, empties its own environment and whose parents are all gone
  before a signal is out of sight, as is one that changed its user. macOS hides the environment of system binaries, so
  there the run id finds less, and a clock that is set meanwhile makes a process another one. Nobody's environment can
  be read once the first of its threads has ended.
- A process in uninterruptible sleep is waited for as long as it takes: its working folder cannot be used anyway.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from orchestrator import leftovers
from orchestrator.clock import Stop
from orchestrator.hold import hold
from orchestrator.leftovers import RUN_ID
from orchestrator.pipes import Lines, Lull, Sink, Waker
from orchestrator.sandbox import OPEN, Sandbox, Walls

MIB = 1024 * 1024

_CHUNK = 64 * 1024
_PIPE_MOST = MIB  # what an unprivileged Linux pipe can hold at most

_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)

# A service has no locale and a shell has its user's, and what a run prints must not hang on which of them started us.
_LOCALE = {"LC_CTYPE": "UTF-8"} if sys.platform == "darwin" else {"LANG": "C.UTF-8"}

# A parent-death tie (PR_SET_PDEATHSIG, `bwrap --die-with-parent`) belongs to the thread that made the child, so every
# child is made by one thread that lives as long as the daemon; a job's thread may end at any time.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class Cause(str, Enum):
    """Why a run is over."""

    EXITED = "exited"  # by itself
    TOTAL = "total"  # the total time was up
    STALLED = "stalled"  # it wrote nothing for too long
    STOPPED = "stopped"  # the caller's `stop`
    FLOODED = "flooded"  # it wrote too much


@dataclass(frozen=True)
class Limits:
    """Seconds of awake time; `output` in bytes, both streams together. None: no such limit.

    `stall` counts from the last byte on stdout (both streams where they are one); `first`, where given, replaces it
    until the first byte. `grace` lies between SIGTERM and SIGKILL.
    """

    total: float
    stall: float | None = None
    first: float | None = None
    grace: float = 3.0
    output: int = 256 * MIB


@dataclass(frozen=True)
class Ended:
    """How a run ended. `code`: exit status, negative for a signal; `killed`: left-over processes that were ended."""

    code: int
    cause: Cause
    seconds: float
    killed: int


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    run_id: str,
    output: Path,
    errors: Path | None,
    limits: Limits,
    stop: Stop,
    stdin: bytes = b"",
    on_line: Callable[[bytes], None] | None = None,
    sandbox: Sandbox = OPEN,
    walls: Walls | None = None,
) -> Ended:
    """Run `argv` to its end, inside `walls` of `sandbox`; block until it and its whole tree are gone.

    stdout goes to the file `output`, stderr to `errors` or, when that is None, to `output` too. Each line of `output`
    is also given to `on_line` without its newline, as it comes, in this thread; lines above 64 MiB are only kept in
    the file. An exception of `on_line` ends the run and is raised here, as is an OSError of the files. A program that
    cannot be started raises FileNotFoundError or PermissionError at once. With `stop` set already nothing is started.
    Runs at the same time need different run ids: each ends everything that carries its own.
    """
    if stop.is_set():
        return Ended(-signal.SIGTERM, Cause.STOPPED, 0.0, 0)
    words, variables = list(argv), {**env, RUN_ID: run_id}
    if walls is not None:
        if shutil.which(words[0], path=env.get("PATH", os.defpath)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
        words, variables = sandbox.wrap(words, cwd, variables, walls)
    walled = walls is not None and sandbox.name != "off"
    with contextlib.ExitStack() as open_files:
        out = open_files.enter_context(_create(output))
        err = None if errors is None else open_files.enter_context(_create(errors))
        waker = open_files.enter_context(Waker())
        child = _spawner.submit(
            subprocess.Popen,
            words,
            cwd=cwd,
            env=variables,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if err is None else subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        ).result()
        hold(child.pid)
        return _Watch(child, run_id, limits, stop, waker, walled).to_the_end(out, err, stdin, on_line)


def shell(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    run_id: str,
    output: Path,
    limits: Limits,
    stop: Stop,
    sandbox: Sandbox = OPEN,
    walls: Walls | None = None,
) -> Ended:
    """Run one line of the operator's settings, without input, both streams in `output`.

    By `bash -c`, with no option set and no file of settings read, or by `/bin/sh -c` where PATH leads to no bash.
    """
    return run(
        (shutil.which("bash", path=env.get("PATH", os.defpath)) or "/bin/sh", "-c", command),
        cwd=cwd,
        env=env,
        run_id=run_id,
        output=output,
        errors=None,
        limits=limits,
        stop=stop,
        sandbox=sandbox,
        walls=walls,
    )


def sweep(beginning: str) -> int:
    """Kill every process whose environment carries a run id that begins so, and what descends from it; how many.

    For the start after the daemon itself was killed: nobody is left then who knows the runs' children.
    """
    return leftovers.kill(beginning)


def clean_env(environ: Mapping[str, str], /, *extra_names: str, **fixed: str) -> dict[str, str]:
    """The environment for a child: the few inherited names, one locale, `extra_names` where set, and `fixed`.

    An allow-list, so that no token and no `GIT_*` variable reaches a child because nobody thought of it.
    """
    kept = {name: environ[name] for name in (*_INHERITED, *extra_names) if name in environ}
    # An empty configuration for GitHub's own CLI: the login in the home folder is not the child's.
    return {**_LOCALE, **kept, "TERM": "dumb", "GH_CONFIG_DIR": os.devnull, **fixed}


class _Watch:
    """One started child under its limits: a selector loop in the caller's thread, and a thread that awaits the exit."""

    def __init__(
        self, child: subprocess.Popen[bytes], run_id: str, limits: Limits, stop: Stop, waker: Waker, walled: bool
    ) -> None:
        self._child = child
        self._run_id = run_id
        self._limits = limits
        self._stop = stop
        self._waker = waker
        self._walled = walled
        self._began = time.monotonic()
        self._heard: float | None = None
        self._came = 0  # bytes at the last look
        self._lull = Lull(waker)
        self._taken = 0
        self._exited = threading.Event()
        self._code = -int(signal.SIGKILL)  # until it is known: never a good one
        self._waiter = threading.Thread(target=self._await_exit, name=f"wait-{child.pid}", daemon=True)
        self._descendants: set[leftovers.Process] = set()
        self._struck: set[leftovers.Process] = set()
        self._selector = selectors.DefaultSelector()
        self._grace_ends: float | None = None  # for those who were asked to end
        self._over = False
        self._sinks: list[Sink] = []

    def to_the_end(
        self, out: IO[bytes], err: IO[bytes] | None, stdin: bytes, on_line: Callable[[bytes], None] | None
    ) -> Ended:
        try:
            self._waiter.start()
        except RuntimeError as error:  # no more threads: nobody could watch it, so it must not live
            self._strike()
            leftovers.end(self._run_id, self._child.pid, self._struck)
            self._child.wait()
            self._close()
            raise OSError(errno.EAGAIN, str(error)) from error
        forget = self._stop.listen(self._waker.wake)
        lines = Lines(on_line) if on_line else None
        try:
            self._connect(out, err, stdin, lines)
            cause = self._until_exit()
            killed = self._end()
            self._drain()
            for sink in self._sinks:
                sink.close()
            if lines:
                lines.close()
            return Ended(self._code, cause, time.monotonic() - self._began, killed)
        finally:
            forget()
            self._end()
            self._close()

    def _connect(self, out: IO[bytes], err: IO[bytes] | None, stdin: bytes, lines: Lines | None) -> None:
        self._selector.register(self._waker.reader, selectors.EVENT_READ, self._waker.drain)
        if self._child.stdout:
            self._read_from(self._child.stdout, Sink(out, lines, is_sign_of_life=True))
        if self._child.stderr and err:
            self._read_from(self._child.stderr, Sink(err, None, is_sign_of_life=False))
        if self._child.stdin:
            self._write_to(self._child.stdin, memoryview(stdin))

    def _await_exit(self) -> None:
        """Block until the child is dead, without reaping it where the system can do that."""
        if hasattr(os, "waitid"):
            # Kept from here on: where somebody else took the status, `Popen.wait` makes a 0 of it.
            with contextlib.suppress(ChildProcessError):
                found = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
                assert found is not None
                self._code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        else:
            self._code = self._child.wait()
        self._exited.set()
        self._waker.wake()

    def _until_exit(self) -> Cause:
        cause: Cause | None = None
        kill_at = math.inf
        while not self._exited.is_set():
            now = time.monotonic()
            if cause is None:
                cause = self._reached(now)
                if cause:
                    kill_at = self._grace_ends = now + self._limits.grace
                    self._descendants = leftovers.ask(self._run_id, self._child.pid, self._descendants, self._walled)
            elif now >= kill_at:
                self._strike()
                kill_at = math.inf
            due = kill_at if cause else min(self._began + self._limits.total, self._silence_ends())
            self._came = 0
            for key, _ in self._selector.select(None if due == math.inf else max(0.0, due - now)):
                key.data()
            if self._child.stdin is None or self._child.stdin.closed:
                self._lull.after(self._came)
        return cause or Cause.EXITED

    def _reached(self, now: float) -> Cause | None:
        if self._stop.is_set():
            return Cause.STOPPED
        if self._taken > self._limits.output:
            return Cause.FLOODED
        if now >= self._began + self._limits.total:
            return Cause.TOTAL
        return Cause.STALLED if now >= self._silence_ends() else None

    def _silence_ends(self) -> float:
        if self._heard is None and self._limits.first is not None:
            return self._began + self._limits.first
        return math.inf if self._limits.stall is None else (self._heard or self._began) + self._limits.stall

    def _strike(self) -> None:
        self._struck = leftovers.strike(self._run_id, self._child.pid, self._descendants)

    def _end(self) -> int:
        """See to it that child and tree are gone, and reap; the second call does nothing."""
        if self._over:
            return 0
        if not self._exited.is_set():
            self._strike()
        self._waiter.join()
        grace = None if self._grace_ends is None else max(0.0, self._grace_ends - time.monotonic())
        ended = leftovers.end(self._run_id, self._child.pid, self._descendants | self._struck, grace)
        self._child.wait()
        self._over = True
        return len(ended | self._struck)

    def _read_from(self, pipe: IO[bytes], sink: Sink) -> None:
        self._sinks.append(sink)

        def take() -> int:
            try:
                chunk = os.read(pipe.fileno(), _CHUNK)
            except BlockingIOError:
                return 0
            if not chunk:
                self._selector.unregister(pipe)
                return 0
            if sink.is_sign_of_life:
                self._heard = time.monotonic()
            sink.put(chunk[: max(0, self._limits.output - self._taken)])
            self._taken += len(chunk)
            self._came = max(self._came, len(chunk))
            return len(chunk)

        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ, take)

    def _write_to(self, pipe: IO[bytes], rest: memoryview) -> None:
        def give() -> int:
            nonlocal rest
            try:
                rest = rest[os.write(pipe.fileno(), rest[:_CHUNK]) :]
            except BlockingIOError:
                return 0
            except BrokenPipeError:  # a child need not read what it was told
                rest = rest[:0]
            if not rest:
                self._selector.unregister(pipe)
                pipe.close()
            return 0

        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_WRITE, give)

    def _drain(self) -> None:
        """Take what the dead left in the pipes; bounded, for somebody out of sight may still be writing."""
        for key in list(self._selector.get_map().values()):
            if key.events & selectors.EVENT_READ:
                taken, step = 0, key.data()
                while step and taken < _PIPE_MOST:
                    taken, step = taken + step, key.data()

    def _close(self) -> None:
        self._selector.close()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe:
                pipe.close()


def _create(path: Path) -> IO[bytes]:
    """An empty file that only this user may read: a run's output can quote anything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
