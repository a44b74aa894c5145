"""The local GitHub: pull requests, reviews, checks and merges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.twin_place import START, Place, merge, open_pr, opened

MERGE_STATE = """query MergeState($o: String!, $r: String!, $n: Int!) { repository(owner: $o, name: $r) {
  pullRequest(number: $n) {
    isDraft merged mergeable mergeStateStatus reviewDecision headRefOid baseRefName } } }"""
LINKED = """query LinkedIssues($o: String!, $r: String!, $n: Int!) { repository(owner: $o, name: $r) {
  pullRequest(number: $n) { closingIssuesReferences(first: 50) {
    nodes { number state repository { nameWithOwner } } } } } }"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        yield made


def test_mergeable_is_null_at_first_and_after_each_push(place: Place) -> None:
    pr = open_pr(place)
    assert [place.get("pulls/1")["mergeable"] for _ in range(2)] == [None, True]
    place.alice.pushes(place.repo, "fix", {"more": "x\n"})
    assert [place.get("pulls/1")["mergeable"] for _ in range(2)] == [None, True]
    place.alice.pushes(place.repo, "main", {"fix.txt": "another\n"})
    assert [place.get("pulls/1")["mergeable_state"] for _ in range(2)] == ["unknown", "dirty"]
    place.github.shows_mergeable(pr, True)
    assert place.get("pulls/1")["mergeable"] is True
    assert merge(place, pr) == (405, "Pull Request is not mergeable")


def test_lists_never_carry_mergeable(place: Place) -> None:
    open_pr(place)
    assert not {"mergeable", "mergeable_state", "merged", "merged_by"} & place.get("pulls")[0].keys()


def test_the_list_of_pulls_selects_by_head_with_its_owner_and_by_base(place: Place) -> None:
    open_pr(place, "one")
    open_pr(place, "two", base="one")
    assert [row["number"] for row in place.get("pulls?head=acme:two")] == [2]
    assert [row["number"] for row in place.get("pulls?base=one")] == [2]
    assert len(place.get("pulls?head=two")) == 2, "GitHub ignores a head without its owner"


def test_a_push_moves_the_pr_and_ci_does_not(place: Place) -> None:
    pr = open_pr(place)
    place.time += 10
    place.ci.fails(pr, "lint")
    place.ci.status(pr, "ctx", "success")
    assert pr.pull.updated_at == START
    place.alice.pushes(place.repo, "fix", {"b": "x\n"})
    assert (pr.pull.updated_at, pr.head_sha) == (START + 10, place.repo.sha("fix"))


def test_a_review_moves_the_pr_and_not_the_issue(place: Place) -> None:
    pr = open_pr(place)
    place.time += 10
    place.bob.approves(pr)
    assert (pr.pull.updated_at, pr.thing.updated_at) == (START + 10, START)


def test_opening_a_pr_is_refused_in_githubs_words(place: Place) -> None:
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    place.repo.git("branch", "same", "main")
    place.alice.force_pushes(place.repo, "same", sha=place.repo.sha("main"))

    def refused(**body: Any) -> str:
        answer = place.call("POST", "pulls", {"title": "T", "head": "fix", "base": "main", **body})
        assert answer.status_code == 422, answer.text
        error = answer.json()["errors"][0]
        return str(error.get("message") or f"{error['field']} {error['code']}")

    assert place.call("POST", "pulls", {"title": "T", "head": "acme:fix", "base": "main"}).status_code == 201
    assert refused() == "A pull request already exists for acme:fix."
    assert refused(head="same") == "No commits between main and same"
    assert refused(head="absent") == "head invalid"
    assert refused(base="absent") == "base invalid"
    assert refused(title="x" * 257, head="same") == "title is too long (maximum is 256 characters)"


def test_a_review_is_posted_whole_or_not_at_all(place: Place) -> None:
    pr = open_pr(place, files={"README.md": "one\n2\nthree\n", "gone": "x\n"})
    good = {"path": "README.md", "line": 2, "side": "RIGHT", "body": "why?"}
    review = {"commit_id": pr.head_sha, "event": "COMMENT", "body": "Read."}
    for bad in ({**good, "line": 9}, {**good, "path": "absent"}, {**good, "start_line": 3}):
        answer = place.call("POST", "pulls/1/reviews", {**review, "comments": [good, bad]})
        assert answer.status_code == 422
    assert pr.reviews == []
    assert place.call("POST", "pulls/1/reviews", {**review, "comments": [good]}).status_code == 200
    seen = pr.reviews[0]
    assert (seen.author, seen.event, seen.body, seen.commit_id) == ("robot", "COMMENT", "Read.", pr.head_sha)
    assert [(c.path, c.line, c.body) for c in seen.comments] == [("README.md", 2, "why?")]
    assert place.get("pulls/1/comments")[0]["diff_hunk"].startswith("@@ -1,3 +1,3 @@")


def test_nobody_approves_an_own_pr(place: Place) -> None:
    place.robot.pushes(place.repo, "mine", {"a": "1\n"})
    place.robot.opens_pr(place.repo, "mine")
    answer = place.call("POST", "pulls/1/reviews", {"event": "APPROVE"})
    assert (answer.status_code, answer.json()["errors"]) == (422, ["Can not approve your own pull request"])


def test_files_tell_binaries_renames_and_deletions(place: Place) -> None:
    place.alice.pushes(place.repo, "main", {"old name": "a\n" * 20, "gone": "x\n"})
    open_pr(place, files={"b.bin": b"\0\1", "old name": None, "new/näme": "a\n" * 20, "gone": None})
    rows = {row["filename"]: row for row in place.all("pulls/1/files")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "b.bin": "added",
        "gone": "removed",
        "new/näme": "renamed",
    }
    assert "patch" not in rows["b.bin"]
    assert rows["new/näme"]["previous_filename"] == "old name"


def test_a_fork_that_is_deleted_leaves_a_head_without_repository(place: Place) -> None:
    pr = place.mallory.opens_fork_pr(place.repo, {"evil": "1\n"})
    assert place.get("pulls/1")["head"]["repo"]["fork"] is True
    assert place.repo.git("rev-parse", "refs/pull/1/head") == pr.head_sha
    assert place.repo.branches == ["main"]
    place.github.deletes_fork(pr)
    head = place.get("pulls/1")["head"]
    assert (head["repo"], head["label"], head["sha"]) == (None, "mallory:patch-1", pr.head_sha)


def test_a_squash_lands_as_one_commit_with_real_content(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "Wish")
    place.alice.pushes(place.repo, "fix", {"a": "1\n"}, message="First")
    place.alice.pushes(place.repo, "fix", {"b": "2\n"}, message="Second\n\nwith text")
    pr = place.alice.opens_pr(place.repo, "fix", title="Grant the wish", body=f"Fixes #{issue.number}")
    place.alice.pushes(place.repo, "main", {"c": "3\n"}, message="Meanwhile")
    base = place.repo.sha("main")
    answer = place.call("PUT", "pulls/2/merge", {"merge_method": "squash", "sha": pr.head_sha}).json()
    assert (answer["merged"], answer["sha"]) == (True, place.repo.sha("main"))
    assert place.repo.log("main") == ["Grant the wish (#2)", "Meanwhile", "First commit"]
    assert place.repo.git("show", "-s", "--format=%P|%b", "main") == f"{base}|* First\n\n* Second\n\nwith text"
    assert [place.repo.file("main", name) for name in "abc"] == ["1\n", "2\n", "3\n"]
    read = place.get("pulls/2")
    assert (read["merged"], read["merge_commit_sha"], read["merged_by"]["login"]) == (True, answer["sha"], "robot")
    assert (pr.open, issue.open, place.repo.branches) == (False, False, ["fix", "main"])
    assert merge(place, pr) == (405, "Pull Request is not mergeable")


def test_a_moved_head_is_409(place: Place) -> None:
    pr = open_pr(place)
    old = pr.head_sha
    place.alice.pushes(place.repo, "fix", {"b": "x\n"})
    assert merge(place, pr, sha=old) == (409, "Head branch was modified. Review and try the merge again.")
    assert not pr.merged


def test_every_other_no_to_a_merge_is_405_with_its_own_sentence(place: Place) -> None:
    pr = open_pr(place, draft=True)
    assert merge(place, pr) == (405, "Pull Request is still a draft")
    place.alice.readies(pr)
    place.github.requires(place.repo, "main", checks=["lint"])
    assert merge(place, pr) == (405, 'Required status check "lint" is expected.')
    place.ci.runs(pr, "lint")
    assert merge(place, pr) == (405, 'Required status check "lint" is pending.')
    place.ci.fails(pr, "lint")
    assert merge(place, pr) == (405, 'Required status check "lint" is failing.')
    place.ci.passes(pr, "lint")
    place.github.requires(place.repo, "main", checks=["lint"], reviews=1)
    assert merge(place, pr)[1].startswith("At least 1 approving review is required")
    place.bob.approves(pr)
    place.repo.settings(allow_squash=False)
    assert merge(place, pr) == (405, "Squash merges are not allowed on this repository.")
    place.repo.settings(allow_squash=True)
    place.alice.pushes(place.repo, "main", {"fix.txt": "conflict\n"})
    assert merge(place, pr) == (405, "Pull Request is not mergeable")
    place.alice.closes(pr)
    assert merge(place, pr) == (405, "Pull Request is not mergeable")


def test_a_base_that_moves_under_the_merge_is_405(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pr = open_pr(place)
    bare = place.repo.thing.bare
    other = bare.commit(place.repo.sha("main"), {"z": "1\n"}, "Race", place.bob.thing.person, START)
    real = bare.commit_tree

    def late(*args: Any, **more: Any) -> str:
        bare.set_ref("refs/heads/main", other)
        return real(*args, **more)

    monkeypatch.setattr(bare, "commit_tree", late)
    assert merge(place, pr) == (405, "Base branch was modified. Review and try the merge again.")
    assert not pr.merged


def test_linked_issues_are_closed_only_by_merges_into_the_default_branch(place: Place) -> None:
    for title in ("one", "two", "three"):
        place.alice.opens_issue(place.repo, title)
    place.alice.pushes(place.repo, "release", {"r": "1\n"})
    side = open_pr(place, "side", base="release", body="Fixes #1")
    pr = open_pr(place, "fix", body="Closes #2, resolves acme/app#3, fixes other/repo#1, prefix #1")

    def linked(number: int) -> list[int]:
        data = place.ask("LinkedIssues", LINKED, o="acme", r="app", n=number)["data"]
        return [n["number"] for n in data["repository"]["pullRequest"]["closingIssuesReferences"]["nodes"]]

    assert (linked(side.number), linked(pr.number)) == ([], [2, 3])
    place.alice.merges(side)
    place.alice.edits(pr, "no words any more")
    place.alice.merges(pr)
    assert [issue.open for issue in place.repo.issues] == [True, False, False]


def test_a_merge_may_leave_its_linked_issues_open(place: Place) -> None:
    issue = place.alice.opens_issue(place.repo, "one")
    place.alice.pushes(place.repo, "release", {"r": "1\n"})
    moved = open_pr(place, "moved", body="Fixes #1")
    place.alice.retargets(moved, "release")
    place.alice.merges(moved)
    assert issue.open
    place.repo.settings(autoclose=False)
    place.alice.merges(open_pr(place, "silent", body="Fixes #1"))
    assert issue.open


def test_the_merge_state_follows_protection_checks_and_reviews(place: Place) -> None:
    pr = open_pr(place)

    def state() -> tuple[str, str, str | None]:
        data = place.ask("MergeState", MERGE_STATE, o="acme", r="app", n=pr.number)["data"]
        found = data["repository"]["pullRequest"]
        return found["mergeable"], found["mergeStateStatus"], found["reviewDecision"]

    assert state() == ("UNKNOWN", "UNKNOWN", None)
    assert state() == ("MERGEABLE", "CLEAN", None)
    place.ci.fails(pr, "lint")
    assert state()[1] == "UNSTABLE"
    place.github.requires(place.repo, "main", checks=["lint"], strict=True, reviews=1)
    assert state()[1:] == ("BLOCKED", "REVIEW_REQUIRED")
    place.ci.passes(pr, "lint")
    place.bob.requests_changes(pr)
    assert state()[1:] == ("BLOCKED", "CHANGES_REQUESTED")
    place.bob.approves(pr)
    assert state()[1:] == ("CLEAN", "APPROVED")
    place.alice.pushes(place.repo, "main", {"z": "1\n"})
    state()
    assert state()[1] == "BEHIND"
    assert place.ask("MergeState", MERGE_STATE, o="acme", r="app", n=99)["errors"][0]["type"] == "NOT_FOUND"


def test_checks_and_statuses_are_read_by_commit_and_counted(place: Place) -> None:
    pr = open_pr(place)
    sha = pr.head_sha
    nothing = place.get(f"commits/{sha}/status")
    assert (nothing["state"], nothing["total_count"]) == ("pending", 0)
    place.ci.fails(pr, "lint")
    place.ci.passes(pr, "lint")
    place.ci.passes(pr, "lint", app="other")
    place.ci.runs(pr, "test")
    place.ci.queues_suite(pr, "idle")
    place.ci.status(pr, "ctx", "failure")
    place.ci.status(pr, "ctx", "success")
    place.alice.pushes(place.repo, "fix", {"b": "x\n"})
    runs = [run for page in (1, 2) for run in place.get(f"commits/{sha}/check-runs?page={page}")["check_runs"]]
    assert [(r["name"], r["app"]["slug"], r["conclusion"]) for r in runs] == [
        ("lint", "github-actions", "success"),
        ("lint", "other", "success"),
        ("test", "github-actions", None),
    ]
    assert place.get(f"commits/{sha}/check-runs?filter=all")["total_count"] == 4
    suites = [s for page in (1, 2) for s in place.get(f"commits/{sha}/check-suites?page={page}")["check_suites"]]
    assert [s["status"] for s in suites] == ["in_progress", "completed", "queued"]
    assert place.get(f"commits/{sha}/status")["state"] == "success"
    assert place.get(f"commits/{pr.head_sha}/check-runs")["total_count"] == 0


def test_required_checks_are_told_by_the_branch_or_by_its_rules(place: Place) -> None:
    assert place.get("branches/main")["protected"] is False
    place.github.requires(place.repo, "main", checks=["lint"])
    protection = place.get("branches/main")["protection"]["required_status_checks"]
    assert (protection["contexts"], place.get("rules/branches/main")) == (["lint"], [])
    place.github.requires(place.repo, "main", checks=["test"], by_rules=True)
    assert place.get("branches/main")["protection"]["required_status_checks"]["contexts"] == []
    rule = place.get("rules/branches/main")[0]
    assert [c["context"] for c in rule["parameters"]["required_status_checks"]] == ["test"]


def test_a_deleted_branch_closes_the_prs_that_stand_on_it(place: Place) -> None:
    below = open_pr(place, "below")
    above = open_pr(place, "above", base="below")
    assert place.call("DELETE", "git/refs/heads/below").status_code == 204
    assert (below.open, above.open) == (False, False)
    again = place.call("DELETE", "git/refs/heads/below")
    assert (again.status_code, again.json()["message"]) == (422, "Reference does not exist")


def test_the_default_and_a_protected_branch_stay(place: Place) -> None:
    place.alice.pushes(place.repo, "release/1#2", {"a": "1\n"})
    place.github.requires(place.repo, "release/1#2")
    for branch in ("main", "release/1%232"):
        answer = place.call("DELETE", f"git/refs/heads/{branch}")
        assert (answer.status_code, "does not exist" in answer.text) == (422, False)
    assert place.repo.branches == ["main", "release/1#2"]


def test_a_branch_deleted_on_merge_is_gone(place: Place) -> None:
    pr = open_pr(place)
    place.repo.settings(delete_branch_on_merge=True)
    assert merge(place, pr)[0] == 200
    assert place.repo.branches == ["main"]
