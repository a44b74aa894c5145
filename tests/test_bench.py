"""The benchmark's own arithmetic, its table, plot and exit code, and one tiny scenario; no figure is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import main
from bench.goals import GOALS
from bench.measure import Bench, Pairs, Row, in_turns, slope, slope_row, spread
from bench.memory import updates
from bench.plot import plot
from bench.scenarios import SCENARIOS, Scenario
from bench.table import summary, table, verdict

ROOT = Path(__file__).resolve().parent.parent


def test_pairs_keep_together_what_was_measured_together() -> None:
    pairs = Pairs([2.0, 40.0, 3.0], [1.0, 10.0, 2.0])
    assert pairs.ratio == 2.0  # of 2, 4 and 1.5; the ratio of the medians would be 1.5
    assert pairs.excess == 1.0
    assert spread(pairs.ours).median == 3.0


def test_samples_are_taken_in_turns_after_one_warm_up_of_each() -> None:
    calls: list[str] = []

    def sample(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    pairs = in_turns(2, lambda: sample("A"), lambda: sample("B"))
    assert calls == ["B", "A", "B", "A", "B", "A"]
    assert pairs == Pairs([4.0, 6.0], [3.0, 5.0])


@pytest.mark.parametrize(("power", "points"), [(0, [5.0, 5.0, 5.0]), (1, [1.0, 10.0, 100.0]), (2, [3.0, 300.0, 3e4])])
def test_the_slope_is_the_exponent_of_growth(power: int, points: list[float]) -> None:
    assert slope(list(zip([10.0, 100.0, 1000.0], points, strict=True))) == pytest.approx(power)


def test_the_plot_is_well_formed_and_every_point_lies_in_it() -> None:
    series = {"a <poll>": [(10.0, 0.5), (100.0, 0.6), (1000.0, 4.0)], "floor": [(10.0, 0.4), (1000.0, 0.4)]}
    picture = ElementTree.fromstring(plot("polls & floors", "ms", series))
    dots = [node.attrib for node in picture.iter() if node.tag.endswith("circle")]
    assert len(dots) == 5
    assert all(0 <= float(dot["cx"]) <= 640 and 0 <= float(dot["cy"]) <= 400 for dot in dots)
    assert float(dots[0]["cy"]) > float(dots[2]["cy"])  # more is higher up


def test_the_table_shows_each_goal_and_whether_it_is_met() -> None:
    good = Row("cli.help", "--help", 5.0, "5.00x", spread([0.1]), spread([0.02]), "ms")
    bad = Row("fanout.rate", "items", 0.5, "0.50x")
    told = slope_row("state.slope", "growth", {"update": [(10.0, 1.0), (100.0, 10.0)]}, "ms")
    rows = [("cli_cold", good), ("fanout", bad), ("state_update", told)]
    assert [verdict(row) for _, row in rows] == ["met", "MISSED", ""]
    lines = table(rows).splitlines()
    assert lines[2].split("  ")[0] == "14 cli_cold"
    assert GOALS["cli.help"].words in lines[2]
    assert lines[3].endswith("MISSED")
    assert "slope +1.00" in lines[4]
    assert summary(rows) == "1 goals met, 1 missed"


def test_the_readme_quotes_a_run_of_all_scenarios() -> None:
    results = (ROOT / "bench/results.md").read_text(encoding="utf-8")
    quoted = re.search(r"<!-- costs -->\n(.*?)\n<!-- /costs -->", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert quoted is not None, "the README has no section between <!-- costs --> and <!-- /costs -->"
    assert quoted[1] == results.strip(), "run `make settings` after `python -m bench --page bench/results.md`"
    assert {int(n) for n in re.findall(r"^\| (\d+) ", results, re.MULTILINE)} >= {*range(1, 17), 18}


def test_every_goal_belongs_to_a_scenario() -> None:
    assert [scenario.number for scenario in SCENARIOS] == list(range(1, 19))
    assert {goal.scenario for goal in GOALS.values()} == set(range(1, 19))


def test_a_real_scenario_yields_rows_with_a_floor(tmp_path: Path) -> None:
    row = next(updates(Bench(tmp_path, quick=True, say=lambda text: None)))
    assert row.goal == "state.update"
    assert row.ours is not None
    assert row.floor is not None
    assert row.ours.median > 0 < row.floor.median
    assert row.figure > 0


def test_only_a_scenario_that_breaks_makes_it_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def missed(bench: Bench) -> Iterator[Row]:
        yield slope_row("idle.slope", "grows", {"poll": [(10.0, 1.0), (100.0, 9.0)]}, "ms")

    def breaks(bench: Bench) -> Iterator[Row]:
        yield Row("cli.help", "--help", 1.0, "1.00x")
        raise OSError("no more")

    files = ["--json", str(tmp_path / "a.json"), "--svg", str(tmp_path / "svg"), "--page", str(tmp_path / "a.md")]
    options = ["--quick", "--folder", str(tmp_path), *files]
    assert main(options, [Scenario(3, "tick_idle", missed)]) == 0
    assert "MISSED" in capsys.readouterr().out
    assert main(options, [Scenario(3, "tick_idle", missed), Scenario(14, "cli_cold", breaks)]) == 1
    assert "BROKEN cli_cold: OSError: no more" in capsys.readouterr().out
    written = json.loads((tmp_path / "a.json").read_text())
    assert [row["met"] for row in written["rows"]] == [False, True]
    assert (tmp_path / "svg" / "idle.slope.svg").exists()
    paper = (tmp_path / "a.md").read_text()
    assert re.search(r"^\| 14 cli_cold \| --help \| .* \| met \|$", paper, re.MULTILINE)
    assert "1 goals met, 1 missed" in paper
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("orchestrator-bench-")] == []
