"""What a job works with: its record, its effects, its worktree, its agent and its stop."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from structlog.contextvars import bind_contextvars

from orchestrator import copying, process, refusals, texts
from orchestrator.agents.base import Agent
from orchestrator.clock import Clock, Stop
from orchestrator.decide.schedule import Need
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.checkout import Terms
from orchestrator.git.disk import discard
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.worktree import Worktree
from orchestrator.github.api import Api
from orchestrator.github.effects import Effects
from orchestrator.github.together import at_once
from orchestrator.jobs.commands import new_log, new_run, run_command, tear_down
from orchestrator.log import get
from orchestrator.marks import Marks
from orchestrator.model import Actor, PullRequest, Repo
from orchestrator.pauses import Pauses
from orchestrator.ports import lease
from orchestrator.record import Job, Kind, Status
from orchestrator.redactor import OURS
from orchestrator.sandbox import prove
from orchestrator.settings import Settings
from orchestrator.standing import Standing
from orchestrator.state import State
from orchestrator.surroundings import Surroundings, variables

STICKY = "sticky"
PATIENCE = 3  # times that a phase is tried again for the sake of a submodule whose host is out of reach
T = TypeVar("T")
_TREES = {Kind.IMPLEMENT: "issue", Kind.REVIEW: "pr-review", Kind.MERGE: "merge"}


@dataclass(frozen=True)
class Place:
    """One watched repository: how to reach it and where its mirror, worktrees and logs are."""

    repo: Repo
    api: Api
    mirror: Mirror
    folder: Path
    me: Actor
    marks: Marks
    standing: Standing


class CommandFailed(Refused):
    """A set-up or pre-merge command did not pass; `output` is the end of what it said, or of the `what` it left."""

    def __init__(self, reason: str, output: bytes, what: str = "output") -> None:
        super().__init__(reason)
        self.output = output
        self.what = what


class Desk:
    """One job under way. Changes of the record are durable when `keep` returns, others with the next one."""

    def __init__(
        self,
        key: str,
        place: Place,
        settings: Settings,
        state: State,
        agent: Agent,
        pauses: Pauses,
        clock: Clock,
        stop: Stop,
        halt: Stop,
    ) -> None:
        """`stop` ends this job, `halt` the whole daemon (and with it every stop)."""
        self.key = key
        self.place = place
        self.api = place.api
        self.mirror = place.mirror
        self.settings = settings
        self.agent = agent
        self.pauses = pauses
        self.clock = clock
        self.stop = stop
        self.halt = halt
        self._state = state
        self.effects = Effects(place.api, place.marks, lambda: self.job, state.put, state.note, clock)

    @property
    def job(self) -> Job:
        """The record as it is now."""
        job = self._state.job(self.key)
        if job is None:
            raise Stopped(texts.CLEARED)
        return job

    def keep(self, **changes: Any) -> Job:
        """Change the record, durably; the new record."""
        job = replace(self.job, updated_at=self.clock.now(), **changes)
        self._state.put(job)
        return job

    def soon(self, **changes: Any) -> Job:
        """Change the record, durable with the next `keep`; for what a crash before lets us find anew."""
        job = replace(self.job, updated_at=self.clock.now(), **changes)
        self._state.note(job)
        return job

    def turn(self, phase: str) -> None:
        """Heard and acknowledged: the rest begins with `phase` when it is this job's turn (`decide.schedule`)."""
        self.keep(status=Status.WAITING, phase=phase, not_before=0.0, reason=texts.TURN, waits=self.job.waits + 1)

    def note(self, **facts: Any) -> None:
        """Leave facts for a later phase, as `soon`: the phase begins with all of them on the disk."""
        self.soon(facts={**self.job.facts, **facts})

    def check(self) -> None:
        """Stopped when this job was told to stop."""
        if self.stop.is_set():
            raise Stopped(self.stop.reason)

    def wait(self, seconds: float) -> None:
        """Wait, or Stopped as soon as the job is told to stop."""
        if self.clock.wait(seconds, self.stop):
            raise Stopped(self.stop.reason)

    def at_once(self, read: Callable[[], T]) -> T:
        """What `read` finds on GitHub, with no wait in it (`together`)."""
        return at_once(self.api.transport, self.clock, read)

    def progress(self) -> None:
        """Bring the sticky comment up to date."""
        self.effects.show(STICKY, self.job.number, texts.progress(self.job, self.pauses.why_not(Need.BUDGET)))

    @property
    def tree(self) -> Worktree:
        """The one worktree of this job."""
        return Worktree(self.mirror, self.place.folder / tree_name(self.job))

    def fresh_tree(self, sha: str, branch: str | None, stranger_to: str = "", links_out: bool = True) -> Worktree:
        """This job's worktree as it is before any work; the record says which submodules are empty in it.

        `stranger_to`, `links_out`: as in `Terms`.
        """
        terms = Terms(stranger_to, links_out, patient=self.job.failures < PATIENCE)
        lacking = self.tree.create(sha, branch, self.job.base_ref, terms)
        if lacking or self.job.facts.get("lacking"):
            told = [asdict(one) for one in lacking[: texts.LACKING_TOLD]]
            self.note(lacking=told, lacking_more=len(lacking) - len(told))
        return self.tree

    def caused_by(self, pull: PullRequest) -> None:
        """Note who caused the work on this PR: its author, or for one of ours who asked for what it was made for."""
        asked = next((j for j in self._made(pull.number) if j.facts.get("asked_by_id")), None)
        if asked is not None and pull.author == self.place.me:
            self.soon(asked_by=asked.asked_by)
            self.note(asked_by_id=asked.facts["asked_by_id"])
        elif pull.author is not None:
            self.soon(asked_by=pull.author.login)
            self.note(asked_by_id=pull.author.id)

    def own_issues(self) -> list[int]:
        """Open issues that this job's PR was made for: GitHub links none when the base is not the default branch."""
        return [j.number for j in self._made(self.job.number) if self.api.issue(j.number).open]

    def written_bare(self, pull: PullRequest) -> list[list[str]]:
        """What this PR's head, where we made it, wrote without its filter: each path with the filter's name."""
        made = (j.facts for j in self._made(pull.number) if j.head == pull.head_sha)
        return [pair for facts in made for pair in facts.get("unfiltered", ())]

    def _made(self, number: int) -> list[Job]:
        """The jobs that this PR was opened for."""
        jobs = self._state.jobs.values()
        return [j for j in jobs if j.kind is Kind.IMPLEMENT and j.repo == self.job.repo and j.pr == number]

    def made(self, branch: str) -> bool:
        """Whether this daemon made the branch, and for an issue."""
        made = (j for j in self._state.jobs.values() if j.kind is Kind.IMPLEMENT and j.repo == self.job.repo)
        return any(j.branch == branch and j.facts.get("pushed") for j in made)

    def refuse_second_writer(self, pull: PullRequest) -> None:
        """Refused while an agent of ours works on the branch of this PR, or has work that is not pushed yet."""
        if not pull.open or pull.head_repo_id != self.place.repo.id:
            return
        for job in self._state.jobs.values():
            theirs = job.kind is Kind.IMPLEMENT and job.repo == self.job.repo and job.branch == pull.head_ref
            live = job.status in (Status.RUNNING, Status.WAITING)
            if theirs and live and job.facts.get("pushed") != job.head:
                raise Refused(refusals.agent_at_work(job))

    @property
    def around(self) -> Surroundings:
        """What belongs to the worktree beside its files."""
        return Surroundings(self.tree.path)

    def environment(self) -> dict[str, str]:
        """The variables of the worktree that is there, its block of ports among them: for agents as for commands."""
        return self.around.environment(self._told(), self.settings.passed)

    def _told(self) -> dict[str, str]:
        return variables(self.job, lease(self.tree.path, self.settings.worktree_base))

    def clear_place(self) -> None:
        """Before a new worktree takes the place of this job's old one: that is torn down, its work saved first."""
        tree = self.tree
        if self.settings.teardown_commands and self.around.to_tear_down is not None:
            with contextlib.suppress(GitError, OSError):  # then it is set aside as the tear-down leaves it
                tree.save(tree.name, "another attempt took its place")
            tear_down(tree, self.settings, self.halt)

    def furnish(self, copies: bool) -> None:
        """A new worktree gets surroundings of its own, and what the owner copies into each, where it `copies`."""
        folder = self.settings.copy_files
        if folder is None or not copies:
            self.around.begin(())
            return
        OURS.learn(*copying.secrets(folder))
        try:
            files = copying.wanted(folder, self.tree.path)
            self.around.begin([file.as_posix() for file in files])  # first, so that a crash leaves none unknown
            copying.copy(folder, self.tree.path, files)
        except (OSError, ValueError) as error:
            raise Retry(f"COPY_FILES cannot be copied: {error}") from error

    def drop_tree(self) -> None:
        """The outcome stands, whatever happens to the worktree (wrangle#601); the next attempt replaces it anyway."""
        try:
            tear_down(self.tree, self.settings, self.halt)
            self.tree.remove()
            self.around.end()
            discard(self.session_folder)
        except (OSError, GitError, Refused, Retry) as error:
            get().warning("worktree_kept", trouble=str(error))

    def new_run(self) -> str:
        """A run's id; from here on in the log lines."""
        run_id = new_run(self.settings)
        bind_contextvars(run=run_id.rpartition("-")[2][:8])
        return run_id

    @property
    def session_folder(self) -> Path:
        """What the agent's program keeps of this job's session between two runs."""
        return self.place.folder / "sessions" / tree_name(self.job)

    @property
    def history(self) -> Path:
        """Where it stands what was done for this repository, for as long as the operator wants."""
        return self.place.folder / "runs.jsonl"

    def recorded_log(self) -> Path:
        """Where the output of the last run is."""
        return Path(self.job.log)

    def new_log(self, name: str) -> Path:
        """A file for the next output of this job, never one that exists."""
        return new_log(self.place.folder, name)

    def commands(self, commands: Sequence[str], log: Path, seconds: float) -> None:
        """Run the operator's commands in the worktree, in order; CommandFailed names the first that does not pass.

        Retry while nothing holds them.
        """
        try:
            prove(self.mirror.sandbox)
        except Missing as trouble:
            raise Retry(str(trouble)) from trouble
        told = self._told()
        self.around.commands_begin(told)
        for number, command in enumerate(commands, 1):
            self.check()
            run_id = self.new_run()
            part = log.with_suffix(f".{number}.log")
            self.keep(run_id=run_id, log=str(part))
            ended = run_command(command, self.tree, told, self.settings, run_id, part, seconds, self.stop)
            self.check()
            output = _end_of(part)
            if ended.cause is process.Cause.TOTAL:
                raise CommandFailed(texts.command_late(command, number, len(commands), seconds), output)
            if ended.cause is not process.Cause.EXITED or ended.code != 0:
                raise CommandFailed(texts.command_failed(command, number, len(commands), ended.code), output)

    def refuse_changes(self, tree: Worktree) -> None:
        """CommandFailed, with the diff, when tracked files are not as they were checked out."""
        changed, shown = tree.modified()
        if changed:
            diff = OURS.octets(shown)
            log = self.new_log(f"{tree.name}-changes")
            log.write_bytes(diff)
            self.keep(log=str(log))
            raise CommandFailed(refusals.files_modified(changed), diff, "diff")


def tree_name(job: Job) -> str:
    """The name of a job's worktree, and the beginning of its logs' names."""
    return f"{_TREES[job.kind]}-{job.number}"


def _end_of(path: Path, size: int = 64_000) -> bytes:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - size))
        return file.read()


def place_folder(base: Path, name: str) -> Path:
    """`base/owner/name`; a name that could leave `base` is refused."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+", name) or ".." in name:
        raise Refused(f"{name} is no repository name")
    return base.absolute() / name


Phase = Callable[[Desk], str | None]
