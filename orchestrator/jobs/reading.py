"""All that the merge verdict needs, read afresh in one block with no other work in between.

In this order: GitHub's own state, permission, reviews, checks, the pull request, the base's tip, the comments.
What a crash or a rate limit puts between two of these reads makes the whole block be read again.
"""

from __future__ import annotations

from orchestrator.decide.authority import heard
from orchestrator.decide.checks import CiVerdict, Reading, judge
from orchestrator.decide.commands import Verb, parse
from orchestrator.decide.verdict import Asked, Attempt, Policy, Reviews, Snapshot
from orchestrator.github.api import Api, MergeFacts
from orchestrator.jobs.asking import trust
from orchestrator.jobs.desk import Desk
from orchestrator.marks import is_ours
from orchestrator.model import Actor, Approval, BranchRules, MergeState, PullRequest
from orchestrator.record import Job

CHECKS_POLL = 20.0  # seconds between two readings of the checks alone
UNKNOWN_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds; GitHub computes the state when it is asked for


def look(desk: Desk) -> tuple[Snapshot, CiVerdict]:
    """Everything of now, and what was seen of the checks without regard to what is required.

    Raises what the transport raises: an unreadable thing is never taken for a good one.
    """
    job, api, settings = desk.job, desk.api, desk.settings
    github = _merge_facts(desk)
    permission = api.permission(asker(desk))
    rules = api.rules(job.base_ref)
    reviews = _reviews(desk, github.decision)
    runs = api.check_runs(job.head)
    ci = judge(runs, rules.checks)
    pull = api.pull(job.number)
    desk.refuse_second_writer(pull)
    base_tip = api.branch_sha(job.base_ref) or ""
    cancelled = cancelled_by(desk, pull)
    seen = Snapshot(
        now=desk.clock.now(),
        asked=_asked(job),
        pull=pull,
        repo_id=desk.place.repo.id,
        permission=permission,
        ci=ci,
        base_tip=base_tip,
        state=github.state,
        reviews=reviews,
        policy=Policy(
            approval=Approval(settings.require_approval),
            allow_forks=settings.allow_fork_merge,
            hold_label=settings.hold_label,
            ci_settle=settings.ci_settle,
            ci_timeout=settings.ci_timeout,
            trigger=settings.merge_comment_trigger,
        ),
        attempt=_attempt(desk, ci, github.state),
        cancelled_by=cancelled,
        has_workflows=ci.reading is Reading.EMPTY and desk.mirror.has_path(job.head, ".github/workflows"),
        behind=_behind(desk, rules, base_tip),
        queued=github.has_queue,
    )
    return seen, judge(runs)


def _asked(job: Job) -> Asked:
    facts = job.facts
    at = float(facts["asked_at"])
    return Asked(job.asked_by, job.head, job.base_ref, at, str(facts["sha"]), str(facts["demands"]))


def asker(desk: Desk) -> Actor:
    """Who wrote the command."""
    return Actor(int(desk.job.facts["asked_by_id"]), desk.job.asked_by)


def cancelled_by(desk: Desk, pull: PullRequest) -> str:
    """Who took the command back: by a later `/merge cancel` of somebody who may, or by deleting the comment."""
    job = desk.job
    comments = desk.api.comments(job.number)
    if all(str(c.id) != job.trigger for c in comments):
        return job.asked_by
    for comment in comments:
        author = comment.author
        if author is None or comment.id <= int(job.trigger) or is_ours(comment, desk.place.me.id):
            continue
        command = parse(comment.body, desk.settings.merge_comment_trigger)
        if command is not None and command.verb is Verb.CANCEL and may_cancel(desk.api, pull, author):
            return author.login
    return ""


def may_cancel(api: Api, pull: PullRequest, actor: Actor) -> bool:
    """Write permission, or one's own PR."""
    return (pull.author is not None and pull.author.id == actor.id) or api.permission(actor).may_write


def await_change(desk: Desk, seen: CiVerdict, until: float) -> None:
    """Wait until another look at everything is worth its requests: the checks are not as `seen`, or it is `until`."""
    while (left := until - desk.clock.now()) > 0:
        desk.wait(min(CHECKS_POLL, desk.settings.ci_settle or CHECKS_POLL, left))
        if judge(desk.api.check_runs(desk.job.head)) != seen:
            return


def _merge_facts(desk: Desk) -> MergeFacts:
    found = desk.api.merge_state(desk.job.number)
    for seconds in UNKNOWN_WAITS:
        if found.state is not MergeState.UNKNOWN:
            break
        desk.wait(seconds)
        found = desk.api.merge_state(desk.job.number)
    return found


def _reviews(desk: Desk, decision: str) -> Reviews:
    """The newest word of each reviewer who may write; a remark without a judgement changes none."""
    newest: dict[int, tuple[Actor, str, str]] = {}
    for review in desk.api.reviews(desk.job.number):
        if review.author is not None and review.state in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
            newest[review.author.id] = (review.author, review.state, review.head)

    def may_write(actor: Actor) -> bool:
        return desk.api.permission(actor).may_write

    trusting = trust(desk.settings)
    approves = Approval(desk.settings.require_approval) is Approval.ALWAYS
    return Reviews(
        decision,
        tuple(who.login for who, word, _ in newest.values() if word == "CHANGES_REQUESTED" and may_write(who)),
        tuple(
            who.login
            for who, word, head in newest.values()
            if approves and word == "APPROVED" and head == desk.job.head and heard(who, trusting) and may_write(who)
        ),
    )


def _attempt(desk: Desk, ci: CiVerdict, state: MergeState) -> Attempt:
    """How far it is; when something was first read so is noted on the record, so that a restart waits no longer."""
    job, now = desk.job, desk.clock.now()

    def since(name: str, holds: bool) -> float:
        return float(job.facts.get(name) or now) if holds else 0.0

    noted = {
        "ci_since": since("ci_since", True),
        "empty_since": since("empty_since", ci.reading is Reading.EMPTY),
        "blocked_since": since("blocked_since", state is MergeState.BLOCKED and ci.reading is not Reading.PENDING),
    }
    if any(job.facts.get(name) != value for name, value in noted.items()):
        desk.note(**noted)
    return Attempt(tested_base=job.base if job.tree else "", tests=int(job.facts.get("tests", 0)), **noted)


def _behind(desk: Desk, rules: BranchRules, base_tip: str) -> bool:
    if not rules.strict or desk.mirror.sha(base_tip or "refs/none") is None:
        return False
    return not desk.mirror.contains(desk.job.head, base_tip)
