"""Lock files of git's that a killed process left behind: they go when nobody lives who could hold them.

A lock names no owner, so every living process is looked at: one that has the file open, and any git that works
in the mirror or in one of its worktrees (git closes some locks before it renames them).
Left alone: a process of another user, whose folder and environment are not ours to read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil

from orchestrator.errors import Retry

_LOCKED = re.compile(r"Unable to create '(.+\.lock)': File exists")
_CONFIG = re.compile(r"could not lock config file (.+): File exists")
_AT_WORK = ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE")


def locks(said: str, mirror: Path) -> list[Path]:
    """The lock files inside of the mirror that git stumbled over, by what it said."""
    found = [Path(name) for name in _LOCKED.findall(said)]
    found += [Path(f"{name}.lock") for name in _CONFIG.findall(said)]
    return [lock for lock in dict.fromkeys(found) if mirror in lock.parents]


def remove(lock: Path, base: Path) -> None:
    """Delete the lock; gone is fine. Retry while a process lives that may hold it. `base` holds all our worktrees."""
    before = _identity(lock)
    if before is None:
        return
    for process in psutil.process_iter():
        if _may_hold(process, lock, base):
            raise Retry(f"Process {process.pid} is at work in {base} and may hold {lock.name}.")
    if _identity(lock) == before:  # not one that somebody made meanwhile
        lock.unlink(missing_ok=True)


def _identity(lock: Path) -> tuple[int, int] | None:
    try:
        about = lock.lstat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def _may_hold(process: psutil.Process, lock: Path, base: Path) -> bool:
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        name = process.name()
        return _works_in(process, base) if name == "git" or name.startswith("git-") else _has_open(process, lock)
    except psutil.NoSuchProcess:
        return False


def _works_in(git: psutil.Process, base: Path) -> bool:
    try:
        environ = git.environ()
        places = [git.cwd(), *git.cmdline(), *(environ[word] for word in _AT_WORK if word in environ)]
    except psutil.AccessDenied:
        return True  # rather wait for it than break a lock that is held
    return any(place == str(base) or f"{base}/" in place for place in places)


def _has_open(process: psutil.Process, lock: Path) -> bool:
    try:
        return any(file.path == str(lock) for file in process.open_files())
    except psutil.AccessDenied:
        return False  # some programs are closed even to their own user, for as long as they run
