"""Mergeability and the squash merge, made by real git.

A merge call pins the head, never the base: the base's tip is read and set by compare-and-swap here.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.twin import pushes
from orchestrator.twin.repository import Person
from orchestrator.twin.world import CheckRun, Protection, Pull, Repository, Status, User, World

GITHUB = Person("GitHub", "noreply@github.com")
GREEN = ("success", "skipped", "neutral")
BASE_MOVED = "Base branch was modified. Review and try the merge again."


class NotMerged(Exception):
    """GitHub's sentence and status for a merge it does not make."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class CheckState:
    """One required context on one commit: `expected` (absent), `pending`, `failing` or `passing`."""

    context: str
    state: str


def latest_runs(repo: Repository, sha: str) -> list[CheckRun]:
    """The newest run of every name and app on a commit."""
    newest: dict[tuple[str, int], CheckRun] = {}
    for run in repo.check_runs:
        if run.suite.sha == sha:
            newest[run.name, run.suite.app.id] = run
    return sorted(newest.values(), key=lambda run: run.id)


def latest_statuses(repo: Repository, sha: str) -> list[Status]:
    """The newest status of every context on a commit."""
    newest: dict[str, Status] = {}
    for status in repo.statuses:
        if status.sha == sha:
            newest[status.context] = status
    return sorted(newest.values(), key=lambda status: status.id)


def _states(repo: Repository, sha: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in latest_runs(repo, sha):
        done = "passing" if run.conclusion in GREEN else "failing"
        found.setdefault(run.name, []).append(done if run.status == "completed" else "pending")
    words = {"success": "passing", "pending": "pending"}
    for status in latest_statuses(repo, sha):
        found.setdefault(status.context, []).append(words.get(status.state, "failing"))
    return found


def _worst(states: list[str]) -> str:
    return next(word for word in ("failing", "pending", "passing") if word in states)


def required_checks(pull: Pull) -> list[CheckState]:
    """The state of each context that the base branch demands."""
    states = _states(pull.repo, pull.head_sha)
    protection = pull.repo.protections.get(pull.base_ref, Protection())
    return [CheckState(name, _worst(states[name]) if name in states else "expected") for name in protection.checks]


def clean(pull: Pull) -> bool:
    """Whether head and base merge without a conflict, by git."""
    base = pull.repo.tip(pull.base_ref)
    return base is not None and not pull.repo.bare.merge_tree(base, pull.head_sha).conflicts


def review_decision(world: World, pull: Pull) -> str | None:
    """GitHub's word; None without a protection that asks for reviews."""
    wanted = pull.repo.protections.get(pull.base_ref, Protection()).reviews
    if not wanted:
        return None
    latest = {
        review.user.id: review.state
        for review in pull.reviews
        if review.user
        and review.state in ("APPROVED", "CHANGES_REQUESTED")
        and world.may(pull.repo, review.user, "write")
    }
    if "CHANGES_REQUESTED" in latest.values():
        return "CHANGES_REQUESTED"
    return "APPROVED" if list(latest.values()).count("APPROVED") >= wanted else "REVIEW_REQUIRED"


def mergeability(world: World, pull: Pull) -> tuple[bool | None, str]:
    """`mergeable` and `mergeable_state` of one read; each read after a push brings the answer nearer."""
    if pull.merged_at is not None or pull.issue.state == "closed":
        return None, "unknown"
    if pull.unknown_reads > 0:
        pull.unknown_reads -= 1
        return None, "unknown"
    merges = clean(pull) if pull.told_mergeable is None else pull.told_mergeable
    return merges, _merge_state(world, pull, merges)


def _merge_state(world: World, pull: Pull, merges: bool) -> str:
    if not merges:
        return "dirty"
    if pull.draft:
        return "draft"
    if _obstacle(world, pull):
        return "blocked"
    protection = pull.repo.protections.get(pull.base_ref, Protection())
    if protection.strict and _behind(pull):
        return "behind"
    states = [_worst(found) for found in _states(pull.repo, pull.head_sha).values()]
    return "unstable" if any(state != "passing" for state in states) else "clean"


def _behind(pull: Pull) -> bool:
    base = pull.repo.tip(pull.base_ref)
    return base is not None and not pull.repo.bare.is_ancestor(base, pull.head_sha)


def _obstacle(world: World, pull: Pull) -> str | None:
    """The sentence with which a protection refuses."""
    open_checks = [check for check in required_checks(pull) if check.state != "passing"]
    if len(open_checks) == 1:
        word = {"expected": "is expected", "pending": "is pending", "failing": "is failing"}[open_checks[0].state]
        return f'Required status check "{open_checks[0].context}" {word}.'
    if open_checks:
        total = len(required_checks(pull))
        return f"{len(open_checks)} of {total} required status checks have not succeeded: {_count(open_checks)}."
    decision = review_decision(world, pull)
    if decision == "REVIEW_REQUIRED":
        return "At least 1 approving review is required by reviewers with write access."
    if decision == "CHANGES_REQUESTED":
        return "Changes were requested by a reviewer with write access."
    return None


def _count(checks: list[CheckState]) -> str:
    words = [check.state for check in checks]
    return ", ".join(f"{words.count(word)} {word}" for word in ("failing", "pending", "expected") if word in words)


def squash(
    world: World, pull: Pull, actor: User, sha: str | None = None, title: str | None = None, text: str | None = None
) -> str:
    """Squash-merge a PR as GitHub does; the new commit. NotMerged with GitHub's own words."""
    repo = pull.repo
    base = repo.tip(pull.base_ref)
    if pull.issue.state != "open" or base is None:
        raise NotMerged(405, "Pull Request is not mergeable")
    if not repo.allow_squash:
        raise NotMerged(405, "Squash merges are not allowed on this repository.")
    if sha is not None and sha != pull.head_sha:
        raise NotMerged(409, "Head branch was modified. Review and try the merge again.")
    if pull.draft:
        raise NotMerged(405, "Pull Request is still a draft")
    merged = repo.bare.merge_tree(base, pull.head_sha)
    if merged.conflicts:
        raise NotMerged(405, "Pull Request is not mergeable")
    obstacle = _obstacle(world, pull)
    if obstacle is not None:
        raise NotMerged(405, obstacle)
    if repo.protections.get(pull.base_ref, Protection()).strict and _behind(pull):
        raise NotMerged(405, "Head branch is out of date. Review and try the merge again.")
    message = _message(pull, base, title, text)
    author = pull.issue.user.person if pull.issue.user else GITHUB
    made = repo.bare.commit_tree(merged.tree, [base], message, author, GITHUB, world.now())
    ref = f"{pushes.BRANCHES}{pull.base_ref}"
    if not repo.bare.update_ref(ref, made, base):
        raise NotMerged(405, BASE_MOVED)
    pushes.mark_merged(world, pull, actor, made)
    pushes.moved(world, repo, ref, made, actor, kind="pr_merge")
    if repo.delete_branch_on_merge and pull.head_repo is repo:
        repo.bare.delete_ref(f"{pushes.BRANCHES}{pull.head_ref}")
        pushes.moved(world, repo, f"{pushes.BRANCHES}{pull.head_ref}", None, actor)
    return made


def _message(pull: Pull, base: str, title: str | None, text: str | None) -> str:
    """GitHub's default: the only commit's message, else the PR's title and a list of the commits."""
    bare = pull.repo.bare
    messages = [bare.message(sha) for sha in bare.commits(base, pull.head_sha)]
    subject = messages[0].split("\n", 1)[0] if len(messages) == 1 else pull.issue.title
    if title is None:
        title = f"{subject} (#{pull.number})"
    if text is None and len(messages) == 1:
        text = messages[0].partition("\n")[2].strip()
    elif text is None:
        text = "\n\n".join(f"* {message}" for message in messages)
    return f"{title}\n\n{text}".rstrip() + "\n"
