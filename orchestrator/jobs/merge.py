"""A `/merge` comment lands exactly what was asked for and tested, or says exactly why not.

hear → gate → land → tidy. `hear` checks who asked and pins the head that the person could see. `gate` reads
everything afresh, lets the pure verdict decide, builds the merge of pinned head and live base and runs the
commands on it, as often as the base moves. `land` makes the one irreversible call with `sha`; where the
branch demands GitHub's merge queue, the call enters it and `follow` waits for its end. `tidy` closes linked
issues, deletes the branch when that is safe, and says what landed.

Guaranteed: everything is read again right before the call; an ambiguous answer to the call is resolved by
reading, never by calling again first; after `land` was entered a restart reads before it calls; what landed
is compared with what was tested and a difference is said.

Left alone: the API pins the head but not the base; the gap is one request wide and is looked for afterwards.
"""

from __future__ import annotations

from typing_extensions import assert_never

from orchestrator import refusals, texts
from orchestrator.decide.answers import Answer, classify
from orchestrator.decide.protected import protected
from orchestrator.decide.verdict import SHA_DIGITS, Done, Merge, Refuse, Test, Wait, verdict
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.github.transport import ApiError, Unknown
from orchestrator.jobs.desk import CommandFailed, Desk, Phase
from orchestrator.jobs.reading import CHECKS_POLL, asker, await_change, cancelled_by, look
from orchestrator.jobs.review import fetch_pinned
from orchestrator.jobs.tidy import land_known, tidy
from orchestrator.model import Comment, PullRequest, Status

CALL_TRIES = 3
CALL_WAIT = 10.0  # seconds before an ambiguous answer is read

ANNOUNCED = "merge"  # the key of the call among the job's effects


def hear(desk: Desk) -> str | None:
    """Who asked, what for, and which head they could see."""
    job = desk.job
    if not desk.api.is_pull(job.number):
        desk.keep(status=Status.DONE, reason="the comment stands on an issue")
        return None
    comments = desk.api.comments(job.number)
    asked = next((c for c in comments if str(c.id) == job.trigger), None)
    if asked is None:
        desk.keep(status=Status.DONE, reason="the comment was deleted")
        return None
    if _answered(desk, comments):
        desk.keep(status=Status.DONE, reason="this comment was answered before")
        return None
    pull = desk.api.pull(job.number)
    desk.keep(started_at=desk.clock.now(), title=pull.title, base_ref=pull.base_ref)
    _may_ask(desk, asked)
    desk.effects.nod("eyes", lambda: desk.api.react_to_comment(asked.id, "eyes"))
    if pull.merged:
        return land_known(desk, pull, before=True)
    if not pull.open:
        raise Refused(refusals.CLOSED)
    desk.keep(head=_pin(desk, pull))
    _status(desk, texts.CHECKING)
    fetch_pinned(desk, pull.number, desk.job.head, pull.base_ref)
    desk.note(demands=_demands(desk, pull))
    return "gate"


def _answered(desk: Desk, comments: list[Comment]) -> bool:
    """Refused before the memory was lost: a failed attempt leaves nothing pending, so it is over for good."""
    job, own = desk.job, desk.place.me.id
    refused = texts.mark(job, f"refused-{job.trigger}"), texts.mark(job, f"denied-{job.facts['asked_by_id']}")
    status = texts.mark(job, f"status-{job.trigger}")
    return any(
        c.body.startswith(refused) or (c.body.startswith(status) and texts.said(c).startswith(texts.OVER))
        for c in comments
        if texts.is_ours(c, own) and c.id > int(job.trigger)
    )


def _may_ask(desk: Desk, comment: Comment) -> None:
    if not desk.api.permission(asker(desk)).may_write:
        raise NotAllowed(refusals.needs_write(desk.job.asked_by))
    if desk.api.was_edited(comment):
        raise Refused(refusals.EDITED)


def _pin(desk: Desk, pull: PullRequest) -> str:
    """The head that the person could see; Refused with the way to name it when that cannot be shown."""
    job = desk.job
    trigger = desk.settings.merge_comment_trigger
    named = str(job.facts.get("sha") or "")
    if named:
        if not pull.head_sha.startswith(named.lower()):
            raise Refused(refusals.head_is(pull.head_sha, trigger))
        return pull.head_sha
    asked_at = float(job.facts["asked_at"])
    if job.facts.get("head_seen") == pull.head_sha:
        return pull.head_sha
    if pull.head_repo_id != desk.place.repo.id:
        # What a fork was pushed to cannot be read, so the person names what they saw.
        allowed = desk.settings.allow_fork_merge
        raise Refused(refusals.name_the_sha(refusals.FROM_A_FORK, pull.head_sha, trigger) if allowed else refusals.FORK)
    try:
        seen = desk.api.head_before(pull.head_ref, asked_at)
    except ApiError as error:
        raise Refused(refusals.pushed_after(pull.head_sha, trigger)) from error
    if seen != pull.head_sha:
        raise Refused(refusals.pushed_after(pull.head_sha, trigger))
    return pull.head_sha


def _demands(desk: Desk, pull: PullRequest) -> str:
    """Why the command alone is not enough here and the commit must be named; "" when it is, or was named."""
    if len(str(desk.job.facts.get("sha") or "")) >= SHA_DIGITS:
        return ""
    if pull.head_repo_id != desk.place.repo.id:
        return refusals.FROM_A_FORK
    if pull.author is None or not desk.api.permission(pull.author).may_write:
        return refusals.AUTHOR_MAY_NOT_WRITE
    base = desk.mirror.sha(f"refs/remotes/origin/{pull.base_ref}")
    steering = protected(desk.mirror.changed(base, desk.job.head)) if base else ()
    return refusals.touches(steering) if steering else ""


def gate(desk: Desk) -> str | None:
    """Read, decide, and do what the verdict says, until it says merge, refuse or done."""
    while True:
        desk.check()
        snapshot, checks = look(desk)
        decided = verdict(snapshot)
        match decided:
            case Done():
                return land_known(desk, snapshot.pull, before=False)
            case Refuse(why):
                raise Refused(why)
            case Test():
                _test(desk)
            case Wait(until, why):
                _status(desk, why)
                await_change(desk, checks, until)
            case Merge(green):
                desk.note(checks=green, queue_demanded=snapshot.queued)
                return "land"
            case _:
                assert_never(decided)


def _test(desk: Desk) -> None:
    """Build the merge of pinned head and live base in the worktree and run the commands on it."""
    job = desk.job
    desk.keep(tree="")
    fetch_pinned(desk, job.number, job.head, job.base_ref)
    base = desk.mirror.sha(f"refs/remotes/origin/{job.base_ref}")
    if base is None:
        raise Refused(refusals.base_gone(job.base_ref))
    _status(desk, texts.testing(base, len(desk.settings.pre_merge_commands)))
    result = desk.mirror.merge(base, job.head)
    if result.conflicts:
        raise Refused(refusals.conflict(result.conflicts, base))
    if result.tree == desk.mirror.sha(f"{base}^{{tree}}"):
        raise Refused(refusals.NOTHING_TO_LAND)
    commit = desk.mirror.commit_tree(result.tree, [base, job.head], f"Merge {job.head} into {job.base_ref}\n")
    tree = desk.worktree(f"merge-{job.number}")
    tree.create(commit, None)
    commands = desk.settings.pre_merge_commands
    if commands:
        desk.commands(commands, tree.path, desk.new_log(f"merge-{job.number}"), desk.settings.command_timeout)
        desk.refuse_changes(tree)
    desk.note(tests=int(desk.job.facts.get("tests", 0)) + 1)
    desk.keep(base=base, tree=result.tree)


def land(desk: Desk) -> str | None:
    """The one irreversible call. Whatever is unclear is read, and the gate is passed again before a second call."""
    job = desk.job
    if ANNOUNCED in job.effects:
        return _read_back(desk)
    desk.check()
    desk.keep(effects={**job.effects, ANNOUNCED: None})
    try:
        return _call(desk)
    except Unknown:
        # GitHub answers 500 after merging (kodiak#397): wait, then read. Only the daemon's own end cuts this wait.
        if desk.clock.wait(CALL_WAIT, desk.halt):
            raise Stopped(desk.halt.reason) from None
        return _read_back(desk)
    except Retry:
        _unannounce(desk)  # refused before it did anything; everything is read again after the wait
        return "gate"
    except ApiError as error:
        return _said_no(desk, error)


def _call(desk: Desk) -> str:
    """Into the queue where the branch demands one, else the merge itself."""
    job, method = desk.job, desk.settings.merge_method
    if job.facts.get("queue_demanded"):
        try:
            request = desk.api.enqueue(job.number, job.head, method)
        except ApiError as error:
            if error.status != 404:
                raise
            # A server without the endpoint: its answer to the plain call says what is wanted.
        else:
            return _in_queue(desk, request)
    done = desk.api.merge(job.number, job.head, method)
    desk.keep(merge_sha=done.sha)
    return "tidy"


def _in_queue(desk: Desk, request: str) -> str:
    desk.note(queue=request, queued_at=desk.clock.now())
    _status(desk, texts.QUEUED)
    return "follow"


def follow(desk: Desk) -> str | None:
    """In GitHub's queue, which tests by its own rules: until it landed, was dropped, or `CI_TIMEOUT` is over."""
    number, request = desk.job.number, str(desk.job.facts["queue"])
    while True:
        desk.check()
        pull = desk.api.pull(number)
        if pull.merged:
            return land_known(desk, pull, before=False)
        if who := cancelled_by(desk, pull):
            raise Refused(refusals.cancelled_by(who))
        status, sentence = desk.api.enqueued(number, request) if request else ("enqueued", "")
        if status == "failed":
            return _said_no(desk, ApiError(409, sentence))
        if status == "enqueued" and not desk.api.merge_state(number).queued and not desk.api.pull(number).merged:
            raise Refused(refusals.QUEUE_DROPPED)
        if desk.clock.now() >= float(desk.job.facts["queued_at"]) + desk.settings.ci_timeout:
            raise Refused(refusals.queue_late(desk.settings.ci_timeout))
        desk.wait(CHECKS_POLL)


def _leave_queue(desk: Desk) -> None:
    if "queue" not in desk.job.facts:
        return
    found = desk.api.merge_state(desk.job.number)
    if found.queued:
        desk.effects.again("dequeue", lambda: desk.api.dequeue(found.id))


def _read_back(desk: Desk) -> str:
    """The call was announced and its outcome is not known: GitHub says what happened."""
    pull = desk.api.pull(desk.job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    if desk.job.facts.get("queue_demanded") and desk.api.merge_state(pull.number).queued:
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


def finish(desk: Desk) -> None:
    """The tail; who took the command back after the call learns that it was too late."""
    ours = not desk.job.facts.get("merged_by")
    tidy(desk, late=ours and bool(cancelled_by(desk, desk.api.pull(desk.job.number))))


def _status(desk: Desk, step: str) -> None:
    job = desk.job
    desk.effects.show(f"status-{job.trigger}", job.number, texts.merging(job, step))


class NotAllowed(Refused):
    """The one who asked has no right to."""


def fail(desk: Desk, error: Refused) -> None:
    """Nothing stays pending: one new comment (an edit would not notify), and the attempt is over."""
    job = desk.job
    if job.merge_sha:
        desk.effects.show(f"status-{job.trigger}", job.number, texts.untidy(job, str(error)))
        desk.drop_worktree(f"merge-{job.number}")
        desk.keep(status=Status.DONE, pr=job.number, reason=str(error))
        return
    _leave_queue(desk)
    # One refusal for each person and PR, however often they ask.
    key = f"denied-{job.facts['asked_by_id']}" if isinstance(error, NotAllowed) else f"refused-{job.trigger}"
    shown = (desk.hidden(error.output), error.what) if isinstance(error, CommandFailed) else ()
    text = texts.merge_refused(job, str(error), *shown)
    repeated = desk.effects.said_before(key, job.number, text)
    if not repeated:
        desk.effects.say(key, job.number, text)
    if repeated or f"status-{job.trigger}" in job.effects:
        desk.effects.show(f"status-{job.trigger}", job.number, texts.attempt_over(job, str(error)))
    desk.drop_worktree(f"merge-{job.number}")
    desk.note(failed=True)
    desk.keep(status=Status.DONE, reason=str(error))


def cancelled(desk: Desk, reason: str) -> str | None:
    """Told to stop: by the person, or because what was pinned is no longer what is. A merged PR is a success."""
    pull = desk.api.pull(desk.job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    fail(desk, Refused(reason))
    return None


PHASES: dict[str, Phase] = {"hear": hear, "gate": gate, "land": land, "follow": follow, "tidy": finish}
