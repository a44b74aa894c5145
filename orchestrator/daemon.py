"""The loop: look, decide, start, stop; and the way out.

One thread polls; every job has a thread of its own. Agents share `MAX_CONCURRENT` slots, merges need none.
A poll of one repository that fails is logged and tried again; it stops neither the others nor the jobs.
The main thread does nothing but hear signals (`serve`), so that a request without an answer delays no stop.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator import copying, process, texts
from orchestrator.agents.base import Agent
from orchestrator.agents.claude import Claude
from orchestrator.allowance import Allowance
from orchestrator.asides import Asides
from orchestrator.chores import Chores
from orchestrator.clock import Clock, Stop, SystemClock
from orchestrator.credentials import agent_environ
from orchestrator.decide.schedule import Need, runnable
from orchestrator.decide.triggers import Cancel
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.run import version as git_version
from orchestrator.github.api import sign_in
from orchestrator.github.scopes import needless, scopes
from orchestrator.github.shut import ISSUES_OFF, MOVED, Shut, absent
from orchestrator.github.transport import ApiError, Moved, Transport, Unknown
from orchestrator.instance import instance_id
from orchestrator.jobs.desk import Desk
from orchestrator.log import get, of_job
from orchestrator.pace import Pace
from orchestrator.patience import Patience
from orchestrator.pauses import Pauses
from orchestrator.record import Job, Kind, Status
from orchestrator.redactor import OURS
from orchestrator.sandbox import Sandbox, choose
from orchestrator.settings import Settings
from orchestrator.slots import Slots
from orchestrator.state import State
from orchestrator.watch import Watch

_ALIVE = (Status.RUNNING, Status.WAITING)


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
        renew: Callable[[], str] | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Ends what a killed daemon left running, connects and reads who we are; `halt` ends everything.

        `renew` reads the token anew when GitHub does not take it any more. Missing when GitHub refuses the token or
        cannot be reached, or no sandbox works here.
        """
        process.sweep(f"{instance_id(settings.state_file)}-")
        copied = copying.secrets(settings.copy_files) if settings.copy_files else ()
        OURS.know((token, *settings.secrets, *copied), os.environ)
        self.settings = settings
        self.state = state
        self.clock = clock or SystemClock()
        self.halt = halt or Stop()
        self.wake = Stop()
        self.sandbox = sandbox or choose(settings.sandbox, settings.toolchains)
        hosts = settings.agent_allow_hosts
        self.agent = agent or Claude(settings.claude_command, agent_environ(settings), self.sandbox, hosts)
        self.transport = Transport(settings.github_api_url, token, self.clock, self.halt)
        self.slots = Slots(self.clock, self.halt, self._job_ended)
        self.pauses = Pauses(
            state,
            self.agent,
            self.clock,
            self.halt,
            lambda: self.wake.set("a probe ended"),
            settings.worktree_base,
            settings.disk_floor_gb,
            Allowance(state, settings, self.clock),
        )
        self.failed_polls = 0
        self._next_rest = settings.poll_interval
        self._pace = Pace(settings.poll_interval, len(settings.repos), self.transport.public)
        self._patience = Patience(self._pace.interval)
        self._asides = Asides(state, self.clock, settings.repos)
        self.halt.listen(lambda: self.wake.set(self.halt.reason))
        try:
            self.me, answer = sign_in(self.transport)
        except Retry as error:
            raise Missing(f"{settings.github_api_url} cannot be reached: {error}. Check the network.") from error
        self.scopes = scopes(answer)
        self.watches = {
            n: Watch(n, settings, self.transport, state, self.me, token, self.sandbox) for n in settings.repos
        }
        self._chores = Chores(state, self.clock, self.halt, self.transport, list(self.watches.values()), renew)

    def check(self) -> str:
        """git and the agent are there, and a repository that can be read and pushed to. Missing names what lacks.

        The version of the agent. Of a token that may do more than is needed, of an administrator, and of repositories
        that cannot be served the log warns.
        """
        git_version()
        agent = self.agent.check()
        if more := needless(self.scopes):
            what = "whoever steals it can use them; use a fine-grained token for these repositories"
            get().warning("token_may_too_much", scopes=more, what=what)
        closed: dict[str, str] = {}
        for name, watch in self.watches.items():
            try:
                about = watch.greet()
            except (Retry, ApiError, Moved, Missing) as trouble:
                closed[name] = _reason(trouble)
                self._patience.failed(name, self.clock.now(), closed[name], _lasts(trouble))
                continue
            if about.may_admin:
                what = f"GitHub may let {self.me.login} past the rules of branches; use an account that may only write"
                get().warning("account_is_administrator", repo=name, what=what)
        if len(closed) == len(self.watches):
            raise Missing("\n".join(f"{name}: {reason}" for name, reason in closed.items()))
        for name, reason in closed.items():
            self._asides.again(name, reason)
        return agent

    def serves(self, name: str) -> bool:
        """Whether its last look at this repository was good."""
        return self._patience.reachable(name)

    def loop(self, once: bool, after_poll: Callable[[], None] = lambda: None) -> int:
        """Poll until told to stop; the exit code. `once`: one poll, then wait for its jobs."""
        self._chores.count_crashes()
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

    def poll(self) -> None:
        """One look at every repository; starts what is due. Trouble of one repository is logged."""
        self.failed_polls = 0
        if not self._chores.memory_is_written():
            self.failed_polls += 1
            return
        self._chores.refresh_token()
        for name, watch in self.watches.items():
            if self.halt.is_set():
                return
            if not self._patience.due(name, self.clock.now()):
                continue
            try:
                self.failed_polls += not watch.look(self._end)
                self._patience.answered(name)
            except Stopped:
                return
            except (Retry, Unknown, ApiError, Moved, Missing, Refused) as trouble:
                self.failed_polls += 1
                self._patience.failed(name, self.clock.now(), _reason(trouble), _lasts(trouble))
            except Exception as bug:  # noqa: BLE001 - logged whole
                # One repository, or a full disk, must not end the loop and with it everything under way.
                self.failed_polls += 1
                get().exception("poll_broke", repo=name)
                self._patience.failed(name, self.clock.now(), repr(bug), lasting=True)
        self._tell_asides()
        self._next_rest = self._pace.rest(self.transport.quota)
        self.state.beat(self._pace.forecast())
        self._advance()
        self._chores.tidy_up()

    def _end(self, cancel: Cancel) -> None:
        job = self.state.job(cancel.key)
        if not self.slots.stop(cancel.key, cancel.reason) and job and job.status in _ALIVE:
            self._start(job, cancel.reason)

    def _advance(self) -> None:
        """What people asked for on the command line, and whatever can begin now, unless the disk takes nothing."""
        for step in (self._obey, self._dispatch):
            try:
                if self._chores.memory_is_written():
                    step()
            except (Retry, Stopped):
                continue  # the memory could not be written, which is told of when it is looked at next
            except Exception:  # noqa: BLE001 - logged whole
                get().exception("step_broke", step=step.__name__)

    def _tell_asides(self) -> None:
        """Which repositories are not served, and which not wholly."""
        for name, watch in self.watches.items():
            if trouble := self._patience.trouble(name):
                self._asides.begin(name, trouble.reason, lasting=trouble.lasting)
            elif reason := watch.standing.reason:
                self._asides.begin(name, reason)
            elif watch.without_issues:
                self._asides.begin(name, ISSUES_OFF, still="reviews and merges")
            else:
                self._asides.end(name)

    def _dispatch(self) -> None:
        """Give free slots to the jobs whose turn it is."""
        self._tell_asides()
        missing = self.pauses.missing()
        busy, now = self.slots.busy(), self.clock.now()
        jobs = self._workable(busy, now, missing)
        starting = runnable(jobs, busy, now, self.settings.max_concurrent, missing)
        for job in starting:
            if not self.halt.is_set():
                self.watches[job.repo].standing.enters(now)
                self._start(job, "")
        self._chores.notice_standstill(bool(starting or busy or missing), jobs)

    def _workable(self, busy: set[str], now: float, missing: frozenset[Need]) -> list[Job]:
        """The jobs of repositories in which work can go on, and one where it is to be found out whether it can."""
        every = self.state.jobs.values()
        running = [j for j in every if j.key in busy and j.repo in self.watches]
        found = list(running)
        for name, watch in self.watches.items():
            if watch.place is None or not self._patience.reachable(name) or not watch.standing.admits(now):
                continue
            jobs = [j for j in every if j.repo == name and j.key not in busy]
            if watch.without_issues:
                jobs = [j for j in jobs if j.kind is not Kind.IMPLEMENT]
            if watch.standing.reason:
                jobs = runnable([*running, *jobs], busy, now, self.settings.max_concurrent, missing)[:1]
            found += jobs
        return found

    def _job_ended(self) -> None:
        """In the job's own thread, as its last act."""
        self.transport.forget()
        self.wake.set("a job ended")

    def _start(self, job: Job, reason: str) -> None:
        place = self.watches[job.repo].place
        assert place is not None

        def desk(stop: Stop) -> Desk:
            return Desk(job.key, place, self.settings, self.state, self.agent, self.pauses, self.clock, stop, self.halt)

        self.slots.start(job.key, desk, reason)

    def _obey(self) -> None:
        """What people asked for on the command line."""
        for request, verb, key in self.state.requests():
            if verb == "clear":
                self.slots.stop(key, texts.CLEARED)
            if key not in self.slots.busy():  # else its end brings us here again
                self.state.apply(verb, key)
                self.state.obeyed(request)
                get().info("obeyed", verb=verb, **of_job(key))

    def _rest(self) -> None:
        """Until the next poll; a job that ends frees its slot at once, without a request."""
        until = self.clock.now() + self._next_rest
        while (left := until - self.clock.now()) > 0 and not self.halt.is_set():
            if self.clock.wait(left, self.wake):
                self.wake = Stop()
                self._advance()

    def _finish(self, before: dict[str, Job]) -> int:
        """`--once`: every job of this poll to its end, in its turn. `before`: the jobs as they were before it."""
        while not self.halt.is_set():
            if not self.slots.busy():
                self._advance()
                if not self.slots.busy():
                    break
            self.clock.wait(1.0, self.wake)
            self.wake = Stop()
            self._advance()
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
        self.slots.end(lambda keys: [j.run_id for k, j in self.state.jobs.items() if k in keys and j.run_id])
        self.transport.close()
        self.state.close()


def _reason(trouble: Exception) -> str:
    """Why a repository is not served, for a person."""
    if isinstance(trouble, ApiError):
        return absent(trouble.status, trouble.message)
    if isinstance(trouble, Moved):
        return MOVED
    return str(trouble) if _lasts(trouble) else f"{trouble}. Check the network, and GITHUB_API_URL, when that lasts."


def _lasts(trouble: Exception) -> bool:
    """Whether somebody has to do something about it."""
    return isinstance(trouble, (Shut, ApiError, Moved, Missing, Refused))
