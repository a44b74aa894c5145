"""After the merge: verify, close, delete, say. Every step is harmless when it is done already."""

from __future__ import annotations

from orchestrator import texts
from orchestrator.errors import Retry
from orchestrator.github.transport import ApiError, Moved
from orchestrator.jobs.desk import Desk
from orchestrator.log import get
from orchestrator.model import PullRequest, Status


def land_known(desk: Desk, pull: PullRequest, before: bool) -> str:
    """GitHub says it is merged: by us without an answer, by a person, or (`before`) long ago."""
    by = pull.merged_by
    ours = by is not None and by.id == desk.place.me.id and "merge" in desk.job.effects
    desk.note(merged_before=before, merged_by="" if ours or by is None else by.login)
    desk.keep(merge_sha=pull.merge_sha or "", head=desk.job.head or pull.head_sha)
    return "tidy"


def tidy(desk: Desk, late: bool) -> None:
    """Verify what landed, then issues, branch, worktree and the last word. `late`: a cancel came after the call."""
    job = desk.job
    pull = desk.api.pull(job.number)
    lines = [_verdict(desk), *_close_issues(desk)]
    kept = _delete_branch(desk, pull)
    if kept:
        lines.append(texts.branch_kept(pull.head_ref, kept))
    desk.effects.show(f"status-{job.trigger}", job.number, "\n\n".join(lines))
    if late:
        desk.effects.say(f"late-{job.trigger}", job.number, texts.TOO_LATE)
    desk.drop_worktree(f"merge-{job.number}")
    desk.keep(status=Status.DONE, pr=job.number)


def _close_issues(desk: Desk) -> list[str]:
    """Close what GitHub links and what the PR was made for; a sentence for each that stays open."""
    kept = []
    for number in sorted({*desk.api.linked_issues(desk.job.number), *_own_issues(desk)}):
        try:
            desk.effects.again(f"close-{number}", lambda n=number: desk.api.close_issue(n))  # type: ignore[misc]
        except ApiError as error:
            kept.append(texts.issue_kept(number, f"GitHub answered {error.status}"))
    return kept


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
    parent = desk.mirror.sha(f"{job.merge_sha}^")
    if tree is None or parent is None:
        raise Retry(f"{job.merge_sha} is not on {job.base_ref} yet")
    if tree != job.tree or parent != job.base:
        return texts.untested(job, parent, desk.mirror.log(job.base, parent))
    return texts.merged(job, desk.settings.pre_merge_commands, str(job.facts.get("checks", "")))


def _delete_branch(desk: Desk, pull: PullRequest) -> str:
    """Delete the head branch when that is safe; else the reason why it stays ("" when it is gone)."""
    if desk.job.effects.get("branch"):
        return ""
    if pull.head_repo_id != desk.place.repo.id:
        return "it is in another repository"
    try:
        if pull.head_ref == desk.api.repo().default_branch:
            return "it is the default branch"
        tip = desk.api.branch_sha(pull.head_ref)
        if tip is None:
            return ""
        if tip != pull.head_sha or (desk.job.head and tip != desk.job.head):
            return f"it got new commits after the merge, its tip is now {texts.short(tip)}"
        if desk.api.is_protected(pull.head_ref):
            return "it is protected"
        stacked = desk.api.based_on(pull.head_ref)
        if stacked:
            # GitHub closes the PRs that are based on a deleted branch (cli/cli#1168).
            return "open pull requests are based on it: " + ", ".join(f"#{n}" for n in stacked)
        desk.effects.once("branch", lambda: desk.api.delete_branch(pull.head_ref), lambda: None)
    except ApiError as error:
        return f"GitHub answered {error.status}"
    except Retry as trouble:
        get().warning("branch_kept", trouble=str(trouble))
        return "GitHub did not say whether it may go"
    return "" if desk.job.effects.get("branch") else "GitHub protects it"
