"""Rows R of the merge specification: what follows a merge, and what never spoils it."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from orchestrator.twin import Fault, status
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import (
    CALLED,
    DELETED,
    EDITED,
    LANDED,
    SAID,
    SEEN,
    announced,
    ask,
    green,
    no,
    opens,
    runs,
    short,
)

WORDS = [
    (403, "Unable to create comment because issue is locked."),
    (403, "User is blocked"),
    (422, "Body is too long (maximum is 65536 characters)"),
]


@pytest.mark.parametrize(("code", "sentence"), WORDS, ids=["locked", "blocked", "too long"])
def test_R5_a_merge_that_may_not_be_told_is_done_all_the_same(house: House, code: int, sentence: str) -> None:
    pull = green(house)
    for request in (SAID, SEEN):
        house.github.faults.add(Fault(request, no(code, sentence), times=99))
    with capture_logs() as told:
        ask(house, pull)
    assert pull.merged
    assert "topic" not in house.repo.branches
    assert house.said(pull) == []
    assert house.job("merge", pull.number).reason == ""
    assert [house.github.journal.count(request) for request in (SEEN, SAID)] == [1, 1]
    assert any(sentence in line.get("answer", "") for line in told)
    house.expect(SEEN, SAID, CALLED, DELETED)


def test_R5_a_refusal_that_may_not_be_told_is_not_told_again(house: House) -> None:
    runs(house, "exit 1")
    pull = green(house)
    house.github.faults.add(Fault(SAID, no(*WORDS[0]), times=99))
    ask(house, pull)
    house.clock.advance(86_400)
    house.quiet()
    assert not pull.merged
    assert house.job("merge", pull.number).status == "done"
    assert house.github.journal.count(SAID) == 2  # the status and the refusal
    house.expect(SEEN, SAID)


def test_R6_only_open_issues_of_this_repository_are_closed(house: House) -> None:
    house.repo.settings(autoclose=False)
    wish, done = house.alice.opens_issue(house.repo, "Wish"), house.alice.opens_issue(house.repo, "Done")
    other = opens(house, "other")
    elsewhere = house.github.repo("acme/lib", files={"a": "a\n"})
    foreign = house.alice.opens_issue(elsewhere, "Elsewhere")
    pull = opens(house, body=f"Closes #{wish.number}, closes #{done.number}, closes #{other.number}, closes acme/lib#1")
    house.alice.closes(done)
    house.ci.passes(pull, "build")
    ask(house, pull)
    announced(house, pull)
    assert not wish.open
    assert other.open
    assert foreign.open
    assert [e.short for e in house.github.journal.mutations if e.method == "PATCH" and "comments" not in e.path] == [
        f"PATCH issues/{wish.number}"
    ]
    house.expect(*LANDED, f"PATCH issues/{wish.number}")


def test_R6_an_issue_that_cannot_be_closed_does_not_spoil_the_merge(house: House) -> None:
    house.repo.settings(autoclose=False)
    issue = house.alice.opens_issue(house.repo, "Wish")
    pull = opens(house, body=f"Fixes #{issue.number}")
    house.ci.passes(pull, "build")
    house.github.faults.add(Fault(f"PATCH issues/{issue.number}", no(410, "This issue was deleted")))
    ask(house, pull)
    said = announced(house, pull)
    assert f"Issue #{issue.number} could not be closed: GitHub answered 410" in said
    assert "topic" not in house.repo.branches
    house.expect(*LANDED, f"PATCH issues/{issue.number}")


def test_R7_what_the_pull_request_was_made_for_is_closed_although_the_base_is_not_the_default(
    make_house: MakeHouse,
) -> None:
    house = make_house(base_branch="develop", ci_settle=0)
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    issue = house.alice.opens_issue(house.repo, "Wish")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    pull = house.repo.pulls[0]
    assert pull.base_ref == "develop"
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert not issue.open
    house.expect(*LANDED, f"PATCH issues/{issue.number}", f"POST issues/{issue.number}/*", "PUSH *", "POST pulls")
    house.expect(f"DELETE issues/{issue.number}/labels/*")


def test_R8_githubs_links_decide_and_not_the_words(house: House) -> None:
    house.repo.settings(autoclose=False)
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    named, linked = house.alice.opens_issue(house.repo, "Named"), house.alice.opens_issue(house.repo, "Linked")
    house.alice.pushes(house.repo, "topic", {"a.txt": "a\n"}, f"Resolve #{named.number}")
    pull = opens(house, base="develop", body=f"Closes #{named.number}\n\n`fixes #{named.number}`")
    pull.pull.linked.add(linked.number)
    house.ci.passes(pull, "build")
    ask(house, pull)
    announced(house, pull)
    assert named.open
    assert not linked.open
    house.expect(*LANDED, f"PATCH issues/{linked.number}")


def test_R9_a_branch_that_got_a_commit_after_the_merge_stays(house: House) -> None:
    pull = green(house)
    house.github.after(CALLED, lambda: house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"}))
    ask(house, pull)
    said = announced(house, pull)
    assert "`topic` was kept: it got new commits after the merge" in said
    assert short(house.repo.sha("topic")) in said
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_R10_a_branch_name_with_slash_and_hash_is_deleted_as_it_is(house: House) -> None:
    house.alice.pushes(house.repo, "odd/one", {"keep.txt": "keep\n"})
    pull = green(house, "odd/one#2%20", files={"a.txt": "a\n"})
    ask(house, pull)
    announced(house, pull)
    assert house.repo.branches == ["main", "odd/one"]
    house.expect(*LANDED)


def test_R10_a_protected_branch_stays(house: House) -> None:
    house.github.requires(house.repo, "topic")
    pull = green(house)
    ask(house, pull)
    assert "`topic` was kept: it is protected" in announced(house, pull)
    assert "topic" in house.repo.branches
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_R10_the_default_branch_stays(house: House) -> None:
    house.alice.pushes(house.repo, "release", {"release.txt": "1\n"})
    pull = opens(house, "main", files={"fix.txt": "fix\n"}, base="release")
    house.ci.passes(pull, "build")
    ask(house, pull)
    assert "`main` was kept: it is the default branch" in announced(house, pull)
    assert "main" in house.repo.branches
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_R10_a_branch_that_somebody_deletes_first_is_fine(house: House) -> None:
    pull = green(house)
    house.github.before(DELETED, lambda: house.alice.deletes_branch(house.repo, "topic"))
    ask(house, pull)
    assert house.github.journal.find(DELETED)[0].status in (404, 422)
    assert "was kept" not in announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize(
    ("code", "sentence", "kept"),
    [
        (404, "Not Found", ""),
        (422, "Reference does not exist", ""),
        (422, "Cannot delete this branch", "`topic` was kept: GitHub refuses to delete it"),
        (403, "Resource not accessible by integration", "`topic` was kept: GitHub answered 403"),
    ],
)
def test_R10_only_the_answer_that_it_is_not_there_counts_as_deleted(
    house: House, code: int, sentence: str, kept: str
) -> None:
    pull = green(house)
    house.github.faults.add(Fault(DELETED, no(code, sentence)))
    ask(house, pull)
    said = announced(house, pull)
    assert "was kept" in said if kept else "was kept" not in said
    assert kept in said
    assert house.github.journal.count(DELETED) == 1
    house.expect(*LANDED)


def test_R11_without_knowing_what_is_based_on_it_the_branch_stays(house: House) -> None:
    pull = green(house)
    house.github.after(CALLED, lambda: house.github.faults.add(Fault("GET pulls", status(502), times=3)))
    ask(house, pull)
    said = announced(house, pull)
    assert "`topic` was kept: GitHub did not say" in said
    assert "topic" in house.repo.branches
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_R12_a_repository_that_deletes_branches_itself_is_fine(house: House) -> None:
    house.repo.settings(delete_branch_on_merge=True)
    pull = green(house)
    ask(house, pull)
    said = announced(house, pull)
    assert "with base" in said
    assert "was kept" not in said
    assert "topic" not in house.repo.branches
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_R13_a_worktree_that_cannot_be_taken_away_does_not_spoil_the_merge(make_house: MakeHouse) -> None:
    # The command leaves files, and a lock of git's in the mirror that somebody then holds.
    house = make_house(pre_merge_commands=("touch left.txt; touch ../mirror.git/packed-refs.lock",))
    lock = house.folder / "worktrees/acme/app/mirror.git/packed-refs.lock"
    pull = green(house)
    with ExitStack() as held:
        house.github.before(CALLED, lambda: held.enter_context(lock.open()))
        ask(house, pull)
        assert lock.exists()
    assert "with base" in announced(house, pull)
    assert "topic" not in house.repo.branches
    assert len(house.said(pull)) == 1
    assert house.job("merge", pull.number).reason == ""
    house.expect(*LANDED)


def test_a_merge_whose_tail_fails_for_good_is_still_called_merged(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault("QUERY LinkedIssues", status(502), times=999))
    ask(house, pull)
    said = announced(house, pull)
    assert "tidying up did not finish" in said
    assert short(pull.merge_sha) in said
    assert len(house.said(pull)) == 1
    house.github.journal.claim(CALLED, times=1)
    house.expect(SEEN, SAID, EDITED)
