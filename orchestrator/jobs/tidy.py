"""After the merge: verify, say, close, delete. Every step is harmless when it is done already.

Guaranteed: what landed is compared and said before anything else is touched, so that no trouble of the rest
hides a difference.
"""

from __future__ import annotations

from orchestrator import staying, texts
from orchestrator.errors import Retry
from orchestrator.github.transport import ApiError, Moved
from orchestrator.jobs.branch import delete_branch
from orchestrator.jobs.desk import Desk
from orchestrator.jobs.reading import cancelled_by
from orchestrator.log import get
from orchestrator.model import PullRequest
from orchestrator.record import Status

ANNOUNCED = "merge"  # the key of the call among the job's effects
LISTING_FAILURES = 3  # in a row, after which the tail goes on without the list


def land_known(desk: Desk, pull: PullRequest, before: bool) -> str:
    """GitHub says it is merged: by us without an answer, by a person, or (`before`) long ago."""
    by = pull.merged_by
    # A queue merges in its own name what we put into it.
    ours = "queue" in desk.job.facts or (by is not None and by.id == desk.place.me.id and "called" in desk.job.facts)
    desk.note(merged_before=before, merged_by="" if ours or by is None else by.login)
    desk.keep(merge_sha=pull.merge_sha or "", head=desk.job.head or pull.head_sha)
    return "tidy"


def tidy(desk: Desk) -> None:
    """Say what landed, then issues, branch, worktree, what was kept, and that a cancel after the call was too late."""
    job = desk.job
    lines = [_told(desk), *_close_issues(desk)]
    pull = desk.api.pull(job.number)
    kept = delete_branch(desk, pull)
    if kept:
        lines.append(staying.branch_kept(pull.head_ref, kept))
    desk.effects.show(f"status-{job.trigger}", job.number, "\n\n".join(lines))
    if not job.facts.get("merged_by") and cancelled_by(desk, pull):
        desk.effects.say(f"late-{job.trigger}", job.number, texts.TOO_LATE)
    desk.drop_tree()
    desk.keep(status=Status.DONE, pr=job.number)


def _told(desk: Desk) -> str:
    """What landed: found out once, and shown before anything is tidied up."""
    job = desk.job
    if "landed" not in job.facts:
        word = _verdict(desk)
        desk.effects.show(f"status-{job.trigger}", job.number, word)
        desk.keep(facts={**desk.job.facts, "landed": word}, failures=0)
    return str(desk.job.facts["landed"])


def _close_issues(desk: Desk) -> list[str]:
    """Close what GitHub links and what the PR was made for; a sentence for each that stays open, or is foreign."""
    kept = []
    linked: list[int] = []
    foreign: list[str] = []
    try:
        linked, foreign = desk.api.linked_issues(desk.job.number)
    except (ApiError, Retry) as trouble:
        if isinstance(trouble, Retry) and desk.job.failures < LISTING_FAILURES:
            raise
        get().warning("issues_unread", trouble=str(trouble))
        kept.append(texts.ISSUES_UNREAD)
    for number in sorted({*linked, *_own_issues(desk)}):
        try:
            desk.effects.again(f"close-{number}", lambda n=number: desk.api.close_issue(n))  # type: ignore[misc]
        except ApiError as error:
            kept.append(texts.issue_kept(number, texts.answered(error.status)))
    return [*kept, texts.foreign_issues(foreign)] if foreign else kept


def _own_issues(desk: Desk) -> list[int]:
    try:
        return desk.own_issues()
    except (ApiError, Moved) as gone:
        # Deleted or transferred: nothing of this repository is left to close.
        get().info("issue_gone", answer=str(gone))
        return []


def _verdict(desk: Desk) -> str:
    """What landed, compared with what was tested."""
    job = desk.job
    if job.facts.get("merged_before"):
        return texts.already_merged(job.merge_sha)
    if job.facts.get("merged_by"):
        return texts.merged_by(job, str(job.facts["merged_by"]))
    desk.mirror.fetch(f"refs/heads/{job.base_ref}")
    tree = desk.mirror.sha(f"{job.merge_sha}^{{tree}}")
    below = _below(desk)
    if tree is None or below is None:
        raise Retry(f"{job.merge_sha} is not on {job.base_ref} yet")
    if tree != job.tree or below != job.base:
        untested = desk.mirror.log(job.base, below)
        queued = "queue" in job.facts and below != job.base
        return (texts.queued_with if queued else texts.untested)(job, below, untested)
    return texts.merged(job, desk.settings.pre_merge_commands, str(job.facts.get("checks", "")))


def _below(desk: Desk) -> str | None:
    """What the base showed before ours landed: under one commit, or under as many as were rebased."""
    job = desk.job
    rebased = desk.settings.merge_method == "rebase"
    below: str | None = job.merge_sha
    # A rebase leaves out merges, and what the base has already: then the tested base comes sooner.
    for _ in desk.mirror.log(job.base, job.head, "--no-merges") if rebased else range(1):
        if below is None or below == job.base:
            break
        below = desk.mirror.sha(f"{below}^")
    return below
