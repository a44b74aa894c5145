"""The daemon's memory: one JSON file with one writer.

Guaranteed: after `put`, `drop` or `put_repo` returned, the change is on the disk (temporary file, fsync,
rename, fsync of the folder); a crash at any point leaves the old or the new content, never a mix; the
generation before is kept beside it as `<file>.prev`. A second daemon on the same file is refused. Fields
that this version does not know are written back as they were read.

The file is a cache of the truth (GitHub and git) plus the announced effects. An unreadable file is set
aside as `<file>.unreadable-N` and the previous generation is used; where that is unreadable too, the
memory starts empty with `rebuilt` set: the feed then also offers the items that GitHub shows as in
progress, and every effect is looked for on GitHub before it is done, so nothing is repeated. A file of a
newer version, or one that is not ours, is refused and left untouched.

Left alone: two hosts on one network share (flock does not reach across all of them).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.clock import Stop
from orchestrator.errors import Misconfigured, Missing, Stopped
from orchestrator.model import Job, Kind, Status

FORMAT = "orchestrator-state"
VERSION = 1
LOCK_TRIES = 10


class _Unreadable(Exception):
    """The file is truncated, damaged or no JSON."""


@dataclass(frozen=True)
class RepoMemory:
    """What is remembered of one repository between polls."""

    id: int = 0
    name: str = ""
    since: float = 0.0  # first start on it, GitHub's clock: what is older is history
    cursor: float = 0.0  # newest comment seen, GitHub's clock
    handled: dict[str, float] = dataclasses.field(default_factory=dict)  # comment id -> created_at
    heads: dict[str, list[Any]] = dataclasses.field(default_factory=dict)  # PR -> [head SHA, first seen]
    history: dict[str, str] = dataclasses.field(default_factory=dict)  # PR -> head SHA that is history


@dataclass(frozen=True)
class Holder:
    """The living daemon that holds the state file."""

    pid: int
    since: float


@dataclass(frozen=True)
class Saved:
    """The file as a reader without the lock sees it; `polled_at`: the daemon's last poll."""

    jobs: tuple[Job, ...]
    polled_at: float | None
    holder: Holder | None


def _jobs(path: Path, body: Mapping[str, Any]) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Each job with the fields that this version does not know. Misconfigured where it does not know a word."""
    known = {f.name for f in dataclasses.fields(Job)}
    for key, data in body.get("jobs", {}).items():
        values = {k: v for k, v in data.items() if k in known}
        try:
            job = Job(**{**values, "kind": Kind(values["kind"]), "status": Status(values["status"])})
        except (KeyError, ValueError, TypeError) as error:
            raise _newer(path, f"{key}: {error}") from error
        yield job, {k: v for k, v in data.items() if k not in known}


def _repo(data: Mapping[str, Any]) -> tuple[RepoMemory, dict[str, Any]]:
    known = {f.name for f in dataclasses.fields(RepoMemory)}
    values = {k: v for k, v in data.items() if k in known}
    return RepoMemory(**values), {k: v for k, v in data.items() if k not in known}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _parse(path: Path) -> dict[str, Any]:
    """The body of the file. _Unreadable when damaged; Misconfigured when it is not ours or newer."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _Unreadable(str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Misconfigured(
            f"{path} is not a state file of this program; it was left untouched. Set STATE_FILE to another path."
        )
    if not isinstance(document.get("version"), int) or document["version"] > VERSION:
        raise _newer(path, f"format {document.get('version')}, this program knows {VERSION}")
    body = document.get("body")
    if not isinstance(body, dict) or document.get("checksum") != _digest(body):
        raise _Unreadable("the checksum does not fit")
    return body


def _newer(path: Path, why: str) -> Misconfigured:
    return Misconfigured(
        f"{path} was written by a newer version ({why}); it was left untouched. "
        "Install that version again, or set STATE_FILE to another path."
    )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(_beside(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _lock_patiently(path: Path) -> int:
    """A `status` that looks who holds the lock holds it for a moment itself."""
    for _ in range(LOCK_TRIES):
        try:
            return _lock(path)
        except BlockingIOError:
            Stop().wait(0.05)
    return _lock(path)


def holder(path: Path) -> Holder | None:
    """Who holds the state file now, None when nobody does. `pid` is 0 while a daemon starts."""
    lock = _beside(path, ".lock")
    if not lock.exists():
        return None
    try:
        os.close(_lock(path))
    except OSError:
        pid, since = ([*lock.read_text().split(), "0", "0"])[:2]
        return Holder(int(pid), float(since))
    return None


def read(path: Path) -> Saved:
    """The file without the lock, for `status` and `logs`. Missing when it exists and cannot be read."""
    body: dict[str, Any] = {}
    if path.exists():
        try:
            body = _parse(path)
        except (_Unreadable, OSError) as error:
            raise Missing(
                f"{path} cannot be read ({error}). Start the daemon with `orchestrator run`: "
                "it goes on from the previous generation."
            ) from error
    jobs = tuple(job for job, _ in _jobs(path, body))
    polled = _beside(path, ".polled")
    return Saved(jobs, polled.stat().st_mtime if polled.exists() else None, holder(path))


class State:
    """The open file. Thread-safe; every change is durable when the call returns."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd: int | None = fd
        self._mutex = threading.RLock()
        self._generation = 0
        self._rest: dict[str, Any] = {}
        self._unknown: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, Job] = {}
        self._repos: dict[str, RepoMemory] = {}
        self.rebuilt = False
        self.warning = ""

    @classmethod
    def open(cls, path: Path) -> State:
        """Lock and load. Missing: held by another daemon, or the folder is not writable."""
        path = path.absolute()
        try:
            fd = _lock_patiently(path)
        except BlockingIOError as error:
            other = holder(path)
            raise Missing(
                f"Another daemon (pid {other.pid if other else 'unknown'}) works with {path}. "
                "See it with `orchestrator status`, or give this one its own STATE_FILE."
            ) from error
        except OSError as error:
            raise Missing(f"{path} cannot be locked: {error}. Set STATE_FILE to a writable local path.") from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {time.time():.0f}\n".encode(), 0)
            state = cls(path, fd)
            state._load()
        except BaseException:
            os.close(fd)
            raise
        return state

    def _load(self) -> None:
        for leftover in self._path.parent.glob(f"{self._path.name}.tmp-*"):
            leftover.unlink()
        previous = _beside(self._path, ".prev")
        if not self._path.exists() and not previous.exists():
            return
        try:
            body = _parse(self._path)
        except (_Unreadable, OSError) as trouble:
            kept = self._set_aside()
            try:
                body = _parse(previous)
                self.warning = f"{self._path} could not be read ({trouble}); the previous generation is used. {kept}"
            except (_Unreadable, OSError):
                body = {}
                self.rebuilt = True
                self.warning = (
                    f"Neither {self._path} ({trouble}) nor its previous generation could be read; the memory is "
                    f"rebuilt from GitHub and no effect is repeated. {kept}"
                )
        self._generation = int(body.pop("generation", 0))
        for job, unknown in _jobs(self._path, body):
            self._jobs[job.key], self._unknown[job.key] = job, unknown
        body.pop("jobs", None)
        for name, data in body.pop("repos", {}).items():
            self._repos[name], self._unknown["repo:" + name] = _repo(data)
        self._rest = body

    def _set_aside(self) -> str:
        if not self._path.exists():
            return ""
        number = 1
        while (kept := _beside(self._path, f".unreadable-{number}")).exists():
            number += 1
        self._path.rename(kept)
        return f"The unreadable file is kept as {kept}."

    @property
    def jobs(self) -> dict[str, Job]:
        """A copy of all jobs by key."""
        with self._mutex:
            return dict(self._jobs)

    def job(self, key: str) -> Job | None:
        with self._mutex:
            return self._jobs.get(key)

    def put(self, job: Job) -> None:
        """Remember `job` durably."""
        with self._mutex:
            self._save({**self._jobs, job.key: job}, self._repos)

    def drop(self, key: str) -> None:
        """Forget a job durably."""
        with self._mutex:
            self._save({k: j for k, j in self._jobs.items() if k != key}, self._repos)
            self._unknown.pop(key, None)

    def repo(self, name: str) -> RepoMemory | None:
        with self._mutex:
            return self._repos.get(name)

    def put_repo(self, memory: RepoMemory) -> None:
        """Remember what a poll taught; written only when it taught something."""
        with self._mutex:
            if self._repos.get(memory.name) != memory:
                self._save(self._jobs, {**self._repos, memory.name: memory})

    def beat(self) -> None:
        """Leave the time of this poll where `status` finds it, without a write to the file."""
        with contextlib.suppress(OSError):  # a full disk must not end the loop
            _beside(self._path, ".polled").touch(0o600)

    def apply(self, verb: str, key: str) -> None:
        """A person's word: `retry` wakes a job that is parked or waits, `clear` forgets it."""
        with self._mutex:
            job = self._jobs.get(key)
            if verb == "clear":
                self.drop(key)
            elif job is not None and job.status in (Status.PARKED, Status.WAITING):
                self.put(_woken(job))

    def _save(self, jobs: dict[str, Job], repos: dict[str, RepoMemory]) -> None:
        """The memory is these from now on; unchanged when they cannot be written (disk full)."""
        if self._fd is None:
            raise Stopped("the state file is closed")
        self._generation += 1
        body = {
            **self._rest,
            "generation": self._generation,
            "jobs": {k: {**self._unknown.get(k, {}), **dataclasses.asdict(j)} for k, j in jobs.items()},
            "repos": {n: {**self._unknown.get("repo:" + n, {}), **dataclasses.asdict(r)} for n, r in repos.items()},
        }
        document = {"format": FORMAT, "version": VERSION, "checksum": _digest(body), "body": body}
        _replace(self._path, json.dumps(document, indent=1).encode())
        self._jobs, self._repos = jobs, repos

    def close(self) -> None:
        """Let go of the lock."""
        with self._mutex:
            if self._fd is not None:
                os.ftruncate(self._fd, 0)
                os.close(self._fd)
                self._fd = None

    def requests(self) -> list[tuple[str, str]]:
        """The `retry` and `clear` that people asked for since the last call, oldest first: (verb, job key)."""
        found = []
        for file in sorted(_beside(self._path, ".requests").glob("*.json")):
            with contextlib.suppress(ValueError, KeyError):
                data = json.loads(file.read_text())
                found.append((str(data["verb"]), str(data["key"])))
            file.unlink()
        return found


def _woken(job: Job) -> Job:
    """From the start, once more; only the sticky comment is kept, so that it is edited and not repeated.

    A merge that was asked of GitHub already goes on where it is: it must be read, not begun again.
    """
    if job.kind is Kind.MERGE and (job.merge_sha or "merge" in job.effects):
        return dataclasses.replace(job, status=Status.WAITING, not_before=0.0, failures=0)
    return dataclasses.replace(
        job,
        status=Status.WAITING,
        phase="",
        not_before=0.0,
        failures=0,
        reason="",
        attempt=job.attempt + 1,
        effects={k: v for k, v in job.effects.items() if k == "sticky"},
        facts={**job.facts, "retried": True},
    )


def _replace(path: Path, content: bytes) -> None:
    temporary = _beside(path, f".tmp-{os.getpid()}-{threading.get_ident()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            _keep_previous(path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _keep_previous(path: Path) -> None:
    # A link, not a rename: the current file stays in place until the new one replaces it.
    link = _beside(path, f".tmp-prev-{threading.get_ident()}")
    link.unlink(missing_ok=True)
    os.link(path, link)
    link.replace(_beside(path, ".prev"))


def ask(path: Path, verb: str, key: str) -> str:
    """`retry` or `clear` one job: through the running daemon, else on the file itself. A sentence to print."""
    path = path.absolute()
    running = holder(path)
    if running is None:
        state = State.open(path)
        try:
            state.apply(verb, key)
        finally:
            state.close()
        return f"{verb} {key}: done; the daemon is not running, `orchestrator run` goes on with it."
    folder = _beside(path, ".requests")
    folder.mkdir(mode=0o700, exist_ok=True)
    _replace(folder / f"{time.time_ns()}.json", json.dumps({"verb": verb, "key": key}).encode())
    if running.pid:
        os.kill(running.pid, signal.SIGUSR1)
    return f"{verb} {key}: the running daemon (pid {running.pid}) was told and acts at once."
