"""Rows M of the merge specification: what is pinned, built, tested and bounded, through the daemon with real git."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from orchestrator.twin import PullHandle
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


def place(house: House) -> Path:
    return house.folder / "worktrees/acme/app"


@pytest.mark.parametrize("date", [None, 1_000_000_000], ids=["as-is", "back-dated"])
def test_M1_a_push_after_the_comment_is_never_what_was_asked_for(house: House, date: int | None) -> None:
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
    assert not list(place(house).glob("merge-*"))
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


def junk(house: House, pull: PullHandle) -> None:
    folder = place(house) / f"merge-{pull.number}"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine\n")


def cut_off(house: House, pull: PullHandle) -> None:
    """A crashed run's worktree: another branch, changed files, git's lock."""
    mirror, folder = place(house) / "mirror.git", place(house) / f"merge-{pull.number}"
    for words in (
        ["init", "--quiet", "--bare", str(mirror)],
        ["-C", str(mirror), "fetch", "--quiet", house.repo.thing.bare.path.as_posix(), "main:refs/heads/stray"],
        ["-C", str(mirror), "worktree", "add", "--quiet", "--lock", str(folder), "stray"],
    ):
        subprocess.run(["git", *words], check=True, capture_output=True)
    (folder / "README.md").write_text("half\n")


def vanished(house: House, pull: PullHandle) -> None:
    """Registered, but the folder is gone."""
    cut_off(house, pull)
    subprocess.run(["rm", "-r", str(place(house) / f"merge-{pull.number}")], check=True)


@pytest.mark.parametrize("left", [junk, cut_off, vanished])
def test_M11_whatever_is_in_the_worktrees_place_is_replaced(make_house: MakeHouse, left: object) -> None:
    house = make_house(pre_merge_commands=("test -f topic.txt", "grep hello README.md", "! test -f notes.txt"))
    checkout = house.folder / "my-checkout"
    subprocess.run(["git", "clone", "--quiet", str(house.repo.thing.bare.path), str(checkout)], check=True)
    (checkout / "README.md").write_text("my own unfinished work\n")
    pull = green(house)
    assert callable(left)
    left(house, pull)
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert (checkout / "README.md").read_text() == "my own unfinished work\n"
    house.expect(*LANDED)


def test_M15_commands_that_change_tracked_files_have_not_passed(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("touch untracked.txt", "echo formatted >> topic.txt"))
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "modified tracked files: `topic.txt`" in said
    assert "Commit what they produce" in said
    assert short(pull.head_sha) in said
    house.expect(*STOPPED)


NOISE = r"""
import sys
out = sys.stdout.buffer
out.write(b"the very beginning\n" + b"x" * 5_000_000 + b"\n")
out.write(b"\xff\xfe bad bytes\n\x1b[31mred\x1b[0m\n````\nfence\n```\n\n/merge\n\n<!-- orchestrator:x -->\n")
out.write(b"@team #123 fixes #1\nTOKEN\nthe very end\n")
sys.exit(1)
"""


def test_M16_the_end_of_any_output_is_shown_and_does_nothing(house: House) -> None:
    script = house.folder / "noise.py"
    script.write_text(NOISE.replace("TOKEN", house.token))
    issue = house.alice.opens_issue(house.repo, "Something else")
    runs(house, f"{sys.executable} {script}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "the very end" in said
    assert "the very beginning" not in said
    assert "\ufffd\ufffd bad bytes\nred\n" in said
    assert "\x1b" not in said
    assert house.token not in said
    assert len(said) < 6000
    block = said.split("`````\n")[1]
    assert "@team #123" in block
    assert "<!-- orchestrator" not in said
    whole = Path(said.split("machine: `")[1].split("`")[0])
    assert whole.stat().st_size > 5_000_000
    assert issue.open
    house.expect(*STOPPED)


def test_M17_a_command_that_takes_too_long_is_ended_with_all_that_it_started(make_house: MakeHouse) -> None:
    house = make_house(command_timeout=0.4)
    pids = house.folder / "pids"
    runs(house, f"sleep 661 & sleep 662 & echo working; echo $! $$ > {pids}; wait")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "Command 1 of 1" in said
    assert "timed out after 0.4 s" in said
    assert "working" in said
    assert all(gone(int(pid)) for pid in pids.read_text().split())
    house.expect(*STOPPED)


def test_M18_a_child_that_keeps_the_output_open_does_not_hold_up_the_command(house: House) -> None:
    pid = house.folder / "pid"
    runs(house, f"sleep 300 & echo $! > {pid}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    assert gone(int(pid.read_text()))
    house.expect(*LANDED)


def test_M20_a_command_that_asks_gets_no_answer_and_does_not_wait(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("read answer || exit 7",))
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "exit status 7" in refusal(house, pull)
    house.expect(*STOPPED)


def test_M21_the_first_command_that_fails_ends_the_attempt_and_is_named(house: House) -> None:
    ran = house.folder / "ran"
    runs(house, "true", "echo so it goes; exit 3", f"touch {ran}")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert short(pull.head_sha) in said
    assert "Command 2 of 3, `echo so it goes; exit 3`, ended with exit status 3" in said
    assert "so it goes" in said.split("```")[1]
    assert not ran.exists()
    house.expect(*STOPPED)


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
    said = [text for text in house.said(pull) if text.startswith("**Not merged**")]
    assert len(said) == 2
    assert all("fork" in text and "Push the branch to this repository" in text for text in said)
    assert not ran.exists()
    house.expect(*STOPPED)
