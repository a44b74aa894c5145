"""One agent run of a job: begun, gone on with where it was cut off, and what its end means for everybody else.

Guaranteed: a run whose result is in its log is never run again, though nobody heard it; one that was cut off goes on
in its session and its worktree, saved in the mirror first, where the program still knows the session, else it begins
again as another attempt; too many such ends stop the item. An answer in the wrong form, or none, is asked for once
more. What would have happened to every item (the account's
limit, its login, the program, the service) pauses the daemon and costs this one no attempt.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator import history, texts
from orchestrator.agents.base import Bounds, Outcome, Role, RunResult, Task
from orchestrator.agents.prompts import CONTINUE, REPAIR, prompt_file
from orchestrator.allowance import Exhausted
from orchestrator.errors import Missing, Refused, Retry, Stopped
from orchestrator.git.run import GitError
from orchestrator.git.worktree import Worktree
from orchestrator.jobs.desk import STICKY, Desk
from orchestrator.log import get
from orchestrator.model import Actor
from orchestrator.pauses import SHARED
from orchestrator.record import CUT, Job

# What the last run left, beside `CUT`: ended for a reason that passes; given up for a new beginning.
WAITED, AGAIN = "waited", "again"
_ONCE_MORE = frozenset((Outcome.INCOMPLETE, Outcome.FORM))  # ends that a second try may mend
RATE = 3e-6  # dollars for a token of input where no result has told yet: the list price of the middle model
SESSION_MOST = 3  # times that one session is gone on with
CUTS_MOST = 6  # times that runs of one item may be cut off by the daemon's death


@dataclass(frozen=True)
class Work:
    """What a job wants of an agent. `prepared` makes `tree` as before any run.

    `prompt` is asked for right before each run, also one that goes on: it raises when there shall be none.
    """

    role: Role
    tree: Worktree
    prompt: Callable[[], str]
    prepared: Callable[[], None]
    schema: Mapping[str, Any] | None = None


def await_allowance(desk: Desk) -> None:
    """Retry, without an attempt lost, while a limit of the day forbids a run: before anything is made for it."""
    try:
        desk.pauses.allowance.look(_asker(desk.job))
    except Exhausted as reached:
        raise _not_now(desk, reached) from reached


def run_agent(desk: Desk, work: Work) -> RunResult:
    """The agent's work, its cost on the record. Retry for what passes by itself, Refused after too many cuts."""
    desk.check()
    left = str(desk.job.facts.get("left", ""))
    result = _read_back(desk, work) if left == CUT else None
    if left == CUT and result is None:
        left = WAITED  # it had not begun
        _give_back(desk, desk.job.run_id)
    elif result is not None and result.outcome is Outcome.NO_SESSION:
        left, result = AGAIN, None
        _give_back(desk, desk.job.run_id)
    elif result is not None and result.outcome is Outcome.INCOMPLETE:
        _agent_is_there(desk)
        if _account(desk, result, killed=True):
            _count_cut(desk)
        result = None
    if result is None:
        result = _some_run(desk, work, left)
    else:
        get().info("run_read_back", outcome=result.outcome.value, log=desk.job.log)
        _judged(desk, result)
    if result.outcome in _ONCE_MORE and not desk.job.facts.get("once_more"):
        desk.note(once_more=result.outcome.value, left=WAITED)
        get().info("run_once_more", outcome=result.outcome.value, detail=result.detail)
        result = _some_run(desk, work, WAITED)
    return result


def _some_run(desk: Desk, work: Work, left: str) -> RunResult:
    """One run: the last one's session, or a new one."""
    _agent_is_there(desk)
    if left in (CUT, WAITED) and _may_go_on(desk, work.tree):
        result = _go_on(desk, work, left)
        if result.outcome is not Outcome.NO_SESSION:
            return _judged(desk, result)
        _give_back(desk, desk.job.run_id)
    if left or not work.tree.usable():
        # Another beginning is on the record before it begins, so that no crash in it mixes two sessions.
        job = desk.job
        desk.keep(session_id="", attempt=job.attempt + (left == CUT), facts={**job.facts, "left": AGAIN})
        await_allowance(desk)
        work.prepared()
    return _judged(desk, _run(desk, work, str(uuid.uuid4()), work.prompt(), resume=False))


def _give_back(desk: Desk, run_id: str) -> None:
    """What was set aside for a run that came to nothing."""
    desk.pauses.allowance.settle(run_id, 0.0, counts=False)


def _read_back(desk: Desk, work: Work) -> RunResult | None:
    log = desk.recorded_log()
    if not log.exists() or not log.stat().st_size:
        return None
    return desk.agent.read_back(_task(desk, work, "", resume=False), _bounds(desk))


def _count_cut(desk: Desk) -> None:
    cuts = desk.job.continuations + 1
    if cuts > CUTS_MOST:
        raise Refused(texts.cut_off_often(cuts))
    desk.keep(continuations=cuts)


def _agent_is_there(desk: Desk) -> None:
    """Before anything is touched: a program that is gone, or was replaced by one that works differently, pauses all."""
    try:
        desk.agent.check()
    except Missing as trouble:
        _pause(desk, RunResult(Outcome.MISSING, "", None, "", 0, 0.0, 0.0, str(trouble)))


def _may_go_on(desk: Desk, tree: Worktree) -> bool:
    """Whether the session is worth a try in its worktree, which is then saved and ready for it."""
    job = desk.job
    if not job.session_id or int(job.facts.get("resumed", 0)) >= SESSION_MOST:
        return False
    try:
        if not tree.usable():
            return False
        tree.save(tree.name)
        tree.settle()
    except (GitError, OSError) as trouble:
        get().warning("worktree_unusable", trouble=str(trouble))
        return False
    return True


def _go_on(desk: Desk, work: Work, left: str) -> RunResult:
    work.prompt()
    # To wait is no fault of the session: only what may be its own fault is counted.
    desk.note(resumed=int(desk.job.facts.get("resumed", 0)) + (left == CUT), left=WAITED)
    get().info("run_resumed", session=desk.job.session_id)
    repair = desk.job.facts.get("once_more") == Outcome.FORM.value
    return _run(desk, work, desk.job.session_id, REPAIR if repair else CONTINUE, resume=True)


def _run(desk: Desk, work: Work, session: str, prompt: str, resume: bool) -> RunResult:
    run_id = desk.new_run()
    bounds = _bounds(desk)
    if resume:  # the program counts the money of this process only
        spent = float(desk.job.facts.get("session_cost", 0.0))
        bounds = replace(bounds, budget_usd=max(0.01, bounds.budget_usd - spent))
    try:
        granted = desk.pauses.allowance.take(run_id, _asker(desk.job), bounds.budget_usd, counts=not resume)
    except Exhausted as reached:
        raise _not_now(desk, reached) from reached
    fresh: dict[str, Any] = {} if resume else {"resumed": 0, "session_cost": 0.0}
    if not resume and desk.job.facts.get("once_more"):
        fresh["once_more"] = "used"  # there is nothing to repair in a session that begins
    try:
        log = desk.new_log(work.tree.name)
        desk.keep(session_id=session, run_id=run_id, log=str(log), facts={**desk.job.facts, **fresh, "left": CUT})
    except Exception:
        _give_back(desk, run_id)  # no record names this run, so nobody else would
        raise
    # What is set aside stays so when this breaks off: only the log can tell what was spent, when it is read back.
    task = replace(_task(desk, work, prompt, resume), env=desk.environment(), write=(desk.around.caches,))
    return desk.agent.run(task, replace(bounds, budget_usd=granted), desk.stop)


def _asker(job: Job) -> Actor | None:
    """Who caused the run; None where that account is gone."""
    found = job.facts.get("asked_by_id")
    return Actor(int(found), job.asked_by) if found else None


def _not_now(desk: Desk, reached: Exhausted) -> Retry:
    """Said once, on the item; what waits for all stands in `pauses` too, which ends it."""
    desk.effects.show(STICKY, desk.job.number, texts.limited(desk.job, str(reached), reached.until))
    return Retry(str(reached), 0.0 if reached.for_all else reached.until - desk.clock.now())


def _task(desk: Desk, work: Work, prompt: str, resume: bool) -> Task:
    job = desk.job
    return Task(
        work.role,
        work.tree.path,
        prompt_file(work.role.value),
        prompt,
        job.session_id,
        job.run_id,
        desk.recorded_log(),
        resume=resume,
        schema=dict(work.schema) if work.schema else None,
        see=work.tree.borrows,
        keep=desk.session_folder,
    )


def _judged(desk: Desk, result: RunResult) -> RunResult:
    """The end of a run that is this job's own; all others are told by an exception."""
    _account(desk, result)
    if result.outcome is Outcome.STOPPED:
        if desk.halt.is_set():
            desk.note(left=WAITED)  # in order, so it is no cut
        raise Stopped(desk.stop.reason)
    if result.outcome in SHARED:
        desk.note(left=WAITED)
        _pause(desk, result)
    return result


def _account(desk: Desk, result: RunResult, killed: bool = False) -> bool:
    """What the run took, once on the record and at least once in the history; whether it was not there yet."""
    job = desk.job
    if job.facts.get("counted") == job.run_id:
        return False
    cost = _cost(job, result)
    rate = result.cost_usd / result.billed if result.billed else float(job.facts.get("rate", RATE))
    told = {k: v for k, v in asdict(result).items() if k in ("turns", "seconds", "detail", "session_id")}
    history.append(
        desk.history,
        {
            "at": desk.clock.now(),
            "item": job.key,
            "attempt": job.attempt,
            "run_id": job.run_id,
            "outcome": result.outcome.value,
            "cost_usd": round(cost, 6),
            "log": job.log,
            **told,
        },
    )
    desk.pauses.allowance.settle(job.run_id, cost, counts=result.outcome not in SHARED)
    desk.keep(
        cost_usd=job.cost_usd + cost,
        turns=job.turns + result.turns,
        seconds=job.seconds + result.seconds,
        facts={
            **job.facts,
            "counted": job.run_id,
            "rate": rate,
            # Newer programs count earlier processes of a session in, but forget one that was killed.
            "session_cost": float(job.facts.get("session_cost", 0.0)) + (0.0 if killed else cost),
        },
    )
    return True


def _cost(job: Job, result: RunResult) -> float:
    """Dollars of this process alone; an estimate where it came to no end that tells."""
    if not result.billed:
        return result.cost_usd or result.tokens * float(job.facts.get("rate", RATE))
    known = float(job.facts.get("session_cost", 0.0))
    return result.cost_usd - known if result.cost_usd >= known else result.cost_usd


def _pause(desk: Desk, result: RunResult) -> None:
    """Everybody waits, this one too: Retry."""
    until = desk.pauses.begin(result)
    job = desk.keep(pauses=desk.job.pauses + 1)
    if result.outcome is Outcome.TRANSIENT:
        raise Retry(result.detail)  # the service may fail at this very task: such failures are counted
    desk.effects.show(STICKY, job.number, texts.limited(job, result.detail, until))
    raise Retry(result.detail, until - desk.clock.now())


def _bounds(desk: Desk) -> Bounds:
    s = desk.settings
    return Bounds(s.max_turns, s.run_budget_usd, s.run_timeout, s.stall_timeout)
