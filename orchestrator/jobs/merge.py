"""A `/merge` comment lands exactly what was asked for and tested, or says exactly why not.

hear → prepare → gate → land → tidy. `hear` checks who asked and pins the head that the person could see, at
once; the rest comes when it is its turn on the base. `prepare` fetches that head. `gate` reads everything
afresh, lets the pure verdict decide, builds the merge of pinned head and live base and runs the commands on
it, as often as the base moves. `land` makes the one irreversible call with `sha`; where the branch demands
GitHub's merge queue, the call enters it and `follow` waits for its end. `tidy` closes linked issues, deletes
the branch when that is safe, and says what landed. A no is on the record before it is said (`refuse`), so that
what was refused is over, whatever happens meanwhile.

Guaranteed: everything is read again right before the call; an ambiguous answer to the call is resolved by
reading, never by calling again first; after `land` was entered a restart reads before it calls; what landed
is compared with what was tested and a difference is said.

Left alone: the API pins the head but not the base; the gap is one request wide and is looked for afterwards.
"""

from __future__ import annotations

from typing_extensions import assert_never

from orchestrator import refusals, texts
from orchestrator.decide.protected import protected
from orchestrator.decide.pushes import could_see
from orchestrator.decide.verdict import SHA_DIGITS, Done, Merge, Refuse, Test, Wait, verdict
from orchestrator.errors import Refused, Retry
from orchestrator.github.transport import ApiError
from orchestrator.jobs.desk import CommandFailed, Desk, Phase
from orchestrator.jobs.landing import follow, is_fresh, land, leave_queue, show_step
from orchestrator.jobs.reading import asker, await_change, look
from orchestrator.jobs.review import fetch_pinned
from orchestrator.jobs.tidy import land_known, tidy
from orchestrator.marks import said
from orchestrator.model import TOO_OLD, Comment, PullRequest
from orchestrator.record import Status


def hear(desk: Desk) -> str | None:
    """Who asked, what for, and which head they could see."""
    job = desk.job
    if not desk.api.is_pull(job.number):
        desk.keep(status=Status.DONE, reason="the comment stands on an issue")
        return None
    pull, waits = desk.at_once(lambda: (_command(desk), desk.api.transport.waits))
    if isinstance(pull, str):
        desk.keep(status=Status.DONE, reason=pull)
        return None
    desk.effects.nod("eyes", lambda: desk.api.react_to_comment(int(job.trigger), "eyes"))
    if desk.api.transport.waits != waits:
        return "hear"  # before the eyes were there, the comment may have become another
    if pull.merged:
        return land_known(desk, pull, before=True)
    if not pull.open:
        raise Refused(refusals.CLOSED)
    _same_base(desk, pull)
    desk.soon(head=_pin(desk, pull))
    show_step(desk, texts.TURN)
    desk.turn("prepare")
    return None


def _command(desk: Desk) -> PullRequest | str:
    """The pull request that the comment asks to merge, or why there is nothing to answer. Refused when it may not."""
    job = desk.job
    comments = desk.api.comments(job.number)
    asked = next((c for c in comments if str(c.id) == job.trigger), None)
    if asked is None:
        return "the comment was deleted"
    if _answered(desk, comments):
        return "this comment was answered before"
    pull = desk.api.pull(job.number)
    desk.soon(started_at=desk.clock.now(), title=pull.title, base_ref=job.base_ref or pull.base_ref)
    _may_ask(desk, asked)
    return pull


def prepare(desk: Desk) -> str:
    """The pinned head is in the mirror; whether it must be named is known."""
    job = desk.job
    fetch_pinned(desk, job.number, job.head, job.base_ref)
    desk.note(demands=_demands(desk, desk.api.pull(job.number)))
    return "gate"


def _answered(desk: Desk, comments: list[Comment]) -> bool:
    """Refused before the memory was lost: a failed attempt leaves nothing pending, so it is over for good."""
    job, marks = desk.job, desk.place.marks
    no = (
        marks.of(job, f"refused-{job.trigger}"),
        marks.of(job, f"denied-{job.facts['asked_by_id']}"),
        marks.reply(job.repo, job.number, int(job.trigger)),
    )
    status = marks.of(job, f"status-{job.trigger}")
    return any(
        c.body.startswith(no) or (c.body.startswith(status) and said(c).startswith(texts.OVER))
        for c in comments
        if marks.fit(c) and c.id > int(job.trigger)
    )


def _may_ask(desk: Desk, comment: Comment) -> None:
    if not desk.api.permission(asker(desk)).may_write:
        raise NotAllowed(refusals.needs_write(desk.job.asked_by))
    if desk.api.was_edited(comment):
        raise Refused(refusals.EDITED)
    if desk.clock.now() - comment.created_at > TOO_OLD:
        raise Refused(refusals.too_old(TOO_OLD / 3600))


def _same_base(desk: Desk, pull: PullRequest) -> None:
    """Not retargeted since the command, which an author may do without any right to write."""
    job = desk.job
    if pull.base_ref != job.base_ref or desk.api.retargeted_since(job.number, float(job.facts["asked_at"])):
        raise Refused(refusals.retargeted(job.base_ref, pull.base_ref))


def _pin(desk: Desk, pull: PullRequest) -> str:
    """The head that the person could see; Refused with the way to name it when that cannot be shown."""
    job = desk.job
    trigger = desk.settings.merge_comment_trigger
    if named := str(job.facts["sha"]):
        if not pull.head_sha.startswith(named.lower()):
            raise Refused(refusals.head_is(pull.head_sha, trigger))
        return pull.head_sha
    polled = job.facts.get("head_seen") == pull.head_sha
    if pull.head_repo_id != desk.place.repo.id:
        # What a fork was pushed to cannot be read, so the person names what they saw.
        allowed = desk.settings.allow_fork_merge
        if not polled:
            why = refusals.name_the_sha(refusals.FROM_A_FORK, pull.head_sha, trigger) if allowed else refusals.FORK
            raise Refused(why)
        return pull.head_sha
    try:
        pushes = desk.api.pushes(pull.head_ref)
    except ApiError:
        pushes = []
    if not could_see(pull.head_sha, float(job.facts["asked_at"]), pushes, polled):
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
    changed = desk.mirror.changed(base, desk.job.head) if base else []
    why = refusals.look_at(protected(changed, desk.settings.protected_paths), desk.written_bare(pull))
    return ". ".join(why)


def gate(desk: Desk) -> str | None:
    """Read, decide, and do what the verdict says, until it says merge, refuse or done."""
    while True:
        desk.check()
        began, (snapshot, checks) = desk.at_once(lambda: (desk.clock.now(), look(desk)))
        desk.note(queue_demanded=snapshot.queued)
        decided = verdict(snapshot)
        match decided:
            case Done():
                return land_known(desk, snapshot.pull, before=False)
            case Refuse(why):
                raise Refused(why)
            case Test():
                _test(desk, snapshot.pull)
            case Wait(until, why):
                show_step(desk, why)
                await_change(desk, checks, until)
            case Merge(green):
                desk.note(checks=green, read_at=began)
                if is_fresh(desk):
                    return "land"
            case _:
                assert_never(decided)


def _test(desk: Desk, pull: PullRequest) -> None:
    """Build the merge of pinned head and live base in the worktree and run the commands on it."""
    job = desk.job
    desk.keep(tree="")
    fetch_pinned(desk, job.number, job.head, job.base_ref)
    base = desk.mirror.sha(f"refs/remotes/origin/{job.base_ref}")
    if base is None:
        raise Refused(refusals.base_gone(job.base_ref))
    show_step(desk, texts.testing(base, len(desk.settings.pre_merge_commands), int(job.facts.get("tests", 0))))
    result = desk.mirror.merge(base, job.head)
    if result.conflicts:
        raise Refused(refusals.conflict(result.conflicts, base))
    if result.tree == desk.mirror.sha(f"{base}^{{tree}}"):
        if job.facts.get("called"):
            raise Retry("what was to be merged is in the base, and GitHub does not say yet that it is merged")
        raise Refused(refusals.NOTHING_TO_LAND)
    commit = desk.mirror.commit_tree(result.tree, [base, job.head], f"Merge {job.head} into {job.base_ref}\n")
    desk.note(head_ref=pull.head_ref)
    desk.clear_place()
    # What the owner keeps from the repository, or the token may read, is not for the code of a stranger to it.
    ours = pull.head_repo_id == desk.place.repo.id
    tree = desk.fresh_tree(commit, None, stranger_to="" if ours else base)
    commands = desk.settings.pre_merge_commands
    if commands:
        desk.furnish(copies=ours)
        desk.commands(commands, desk.new_log(f"merge-{job.number}"), desk.settings.command_timeout)
        desk.refuse_changes(tree)
    desk.note(tests=int(desk.job.facts.get("tests", 0)) + 1)
    desk.soon(base=base, tree=result.tree)


class NotAllowed(Refused):
    """The one who asked has no right to."""


def fail(desk: Desk, error: Refused) -> str | None:
    """It is over, durably, before anybody is told: the next phase says so."""
    job = desk.job
    if job.merge_sha:
        desk.effects.show(f"status-{job.trigger}", job.number, texts.untidy(job, str(error)))
        desk.drop_tree()
        desk.keep(status=Status.DONE, pr=job.number, reason=str(error))
        return None
    if "refusal" not in job.facts:
        # One refusal for each person and PR, however often they ask.
        key = f"denied-{job.facts['asked_by_id']}" if isinstance(error, NotAllowed) else f"refused-{job.trigger}"
        shown = (error.output, error.what) if isinstance(error, CommandFailed) else ()
        desk.note(refusal=[key, str(error), texts.merge_refused(job, str(error), *shown)])
    return "refuse"


def refuse(desk: Desk) -> str | None:
    """Nothing stays pending: one new comment (an edit would not notify), and the attempt is over."""
    job = desk.job
    if job.head and (landed := _merged_meanwhile(desk)):
        return land_known(desk, landed, before=False)
    leave_queue(desk)
    key, why, text = job.facts["refusal"]
    repeated = desk.effects.said_before(key, job.number, text)
    if not repeated:
        desk.effects.say(key, job.number, text)
    if repeated or f"status-{job.trigger}" in job.effects:
        desk.effects.show(f"status-{job.trigger}", job.number, texts.attempt_over(job, why))
    desk.drop_tree()
    desk.keep(status=Status.DONE, reason=why, facts={**desk.job.facts, "failed": True})
    return None


def _merged_meanwhile(desk: Desk) -> PullRequest | None:
    """Somebody was first, or our own call took its time."""
    try:
        pull = desk.api.pull(desk.job.number)
    except ApiError:
        return None  # it cannot be read any more; what is to be said stays true
    return pull if pull.merged else None


def cancelled(desk: Desk, reason: str) -> str | None:
    """Told to stop: by the person, or because what was pinned is no longer what is."""
    return fail(desk, Refused(reason))


PHASES: dict[str, Phase] = {
    "hear": hear,
    "prepare": prepare,
    "gate": gate,
    "land": land,
    "follow": follow,
    "refuse": refuse,
    "tidy": tidy,
}
