"""The local GitHub: names that change, things that went away, people who are kept out, the activity list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.twin_place import Place, open_pr, opened

LINKED = """query LinkedIssues { repository(owner: "acme", name: "app") { pullRequest(number: 2) {
  closingIssuesReferences(first: 5) { nodes { number repository { nameWithOwner } } } } } }"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        yield made


def permission(place: Place, login: str) -> tuple[int, Any]:
    answer = place.call("GET", f"collaborators/{login}/permission")
    data = answer.json()
    return answer.status_code, (data.get("permission"), data.get("role_name"))


def test_the_permission_endpoint_may_tell_a_custom_role_or_a_word_of_tomorrow(place: Place) -> None:
    place.github.tells_permission(place.alice, place.repo, "write", role="deployer")
    assert permission(place, "alice") == (200, ("write", "deployer"))
    place.github.tells_permission(place.bob, place.repo, "owner", role="owner")
    assert permission(place, "bob") == (200, ("owner", "owner"))
    place.bob.locks(place.alice.opens_issue(place.repo, "Wish"))
    token = place.github.token(place.bob)
    assert place.call("POST", "issues/1/comments", {"body": "x"}, token=token).status_code == 201, "rights stay"


def test_a_renamed_account_keeps_its_id_and_its_old_login_is_free(place: Place) -> None:
    comment = place.alice.comments(place.alice.opens_issue(place.repo, "Wish"), "mine")
    known = place.alice.id
    place.github.renames_user(place.alice, "alicia")
    seen = place.get(f"issues/comments/{comment.id}")["user"]
    assert (seen["login"], seen["id"]) == ("alicia", known)
    assert permission(place, "alicia") == (200, ("write", "write"))
    assert permission(place, "alice")[0] == 404
    assert place.github.user("alice").id != known
    assert permission(place, "alice") == (200, ("none", "none"))
    with pytest.raises(ValueError, match="taken"):
        place.github.renames_user(place.bob, "Alice")


def test_an_association_says_nothing_about_rights(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Wish")
    place.alice.comments(issue, "I may write")
    place.github.tells_association(place.mallory, place.repo, "MEMBER")
    place.mallory.comments(issue, "I may not")
    shown = [comment["author_association"] for comment in place.all("issues/1/comments")]
    assert shown == ["CONTRIBUTOR", "MEMBER"]


def test_a_locked_conversation_takes_comments_of_writers_until_it_is_unlocked(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Wish")
    place.bob.locks(issue)
    token = place.github.token(place.mallory)
    answer = place.call("POST", "issues/1/comments", {"body": "x"}, token=token)
    assert (answer.status_code, answer.json()["message"]) == (403, "Unable to create comment because issue is locked.")
    assert place.call("POST", "issues/1/comments", {"body": "x"}).status_code == 201
    place.bob.unlocks(issue)
    assert place.call("POST", "issues/1/comments", {"body": "x"}, token=token).status_code == 201


def test_a_blocked_account_posts_nothing_and_still_reads(place: Place) -> None:
    place.alice.opens_issue(place.repo, "Wish")
    place.bob.blocks(place.repo, place.robot)
    for path, body in (("issues/1/comments", {"body": "x"}), ("issues/1/reactions", {"content": "eyes"})):
        answer = place.call("POST", path, body)
        assert (answer.status_code, answer.json()["message"]) == (403, "User is blocked")
    assert place.get("issues/1")["comments"] == 0


def test_text_beyond_the_limit_is_422_wherever_it_is_new(place: Place) -> None:
    open_pr(place)
    long = "x" * 65_537
    for path, body in (
        ("issues", {"title": "T", "body": long}),
        ("issues/1/comments", {"body": long}),
        ("pulls/1/reviews", {"event": "COMMENT", "body": long}),
    ):
        answer = place.call("POST", path, body)
        assert (answer.status_code, "too long (maximum is 65536 characters)" in answer.text) == (422, True), path
    comment = place.robot.comments(place.repo.pulls[0], "short")
    assert place.call("PATCH", f"issues/comments/{comment.id}", {"body": long}).status_code == 422


def test_a_transferred_issue_tells_its_new_place_and_what_lay_below_it_is_404(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Wish")
    comment = place.alice.comments(issue, "please")
    other = place.github.repo("acme/other", files={"a": "1\n"})
    place.github.permission(place.robot, other, "write")
    place.alice.opens_issue(other, "First there")
    pr = open_pr(place, body="Fixes #1")
    place.alice.transfers(issue, other)
    for method, body in (("GET", None), ("PATCH", {"state": "closed"})):
        answer = place.call(method, "issues/1", body)
        at = f"{place.github.url}/repositories/{other.id}/issues/2"
        assert (answer.status_code, answer.headers["Location"]) == (301, at)
    assert place.call("GET", at).json()["title"] == "Wish"
    assert place.call("GET", "issues/1/comments").status_code == 404
    assert place.call("GET", f"issues/comments/{comment.id}").status_code == 404
    assert [row["number"] for row in place.all("issues?state=all")] == [pr.number]
    nodes = place.ask("LinkedIssues", LINKED)["data"]["repository"]["pullRequest"]["closingIssuesReferences"]["nodes"]
    assert nodes == [{"number": 2, "repository": {"nameWithOwner": "acme/other"}}]
    assert place.alice.opens_issue(place.repo, "Next").number == 3
    place.github.permission(place.robot, other, "none")
    assert place.call("GET", "issues/1").status_code == 404


def test_a_deleted_issue_is_gone_and_its_number_stays_taken(place: Place) -> None:
    place.bob.deletes_issue(place.alice.opens_issue(place.repo, "Wish"))
    answer = place.call("GET", "issues/1")
    assert (answer.status_code, answer.json()["message"]) == (410, "This issue was deleted")
    assert place.alice.opens_issue(place.repo, "Next").number == 2


def test_a_hidden_repository_is_404_for_everybody(place: Place) -> None:
    token = place.github.token(place.bob)
    place.github.hides(place.repo)
    assert {place.call("GET", path, token=token).status_code for path in ("", "issues", "pulls")} == {404}
    assert place.call("GET", f"/repositories/{place.repo.id}/issues").status_code == 404
    assert "not found" in place.git("ls-remote", place.repo.clone_url).stderr
    place.github.hides(place.repo, hidden=False)
    assert place.call("GET", "").status_code == 200


def test_a_review_of_a_deleted_account_has_no_user(place: Place) -> None:
    pr = open_pr(place)
    place.github.ghost(place.bob.approves(pr))
    assert place.get("pulls/1/reviews")[0]["user"] is None


def test_activity_is_newest_first_and_pages_by_cursor_both_ways(place: Place) -> None:
    pr = open_pr(place)
    place.alice.force_pushes(place.repo, "fix", {"fix.txt": "other\n"})
    place.alice.pushes(place.repo, "fix", {"more": "1\n"})
    place.alice.merges(pr)
    place.alice.deletes_branch(place.repo, "fix")
    first = place.call("GET", "activity?per_page=2")
    assert 'rel="prev"' not in first.headers["Link"]
    every = place.all("activity?per_page=2")
    assert [one["activity_type"] for one in every] == [
        "branch_deletion",
        "pr_merge",
        "push",
        "force_push",
        "branch_creation",
        "branch_creation",
    ]
    assert [one["before"] for one in every[1:3]] == [every[5]["after"], every[3]["after"]]
    second = place.call("GET", first.links["next"]["url"])
    third = place.call("GET", second.links["next"]["url"])
    back = place.call("GET", third.links["prev"]["url"])
    assert (back.json(), back.links["prev"], "next" in third.links) == (second.json(), second.links["prev"], False)
    forced = place.get("activity?ref=refs/heads/fix&activity_type=force_push")
    assert [one["after"] for one in forced] == [every[3]["after"]]
    assert place.get("activity?ref=fix&direction=asc&per_page=1")[0]["activity_type"] == "branch_creation"


@pytest.mark.parametrize(
    ("include", "exclude", "covered"),
    [
        (("~ALL",), (), {"main", "topic", "team/topic", "team/a/topic"}),
        (("~DEFAULT_BRANCH",), (), {"main"}),
        (("refs/heads/team/*",), (), {"team/topic"}),
        (("refs/heads/team/**/*",), (), {"team/topic", "team/a/topic"}),
        (("refs/heads/**/topic",), ("refs/heads/team/*",), {"topic", "team/a/topic"}),
        (("refs/heads/t?pic", "refs/heads/main"), ("~DEFAULT_BRANCH",), {"topic"}),
    ],
)
def test_rule_sets_cover_the_branches_that_they_name(
    place: Place, include: tuple[str, ...], exclude: tuple[str, ...], covered: set[str]
) -> None:
    names = ("topic", "team/topic", "team/a/topic")
    for name in names:
        place.alice.pushes(place.repo, name, {"a.txt": "a\n"})
    place.github.rules(place.repo, "non_fast_forward", "deletion", include=include, exclude=exclude)
    encoded = {name: name.replace("/", "%2F") for name in ("main", *names)}
    ruled = {name for name in encoded if place.all(f"rules/branches/{encoded[name]}")}
    protected = {name for name in encoded if place.get(f"branches/{encoded[name]}")["protected"]}
    assert ruled == protected == covered
    [number] = {rule["ruleset_id"] for name in covered for rule in place.all(f"rules/branches/{encoded[name]}")}
    about = place.get(f"rulesets/{number}")
    assert about["conditions"]["ref_name"] == {"include": list(include), "exclude": list(exclude)}
    assert place.call("GET", "rulesets/5").status_code == 404
    codes = {name: place.call("DELETE", f"git/refs/heads/{name}").status_code for name in names}
    assert codes == {name: 422 if name in covered else 204 for name in names}


def test_a_rule_set_that_holds_one_branch_does_not_keep_it_from_being_deleted(place: Place) -> None:
    open_pr(place)
    place.github.requires(place.repo, "fix", checks=["build"], by_rules=True)
    [rule] = place.all("rules/branches/fix")
    assert place.get(f"rulesets/{rule['ruleset_id']}")["conditions"]["ref_name"]["include"] == ["refs/heads/fix"]
    assert place.call("DELETE", "git/refs/heads/fix").status_code == 204


def test_a_web_site_is_made_from_a_branch_or_by_a_workflow(place: Place) -> None:
    assert (place.get("/repos/acme/app")["has_pages"], place.call("GET", "pages").status_code) == (False, 404)
    place.github.publishes(place.repo, "main")
    assert place.get("/repos/acme/app")["has_pages"] is True
    assert place.get("pages")["source"] == {"branch": "main", "path": "/"}
    place.github.publishes(place.repo, "")
    assert (place.get("pages")["build_type"], place.get("pages").get("source")) == ("workflow", None)


def test_a_fork_tells_what_it_is_a_fork_of_and_its_branch_has_pull_requests_there(place: Place) -> None:
    fork = place.robot.fork_of(place.repo)
    assert "parent" not in place.get("/repos/acme/app")
    about = place.get(f"/repos/{fork.name}")
    assert about["parent"]["full_name"] == about["source"]["full_name"] == "acme/app"
    place.robot.pushes(fork, "fix", {"a.txt": "a\n"})
    pull = place.robot.opens_pr(fork, "fix", into=place.repo)
    assert [one["number"] for one in place.all("pulls?head=robot:fix")] == [pull.number]
    assert place.call("DELETE", f"/repos/{fork.name}/git/refs/heads/fix").status_code == 204
    assert not pull.open
