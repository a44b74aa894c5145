"""The whole story with agent, set-up commands, pre-merge commands and git behind the walls."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sandbox import Bubblewrap
from tests.boxed import walled
from tests.child import Child
from tests.conftest import MakeHouse
from tests.house import stub
from tests.merging import LANDED
from tests.story import expect_pull, ready

pytestmark = walled

CANARY = "canary-of-the-operator"


def test_an_issue_becomes_a_merged_pull_request_behind_the_walls(make_house: MakeHouse, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    hidden = f"test ! -e {secret}"
    house = make_house(
        sandbox="bwrap",
        toolchain_paths=(str(Path(__file__).parent),),  # of which the stand-in for the agent is one
        review_prs="all",
        setup_commands=(hidden, "touch made-by-setup && git status --short | grep -q made-by-setup"),
        pre_merge_commands=(
            hidden,
            "test -f agent.txt",
            "git log --format=%s | grep -q .",
            "git stash list && git config a.b c",
        ),
    )
    issue = ready(house)
    house.start(claude_command=stub("success"))
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.file(pull.head_ref, "agent.txt") is not None
    assert house.repo.file(pull.head_ref, "made-by-setup") is None
    assert len(pull.reviews) == 1
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged, house.said(pull)
    assert house.daemon is not None
    assert isinstance(house.daemon.sandbox, Bubblewrap)
    expect_pull(house, issue)
    house.expect("POST issues/2/reactions", "POST pulls/2/reviews", *LANDED)


def test_A40_a_poisoned_test_command_finds_nothing_to_take(
    make_house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request brings the very script that is run on it, and its output is posted."""
    home = tmp_path / "home"
    for secret in (".netrc", ".ssh/id_ed25519"):
        (home / secret).parent.mkdir(parents=True, exist_ok=True)
        (home / secret).write_text(CANARY)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DATABASE_URL", CANARY)
    house = make_house(sandbox="bwrap", pre_merge_commands=("sh check.sh",))
    steals = f"env; cat {home}/.netrc {home}/.ssh/id_ed25519 /proc/*/environ | rev; ls -A $HOME; echo looked; exit 1"
    house.alice.pushes(house.repo, "topic", {"check.sh": steals})
    pull = house.alice.opens_pr(house.repo, "topic")
    house.quiet()
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = "\n".join(comment.body for comment in pull.comments)
    assert "looked" in said
    assert f"HOME={home}" in said
    assert CANARY not in said
    assert CANARY[::-1] not in said
    assert not pull.merged
    house.expect("POST issues/*", "PATCH issues/comments/*")


def test_F76_a_sandbox_that_works_no_more_stops_agents_and_not_the_daemon(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    """As an update of the system's rules makes it: the program is there, and is not let."""
    house = make_house(sandbox="bwrap", toolchain_paths=(str(Path(__file__).parent),))
    daemon = house.start(claude_command=stub("success"))
    house.quiet()
    assert isinstance(daemon.sandbox, Bubblewrap)
    good = daemon.sandbox._constant
    daemon.sandbox._constant = ["sh", "-c", "echo bwrap: No permissions to create new namespace >&2; exit 1"]
    issue = ready(house)
    house.until(lambda: bool(house.daemon and house.daemon.state.pauses))
    [pause] = daemon.state.pauses.values()
    assert "No permissions to create new namespace" in pause.reason
    polled = house.github.journal.count("GET issues")
    house.until(lambda: house.github.journal.count("GET issues") > polled + 3)
    assert house.job("implement", issue.number).attempt == 1
    daemon.sandbox._constant = good
    house.until(lambda: bool(house.repo.pulls), most=24 * 3600)
    house.quiet()
    expect_pull(house, issue)


def test_F76_without_a_working_sandbox_nothing_starts_and_the_sentence_mends_it(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "sh", "prlimit"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    child = Child(tmp_path / "child", sandbox="auto")
    try:
        done = child.command("run", "--once", PATH=str(programs))
        assert (done.returncode, done.stdout) == (3, "")
        assert "`bwrap` is not installed" in done.stderr
        assert "SANDBOX=off" in done.stderr
        assert done.stderr.strip().endswith("install bubblewrap`")
        assert child.github.journal.find("P*") == []
        assert child.command("run", "--once", PATH=str(programs), SANDBOX="off").returncode == 0
    finally:
        child.close()
