"""Ports for the programs that agents and commands start: each worktree has a block of numbers of its own.

Guaranteed: no two worktrees that exist at the same time have the same block, whichever of this account's daemons made
them; a worktree keeps its block for as long as its folder is there, over restarts and crashes; nobody listens in a
block when it is given out. A lease is a link to the worktree, so that one whose folder is gone is free by itself.

Left alone: daemons of other accounts, whose listeners are seen and whose leases are not; what others take later.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import Retry
from orchestrator.sandbox.walls import there

SIZE = 20
_BEGINNINGS = (*range(20_000, 32_760, SIZE), *range(10_000, 20_000, SIZE))
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def lease(worktree: Path, base: Path) -> int:
    """The first port of the worktree's block. Retry when all are taken.

    Leases lie in the account's home; in `base`, the folder of this daemon's worktrees, where that cannot be written.
    """
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    try:
        return _lease(worktree, home / "orchestrator" / "ports")
    except OSError:
        return _lease(worktree, base / ".ports")


def _lease(worktree: Path, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        held = {link: link.readlink() for link in folder.iterdir() if link.is_symlink()}
        for link, holder in held.items():
            if holder == worktree:
                return int(link.name)
            if not there(holder):
                link.unlink()
        for first in _blocks():
            link = folder / str(first)
            if not link.is_symlink() and _is_silent(first):
                link.symlink_to(worktree)
                return first
    raise Retry(f"each block of {SIZE} ports belongs to a worktree or has somebody listening in it; see {folder}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _blocks() -> list[int]:
    """The first number of every block, those that the system gives to nobody's outgoing connections before others."""
    try:
        low, high = map(int, _EPHEMERAL.read_text().split())
    except OSError:
        low, high = 49_152, 65_535
    return sorted(_BEGINNINGS, key=lambda first: first <= high and first + SIZE > low)


def _is_silent(first: int) -> bool:
    families = (socket.AF_INET, socket.AF_INET6)
    return all(_can_be_had(family, port) for port in range(first, first + SIZE) for family in families)


def _can_be_had(family: socket.AddressFamily, port: int) -> bool:
    """Whether nobody listens there on any address; a family that the machine lacks has no listeners."""
    try:
        with socket.socket(family) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True
