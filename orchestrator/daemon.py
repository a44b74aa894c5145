"""The loop: look, decide, start, stop; and the way out.

One thread polls; every job has a thread of its own. Agents share `MAX_CONCURRENT` slots, merges need none.
A poll of one repository that fails is logged and tried again; it stops neither the others nor the jobs.

Guaranteed: the main thread does nothing but hear signals, so that a request without an answer delays no stop;
`STOP_WITHIN` after it no process of a run and no git child is left, whatever their threads wait for. What a
thread was about to record is then lost, as in a crash, and the next start looks for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from orchestrator import process, texts
from orchestrator.agents.base import Agent
from orchestrator.agents.claude import Claude
from orchestrator.clock import Clock, Stop, SystemClock
from orchestrator.decide.schedule import runnable
from orchestrator.decide.triggers import Begin, Cancel, Rules, Tell, decide
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import Identity, end_all
from orchestrator.git.run import version as git_version
from orchestrator.github.api import Api, me
from orchestrator.github.feed import Feed
from orchestrator.github.transport import ApiError, Moved, Transport, Unknown
from orchestrator.jobs.desk import Desk, Place, place_folder
from orchestrator.jobs.merge import may_cancel
from orchestrator.jobs.perform import perform
from orchestrator.log import get
from orchestrator.model import IN_PROGRESS, Actor, Comment, Job, Kind, PullRequest, Repo, Status
from orchestrator.settings import Settings, agent_environ
from orchestrator.state import RepoMemory, State

STOP_WITHIN = 3.7  # seconds for everything to end after a signal; an agent that ignores SIGTERM takes 3
GRACE = 1.0  # of these, for a poll and for git commands to come to their own end
KEPT_DONE = 200  # finished jobs kept per repository for `status`


class Daemon:
    """All repositories of one token, with one state file."""

    def __init__(
        self,
        settings: Settings,
        token: str,
        state: State,
        agent: Agent | None = None,
        clock: Clock | None = None,
        halt: Stop | None = None,
    ) -> None:
        """Ends what a killed daemon left running, connects and reads who we are; `halt` ends everything.

        Missing when GitHub refuses the token or cannot be reached.
        """
        for job in state.jobs.values():
            if job.run_id and job.status is Status.RUNNING:
                process.sweep(job.run_id)
        self.settings = settings
        self.state = state
        self.clock = clock or SystemClock()
        self.halt = halt or Stop()
        self.wake = Stop()
        self.agent = agent or Claude(settings.claude_command, agent_environ(settings))
        self.transport = Transport(settings.github_api_url, token, self.clock, self.halt)
        self._token = token
        self._running: dict[str, tuple[threading.Thread, Stop]] = {}
        self._lock = threading.Lock()
        self._feeds: dict[str, Feed] = {}
        self._places: dict[str, Place] = {}
        self.failed_polls = 0
        self._closing = threading.Lock()
        self._halted_at = math.inf
        self.halt.listen(self._note_halt)
        self.halt.listen(lambda: self.wake.set(self.halt.reason))
        try:
            self.me = me(self.transport)
        except Retry as error:
            raise Missing(f"{settings.github_api_url} cannot be reached: {error}. Check the network.") from error

    def check(self) -> None:
        """git and the agent are there, every repository can be read and pushed to. Missing names the first lack."""
        git_version()
        self.agent.version()
        for name in self.settings.repos:
            try:
                allowed = Api(self.transport, name).may_push()
            except (ApiError, Moved) as error:
                raise Missing(
                    f"{name}: {error}. Check GITHUB_REPO, and that the token may see the repository "
                    "(`gh auth refresh -s repo`)."
                ) from error
            except Retry as error:
                raise Missing(f"{name} cannot be read: {error}. Check GITHUB_API_URL and the network.") from error
            if not allowed:
                raise Missing(f"The token of {self.me.login} may not push to {name}. Give it write permission there.")

    def poll(self) -> None:
        """One look at every repository; starts what is due. Trouble of one repository is logged."""
        self._obey()
        self.failed_polls = 0
        for name in self.settings.repos:
            if self.halt.is_set():
                return
            try:
                self._poll(name)
            except Stopped:
                return
            except (Retry, Unknown, ApiError, Moved, Missing, Refused) as trouble:
                self.failed_polls += 1
                get().warning("poll_failed", repo=name, reason=str(trouble))
            except Exception:  # noqa: BLE001 - logged whole
                # One repository, or a full disk, must not end the loop and with it everything under way.
                self.failed_polls += 1
                get().exception("poll_broke", repo=name)
        self.state.beat()
        self._dispatch()

    def _poll(self, name: str) -> None:
        api = Api(self.transport, name)
        feed = self._feeds.setdefault(name, Feed(api, self.settings.ready_label, IN_PROGRESS))
        jobs = {k: j for k, j in self.state.jobs.items() if j.repo == name}
        busy = frozenset(
            j.number
            for j in jobs.values()
            if j.kind is Kind.IMPLEMENT and j.status in (Status.RUNNING, Status.WAITING) and _claimed(j)
        )
        memory = self.state.repo(name)
        world, memory = feed.look(memory, busy, adopt=self.state.rebuilt and name not in self._places)
        if name not in self._places:
            self._places[name] = self._place(api, world.repo)
        decisions, memory = decide(world, jobs, memory, self._rules(), self.me.id)
        for decision in decisions:
            match decision:
                case Begin(job):
                    self.state.put(job)
                    get().info("job_due", repo=name, item=job.key.split("#", 1)[1], title=job.title)
                case Cancel(key, reason, by):
                    self._cancel(api, key, reason, by)
                case Tell(comment, text):
                    self._tell(api, comment, text)
        # Last: what is not acknowledged by now is offered again.
        self.state.put_repo(memory)
        self._prune(name, memory)

    def _rules(self) -> Rules:
        s = self.settings
        return Rules(s.review_prs, s.review_label, s.review_debounce, s.auto_merge_enabled, s.merge_comment_trigger)

    def _place(self, api: Api, repo: Repo) -> Place:
        folder = place_folder(self.settings.worktree_base, api.name)
        identity = Identity(self.me.login, f"{self.me.id}+{self.me.login}@users.noreply.github.com")
        mirror = Mirror(folder / "mirror.git", Access(repo.clone_url, self._token), identity)
        return Place(repo, api, mirror, folder, self.me, self._token)

    def _cancel(self, api: Api, key: str, reason: str, by: Actor | None) -> None:
        job = self.state.job(key)
        if job is None or (by is not None and not may_cancel(api, api.pull(job.number), by)):
            return
        if by is None and job.kind is Kind.MERGE and not _differs(api.pull(job.number), job):
            return  # the list was late
        with self._lock:
            running = self._running.get(key)
        if running is not None:
            running[1].set(reason)
        elif job.status in (Status.RUNNING, Status.WAITING):
            self._start(job, reason)

    def _tell(self, api: Api, comment: Comment, text: str) -> None:
        """Answer once, and only somebody who may ask."""
        if comment.author is None or not api.permission(comment.author).may_write:
            return
        mark = f"{texts.MARK}{api.name}#{comment.number}:reply-{comment.id} -->"
        if not any(c.body.startswith(mark) and texts.is_ours(c, self.me.id) for c in api.comments(comment.number)):
            try:
                api.comment(comment.number, f"{mark}\n{text}")
            except ApiError as error:
                # A definite no (a locked conversation), so asking at each poll would only hold up the others.
                get().warning("reply_refused", repo=api.name, number=comment.number, answer=str(error))

    def _prune(self, name: str, memory: RepoMemory) -> None:
        # The review of an open PR stays: it is the proof that this head was reviewed.
        done = [
            j
            for j in self.state.jobs.values()
            if j.repo == name
            and j.status is Status.DONE
            and not (j.kind is Kind.REVIEW and str(j.number) in memory.heads)
        ]
        for job in sorted(done, key=lambda j: j.updated_at)[:-KEPT_DONE]:
            self.state.drop(job.key)

    def _dispatch(self) -> None:
        """Give free slots to the jobs whose turn it is."""
        with self._lock:
            running = set(self._running)
        reachable = [j for j in self.state.jobs.values() if j.repo in self._places]
        for job in runnable(reachable, running, self.clock.now(), self.settings.max_concurrent):
            if not self.halt.is_set():
                self._start(job, "")

    def _start(self, job: Job, reason: str) -> None:
        """A thread for the job; with a `reason` it is told to stop before it begins."""
        stop = Stop()
        if reason:
            stop.set(reason)
        undo = self.halt.listen(lambda: stop.set(self.halt.reason))
        desk = Desk(job.key, self._places[job.repo], self.settings, self.state, self.agent, self.clock, stop, self.halt)

        def work() -> None:
            try:
                perform(desk)
            finally:
                undo()
                with self._lock:
                    del self._running[job.key]
                self.wake.set("a job ended")

        with self._lock:
            if job.key not in self._running:
                self._running[job.key] = (self.clock.start(work, job.key), stop)

    def _obey(self) -> None:
        """What people asked for on the command line."""
        for verb, key in self.state.requests():
            with self._lock:
                running = self._running.get(key)
            if running is not None and verb == "clear":
                running[1].set(texts.CLEARED)
                running[0].join(STOP_WITHIN)
            if running is None or verb == "clear":
                self.state.apply(verb, key)
                get().info("obeyed", verb=verb, item=key)

    def running(self) -> list[threading.Thread]:
        """The threads of the jobs under way."""
        with self._lock:
            return [thread for thread, _ in self._running.values()]

    def loop(self, once: bool, after_poll: Callable[[], None] = lambda: None) -> int:
        """Poll until told to stop; the exit code. `once`: one poll, then wait for its jobs."""
        while not self.halt.is_set():
            self.wake = Stop()
            before = self.state.jobs
            self.poll()
            after_poll()
            if once:
                return self._finish(before)
            self._rest()
        self.close()
        return 0

    def _rest(self) -> None:
        """Until the next poll; a job that ends frees its slot at once, without a request."""
        until = self.clock.now() + self.settings.poll_interval
        while (left := until - self.clock.now()) > 0 and not self.halt.is_set():
            if self.clock.wait(left, self.wake):
                self.wake = Stop()
                self._obey()
                self._dispatch()

    def _finish(self, before: dict[str, Job]) -> int:
        """`--once`: every job of this poll to its end, in its turn. `before`: the jobs as they were before it."""
        while not self.halt.is_set():
            threads = self.running()
            if not threads:
                self._dispatch()
                if not self.running():
                    break
            self.clock.wait(1.0, self.wake)
            self.wake = Stop()
            self._dispatch()
        left = [
            j
            for j in self.state.jobs.values()
            if j != before.get(j.key) and (j.status is not Status.DONE or j.facts.get("failed"))
        ]
        self.close()
        return 1 if left or self.failed_polls else 0

    def close(self) -> None:
        """No new work, running jobs told to stop and waited for, connections and state closed; again is harmless."""
        self.halt.set("the daemon stops")
        self._note_halt()
        with self._closing:
            self._join(GRACE)
            end_all()
            self._join(STOP_WITHIN)
            with self._lock:
                hanging = set(self._running)
            for job in self.state.jobs.values():
                if job.key in hanging and job.run_id:
                    process.sweep(job.run_id)
            self.transport.close()
            self.state.close()

    def _note_halt(self) -> None:
        self._halted_at = min(self._halted_at, time.monotonic())

    def _join(self, within: float) -> None:
        """Wait for the jobs' threads until `within` seconds after the halt."""
        for thread in self.running():
            thread.join(max(0.0, self._halted_at + within - time.monotonic()))


def _differs(pull: PullRequest, job: Job) -> bool:
    """The PR is no longer what the merge attempt pinned."""
    return not pull.open or pull.draft or pull.head_sha != job.head or pull.base_ref != job.base_ref


def _claimed(job: Job) -> bool:
    """Our label is on the issue, so its absence means something."""
    return any(k.startswith("unready-") and done for k, done in job.effects.items())
