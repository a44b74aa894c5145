"""One watched repository: look at it, decide, and carry out what the decision says at once.

Guaranteed: what cannot be carried out now holds up none of the other decisions and is offered again at the
next look; the memory of a look is written last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.clock import Stop
from orchestrator.decide.triggers import Begin, Cancel, Decision, Rules, Tell, decide
from orchestrator.decide.verdict import broken
from orchestrator.errors import Retry
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import Identity
from orchestrator.github.api import Api
from orchestrator.github.feed import Feed, comments_wait
from orchestrator.github.transport import ApiError, Moved, Transport, Unknown
from orchestrator.housekeeping import collect
from orchestrator.jobs import asking
from orchestrator.jobs.commands import tear_down
from orchestrator.jobs.desk import STICKY, Place, place_folder, tree_name
from orchestrator.jobs.reading import may_cancel
from orchestrator.log import get, of_job
from orchestrator.marks import Marks, said
from orchestrator.model import IN_PROGRESS, Actor, Comment, Repo, RepoFacts, World
from orchestrator.record import Job, Kind, Status
from orchestrator.sandbox import Sandbox
from orchestrator.settings import Settings
from orchestrator.standing import Standing
from orchestrator.state import RepoMemory, State

KEPT_DONE = 100  # finished jobs kept per repository for `status`
QUIET = 600.0  # seconds that are not decided anew while nothing changes
_DAY = 86400.0
_KEPT_FACTS = frozenset(
    (
        *("failed", "merged_before", "merged_by", "verdict", "findings", "pushed", "label_seen", "answered", "retried"),
        *("asked_by_id", "unfiltered"),
    )
)


class Watch:
    """For the loop's thread alone. `place` is None until the first good look."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        transport: Transport,
        state: State,
        me: Actor,
        token: str,
        sandbox: Sandbox,
    ) -> None:
        self.name = name
        self.place: Place | None = None
        self._settings = settings
        self._state = state
        self._me = me
        self._token = token
        self._sandbox = sandbox
        self._began = time.time()
        self.standing = Standing()
        self._feed = Feed(Api(transport, name), settings.ready_label, IN_PROGRESS)
        self._quiet = _Quiet(settings.review_debounce if settings.review_prs != "off" else 0.0)

    @property
    def _api(self) -> Api:
        return self._feed.api

    @property
    def without_issues(self) -> bool:
        """Whether only pull requests are looked at, since there are no issues."""
        return self._feed.without_issues

    def greet(self) -> RepoFacts:
        """What the repository allows, at the start. Raises as `Feed.look`."""
        return self._feed.greet(self._state.repo(self.name), self._others())

    def _others(self) -> dict[int, str]:
        """The repositories that are known by the other names that are watched: work in one goes by one name."""
        own = self._state.repo(self.name)
        before = self._settings.repos[: self._settings.repos.index(self.name)]
        known = ((name, self._state.repo(name)) for name in self._settings.repos if name != self.name)
        # Of two that are known as the same one, the first that is set counts.
        return {m.id: name for name, m in known if m and (own is None or own.id != m.id or name in before)}

    def renew(self, token: str) -> None:
        """Use this token from the next look on."""
        self._token = token
        self.place = None

    def look(self, end: Callable[[Cancel], None]) -> bool:
        """One poll; whether all of it could be done. `end` stops a job. Raises as `Feed.look`."""
        jobs = {k: j for k, j in self._state.jobs.items() if j.repo == self.name}
        busy = frozenset(j.number for j in jobs.values() if _is_claimed(j))
        memory = self._state.repo(self.name)
        ended = frozenset(j.number for j in jobs.values() if _is_over(j))
        if self.standing.take_doubt():
            self._feed.doubt()
        adopt = self._state.rebuilt_for(self.name)
        world, memory = self._feed.look(memory, busy, adopt, ended, self._others())
        if self.place is None or self.place.repo != world.repo:
            self.place = self._place(world.repo)
        world = replace(world, revoked=self._revoked(jobs))
        if self._quiet.holds(world, jobs, memory):
            return True
        newest = memory.cursor
        decisions, memory = decide(world, jobs, memory, self._rules(), self._me.id)
        if memory.cursor < newest:
            memory = comments_wait(memory)
        done = [self._carry_out(decision, end) for decision in decisions]
        if all(done):
            # Last: what is not acknowledged by now is offered again.
            self._state.put_repo(memory)
            self._prune(memory, world.now)
            self._quiet.note(world, due=bool(decisions))
        return all(done)

    def _rules(self) -> Rules:
        s = self._settings
        return Rules(
            review=s.review_prs,
            review_label=s.review_label,
            debounce=s.review_debounce,
            merge=s.auto_merge_enabled,
            trigger=s.merge_comment_trigger,
            hold_label=s.hold_label,
            bots=asking.trust(s).bots,
        )

    def _revoked(self, jobs: Mapping[str, Job]) -> frozenset[int]:
        """Issues that an agent works on for somebody who may not ask any more. Unreadable: its next step asks again."""
        found = set()
        for job in jobs.values():
            try:
                if _is_at_work(job) and asking.right_lost(self._api.access_again, self._settings, job):
                    found.add(job.number)
            except (Retry, ApiError, Moved) as trouble:
                get().warning("right_unread", **of_job(job.key), reason=str(trouble))
        return frozenset(found)

    def _place(self, repo: Repo) -> Place:
        folder = place_folder(self._settings.worktree_base, self.name)
        identity = Identity(self._me.login, f"{self._me.id}+{self._me.login}@users.noreply.github.com")
        cone, access = self._settings.sparse_folders, Access(repo.clone_url, self._token)
        path, default = folder / "mirror.git", repo.default_branch
        modules = self._settings.submodules == "auto"
        mirror = Mirror(path, access, identity, sandbox=self._sandbox, cone=cone, default=default, submodules=modules)
        return Place(repo, self._api, mirror, folder, self._me, Marks(self._token, self._me.id), self.standing)

    def _carry_out(self, decision: Decision, end: Callable[[Cancel], None]) -> bool:
        """Whether it is done."""
        try:
            match decision:
                case Begin(job):
                    self._state.note(job)
                    get().info("job_due", **of_job(job.key), title=job.title)
                case Cancel():
                    if self._may_end(decision):
                        end(decision)
                case Tell(comment, text):
                    self._tell(comment, text)
        except (Retry, Unknown, ApiError, Moved) as trouble:
            get().warning("decision_waits", repo=self.name, decision=type(decision).__name__, reason=str(trouble))
            return False
        return True

    def _may_end(self, cancel: Cancel) -> bool:
        """Asked for by somebody who may; or the list was not late and the PR is really not what was pinned."""
        job = self._state.job(cancel.key)
        if job is None:
            return False
        if job.kind is Kind.IMPLEMENT:
            return True  # the feed has looked at the issue itself
        pull = self._api.pull(job.number)
        if cancel.by is not None:
            return may_cancel(self._api, pull, cancel.by)
        hold = self._settings.hold_label if job.kind is Kind.MERGE else ""
        return bool(broken(pull, job.head or job.trigger, job.base_ref or pull.base_ref, hold))

    def _tell(self, comment: Comment, text: str) -> None:
        """Answer once, and only somebody who may ask."""
        if comment.author is None or not self._api.permission(comment.author).may_write:
            return
        marks = Marks(self._token, self._me.id)
        mark = marks.reply(self.name, comment.number, comment.id)
        ours = [c for c in self._api.comments(comment.number) if marks.fit(c)]
        if not any(c.body.startswith(mark) or said(c) == text for c in ours):
            try:
                self._api.comment(comment.number, f"{mark}\n{text}")
            except ApiError as error:
                # A definite no (a locked conversation), so asking at each poll would only hold up the others.
                get().warning("reply_refused", repo=self.name, item=str(comment.number), answer=str(error))

    def _prune(self, memory: RepoMemory, now: float) -> None:
        """What is over takes little room, and none after a while: the file is written whole at every change."""
        jobs = [j for j in self._state.jobs.values() if j.repo == self.name]
        is_open = {j.key for j in jobs if str(j.number) in memory.heads}
        for job in jobs:
            if job.status is Status.PARKED and job.kind is not Kind.IMPLEMENT and job.key not in is_open:
                self._state.note(replace(job, status=Status.DONE))  # nobody is needed for it any more
            elif job.status is Status.DONE and job != _slim(job):
                self._state.note(_slim(job))
        # The review of an open PR stays: it is the proof that this head was reviewed.
        done = [j for j in jobs if j.status is Status.DONE and not (j.kind is Kind.REVIEW and j.key in is_open)]
        done.sort(key=lambda j: j.updated_at)
        old = [j for j in done if j.updated_at < now - self._settings.keep_days * _DAY]
        for job in {j.key: j for j in (*done[:-KEPT_DONE], *old)}.values():
            self._state.drop(job.key)

    def tidy_up(self, stop: Stop) -> None:
        """Collect what nobody needs any more; for a thread of its own. `stop` ends what it runs."""
        place, settings = self.place, self._settings
        if place is not None:
            jobs = [j for j in self._state.jobs.values() if j.repo == self.name]
            live = {tree_name(j) for j in jobs if j.status in (Status.RUNNING, Status.WAITING)}
            collect(
                place.folder,
                place.mirror,
                live,
                time.time(),
                settings.keep_days,
                self._began,
                lambda tree: tear_down(tree, settings, stop),
            )


def _slim(job: Job) -> Job:
    """What `status` and a later wish for the same item need of one that is over."""
    kept = {k: v for k, v in job.facts.items() if k in _KEPT_FACTS}
    return replace(job, summary="", facts=kept, effects={k: v for k, v in job.effects.items() if k == STICKY})


class _Quiet:
    """Whether a look can make nothing due, so that an idle poll costs the same whatever is open.

    It cannot when all is as it was at an earlier look that made nothing due, after the last time that matters.
    """

    def __init__(self, debounce: float) -> None:
        self._debounce = debounce
        self._known: tuple[World, Mapping[str, Job], RepoMemory] | None = None
        self._since = 0.0  # when all was like this first, on GitHub's clock
        self._until = 0.0

    def holds(self, world: World, jobs: Mapping[str, Job], memory: RepoMemory) -> bool:
        known = (replace(world, now=0.0), jobs, memory)
        if known != self._known:
            self._known, self._since, self._until = known, world.now, 0.0
        return world.now < self._until

    def note(self, world: World, due: bool) -> None:
        """What was decided, now that all of it is done."""
        if not due and world.now >= self._since + self._debounce:
            self._until = world.now + QUIET


def _is_over(job: Job) -> bool:
    return job.kind is Kind.IMPLEMENT and job.status in (Status.PARKED, Status.DONE)


def _is_at_work(job: Job) -> bool:
    return job.kind is Kind.IMPLEMENT and job.status is Status.RUNNING and "words" in job.facts


def _is_claimed(job: Job) -> bool:
    """Under way, and our label is on the issue, so its absence means something."""
    live = job.kind is Kind.IMPLEMENT and job.status in (Status.RUNNING, Status.WAITING)
    return live and any(k.startswith("unready-") and done for k, done in job.effects.items())
