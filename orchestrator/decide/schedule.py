"""Whose turn it is: pure, from the jobs that wait, the jobs that run and the time.

The first phase of a job only hears the wish and acknowledges it, so it waits for nobody: a reaction comes within
one poll, however busy the daemon is. What follows waits for its turn: agents for a slot, merges for their base.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum

from orchestrator.record import CUT, Job, Kind, Status

HEARD_AT_ONCE = 4  # first phases at a time; each has a connection of its own
SUSPECT = 2  # deaths of the daemon with a job under way after which it may have been their cause
CRASH_WINDOW = 600.0  # seconds that such a death counts
HEARING = {Kind.IMPLEMENT: "claim", Kind.REVIEW: "hear", Kind.MERGE: "hear"}


class Need(str, Enum):
    """What a phase cannot do without, and the whole daemon may have to wait for."""

    AGENT = "agent"
    DISK = "disk"
    BUDGET = "budget"  # money that is left of the day's


_A_RUN = {Need.AGENT, Need.DISK, Need.BUDGET}
_NEEDS = {
    Kind.IMPLEMENT: {"prepare": _A_RUN, "run": _A_RUN},
    Kind.REVIEW: {"prepare": _A_RUN, "run": _A_RUN},
    Kind.MERGE: {"prepare": {Need.DISK}, "gate": {Need.DISK}},
}


def runnable(
    jobs: Iterable[Job],
    running: Collection[str],
    now: float,
    max_agents: int,
    missing: Collection[Need] = frozenset(),
) -> list[Job]:
    """Jobs to start now, in order. `running`: keys of the jobs that have a thread already.

    Merges never wait for an agent; they go one at a time per repository and base, in the order of their
    comments. Reviews come before new work: finishing beats starting. What needs something that is `missing` waits.
    Jobs that the daemon died with more than once go one at a time, so that the guilty one is found.
    """
    live = [j for j in jobs if j.key in running or j.status in (Status.RUNNING, Status.WAITING)]
    due = [j for j in live if j.key not in running and (j.status is Status.RUNNING or j.not_before <= now)]
    due = [j for j in due if not _needs(j) & set(missing)]
    due = _one_suspect(due, [j for j in live if j.key in running], now)
    heard = sorted((j for j in due if _hears(j)), key=lambda j: (j.kind is not Kind.MERGE, _asked(j), j.number))
    hearing = [j for j in live if j.key in running and _hears(j)]
    at_once = heard[: max(0, HEARD_AT_ONCE - len(hearing))]
    turns = [j for j in due if not _hears(j)]
    busy = [j for j in live if j.key in running and not _hears(j)]
    agents = sorted((j for j in turns if j.kind is not Kind.MERGE), key=lambda j: (j.kind is Kind.IMPLEMENT, j.number))
    free = max_agents - sum(j.kind is not Kind.MERGE for j in busy)
    # One that backs off keeps its base: it may be half tested.
    held = [*busy, *(j for j in live if not _hears(j) and j.status is Status.WAITING and j.not_before > now)]
    return [*at_once, *_merges(turns, held, [*heard, *hearing]), *agents[: max(0, free)]]


def _needs(job: Job) -> set[Need]:
    needs = _NEEDS[job.kind].get(job.phase, set())
    # Only its log tells what a run that was cut off took of the money that is set aside for it.
    unread = job.phase == "run" and job.facts.get("left") == CUT
    return needs - {Need.BUDGET} if unread else needs


def crashes(job: Job, now: float) -> int:
    """How often the daemon died with this job under way, of late."""
    return sum(at > now - CRASH_WINDOW for at in job.crashes)


def _one_suspect(due: list[Job], running: list[Job], now: float) -> list[Job]:
    suspects = [j for j in due if crashes(j, now) >= SUSPECT]
    if not suspects:
        return due
    under_way = any(crashes(j, now) >= SUSPECT for j in running)
    kept = None if under_way else min(suspects, key=lambda j: (len(j.crashes), j.key))
    return [j for j in due if j is kept or j not in suspects]


def _merges(turns: list[Job], held: list[Job], heard: list[Job]) -> list[Job]:
    """The next one of each base that nobody holds, unless an older command for it is just being heard."""
    lanes = {(j.repo, j.base_ref) for j in held if j.kind is Kind.MERGE}
    start = []
    for job in sorted((j for j in turns if j.kind is Kind.MERGE), key=_order):
        lane = (job.repo, job.base_ref)
        older = (j for j in heard if j.kind is Kind.MERGE and (j.repo, j.base_ref) == lane and _asked(j) < _asked(job))
        if lane not in lanes and not any(older):
            start.append(job)
        lanes.add(lane)
    return start


def _hears(job: Job) -> bool:
    return job.phase in ("", HEARING[job.kind])


def _order(job: Job) -> tuple[bool, tuple[float, int]]:
    # An attempt that was under way before a restart goes first: its base may be half tested.
    return job.status is not Status.RUNNING, _asked(job)


def _asked(job: Job) -> tuple[float, int]:
    """When the command came; comments of one second by their ids."""
    return (float(job.facts.get("asked_at", 0.0)), int(job.trigger or 0)) if job.kind is Kind.MERGE else (0.0, 0)
