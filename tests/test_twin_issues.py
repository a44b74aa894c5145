"""The local GitHub: issues, labels, comments, reactions, permissions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.github.facts import ISSUE_FACTS
from orchestrator.twin.shapes import stamp
from tests.twin_place import START, Place, opened


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        yield made


def test_pull_requests_are_listed_as_issues_and_marked(place: Place) -> None:
    place.alice.opens_issue(place.repo, "An issue", "text")
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    place.alice.opens_pr(place.repo, "fix")
    rows = place.all("issues?state=all")
    assert [(row["number"], "pull_request" in row) for row in rows] == [(2, True), (1, False)]


def test_whoever_reads_may_open_an_issue_and_whoever_writes_may_label_it(place: Place) -> None:
    reader = place.github.token(place.mallory)
    wish = {"title": "A wish", "body": "please", "labels": ["ready"]}
    assert [place.call("POST", "issues", wish, token).status_code for token in (None, reader)] == [201, 201]
    assert [(i.title, i.body, i.author, i.labels) for i in place.repo.issues] == [
        ("A wish", "please", "robot", ["ready"]),
        ("A wish", "please", "mallory", []),
    ]
    assert place.call("POST", "issues", {"title": "x" * 257}).status_code == 422


def test_labels_select_by_all_of_them_whatever_the_case(place: Place) -> None:
    both = place.alice.opens_issue(place.repo, "both", labels=("ready", "bug"))
    place.alice.opens_issue(place.repo, "one", labels=("bug",))
    assert [row["number"] for row in place.get("issues?labels=READY,bug")] == [both.number]


def test_a_label_event_names_who_put_it_on(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    place.bob.labels(issue, "ready")
    place.bob.unlabels(issue, "ready")
    place.alice.labels(issue, "ready")
    events = place.all("issues/1/events")
    assert [(e["event"], e["actor"]["login"], e["label"]["name"]) for e in events] == [
        ("labeled", "bob", "ready"),
        ("unlabeled", "bob", "ready"),
        ("labeled", "alice", "ready"),
    ]


def test_an_unknown_label_is_made_by_putting_it_on(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    answer = place.call("POST", "issues/1/labels", {"labels": ["brand new"]})
    assert (answer.status_code, issue.labels, place.repo.labels) == (200, ["brand new"], ["brand new"])


def test_taking_an_absent_label_off_is_404(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title", labels=("a/b",))
    assert place.call("DELETE", "issues/1/labels/ready").json()["message"] == "Label does not exist"
    assert place.call("DELETE", "issues/1/labels/a%2Fb").status_code == 200
    assert issue.labels == []


def test_a_second_label_of_a_name_is_422_already_exists(place: Place) -> None:
    assert place.call("POST", "labels", {"name": "ready", "color": "00ff00"}).status_code == 201
    again = place.call("POST", "labels", {"name": "Ready"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "already_exists")
    assert place.get("labels/ready")["color"] == "00ff00"


def test_a_reaction_is_new_once(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    comment = place.alice.comments(issue, "hello")
    for path in ("issues/1/reactions", f"issues/comments/{comment.id}/reactions"):
        codes = [place.call("POST", path, {"content": "eyes"}).status_code for _ in range(2)]
        assert codes == [201, 200]
        assert [one["user"]["login"] for one in place.get(path)] == ["robot"]
    assert (issue.reactions, comment.reactions) == (["eyes"], ["eyes"])


def test_comments_and_labels_move_the_issue_and_a_deletion_or_reaction_does_not(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")

    def moved_to() -> int:
        return issue.thing.updated_at - START

    place.time += 10
    comment = place.alice.comments(issue, "one")
    assert moved_to() == 10
    place.time += 10
    place.alice.edits(comment, "two")
    assert moved_to() == 20
    place.time += 10
    place.call("POST", f"issues/comments/{comment.id}/reactions", {"content": "eyes"})
    place.alice.deletes(comment)
    assert moved_to() == 20
    place.alice.labels(issue, "ready")
    assert moved_to() == 30


def test_the_comment_list_of_a_repository_sorts_only_when_asked(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    first, second = place.alice.comments(issue, "1"), place.alice.comments(issue, "2")
    place.time += 5
    place.alice.edits(first, "1 again")
    ids = [
        [row["id"] for row in place.all(f"issues/comments?{query}")]
        for query in ("direction=desc", "sort=updated&direction=desc")
    ]
    assert ids == [[first.id, second.id], [first.id, second.id]]
    since = "2026-09-21T14:13:25Z"
    assert [row["id"] for row in place.get(f"issues/comments?since={since}")] == [first.id]


def test_a_deleted_comment_is_404(place: Place) -> None:
    comment = place.alice.comments(place.alice.opens_issue(place.repo, "Title"), "hello")
    place.alice.deletes(comment)
    assert place.call("GET", f"issues/comments/{comment.id}").status_code == 404


def test_only_writers_edit_what_others_wrote(place: Place) -> None:
    comment = place.alice.comments(place.alice.opens_issue(place.repo, "Title"), "hello")
    reader = place.github.token(place.mallory)
    path = f"issues/comments/{comment.id}"
    assert place.call("PATCH", path, {"body": "mine"}, token=reader).status_code == 403
    assert place.call("PATCH", path, {"body": "ours"}).status_code == 200
    assert (comment.body, comment.author) == ("ours", "alice")


def test_an_edit_is_told_by_graphql_and_by_nothing_else_for_sure(place: Place) -> None:
    query = "query CommentEdits($id: ID!) { node(id: $id) { ... on IssueComment { id lastEditedAt } } }"
    comment = place.alice.comments(place.alice.opens_issue(place.repo, "Title"), "hello")
    node = place.get(f"issues/comments/{comment.id}")["node_id"]
    assert place.ask("CommentEdits", query, id=node)["data"]["node"]["lastEditedAt"] is None
    place.bob.edits(comment, "changed")
    assert place.ask("CommentEdits", query, id=node)["data"]["node"]["lastEditedAt"] == "2026-09-21T14:13:20Z"


def test_too_long_a_comment_is_422_and_too_long_a_body_is_dropped_silently(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title", "before")
    answer = place.call("POST", "issues/1/comments", {"body": "x" * 65537})
    assert (answer.status_code, "too long" in answer.text) == (422, True)
    assert place.call("PATCH", "issues/1", {"body": "x" * 65537}).status_code == 200
    assert (issue.body, issue.comments) == ("before", [])


def test_closing_by_the_api_says_who_and_why(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    answer = place.call("PATCH", "issues/1", {"state": "closed", "state_reason": "completed"}).json()
    assert (answer["state_reason"], answer["closed_by"]["login"]) == ("completed", "robot")
    assert (issue.open, issue.events) == (False, [("closed", "robot")])


@pytest.mark.parametrize(
    ("role", "told"), [("admin", "admin"), ("maintain", "write"), ("triage", "read"), ("none", "none")]
)
def test_the_permission_endpoint_knows_four_words(place: Place, role: str, told: str) -> None:
    place.github.user("carol", place.repo, permission=role)
    answer = place.get("collaborators/carol/permission")
    assert (answer["permission"], answer["role_name"]) == (told, role)


def test_the_permission_endpoint_is_for_those_who_can_push(place: Place) -> None:
    reader = place.github.token(place.mallory)
    assert place.call("GET", "collaborators/alice/permission", token=reader).status_code == 403
    assert place.call("GET", "collaborators/nobody/permission").status_code == 404


def test_a_deleted_account_is_null(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title", None)
    comment = place.alice.comments(issue, "hello")
    place.github.ghost(issue)
    place.github.ghost(comment)
    assert (place.get("issues/1")["user"], place.get("issues/comments")[0]["user"]) == (None, None)
    assert place.get("issues/1")["body"] is None


def test_odd_text_comes_back_as_it_was_written(place: Place) -> None:
    title = "a \"b\" $(c) <d> \\ \u2028 😀 'e' | `f`" + "x" * 200
    place.alice.opens_issue(place.repo, title, "line\r\nline\n\0")
    row = place.get("issues/1")
    assert (row["title"], row["body"]) == (title, "line\r\nline\n\0")


def test_odd_names_make_good_addresses(place: Place) -> None:
    robot = place.github.user("helper[bot]", place.repo, permission="write", kind="Bot")
    robot.opens_issue(place.repo, "Title", labels=("a b/c? 😀",))
    row = place.get("issues/1")
    assert (row["user"]["type"], row["user"]["login"]) == ("Bot", "helper[bot]")
    assert place.call("GET", row["labels"][0]["url"]).json()["name"] == "a b/c? 😀"


def test_the_history_of_an_issues_words_is_told_by_graphql(place: Place) -> None:
    helper = place.github.user("helper[bot]", place.repo, permission="write", kind="Bot")
    issue = place.mallory.opens_issue(place.repo, "Old", "First")
    comment = place.alice.comments(issue, "Hm.")
    asked = {"o": "acme", "r": "app", "n": issue.number}
    seen = place.ask("IssueFacts", ISSUE_FACTS, **asked)["data"]["repository"]
    assert (seen["issue"]["lastEditedAt"], seen["issue"]["editor"]) == (None, None)
    assert seen["issue"]["userContentEdits"] == {"totalCount": 0, "nodes": []}
    place.time += 5
    place.alice.edits(issue, "Second")
    place.time += 5
    helper.labels(issue, "ready")
    place.mallory.renames(issue, "New")
    place.github.ghost(issue)
    place.alice.minimizes(comment)
    place.alice.closes(issue)
    place.mallory.unlabels(issue, "ready")
    seen = place.ask("IssueFacts", ISSUE_FACTS, **asked)["data"]["repository"]
    found = seen["issue"]
    assert seen["databaseId"] == place.repo.id
    assert (found["title"], found["body"], found["state"], found["labels"]["nodes"]) == ("New", "Second", "CLOSED", [])
    assert found["lastEditedAt"] == found["userContentEdits"]["nodes"][0]["editedAt"] == stamp(START + 5)
    alice = {"__typename": "User", "login": "alice", "databaseId": place.alice.id}
    assert found["editor"] == alice
    assert [(edit["editedAt"], edit["editor"]["login"]) for edit in found["userContentEdits"]["nodes"]] == [
        (stamp(START + 5), "alice"),
        (stamp(START), "mallory"),
    ]
    kinds = [event["__typename"] for event in found["timelineItems"]["nodes"]]
    assert kinds == ["LabeledEvent", "RenamedTitleEvent", "UnlabeledEvent"]
    assert found["timelineItems"]["nodes"][0]["actor"] == {
        "__typename": "Bot",
        "login": "helper",
        "databaseId": helper.id,
    }
    assert found["comments"]["nodes"][0]["isMinimized"] is True


def test_what_came_from_another_repository_says_so_and_is_gone_from_there(place: Place) -> None:
    other = place.github.repo("acme/other", files={"README.md": "x"})
    place.github.permission(place.robot, other, "write")
    issue = place.mallory.opens_issue(other, "Moves")
    place.alice.labels(issue, "ready")
    place.mallory.transfers(issue, place.repo)
    here = place.ask("IssueFacts", ISSUE_FACTS, o="acme", r="app", n=issue.number)["data"]["repository"]["issue"]
    kinds = [event["__typename"] for event in here["timelineItems"]["nodes"]]
    assert kinds == ["LabeledEvent", "TransferredEvent"]
    gone = place.ask("IssueFacts", ISSUE_FACTS, o="acme", r="other", n=1)
    assert gone["data"] == {"repository": None}
    assert gone["errors"][0]["type"] == "NOT_FOUND"
