"""Mergeability and the three ways to merge, made by real git.

A merge call pins the head, never the base: the base's tip is read and set by compare-and-swap here.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.twin import checks, protection, pushes
from orchestrator.twin.repository import Person
from orchestrator.twin.world import Pull, User, World

GITHUB = Person("GitHub", "noreply@github.com")
BASE_MOVED = "Base branch was modified. Review and try the merge again."
HEAD_MOVED = "Head branch was modified. Review and try the merge again."
QUEUE_ONLY = "Changes must be made through the merge queue"
METHODS = ("merge", "squash", "rebase")


class NotMerged(Exception):
    """GitHub's sentence and status for a merge it does not make."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Order:
    """How somebody wants a PR merged; None: GitHub's default."""

    method: str = "squash"
    sha: str | None = None
    title: str | None = None
    text: str | None = None


def clean(pull: Pull) -> bool:
    """Whether head and base merge without a conflict, by git."""
    base = pull.repo.tip(pull.base_ref)
    return base is not None and not pull.repo.bare.merge_tree(base, pull.head_sha).conflicts


def rebaseable(pull: Pull) -> bool:
    """Whether each commit of a PR that merges cleanly applies by itself; of a single one the merge tells it."""
    base, bare = pull.repo.tip(pull.base_ref), pull.repo.bare
    if base is None:
        return False
    return len(bare.commits(base, pull.head_sha)) == 1 or bare.rebase(base, pull.head_sha, GITHUB, 0) is not None


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
    """Of the branch alone: who asks, and whether the PR waits in a queue, changes nothing."""
    if not merges:
        return "dirty"
    if pull.draft:
        return "draft"
    if protection.debts(world, pull):
        return "blocked"
    if protection.behind(pull):
        return "behind"
    if any(state != "passing" for state in checks.states(pull.repo, pull.head_sha).values()):
        return "unstable"
    return "has_hooks" if pull.repo.has_hooks else "clean"


def merge(world: World, pull: Pull, actor: User, order: Order) -> str:
    """Merge a PR as GitHub does when it is asked; the base's new tip. NotMerged with GitHub's own words."""
    if pull.issue.state != "open" or pull.repo.tip(pull.base_ref) is None:
        raise NotMerged(405, "Pull Request is not mergeable")
    if not getattr(pull.repo, f"allow_{order.method}"):
        name = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[order.method]
        raise NotMerged(405, f"{name} are not allowed on this repository.")
    if order.sha is not None and order.sha != pull.head_sha:
        raise NotMerged(409, HEAD_MOVED)
    if pull.draft:
        raise NotMerged(405, "Pull Request is still a draft")
    if not clean(pull):
        raise NotMerged(405, "Pull Request is not mergeable")
    if protection.holds(pull, actor):
        _check_demands(world, pull)
    return land(world, pull, actor, order)


def _check_demands(world: World, pull: Pull) -> None:
    queued = [QUEUE_ONLY] if protection.of(pull).queue else []
    owed = [*queued, *protection.debts(world, pull)]
    if owed:
        raise NotMerged(405, protection.refusal(pull, owed))
    if protection.behind(pull):
        raise NotMerged(405, "Head branch is out of date. Review and try the merge again.")


def land(world: World, pull: Pull, actor: User, order: Order, kind: str = "pr_merge") -> str:
    """Put the PR's work on the live base, whatever the branch demands; the base's new tip."""
    repo = pull.repo
    base = repo.tip(pull.base_ref)
    if base is None:
        raise NotMerged(405, "Pull Request is not mergeable")
    made = _made(world, pull, actor, base, order)
    ref = f"{pushes.BRANCHES}{pull.base_ref}"
    if not repo.bare.update_ref(ref, made, base):
        raise NotMerged(405, BASE_MOVED)
    pushes.mark_merged(world, pull, actor, made)
    pushes.moved(world, repo, ref, made, actor, kind=kind)
    if repo.delete_branch_on_merge and pull.head_repo is repo:
        repo.bare.delete_ref(f"{pushes.BRANCHES}{pull.head_ref}")
        pushes.moved(world, repo, f"{pushes.BRANCHES}{pull.head_ref}", None, actor)
    return made


def _made(world: World, pull: Pull, actor: User, base: str, order: Order) -> str:
    bare = pull.repo.bare
    merged = bare.merge_tree(base, pull.head_sha)
    if merged.conflicts:
        raise NotMerged(405, "Pull Request is not mergeable")
    if order.method == "rebase":
        tip = bare.rebase(base, pull.head_sha, actor.person, world.now())
        if tip is None:
            raise NotMerged(405, "This branch can't be rebased")
        return tip
    if order.method == "merge":
        title = order.title or f"Merge pull request #{pull.number} from {pull.head_owner.login}/{pull.head_ref}"
        message = f"{title}\n\n{pull.issue.title if order.text is None else order.text}".rstrip() + "\n"
        return bare.commit_tree(merged.tree, [base, pull.head_sha], message, actor.person, GITHUB, world.now())
    author = pull.issue.user.person if pull.issue.user else GITHUB
    message = _squash_message(pull, base, order)
    return bare.commit_tree(merged.tree, [base], message, author, GITHUB, world.now())


def _squash_message(pull: Pull, base: str, order: Order) -> str:
    """GitHub's default: the only commit's message, else the PR's title and a list of the commits."""
    bare = pull.repo.bare
    messages = [bare.message(sha) for sha in bare.commits(base, pull.head_sha)]
    subject = messages[0].split("\n", 1)[0] if len(messages) == 1 else pull.issue.title
    title, text = order.title, order.text
    if title is None:
        title = f"{subject} (#{pull.number})"
    if text is None and len(messages) == 1:
        text = messages[0].partition("\n")[2].strip()
    elif text is None:
        text = "\n\n".join(f"* {message}" for message in messages)
    return f"{title}\n\n{text}".rstrip() + "\n"
