"""What a moved branch means: activity, PR heads, closed and indirectly merged PRs.

Branches move by user verbs, by merges and by `git push` through HTTP; every way ends in `moved`.
"""

from __future__ import annotations

from orchestrator.twin import acts
from orchestrator.twin.repository import NOBODY
from orchestrator.twin.world import Activity, LateRef, Pull, Repository, User, World

BRANCHES = "refs/heads/"


def moved(
    world: World, repo: Repository, ref: str, after: str | None, actor: User | None, kind: str | None = None
) -> None:
    """Branch `ref` is now at `after` (None: deleted). `kind` names the activity where it cannot be told."""
    before = repo.refs.get(ref)
    if before == after:
        return
    if after is None:
        del repo.refs[ref]
    else:
        repo.refs[ref] = after
    forced = before is not None and after is not None and not repo.bare.is_ancestor(before, after)
    if kind is None:
        kind = _kind(before, after, forced)
    repo.activity.append(Activity(world.new_id(), ref, before or NOBODY, after or NOBODY, world.now(), kind, actor))
    repo.pushed_at = world.now()
    branch = ref.removeprefix(BRANCHES)
    for other in world.repos.values():
        for pull in other.pulls:
            if pull.issue.state == "open" and pull.head_repo is repo and pull.head_ref == branch:
                _head_moved(world, pull, after, actor, forced)
    for pull in repo.pulls:
        if pull.issue.state == "open" and pull.base_ref == branch:
            _base_moved(world, pull, after, actor)


def _kind(before: str | None, after: str | None, forced: bool) -> str:
    if after is None:
        return "branch_deletion"
    if before is None:
        return "branch_creation"
    return "force_push" if forced else "push"


def _head_moved(world: World, pull: Pull, after: str | None, actor: User | None, forced: bool) -> None:
    if after is None:
        acts.add_event(world, pull.issue, "head_ref_deleted", actor)
        acts.close(world, pull.issue, actor)
        return
    if pull.head_repo is not None and pull.head_repo is not pull.repo:
        pull.repo.bare.fetch(pull.head_repo.bare, after)
    pull.head_sha = after
    pull.base_sha = pull.repo.tip(pull.base_ref) or pull.base_sha
    pull.unknown_reads = world.mergeable_after
    pull.told_mergeable = None
    if forced:
        acts.add_event(world, pull.issue, "head_ref_force_pushed", actor, commit=after)
    acts.touch(world, pull.issue)
    ref = f"refs/pull/{pull.number}/head"
    late = world.lags.get("refs", 0)
    pull.repo.late_refs = [one for one in pull.repo.late_refs if one.ref != ref]
    if late:
        pull.repo.late_refs.append(LateRef(ref, after, late))
    else:
        pull.repo.bare.set_ref(ref, after)


def _base_moved(world: World, pull: Pull, after: str | None, actor: User | None) -> None:
    if after is None:
        # GitHub closes the PRs that were based on a deleted branch (cli/cli#1168).
        acts.add_event(world, pull.issue, "base_ref_deleted", actor)
        acts.close(world, pull.issue, actor)
        return
    pull.unknown_reads = world.mergeable_after
    if pull.repo.bare.is_ancestor(pull.head_sha, after):
        mark_merged(world, pull, actor, pull.head_sha)


def mark_merged(world: World, pull: Pull, actor: User | None, sha: str) -> None:
    """The PR's work is in its base: merged and closed, linked issues closed."""
    pull.merged_at, pull.merged_by, pull.merge_sha = world.now(), actor, sha
    pull.merged_hidden = world.lags.get("merged", 0)
    acts.add_event(world, pull.issue, "merged", actor, commit=sha)
    acts.close(world, pull.issue, actor, commit=sha)
    if pull.base_ref == pull.repo.default_branch and pull.repo.autoclose:
        for issue in pull.linked_issues:
            acts.close(world, issue, actor, commit=sha)


def sync(world: World, repo: Repository, actor: User | None) -> list[tuple[str, str, str]]:
    """Take in what git pushes did to the branches; each as (ref, before, after)."""
    seen = repo.bare.refs()
    changed = []
    for ref in sorted({*seen, *repo.refs}):
        before, after = repo.refs.get(ref), seen.get(ref)
        if before != after:
            moved(world, repo, ref, after, actor)
            changed.append((ref, before or NOBODY, after or NOBODY))
    return changed


def fetched(repo: Repository) -> None:
    """A git fetch begins: refs that lag behind the API come one fetch nearer."""
    due = [late for late in repo.late_refs if late.fetches <= 0]
    repo.late_refs = [late for late in repo.late_refs if late.fetches > 0]
    for late in repo.late_refs:
        late.fetches -= 1
    for late in due:
        repo.bare.set_ref(late.ref, late.sha)


def push(
    world: World,
    repo: Repository,
    branch: str,
    sha: str,
    actor: User,
) -> None:
    """Move a branch from inside, as a person's push does."""
    repo.bare.set_ref(f"{BRANCHES}{branch}", sha)
    moved(world, repo, f"{BRANCHES}{branch}", sha, actor)
