"""Rows M of the merge specification: what is pinned, built, tested and bounded, through the daemon with real git."""

from __future__ import annotations

from functools import partial

from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import (
    CALLED,
    LANDED,
    REFUSED,
    STOPPED,
    announced,
    appears,
    gone,
    green,
    opens,
    poll,
    refusal,
    runs,
    short,
)


def refused_as_late(house: House, date: int | None) -> None:
    """A push between the comment and the first poll; `date`: what its commit claims to be written at."""
    pull = green(house)
    house.start()
    house.quiet()
    house.alice.comments(pull, "/merge")
    house.clock.advance(1)
    late = house.mallory.pushes(house.repo, "topic", {"evil.txt": "boo\n"}, date=date)
    house.ci.passes(pull, "build")
    house.quiet()
    said = refusal(house, pull)
    assert "after your comment" in said
    assert short(late) in said
    assert f"`/merge {late[:12]}`" in said
    house.expect(*REFUSED)


def test_M1_a_push_after_the_comment_is_never_what_was_asked_for(house: House) -> None:
    refused_as_late(house, None)


def test_M1b_a_commit_that_claims_to_be_old_does_not_come_before_the_comment(house: House) -> None:
    refused_as_late(house, 1_000_000_000)
    [author, committer] = house.repo.git("log", "-1", "--format=%at %ct", "topic").split()
    assert author == committer == "1000000000"


def test_M2_a_push_while_commands_run_ends_them_at_the_next_poll(house: House) -> None:
    pull = green(house)
    old = pull.head_sha
    house.alice.comments(pull, "/merge")
    pids = house.folder / "pids"
    runs(house, f"sleep 300 & echo $$ $! > {pids}.part; mv {pids}.part {pids}; wait")
    house.start()
    appears(pids)
    new = house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    poll(house)
    house.quiet()
    said = refusal(house, pull)
    assert short(old) in said
    assert short(new) in said
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    assert not list((house.folder / "worktrees/acme/app").glob("merge-*"))
    house.expect(*STOPPED)


def test_M3_a_push_right_before_the_call_is_refused_by_the_pin(house: House) -> None:
    pull = green(house)
    old = pull.head_sha
    house.alice.comments(pull, "/merge")
    house.github.before(CALLED, lambda: house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"}))
    house.quiet()
    said = refusal(house, pull)
    assert short(old) in said
    assert short(pull.head_sha) in said
    house.github.journal.claim(CALLED, times=1)
    house.expect(*STOPPED)


def test_M4_a_head_that_is_back_when_its_move_is_looked_at_is_merged(house: House) -> None:
    pull = green(house)
    pinned = pull.head_sha
    house.alice.comments(pull, "/merge")
    began, go_on = house.folder / "began", house.folder / "go-on"
    runs(house, f"touch {began}; while [ ! -e {go_on} ]; do sleep 0.01; done")
    house.start()
    appears(began)
    house.alice.force_pushes(house.repo, "topic", {"other.txt": "other\n"})
    assert pull.head_sha != pinned
    house.github.after("GET pulls/1", lambda: house.alice.force_pushes(house.repo, "topic", sha=pinned))
    poll(house)
    go_on.touch()
    house.quiet()
    assert short(pinned) in announced(house, pull)
    assert house.repo.file("main", "other.txt") is None
    house.expect(*LANDED)


def test_M4_a_head_that_was_away_right_before_the_call_is_merged(house: House) -> None:
    pull = green(house)
    pinned = pull.head_sha
    house.alice.comments(pull, "/merge")

    def there_and_back() -> None:
        house.alice.force_pushes(house.repo, "topic", {"other.txt": "other\n"})
        house.alice.force_pushes(house.repo, "topic", sha=pinned)

    house.github.before(CALLED, there_and_back)
    house.quiet()
    assert short(pinned) in announced(house, pull)
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)


def test_M5_a_ref_that_lags_is_waited_for_and_only_the_pinned_commit_is_tested(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("test -f more.txt",))
    pull = opens(house)
    house.github.lag("refs", 4)
    house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.passes(pull, "build")
    house.clock.advance(5)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert short(pull.head_sha) in announced(house, pull)
    assert house.repo.file("main", "more.txt")
    house.expect(*LANDED)


def test_M5_a_ref_that_never_comes_is_given_up_and_nothing_else_is_tested(make_house: MakeHouse) -> None:
    house = make_house()
    runs(house, f"touch {house.folder}/ran")
    pull = opens(house)
    house.github.lag("refs", 10_000)
    new = house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.passes(pull, "build")
    house.clock.advance(5)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert new in refusal(house, pull)
    assert not (house.folder / "ran").exists()
    house.expect(*STOPPED)


def test_M6_the_merge_is_built_on_the_base_of_now(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("ls", "test ! -f later.txt || test -f topic.txt", "test -f later.txt"))
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "Command 3 of 3" in house.said(pull)[-1]
    later = house.bob.pushes(house.repo, "main", {"later.txt": "later\n"})
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = announced(house, pull)
    assert short(later) in said
    assert short(pull.merge_sha) in said
    assert short(house.repo.git("rev-parse", "main^{tree}")) in said
    house.expect(*LANDED)


def test_M7_a_base_that_moves_while_commands_run_is_tested_again(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"ls later.txt >> {ran} || echo none >> {ran}")
    pull = green(house)
    house.github.before(
        "GET git/ref/heads/main", lambda: house.bob.pushes(house.repo, "main", {"later.txt": "1\n"}), nth=2
    )
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert ran.read_text().split() == ["none", "later.txt"]
    house.github.journal.claim(CALLED, times=1)
    house.expect(*LANDED)


def test_M7_a_base_that_never_rests_ends_the_attempt_after_three_repeats(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"echo again >> {ran}")
    pull = green(house)
    for nth in range(2, 12):
        house.github.before(
            "GET git/ref/heads/main", partial(house.bob.pushes, house.repo, "main", {"later.txt": f"{nth}\n"}), nth
        )
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "base moved" in said
    assert "4 times" in said
    assert len(ran.read_text().splitlines()) == 4
    house.expect(*STOPPED)


def test_M8_a_conflict_is_found_by_git_whatever_github_says_and_names_the_files(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"touch {ran}")
    pull = green(house, files={"README.md": "ours\n", "docs/a b.md": "ours\n", "fine.txt": "ours\n"})
    base = house.bob.pushes(house.repo, "main", {"README.md": "theirs\n", "docs/a b.md": "theirs\n"})
    house.github.shows_mergeable(pull, True)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "`README.md`, `docs/a b.md`" in said
    assert "fine.txt" not in said
    assert short(base) in said
    assert "Merge the base into the branch" in said
    assert not ran.exists()
    house.expect(*STOPPED)


def test_M9_a_stale_no_of_github_does_not_hold_up_a_clean_merge(house: House) -> None:
    pull = green(house)
    house.github.shows_mergeable(pull, False)
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


def test_M10_a_mergeability_that_github_never_tells_holds_nothing_up(house: House) -> None:
    house.github.world.mergeable_after = 10_000
    pull = green(house)
    house.alice.comments(pull, "/merge")
    asked = house.clock.now()
    house.quiet()
    read = house.github.journal.find(f"GET pulls/{pull.number}")
    assert {e.answer["mergeable"] for e in read if not e.answer["merged"]} == {None}
    announced(house, pull)
    assert house.job("merge", pull.number).updated_at - asked < 120
    house.expect(*LANDED)


def test_M23_a_fork_is_never_run_here(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, f"touch {ran}")
    pull = house.mallory.opens_fork_pr(house.repo, {"evil.txt": "boo\n"})
    house.ci.passes(pull, "build")
    house.quiet()
    house.clock.advance(5)
    for text in ("/merge", f"/merge {pull.head_sha}"):
        house.alice.comments(pull, text)
        house.quiet()
        assert house.job("merge", pull.number).facts["failed"]
    said = refusal(house, pull)  # the same words are not said twice
    assert "fork" in said
    assert "Push the branch to this repository" in said
    assert not ran.exists()
    house.expect(*STOPPED)
