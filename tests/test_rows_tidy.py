"""Rows R of the merge specification: what follows a merge, and what never spoils it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import pytest
from structlog.testing import capture_logs

from orchestrator import texts
from orchestrator.twin import Fault, status
from orchestrator.twin.faults import Kind
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


LINKED = "QUERY LinkedIssues"
NOT_TESTED = "**Merged, but not what was tested**"


def sneaks_in(house: House) -> None:
    """Bob pushes to the base between the last reading and the call."""
    house.github.before(CALLED, lambda: house.bob.pushes(house.repo, "main", {"late.txt": "late\n"}, "Sneak in"))


@pytest.mark.parametrize(
    ("answer", "asked"), [(status(502), 4), (no(403, "Resource not accessible"), 1)], ids=["never", "refused"]
)
def test_1_8_a_difference_is_said_and_the_tail_goes_on_although_no_linked_issue_can_be_read(
    make_house: MakeHouse, answer: Kind, asked: int
) -> None:
    house = make_house(base_branch="main", ci_settle=0)
    issue = house.alice.opens_issue(house.repo, "Wish")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    house.repo.settings(autoclose=False)
    house.quiet()
    pull = house.repo.pulls[0]
    sneaks_in(house)
    house.github.faults.add(Fault(LINKED, answer, times=99))
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith(NOT_TESTED)
    assert "- Sneak in" in said
    assert texts.ISSUES_UNREAD in said
    assert not issue.open  # what the pull request was made for is known without the list
    assert house.repo.branches == ["main"]
    assert house.job("merge", pull.number).reason == ""
    assert house.github.journal.count(LINKED) == asked
    house.expect(*LANDED, f"PATCH issues/{issue.number}", f"POST issues/{issue.number}/*", "PUSH *", "POST pulls")
    house.expect(f"DELETE issues/{issue.number}/labels/*")


def test_1_8_what_landed_is_shown_before_anything_is_tidied_up(house: House) -> None:
    pull = green(house)
    shown: list[str] = []
    sneaks_in(house)
    house.github.before(LINKED, lambda: shown.extend(house.said(pull)))
    ask(house, pull)
    assert [text.startswith(NOT_TESTED) for text in shown] == [True]
    assert announced(house, pull) == shown[0]
    edits = len(
        [e for e in house.github.journal.find(EDITED) if e.number > house.github.journal.find(CALLED)[0].number]
    )
    assert edits == 1
    house.expect(*LANDED)


def test_1_8_linked_issues_that_can_be_read_after_a_while_are_closed(house: House) -> None:
    house.repo.settings(autoclose=False)
    issue = house.alice.opens_issue(house.repo, "Wish")
    pull = opens(house, body=f"Fixes #{issue.number}")
    house.ci.passes(pull, "build")
    lags = Fault("POST *.git/git-upload-pack", status(502), times=3)  # trouble of its own, before
    house.github.after(CALLED, lambda: house.github.faults.add(lags))
    house.github.faults.add(Fault(LINKED, status(502), times=3))
    ask(house, pull)
    assert texts.ISSUES_UNREAD not in announced(house, pull)
    assert not issue.open
    house.expect(*LANDED, f"PATCH issues/{issue.number}")


def test_1_8_a_tail_that_fails_for_good_does_not_hide_the_difference(house: House) -> None:
    house.repo.settings(autoclose=False)
    issue = house.alice.opens_issue(house.repo, "Wish")
    pull = opens(house, body=f"Fixes #{issue.number}")
    house.ci.passes(pull, "build")
    sneaks_in(house)
    house.github.faults.add(Fault(f"PATCH issues/{issue.number}", status(502), times=999))
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith(NOT_TESTED)
    assert "- Sneak in" in said
    assert "Tidying up did not finish" in said
    assert "delete the branch" in said
    assert len(house.said(pull)) == 1
    house.github.journal.claim(CALLED, times=1)
    house.expect(SEEN, SAID, EDITED, f"PATCH issues/{issue.number}")


def test_1_8_where_it_cannot_be_read_what_landed_this_is_said(house: House) -> None:
    pull = green(house)
    unread = Fault("POST *.git/git-upload-pack", status(502), times=999)
    house.github.after(CALLED, lambda: house.github.faults.add(unread))
    ask(house, pull)
    said = announced(house, pull)
    assert "whether that is what was tested could not be read" in said
    assert "Tidying up did not finish" in said
    assert short(pull.merge_sha) in said
    assert "topic" in house.repo.branches
    house.github.journal.claim(CALLED, times=1)
    house.expect(SEEN, SAID, EDITED)


@pytest.mark.parametrize("late", [False, True], ids=["on the tested base", "on another"])
def test_1_8_a_merge_that_a_rebase_leaves_out_does_not_count(make_house: MakeHouse, late: bool) -> None:
    house = make_house(merge_method="rebase")
    pull = green(house)
    house.bob.pushes(house.repo, "main", {"main.txt": "main\n"}, "Meanwhile")
    joins(house, "topic")
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    if late:
        sneaks_in(house)
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith(NOT_TESTED if late else f"**Merged** `{short(pull.head_sha)}`")
    assert not late or said.endswith("Not tested together with: \n- Sneak in")
    house.expect(*LANDED)


@pytest.mark.parametrize("queue", [False, True], ids=["directly", "by the queue"])
def test_1_8_other_files_on_the_tested_base_are_said(make_house: MakeHouse, queue: bool) -> None:
    house = make_house(merge_method="rebase", ci_timeout=1800)
    if queue:
        house.github.requires(house.repo, "main", queue="rebase")
    # The base has the first step already: a merge keeps it, a rebase leaves it out and takes it back with the next.
    pull = green(house, files={"step.txt": "one\n"})
    house.alice.pushes(house.repo, "topic", {"step.txt": None, "other.txt": "other\n"}, "Take it back")
    house.bob.pushes(house.repo, "main", {"step.txt": "one\n"}, "The same step")
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    base = house.repo.sha("main")
    house.alice.comments(pull, "/merge")
    if queue:
        line = house.github.queue(house.repo, "main")
        house.until(lambda: bool(line.waits()))
        line.merges(pull)
    house.quiet()
    said = announced(house, pull)
    assert house.repo.file("main", "step.txt") is None
    assert said.startswith(NOT_TESTED)
    assert f"on the base that the commands ran on, `{short(base)}`, but its files differ" in said
    assert "revert it when they fail" in said
    house.expect(SEEN, SAID, EDITED, "PUT pulls/*/merge-async" if queue else CALLED, DELETED)


def test_R9_a_push_while_it_is_looked_at_what_is_based_on_the_branch_stays(house: House) -> None:
    pull = green(house)
    pushes = partial(house.alice.pushes, house.repo, "topic", {"more.txt": "more\n"})
    house.github.after(CALLED, lambda: house.github.after("GET pulls", pushes))
    ask(house, pull)
    assert "`topic` was kept: it got new commits after the merge" in announced(house, pull)
    assert "topic" in house.repo.branches
    house.expect(SEEN, SAID, EDITED, CALLED)


def joins(house: House, branch: str) -> None:
    """Alice merges the default branch into hers and pushes that."""
    tree = house.repo.git("merge-tree", "--write-tree", branch, "main")
    words = ("-c", "user.name=alice", "-c", "user.email=alice@example.com", "commit-tree", tree)
    merged = house.repo.git(*words, "-p", branch, "-p", "main", "-m", "Merge main")
    house.alice.force_pushes(house.repo, branch, sha=merged)
