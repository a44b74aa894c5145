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
from orchestrator.chores import Chores
from orchestrator.clock import Clock, Stop, SystemClock
from orchestrator.credentials import agent_environ
from orchestrator.decide.schedule import runnable
from orchestrator.decide.triggers import Cancel
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.run import version as git_version
from orchestrator.github.api import Api, sign_in
from orchestrator.github.scopes import needless, scopes
from orchestrator.github.transport import ApiError, Moved, Transport, Unknown
from orchestrator.instance import instance_id
from orchestrator.jobs.desk import Desk
from orchestrator.log import get, of_job
from orchestrator.pace import Pace
from orchestrator.patience import Patience
from orchestrator.pauses import Pauses
from orchestrator.record import Job, Status
from orchestrator.redactor import OURS
from orchestrator.sandbox import Sandbox, choose
from orchestrator.settings import Settings
from orchestrator.slots import Slots
from orchestrator.state import State
from orchestrator.watch import Watch


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
        """git and the agent are there, every repository can be read and pushed to. Missing names the first lack.

        The version of the agent. Of a token that may do more than is needed, and of an administrator, the log warns.
        """
        git_version()
        agent = self.agent.check()
        if more := needless(self.scopes):
            what = "whoever steals it can use them; use a fine-grained token for these repositories"
            get().warning("token_may_too_much", scopes=more, what=what)
        for name in self.settings.repos:
            try:
                rights = Api(self.transport, name).rights()
            except (ApiError, Moved) as error:
                raise Missing(
                    f"{name}: {error}. Check GITHUB_REPO, and that the token may see the repository "
                    "(`gh auth refresh -s repo`)."
                ) from error
            except Retry as error:
                raise Missing(f"{name} cannot be read: {error}. Check GITHUB_API_URL and the network.") from error
            if "push" not in rights:
                raise Missing(f"The token of {self.me.login} may not push to {name}. Give it write permission there.")
            if "admin" in rights:
                what = f"GitHub may let {self.me.login} past the rules of branches; use an account that may only write"
                get().warning("account_is_administrator", repo=name, what=what)
        return agent

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
                self._patience.failed(name, self.clock.now(), str(trouble))
            except Exception as bug:  # noqa: BLE001 - logged whole
                # One repository, or a full disk, must not end the loop and with it everything under way.
                self.failed_polls += 1
                get().exception("poll_broke", repo=name)
                self._patience.failed(name, self.clock.now(), repr(bug))
        self._next_rest = self._pace.rest(self.transport.quota)
        self.state.beat(self._pace.forecast())
        self._advance()
        self._chores.tidy_up()

    def _end(self, cancel: Cancel) -> None:
        job = self.state.job(cancel.key)
        if not self.slots.stop(cancel.key, cancel.reason) and job and job.status in (Status.RUNNING, Status.WAITING):
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

    def _dispatch(self) -> None:
        """Give free slots to the jobs whose turn it is."""
        reachable = {n for n, watch in self.watches.items() if watch.place and self._patience.reachable(n)}
        missing = self.pauses.missing()
        busy, now = self.slots.busy(), self.clock.now()
        jobs = [j for j in self.state.jobs.values() if j.repo in reachable]
        starting = runnable(jobs, busy, now, self.settings.max_concurrent, missing)
        for job in starting:
            if not self.halt.is_set():
                self._start(job, "")
        self._chores.notice_standstill(bool(starting or busy or missing))

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
