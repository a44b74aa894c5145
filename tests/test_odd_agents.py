"""However oddly an agent behaves, its issue ends in a pull request or in one comment that says why not."""

from __future__ import annotations

import psutil
import pytest

from orchestrator.agents.claude import Claude
from orchestrator.record import Status
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


def parks(house: House, scenario: str, said: str, tries: int = 1) -> None:
    """The agent fails like this: after so many runs one comment says so, and what it made is kept and not pushed."""
    issue = ready(house)
    agent(house, "--sessions", str(house.folder / "sessions"), scenario)
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
    assert len(runs(house)) == tries
    expect_work(house, issue)


def test_F50_an_agent_that_never_says_anything_is_tried_once_more_and_then_parked(make_house: MakeHouse) -> None:
    parks(make_house(stall_timeout=0.8), "hang", "STALL_TIMEOUT", tries=2)


def test_F51_an_agent_that_falls_silent_is_ended_and_parked(make_house: MakeHouse) -> None:
    parks(make_house(stall_timeout=0.8), "silence", "STALL_TIMEOUT")


def test_F56_an_agent_that_ignores_sigterm_is_killed(make_house: MakeHouse) -> None:
    parks(make_house(run_timeout=0.8), "ignores-sigterm", "RUN_TIMEOUT")


@pytest.mark.parametrize("scenario", ["truncated", "no-result"])
def test_F55_a_stream_without_a_result_is_no_success_and_tried_once_more(make_house: MakeHouse, scenario: str) -> None:
    parks(make_house(), scenario, "gave no result", tries=2)


def test_F55_the_second_try_may_do_it(make_house: MakeHouse) -> None:
    house = make_house()
    (house.folder / "script").write_text("truncated\nsuccess\n")
    issue = ready(house)
    agent(house, "--sessions", str(house.folder / "sessions"), f"@{house.folder / 'script'}")
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert house.job("implement", 1).attempt == 1
    assert ["--resume" in run["argv"] for run in Record(house.folder / "record").runs] == [False, True]
    expect_pull(house, issue)


FAILURES: dict[str, tuple[str, int]] = {
    "is-error": ("It fell over.", 1),
    "exit-1": ("stub: out of order", 2),
    "bad-exit": ("ended with code 3", 1),
    "max-turns": ("MAX_TURNS", 1),
    "bad-request": ("messages: too odd", 1),
    "nested-repo": ("`nested` is a git repository of its own", 1),
}


@pytest.mark.parametrize("scenario", FAILURES)
def test_an_agent_that_fails_is_one_comment_and_its_work_is_kept_and_not_pushed(
    make_house: MakeHouse, scenario: str
) -> None:
    parks(make_house(), scenario, *FAILURES[scenario])


def test_F52_an_agent_that_stays_after_its_result_is_ended_and_its_work_counts(make_house: MakeHouse) -> None:
    a_pull_request(make_house(), "hang-after-result")


def test_F53_background_tasks_are_off_and_a_run_without_a_change_is_no_pull_request(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    agent(house, "no-change")
    house.quiet()
    [run] = Record(house.folder / "record").runs
    assert run["env"]["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"] == "1"
    assert house.repo.pulls == []
    assert issue.labels == ["needs-human"]
    expect_work(house, issue)


def a_pull_request(house: House, scenario: str) -> None:
    issue = ready(house)
    agent(house, scenario)
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.git("diff", "--name-only", "main", pull.head_sha).split() == ["agent.txt"]
    assert outcomes(issue) == []
    assert len(runs(house)) == 1
    assert "hooksPath" not in (house.folder / "worktrees/acme/app/mirror.git/config").read_text()
    expect_pull(house, issue)


@pytest.mark.parametrize("scenario", ["deletes-git", "git-config", "conflict-markers"])
def test_an_agent_that_did_its_work_oddly_is_a_pull_request(make_house: MakeHouse, scenario: str) -> None:
    a_pull_request(make_house(), scenario)


@pytest.mark.parametrize("scenario", ["flood", "long-line", "bad-bytes", "deep", "limit-then-good"])
def test_F54_odd_output_is_survived_and_the_agents_last_word_is_heard(make_house: MakeHouse, scenario: str) -> None:
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
def test_F57_what_an_agent_leaves_behind_is_gone_when_its_run_is_over(make_house: MakeHouse, scenario: str) -> None:
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


def test_an_overloaded_service_is_tried_again_and_burns_no_attempt(make_house: MakeHouse) -> None:
    house = make_house()
    house.options["setup_commands"] = (f"echo made >> {house.folder / 'set-ups'}",)
    (house.folder / "script").write_text("overloaded\nsuccess\n")
    issue = ready(house)
    agent(house, f"@{house.folder / 'script'}")
    house.quiet()
    assert (house.folder / "set-ups").read_text() == "made\n" * 2, "the new worktree was set up too"
    assert house.job("implement", 1).attempt == 1
    assert house.job("implement", 1).cost_usd == pytest.approx(0.5)
    expect_pull(house, issue)


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
