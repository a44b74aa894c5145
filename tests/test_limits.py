"""The limits of a day: whose run may begin, with how much money, and when it goes on."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.allowance import Allowance, Exhausted
from orchestrator.decide.limits import DAY, Limits, enough_at, left_usd, run_at, runs_left
from orchestrator.model import Actor
from orchestrator.record import Spent
from orchestrator.settings import Settings
from orchestrator.state import State
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.story import Record, expect_pull, ready
from tests.virtual import VirtualClock

NOW = 1_800_000_000.0
HOUR = 3600.0
ALICE, MALLORY = Actor(7, "alice"), Actor(9, "mallory")
LIMITS = Limits(runs=2, usd=10, run_usd=5)


def entry(ago: float, usd: float = 0.0, actor: int = 0) -> Spent:
    return Spent(NOW - ago, f"{ago}", usd, actor)


def test_what_left_the_day_counts_no_more() -> None:
    spent = (entry(DAY, 9.0), entry(DAY - 1, 2.5), entry(HOUR, 1.0))
    assert left_usd(spent, LIMITS, NOW) == 6.5
    assert left_usd((entry(1, 99.0),), LIMITS, NOW) == 0.0


@pytest.mark.parametrize(
    ("spent", "at"),
    [
        ((), 0.0),
        ((entry(HOUR, 9.5),), 0.0),
        ((entry(HOUR, 9.6),), DAY - HOUR),
        ((entry(3 * HOUR, 0.05), entry(2 * HOUR, 5.0), entry(HOUR, 4.6)), DAY - 2 * HOUR),
    ],
)
def test_enough_is_there_when_enough_of_what_was_spent_left_the_day(spent: tuple[Spent, ...], at: float) -> None:
    assert enough_at(spent, LIMITS, NOW) == NOW + at


def test_a_small_budget_is_enough_for_a_run_of_its_size() -> None:
    assert enough_at((), Limits(1, 0.2, 5), NOW) == NOW
    assert enough_at((entry(HOUR, 0.1),), Limits(1, 0.2, 5), NOW) == NOW + DAY - HOUR


def test_runs_are_counted_for_each_person() -> None:
    spent = (entry(3 * HOUR, actor=7), entry(2 * HOUR, actor=9), entry(HOUR, actor=7), entry(60, actor=0))
    assert [runs_left(spent, who, LIMITS, NOW) for who in (7, 9, 8)] == [0, 1, 2]
    assert run_at(spent, 7, LIMITS, NOW) == NOW + DAY - 3 * HOUR
    assert run_at(spent, 9, LIMITS, NOW) == NOW


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.open(tmp_path / "state.json")
    yield opened
    opened.close()


def allowance(state: State, clock: VirtualClock, **given: Any) -> Allowance:
    wanted = {"max_runs_per_actor_day": 2, "daily_budget_usd": 10, "run_budget_usd": 5, **given}
    return Allowance(state, Settings(github_repo="acme/app", **wanted), clock)


def test_a_run_sets_its_budget_aside_and_gives_back_what_it_did_not_take(state: State) -> None:
    clock = VirtualClock()
    ours = allowance(state, clock)
    assert ours.take("1", ALICE, 5.0, counts=True) == 5.0
    assert ours.take("2", MALLORY, 7.0, counts=True) == 5.0, "no more than what is left"
    with pytest.raises(Exhausted) as reached:
        ours.take("3", MALLORY, 5.0, counts=True)
    assert (reached.value.for_all, reached.value.until) == (True, clock.now() + DAY)
    assert "$10" in str(reached.value)
    ours.settle("1", 0.25)
    assert ours.take("3", MALLORY, 5.0, counts=True) == 4.75
    ours.settle("probe", 0.01)
    assert sum(one.usd for one in state.spent) == pytest.approx(10.01)


def test_a_person_whose_runs_are_used_up_waits_and_others_do_not(state: State) -> None:
    clock = VirtualClock()
    ours = allowance(state, clock, daily_budget_usd=1000)
    begun = clock.now()
    for name in ("1", "2"):
        ours.take(name, MALLORY, 1.0, counts=True)
        clock.advance(HOUR)
    with pytest.raises(Exhausted, match="@mallory") as reached:
        ours.look(MALLORY)
    assert (reached.value.for_all, reached.value.until) == (False, begun + DAY)
    ours.look(ALICE)
    ours.look(None)
    ours.take("3", MALLORY, 1.0, counts=False)  # the rest of an earlier run
    ours.settle("2", 0.5, counts=False)  # it met an outage
    ours.take("4", MALLORY, 1.0, counts=True)
    with pytest.raises(Exhausted):
        ours.take("5", MALLORY, 1.0, counts=True)
    clock.advance(DAY - HOUR)
    ours.look(MALLORY)


def test_an_account_that_is_gone_is_a_person_too(state: State) -> None:
    ours = allowance(state, VirtualClock())
    ours.take("1", None, 1.0, counts=True)
    ours.take("2", None, 1.0, counts=True)
    with pytest.raises(Exhausted, match="account"):
        ours.take("3", None, 1.0, counts=True)


def test_the_limits_outlive_a_restart_and_old_entries_do_not_pile_up(tmp_path: Path) -> None:
    clock = VirtualClock()
    state = State.open(tmp_path / "state.json")
    allowance(state, clock).take("1", ALICE, 5.0, counts=True)
    state.close()
    state = State.open(tmp_path / "state.json")
    assert allowance(state, clock).take("2", ALICE, 9.0, counts=True) == 5.0
    with pytest.raises(Exhausted):
        allowance(state, clock).look(ALICE)
    clock.advance(DAY)
    allowance(state, clock).take("3", ALICE, 5.0, counts=True)
    assert [one.run_id for one in state.spent] == ["3"]
    state.close()


def test_two_threads_never_get_the_same_last_dollar(state: State) -> None:
    clock = VirtualClock()
    ours = allowance(state, clock, max_runs_per_actor_day=100)

    def take(number: int) -> float:
        try:
            return ours.take(str(number), ALICE, 1.0, counts=True)
        except Exhausted:
            return 0.0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(24))) == 10.0


def set_aside(house: House) -> list[tuple[float, int]]:
    """What stands for each run of the day: dollars, and whose run it is."""
    assert house.daemon is not None
    return [(one.usd, one.actor) for one in house.daemon.state.spent]


def breaks_off(house: House) -> None:
    """Until the first attempt to run the agent ended with an exception."""
    house.until(lambda: bool(house.jobs) and house.job("implement", 1).failures == 1)


@pytest.fixture
def poor(make_house: MakeHouse) -> House:
    """A house with money for three runs, where a day is no long row of polls."""
    return make_house(daily_budget_usd=1.8, run_budget_usd=0.6, poll_interval=300)


def test_what_was_set_aside_for_a_run_that_never_began_is_given_back(poor: House) -> None:
    issue = ready(poor)
    poor.options["max_runs_per_actor_day"] = 1
    poor.options["claude_command"] = stub("--sessions", str(poor.folder / "sessions"), "success")
    (poor.folder / "worktrees/acme/app/logs/issue-1-1.log.prompt").mkdir(parents=True)  # where a file is to be written
    breaks_off(poor)
    assert set_aside(poor) == [(0.6, poor.alice.id)], "only a log can tell that nothing was spent"
    poor.quiet()
    assert set_aside(poor) == [(0.0, 0), (0.0, 0), (0.25, poor.alice.id)], (
        "nor for the program that knew no such session"
    )
    assert [p.number for p in poor.repo.pulls] == [2]
    expect_pull(poor, issue)


def test_what_was_set_aside_for_a_run_that_could_not_be_written_down_is_given_back(poor: House) -> None:
    issue = ready(poor)
    logs = poor.folder / "worktrees/acme/app/logs"
    logs.parent.mkdir(parents=True)
    logs.touch()  # so that the run has no log
    breaks_off(poor)
    assert set_aside(poor) == [(0.0, 0)]
    logs.unlink()
    poor.quiet()
    assert set_aside(poor) == [(0.0, 0), (0.25, poor.alice.id)]
    expect_pull(poor, issue)


def unread(house: House, record: Record) -> Path:
    """The first run of the agent ends well, and cannot be read when it has ended; its log."""
    log = house.folder / "worktrees/acme/app/logs/issue-1-1.log"
    worked = f'"$@"; case "$*" in *" -p "*) [ -d {log}.stderr ] || {{ rm {log}.stderr && mkdir {log}.stderr; }};; esac'
    agent = shlex.split(stub("--record", str(record.file), "--sessions", str(house.folder / "sessions"), "success"))
    house.options["claude_command"] = shlex.join(["sh", "-c", worked, "sh", *agent])
    breaks_off(house)
    return log


@pytest.mark.parametrize("daily", [1.8, 0.6])
def test_what_was_set_aside_for_a_run_that_broke_off_stays_so_until_its_log_is_read(poor: House, daily: float) -> None:
    poor.options["daily_budget_usd"] = daily
    issue = ready(poor)
    begun, record = poor.clock.now(), Record(poor.folder / "record")
    unread(poor, record)
    assert set_aside(poor) == [(0.6, poor.alice.id)], "what it took is not read yet"
    poor.quiet()
    assert set_aside(poor) == [(0.25, poor.alice.id)]
    assert len(record.runs) == 1
    assert poor.clock.now() - begun < 3600, "it waits for no money"
    expect_pull(poor, issue)


def waits_for_money(house: House, log: Path) -> float:
    """The run of this log came to no result, and others took the money; when that is a day ago."""
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert house.daemon is not None
    others = Spent(house.clock.now(), "another", 1.8)
    house.daemon.state.spend(lambda spent: (*spent, others))
    house.until(lambda: house.job("implement", 1).continuations == 1)
    return others.at + DAY


def test_a_run_that_broke_off_is_read_once_and_then_waits_for_money_like_others(poor: House) -> None:
    issue = ready(poor)
    record = Record(poor.folder / "record")
    until = waits_for_money(poor, unread(poor, record))
    poor.clock.run_until(lambda: poor.clock.now() >= until - 600)
    assert len(record.runs) == 1
    assert poor.job("implement", 1).facts["resumed"] == 1
    poor.quiet()
    assert "--resume" in record.runs[1]["argv"]
    assert len(poor.repo.pulls) == 1
    expect_pull(poor, issue)


def test_nothing_is_set_up_for_a_run_that_there_is_no_money_for(poor: House) -> None:
    made, tree = poor.folder / "made", poor.folder / "worktrees/acme/app/issue-1"
    poor.options["setup_commands"] = (f"echo once >> {made}",)
    issue = ready(poor)
    log = unread(poor, Record(poor.folder / "record"))
    shutil.rmtree(tree)  # so that nobody can go on in it
    until = waits_for_money(poor, log)
    poor.clock.run_until(lambda: poor.clock.now() >= until - 600)
    assert made.read_text() == "once\n"
    poor.quiet()
    assert made.read_text() == "once\nonce\n"
    assert len(poor.repo.pulls) == 1
    expect_pull(poor, issue)
