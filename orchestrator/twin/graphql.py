"""GraphQL over the same world: the fields that the twin knows, picked as a request asks for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.twin import merging, protection, queue, selection
from orchestrator.twin.selection import Field
from orchestrator.twin.shapes import maybe_stamp, stamp
from orchestrator.twin.world import (
    Comment,
    Event,
    Issue,
    Pull,
    QueueEntry,
    Repository,
    ReviewComment,
    User,
    World,
    node_id,
)

Json = dict[str, Any]
Source = Mapping[str, Any]  # a value, or a function of the field's arguments
_TIMELINE = {  # an item's enum value, type and node id's beginning, by its name in REST
    "labeled": ("LABELED_EVENT", "LabeledEvent", "LE"),
    "unlabeled": ("UNLABELED_EVENT", "UnlabeledEvent", "UNLE"),
    "renamed": ("RENAMED_TITLE_EVENT", "RenamedTitleEvent", "RTE"),
    "transferred": ("TRANSFERRED_EVENT", "TransferredEvent", "TRE"),
}
_MERGEABLE = {True: "MERGEABLE", False: "CONFLICTING", None: "UNKNOWN"}


class Unknown(Exception):
    """A request with something that the twin does not know."""


class _Refused(Exception):
    """GitHub's error for one root field: its `type`, beside null as data."""

    def __init__(self, kind: str, message: str, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.path = list(path)


def answer(world: World, viewer: User, text: str, variables: Mapping[str, Any]) -> Json:
    """GitHub's answer, of status 200 even for an error. Unknown for what the twin cannot tell."""
    try:
        operation = selection.read(text, variables)
    except selection.Unreadable as error:
        raise Unknown(str(error)) from error
    asked = _Asked(world, viewer)
    roots: Source = asked.mutations if operation.kind == "mutation" else asked.queries
    data: Json = {}
    errors = []
    for field in operation.fields:
        try:
            data.update(_pick(roots, (field,)))
        except _Refused as refused:
            data[field.key] = None
            errors.append({"type": refused.kind, "path": [field.key, *refused.path], "message": str(refused)})
    return {"data": data, "errors": errors} if errors else {"data": data}


def _pick(source: Source, fields: Sequence[Field]) -> Json:
    found: Json = {}
    for field in fields:
        if field.on and source.get("__typename", field.on) != field.on:
            continue
        if field.name not in source:
            raise Unknown(f"field {field.name}")
        value = source[field.name]
        if callable(value):
            value = value(field.arguments)
        if isinstance(value, list) and field.fields:
            found[field.key] = [_pick(one, field.fields) for one in value]
        else:
            found[field.key] = _pick(value, field.fields) if isinstance(value, Mapping) else value
    return found


def _connection(items: Sequence[Source]) -> Callable[[Mapping[str, Any]], Json]:
    """A list in pages, from the front or its `last` ones; a cursor is the number of items before."""

    def page(arguments: Mapping[str, Any]) -> Json:
        start = int(arguments.get("after") or 0)
        end = start + int(arguments["first"]) if "first" in arguments else len(items)
        if "last" in arguments:
            start = max(0, len(items) - int(arguments["last"]))
        info = {"hasNextPage": end < len(items), "endCursor": str(min(end, len(items))), "hasPreviousPage": start > 0}
        return {"nodes": list(items[start:end]), "totalCount": len(items), "pageInfo": info}

    return page


class _Asked:
    """The root fields, for one viewer."""

    def __init__(self, world: World, viewer: User) -> None:
        self._world = world
        self._viewer = viewer
        self.queries: Source = {"repository": self._repository, "node": self._node}
        self.mutations: Source = {"dequeuePullRequest": self._dequeue, "enqueuePullRequest": self._enqueue}

    def _repository(self, arguments: Mapping[str, Any]) -> Source:
        name = f"{arguments['owner']}/{arguments['name']}"
        repo = self._world.find_repo(arguments["owner"], arguments["name"])
        if repo is None or not self._world.may(repo, self._viewer, "read"):
            raise _Refused("NOT_FOUND", f"Could not resolve to a Repository with the name '{name}'.")
        if repo.shut is not None:
            raise _Refused("FORBIDDEN", repo.shut[1])
        return self._repository_fields(repo)

    def _repository_fields(self, repo: Repository) -> Source:
        return {
            "id": node_id("R", repo.id),
            "databaseId": repo.id,
            "nameWithOwner": repo.full_name,
            "isPrivate": repo.private,
            "viewerPermission": self._world.permission(repo, self._viewer).upper(),
            "squashMergeAllowed": repo.allow_squash,
            "mergeCommitAllowed": repo.allow_merge,
            "rebaseMergeAllowed": repo.allow_rebase,
            "autoMergeAllowed": False,
            "deleteBranchOnMerge": repo.delete_branch_on_merge,
            "defaultBranchRef": {"name": repo.default_branch},
            "pullRequest": lambda arguments: self._pull(repo, arguments["number"]),
            "issue": lambda arguments: _issue_fields(_issue(repo, arguments["number"])),
        }

    def _pull(self, repo: Repository, number: int) -> Source:
        issue = repo.issues.get(number)
        if issue is None or issue.pull is None:
            said = f"Could not resolve to a PullRequest with the number of {number}."
            raise _Refused("NOT_FOUND", said, ["pullRequest"])
        return self._pull_fields(issue.pull)

    def _pull_fields(self, pull: Pull) -> Source:
        # One request is one read of the mergeability, and only if it asks for it.
        state = functools.cache(lambda: merging.mergeability(self._world, pull))
        waiter = queue.entry(pull)
        return {
            "id": node_id("PR", pull.id),
            "number": pull.number,
            "state": "MERGED" if pull.merged_at is not None else pull.issue.state.upper(),
            "isDraft": pull.draft,
            "merged": pull.merged_at is not None,
            "mergedAt": maybe_stamp(pull.merged_at),
            "mergedBy": {"login": pull.merged_by.login} if pull.merged_by else None,
            "mergeCommit": {"oid": pull.merge_sha} if pull.merge_sha else None,
            "mergeable": lambda _: _MERGEABLE[state()[0]],
            "mergeStateStatus": lambda _: state()[1].upper(),
            "reviewDecision": protection.review_decision(self._world, pull),
            "headRefOid": pull.head_sha,
            "headRefName": pull.head_ref,
            "baseRefOid": pull.base_sha,
            "baseRefName": pull.base_ref,
            "isCrossRepository": pull.head_repo is not pull.repo,
            "maintainerCanModify": pull.maintainer_can_modify,
            "isInMergeQueue": waiter is not None,
            "isMergeQueueEnabled": protection.of(pull).queue is not None,
            "mergeQueueEntry": None if waiter is None else _entry_fields(waiter),
            "closingIssuesReferences": _connection([_linked(issue) for issue in pull.linked_issues]),
            "reviewThreads": _connection([_thread(comment) for comment in pull.review_comments]),
        }

    def _node(self, arguments: Mapping[str, Any]) -> Source:
        found = self._find(arguments["id"])
        if isinstance(found, Pull):
            return self._pull_fields(found)
        return {"id": arguments["id"], "lastEditedAt": maybe_stamp(found.edited_at)}

    def _find(self, wanted: str) -> Comment | Pull:
        for repo in self._world.repos.values():
            if self._world.may(repo, self._viewer, "read"):
                for comment in repo.comments:
                    if node_id("IC", comment.id) == wanted:
                        return comment
                for pull in repo.pulls:
                    if node_id("PR", pull.id) == wanted:
                        return pull
        raise _Refused("NOT_FOUND", f"Could not resolve to a node with the global id of '{wanted}'")

    def _writable(self, wanted: str) -> Pull:
        found = self._find(wanted)
        if not isinstance(found, Pull):
            raise _Refused("NOT_FOUND", f"Could not resolve to PullRequest node with the global id of '{wanted}'")
        if not self._world.may(found.repo, self._viewer, "write"):
            raise _Refused("FORBIDDEN", f"{self._viewer.login} does not have the correct permissions to execute this")
        return found

    def _dequeue(self, arguments: Mapping[str, Any]) -> Source:
        waiter = queue.entry(self._writable(arguments["input"]["id"]))
        if waiter is None:
            raise _Refused("UNPROCESSABLE", "Pull request is not in the merge queue")
        fields = _entry_fields(waiter)
        queue.leave(self._world, waiter, self._viewer, "Pull request was removed from the merge queue")
        return {"mergeQueueEntry": fields, "clientMutationId": arguments["input"].get("clientMutationId")}

    def _enqueue(self, arguments: Mapping[str, Any]) -> Source:
        given = arguments["input"]
        pull = self._writable(given["pullRequestId"])
        if given.get("expectedHeadOid") not in (None, pull.head_sha):
            raise _Refused("UNPROCESSABLE", merging.HEAD_MOVED)
        if queue.entry(pull) is not None:
            raise _Refused("UNPROCESSABLE", "Pull request is already in the queue")
        try:
            waiter = queue.enter(self._world, pull, self._viewer)
        except queue.NotQueued as refused:
            raise _Refused("UNPROCESSABLE", str(refused)) from refused
        return {"mergeQueueEntry": _entry_fields(waiter), "clientMutationId": given.get("clientMutationId")}


def _issue(repo: Repository, number: int) -> Issue:
    issue = repo.issues.get(number)
    if issue is None or issue.pull is not None:
        said = f"Could not resolve to an Issue with the number of {number}."
        raise _Refused("NOT_FOUND", said, ["issue"])
    return issue


def _issue_fields(issue: Issue) -> Source:
    newest = issue.edits[-1] if issue.edits else None
    edits = [{"editedAt": stamp(e.edited_at), "editor": _actor(e.editor)} for e in reversed(issue.edits)]
    return {
        "id": node_id("I", issue.id),
        "number": issue.number,
        "title": issue.title,
        "body": issue.body or "",
        "state": issue.state.upper(),
        "labels": _connection([{"name": label.name} for label in issue.labels]),
        "author": _actor(issue.user),
        "editor": _actor(newest.editor) if newest else None,
        "lastEditedAt": stamp(newest.edited_at) if newest else None,
        "userContentEdits": _connection(edits),
        "timelineItems": lambda arguments: _connection(
            [_event_fields(e) for e in issue.events if _is_among(e, arguments.get("itemTypes"))]
        )(arguments),
        "comments": _connection([_comment_fields(comment) for comment in issue.comments if not comment.hidden]),
    }


def _is_among(event: Event, wanted: Sequence[str] | None) -> bool:
    return event.event in _TIMELINE and (wanted is None or _TIMELINE[event.event][0] in wanted)


def _event_fields(event: Event) -> Source:
    _, kind, prefix = _TIMELINE[event.event]
    return {
        "__typename": kind,
        "id": node_id(prefix, event.id),
        "createdAt": stamp(event.created_at),
        "actor": _actor(event.actor),
        "label": {"name": event.label.name} if event.label else None,
    }


def _comment_fields(comment: Comment) -> Source:
    return {
        "id": node_id("IC", comment.id),
        "databaseId": comment.id,
        "author": _actor(comment.user),
        "body": comment.body,
        "createdAt": stamp(comment.created_at),
        "lastEditedAt": maybe_stamp(comment.edited_at),
        "isMinimized": comment.minimized,
    }


def _actor(user: User | None) -> Source | None:
    """GraphQL's login of a bot has no `[bot]` behind it."""
    if user is None:
        return None
    login = user.login.removesuffix("[bot]") if user.type == "Bot" else user.login
    return {"__typename": user.type, "login": login, "databaseId": user.id}


def _entry_fields(waiter: QueueEntry) -> Source:
    place = queue.waiting(waiter.pull.repo, waiter.pull.base_ref).index(waiter) + 1
    return {
        "id": node_id("MQE", waiter.id),
        "position": place,
        "state": "AWAITING_CHECKS",
        "enqueuedAt": stamp(waiter.added_at),
    }


def _linked(issue: Issue) -> Source:
    return {
        "number": issue.number,
        "state": issue.state.upper(),
        "repository": {"nameWithOwner": issue.repo.full_name, "isPrivate": issue.repo.private},
    }


def _thread(comment: ReviewComment) -> Source:
    return {
        "id": node_id("PRRT", comment.id),
        "isResolved": comment.resolved,
        "path": comment.path,
        "line": comment.line,
    }
