"""Faults that are no item's: the whole daemon waits, says so once, burns no attempt and goes on by itself.

F17, F18, F25, F34, F35, F59-F64 of the fault matrix, and what they have in common.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest

from orchestrator.agents.claude import Claude
from tests.conftest import MakeHouse
from tests.faulty import events
from tests.house import House, stub
from tests.merging import LANDED, green
from tests.story import Record, expect_pull, expect_work, outcomes, ready, sticky

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claude, "result_grace", 0.3)
    monkeypatch.setattr(Claude, "stop_grace", 0.3)


def scripted(house: House, *lines: str) -> None:
    """Start the daemon with an agent that plays these scenarios one after the other, the last one for ever."""
    (house.folder / "script").write_text("\n".join(lines) + "\n")
    sessions = ("--sessions", str(house.folder / "sessions"))
    house.start(claude_command=stub("--record", str(house.folder / "record"), *sessions, f"@{house.folder / 'script'}"))


def record(house: House) -> Record:
    return Record(house.folder / "record")


def probes(house: House) -> int:
    return len(Record(house.folder / "record.probes").runs)


def paused(house: House) -> str:
    """Why no agent runs now, as the memory says; "" when they may."""
    assert house.daemon is not None
    pause = house.daemon.state.pauses.get("agent")
    return pause.reason if pause else ""


def test_F59_a_usage_limit_stops_all_agents_until_its_reset_and_burns_no_attempt(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(max_concurrent=1)
    resets_at = house.clock.now() + 5 * HOUR
    first, second = ready(house, "First"), ready(house, "Second")
    scripted(house, f"usage-limit {resets_at}", "success")
    house.until(lambda: paused(house) != "")
    [told] = [text for text in (*sticky(first), *sticky(second)) if text.startswith("**Waiting**")]
    assert "UTC" in told
    house.clock.run_until(lambda: house.clock.now() >= resets_at - 60)
    assert len(record(house).runs) == 1, "the second item would have met the same limit"
    assert probes(house) == 0
    house.quiet()
    assert resets_at <= house.clock.now() <= resets_at + HOUR
    assert probes(house) == 1
    assert [house.job("implement", n).attempt for n in (1, 2)] == [1, 1]
    assert sorted(house.job("implement", n).pauses for n in (1, 2)) == [0, 1]
    assert len(house.repo.pulls) == 2
    assert outcomes(first) == outcomes(second) == []
    assert (len(events(lines, "paused")), len(events(lines, "goes_on"))) == (1, 1)
    expect_pull(house, first, second)


def test_F59_the_run_that_met_the_limit_goes_on_in_its_session(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "limit-unknown", "success")
    house.quiet()
    first, second = record(house).runs
    session = first["argv"][first["argv"].index("--session-id") + 1]
    assert second["argv"][second["argv"].index("--resume") + 1] == session
    assert "cut off" in record(house).prompts[1]
    assert house.job("implement", 1).cost_usd == pytest.approx(0.5)
    expect_pull(house, issue)


def test_F59_without_a_time_it_is_probed_after_half_an_hour_and_then_every_quarter(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "limit-unknown")
    house.until(lambda: paused(house) != "")
    begun = house.clock.now()
    house.until(lambda: probes(house) == 1)
    assert 1800 <= house.clock.now() - begun <= 1860
    house.until(lambda: probes(house) == 5)
    assert 1800 + 4 * 900 <= house.clock.now() - begun <= 1800 + 4 * 960
    assert len(record(house).runs) == 1
    (house.folder / "script").write_text("success\n")
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert house.job("implement", 1).attempt == 1
    expect_pull(house, issue)


def test_F59_a_pause_outlives_a_restart(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, f"usage-limit {house.clock.now() + 5 * HOUR}")
    house.until(lambda: paused(house) != "")
    house.stop()
    other = ready(house, "Another")
    house.start()
    house.clock.run_until(lambda: house.job("implement", 2).phase == "prepare")
    house.clock.run_until(lambda: house.clock.now() > house.job("implement", 2).updated_at + HOUR)
    assert (len(record(house).runs), probes(house)) == (1, 1), "a start looks once whether it is over"
    (house.folder / "script").write_text("success\n")
    house.quiet()
    assert len(house.repo.pulls) == 2
    expect_pull(house, issue, other)


def test_F59_a_limit_that_was_lifted_before_its_time_is_noticed_by_a_start(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, f"usage-limit {house.clock.now() + 5 * HOUR}", "success")
    house.until(lambda: paused(house) != "")
    before = house.clock.now()
    house.stop()
    house.start()
    house.until(lambda: paused(house) == "")
    assert house.clock.now() - before < HOUR
    house.quiet()
    expect_pull(house, issue)


def test_F60_a_probe_without_an_answer_ends_no_pause(make_house: MakeHouse) -> None:
    house = make_house(poll_interval=600)
    issue = ready(house)
    scripted(house, "limit-unknown")
    house.until(lambda: paused(house) != "")
    (house.folder / "script").write_text("probe-no-result\nsuccess\n")
    house.until(lambda: probes(house) >= 2)
    assert paused(house)
    assert len(record(house).runs) == 1
    (house.folder / "script").write_text("success\n")
    house.quiet()
    expect_pull(house, issue)


def test_a_probe_that_cannot_even_be_tried_is_tried_again_a_minute_later(
    make_house: MakeHouse, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "limit-unknown", "success")
    house.until(lambda: paused(house) != "")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("tempfile.TemporaryDirectory", full)
        end = house.clock.now() + 2 * HOUR
        house.until(lambda: house.clock.now() > end)
    assert 80 <= len(events(lines, "probe_broke")) <= 100
    house.quiet()
    assert len(house.repo.pulls) == 1
    expect_pull(house, issue)


def test_F59_a_merge_needs_no_agent_and_does_not_wait(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "limit-unknown")
    house.until(lambda: paused(house) != "")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged)
    assert paused(house)
    expect_work(house, issue)
    house.expect(*LANDED, "PUT pulls/*/merge")


@pytest.mark.parametrize(("scenario", "says"), [("not-logged-in", "not logged in"), ("billing", "Credit balance")])
def test_F61_an_account_that_cannot_work_stops_all_agents_until_somebody_acts(
    make_house: MakeHouse, lines: list[Any], scenario: str, says: str
) -> None:
    house = make_house(max_concurrent=1)
    first, second = ready(house, "First"), ready(house, "Second")
    scripted(house, scenario)
    house.until(lambda: paused(house) != "")
    assert says in paused(house)
    house.until(lambda: probes(house) == 4)
    assert len(record(house).runs) == 1
    assert len(events(lines, "paused")) == 1
    (house.folder / "script").write_text("success\n")
    house.quiet()
    assert [house.job("implement", n).attempt for n in (1, 2)] == [1, 1]
    assert len(house.repo.pulls) == 2
    assert outcomes(first) == outcomes(second) == []
    expect_pull(house, first, second)


def test_F60_an_overloaded_service_is_probed_and_the_item_tried_again(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "overloaded", "success")
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert house.job("implement", 1).attempt == 1
    assert outcomes(issue) == []
    expect_pull(house, issue)


def test_F60_hours_of_overload_park_nothing(make_house: MakeHouse) -> None:
    house = make_house(poll_interval=1800)
    issue = ready(house)
    scripted(house, "overloaded")
    house.until(lambda: probes(house) > 8)
    assert len(record(house).runs) == 1
    assert house.job("implement", 1).failures == 1
    (house.folder / "script").write_text("success\n")
    house.quiet()
    assert len(house.repo.pulls) == 1
    expect_pull(house, issue)


def test_F60_a_service_that_fails_at_one_item_only_parks_that_item(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, "overloaded-at-work")
    house.quiet()
    [text] = outcomes(issue)
    assert "tried several times" in text
    assert len(record(house).runs) == 6
    assert issue.labels == ["needs-human"]
    expect_work(house, issue)


def test_F62_a_program_that_is_gone_stops_all_agents_until_it_is_back(make_house: MakeHouse, lines: list[Any]) -> None:
    house = make_house()
    program = house.folder / "claude"
    issue, other = ready(house), ready(house, "Another")
    house.start(claude_command=str(program))
    house.until(lambda: "npm install" in paused(house))
    house.clock.advance(HOUR)
    house.until(lambda: house.clock.now() > house.job("implement", 1).updated_at + HOUR)
    assert len(events(lines, "paused")) == 1
    program.write_text(f'#!/bin/sh\nexec {stub("success")} "$@"\n')
    program.chmod(0o755)
    house.quiet()
    assert [house.job("implement", n).attempt for n in (1, 2)] == [1, 1]
    assert len(house.repo.pulls) == 2
    expect_pull(house, issue, other)


def upgraded(house: House, listed: str) -> None:
    """Another file takes the place of the program; its `--help` lists this."""
    fresh = house.folder / "fresh"
    asked = f"--version) echo '9.9.9 (Claude Code)' ;; --help) {listed} ;; *) exec {stub('success')} \"$@\" ;;"
    fresh.write_text(f"#!/bin/sh\ncase $1 in {asked} esac\n")
    fresh.chmod(0o755)
    fresh.replace(house.folder / "claude")


def test_F63_an_upgrade_that_takes_other_flags_stops_new_runs_until_it_is_mended(make_house: MakeHouse) -> None:
    house = make_house()
    upgraded(house, f"{stub('success')} --help")
    first = ready(house)
    house.start(claude_command=str(house.folder / "claude"))
    house.quiet()
    assert len(house.repo.pulls) == 1

    upgraded(house, "echo --tools --verbose")
    second = ready(house, "Another")
    house.until(lambda: paused(house) != "")
    assert "9.9.9" in paused(house)
    assert "--resume" in paused(house)
    assert len(house.repo.pulls) == 1
    upgraded(house, f"{stub('success')} --help")
    house.quiet()
    assert len(house.repo.pulls) == 2
    assert house.job("implement", second.number).attempt == 1
    expect_pull(house, first, second)


@pytest.mark.parametrize("scenario", ["max-turns", "budget"])
def test_F64_a_limit_of_the_run_parks_the_item_once_and_keeps_its_work(make_house: MakeHouse, scenario: str) -> None:
    house = make_house()
    issue = ready(house)
    scripted(house, scenario)
    house.quiet()
    house.clock.advance(86_400)
    house.quiet()
    assert len(outcomes(issue)) == 1
    assert issue.labels == ["needs-human"]
    assert (house.folder / "worktrees/acme/app/issue-1").is_dir()
    assert house.repo.branches == ["main"]
    assert len(record(house).runs) == 1
    expect_work(house, issue)


Usage = namedtuple("Usage", "total used free")


def test_F18_below_the_floor_no_worktree_is_made_and_one_line_says_so(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    free = [1.5e9]
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**12, 0, free[0]))
    house = make_house(disk_floor_gb=2)
    issue = ready(house)
    scripted(house, "success")
    house.until(lambda: house.daemon is not None and "disk" in house.daemon.state.pauses)
    house.until(lambda: house.clock.now() > house.job("implement", 1).updated_at + HOUR)
    assert house.job("implement", 1).phase == "prepare"
    assert not (house.folder / "worktrees/acme/app/issue-1").exists()
    [line] = events(lines, "paused")
    assert "Only 1.5 GB are free" in line["reason"]
    free[0] = 3e9
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert len(events(lines, "goes_on")) == 1
    expect_pull(house, issue)


def test_F18_a_merge_waits_for_room_too(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1.5e9]
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**12, 0, free[0]))
    house = make_house(disk_floor_gb=2)
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.until(lambda: [job.phase for job in house.jobs] == ["prepare"])
    house.clock.run_until(lambda: house.clock.now() > house.job("merge", pull.number).updated_at + HOUR)
    assert not pull.merged
    free[0] = 3e9
    house.quiet()
    assert pull.merged
    house.expect(*LANDED, "PUT pulls/*/merge")


def test_F17_while_the_memory_cannot_be_written_nothing_begins_and_it_goes_on_by_itself(
    house: House, monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    monkeypatch.setattr("orchestrator.state.NO_ROOM", 0.0)  # it is asked again at each poll
    file, aside = house.folder / "state.json", house.folder / "aside"
    house.start()
    house.until(lambda: file.exists())
    file.rename(aside)
    file.mkdir()  # nothing can be put in its place
    issue = ready(house)
    house.clock.run_until(lambda: True)
    end = house.clock.now() + HOUR
    house.until(lambda: house.clock.now() > end)
    assert house.github.journal.unclaimed("robot") == []
    assert len(events(lines, "memory_not_written")) == 1
    file.rmdir()
    aside.rename(file)
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert len(events(lines, "memory_written_again")) == 1
    expect_pull(house, issue)


def test_F25_a_replaced_token_is_read_again_without_a_restart(make_house: MakeHouse) -> None:
    house = make_house()
    issue = ready(house)
    tokens = [house.token]
    house.start(renew=lambda: tokens[-1])
    house.quiet()
    house.github.revokes(house.token)
    second = ready(house, "Another")
    end = house.clock.now() + HOUR
    house.until(lambda: house.clock.now() > end)
    assert len(house.repo.pulls) == 1
    tokens.append(house.github.token(house.robot))
    house.quiet()
    assert len(house.repo.pulls) == 2
    assert house.job("implement", second.number).attempt == 1
    assert outcomes(second) == []
    expect_pull(house, issue, second)
