"""Whose turn it is: pure, from the jobs that wait, the jobs that run and the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orchestrator.model import Job, Kind, Status


def runnable(jobs: Iterable[Job], running: Collection[str], now: float, max_agents: int) -> list[Job]:
    """Jobs to start now, in order. `running`: keys of the jobs that have a thread already.

    Merges never wait for an agent; they go one at a time per repository and base, in the order of their
    comments. Reviews come before new work: finishing beats starting.
    """
    jobs = list(jobs)
    waiting = [
        j
        for j in jobs
        if j.key not in running and (j.status is Status.RUNNING or (j.status is Status.WAITING and j.not_before <= now))
    ]
    busy = [j for j in jobs if j.key in running]
    # One that has not pinned a head yet has touched no base.
    backing_off = [j for j in jobs if j.status is Status.WAITING and j.head and j.not_before > now]
    lanes = {(j.repo, j.base_ref) for j in [*busy, *backing_off] if j.kind is Kind.MERGE}
    start = []
    for job in sorted((j for j in waiting if j.kind is Kind.MERGE), key=lambda j: _order(j)):
        if (job.repo, job.base_ref) not in lanes:
            lanes.add((job.repo, job.base_ref))
            start.append(job)
    free = max_agents - sum(j.kind is not Kind.MERGE for j in busy)
    agents = sorted(
        (j for j in waiting if j.kind is not Kind.MERGE), key=lambda j: (j.kind is Kind.IMPLEMENT, j.number)
    )
    return start + agents[: max(0, free)]


def _order(job: Job) -> tuple[bool, float, int]:
    # An attempt that was under way before a restart goes first: its base may be half tested.
    return (job.status is not Status.RUNNING, float(job.facts.get("asked_at", 0.0)), int(job.trigger or 0))
