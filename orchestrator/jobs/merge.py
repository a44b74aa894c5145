"""A `/merge` comment lands exactly what was asked for and tested, or says exactly why not.

hear → gate → land → tidy. `hear` checks who asked and pins the head that the person could see. `gate` reads
everything afresh, lets the pure verdict decide, builds the merge of pinned head and live base and runs the
commands on it, as often as the base moves. `land` makes the one irreversible call with `sha`. `tidy` closes
linked issues, deletes the branch when that is safe, and says what landed.

Guaranteed: the permission, the checks, the PR and the base are read again right before the call; an
ambiguous answer to the call is resolved by reading, never by calling again first; after `land` was entered
a restart reads before it calls; what landed is compared with what was tested and a difference is said.

Left alone: the API pins the head but not the base; the gap is one request wide and is looked for afterwards.
"""

from __future__ import annotations

from orchestrator import texts
from orchestrator.decide.checks import CiVerdict, Reading, judge
from orchestrator.decide.commands import Verb, parse
from orchestrator.decide.verdict import Done, Merge, Refuse, Snapshot, Test, Verdict, Wait, verdict
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.github.api import Api
from orchestrator.github.transport import ApiError, Unknown
from orchestrator.jobs.desk import CommandFailed, Desk, Phase
from orchestrator.jobs.review import fetch_pinned
from orchestrator.jobs.tidy import land_known, tidy
from orchestrator.model import Actor, Checks, Comment, PullRequest, Status

CI_POLL = 20.0  # seconds between two readings of the checks
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
    desk.effects.again("eyes", lambda: desk.api.react_to_comment(asked.id, "eyes"))
    if pull.merged:
        return land_known(desk, pull, before=True)
    if not pull.open:
        raise Refused(texts.CLOSED)
    desk.keep(head=_pin(desk, pull))
    _status(desk, "checking")
    return "gate"


def _answered(desk: Desk, comments: list[Comment]) -> bool:
    """Refused before the memory was lost: a failed attempt leaves nothing pending, so it is over for good."""
    mark = texts.mark(desk.job, f"refused-{desk.job.trigger}")
    return any(texts.is_ours(c, desk.place.me.id) and c.body.startswith(mark) for c in comments)


def _may_ask(desk: Desk, comment: Comment) -> None:
    job = desk.job
    asker = Actor(int(job.facts["asked_by_id"]), job.asked_by)
    if not desk.api.permission(asker).may_write:
        raise NotAllowed(texts.needs_write(job.asked_by))
    if desk.api.was_edited(comment):
        raise Refused(texts.EDITED)


def _pin(desk: Desk, pull: PullRequest) -> str:
    """The head that the person could see; Refused with the way to name it when that cannot be shown."""
    job = desk.job
    trigger = desk.settings.merge_comment_trigger
    named = str(job.facts.get("sha") or "")
    if named:
        if not pull.head_sha.startswith(named.lower()):
            raise Refused(texts.head_is(pull.head_sha, trigger))
        return pull.head_sha
    asked_at = float(job.facts["asked_at"])
    if job.facts.get("head_seen") == pull.head_sha:
        return pull.head_sha
    if pull.head_repo_id != desk.place.repo.id:
        raise Refused(texts.FORK)
    try:
        seen = desk.api.head_before(pull.head_ref, asked_at)
    except ApiError as error:
        raise Refused(texts.pushed_after(pull.head_sha, trigger)) from error
    if seen != pull.head_sha:
        raise Refused(texts.pushed_after(pull.head_sha, trigger))
    return pull.head_sha


def gate(desk: Desk) -> str | None:
    """Read, decide, and do what the verdict says, until it says merge, refuse or done."""
    while True:
        desk.check()
        decision, seen = _read_and_decide(desk)
        match decision:
            case Done():
                return land_known(desk, desk.api.pull(desk.job.number), before=False)
            case Refuse(why):
                raise Refused(why)
            case Test():
                _test(desk)
            case Wait(why):
                _status(desk, why)
                _await_checks(desk, seen)
            case Merge(checks):
                desk.note(checks=checks)
                return "land"


def _read_and_decide(desk: Desk) -> tuple[Verdict, CiVerdict]:
    """The final read block: permission, checks, PR, base tip, comments, in this order, with no work in between.

    The verdict, and what was seen of the checks without regard to what is required.
    """
    job = desk.job
    permission = desk.api.permission(Actor(int(job.facts["asked_by_id"]), job.asked_by))
    ci, seen, has_workflows = _read_checks(desk)
    pull = desk.api.pull(job.number)
    base_tip = desk.api.branch_sha(job.base_ref) or ""
    cancelled_by = _cancelled_by(desk, pull)
    now = desk.clock.now()
    facts = desk.job.facts
    decision = verdict(
        Snapshot(
            pull=pull,
            repo_id=desk.place.repo.id,
            pinned=job.head,
            base_ref=job.base_ref,
            permission=permission,
            asked_by=job.asked_by,
            ci=ci,
            base_tip=base_tip,
            tested_base=job.base if job.tree else "",
            tests=int(facts.get("tests", 0)),
            cancelled_by=cancelled_by,
            waited=now - float(facts["ci_since"]),
            empty_for=now - float(facts["empty_since"]) if facts.get("empty_since") else 0.0,
            has_workflows=has_workflows,
            ci_settle=desk.settings.ci_settle,
            ci_timeout=desk.settings.ci_timeout,
        )
    )
    return decision, seen


def _cancelled_by(desk: Desk, pull: PullRequest) -> str:
    """Who took the command back: by a later `/merge cancel` of somebody who may, or by deleting the comment."""
    job = desk.job
    comments = desk.api.comments(job.number)
    if all(str(c.id) != job.trigger for c in comments):
        return job.asked_by
    for comment in comments:
        author = comment.author
        if author is None or comment.id <= int(job.trigger) or texts.is_ours(comment, desk.place.me.id):
            continue
        command = parse(comment.body, desk.settings.merge_comment_trigger)
        if command is not None and command.verb is Verb.CANCEL and may_cancel(desk.api, pull, author):
            return author.login
    return ""


def may_cancel(api: Api, pull: PullRequest, actor: Actor) -> bool:
    """Write permission, or one's own PR."""
    return (pull.author is not None and pull.author.id == actor.id) or api.permission(actor).may_write


def _read_checks(desk: Desk) -> tuple[CiVerdict, CiVerdict, bool]:
    """A complete reading of the pinned head's checks; the time of the first one, and of the first empty one."""
    job = desk.job
    runs = tuple(desk.api.check_runs(job.head))
    required = desk.api.required_checks(job.base_ref)
    ci = judge(Checks(job.head, runs, required))
    now = desk.clock.now()
    since = float(job.facts.get("ci_since", now))
    empty = float(job.facts.get("empty_since") or now) if ci.reading is Reading.EMPTY else 0.0
    desk.note(ci_since=since, empty_since=empty)
    has_workflows = ci.reading is Reading.EMPTY and _has_workflows(desk)
    return ci, judge(Checks(job.head, runs)), has_workflows


def _await_checks(desk: Desk, seen: CiVerdict) -> None:
    """Wait until another look at everything is worth its requests: the checks changed, or time ran out."""
    settle, timeout = desk.settings.ci_settle, desk.settings.ci_timeout
    until = desk.clock.now() + (settle if seen.reading is Reading.EMPTY else timeout)
    while True:
        desk.wait(min(CI_POLL, settle or CI_POLL))
        runs = tuple(desk.api.check_runs(desk.job.head))
        if judge(Checks(desk.job.head, runs)) != seen or desk.clock.now() >= until:
            return


def _has_workflows(desk: Desk) -> bool:
    desk.mirror.ensure()
    if desk.mirror.sha(desk.job.head) is None:
        return True  # not fetched yet, so not shown to have none
    return desk.mirror.has_path(desk.job.head, ".github/workflows")


def _test(desk: Desk) -> None:
    """Build the merge of pinned head and live base in the worktree and run the commands on it."""
    job = desk.job
    desk.keep(tree="")
    fetch_pinned(desk, job.number, job.head, job.base_ref)
    base = desk.mirror.sha(f"refs/remotes/origin/{job.base_ref}")
    if base is None:
        raise Refused(f"The base branch `{job.base_ref}` does not exist any more.")
    _status(desk, texts.testing(base, len(desk.settings.pre_merge_commands)))
    result = desk.mirror.merge(base, job.head)
    if result.conflicts:
        raise Refused(texts.conflict(result.conflicts, base))
    commit = desk.mirror.commit_tree(result.tree, [base, job.head], f"Merge {job.head} into {job.base_ref}\n")
    tree = desk.worktree(f"merge-{job.number}")
    tree.create(commit, None)
    commands = desk.settings.pre_merge_commands
    if commands:
        desk.commands(commands, tree.path, desk.new_log(f"merge-{job.number}"), desk.settings.command_timeout)
        changed = tree.modified()
        if changed:
            raise Refused(texts.files_modified(changed))
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
        done = desk.api.merge(job.number, job.head)
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
    desk.keep(merge_sha=done.sha)
    return "tidy"


def _read_back(desk: Desk) -> str:
    """The call was announced and its outcome is not known: GitHub says what happened."""
    pull = desk.api.pull(desk.job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    return _call_again(desk, texts.merge_unclear(CALL_TRIES))


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
    """A definite no: somebody was first, the base moved, or GitHub's own sentence for the person."""
    job = desk.job
    pull = desk.api.pull(job.number)
    if pull.merged:
        return land_known(desk, pull, before=False)
    _unannounce(desk)
    if error.status == 405 and error.says("base branch was modified"):
        desk.keep(tree="")
        return "gate"
    if pull.head_sha != job.head:
        raise Refused(texts.head_moved(job.head, pull.head_sha))
    if error.status == 405 and error.says("not mergeable"):
        # Our own merge is clean; right after another merge GitHub's word is stale.
        desk.wait(CALL_WAIT)
        return _call_again(desk, texts.github_refuses(error.message))
    raise Refused(texts.github_refuses(error.message))


def finish(desk: Desk) -> None:
    """The tail; who took the command back after the call learns that it was too late."""
    ours = not desk.job.facts.get("merged_by")
    tidy(desk, late=ours and bool(_cancelled_by(desk, desk.api.pull(desk.job.number))))


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
    # One refusal for each person and PR, however often they ask.
    key = f"denied-{job.facts['asked_by_id']}" if isinstance(error, NotAllowed) else f"refused-{job.trigger}"
    output = error.output if isinstance(error, CommandFailed) else b""
    desk.effects.say(key, job.number, texts.merge_refused(job, str(error), desk.hidden(output)))
    if f"status-{job.trigger}" in job.effects:
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


PHASES: dict[str, Phase] = {"hear": hear, "gate": gate, "land": land, "tidy": finish}
