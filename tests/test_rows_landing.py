"""Rows L (the merge call) and R (after it) of the merge specification, through the daemon with real git."""

from __future__ import annotations

import pytest

from orchestrator.twin import Fault, status
from orchestrator.twin.faults import Kind, apply_then, apply_then_reset, reset
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import (
    CALLED,
    DELETED,
    EDITED,
    LANDED,
    SAID,
    SEEN,
    STOPPED,
    announced,
    ask,
    green,
    no,
    opens,
    refusal,
    runs,
    short,
)

TIDIED = (SEEN, SAID, EDITED, DELETED)


@pytest.mark.parametrize("fault", [apply_then(500), apply_then(502), apply_then_reset()], ids=["500", "502", "reset"])
def test_L1_a_merge_whose_answer_was_lost_is_found_and_finished_and_not_called_again(house: House, fault: Kind) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, fault))
    ask(house, pull)
    said = announced(house, pull)
    assert short(pull.merge_sha) in said
    assert "while this attempt was under way" not in said
    assert "topic" not in house.repo.branches
    assert house.repo.log("main") == ["Work on topic (#1)", "First commit"]
    house.github.journal.claim(CALLED, times=1)
    house.github.journal.claim(SAID, times=1)
    house.expect(*TIDIED)


@pytest.mark.parametrize("fault", [status(500), status(502), reset()], ids=["500", "502", "reset"])
def test_L2_a_merge_that_did_not_happen_is_called_again(house: House, fault: Kind) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, fault))
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=2)
    house.github.journal.claim(SAID, times=1)
    house.expect(*TIDIED)


def test_L2_a_call_that_never_gets_an_answer_ends_after_three(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, status(502), times=100))
    ask(house, pull)
    said = refusal(house, pull)
    assert "no usable answer to the merge call 3 times" in said
    assert short(pull.head_sha) in said
    house.github.journal.claim(CALLED, times=3)
    house.expect(*STOPPED)


def test_L3_a_dropped_connection_is_read_back_before_anything_else_is_sent(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, apply_then_reset()))
    journal = house.github.journal
    ask(house, pull)
    calls = [e for e in journal.exchanges if not e.git]
    place = next(i for i, e in enumerate(calls) if e.method == "PUT")
    after = [e.short for e in calls[place + 1 : place + 2]]
    assert after == [f"GET pulls/{pull.number}"]
    assert calls[place].body == {"sha": pull.head_sha, "merge_method": "squash"}
    announced(house, pull)
    journal.claim(CALLED, times=1)
    house.expect(*TIDIED)


def test_L4_a_base_that_was_modified_is_tested_again(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"echo again >> {ran}")
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(405, "Base branch was modified. Review and try the merge again.")))
    ask(house, pull)
    announced(house, pull)
    assert len(ran.read_text().splitlines()) == 2
    house.github.journal.claim(CALLED, times=2)
    house.expect(*LANDED)


def test_L4_a_base_that_is_modified_every_time_ends_the_attempt(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(405, "Base branch was modified. Review and try the merge again."), 1, 99))
    ask(house, pull)
    assert "base moved" in refusal(house, pull)
    house.github.journal.claim(CALLED, times=4)
    house.expect(*STOPPED)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (405, "Changes must be made through the merge queue"),
        (405, 'Required status check "deploy" is expected.'),
        (405, "Merge commits are not allowed on this repository."),
        (405, "Something that GitHub invents tomorrow"),
    ],
    ids=["queue", "check", "method", "unknown"],
)
def test_L5_a_definite_no_is_final_and_githubs_own_sentence_is_shown(house: House, code: int, sentence: str) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(code, sentence)))
    ask(house, pull)
    said = refusal(house, pull)
    assert f"GitHub refuses the merge: {sentence}" in said
    assert short(pull.head_sha) in said
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)


def test_L6_a_head_that_was_modified_is_answered_with_both_commits(house: House) -> None:
    pull = green(house)
    old = pull.head_sha
    house.github.before(CALLED, lambda: house.alice.force_pushes(house.repo, "topic", {"other.txt": "other\n"}))
    ask(house, pull)
    said = refusal(house, pull)
    assert f"The head moved from `{short(old)}` to `{short(pull.head_sha)}`" in said
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)


def test_L6_a_head_that_went_away_and_came_back_is_still_the_one_that_was_asked_for(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(409, "Head branch was modified. Review and try the merge again.")))
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=2)
    house.expect(*LANDED)


def test_L7_an_account_that_may_not_merge_is_told_what_to_change(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(403, "Resource not accessible by personal access token"), times=9))
    ask(house, pull)
    said = refusal(house, pull)
    assert "does not let this daemon's account merge: Resource not accessible by personal access token" in said
    assert "Give it the right" in said
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)


def lands_at_the_third_call(house: House, code: int, sentence: str) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(code, sentence), times=2))
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=3)
    house.expect(*LANDED)


def test_L8_a_conflict_that_passes_by_itself_is_asked_again(house: House) -> None:
    lands_at_the_third_call(house, 409, "Not authorized to push to this branch")


def test_L9_a_validation_that_passes_by_itself_is_read_again_and_then_asked_again(house: House) -> None:
    lands_at_the_third_call(house, 422, "Validation Failed")


def test_L9_validation_that_never_passes_is_said_after_three_calls(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(422, "Validation Failed"), times=99))
    ask(house, pull)
    assert "GitHub refuses the merge: Validation Failed" in refusal(house, pull)
    house.github.journal.claim(CALLED, times=3)
    house.expect(*STOPPED)


def test_L5_not_mergeable_right_after_another_merge_is_asked_again(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(405, "Pull Request is not mergeable")))
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=2)
    house.expect(*LANDED)


def test_L5_not_mergeable_for_good_is_said_after_three_calls(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault(CALLED, no(405, "Pull Request is not mergeable"), times=99))
    ask(house, pull)
    assert "GitHub refuses the merge: Pull Request is not mergeable" in refusal(house, pull)
    house.github.journal.claim(CALLED, times=3)
    house.expect(*STOPPED)


def test_L10_a_reading_that_still_says_open_changes_nothing(house: House) -> None:
    pull = green(house)
    house.github.lag("merged", 5)
    ask(house, pull)
    announced(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)


@pytest.mark.parametrize(
    "answer",
    [None, no(409, "Merge already in progress"), no(405, "Merge already in progress")],
    ids=["own", "409", "405"],
)
def test_L11_a_person_who_presses_the_button_first_makes_it_a_success(house: House, answer: Kind | None) -> None:
    issue = house.alice.opens_issue(house.repo, "Wish")
    house.repo.settings(autoclose=False)
    pull = opens(house, body=f"Closes #{issue.number}")
    house.ci.passes(pull, "build")
    house.github.before(CALLED, lambda: house.bob.merges(pull))
    if answer:
        house.github.faults.add(Fault(CALLED, answer))
    ask(house, pull)
    said = announced(house, pull)
    assert "by @bob" in said
    assert short(pull.merge_sha) in said
    assert not issue.open
    assert "topic" not in house.repo.branches
    assert len(house.said(pull)) == 1
    house.expect(*LANDED, f"PATCH issues/{issue.number}")


def test_L12_a_merge_by_somebody_else_while_checks_run_is_a_success_too(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "slow")
    house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    house.bob.merges(pull)
    house.quiet()
    assert "by @bob" in announced(house, pull)
    assert "topic" not in house.repo.branches
    assert len(house.said(pull)) == 1
    house.expect(*TIDIED)


def test_L13_a_cancel_in_the_last_second_before_the_call_counts(house: House) -> None:
    pull = green(house)
    house.github.after("GET git/ref/heads/main", lambda: house.bob.comments(pull, "/merge cancel"), nth=2)
    ask(house, pull)
    said = refusal(house, pull)
    assert "Cancelled by @bob" in said
    assert short(pull.head_sha) in said
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_L13_a_cancel_after_the_call_is_told_that_it_is_too_late(house: House) -> None:
    pull = green(house)
    house.github.before(CALLED, lambda: house.bob.comments(pull, "/merge cancel"))
    ask(house, pull)
    announced(house, pull)
    assert sum("Too late" in text for text in house.said(pull)) == 1
    house.expect(*LANDED)


def test_L14_of_two_commands_one_makes_an_attempt_and_the_other_is_told(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.alice.comments(pull, "/merge")
    house.bob.comments(pull, "/merge")
    house.until(lambda: len(house.said(pull)) == 2)
    house.ci.passes(pull, "build")
    house.quiet()
    announced(house, pull)
    told = [text for text in house.said(pull) if "already under way" in text]
    assert len(told) == 1
    assert "@alice" in told[0]
    house.github.journal.claim(CALLED, times=1)
    house.github.journal.claim(SAID, times=2)
    house.expect(*LANDED)


def test_L15_two_pull_requests_for_one_base_land_one_after_the_other(house: House) -> None:
    seen = house.folder / "seen"
    runs(house, f"echo *.txt >> {seen}")
    one, two = green(house, "one"), green(house, "two")
    house.alice.comments(one, "/merge")
    house.bob.comments(two, "/merge")
    house.quiet()
    assert short(one.head_sha) in announced(house, one)
    assert f"with base `{short(one.merge_sha)}`" in announced(house, two)
    assert seen.read_text().splitlines() == ["one.txt", "one.txt two.txt"]
    house.github.journal.claim(CALLED, times=2)
    house.expect(*LANDED)


def test_L17_a_branch_that_another_pull_request_is_based_on_stays(house: House) -> None:
    below = green(house, "below")
    house.alice.force_pushes(house.repo, "above", sha=below.head_sha)
    above = opens(house, "above", base="below")
    ask(house, below)
    said = announced(house, below)
    assert f"`below` was kept: open pull requests are based on it: #{above.number}" in said
    assert "below" in house.repo.branches
    assert above.open
    house.expect(SEEN, SAID, EDITED, CALLED)


def test_L18_without_squash_there_is_no_other_way(house: House) -> None:
    house.repo.settings(allow_squash=False)
    pull = green(house)
    ask(house, pull)
    assert "Squash merges are not allowed on this repository." in refusal(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)


@pytest.mark.parametrize("method", ["merge", "rebase"])
def test_L18_the_chosen_method_is_the_only_one(make_house: MakeHouse, method: str) -> None:
    house = make_house(merge_method=method)
    pull = green(house)
    house.alice.pushes(house.repo, "topic", {"second.txt": "second\n"}, "Second step")
    house.bob.pushes(house.repo, "main", {"main.txt": "main\n"}, "Meanwhile")
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith(f"**Merged** `{short(pull.head_sha)}`")
    subjects = ["Second step", "Work on topic", "Meanwhile", "First commit"]
    found = house.repo.log("main")
    assert found[-2:] == subjects[-2:] if method == "rebase" else "Merge pull request" in found[0]
    assert sorted(s for s in found if not s.startswith("Merge ")) == sorted(subjects)
    called = next(e for e in house.github.journal.exchanges if e.method == "PUT")
    assert called.body == {"sha": pull.head_sha, "merge_method": method}
    house.expect(*LANDED)


def test_L19_a_rebased_series_on_another_base_than_the_tested_one_is_said(make_house: MakeHouse) -> None:
    house = make_house(merge_method="rebase")
    pull = green(house)
    house.alice.pushes(house.repo, "topic", {"second.txt": "second\n"}, "Second step")
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    house.github.before(CALLED, lambda: house.bob.pushes(house.repo, "main", {"late.txt": "late\n"}, "Sneak in"))
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith("**Merged, but not what was tested**")
    assert "- Sneak in" in said
    assert "Second step" not in said
    house.expect(*LANDED)


def test_L20_a_merge_that_would_change_nothing_is_refused_before_the_call(house: House) -> None:
    pull = green(house, files={"same.txt": "same\n"})
    house.bob.pushes(house.repo, "main", {"same.txt": "same\n"}, "The same, by another way")
    ask(house, pull)
    said = refusal(house, pull)
    assert "would change nothing" in said
    assert short(pull.head_sha) in said
    house.expect(*STOPPED)


def test_L19_what_landed_on_another_base_than_the_tested_one_is_said(house: House) -> None:
    pull = green(house)
    tested = house.repo.sha("main")
    house.github.before(
        CALLED, lambda: house.bob.pushes(house.repo, "main", {"late.txt": "late\n"}, "Sneak in @everybody")
    )
    ask(house, pull)
    said = announced(house, pull)
    assert said.startswith("**Merged, but not what was tested**")
    landed_on = house.repo.git("rev-parse", f"{pull.merge_sha}^")
    assert all(short(sha) in said for sha in (tested, landed_on, pull.merge_sha, pull.head_sha))
    assert "- Sneak in @\u200beverybody" in said
    house.expect(*LANDED)


def test_P23_a_limit_on_the_merge_call_sends_it_back_through_the_gate(house: House) -> None:
    pull = green(house)
    limited = status(403, {"message": "You have exceeded a secondary rate limit."}, {"retry-after": "300"})
    house.github.faults.add(Fault(CALLED, limited))
    house.github.after(CALLED, lambda: house.ci.fails(pull, "late"), 1)
    ask(house, pull)
    assert not pull.merged
    assert "`late`" in refusal(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)
