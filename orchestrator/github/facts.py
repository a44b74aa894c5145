"""Who labelled an issue, who wrote its words and when, who said what: one GraphQL query and its strict reading."""

from __future__ import annotations

import hashlib

from orchestrator.github.shape import Json, seconds
from orchestrator.model import Actor, Change, IssueFacts, LabelEvent, Remark

# 1 point. The newest of everything: what is older than the label decides nothing.
ISSUE_FACTS = """query IssueFacts($o: String!, $r: String!, $n: Int!) {
  repository(owner: $o, name: $r) { databaseId issue(number: $n) {
    title body state lastEditedAt labels(first: 100) { nodes { name } }
    editor { __typename login ... on User { databaseId } ... on Bot { databaseId } }
    userContentEdits(first: 100) { totalCount nodes {
      editedAt editor { __typename login ... on User { databaseId } ... on Bot { databaseId } } } }
    timelineItems(last: 100, itemTypes: [LABELED_EVENT, UNLABELED_EVENT, RENAMED_TITLE_EVENT, TRANSFERRED_EVENT]) {
      nodes { __typename
        ... on LabeledEvent { id createdAt label { name }
          actor { __typename login ... on User { databaseId } ... on Bot { databaseId } } }
        ... on UnlabeledEvent { id createdAt label { name }
          actor { __typename login ... on User { databaseId } ... on Bot { databaseId } } }
        ... on RenamedTitleEvent { createdAt
          actor { __typename login ... on User { databaseId } ... on Bot { databaseId } } }
        ... on TransferredEvent { createdAt } } }
    comments(last: 100) { totalCount nodes {
      body createdAt lastEditedAt isMinimized
      author { __typename login ... on User { databaseId } ... on Bot { databaseId } } } } } } }"""


def issue_facts(repository: Json) -> IssueFacts:
    """GraphQL's answer to `ISSUE_FACTS`. KeyError, TypeError or ValueError for anything but what was asked for."""
    issue = repository["issue"]
    events, edits, comments = issue["timelineItems"]["nodes"], issue["userContentEdits"], issue["comments"]
    changes = [Change(_who(e["editor"]), seconds(e["editedAt"])) for e in edits["nodes"]]
    if issue["lastEditedAt"] is not None:
        changes.append(Change(_who(issue["editor"]), seconds(issue["lastEditedAt"])))
    changes += [
        Change(_who(e["actor"]), seconds(e["createdAt"])) for e in events if e["__typename"] == "RenamedTitleEvent"
    ]
    return IssueFacts(
        repo_id=int(repository["databaseId"]),
        title=str(issue["title"]),
        body=str(issue["body"]),
        open=issue["state"] == "OPEN",
        carries=frozenset(str(label["name"]).lower() for label in issue["labels"]["nodes"]),
        labels=tuple(_label_event(e) for e in events if "label" in e),
        changes=tuple(sorted(changes, key=lambda change: change.at)),
        transfers=tuple(seconds(e["createdAt"]) for e in events if e["__typename"] == "TransferredEvent"),
        remarks=tuple(_remark(c) for c in comments["nodes"]),
        older=int(comments["totalCount"]) - len(comments["nodes"]),
        whole=len(edits["nodes"]) == int(edits["totalCount"]),
    )


def _label_event(data: Json) -> LabelEvent:
    return LabelEvent(
        id=hashlib.sha256(str(data["id"]).encode()).hexdigest()[:16],
        label=str(data["label"]["name"]),
        actor=_who(data["actor"]),
        created_at=seconds(data["createdAt"]),
        on=data["__typename"] == "LabeledEvent",
    )


def _remark(data: Json) -> Remark:
    edited = data["lastEditedAt"]
    return Remark(
        author=_who(data["author"]),
        body=str(data["body"]),
        created_at=seconds(data["createdAt"]),
        edited_at=None if edited is None else seconds(edited),
        minimized=data["isMinimized"] is not False,
    )


def _who(data: Json | None) -> Actor | None:
    """GraphQL's actor, by the login that REST knows. None for what is neither a person nor a bot."""
    if data is None or data.get("databaseId") is None:
        return None
    login, bot = str(data["login"]), data["__typename"] == "Bot"
    suffix = "[bot]" if bot and not login.endswith("[bot]") else ""
    return Actor(int(data["databaseId"]), login + suffix, data["__typename"] == "User")
