"""What `orchestrator status` shows, as text and as JSON. Pure: the saved state and the time come from the caller."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from typing import Any

from orchestrator.decide import limits as day
from orchestrator.decide.limits import Limits
from orchestrator.patience import LONGEST
from orchestrator.printable import printable
from orchestrator.record import Aside, Job, Kind, Pause, Quota, Status
from orchestrator.state import Saved

VERSION = 1  # of the JSON document; fields are only ever added
_DAY = 86400.0
_NO_WALLS = "SANDBOX=off: agents and commands can do whatever this account can"


class Group(str, Enum):
    """Where an item is listed. `NEEDS_YOU` waits for a person, `WAITING` goes on by itself."""

    NEEDS_YOU = "needs_you"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"


def group(job: Job, daemon_lives: bool) -> Group:
    """A job that nobody holds any more is not running, whatever its record says."""
    if job.status is Status.PARKED:
        return Group.NEEDS_YOU
    if job.status is Status.DONE:
        return Group.DONE
    return Group.RUNNING if job.status is Status.RUNNING and daemon_lives else Group.WAITING


def document(saved: Saved, now: float, limits: Limits, sandbox: str = "auto") -> dict[str, Any]:
    """`{version, generated_at, daemon, sandbox, counts, cost_usd, limits, quota, pauses, asides, items}`.

    Times are seconds since 1970; `sandbox`: as it is set.
    """
    lives = saved.holder is not None
    items = [_item(job, lives, now) for job in _sorted(saved.jobs)]
    return {
        "version": VERSION,
        "generated_at": now,
        "daemon": {
            "running": lives,
            "pid": saved.holder.pid if saved.holder else None,
            "since": saved.holder.since if saved.holder else None,
            "polled_at": saved.polled_at,
            "open_files": saved.holder.open_files if saved.holder else None,
        },
        "sandbox": sandbox,
        "counts": {g.value: sum(1 for item in items if item["group"] == g.value) for g in Group},
        "cost_usd": round(sum(job.cost_usd for job in saved.jobs), 6),
        "limits": {
            "daily_budget_usd": limits.usd,
            "left_usd": round(day.left_usd(saved.spent, limits, now), 6),
            "max_runs_per_actor_day": limits.runs,
            "actors": [
                {"id": actor, "login": login, "runs_left": day.runs_left(saved.spent, actor, limits, now)}
                for actor, login in _actors(saved, now)
            ],
        },
        "quota": _quota(saved.quota),
        "pauses": [asdict(pause) for pause in saved.pauses],
        "asides": [asdict(aside) for aside in saved.asides],
        "items": items,
    }


def text(saved: Saved, now: float, limits: Limits, width: int = 80, sandbox: str = "auto") -> str:
    """The form for a person: what needs one first. Done items of the last 24 hours only."""
    lives = saved.holder is not None
    one_repo = len({job.repo for job in saved.jobs}) == 1
    blocks = [_paused(pause, now, width) for pause in saved.pauses]
    blocks += [_aside(aside, now, width) for aside in saved.asides]
    for place in Group:
        jobs = [j for j in _sorted(saved.jobs) if group(j, lives) is place]
        if place is Group.DONE:
            jobs = [j for j in jobs if j.updated_at >= now - _DAY]
        if jobs:
            rows = [_row(job, lives, now, one_repo) for job in jobs]
            widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
            lines = [f"{place.value.replace('_', ' ')} ({len(jobs)})"]
            for job, row in zip(jobs, rows, strict=True):
                lines.append(("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip())
                lines += _details(job, lives, now, width)
            blocks.append("\n".join(lines))
    if not blocks:
        blocks.append("Nothing to show: no item was worked on in the last 24 hours.")
    walls = [_NO_WALLS] if sandbox == "off" else []
    left = [*_left(saved, now, limits, width), *_asked(saved.quota)]
    return "\n\n".join([*blocks, "\n".join([*walls, *left, _footer(saved, now)])])


def _actors(saved: Saved, now: float) -> list[tuple[int, str]]:
    """Who caused runs within the day, by the name of the last one."""
    logins = {one.actor: one.login for one in day.recent(saved.spent, now) if one.actor}
    return sorted(logins.items(), key=lambda found: found[1])


def _left(saved: Saved, now: float, limits: Limits, width: int) -> list[str]:
    """What is left of the limits of the day, once something was taken from them."""
    if not day.recent(saved.spent, now):
        return []
    people = [
        f"{login or 'somebody'} {day.runs_left(saved.spent, actor, limits, now)}"
        for actor, login in _actors(saved, now)
    ]
    runs = f"; of {limits.runs} runs each: {', '.join(people)}" if people else ""
    money = f"${day.left_usd(saved.spent, limits, now):.2f} of ${limits.usd:g}"
    return textwrap.wrap(printable(f"left within 24 hours: {money}{runs}"), width, subsequent_indent="  ")


def _quota(quota: Quota | None) -> dict[str, Any] | None:
    return None if quota is None else {**asdict(quota), "hours_left": quota.hours_left}


def _asked(quota: Quota | None) -> list[str]:
    """What was left of GitHub's limit at the last poll."""
    if quota is None:
        return []
    hours = quota.hours_left
    lasts = f"; they last {duration(hours * 3600)} at the pace of the last day" if hours is not None else ""
    reset = f"all again in {duration(quota.reset - quota.at)}"
    return [f"GitHub: {quota.remaining} of {quota.limit} requests left, {reset}{lasts}"]


def _paused(pause: Pause, now: float, width: int) -> str:
    what = {"agent": "no agent runs", "disk": "no worktree is made", "budget": "no agent is started"}[pause.what]
    again = f"tried again in {duration(pause.until - now)}" if pause.until > now else "tried again now"
    lines = [f"paused: {what} for {duration(now - pause.since)}, {again}"]
    return "\n".join([*lines, *_wrapped(pause.reason, width)])


def _aside(aside: Aside, now: float, width: int) -> str:
    what = f"served in part ({aside.still})" if aside.still else "set aside"
    line = f"{what}: {aside.repo} for {duration(now - aside.since)}, looked at again every {duration(LONGEST)}"
    return "\n".join([printable(line), *_wrapped(aside.reason, width)])


def outcome(job: Job) -> str | None:
    """What came of an item, in one line; None while nothing has come of it yet."""
    why = next(iter(job.reason.splitlines()), "")
    if job.status is Status.PARKED:
        return "no change" if f"nothing-{job.trigger}-{job.attempt}" in job.effects else f"needs a person: {why}"
    if job.status is not Status.DONE:
        return None
    if job.merge_sha:
        return _merged(job) + (f", but {why}" if why else "")
    if job.facts.get("failed"):
        return f"refused: {why}"
    if why:
        return f"nothing to do any more: {why}"
    if job.kind is Kind.REVIEW:
        return _reviewed(job)
    return f"PR #{job.pr} opened" if job.pr else None


def _merged(job: Job) -> str:
    if job.facts.get("merged_before"):
        return f"was merged before, as {job.merge_sha[:10]}"
    by = job.facts.get("merged_by")
    return f"merged{f' by @{by}' if by else ''} as {job.merge_sha[:10]}"


def _reviewed(job: Job) -> str | None:
    if "verdict" not in job.facts:
        return None
    verdict, findings = str(job.facts["verdict"]).replace("_", " "), int(job.facts["findings"])
    return f"reviewed {job.head[:10]}: {verdict}, {findings} finding{'' if findings == 1 else 's'}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def _sorted(jobs: Iterable[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job.repo, job.number, job.kind.value))


def _elapsed(job: Job, lives: bool, now: float) -> float:
    if not job.started_at:
        return 0.0
    return max(0.0, (now if group(job, lives) is Group.RUNNING else job.updated_at) - job.started_at)


def _reason(job: Job, lives: bool, now: float) -> str:
    if job.status is Status.RUNNING and not lives:
        return "cut off; the daemon goes on with it at its next start"
    if job.status is Status.WAITING:
        if job.not_before <= now:
            return job.reason or "again at the next poll"
        again = f"again in {duration(job.not_before - now)}"
        return f"{again}: {job.reason}" if job.reason else again
    return job.reason


def _item(job: Job, lives: bool, now: float) -> dict[str, Any]:
    return {
        "key": job.key,
        "repo": job.repo,
        "number": job.number,
        "kind": job.kind.value,
        "group": group(job, lives).value,
        "status": job.status.value,
        "phase": job.phase,
        "title": job.title,
        "asked_by": job.asked_by,
        "reason": _reason(job, lives, now),
        "outcome": outcome(job),
        "attempt": job.attempt,
        "failures": job.failures,
        "continuations": job.continuations,
        "pauses": job.pauses,
        "waits": job.waits,
        "elapsed_seconds": round(_elapsed(job, lives, now), 1),
        "agent_seconds": round(job.seconds, 1),
        "turns": job.turns,
        "cost_usd": job.cost_usd,
        "pr": job.pr,
        "branch": job.branch,
        "head": job.head,
        "merge_sha": job.merge_sha,
        "session_id": job.session_id,
        "run_id": job.run_id,
        "log": job.log,
        "not_before": job.not_before,
        "started_at": job.started_at,
        "updated_at": job.updated_at,
    }


def _row(job: Job, lives: bool, now: float, one_repo: bool) -> tuple[str, ...]:
    return (
        f"#{job.number}" if one_repo else f"{job.repo}#{job.number}",
        job.kind.value,
        printable(job.phase) or "-",
        duration(_elapsed(job, lives, now)),
        f"attempt {job.attempt}",
        f"${job.cost_usd:.2f}",
        f"PR #{job.pr}" if job.pr else "",
    )


def _details(job: Job, lives: bool, now: float, width: int) -> list[str]:
    lines = []
    told = outcome(job) if job.status is Status.DONE else _reason(job, lives, now)
    for words in (job.title, told or ""):
        lines += _wrapped(words, width)
    return lines


def _wrapped(words: str, width: int) -> list[str]:
    return textwrap.wrap(printable(words), width, initial_indent="      ", subsequent_indent="      ")


def _footer(saved: Saved, now: float) -> str:
    polled = f"last poll {duration(now - saved.polled_at)} ago" if saved.polled_at else "no poll yet"
    spent = f"spent ${sum(job.cost_usd for job in saved.jobs):.2f}"
    if saved.holder is None:
        return f"daemon not running, {polled}, {spent}; start it with `orchestrator run`"
    return f"daemon pid {saved.holder.pid}, up {duration(now - saved.holder.since)}, {polled}, {spent}"
