"""Rows P (polling and triggers) and C (who and what counts) of the merge specification, through the daemon."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator import marks
from orchestrator.twin import Fault, PullHandle, status
from orchestrator.twin.faults import apply_then
from orchestrator.twin.shapes import stamp
from tests.house import House
from tests.merging import (
    CALLED,
    LANDED,
    SAID,
    SEEN,
    STOPPED,
    announced,
    green,
    opens,
    refusal,
    runs,
    short,
)

SECONDARY = status(403, {"message": "You have exceeded a secondary rate limit."}, {"retry-after": "600"})


def test_P1_two_comments_in_one_second_are_both_seen_and_none_twice(house: House) -> None:
    first, second = green(house, "one"), green(house, "two")
    house.start()
    house.quiet()
    asked = []
    # Both in the second of one poll: the first just before the list is made, the other just after.
    house.github.before("GET issues/comments", lambda: asked.append(house.alice.comments(first, "/merge")))
    house.github.after("GET issues/comments", lambda: asked.append(house.bob.comments(second, "/merge")))
    house.until(lambda: second.merged)
    house.quiet()
    assert first.merged
    assert asked[0].thing.created_at == asked[1].thing.created_at
    assert asked[0].reactions == asked[1].reactions == ["eyes"]
    house.github.journal.claim(CALLED, times=2)
    house.github.journal.claim(SEEN, times=2)
    house.expect(*LANDED)


def test_P2_a_comment_that_shows_up_late_among_newer_ones_is_found(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.github.lag("comments", 2)
    house.alice.comments(pull, "/merge")
    house.github.lag("comments", 0)
    for _ in range(4):
        house.clock.advance(5)
        house.bob.comments(pull, "How nice!")
    polled = house.github.journal.count("GET pulls")
    house.until(lambda: house.github.journal.count("GET pulls") > polled)
    house.bob.comments(pull, "Really.")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P3_a_batch_that_fails_halfway_is_offered_again_and_what_was_done_is_not_repeated(house: House) -> None:
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    busy, red, good = opens(house, "busy", base="develop"), opens(house, "red"), green(house, "good")
    house.ci.runs(busy, "slow")
    house.ci.fails(red, "lint")
    house.alice.comments(busy, "/merge")
    house.until(lambda: bool(house.said(busy)))

    asked = house.alice.comments(red, "/merge")
    house.bob.comments(busy, "/merge")
    house.alice.comments(good, "/merge")
    house.github.faults.add(Fault(f"POST issues/{busy.number}/comments", status(502)))
    house.until(lambda: good.merged)
    # The others did not wait for it; the batch comes again, and what is over stays over.
    house.until(lambda: len(house.said(busy)) == 2)

    refusal(house, red)
    assert house.github.journal.count(f"POST issues/comments/{asked.id}/reactions") == 1
    assert sum("@alice is already under way" in text for text in house.said(busy)) == 1
    house.ci.passes(busy, "slow")
    house.quiet()
    announced(house, busy)
    house.expect(*LANDED)


def test_P5_an_old_remark_that_is_edited_into_the_command_does_nothing(house: House) -> None:
    pull = green(house)
    remark = house.alice.comments(pull, "Looks good to me.")
    house.quiet()
    house.alice.edits(remark, "/merge")
    house.quiet()
    assert "edited" in refusal(house, pull)
    house.expect(SAID)


def test_P6_editing_a_command_that_was_carried_out_starts_nothing(house: House) -> None:
    pull = opens(house)
    house.ci.fails(pull, "lint")
    asked = house.alice.comments(pull, "/merge")
    house.quiet()
    house.ci.passes(pull, "lint")
    house.alice.edits(asked, "/merge\n")
    house.quiet()
    refusal(house, pull)
    house.expect(*STOPPED)


def test_P7_a_command_that_was_edited_before_it_was_seen_is_refused(house: House) -> None:
    pull = green(house)
    asked = house.alice.comments(pull, "Not yet.")
    house.clock.advance(5)
    house.mallory.edits(asked, "/merge")
    house.quiet()
    assert "edited" in refusal(house, pull)
    house.expect(SAID)


@pytest.mark.parametrize(
    ("where", "nth"),
    [("GET pulls/1", 2), ("GET collaborators/alice/permission", 1), (SEEN, 1)],  # the poll reads the pull request too
)
def test_P7_a_command_that_is_edited_behind_a_limit_is_refused(house: House, where: str, nth: int) -> None:
    pull = green(house)
    house.quiet()
    asked = house.alice.comments(pull, "/merge")
    house.clock.advance(5)
    house.github.faults.add(Fault(where, SECONDARY, nth))
    house.github.before(where, lambda: house.alice.edits(asked, "Never mind."), nth)
    house.quiet()
    assert "edited" in refusal(house, pull)
    house.expect(SAID, SEEN) if where == SEEN else house.expect(SAID)


def test_P7_a_comment_that_moved_without_an_edit_counts(house: House) -> None:
    pull = green(house)
    asked = house.alice.comments(pull, "/merge")
    house.clock.advance(5)
    asked.thing.updated_at = house.github.world.now()
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P10_a_page_that_fails_means_that_nothing_of_the_poll_is_acted_on(house: House) -> None:
    pulls = [green(house, name) for name in ("one", "two", "three")]
    house.start()
    house.quiet()
    for pull in pulls:
        house.clock.advance(1)
        house.alice.comments(pull, "/merge")
    done_before_the_next_poll = []
    house.github.faults.add(Fault("GET issues/comments", status(502), nth=2, times=3))
    house.github.before(
        "GET issues/comments", lambda: done_before_the_next_poll.append(len(house.github.journal.mutations)), nth=5
    )
    house.until(lambda: all(pull.merged for pull in pulls))
    house.quiet()
    assert done_before_the_next_poll == [0]
    assert all(pull.merged for pull in pulls)
    house.github.journal.claim(CALLED, times=3)
    house.expect(*LANDED)


def closes(house: House, pull: PullHandle) -> None:
    house.bob.closes(pull)


def drafts(house: House, pull: PullHandle) -> None:
    house.bob.drafts(pull)


def merges(house: House, pull: PullHandle) -> None:
    house.bob.merges(pull)


@pytest.mark.parametrize("request_", ["GET issues/1", "GET pulls/1"])
@pytest.mark.parametrize(("act", "word"), [(closes, "closed"), (drafts, "draft"), (merges, "already merged")])
def test_P15_what_changed_since_the_poll_is_read_before_anything_is_done(
    house: House, act: Callable[[House, PullHandle], None], word: str, request_: str
) -> None:
    pull = green(house)
    house.github.before(request_, lambda: act(house, pull))
    house.alice.comments(pull, "/merge")
    house.quiet()
    [said] = [text for text in house.said(pull) if "Merging" not in text and "Ended" not in text]
    assert word in said
    assert pull.merged is (act is merges)
    assert house.github.journal.count(CALLED) == 0  # read first, and not left to GitHub to refuse
    house.expect("P*")
    if act is merges:
        house.expect("DELETE git/refs/heads/topic")


def test_P20_what_a_list_says_of_a_pull_request_decides_nothing(house: House) -> None:
    house.github.world.mergeable_after = 1000
    pull = green(house)
    house.start()
    house.quiet()
    [listed] = house.github.journal.find("GET pulls")[0].answer
    [row] = house.github.journal.find("GET issues")[0].answer
    assert not {"mergeable", "mergeable_state", "merged"} & (set(listed) | set(row))
    house.ci.runs(pull, "slow")
    house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    # The list says that it is closed: an odd page, that another server shows.
    closed = {**row, "state": "closed", "updated_at": stamp(house.github.world.now())}
    house.github.faults.add(Fault("GET issues", status(200, [closed]), times=1000))
    polled = house.github.journal.count("GET issues")
    house.until(lambda: house.github.journal.count("GET issues") > polled + 3)
    assert not house.job("merge", pull.number).merge_sha
    house.github.faults.clear()
    house.ci.passes(pull, "slow")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P23_an_exhausted_limit_is_slept_through_without_a_request_or_a_word(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    house.alice.comments(pull, "/merge")
    reset = int(house.clock.now()) + 900
    spent = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)}
    journal = house.github.journal
    house.github.faults.add(Fault("GET issues/comments", status(403, {"message": "API rate limit exceeded"}, spent)))
    requests: list[tuple[float, int]] = []
    for nth in (1, 2):
        house.github.before(
            "GET issues/comments", lambda: requests.append((house.clock.now(), len(journal.exchanges))), nth
        )
    house.quiet()
    (_, before), (woken, after) = requests
    assert reset < woken <= reset + 2
    assert after == before + 1
    assert len(house.said(pull)) == 1
    announced(house, pull)
    house.expect(*LANDED)


def test_P24_a_secondary_limit_on_a_write_is_waited_for_and_the_write_is_made_once(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "/merge")
    slow_down = status(403, {"message": "You have exceeded a secondary rate limit."}, {"retry-after": "120"})
    house.github.faults.add(Fault(SAID, slow_down))
    times: list[float] = []
    for nth in (1, 2):
        house.github.before(SAID, lambda: times.append(house.clock.now()), nth)
    house.quiet()
    assert times[1] - times[0] >= 120
    house.github.journal.claim(SAID, times=2)
    assert len(house.said(pull)) == 1
    announced(house, pull)
    house.expect(*LANDED)


def test_P30_accounts_and_forks_that_are_gone_hold_up_nobody(house: House) -> None:
    pull = green(house)
    fork = house.mallory.opens_fork_pr(house.repo, {"fork.txt": "new\n"})
    house.ci.passes(fork, "build")
    house.start()
    house.quiet()
    house.github.deletes_fork(fork)
    house.github.ghost(fork)
    ghost = house.bob.comments(pull, "/merge")
    house.github.ghost(ghost)
    house.alice.comments(fork, "/merge")
    house.quiet()
    assert "comes from a fork" in refusal(house, fork)
    assert house.said(pull) == []
    assert ghost.reactions == []
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_P32_our_own_words_are_never_commands(house: House) -> None:
    runs(house, "echo; echo /merge; echo; exit 1")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "/merge" in refusal(house, pull)
    house.robot.comments(pull, f"{marks.BEGINNING}acme/app#{pull.number}:reply-1 -->\n/merge")
    house.quiet()
    assert len(house.said(pull)) == 3
    house.expect(*STOPPED)


def test_P33_the_maintainer_may_share_the_daemons_account(house: House) -> None:
    pull = green(house)
    asked = house.robot.comments(pull, "/merge")
    house.quiet()
    assert asked.reactions == ["eyes"]
    assert short(pull.merge_sha) in announced(house, pull)
    house.expect(*LANDED)


def test_a_refusal_that_was_posted_without_an_answer_is_not_posted_twice(house: House) -> None:
    pull = opens(house)
    house.ci.fails(pull, "lint")
    house.alice.comments(pull, "/merge")
    house.github.faults.add(Fault(SAID, apply_then(502), nth=2))
    house.quiet()
    refusal(house, pull)
    house.github.journal.claim(SAID, times=2)
    house.expect(*STOPPED)
