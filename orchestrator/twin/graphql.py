"""The three GraphQL questions the twin can answer, chosen by `operationName`; the query's text is not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.twin import merging
from orchestrator.twin.shapes import maybe_stamp
from orchestrator.twin.world import Pull, User, World, node_id

Json = dict[str, Any]


class _Missing(Exception):
    """GitHub's NOT_FOUND error at a path, beside partial data."""

    def __init__(self, path: list[str], data: Json, message: str) -> None:
        super().__init__(message)
        self.answer = {"data": data, "errors": [{"type": "NOT_FOUND", "path": path, "message": message}]}


def answer(world: World, viewer: User, operation: str, variables: Mapping[str, Any]) -> Json | None:
    """GitHub's answer (status 200 even for an error); None for an operation the twin does not know."""
    question = _OPERATIONS.get(operation)
    if question is None:
        return None
    try:
        return {"data": question(world, viewer, variables)}
    except _Missing as missing:
        return missing.answer


def _pull(world: World, viewer: User, variables: Mapping[str, Any]) -> Pull:
    owner, name, number = variables["o"], variables["r"], variables["n"]
    repo = world.find_repo(owner, name)
    if repo is None or not world.may(repo, viewer, "read"):
        said = f"Could not resolve to a Repository with the name '{owner}/{name}'."
        raise _Missing(["repository"], {"repository": None}, said)
    issue = repo.issues.get(number)
    if issue is None or issue.pull is None:
        said = f"Could not resolve to a PullRequest with the number of {number}."
        raise _Missing(["repository", "pullRequest"], {"repository": {"pullRequest": None}}, said)
    return issue.pull


def _linked_issues(world: World, viewer: User, variables: Mapping[str, Any]) -> Json:
    pull = _pull(world, viewer, variables)
    nodes = [
        {
            "number": number,
            "state": pull.repo.issues[number].state.upper(),
            "repository": {"nameWithOwner": pull.repo.full_name},
        }
        for number in sorted(pull.linked)
    ]
    return {"repository": {"pullRequest": {"closingIssuesReferences": {"nodes": nodes}}}}


def _comment_edits(world: World, viewer: User, variables: Mapping[str, Any]) -> Json:
    wanted = variables["id"]
    for repo in world.repos.values():
        for comment in repo.comments:
            if node_id("IC", comment.id) == wanted and world.may(repo, viewer, "read"):
                return {"node": {"id": wanted, "lastEditedAt": maybe_stamp(comment.edited_at)}}
    raise _Missing(["node"], {"node": None}, f"Could not resolve to a node with the global id of '{wanted}'")


def _merge_state(world: World, viewer: User, variables: Mapping[str, Any]) -> Json:
    pull = _pull(world, viewer, variables)
    mergeable, state = merging.mergeability(world, pull)
    words = {True: "MERGEABLE", False: "CONFLICTING", None: "UNKNOWN"}
    facts = {
        "isDraft": pull.draft,
        "merged": pull.merged_at is not None,
        "mergeable": words[mergeable],
        "mergeStateStatus": state.upper(),
        "reviewDecision": merging.review_decision(world, pull),
        "headRefOid": pull.head_sha,
        "baseRefName": pull.base_ref,
    }
    return {"repository": {"pullRequest": facts}}


_OPERATIONS: Mapping[str, Callable[[World, User, Mapping[str, Any]], Json]] = {
    "LinkedIssues": _linked_issues,
    "CommentEdits": _comment_edits,
    "MergeState": _merge_state,
}
