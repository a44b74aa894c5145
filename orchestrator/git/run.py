"""The one way to call git.

Guaranteed for every call:
- an argument vector, never a shell; an environment that inherits nothing but PATH (and, for children that
  talk to a remote, the proxy and certificate settings), so that a daemon started from a git hook or with
  somebody's `GIT_DIR` set works on its own repositories only;
- no configuration of the user or the system; hooks (but the daemon's own of `incoming`), fsmonitor, credential
  helpers, signing, submodule recursion, redirects and background maintenance are off whatever the repository's own
  config says;
- only the transport of the given `Access` may be used; its token is in the environment of that child alone,
  and is masked in whatever git says;
- the repository and the work tree are the ones named by the caller, never looked for in the file system;
- the child has a process group of its own, which is killed as a whole after `timeout` seconds.

Not guaranteed: settings that have no neutral value (`filter.*`, `url.*.insteadOf`) still act when they stand
in the repository's own config; `Mirror` rewrites that file before each use, and the sandbox makes it read-only for
whoever else runs meanwhile. Without a sandbox that race can be won.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from orchestrator.errors import Missing, Stopped
from orchestrator.git.access import Access
from orchestrator.git.environment import Identity as Identity
from orchestrator.git.environment import Place, Scratch, environment

OLDEST = (2, 39)
FLOOD = 256 * 1024 * 1024

_PACKET = re.compile(rb"^.* packet: .*\n?", re.MULTILINE)

_live: set[subprocess.Popen[bytes]] = set()
_live_lock = threading.Lock()


@dataclass(frozen=True)
class Result:
    """What a child left behind. `whole` is False when `out` was cut at the caller's limit; `packets`: see `git`."""

    code: int
    out: bytes
    err: bytes
    whole: bool = True
    packets: bool = False

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace").strip()

    @property
    def names(self) -> list[str]:
        """Output of a `-z` command, for people: bytes that are not UTF-8 are replaced."""
        return [name.decode("utf-8", "replace") for name in self.out.split(b"\0") if name]

    @property
    def paths(self) -> list[str]:
        """Output of a `-z` command, for the file system: every byte survives."""
        return [os.fsdecode(name) for name in self.out.split(b"\0") if name]


class GitError(Exception):
    """Git failed: the command, its exit status (negative: signal) and the end of what it said, without secrets."""

    def __init__(self, args: Sequence[str], code: int, err: bytes, *, timed_out: bool = False) -> None:
        self.code = code
        self.stderr = err.decode("utf-8", "replace").strip()
        self.timed_out = timed_out
        what = "took too long" if timed_out else f"ended with {code}"
        super().__init__(f"git {shlex.join(args)} {what}: {self.stderr[-2000:]}")


def git(
    *args: str,
    at: Place | None = None,
    access: Access | None = None,
    identity: Identity | None = None,
    scratch: Scratch | None = None,
    stdin: bytes | None = None,
    timeout: float = 120,
    accept: Sequence[int] = (0,),
    cut: int | None = None,
    packets: bool = False,
) -> Result:
    """Run `git args` and wait for it.

    `at`: the repository; None means none at all. `access`: allows this remote, and no other. `scratch`: with an
    index and new objects of its own, inside its walls. `timeout`: seconds. `cut`: keep this many bytes of output, then
    end the child; without it more than 256 MiB is an error. `packets`: tell in the result whether the other side
    spoke git's own protocol.
    Raises GitError on any exit code but those in `accept`, Missing without git, Stopped after `end_all()`.
    """
    variables = environment(at, access, identity, scratch)
    if packets:
        variables["GIT_TRACE_PACKET"] = "1"
    with TemporaryFile() as errors, _input(stdin) as source:
        process = _spawn(args, variables, at, scratch, source, errors)
        try:
            out, timed_out = _read(process, timeout, FLOOD if cut is None else cut)
        finally:
            stopped = _finish(process)
        errors.seek(0)
        err = errors.read(FLOOD)
    if access is not None:
        err = access.mask(err)
    spoke = packets and _PACKET.search(err) is not None
    if spoke:
        err = _PACKET.sub(b"", err)
    if stopped:
        raise Stopped("The daemon is stopping; a git command was ended.")
    if timed_out:
        raise GitError(args, process.returncode, err, timed_out=True)
    limit = FLOOD if cut is None else cut
    if len(out) > limit:
        if cut is None:
            raise GitError(args, process.returncode, b"it wrote more than 256 MiB")
        return Result(0, out[:limit], err, whole=False)
    if process.returncode not in accept:
        raise GitError(args, process.returncode, err)
    return Result(process.returncode, out, err, packets=spoke)


def version() -> str:
    """The installed git's version. Raises Missing when there is none that answers, or it is too old."""
    wanted = f"Install git {OLDEST[0]}.{OLDEST[1]} or newer."
    try:
        said = git("--version", timeout=10).text
    except (GitError, OSError) as error:
        raise Missing(f"git does not answer when asked for its version: {error}. {wanted}") from error
    found = re.match(r"git version ((\d+)\.(\d+).*)", said)
    if found is None:
        raise Missing(f"What is called git is none: it says {said[:200]!r}. {wanted}")
    if (int(found[2]), int(found[3])) < OLDEST:
        raise Missing(f"git {found[1]} is too old. {wanted}")
    return found[1]


def end_all() -> int:
    """Kill every git child now; their callers get Stopped. Returns how many there were."""
    with _live_lock:
        children = list(_live)
        _live.clear()
    for child in children:
        _kill(child)
    return len(children)


@contextmanager
def _input(stdin: bytes | None) -> Iterator[BinaryIO | int]:
    """A file rather than a pipe: a child that reads nothing cannot block us."""
    if stdin is None:
        yield subprocess.DEVNULL
        return
    with TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        yield file


def _spawn(
    args: Sequence[str],
    variables: dict[str, str],
    at: Place | None,
    scratch: Scratch | None,
    stdin: BinaryIO | int,
    stderr: BinaryIO,
) -> subprocess.Popen[bytes]:
    if shutil.which("git", path=variables["PATH"]) is None:
        raise Missing("git is not installed, or not in PATH. Install git 2.39 or newer.")
    tree = at.work_tree if at else None
    if tree is not None and (tree.is_symlink() or not tree.is_dir()):
        raise GitError(args, 128, f"the work tree {tree} is gone".encode())
    argv, cwd = ["git", *args], tree or Path("/")
    if scratch is not None and scratch.wrap is not None:
        argv, variables = scratch.wrap(argv, cwd, variables)
    with _live_lock:  # around the start too: `end_all` ends whatever has started
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=variables,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        _live.add(process)
    return process


def _read(process: subprocess.Popen[bytes], timeout: float, limit: int) -> tuple[bytes, bool]:
    """At most `limit` + 1 bytes of output, and whether the time ran out."""
    assert process.stdout is not None
    end = time.monotonic() + timeout
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        out = process.stdout.read(limit + 1)
    finally:
        timer.cancel()
        timer.join()
    if len(out) <= limit and not expired.is_set():
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            expired.set()
    return out, expired.is_set()


def _finish(process: subprocess.Popen[bytes]) -> bool:
    """End and reap what is left of the child; True when `end_all()` had chosen it."""
    if process.poll() is None:
        _kill(process)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    with _live_lock:
        stopped = process not in _live
        _live.discard(process)
    return stopped


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return
