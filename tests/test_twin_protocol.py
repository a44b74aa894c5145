"""The local GitHub: tokens, conditional requests, pages, limits, renames, unknown endpoints, the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from github import Auth, Github

from orchestrator.twin import Twin
from tests.twin_place import Place, opened


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        yield made


def test_a_bad_token_is_401_and_a_private_repository_404_for_strangers(place: Place) -> None:
    assert place.call("GET", "/user", token="wrong").json()["message"] == "Bad credentials"
    stranger = place.github.token(place.github.user("eve"))
    assert place.call("GET", "issues", token=stranger).status_code == 404
    place.repo.settings(private=False)
    assert place.call("GET", "issues", token=stranger).status_code == 200
    assert place.call("POST", "labels", {"name": "x"}, token=stranger).status_code == 403


def test_a_revoked_token_is_401(place: Place) -> None:
    assert place.call("GET", "/user").json()["login"] == "robot"
    place.github.revokes(place.token)
    assert place.call("GET", "/user").status_code == 401


def test_an_unchanged_list_is_304_and_costs_nothing(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    first = place.call("GET", "issues")
    tag = {"If-None-Match": first.headers["ETag"]}
    second = place.call("GET", "issues", **tag)
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["X-RateLimit-Remaining"] == first.headers["X-RateLimit-Remaining"]
    place.time += 1
    place.alice.comments(issue, "news")
    third = place.call("GET", "issues", **tag)
    assert (third.status_code, int(third.headers["X-RateLimit-Used"])) == (
        200,
        int(first.headers["X-RateLimit-Used"]) + 1,
    )


def test_an_etag_is_of_one_token_and_one_address(place: Place) -> None:
    tag = {"If-None-Match": place.call("GET", "issues").headers["ETag"]}
    assert place.call("GET", "issues", token=place.github.token(place.robot), **tag).status_code == 200
    assert place.call("GET", "issues?per_page=1", **tag).status_code == 200
    assert place.call("GET", "issues", Accept="application/json", **tag).status_code == 200


def test_pages_are_linked_by_the_numeric_id_and_never_larger_than_the_twin_allows(place: Place) -> None:
    for number in range(5):
        place.alice.opens_issue(place.repo, f"Issue {number}")
    first = place.call("GET", "issues?per_page=100&state=all")
    assert len(first.json()) == 2
    assert set(first.links) == {"next", "last"}
    assert first.links["next"]["url"].startswith(f"{place.github.url}/repositories/{place.repo.id}/issues?")
    last = place.call("GET", first.links["last"]["url"])
    assert ([row["number"] for row in last.json()], set(last.links)) == ([1], {"prev", "first"})
    assert [row["number"] for row in place.all("issues?per_page=100&state=all")] == [5, 4, 3, 2, 1]


def test_an_exhausted_limit_is_403_until_the_hour_is_over(place: Place) -> None:
    token = place.github.token(place.robot, limit=2)
    codes = [place.call("GET", "/user", token=token).status_code for _ in range(3)]
    assert codes == [200, 200, 403]
    refused = place.call("GET", "/user", token=token)
    assert (refused.headers["X-RateLimit-Remaining"], "rate limit exceeded" in refused.text) == ("0", True)
    assert place.call("GET", "/rate_limit", token=token).json()["rate"]["used"] == 2
    place.time = float(refused.headers["X-RateLimit-Reset"])
    assert place.call("GET", "/user", token=token).status_code == 200


def test_the_date_is_that_of_the_given_clock_in_whole_seconds(place: Place) -> None:
    place.time += 0.9
    place.alice.opens_issue(place.repo, "Title")
    answer = place.call("GET", "issues/1")
    assert answer.headers["Date"] == "Mon, 21 Sep 2026 14:13:20 GMT"
    assert answer.json()["created_at"] == "2026-09-21T14:13:20Z"


def test_a_renamed_repository_redirects_reads_with_301_and_writes_with_307(place: Place) -> None:
    place.alice.opens_issue(place.repo, "Title")
    place.github.renames(place.repo, "acme/new")
    read = place.call("GET", "issues?state=all")
    assert (read.status_code, read.headers["Location"]) == (
        301,
        f"{place.github.url}/repositories/{place.repo.id}/issues?state=all",
    )
    assert place.call("POST", "issues/1/comments", {"body": "x"}).status_code == 307
    assert place.call("GET", read.headers["Location"]).json()[0]["number"] == 1
    assert place.git("ls-remote", place.github.url + "/acme/app.git").returncode == 0


def test_an_unknown_endpoint_is_501_and_remembered(tmp_path: Path) -> None:
    place = Place(tmp_path)
    try:
        assert place.call("GET", "milestones").status_code == 501
        assert place.call("DELETE", "issues/1").status_code == 501
        assert "errors" not in place.ask("Nonsense", "query Nonsense { viewer { login } }")
        assert place.github.journal.unknown == [
            "GET /repos/acme/app/milestones",
            "DELETE /repos/acme/app/issues/1",
            "GraphQL: field viewer",
        ]
    finally:
        place.close()


def test_pygithub_reads_and_writes_unchanged(place: Place) -> None:
    place.alice.opens_issue(place.repo, "Title", labels=("ready",))
    place.alice.opens_issue(place.repo, "Two")
    place.alice.opens_issue(place.repo, "Three")
    with Github(
        base_url=place.github.url, auth=Auth.Token(place.token), retry=None, seconds_between_writes=None
    ) as client:
        repo = client.get_repo("acme/app")
        assert [issue.number for issue in repo.get_issues(sort="created", direction="asc")] == [1, 2, 3]
        repo.get_issue(1).create_comment("hello")
        assert client.rate_limiting[1] == 5000
    place.github.journal.claim("POST issues/1/comments", times=1)


def test_the_journal_tells_what_nobody_expected(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Title")
    place.call("POST", "issues/1/comments", {"body": "expected"})
    place.call("POST", "issues/1/labels", {"labels": ["surprise"]})
    place.alice.comments(issue, "people are not in it")
    journal = place.github.journal
    journal.claim("POST issues/*/comments", times=1)
    assert journal.unclaimed() == ["POST issues/1/labels → 200"]
    assert journal.unclaimed("alice") == []
    with pytest.raises(AssertionError, match="expected 2 of 'POST issues/1/labels', saw 1"):
        journal.claim("POST issues/1/labels", times=2)
    with pytest.raises(AssertionError, match="expected at least one"):
        journal.claim("PUT pulls/1/merge")
    assert journal.count("GET *") == 0


def test_a_repository_without_commits_is_served(tmp_path: Path) -> None:
    with opened(tmp_path) as place:
        empty = place.github.repo("acme/empty")
        place.github.permission(place.robot, empty, "write")
        assert place.get("/repos/acme/empty")["default_branch"] == "main"
        assert place.call("GET", "/repos/acme/empty/git/ref/heads/main").status_code == 409
        assert place.call("GET", "/repos/acme/empty/branches/main").status_code == 404
        assert place.git("clone", "-q", empty.clone_url, str(tmp_path / "empty")).returncode == 0
        assert (empty.branches, empty.sha("main")) == ([], None)


def test_two_twins_live_side_by_side(tmp_path: Path) -> None:
    with Twin(tmp_path / "one") as one, Twin(tmp_path / "two") as two:
        one.repo("acme/app")
        assert (list(one.repos), list(two.repos)) == (["acme/app"], [])
