"""Branches that take merges through GitHub's queue only: entered with the pinned commit, followed to the end."""

from __future__ import annotations

import pytest

from orchestrator.twin import Fault, PullHandle, status
from orchestrator.twin.faults import apply_then
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, DELETED, STOPPED, announced, green, refusal, runs, short

ENTERED = "PUT pulls/*/merge-async"
LEFT = "MUTATE dequeuePullRequest"
TIDIED = (*STOPPED, DELETED)


@pytest.fixture
def queued(make_house: MakeHouse) -> House:
    """A house whose main branch demands the queue."""
    house = make_house(ci_timeout=1800)
    house.github.requires(house.repo, "main", queue="squash")
    return house


def waits(house: House, pull: PullHandle) -> None:
    """Alice asks, and the pull request stands in the queue."""
    house.alice.comments(pull, "/merge")
    queue = house.github.queue(house.repo, "main")
    house.until(lambda: bool(queue.waits()))
    house.until(lambda: any("merge queue" in text for text in house.said(pull)))
    assert not pull.merged


def test_1_7_it_is_entered_with_the_pinned_commit_and_what_lands_is_said(queued: House) -> None:
    ran = queued.folder / "ran"
    runs(queued, f"touch {ran}")
    pull = green(queued)
    waits(queued, pull)
    assert ran.exists()
    entered = next(e for e in queued.github.journal.exchanges if e.path.endswith("merge-async"))
    assert entered.body == {"sha": pull.head_sha, "merge_method": "squash", "merge_action": "merge_queue"}
    queued.github.queue(queued.repo, "main").merges(pull)
    queued.quiet()
    assert announced(queued, pull).startswith(f"**Merged** `{short(pull.head_sha)}`")
    assert "topic" not in queued.repo.branches
    queued.github.journal.claim(ENTERED, times=1)
    queued.expect(*TIDIED)


def test_1_7_what_the_queue_put_before_it_is_said(queued: House) -> None:
    pull = green(queued)
    waits(queued, pull)
    queued.bob.pushes(queued.repo, "main", {"first.txt": "first\n"}, "Was first")
    queued.github.queue(queued.repo, "main").merges(pull)
    queued.quiet()
    said = announced(queued, pull)
    assert "by the merge queue" in said
    assert "- Was first" in said
    queued.expect(ENTERED, *TIDIED)


def test_1_7_dropped_by_the_queue_is_the_end_of_the_attempt(queued: House) -> None:
    pull = green(queued)
    waits(queued, pull)
    queued.github.queue(queued.repo, "main").drops(pull, "A required check failed.")
    queued.quiet()
    said = refusal(queued, pull)
    assert "check failed" in said or "merge queue dropped it" in said
    queued.github.journal.claim(ENTERED, times=1)
    queued.expect(*STOPPED)


@pytest.mark.parametrize(
    ("way", "why"),
    [("cancel", "Cancelled by @bob"), ("hold", "The label `hold`"), ("deleted", "Cancelled by @alice")],
)
def test_1_5_who_takes_it_back_gets_it_out_of_the_queue(queued: House, way: str, why: str) -> None:
    pull = green(queued)
    comment = queued.alice.comments(pull, "/merge")
    queue = queued.github.queue(queued.repo, "main")
    queued.until(lambda: bool(queue.waits()))
    if way == "cancel":
        queued.bob.comments(pull, "/merge cancel")
    elif way == "hold":
        queued.bob.labels(pull, "hold")
    else:
        queued.alice.deletes(comment)
    queued.quiet()
    assert why in refusal(queued, pull)
    assert queue.waits() == []
    queued.github.journal.claim(LEFT, times=1)
    queued.expect(ENTERED, *STOPPED)


def test_1_3_a_push_while_it_waits_ends_the_attempt(queued: House) -> None:
    pull = green(queued)
    waits(queued, pull)
    queued.alice.pushes(queued.repo, "topic", {"more.txt": "more\n"})
    queued.quiet()
    assert short(pull.head_sha) in refusal(queued, pull)
    assert queued.github.queue(queued.repo, "main").waits() == []
    queued.expect(ENTERED, *STOPPED)


def test_1_7_a_queue_that_does_not_come_to_it_is_left_after_the_time_for_checks(queued: House) -> None:
    pull = green(queued)
    queued.alice.comments(pull, "/merge")
    queued.quiet()
    assert "`CI_TIMEOUT`" in refusal(queued, pull)
    assert queued.github.queue(queued.repo, "main").waits() == []
    queued.github.journal.claim(LEFT, times=1)
    queued.expect(ENTERED, *STOPPED)


@pytest.mark.parametrize("fault", [apply_then(500), status(502)], ids=["entered", "not entered"])
def test_1_7_an_answer_that_was_lost_is_read_and_not_sent_again_first(queued: House, fault: object) -> None:
    pull = green(queued)
    queued.github.faults.add(Fault(ENTERED, fault))  # type: ignore[arg-type]
    waits(queued, pull)
    queued.github.queue(queued.repo, "main").merges(pull)
    queued.quiet()
    announced(queued, pull)
    queued.expect(ENTERED, *TIDIED)


def test_1_7_a_request_that_exists_already_is_adopted(queued: House) -> None:
    pull = green(queued)
    queued.github.before(ENTERED, lambda: queued.bob.enqueues(pull))
    waits(queued, pull)
    queued.github.queue(queued.repo, "main").merges(pull)
    queued.quiet()
    announced(queued, pull)
    queued.expect(ENTERED, *TIDIED)


def test_1_7_what_somebody_else_put_there_and_the_queue_dropped_is_the_end_too(queued: House) -> None:
    pull = green(queued)
    queued.github.before(ENTERED, lambda: queued.bob.enqueues(pull))
    waits(queued, pull)
    queued.github.queue(queued.repo, "main").drops(pull)
    queued.quiet()
    assert "merge queue dropped it" in refusal(queued, pull)
    queued.expect(ENTERED, *STOPPED)


def test_1_7_a_server_without_the_endpoint_is_asked_by_graphql(queued: House) -> None:
    queued.repo.settings(offers_async=False)
    pull = green(queued)
    waits(queued, pull)
    queued.github.queue(queued.repo, "main").merges(pull)
    queued.quiet()
    announced(queued, pull)
    assert queued.github.journal.count(CALLED) == 0
    queued.github.journal.claim("MUTATE enqueuePullRequest", times=1)
    queued.expect(ENTERED, *TIDIED)


def test_1_4_an_account_that_is_exempt_from_the_queue_does_not_use_that(queued: House) -> None:
    exempt = [queued.robot]
    queued.github.requires(queued.repo, "main", queue="squash", conversations=True, exempt=exempt)
    queued.repo.settings(offers_async=False)
    pull = green(queued)
    queued.bob.starts_thread(pull, "topic.txt", 1)
    queued.alice.comments(pull, "/merge")
    queued.quiet()
    assert not pull.merged
    assert queued.github.journal.count(CALLED) == 0
    queued.expect(ENTERED, "MUTATE *", *STOPPED)


def test_1_5_a_request_that_github_has_yet_to_carry_out_is_taken_back_too(queued: House) -> None:
    queued.github.merges_in_background(200)
    pull = green(queued)
    queued.github.after(ENTERED, lambda: queued.bob.labels(pull, "hold"))
    queued.alice.comments(pull, "/merge")
    queued.quiet()
    queued.clock.advance(600)
    assert "label `hold`" in refusal(queued, pull)
    assert queued.github.queue(queued.repo, "main").waits() == []
    queued.expect(ENTERED, LEFT, *STOPPED)
