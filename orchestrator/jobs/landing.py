"""The irreversible step of a merge: the call itself, or GitHub's queue, and what its answers mean.

Guaranteed: the call is on the record before it is made; an ambiguous answer is resolved by reading, never by
calling again first; before a second call everything passes the gate again, three calls at the most.
"""

from __future__ import annotations

from typing_extensions import assert_never

from orchestrator import refusals, texts
from orchestrator.decide.answers import Answer, classify
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.github.shut import Shut
from orchestrator.github.together import FRESH
from orchestrator.github.transport import ApiError, Unknown
from orchestrator.jobs.desk import Desk
from orchestrator.jobs.reading import CHECKS_POLL, cancelled_by
from orchestrator.jobs.tidy import ANNOUNCED, land_known

CALL_TRIES = 3
CALL_WAIT = 10.0  # seconds before an ambiguous answer is read
ENQUEUED = "enqueued"  # GitHub's word for a request that stands in the queue
PENDING_WAIT = 5.0  # seconds between two looks at a request that shall be taken back


def land(desk: Desk) -> str | None:
    """The one irreversible call. Whatever is unclear is read, and the gate is passed again before a second call."""
    job = desk.job
    if ANNOUNCED in job.effects:
        return _wait_and_read(desk)
    desk.check()
    if not is_fresh(desk):  # the machine may have slept since
        return "gate"
    called = {"called": True, "called_at": desk.clock.now()}
    desk.keep(effects={**job.effects, ANNOUNCED: None}, facts={**job.facts, **called})
    try:
        return _call(desk)
    except Unknown:
        return _wait_and_read(desk)  # GitHub answers 500 after merging (kodiak#397)
    except Shut:
        _unannounce(desk)  # as below, and nothing is asked until the repository takes something again
        raise
    except Retry:
        _unannounce(desk)  # refused before it did anything; everything is read again after the wait
        return "gate"
    except ApiError as error:
        return _said_no(desk, error)


def is_fresh(desk: Desk) -> bool:
    """Whether what the gate read is of now: a rate limit or a sleeping machine may have stretched the reading."""
    return desk.clock.now() - float(desk.job.facts.get("read_at", 0.0)) <= FRESH


def _call(desk: Desk) -> str:
    """Into the queue where the branch demands one, else the merge itself."""
    job, method = desk.job, desk.settings.merge_method
    if job.facts["queue_demanded"]:
        return _in_queue(desk, desk.api.enqueue(job.number, job.head, method))
    desk.keep(merge_sha=desk.api.merge(job.number, job.head, method))
    return "tidy"


def _in_queue(desk: Desk, request: str) -> str:
    desk.keep(facts={**desk.job.facts, "queue": request, "queued_at": desk.clock.now()})
    show_step(desk, texts.QUEUED)
    return "follow"


def follow(desk: Desk) -> str | None:
    """In GitHub's queue, which tests by its own rules: until it landed, was dropped, or `CI_TIMEOUT` is over."""
    number, request = desk.job.number, str(desk.job.facts["queue"])
    gone = 0
    while True:
        desk.check()
        pull = desk.api.pull(number)
        if pull.merged:
            return land_known(desk, pull, before=False)
        if who := cancelled_by(desk, pull):
            raise Refused(refusals.cancelled_by(who))
        status, sentence = desk.api.enqueued(number, request) if request else (ENQUEUED, "")
        if status == "failed":
            return _said_no(desk, ApiError(409, sentence))
        # GitHub's word may be late once; twice it is one.
        gone = gone + 1 if status == ENQUEUED and not desk.api.merge_state(number).queued else 0
        if gone > 1 and not desk.api.pull(number).merged:
            raise Refused(refusals.QUEUE_DROPPED)
        if desk.clock.now() >= float(desk.job.facts["queued_at"]) + desk.settings.ci_timeout:
            raise Refused(refusals.queue_late(desk.settings.ci_timeout))
        desk.wait(CHECKS_POLL)


def leave_queue(desk: Desk) -> None:
    """Out of the queue, also when GitHub has yet to put it in."""
    job = desk.job
    if not (job.facts.get("queue_demanded") and job.facts.get("called")):
        return
    request = str(job.facts.get("queue") or "")
    while request and desk.api.enqueued(job.number, request)[0] == "pending":
        if desk.clock.wait(PENDING_WAIT, desk.halt):
            raise Stopped(desk.halt.reason)
    found = desk.api.merge_state(job.number)
    if found.queued:
        desk.effects.again("dequeue", lambda: desk.api.dequeue(found.id))


def _wait_and_read(desk: Desk) -> str:
    """GitHub may show late what it did. Only the daemon's own end cuts this wait."""
    left = float(desk.job.facts.get("called_at", 0.0)) + CALL_WAIT - desk.clock.now()
    if left > 0 and desk.clock.wait(min(left, CALL_WAIT), desk.halt):
        raise Stopped(desk.halt.reason)
    return _read_back(desk)


def _read_back(desk: Desk) -> str:
    """The call was announced and its outcome is not known: GitHub says what happened."""
    pull = desk.api.pull(desk.job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    if desk.job.facts["queue_demanded"] and desk.api.merge_state(pull.number).queued:
        return _in_queue(desk, "")
    return _call_again(desk, refusals.merge_unclear(CALL_TRIES))


def _call_again(desk: Desk, otherwise: str) -> str:
    """Through the gate to another call; `otherwise` is the refusal after the last one."""
    _unannounce(desk)
    calls = int(desk.job.facts.get("calls", 0)) + 1
    if calls >= CALL_TRIES:
        raise Refused(otherwise)
    desk.note(calls=calls)
    return "gate"


def _unannounce(desk: Desk) -> None:
    desk.keep(effects={k: v for k, v in desk.job.effects.items() if k != ANNOUNCED})


def _said_no(desk: Desk, error: ApiError) -> str | None:
    """A definite no: somebody was first, something moved, or GitHub's own sentence for the person."""
    pull = desk.api.pull(desk.job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    _unannounce(desk)
    meaning = classify(error.status, str(error))
    match meaning:
        case Answer.BASE_MOVED:
            desk.keep(tree="")
            return "gate"
        case Answer.AGAIN:
            desk.wait(CALL_WAIT)
            return _call_again(desk, refusals.github_refuses(error.message))
        case Answer.FORBIDDEN:
            raise Refused(refusals.github_forbids(error.message))
        case Answer.FINAL:
            raise Refused(refusals.github_refuses(error.message))
        case _:
            assert_never(meaning)


def show_step(desk: Desk, step: str) -> None:
    """Bring the one status comment of this attempt up to date."""
    job = desk.job
    desk.effects.show(
        f"status-{job.trigger}", job.number, texts.merging(job, step, desk.settings.merge_comment_trigger)
    )
