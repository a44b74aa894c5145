"""The comparison with GitHub's published description bites where it should, and only there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests import programs
from tests.conformance import check

LABEL = {
    "id": 1,
    "node_id": "MDU6TGFiZWwx",
    "url": "http://127.0.0.1:1/repos/octo/cat/labels/ready",
    "name": "ready",
    "description": None,
    "color": "0e8a16",
    "default": False,
}
COMMENT = {
    "id": 7,
    "node_id": "IC_7",
    "url": "http://127.0.0.1:1/repos/octo/cat/issues/comments/7",
    "html_url": "http://127.0.0.1:1/octo/cat/issues/3#issuecomment-7",
    "issue_url": "http://127.0.0.1:1/repos/octo/cat/issues/3",
    "user": None,
    "body": "hello",
    "created_at": "2024-01-02T03:04:05Z",
    "updated_at": "2024-01-02T03:04:05Z",
    "author_association": "NONE",
}
QUERY = """query($owner: String!, $number: Int!) {
  repository(owner: $owner, name: "cat") {
    squashMergeAllowed
    pull: pullRequest(number: $number) { id state closingIssuesReferences(first: 5) { nodes { number } } }
    object(expression: "main") { ... on Commit { oid } }
  }
}"""
DATA: dict[str, Any] = {
    "repository": {
        "squashMergeAllowed": True,
        "pull": {"id": "PR_1", "state": "OPEN", "closingIssuesReferences": {"nodes": [{"number": 3}]}},
        "object": {"oid": "0" * 40},
    }
}


@pytest.fixture(autouse=True)
def _published() -> None:
    """Without what GitHub publishes there is nothing to compare with."""
    programs.openapi()
    programs.graphql_schema()


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    status: int = 200
    answer: Any = None
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json; charset=utf-8"})
    git: bool = False


LABELS = Seen("GET", "/repos/octo/cat/labels", answer=[LABEL], query={"per_page": "2", "page": "3"})
COMMENTED = Seen("POST", "/repos/octo/cat/issues/3/comments", status=201, answer=COMMENT, body={"body": "hello"})
REVIEWED = Seen(
    "POST",
    "/repos/octo/cat/pulls/3/reviews",
    status=422,
    answer={"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest", "errors": ["no"]},
    body={"event": "COMMENT", "body": "ok", "comments": [{"path": "a.py", "line": 2, "side": "RIGHT", "body": "hm"}]},
)
MERGED = Seen(
    "PUT",
    "/repos/octo/cat/pulls/3/merge",
    answer={"sha": "0" * 40, "merged": True, "message": "Pull Request successfully merged"},
    body={"sha": "1" * 40, "merge_method": "squash"},
)
BRANCH_GONE = Seen("DELETE", "/repos/octo/cat/git/refs/heads/feature/issue-42", status=204)
ASKED = Seen("POST", "/graphql", answer={"data": DATA}, body={"query": QUERY, "variables": {"owner": "o", "number": 1}})

CHECK_RUNS = Seen("GET", "/repos/octo/cat/commits/heads/a/check-runs", answer={"total_count": 0, "check_runs": []})


def with_answer(seen: Seen, **changes: Any) -> Seen:
    return replace(seen, answer={**seen.answer, **changes})


def with_body(seen: Seen, **changes: Any) -> Seen:
    return replace(seen, body={**seen.body, **changes})


RIGHT = {
    "a list with a page": LABELS,
    "the id form of a repository": replace(LABELS, path="/repositories/17/labels"),
    "a null user": COMMENTED,
    "a refusal as published": REVIEWED,
    "a merge": MERGED,
    "a branch name with a slash, no content": BRANCH_GONE,
    "a ref with a slash before a literal segment": CHECK_RUNS,
    "an escaped label name": Seen("DELETE", "/repos/octo/cat/issues/3/labels/a%2Fb", answer=[LABEL]),
    "a diff instead of JSON": Seen(
        "GET", "/repos/octo/cat/pulls/3", headers={"content-type": "application/vnd.github.diff"}
    ),
    "not modified": Seen("GET", "/repos/octo/cat/issues/3/comments", status=304),
    "a server fault": replace(COMMENTED, status=502, answer=None),
    "a dropped connection": replace(COMMENTED, status=0, answer=None, headers={}),
    "a spent limit": replace(LABELS, status=429, answer={"message": "slow down"}),
    "a GraphQL answer": ASKED,
    "a GraphQL error": replace(ASKED, answer={"data": None, "errors": [{"message": "no"}]}),
    "git's own protocol": Seen("POST", "/octo/cat.git/git-upload-pack", git=True),
}

WRONG = {
    "unknown endpoint": (replace(LABELS, path="/repos/octo/cat/lables"), "no such operation"),
    "unknown method": (replace(LABELS, method="PUT"), "no such operation"),
    "path parameter of a wrong type": (replace(MERGED, path="/repos/octo/cat/pulls/x/merge"), "pull_number"),
    "unknown query parameter": (replace(LABELS, query={"perpage": "2"}), "unknown query parameter 'perpage'"),
    "query parameter of a wrong type": (replace(LABELS, query={"page": "two"}), "page does not take 'two'"),
    "query parameter beyond its choices": (
        Seen("GET", "/repos/octo/cat/issues", answer=[], query={"state": "opened"}),
        "state does not take 'opened'",
    ),
    "unknown body property": (with_body(MERGED, squash=True), "request at /: Unevaluated properties"),
    "unknown nested body property": (
        with_body(REVIEWED, comments=[{"path": "a.py", "body": "hm", "lines": 2}]),
        "request at /comments/0: Unevaluated properties",
    ),
    "body of a wrong type": (with_body(COMMENTED, body=5), "request at /body"),
    "body beyond its choices": (with_body(MERGED, merge_method="octopus"), "request at /merge_method"),
    "missing body property": (replace(COMMENTED, body={}), '"body" is a required property'),
    "missing body": (replace(COMMENTED, body=None), "needs a body"),
    "body where none belongs": (replace(LABELS, body={"name": "x"}), "takes no request body"),
    "undocumented status": (replace(COMMENTED, status=200), "status 200 is not documented"),
    "not modified on a write": (replace(COMMENTED, status=304, answer=None), "status 304 is not documented"),
    "missing response field": (
        replace(LABELS, answer=[{name: value for name, value in LABEL.items() if name != "color"}]),
        'response at /0: "color" is a required property',
    ),
    "response field of a wrong type": (with_answer(COMMENTED, id="7"), "response at /id"),
    "a null that is not allowed": (with_answer(COMMENTED, created_at=None), "response at /created_at"),
    "a date that is none": (with_answer(COMMENTED, created_at="yesterday"), "response at /created_at"),
    "no answer where one is published": (replace(MERGED, answer=None), "response at /: null"),
    "an answer where none is published": (replace(BRANCH_GONE, answer={}), "status 204 carries no body"),
    "GraphQL field that does not exist": (
        with_body(ASKED, query=QUERY.replace("squashMergeAllowed", "squashMergeable")),
        "Cannot query field 'squashMergeable'",
    ),
    "GraphQL that does not parse": (with_body(ASKED, query="query {"), "Syntax Error"),
    "GraphQL variable of a wrong type": (
        with_body(ASKED, variables={"owner": "o", "number": "1"}),
        "Variable '$number' has invalid value",
    ),
    "GraphQL variable that is missing": (with_body(ASKED, variables={"owner": "o"}), "Variable '$number'"),
    "GraphQL variable that is unused": (
        with_body(ASKED, variables={"owner": "o", "number": 1, "sha": "x"}),
        "unused variable $sha",
    ),
    "GraphQL request property": (with_body(ASKED, variable={}), "unknown request property 'variable'"),
    "GraphQL answer with a missing key": (
        with_answer(ASKED, data={"repository": {**DATA["repository"], "pull": {"id": "PR_1"}}}),
        "repository/pull/state: missing",
    ),
    "GraphQL answer with an unasked key": (
        with_answer(ASKED, data={"repository": {**DATA["repository"], "name": "cat"}}),
        "data/repository/name: the query does not ask for it",
    ),
    "GraphQL answer beyond its choices": (
        with_answer(
            ASKED, data={"repository": {**DATA["repository"], "pull": {**DATA["repository"]["pull"], "state": "open"}}}
        ),
        "repository/pull/state: Enum",
    ),
    "GraphQL error without a message": (replace(ASKED, answer={"errors": [{}]}), "has a message"),
    "GraphQL by GET": (replace(ASKED, method="GET"), "asked by POST"),
    "GraphQL status": (replace(ASKED, status=422), "does not answer with status 422"),
}


@pytest.mark.parametrize("seen", RIGHT.values(), ids=RIGHT.keys())
def test_what_github_publishes_conforms(seen: Seen) -> None:
    assert check(seen) == []


@pytest.mark.parametrize(("seen", "reported"), WRONG.values(), ids=WRONG.keys())
def test_a_difference_is_reported(seen: Seen, reported: str) -> None:
    problems = check(seen)
    assert any(reported in problem for problem in problems), problems


def test_a_wrong_field_is_the_only_thing_reported() -> None:
    assert check(with_answer(COMMENTED, id="7")) == [
        'POST /repos/octo/cat/issues/3/comments: response at /id: "7" is not of type "integer"'
    ]
