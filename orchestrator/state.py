"""The daemon's memory: one JSON file with one writer.

Guaranteed: after `put`, `drop` or `put_repo` returned, the change is on the disk (temporary file, fsync,
rename, fsync of the folder), and with it everything noted before; a crash at any point leaves the memory as it was
at one of these moments, never a mix; the generation before is kept beside it as `<file>.prev`. What guards no effect
(that one is done, a finding that can be made again) is only noted, and costs no write of its own. A second daemon
on the same file is refused. Fields that this version does not know are written back as they were read.

The file is a cache of the truth (GitHub and git) plus the announced effects. A damaged file is set aside as
`<file>.unreadable-N` and the previous generation is used; where that is damaged or missing too, an empty
memory that says so takes its place at once: until the first good look at a repository, `rebuilt_for` it is
true, also after a restart. The feed then also offers the items that GitHub shows as in progress, and every
effect is looked for on GitHub before it is done, so nothing is repeated. A file of a newer version, one that
is not ours and one that the system does not let us read are refused and left untouched (see `statefile`).

While the disk takes nothing the old content stays, each change raises Retry, and `trouble` asks again once a
minute.

Left alone: two hosts on one network share (flock does not reach across all of them).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import polled
from orchestrator.errors import Missing, Retry, Stopped
from orchestrator.record import Aside, Job, Kind, Pause, Quota, Spent, Status
from orchestrator.redactor import OURS
from orchestrator.statefile import Content, Damaged, Texts, beside, load, refuse_closed, refuse_odd, replace, set_aside
from orchestrator.statefile import RepoMemory as RepoMemory
from orchestrator.statelock import Holder, lock
from orchestrator.statelock import holder as holder

NO_ROOM = 60.0  # seconds between two tries to write when the disk takes nothing
_LOST = "lost"  # the field that stays in a file which began empty because the one before could not be used
_PAUSES = "pauses"
_SPENT = "spent"
_ASIDES = "asides"


@dataclass(frozen=True)
class Saved:
    """The file as a reader without the lock sees it; `polled_at`: the daemon's last poll."""

    jobs: tuple[Job, ...]
    polled_at: float | None
    holder: Holder | None
    pauses: tuple[Pause, ...] = ()
    spent: tuple[Spent, ...] = ()
    quota: Quota | None = None
    asides: tuple[Aside, ...] = ()


def read(path: Path) -> Saved:
    """The file without the lock, for `status` and `logs`. Raises as `statefile.load`."""
    content = load(path) or Content()
    polled_at, quota = polled.found(beside(path, ".polled"))
    pauses = tuple(_pauses(content.rest).values())
    jobs, spent, asides = tuple(content.jobs.values()), _spent(content.rest), _asides(content.rest)
    return Saved(jobs, polled_at, holder(path), pauses, spent, quota, asides)


class State:
    """The open file. Thread-safe; every change is durable when the call returns."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd: int | None = fd
        self._mutex = threading.RLock()
        self._texts = Texts()
        self._behind = False  # whether the file lacks something that was noted
        self._take(Content())
        self._trouble = ""  # why the last change could not be written
        self._tried_at = 0.0  # monotonic
        self.warning = ""
        self.crashed = False  # whether the daemon before this one did not close it

    @classmethod
    def open(cls, path: Path) -> State:
        """Lock and load. Missing: held by another daemon, or the folder is not writable; else as `statefile.load`."""
        path = path.absolute()
        refuse_odd(path)  # before a lock is made beside it
        try:
            fd = lock(path)
        except BlockingIOError as error:
            other = holder(path)
            raise Missing(
                f"Another daemon (pid {other.pid if other else 'unknown'}) works with {path}. "
                "See it with `orchestrator status`, or give this one its own STATE_FILE."
            ) from error
        except OSError as error:
            raise Missing(f"{path} cannot be locked: {error}. Set STATE_FILE to a writable local path.") from error
        try:
            refuse_closed(path)
            state = cls(path, fd)
            state.crashed = bool(os.pread(fd, 1, 0))
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {time.time():.0f}\n".encode(), 0)
            state._load()
        except OSError as error:
            os.close(fd)
            raise Missing(
                f"{path} cannot be written: {error}. Make room, or set STATE_FILE to another path."
            ) from error
        except BaseException:
            os.close(fd)
            raise
        return state

    def _load(self) -> None:
        for leftover in self._path.parent.glob(f"{self._path.name}.tmp-*"):
            leftover.unlink()
        damage = ""
        try:
            content = load(self._path)
        except Damaged as trouble:
            content, damage = None, trouble.why
        self._take(content or self._recovered(damage))

    def _recovered(self, damage: str) -> Content:
        """What to go on from without the file itself; `damage`: why it cannot be used, empty where it is gone."""
        previous = beside(self._path, ".prev")
        try:
            content = load(previous)
        except Damaged:
            content = None
        if not damage and not previous.exists():
            return Content()  # the first start
        kept = f" The damaged file is kept as {set_aside(self._path)}." if damage else ""
        state = f"{self._path} {f'is damaged ({damage})' if damage else 'is gone'}"
        if content is not None:
            self._path.unlink(missing_ok=True)
            self.warning = f"{state}; the previous generation is used.{kept}"
            return content
        self.warning = (
            f"{state} and there is no previous generation that can be read; the memory is rebuilt from GitHub and "
            f"no effect is repeated.{kept}"
        )
        content = Content(rest={_LOST: True})
        replace(self._path, content.encoded())  # at once: a start that fails from here on must not hide the loss
        return content

    def _take(self, content: Content) -> None:
        self._jobs, self._repos = content.jobs, content.repos
        self._unknown, self._generation, self._rest = content.unknown, content.generation, content.rest

    @property
    def pauses(self) -> dict[str, Pause]:
        """What the whole daemon waits for, by what is missing."""
        with self._mutex:
            return _pauses(self._rest)

    def put_pause(self, pause: Pause) -> None:
        """Remember that `pause.what` is missing, durably."""
        with self._mutex:
            self._put_pauses({**self.pauses, pause.what: dataclasses.replace(pause, reason=OURS.text(pause.reason))})

    def end_pause(self, what: str) -> None:
        """It is there again."""
        with self._mutex:
            self._put_pauses({k: p for k, p in self.pauses.items() if k != what})

    def _put_pauses(self, pauses: dict[str, Pause]) -> None:
        rest = {**self._rest, _PAUSES: [dataclasses.asdict(p) for p in pauses.values()]}
        self._save(self._jobs, self._repos, rest)

    @property
    def asides(self) -> tuple[Aside, ...]:
        """The repositories that are not served."""
        with self._mutex:
            return _asides(self._rest)

    def note_asides(self, asides: Iterable[Aside]) -> None:
        """Remember these instead, as `note`."""
        with self._mutex:
            self._refuse_closed()
            told = [dataclasses.asdict(dataclasses.replace(a, reason=OURS.text(a.reason))) for a in asides]
            self._rest, self._behind = {**self._rest, _ASIDES: told}, True

    @property
    def spent(self) -> tuple[Spent, ...]:
        """What agent runs took of late, and what is set aside for those under way."""
        with self._mutex:
            return _spent(self._rest)

    def spend(self, change: Callable[[tuple[Spent, ...]], tuple[Spent, ...]]) -> None:
        """Remember what `change` makes of `spent`, as `note`; nobody changes it in between."""
        with self._mutex:
            self._refuse_closed()
            entries = change(self.spent)
            self._rest, self._behind = {**self._rest, _SPENT: [dataclasses.asdict(e) for e in entries]}, True

    def trouble(self) -> str:
        """Why changes cannot be written, "" when they can; while they cannot, it is tried once a minute."""
        with self._mutex:
            if self._trouble and time.monotonic() >= self._tried_at + NO_ROOM:
                with contextlib.suppress(Retry):
                    self._save(self._jobs, self._repos)
            return self._trouble

    def rebuilt_for(self, name: str) -> bool:
        """Whether what was known of this repository was lost, and no good look at it has been remembered since."""
        with self._mutex:
            return bool(self._rest.get(_LOST)) and name not in self._repos

    @property
    def jobs(self) -> dict[str, Job]:
        """A copy of all jobs by key."""
        with self._mutex:
            return dict(self._jobs)

    def job(self, key: str) -> Job | None:
        with self._mutex:
            return self._jobs.get(key)

    def put(self, job: Job) -> None:
        """Remember `job` durably, without the secrets in what others wrote."""
        with self._mutex:
            self._save(self._with(job), self._repos)

    def note(self, job: Job) -> None:
        """Remember `job`, on the disk with the next durable change of anything: a crash before that loses this one."""
        with self._mutex:
            self._refuse_closed()
            self._jobs, self._behind = self._with(job), True

    def _with(self, job: Job) -> dict[str, Job]:
        return {**self._jobs, job.key: _redacted(job, self._jobs.get(job.key))}

    def drop(self, key: str) -> None:
        """Forget a job durably."""
        with self._mutex:
            self._save({k: j for k, j in self._jobs.items() if k != key}, self._repos)
            self._unknown.pop("job:" + key, None)

    def repo(self, name: str) -> RepoMemory | None:
        with self._mutex:
            return self._repos.get(name)

    def put_repo(self, memory: RepoMemory) -> None:
        """Remember what a poll taught; written only when it taught something."""
        with self._mutex:
            if self._repos.get(memory.name) != memory:
                self._save(self._jobs, {**self._repos, memory.name: memory})

    def beat(self, quota: Quota | None = None) -> None:
        """Leave the time of this poll where `status` finds it; the file is written only when it is behind."""
        self._catch_up()
        polled.leave(beside(self._path, ".polled"), quota)

    def apply(self, verb: str, key: str) -> None:
        """A person's word: `retry` wakes a job that is parked or waits, `clear` forgets it."""
        with self._mutex:
            job = self._jobs.get(key)
            if verb == "clear":
                self.drop(key)
            elif job is not None and job.status in (Status.PARKED, Status.WAITING):
                self.put(_woken(job))

    def _save(self, jobs: dict[str, Job], repos: dict[str, RepoMemory], rest: dict[str, Any] | None = None) -> None:
        """The memory is these from now on; unchanged, and Retry, when they cannot be written (disk full)."""
        self._refuse_closed()
        rest = self._rest if rest is None else rest
        self._generation += 1
        try:
            replace(self._path, Content(jobs, repos, self._unknown, self._generation, rest).encoded(self._texts))
        except OSError as error:
            self._tried_at = time.monotonic()
            self._trouble = f"{self._path} cannot be written: {error.strerror}"
            raise Retry(self._trouble, NO_ROOM) from error
        self._trouble, self._behind = "", False
        self._jobs, self._repos, self._rest = jobs, repos, rest

    def _refuse_closed(self) -> None:
        if self._fd is None:
            raise Stopped("the state file is closed")

    def _catch_up(self) -> None:
        with self._mutex, contextlib.suppress(Retry):  # told by `trouble`, which tries again
            if self._behind and self._fd is not None:
                self._save(self._jobs, self._repos)

    def close(self) -> None:
        """Write what was only noted, and let go of the lock."""
        with self._mutex:
            if self._fd is not None:
                self._catch_up()
                os.ftruncate(self._fd, 0)
                os.close(self._fd)
                self._fd = None

    def requests(self) -> list[tuple[Path, str, str]]:
        """The `retry` and `clear` that people ask for, oldest first: (what `obeyed` wants, verb, job key)."""
        found = []
        for file in sorted(beside(self._path, ".requests").glob("*.json")):
            try:
                data = json.loads(file.read_text())
                found.append((file, str(data["verb"]), str(data["key"])))
            except (OSError, ValueError, KeyError, TypeError):
                self.obeyed(file)  # nothing that could be obeyed, and it would be in the way for ever
        return found

    def obeyed(self, request: Path) -> None:
        """It is done: forget that it was asked for."""
        with contextlib.suppress(OSError):
            request.unlink()


def _redacted(job: Job, before: Job | None) -> Job:
    """`job` without secrets; what it has from the record of `before` was looked at then."""
    old: dict[str, Any] = {**vars(before), **before.facts} if before else {}

    def clean(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value if old.get(name) is value else OURS.every(value) for name, value in values.items()}

    words = {"title": job.title, "reason": job.reason, "summary": job.summary}
    return dataclasses.replace(job, facts=clean(job.facts), **clean(words))


def _spent(rest: Mapping[str, Any]) -> tuple[Spent, ...]:
    known = {field.name for field in dataclasses.fields(Spent)}
    return tuple(Spent(**{k: v for k, v in data.items() if k in known}) for data in rest.get(_SPENT, ()))


def _asides(rest: Mapping[str, Any]) -> tuple[Aside, ...]:
    known = {field.name for field in dataclasses.fields(Aside)}
    return tuple(Aside(**{k: v for k, v in data.items() if k in known}) for data in rest.get(_ASIDES, ()))


def _pauses(rest: Mapping[str, Any]) -> dict[str, Pause]:
    known = {field.name for field in dataclasses.fields(Pause)}
    found = (Pause(**{k: v for k, v in data.items() if k in known}) for data in rest.get(_PAUSES, ()))
    return {pause.what: pause for pause in found}


def _woken(job: Job) -> Job:
    """From the start, once more; only the sticky comment is kept, so that it is edited and not repeated.

    A merge that was asked of GitHub already goes on where it is: it must be read, not begun again.
    """
    if job.kind is Kind.MERGE and (job.merge_sha or "merge" in job.effects):
        return dataclasses.replace(job, status=Status.WAITING, not_before=0.0, failures=0, crashes=[])
    return dataclasses.replace(
        job,
        status=Status.WAITING,
        phase="",
        not_before=0.0,
        failures=0,
        continuations=0,
        crashes=[],
        reason="",
        attempt=job.attempt + 1,
        effects={k: v for k, v in job.effects.items() if k == "sticky"},
        facts={**job.facts, "retried": True},
    )


def ask(path: Path, verb: str, key: str) -> str:
    """`retry` or `clear` one job: through the running daemon, else on the file itself. A sentence to print."""
    path = path.absolute()
    running = holder(path)
    if running is None:
        state = State.open(path)
        try:
            state.apply(verb, key)
        except Retry as trouble:
            raise Missing(f"{trouble}. Make room and try again.") from trouble
        finally:
            state.close()
        return f"{verb} {key}: done; the daemon is not running, `orchestrator run` goes on with it."
    folder = beside(path, ".requests")
    folder.mkdir(mode=0o700, exist_ok=True)
    replace(folder / f"{time.time_ns()}.json", json.dumps({"verb": verb, "key": key}).encode())
    if running.pid:
        os.kill(running.pid, signal.SIGUSR1)
    return f"{verb} {key}: the running daemon (pid {running.pid}) was told and acts at once."
