"""What the loop looks after besides polling: its memory, its token, what is left lying, and whether it stands still.

Guaranteed: no chore keeps another one, or the work, from going on; each trouble is said once, not at every poll.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from orchestrator.clock import Clock, Stop
from orchestrator.decide.schedule import CRASH_WINDOW, SUSPECT
from orchestrator.errors import Misconfigured, Missing, Retry, Stopped
from orchestrator.github.transport import Transport
from orchestrator.housekeeping import sweep_scratch
from orchestrator.log import get
from orchestrator.record import Job, Status
from orchestrator.state import State
from orchestrator.watch import Watch

TIDY_EVERY = 3600.0  # seconds
STANDSTILL = 600.0  # seconds without a start, though there is work and room for it


class Chores:
    """For the loop's thread alone."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        halt: Stop,
        transport: Transport,
        watches: Sequence[Watch],
        renew: Callable[[], str] | None,
    ) -> None:
        self._state = state
        self._clock = clock
        self._halt = halt
        self._transport = transport
        self._watches = watches
        self._renew = renew
        self._unwritten = ""
        self._unread = ""
        self._tidied_at = -math.inf
        self._tidying: threading.Thread | None = None
        self._moved_at = clock.now()  # when something was started last, or nothing was to be
        self._looked_at = self._moved_at

    def count_crashes(self) -> None:
        """The daemon before this one died in the midst of these; one that makes it die again and again is given up."""
        now = self._clock.now()
        with contextlib.suppress(Retry):  # `memory_is_written` tells of that
            for job in self._state.jobs.values() if self._state.crashed else ():
                if job.status is Status.RUNNING:
                    times = [*(at for at in job.crashes if at > now - CRASH_WINDOW), now]
                    # One that has to wait until it is known not to be the cause must not be counted as under way.
                    status = Status.WAITING if len(times) >= SUSPECT else job.status
                    self._state.put(replace(job, crashes=times, status=status, not_before=0.0))

    def memory_is_written(self) -> bool:
        """Whether changes can be written down; without that nothing may begin."""
        trouble = self._state.trouble()
        if trouble and not self._unwritten:
            get().error("memory_not_written", reason=trouble, next="make room; it goes on by itself then")
        elif self._unwritten and not trouble:
            get().info("memory_written_again")
        self._unwritten = trouble
        return not trouble

    def refresh_token(self) -> None:
        """A token that is refused may have been replaced meanwhile, in `.env` or in what `gh` has stored."""
        if self._renew is None or not self._transport.refused:
            return
        try:
            token = self._renew()
        except (Missing, Misconfigured) as trouble:
            if str(trouble) != self._unread:
                get().warning("token_not_read", reason=str(trouble))
            self._unread = str(trouble)
            return
        if self._transport.renew(token):
            for watch in self._watches:
                watch.renew(token)

    def tidy_up(self) -> None:
        """Once an hour, beside the work, which must never wait for it."""
        now = self._clock.now()
        if now - self._tidied_at < TIDY_EVERY or self._halt.is_set():
            return
        self._tidied_at = now
        if self._tidying is None or not self._tidying.is_alive():
            self._tidying = self._clock.start(self._tidy, "tidy")

    def _tidy(self) -> None:
        steps: list[Callable[[], object]] = [lambda: sweep_scratch(time.time())]
        steps += [partial(watch.tidy_up, self._halt) for watch in self._watches]
        for step in steps:
            try:
                step()
            except Stopped:
                return
            except Exception:  # noqa: BLE001 - logged whole
                get().exception("tidying_broke")

    def notice_standstill(self, moves: bool, jobs: Iterable[Job]) -> None:
        """`moves`: something starts or runs, or a pause says why not. Else work that waits for too long is named.

        `jobs`: of the repositories that are served.
        """
        now = self._clock.now()
        waiting = [j.key for j in jobs if j.status is Status.WAITING and j.not_before <= now]
        slept, self._looked_at = now - self._looked_at >= STANDSTILL, now
        if moves or slept or not waiting:
            self._moved_at = now
        elif now - self._moved_at >= STANDSTILL:
            get().error("nothing_starts", for_seconds=round(now - self._moved_at), waiting=waiting[:20])
            self._moved_at = now
