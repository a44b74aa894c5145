"""At the first start on a repository, what is old is history and what is new is not."""

from __future__ import annotations

import pytest

from orchestrator.twin import Fault, PullHandle
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import no

DAY = 86_400.0


def opens(house: House, branch: str) -> PullHandle:
    """A PR of alice's."""
    house.alice.pushes(house.repo, branch, {f"{branch}.txt": "one\n"})
    return house.alice.opens_pr(house.repo, branch)


def expect_review(house: House, pull: PullHandle) -> None:
    """This PR was reviewed."""
    at = f"issues/{pull.number}"
    house.expect(f"POST {at}/reactions", f"POST {at}/comments", "PATCH issues/comments/*")
    house.expect(f"POST pulls/{pull.number}/reviews")


def test_pull_requests_that_were_last_pushed_more_than_a_day_ago_are_history(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    old, pushed = opens(house, "old"), opens(house, "pushed")
    house.clock.advance(DAY + 3600)
    house.alice.pushes(house.repo, "pushed", {"more.txt": "more\n"})
    new = opens(house, "new")
    house.clock.advance(120)
    house.alice.comments(old, "A comment is no push.")
    house.quiet()
    assert (len(old.reviews), len(pushed.reviews), len(new.reviews)) == (0, 1, 1)
    expect_review(house, pushed)
    expect_review(house, new)


def test_a_push_makes_a_pull_request_news_again(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    pull = opens(house, "old")
    house.clock.advance(2 * DAY)
    house.quiet()
    assert pull.reviews == []
    house.alice.pushes(house.repo, "old", {"more.txt": "more\n"})
    house.quiet()
    assert [r.commit_id for r in pull.reviews] == [pull.head_sha]
    expect_review(house, pull)


def test_history_stays_history_after_a_restart(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    pull = opens(house, "old")
    house.clock.advance(2 * DAY)
    house.quiet()
    house.stop()
    house.clock.advance(2 * DAY)
    house.quiet()
    assert pull.reviews == []


def test_a_pull_request_from_a_fork_counts_by_the_last_push_to_the_fork(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    old = house.mallory.opens_fork_pr(house.repo, {"a.txt": "a\n"})
    new = house.github.user("carol").opens_fork_pr(house.repo, {"b.txt": "b\n"})
    house.clock.advance(2 * DAY)
    house.github.user("carol").pushes(house.github.user("carol").fork_of(house.repo), "patch-1", {"c.txt": "c\n"})
    house.clock.advance(120)
    house.quiet()
    assert (len(old.reviews), len(new.reviews)) == (0, 1)
    expect_review(house, new)


@pytest.mark.parametrize("code", [403, 404])
def test_where_the_activity_cannot_be_read_the_pull_requests_own_times_tell(make_house: MakeHouse, code: int) -> None:
    house = make_house(review_prs="all")
    old, fork = opens(house, "old"), house.github.user("carol").opens_fork_pr(house.repo, {"a.txt": "a\n"})
    house.clock.advance(2 * DAY)
    house.github.user("carol").pushes(house.github.user("carol").fork_of(house.repo), "patch-1", {"b.txt": "b\n"})
    new = opens(house, "new")
    house.clock.advance(120)
    house.github.faults.add(Fault("GET activity", no(code, "Not for this token"), times=100))
    house.quiet()
    assert (len(old.reviews), len(fork.reviews), len(new.reviews)) == (0, 1, 1)
    expect_review(house, fork)
    expect_review(house, new)


def test_merge_comments_older_than_an_hour_are_history_and_newer_ones_are_not(make_house: MakeHouse) -> None:
    house = make_house(auto_merge_enabled=True, ci_settle=0)
    old, new = opens(house, "old"), opens(house, "new")
    house.clock.advance(60)
    house.bob.comments(old, "/merge")
    house.clock.advance(3540)
    house.bob.comments(new, "/merge")
    house.clock.advance(120)
    house.quiet()
    assert (old.merged, new.merged) == (False, True)
    house.expect("POST issues/2/comments", "PATCH issues/comments/*", "POST issues/comments/*/reactions")
    house.expect("PUT pulls/2/merge", "DELETE git/refs/heads/new")
