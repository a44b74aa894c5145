"""The gates that the specification's tables name without a row: labels, reviews, protection, forks, named commits.

Through the daemon with real git. Names begin with the section of the specification.
"""

from __future__ import annotations

import pytest

from orchestrator.twin import PullHandle
from orchestrator.twin.say import Person
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import (
    CALLED,
    LANDED,
    REFUSED,
    SAID,
    STOPPED,
    announced,
    appears,
    ask,
    forgets,
    gone,
    green,
    opens,
    poll,
    refusal,
    runs,
    short,
)

PARTIAL = (*STOPPED, *LANDED)


def lands_after(house: House, pull: PullHandle) -> None:
    """Nothing is in the way any more."""
    ask(house, pull)
    announced(house, pull)
    house.expect(*PARTIAL)


def names(house: House, pull: PullHandle, digits: int = 12, by: Person | None = None) -> None:
    """Somebody asks for exactly this head."""
    (by or house.alice).comments(pull, f"/merge {pull.head_sha[:digits]}")
    house.quiet()


# Labels


@pytest.mark.parametrize(("setting", "label"), [("hold", "hold"), ("Do Not Merge", "do not merge")])
def test_1_4_the_hold_label_refuses_until_it_is_taken_off(make_house: MakeHouse, setting: str, label: str) -> None:
    house = make_house(hold_label=setting)
    pull = green(house)
    house.bob.labels(pull, label)
    ask(house, pull)
    assert f"label `{setting}`" in refusal(house, pull)
    assert house.github.journal.count(CALLED) == 0
    house.bob.unlabels(pull, label)
    lands_after(house, pull)


def test_1_5_the_hold_label_stops_commands_that_run(house: House) -> None:
    pid = house.folder / "pid"
    runs(house, f"echo $$ > {pid}; exec sleep 60")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.start()
    appears(pid)
    house.bob.labels(pull, "hold")
    poll(house)
    house.quiet()
    assert "label `hold`" in refusal(house, pull)
    assert gone(int(pid.read_text()))
    house.expect(*STOPPED)


# Reviews


def test_1_4_changes_requested_by_somebody_who_may_write_refuse_although_nothing_demands_reviews(house: House) -> None:
    pull = green(house)
    review = house.bob.requests_changes(pull)
    ask(house, pull)
    assert "@bob asks for changes" in refusal(house, pull)
    house.alice.dismisses(review)
    lands_after(house, pull)


def test_1_4_a_later_approval_of_the_same_person_counts_and_a_remark_does_not(house: House) -> None:
    pull = green(house)
    house.bob.requests_changes(pull)
    house.bob.reviews(pull, "Still thinking.")
    ask(house, pull)
    assert "@bob asks for changes" in refusal(house, pull)
    house.bob.approves(pull)
    lands_after(house, pull)


def test_1_4_a_stranger_who_asks_for_changes_stops_nothing(house: House) -> None:
    pull = green(house)
    house.mallory.requests_changes(pull)
    lands_after(house, pull)


def test_1_4_a_review_that_the_branch_demands_is_demanded_before_anything_runs(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"touch {ran}")
    house.github.requires(house.repo, "main", reviews=1)
    pull = green(house)
    ask(house, pull)
    assert "require an approving review" in refusal(house, pull)
    assert not ran.exists()
    house.bob.approves(pull)
    lands_after(house, pull)
    assert ran.exists()


def test_1_4_always_wants_an_approval_of_exactly_this_head_by_somebody_who_may_write(
    make_house: MakeHouse,
) -> None:
    house = make_house(require_approval="always")
    pull = green(house)
    house.bob.approves(pull)
    house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    house.mallory.approves(pull)
    ask(house, pull)
    assert f"has approved `{short(pull.head_sha)}`" in refusal(house, pull)
    house.bob.approves(pull)
    lands_after(house, pull)


def test_1_4_never_leaves_reviews_to_github(make_house: MakeHouse) -> None:
    house = make_house(require_approval="never")
    pull = green(house)
    house.bob.requests_changes(pull)
    lands_after(house, pull)


# Protection


@pytest.mark.parametrize("by_rules", [False, True], ids=["protection", "rule set"])
def test_1_4_an_account_that_is_exempt_from_the_rules_does_not_use_that(house: House, by_rules: bool) -> None:
    house.github.requires(house.repo, "main", conversations=True, by_rules=by_rules, exempt=[house.robot])
    pull = green(house)
    thread = house.bob.starts_thread(pull, "topic.txt", 1)
    ask(house, pull)
    assert "calls the pull request blocked" in refusal(house, pull)
    assert house.github.journal.count(CALLED) == 0
    house.bob.resolves(thread)
    lands_after(house, pull)


@pytest.mark.parametrize("by_rules", [False, True], ids=["protection", "rule set"])
def test_1_4_a_branch_that_must_be_up_to_date_is_not_merged_behind_its_base(house: House, by_rules: bool) -> None:
    house.github.requires(house.repo, "main", checks=["build"], strict=True, by_rules=by_rules, exempt=[house.robot])
    pull = green(house)
    house.bob.pushes(house.repo, "main", {"main.txt": "main\n"})
    ask(house, pull)
    assert "newest commit" in refusal(house, pull)
    assert house.github.journal.count(CALLED) == 0
    house.expect(*STOPPED)


def test_1_4_a_state_that_github_does_not_know_yet_is_asked_for_again(house: House) -> None:
    house.github.requires(house.repo, "main", conversations=True, exempt=[house.robot])
    pull = green(house)
    house.bob.starts_thread(pull, "topic.txt", 1)
    house.github.forgets_mergeable(pull, reads=4)
    ask(house, pull)
    assert not pull.merged
    house.expect(*STOPPED)


# Forks, strangers' pull requests, files that steer


def from_a_fork(house: House) -> PullHandle:
    pull = house.mallory.opens_fork_pr(house.repo, {"fork.txt": "fork\n"})
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    return pull


def test_M23_a_fork_that_is_allowed_is_merged_only_by_the_name_of_its_commit(make_house: MakeHouse) -> None:
    house = make_house(allow_fork_merge=True)
    pull = from_a_fork(house)
    ask(house, pull)
    assert f"`/merge {pull.head_sha[:12]}`" in refusal(house, pull)
    names(house, pull)
    announced(house, pull)
    assert "patch-1" in house.mallory.fork_of(house.repo).branches
    house.expect(*STOPPED, CALLED)


def test_M23_a_fork_of_somebody_who_may_write_is_still_foreign_code(make_house: MakeHouse) -> None:
    house = make_house(allow_fork_merge=True)
    pull = house.alice.opens_fork_pr(house.repo, {"fork.txt": "fork\n"})
    house.ci.passes(pull, "build")
    house.start()
    for _ in range(2):
        poll(house)  # so that the daemon knows which head could be seen
    ask(house, pull)
    assert "comes from a fork, so the commit must be named" in refusal(house, pull)
    house.expect(*STOPPED)


def test_M23_naming_its_commit_does_not_allow_a_fork(house: House) -> None:
    pull = from_a_fork(house)
    names(house, pull, 40)
    assert "comes from a fork" in refusal(house, pull)
    house.expect(*STOPPED)


def test_1_2_the_pull_request_of_somebody_who_may_not_write_is_merged_by_the_name_of_its_commit(house: House) -> None:
    house.alice.pushes(house.repo, "topic", {"topic.txt": "new\n"})
    pull = house.mallory.opens_pr(house.repo, "topic")
    house.clock.advance(5)
    house.ci.passes(pull, "build")
    ask(house, pull)
    assert "author of the pull request has no write permission" in refusal(house, pull)
    names(house, pull)
    announced(house, pull)
    house.expect(*PARTIAL)


@pytest.mark.parametrize(
    "path", [".github/workflows/ci.yml", "docs/CODEOWNERS", "sub/.gitattributes", ".claude/settings.json", "Agents.MD"]
)
def test_1_2_files_that_steer_tools_or_people_are_merged_by_the_name_of_the_commit(house: House, path: str) -> None:
    pull = green(house, files={path: "steer\n"})
    ask(house, pull)
    said = refusal(house, pull)
    assert f"`{path}`" in said
    assert f"`/merge {pull.head_sha[:12]}`" in said
    names(house, pull)
    announced(house, pull)
    house.expect(*PARTIAL)


def test_1_2_eleven_digits_do_not_name_a_commit_beyond_doubt(house: House) -> None:
    pull = green(house, files={".github/a.txt": "a\n"})
    names(house, pull, 11)
    assert "so the commit must be named" in refusal(house, pull)
    house.expect(*STOPPED)


def test_1_2_what_the_base_changed_meanwhile_is_not_what_the_pull_request_touches(house: House) -> None:
    pull = green(house)
    house.bob.pushes(house.repo, "main", {".github/workflows/new.yml": "on: push\n"})
    lands_after(house, pull)


# Checks


@pytest.mark.parametrize("word", ["startup_failure", "action_required"])
def test_K7_a_workflow_that_never_began_is_not_green(house: House, word: str) -> None:
    pull = green(house)
    house.ci.starts(pull, "deploy").ends(word)
    ask(house, pull)
    said = refusal(house, pull)
    assert "`github-actions" in said
    assert ("waits for a person" in said) is (word == "action_required")
    house.expect(*STOPPED)


# After


def test_1_8_the_branch_stays_where_the_operator_says_so(make_house: MakeHouse) -> None:
    house = make_house(delete_branch=False)
    pull = green(house)
    ask(house, pull)
    assert "kept" not in announced(house, pull)
    assert "topic" in house.repo.branches
    house.expect(*STOPPED, CALLED)


def test_1_3_where_merging_is_switched_off_the_command_is_answered_once(make_house: MakeHouse) -> None:
    house = make_house(auto_merge_enabled=False)
    pull = opens(house)
    house.alice.comments(pull, "/merge")
    house.mallory.comments(pull, "/merge")
    house.start()
    house.until(lambda: bool(house.said(pull)))
    for _ in range(3):
        poll(house)
    assert ["AUTO_MERGE_ENABLED=false" in text for text in house.said(pull)] == [True]
    house.expect(SAID)


def test_1_10_the_same_is_not_said_twice_of_one_head(house: House) -> None:
    pull = green(house)
    house.ci.fails(pull, "lint")
    for _ in range(3):
        ask(house, pull)
    said = house.said(pull)
    assert sum(text.startswith("**Not merged**") for text in said) == 1
    assert sum(text.startswith("**Ended**") for text in said) == 3
    assert len(said) == len(set(said)) == 4
    house.expect(*STOPPED)


def test_1_10_the_same_usage_is_not_explained_twice(house: House) -> None:
    pull = green(house)
    for word in ("now", "please"):
        house.alice.comments(pull, f"/merge {word}")
        house.quiet()
    assert len(house.said(pull)) == 1
    house.expect(SAID)


def test_1_10_a_refusal_that_was_not_repeated_is_remembered_although_the_memory_is_lost(house: House) -> None:
    pull = green(house)
    house.ci.fails(pull, "lint")
    for _ in range(2):
        ask(house, pull)
    house.ci.passes(pull, "lint")
    forgets(house)
    house.quiet()
    assert not pull.merged
    house.expect(*STOPPED)


def test_1_9_a_refusal_before_anything_was_pinned_is_remembered_although_the_memory_is_lost(house: House) -> None:
    pull = green(house)
    house.bob.closes(pull)
    ask(house, pull)
    assert "Reopen it first" in refusal(house, pull)
    house.bob.reopens(pull)
    forgets(house)
    house.quiet()
    assert not pull.merged
    assert len(house.said(pull)) == 1
    house.expect(*REFUSED)


def test_1_9_the_second_refusal_of_a_kind_is_an_answer_too(house: House) -> None:
    pull = green(house)
    house.bob.closes(pull)
    ask(house, pull)
    house.clock.advance(7200)  # the first command is history after this
    ask(house, pull)
    assert [text.split()[0] for text in house.said(pull)] == ["**Not", "**Ended**"]
    house.bob.reopens(pull)
    forgets(house)
    house.quiet()
    assert not pull.merged
    assert len(house.said(pull)) == 2
    house.expect(*REFUSED)
