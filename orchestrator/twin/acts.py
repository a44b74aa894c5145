"""How the world changes when somebody does something; the one set of rules under the endpoints and the user verbs.

`updated_at` moves as GitHub moves it: comments made or edited, labels, states, titles, pushes move the issue and
the PR; a review moves only the PR; deleted comments, reactions, checks and a moving base move nothing.
"""

from __future__ import annotations

import re

from orchestrator.twin.world import (
    Comment,
    Edit,
    Event,
    Issue,
    Label,
    Pull,
    Reaction,
    Repository,
    Review,
    ReviewComment,
    User,
    World,
)

_CLOSING = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+([\w.-]+/[\w.-]+)?#(\d+)\b", re.IGNORECASE)


def touch(world: World, issue: Issue) -> None:
    """Something happened that both faces show."""
    issue.updated_at = world.now()
    if issue.pull is not None:
        issue.pull.updated_at = issue.updated_at


def add_event(
    world: World, issue: Issue, event: str, actor: User | None, label: Label | None = None, commit: str | None = None
) -> Event:
    """Write down who did what on an issue."""
    made = Event(world.new_id(), event, actor, world.now(), label=label, commit_id=commit)
    issue.events.append(made)
    return made


def open_issue(world: World, repo: Repository, user: User, title: str, body: str | None) -> Issue:
    """A new issue under the next free number."""
    number = next_number(repo)
    issue = Issue(world.new_id(), repo, number, title, body, user, world.now(), world.now())
    repo.issues[number] = issue
    return issue


def open_pull(
    world: World,
    repo: Repository,
    user: User,
    head: tuple[Repository, str],
    base: str,
    title: str,
    body: str | None,
    draft: bool,
) -> Pull:
    """A new PR for a branch that exists, with its `refs/pull/N/head`."""
    head_repo, head_ref = head
    head_sha, base_sha = head_repo.tip(head_ref), repo.tip(base)
    if head_sha is None or base_sha is None:
        raise ValueError(f"a PR from {head_ref!r} into {base!r} needs both branches")
    issue = open_issue(world, repo, user, title, body)
    issue.hidden = world.lags.get("pulls", 0)
    pull = Pull(
        id=world.new_id(),
        issue=issue,
        head_repo=head_repo,
        head_owner=head_repo.owner,
        head_ref=head_ref,
        head_sha=head_sha,
        base_ref=base,
        base_sha=base_sha,
        updated_at=issue.updated_at,
        draft=draft,
        maintainer_can_modify=head_repo is not repo,
        unknown_reads=world.mergeable_after,
    )
    issue.pull = pull
    if head_repo is not repo:
        repo.bare.fetch(head_repo.bare, head_sha)
    repo.bare.set_ref(f"refs/pull/{issue.number}/head", head_sha)
    link_issues(pull)
    return pull


def link_issues(pull: Pull) -> None:
    """Note what the PR closes: only into the default branch, only issues; a link survives a later edit."""
    if pull.base_ref != pull.repo.default_branch:
        return
    for where, number in _CLOSING.findall(f"{pull.issue.title}\n{pull.issue.body or ''}"):
        issue = pull.repo.issues.get(int(number))
        if where.lower() in ("", pull.repo.full_name.lower()) and issue is not None and issue.pull is None:
            pull.linked.add(issue.number)


def rename(world: World, issue: Issue, actor: User, title: str) -> None:
    """Change the title."""
    made = add_event(world, issue, "renamed", actor)
    made.rename = (issue.title, title)
    issue.title = title
    touch(world, issue)


def rewrite(world: World, issue: Issue, actor: User, body: str | None) -> None:
    """Change the body; the first change brings the version before into the list of edits."""
    issue.edits = issue.edits or [Edit(issue.user, issue.created_at)]
    issue.edits.append(Edit(actor, world.now()))
    issue.body = body
    touch(world, issue)
    if issue.pull is not None:
        link_issues(issue.pull)


def close(world: World, issue: Issue, actor: User | None, reason: str = "completed", commit: str | None = None) -> None:
    """Close an open issue or PR; a closed one stays as it is."""
    if issue.state == "closed":
        return
    issue.state, issue.closed_at, issue.closed_by = "closed", world.now(), actor
    issue.state_reason = None if issue.pull is not None else reason
    add_event(world, issue, "closed", actor, commit=commit)
    touch(world, issue)


def reopen(world: World, issue: Issue, actor: User) -> None:
    """Open a closed issue or PR again; a merged PR stays closed."""
    if issue.state == "open" or (issue.pull is not None and issue.pull.merged_at is not None):
        return
    issue.state, issue.closed_at, issue.closed_by = "open", None, None
    issue.state_reason = None if issue.pull is not None else "reopened"
    add_event(world, issue, "reopened", actor)
    touch(world, issue)


def set_draft(world: World, pull: Pull, actor: User, draft: bool) -> None:
    """Convert to draft, or mark ready for review."""
    if pull.draft is not draft:
        pull.draft = draft
        add_event(world, pull.issue, "convert_to_draft" if draft else "ready_for_review", actor)
        touch(world, pull.issue)


def transfer(world: World, issue: Issue, to: Repository, actor: User) -> Issue:
    """Move an issue to another repository, where it gets a new number and keeps its comments."""
    old = issue.repo
    del old.issues[issue.number]
    old.gone[issue.number] = issue
    issue.repo, issue.number = to, next_number(to)
    to.issues[issue.number] = issue
    issue.labels = [label for label in issue.labels if to.find_label(label.name) is label]
    add_event(world, issue, "transferred", actor)
    touch(world, issue)
    return issue


def delete_issue(issue: Issue) -> None:
    """Delete an issue for good; its number stays taken."""
    del issue.repo.issues[issue.number]
    issue.repo.gone[issue.number] = None


def next_number(repo: Repository) -> int:
    """The number of the next issue or PR."""
    return max([*repo.issues, *repo.gone], default=0) + 1


def retarget(world: World, pull: Pull, actor: User, base: str) -> None:
    """Point an open PR at another base branch."""
    pull.base_ref = base
    pull.base_sha = pull.repo.tip(base) or pull.base_sha
    pull.unknown_reads = world.mergeable_after
    add_event(world, pull.issue, "base_ref_changed", actor)
    touch(world, pull.issue)
    link_issues(pull)


def make_label(world: World, repo: Repository, name: str, color: str, description: str | None) -> Label:
    """A new label of the repository."""
    label = Label(world.new_id(), name, color, description)
    repo.labels.append(label)
    return label


def add_label(world: World, issue: Issue, actor: User, name: str) -> None:
    """Put a label on; GitHub makes a label that the repository does not have."""
    label = issue.repo.find_label(name) or make_label(world, issue.repo, name, "ededed", None)
    if label not in issue.labels:
        issue.labels.append(label)
        add_event(world, issue, "labeled", actor, label)
        touch(world, issue)


def remove_label(world: World, issue: Issue, actor: User, name: str) -> bool:
    """Take a label off; False when it is not on."""
    label = next((one for one in issue.labels if one.name.lower() == name.lower()), None)
    if label is None:
        return False
    issue.labels.remove(label)
    add_event(world, issue, "unlabeled", actor, label)
    touch(world, issue)
    return True


def add_comment(world: World, issue: Issue, user: User, body: str) -> Comment:
    """A new conversation comment."""
    comment = Comment(world.new_id(), issue, user, body, world.now(), world.now())
    comment.hidden = world.lags.get("comments", 0)
    issue.comments.append(comment)
    touch(world, issue)
    return comment


def edit_comment(world: World, comment: Comment, body: str) -> None:
    """Change a comment's text."""
    comment.body = body
    comment.updated_at = comment.edited_at = world.now()
    touch(world, comment.issue)


def delete_comment(comment: Comment) -> None:
    """Take a comment away; nothing else moves (that is why an ETag may hide it)."""
    comment.deleted = True
    comment.issue.comments.remove(comment)


def react(world: World, reactions: list[Reaction], user: User, content: str) -> tuple[Reaction, bool]:
    """Add a reaction; False beside it when this user had it already."""
    for reaction in reactions:
        if reaction.user is user and reaction.content == content:
            return reaction, False
    made = Reaction(world.new_id(), user, content, world.now())
    reactions.append(made)
    return made, True


def review(world: World, pull: Pull, user: User, state: str, body: str, commit: str) -> Review:
    """Submit a review without comments; moves only the PR's own time."""
    made = Review(world.new_id(), user, state, body, commit, world.now())
    pull.reviews.append(made)
    pull.updated_at = world.now()
    return made


def dismiss(world: World, pull: Pull, actor: User, given: Review) -> None:
    """Take the weight off a submitted review."""
    given.state = "DISMISSED"
    add_event(world, pull.issue, "review_dismissed", actor)
    pull.updated_at = world.now()


def review_comment(
    world: World,
    to: Review,
    path: str,
    body: str,
    hunk: str,
    line: int,
    side: str,
    start: tuple[int, str] | None,
) -> ReviewComment:
    """Add an inline comment to a review."""
    start_line, start_side = start or (None, None)
    made = ReviewComment(
        world.new_id(),
        to,
        to.user,
        path,
        body,
        hunk,
        to.commit_id,
        line,
        side,
        start_line,
        start_side,
        world.now(),
    )
    to.comments.append(made)
    return made
