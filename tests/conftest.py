"""Fixtures: the house with strict bookkeeping; and the end of a run, which says what was not run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.house import House
from tests.needs import left_out

MakeHouse = Callable[..., House]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was not run, and how it can be."""
    skipped = (report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", []))
    if lines := list(left_out(skipped)):
        terminalreporter.section("not run", sep="-")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the machine reaches a test, and no test's leases reach the machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "GH_", "ANTHROPIC_", "CLAUDE_", "GIT_")):
            monkeypatch.delenv(name)


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    """Houses that end with the test, which fails when one did something that the test did not expect."""
    houses: list[House] = []

    def make(**settings: Any) -> House:
        house = House(tmp_path / f"house-{len(houses)}", **settings)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.close()
    for house in houses:
        house.check_claims()


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    """The usual house."""
    return make_house()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """What is logged during the test, as it comes."""
    with capture_logs() as seen:
        yield seen
