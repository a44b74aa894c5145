"""Endpoints of issues, comments, labels, events and reactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orchestrator.twin import acts
from orchestrator.twin.protocol import Call, Refusal, Reply, Routes, forbidden, invalid, not_found
from orchestrator.twin.world import Comment, Issue, Reaction

T = TypeVar("T")
U = TypeVar("U", Issue, Comment)

routes = Routes()
R = "/repos/{owner}/{repo}"
MAX_BODY = 65536
CONTENTS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")


def _limited(resource: str, name: str, text: str | None, limit: int) -> None:
    if text is not None and len(text) > limit:
        raise invalid(resource, name, "custom", f"{name} is too long (maximum is {limit} characters)")


def _itself(item: U) -> U:
    return item


def visible(call: Call, items: Sequence[T], lagging: Callable[[T], Issue | Comment]) -> list[T]:
    """The items a list shows now; with each reading of a first page, those that lag come one nearer."""
    shown = [item for item in items if lagging(item).hidden <= 0]
    if call.query.get("page", "1") == "1":
        for item in items:
            lagging(item).hidden = max(0, lagging(item).hidden - 1)
    return shown


@routes.add("GET", f"{R}/issues")
def list_issues(call: Call) -> Reply:
    """PRs are issues here; `labels` means all of them; newest first unless asked otherwise."""
    query = call.query
    state = query.get("state", "open")
    wanted = {name.strip().lower() for name in query.get("labels", "").split(",") if name.strip()}
    since = call.since()
    found = [
        issue
        for issue in visible(call, list(call.repo.issues.values()), _itself)
        if state in ("all", issue.state)
        and wanted <= {label.name.lower() for label in issue.labels}
        and (since is None or issue.updated_at >= since)
    ]
    keys: dict[str, Callable[[Issue], Any]] = {
        "created": lambda issue: (issue.created_at, issue.number),
        "updated": lambda issue: (issue.updated_at, issue.number),
        "comments": lambda issue: (len(issue.comments), issue.number),
    }
    found.sort(key=keys[query.get("sort", "created")], reverse=query.get("direction", "desc") == "desc")
    return call.pages(found, call.shape.issue)


@routes.add("POST", f"{R}/issues")
def create_issue(call: Call) -> Reply:
    """Whoever can read may open one; labels of somebody without write are dropped."""
    title = call.text("Issue", "title")
    _limited("Issue", "title", title, 256)
    _limited("Issue", "body", call.given("body"), MAX_BODY)
    issue = acts.open_issue(call.world, call.repo, call.viewer, title, call.given("body"))
    if call.world.may(call.repo, call.viewer, "write"):
        _replace_labels(call, issue, [_name(one) for one in call.given("labels", [])])
    return Reply(201, call.shape.full_issue(issue))


@routes.add("GET", f"{R}/issues/{{number:n}}")
def get_issue(call: Call) -> Reply:
    """Answers for PRs too."""
    return Reply(200, call.shape.full_issue(call.issue))


@routes.add("PATCH", f"{R}/issues/{{number:n}}")
def patch_issue(call: Call) -> Reply:
    """Title, body, state, labels; needs triage unless the author asks."""
    issue, world = call.issue, call.world
    if issue.user is not call.viewer:
        call.need("triage")
    _limited("Issue", "title", call.given("title"), 256)
    if call.given("title") not in (None, issue.title):
        acts.rename(world, issue, call.viewer, str(call.given("title")))
    # GitHub answers 200 to an oversize body and drops it.
    if "body" in (call.body or {}) and len(call.given("body") or "") <= MAX_BODY:
        acts.rewrite(world, issue, call.viewer, call.given("body"))
    if call.given("labels") is not None:
        _replace_labels(call, issue, [_name(one) for one in call.given("labels")])
    if call.given("state") == "closed":
        acts.close(world, issue, call.viewer, call.given("state_reason") or "completed")
    elif call.given("state") == "open":
        acts.reopen(world, issue, call.viewer)
    elif call.given("state") is not None:
        raise invalid("Issue", "state", "invalid")
    return Reply(200, call.shape.full_issue(issue))


def _replace_labels(call: Call, issue: Issue, names: list[str]) -> None:
    for label in list(issue.labels):
        if label.name not in names:
            acts.remove_label(call.world, issue, call.viewer, label.name)
    for name in names:
        acts.add_label(call.world, issue, call.viewer, name)


def _name(label: Any) -> str:
    return str(label["name"] if isinstance(label, dict) else label)


@routes.add("GET", f"{R}/issues/{{number:n}}/comments")
def list_issue_comments(call: Call) -> Reply:
    """Oldest first; no sorting here."""
    since = call.since()
    found = [c for c in visible(call, call.issue.comments, _itself) if since is None or c.updated_at >= since]
    return call.pages(found, call.shape.comment)


@routes.add("POST", f"{R}/issues/{{number:n}}/comments")
def create_comment(call: Call) -> Reply:
    """Whoever can read may comment; a locked conversation wants write."""
    issue = call.issue
    if issue.locked and not call.world.may(call.repo, call.viewer, "write"):
        raise Refusal(403, "Unable to create comment because issue is locked.")
    body = _comment_text(call)
    return Reply(201, call.shape.comment(acts.add_comment(call.world, issue, call.viewer, body)))


def _comment_text(call: Call) -> str:
    body = call.text("IssueComment", "body")
    if len(body) > MAX_BODY:
        raise invalid("IssueComment", "body", "unprocessable", f"Body is too long (maximum is {MAX_BODY} characters)")
    return body


@routes.add("GET", f"{R}/issues/comments")
def list_repo_comments(call: Call) -> Reply:
    """By id unless `sort` is given; `direction` is ignored without it."""
    since = call.since()
    found: list[Comment] = [
        c for c in visible(call, call.repo.comments, _itself) if since is None or c.updated_at >= since
    ]
    sort = call.query.get("sort")
    if sort is None:
        found.sort(key=lambda comment: comment.id)
    else:
        field = "updated_at" if sort == "updated" else "created_at"
        reverse = call.query.get("direction", "asc") == "desc"
        found.sort(key=lambda comment: (getattr(comment, field), comment.id), reverse=reverse)
    return call.pages(found, call.shape.comment)


def _comment(call: Call) -> Comment:
    found = call.world.comment_by_id(call.repo, int(call.args["comment"]))
    if found is None:
        raise not_found()
    return found


@routes.add("GET", f"{R}/issues/comments/{{comment:n}}")
def get_comment(call: Call) -> Reply:
    """404 once it is deleted."""
    return Reply(200, call.shape.comment(_comment(call)))


@routes.add("PATCH", f"{R}/issues/comments/{{comment:n}}")
def patch_comment(call: Call) -> Reply:
    """The author, or anyone who can write: a marker in a comment is no proof of who wrote it."""
    comment = _comment(call)
    if comment.user is not call.viewer and not call.world.may(call.repo, call.viewer, "write"):
        raise forbidden()
    body = _comment_text(call)
    acts.edit_comment(call.world, comment, body)
    return Reply(200, call.shape.comment(comment))


@routes.add("GET", f"{R}/issues/{{number:n}}/events")
def list_events(call: Call) -> Reply:
    """Oldest first: the newest `labeled` is on the last page."""
    return call.pages(call.issue.events, lambda event: call.shape.event(call.repo, event))


@routes.add("GET", f"{R}/issues/{{number:n}}/labels")
def list_issue_labels(call: Call) -> Reply:
    """The labels an issue carries."""
    return call.pages(call.issue.labels, lambda label: call.shape.label(call.repo, label))


@routes.add("POST", f"{R}/issues/{{number:n}}/labels")
def add_labels(call: Call) -> Reply:
    """200, and an unknown label is made by the way."""
    call.need("triage")
    asked = call.body if isinstance(call.body, list) else call.given("labels")
    if not isinstance(asked, list):
        raise invalid("Issue", "labels", "missing_field")
    for label in asked:
        acts.add_label(call.world, call.issue, call.viewer, _name(label))
    return Reply(200, [call.shape.label(call.repo, label) for label in call.issue.labels])


@routes.add("DELETE", f"{R}/issues/{{number:n}}/labels/{{name}}")
def remove_label(call: Call) -> Reply:
    """404 when the issue does not carry it."""
    call.need("triage")
    if not acts.remove_label(call.world, call.issue, call.viewer, call.args["name"]):
        raise Refusal(404, "Label does not exist")
    return Reply(200, [call.shape.label(call.repo, label) for label in call.issue.labels])


@routes.add("GET", f"{R}/labels")
def list_labels(call: Call) -> Reply:
    """All labels of the repository."""
    return call.pages(call.repo.labels, lambda label: call.shape.label(call.repo, label))


@routes.add("POST", f"{R}/labels")
def create_label(call: Call) -> Reply:
    """422 already_exists, whatever the case of the name."""
    call.need("write")
    name = call.text("Label", "name")
    if call.repo.find_label(name) is not None:
        raise invalid("Label", "name", "already_exists")
    label = acts.make_label(call.world, call.repo, name, call.given("color") or "ededed", call.given("description"))
    return Reply(201, call.shape.label(call.repo, label))


@routes.add("GET", f"{R}/labels/{{name}}")
def get_label(call: Call) -> Reply:
    """One label."""
    label = call.repo.find_label(call.args["name"])
    if label is None:
        raise not_found()
    return Reply(200, call.shape.label(call.repo, label))


@routes.add("POST", f"{R}/issues/{{number:n}}/reactions")
def react_to_issue(call: Call) -> Reply:
    """201 for a new reaction, 200 for one that is there."""
    return _react(call, call.issue.reactions)


@routes.add("GET", f"{R}/issues/{{number:n}}/reactions")
def list_issue_reactions(call: Call) -> Reply:
    """Who reacted how."""
    return call.pages(call.issue.reactions, call.shape.reaction)


@routes.add("POST", f"{R}/issues/comments/{{comment:n}}/reactions")
def react_to_comment(call: Call) -> Reply:
    """201 for a new reaction, 200 for one that is there."""
    return _react(call, _comment(call).reactions)


@routes.add("GET", f"{R}/issues/comments/{{comment:n}}/reactions")
def list_comment_reactions(call: Call) -> Reply:
    """Who reacted how."""
    return call.pages(_comment(call).reactions, call.shape.reaction)


def _react(call: Call, reactions: list[Reaction]) -> Reply:
    content = call.given("content")
    if content not in CONTENTS:
        raise invalid("Reaction", "content", "invalid")
    reaction, new = acts.react(call.world, reactions, call.viewer, content)
    return Reply(201 if new else 200, call.shape.reaction(reaction))
