"""However oddly an agent behaves, its issue ends in a pull request or in one comment that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.agents.claude import Claude
from orchestrator.model import Status
from orchestrator.twin import Fault, status
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, expect_pull, expect_work, outcomes, ready, sticky


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grace that is seconds of real time in life."""
    monkeypatch.setattr(Claude, "result_grace", 0.3)
    monkeypatch.setattr(Claude, "stop_grace", 0.3)


def runs(house: House) -> list[int]:
    """The pids of all runs of the agent; none of them may live."""
    pids = [run["pid"] for run in Record(house.folder / "record").runs]
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    return pids


def agent(house: House, *words: str) -> None:
    """Start the daemon with this agent, recorded."""
    house.start(claude_command=stub("--record", str(house.folder / "record"), *words))


FAILURES: dict[str, tuple[str, dict[str, Any]]] = {
    "hang": ("STALL_TIMEOUT", {"stall_timeout": 0.8}),
    "silence": ("STALL_TIMEOUT", {"stall_timeout": 0.8}),
    "ignores-sigterm": ("RUN_TIMEOUT", {"run_timeout": 0.8}),
    "truncated": ("gave no result", {}),
    "no-result": ("gave no result", {}),
    "is-error": ("It fell over.", {}),
    "exit-1": ("stub: out of order", {}),
    "bad-exit": ("ended with code 3", {}),
    "max-turns": ("MAX_TURNS", {"max_turns": 7}),
    "budget": ("RUN_BUDGET_USD", {}),
    "not-logged-in": ("not logged in", {}),
    "billing": ("Credit balance is too low", {}),
    "bad-request": ("messages: too odd", {}),
    "nested-repo": ("`nested` is a git repository of its own", {}),
}


@pytest.mark.parametrize("scenario", FAILURES)
def test_an_agent_that_fails_is_one_comment_and_its_work_is_kept_and_not_pushed(
    make_house: MakeHouse, scenario: str
) -> None:
    said, settings = FAILURES[scenario]
    house = make_house(**settings)
    issue = ready(house)
    agent(house, scenario)
    house.quiet()
    house.clock.advance(86_400)
    house.quiet()
    [text] = outcomes(issue)
    assert said in text
    assert "`ready` again" in text
    assert "The worktree was kept" in text
    assert sticky(issue)[0].startswith("**Needs a person**")
    assert issue.labels == ["needs-human"]
    assert house.job("implement", 1).status is Status.PARKED
    assert house.repo.branches == ["main"]
    assert len(runs(house)) == 1
    expect_work(house, issue)


@pytest.mark.parametrize("scenario", ["hang-after-result", "deletes-git", "git-config", "conflict-markers"])
def test_an_agent_that_did_its_work_oddly_is_a_pull_request(make_house: MakeHouse, scenario: str) -> None:
    house = make_house()
    issue = ready(house)
    agent(house, scenario)
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.git("diff", "--name-only", "main", pull.head_sha).split() == ["agent.txt"]
    assert outcomes(issue) == []
    assert len(runs(house)) == 1
    assert "hooksPath" not in (house.folder / "worktrees/acme/app/mirror.git/config").read_text()
    expect_pull(house, issue)


@pytest.mark.parametrize("scenario", ["flood", "long-line", "bad-bytes", "deep", "limit-then-good"])
def test_odd_output_is_survived_and_the_agents_last_word_is_heard(make_house: MakeHouse, scenario: str) -> None:
    house = make_house()
    issue = ready(house)
    agent(house, scenario)
    house.quiet()
    [text] = outcomes(issue)
    assert text.startswith("The agent changed nothing")
    assert ("caf\ufffd" if scenario == "bad-bytes" else "The stub did its work.") in text
    assert len(runs(house)) == 1
    expect_work(house, issue)


@pytest.mark.parametrize("scenario", ["setsid-child", "nohup-child", "double-fork"])
def test_what_an_agent_leaves_behind_is_gone_when_its_run_is_over(make_house: MakeHouse, scenario: str) -> None:
    house = make_house()
    pids = house.folder / "pids"
    issue = ready(house)
    agent(house, scenario, str(pids))
    house.quiet()
    left = [int(pid) for pid in pids.read_text().split()]
    assert left
    assert not [pid for pid in left if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert len(outcomes(issue)) == 1
    expect_work(house, issue)


def test_a_usage_limit_is_waited_for_and_burns_no_attempt(make_house: MakeHouse) -> None:
    house = make_house(poll_interval=600)
    resets_at = house.clock.now() + 5 * 3600
    (house.folder / "script").write_text(f"usage-limit {resets_at}\nsuccess\n")
    issue = ready(house)
    agent(house, f"@{house.folder / 'script'}")
    house.until(lambda: "**Waiting**" in "".join(sticky(issue)))
    assert "UTC" in sticky(issue)[0]
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    assert resets_at <= house.clock.now() <= resets_at + 3600
    assert house.job("implement", 1).attempt == 1
    assert "attempt 1" in (house.repo.pulls[0].body or "")
    assert len(runs(house)) == 2
    assert outcomes(issue) == []
    expect_pull(house, issue)


def test_a_usage_limit_without_a_time_is_looked_at_again_after_half_an_hour(make_house: MakeHouse) -> None:
    house = make_house(poll_interval=600)
    begun = house.clock.now()
    (house.folder / "script").write_text("limit-unknown\nlimit-unknown\nsuccess\n")
    issue = ready(house)
    agent(house, f"@{house.folder / 'script'}")
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    assert 3600 <= house.clock.now() - begun <= 7200
    assert house.job("implement", 1).attempt == 1
    expect_pull(house, issue)


def test_an_overloaded_service_is_tried_again_and_burns_no_attempt(make_house: MakeHouse) -> None:
    house = make_house(setup_commands=("echo made > set-up.txt",))
    (house.folder / "script").write_text("overloaded\noverloaded\nsuccess\n")
    issue = ready(house)
    agent(house, f"@{house.folder / 'script'}")
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.file(pull.head_sha, "set-up.txt") == "made\n"
    assert house.job("implement", 1).attempt == 1
    assert house.job("implement", 1).cost_usd == pytest.approx(0.75)
    expect_pull(house, issue)


def test_a_service_that_stays_overloaded_is_given_up_with_one_comment(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    agent(house, "overloaded")
    house.quiet()
    [text] = outcomes(issue)
    assert "tried several times" in text
    assert "Overloaded" in text
    assert len(runs(house)) == 6
    assert issue.labels == ["needs-human"]
    expect_work(house, issue)


def test_an_agent_that_is_not_installed_is_told_with_the_command_that_mends_it(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    house = make_house(claude_command=str(tmp_path / "no-such-claude"))
    issue = ready(house)
    house.quiet()
    [text] = outcomes(issue)
    assert "cannot be started" in text
    assert "npm install" in text
    expect_work(house, issue)


@pytest.mark.parametrize("request_", ["GET issues/1/comments", "POST issues/1/comments", "POST issues/1/labels"])
def test_an_outage_while_a_failure_is_told_costs_no_second_run(
    make_house: MakeHouse, request_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    house = make_house()
    issue = ready(house)
    record = Record(house.folder / "record")

    def outage() -> None:
        house.github.faults.add(Fault(request_, status(502), times=5))

    house.github.after("GET issues/1/comments", outage, nth=2)
    agent(house, "is-error")
    house.quiet()
    assert len(record.runs) == 1
    assert len(outcomes(issue)) == 1
    assert issue.labels == ["needs-human"]
    assert house.job("implement", 1).attempt == 1
    assert "Traceback" not in capsys.readouterr().out
    expect_work(house, issue)
