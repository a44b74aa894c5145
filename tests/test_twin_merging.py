"""The local GitHub: merge methods, what a branch demands, and what its merge state says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.twin import PullHandle
from tests.twin_place import START, Place, merge, open_pr, opened

STATE = """query MergeState($o: String!, $r: String!, $n: Int!) { repository(owner: $o, name: $r) {
  pullRequest(number: $n) { mergeStateStatus reviewDecision } } }"""
RULES = "Repository rule violations found"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path, mergeable_after=0) as made:
        yield made


def state(place: Place, pr: PullHandle) -> tuple[str, str | None]:
    data = place.ask("MergeState", STATE, o="acme", r="app", n=pr.number)["data"]
    found = data["repository"]["pullRequest"]
    return found["mergeStateStatus"], found["reviewDecision"]


def two_commits(place: Place) -> PullHandle:
    place.alice.pushes(place.repo, "fix", {"a": "1\n", "d": "1\n"}, message="First", date=START - 500)
    return open_pr(place, "fix", {"b": "2\n", "d": "2\n"})


def parents(place: Place, name: str) -> list[str]:
    return place.repo.git("show", "-s", "--format=%P", name).split()


def test_a_merge_commit_has_base_and_head_as_parents(place: Place) -> None:
    pr = two_commits(place)
    place.alice.pushes(place.repo, "main", {"c": "3\n"}, message="Meanwhile")
    base = place.repo.sha("main")
    answer = place.call("PUT", f"pulls/{pr.number}/merge", {"sha": pr.head_sha})
    assert (answer.status_code, answer.json()["sha"]) == (200, place.repo.sha("main"))
    assert parents(place, "main") == [base, pr.head_sha]
    message = place.repo.git("show", "-s", "--format=%B", "main")
    assert message == "Merge pull request #1 from acme/fix\n\nChange something"
    assert [place.repo.file("main", name) for name in "abc"] == ["1\n", "2\n", "3\n"]


def test_a_rebase_lands_each_commit_anew_with_its_own_author(place: Place) -> None:
    pr = two_commits(place)
    place.alice.pushes(place.repo, "main", {"c": "3\n"}, message="Meanwhile")
    assert place.get("pulls/1")["rebaseable"] is True
    assert merge(place, pr, merge_method="rebase")[0] == 200
    assert place.repo.log("main") == ["Add fix", "First", "Meanwhile", "First commit"]
    who = place.repo.git("show", "-s", "--format=%an %at %cn", "main~1")
    assert who == f"alice {START - 500} robot"
    assert place.get("pulls/1")["merge_commit_sha"] == place.repo.sha("main") != pr.head_sha
    assert [place.repo.file("main", name) for name in "abc"] == ["1\n", "2\n", "3\n"]


def test_a_branch_that_merges_may_still_not_be_rebased(place: Place) -> None:
    place.alice.pushes(place.repo, "fix", {"README.md": "mine\n"}, message="There")
    pr = open_pr(place, "fix", {"README.md": "one\ntwo\nthree\n", "new": "x\n"})
    place.alice.pushes(place.repo, "main", {"README.md": "theirs\n"})
    read = place.get("pulls/1")
    assert (read["mergeable"], read["rebaseable"]) == (True, False)
    assert merge(place, pr, merge_method="rebase") == (405, "This branch can't be rebased")
    assert merge(place, pr)[0] == 200
    assert place.repo.file("main", "README.md") == "theirs\n"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("merge", "Merge commits are not allowed on this repository."),
        ("squash", "Squash merges are not allowed on this repository."),
        ("rebase", "Rebase merges are not allowed on this repository."),
    ],
)
def test_a_repository_may_forbid_each_method(place: Place, method: str, said: str) -> None:
    pr = open_pr(place)
    place.repo.settings(**{f"allow_{method}": False})
    names = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
    assert {way: place.get("")[name] for way, name in names.items()} == {way: way != method for way in names}
    assert merge(place, pr, merge_method=method) == (405, said)
    assert not pr.merged


def test_an_exempt_account_merges_although_the_state_is_blocked(place: Place) -> None:
    pr = open_pr(place)
    demands: dict[str, Any] = {"checks": ["lint"], "reviews": 1, "queue": "squash", "strict": True}
    place.github.requires(place.repo, "main", **demands)
    assert (merge(place, pr)[0], pr.merged) == (405, False)
    place.github.requires(place.repo, "main", **demands, exempt=[place.robot])
    assert state(place, pr) == ("BLOCKED", "REVIEW_REQUIRED")
    assert (merge(place, pr)[0], pr.merged) == (200, True)


def test_an_exempt_account_cannot_merge_what_does_not_merge(place: Place) -> None:
    pr = open_pr(place, draft=True)
    place.github.requires(place.repo, "main", exempt=[place.robot])
    assert merge(place, pr) == (405, "Pull Request is still a draft")
    assert merge(place, pr, sha="0" * 40)[0] == 409


def test_a_rule_set_tells_its_rules_and_every_one_that_is_broken(place: Place) -> None:
    pr = open_pr(place)
    place.github.requires(
        place.repo, "main", checks=["lint"], reviews=2, conversations=True, queue="rebase", by_rules=True
    )
    rules = {rule["type"]: rule["parameters"] for rule in place.all("rules/branches/main")}
    assert set(rules) == {"pull_request", "required_status_checks", "merge_queue"}
    asked = rules["pull_request"]
    assert (asked["required_approving_review_count"], asked["required_review_thread_resolution"]) == (2, True)
    assert rules["merge_queue"]["merge_method"] == "REBASE"
    branch = place.get("branches/main")
    assert (branch["protected"], branch["protection"]["enabled"]) == (True, False)  # hub4j/github-api#2062
    code, said = merge(place, pr)
    assert (code, said.split("\n\n")) == (
        405,
        [
            RULES,
            "Changes must be made through the merge queue",
            'Required status check "lint" is expected.',
            "At least 2 approving reviews are required by reviewers with write access.",
            "",
        ],
    )


def test_a_dismissed_review_counts_for_nothing(place: Place) -> None:
    pr = open_pr(place)
    place.bob.requests_changes(pr)
    assert state(place, pr) == ("CLEAN", None), "without a demand for reviews GitHub does not decide"
    place.github.requires(place.repo, "main", reviews=1, by_rules=True)
    assert state(place, pr) == ("BLOCKED", "CHANGES_REQUESTED")
    approval = place.bob.approves(pr)
    assert state(place, pr) == ("CLEAN", "APPROVED")
    place.bob.reviews(pr)
    assert state(place, pr) == ("CLEAN", "APPROVED"), "a comment is no opinion"
    place.time += 10
    place.alice.dismisses(approval)
    assert state(place, pr) == ("BLOCKED", "REVIEW_REQUIRED")
    shown = [review["state"] for review in place.all(f"pulls/{pr.number}/reviews")]
    assert shown == ["CHANGES_REQUESTED", "DISMISSED", "COMMENTED"]
    assert (pr.pull.updated_at, pr.events[-1]) == (START + 10, ("review_dismissed", "alice"))
    assert [review.event for review in pr.reviews] == ["REQUEST_CHANGES", "DISMISSED", "COMMENT"]


def test_an_approval_without_write_access_is_none(place: Place) -> None:
    pr = open_pr(place)
    place.github.requires(place.repo, "main", reviews=1)
    place.mallory.approves(pr)
    assert state(place, pr) == ("BLOCKED", "REVIEW_REQUIRED")


def test_an_open_conversation_blocks_where_that_is_demanded(place: Place) -> None:
    pr = open_pr(place)
    thread = place.bob.starts_thread(pr, "fix.txt", 2)
    place.bob.resolves(place.alice.starts_thread(pr, "fix.txt", 3))
    assert place.get("pulls/1/comments")[0]["line"] == 2
    assert state(place, pr)[0] == "CLEAN"
    place.github.requires(place.repo, "main", conversations=True, by_rules=True)
    assert state(place, pr)[0] == "BLOCKED"
    said = "A conversation must be resolved before this pull request can be merged."
    assert merge(place, pr) == (405, f"{RULES}\n\n{said}\n\n")
    query = """query Threads { repository(owner: "acme", name: "app") { pullRequest(number: 1) {
      reviewThreads(first: 1) { totalCount nodes { isResolved path line } pageInfo { hasNextPage } } } } }"""
    found = place.ask("Threads", query)["data"]["repository"]["pullRequest"]["reviewThreads"]
    assert found["nodes"] == [{"isResolved": False, "path": "fix.txt", "line": 2}]
    assert (found["totalCount"], found["pageInfo"]) == (2, {"hasNextPage": True})
    place.bob.resolves(thread)
    assert merge(place, pr)[0] == 200


def test_hooks_a_stale_base_and_a_forgotten_state_show(place: Place) -> None:
    pr = open_pr(place)
    place.repo.settings(has_hooks=True)
    assert state(place, pr)[0] == "HAS_HOOKS"
    place.github.forgets_mergeable(pr, reads=2)
    assert place.get("pulls/1")["mergeable"] is None
    assert [state(place, pr)[0] for _ in range(2)] == ["UNKNOWN", "HAS_HOOKS"]
    place.github.requires(place.repo, "main", strict=True)
    place.alice.pushes(place.repo, "main", {"z": "1\n"})
    assert state(place, pr)[0] == "BEHIND"
    assert merge(place, pr) == (405, "Head branch is out of date. Review and try the merge again.")
    place.alice.drafts(pr)
    assert state(place, pr)[0] == "DRAFT"
    place.github.shows_mergeable(pr, False)
    assert state(place, pr)[0] == "DIRTY"
