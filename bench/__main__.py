"""`python -m bench`: run the scenarios, print the table, write JSON and plots. Exit 1 only when a scenario broke."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.goals import GOALS
from bench.measure import Bench, Row
from bench.page import page
from bench.plot import plot
from bench.scenarios import SCENARIOS, Scenario
from bench.table import summary, table, verdict

Rows = list[tuple[str, Row]]


def main(argv: Sequence[str], scenarios: Sequence[Scenario] = SCENARIOS) -> int:
    """The exit code."""
    options = _options(argv, [scenario.name for scenario in scenarios])
    chosen = [s for s in scenarios if not options.only or s.name in options.only]
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-", dir=options.folder))
    began = time.monotonic()
    try:
        found, stolen = machine.look(folder), machine.Stolen()
        _say(", ".join(f"{key} {value}" for key, value in found.facts.items()))
        rows, broken = _run(chosen, folder, options)
        warnings = found.warnings + stolen.warnings()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    _write(table(rows))
    for sentence in warnings:
        _write(f"! {sentence}")
    for name, trouble in broken.items():
        _write(f"BROKEN {name}: {trouble}")
    _write(f"{summary(rows)}, {len(broken)} scenarios broken, {seconds:.0f} s")
    if options.json:
        about = {"date": time.strftime("%Y-%m-%d"), "command": ["python", "-m", "bench", *argv], "seconds": seconds}
        document = {**about, **found.facts, "warnings": warnings, "broken": broken, "rows": [_plain(*r) for r in rows]}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.page:
        command = " ".join(["python -m bench", *argv])
        text = page(rows, found.facts, time.strftime("%Y-%m-%d"), command, warnings)
        options.page.write_text(text, encoding="utf-8")
    if options.svg:
        _plots(options.svg, rows)
    return 1 if broken else 0


def _options(argv: Sequence[str], names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the program costs, beside its floors.")
    parser.add_argument("--quick", action="store_true", help="fewer pairs and smaller N, under two minutes")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table as Markdown to this file")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="write a plot for each growth scenario")
    parser.add_argument("--folder", type=Path, help="work in this folder, and so on its file system")
    parser.add_argument("--peer-checkout", type=Path, metavar="PATH", help="a checkout of the nearest peer")
    return parser.parse_args(argv)


def _run(chosen: Sequence[Scenario], folder: Path, options: argparse.Namespace) -> tuple[Rows, dict[str, str]]:
    """The rows, and why a scenario broke, by name."""
    rows: Rows = []
    broken: dict[str, str] = {}
    for scenario in chosen:
        place, began = folder / scenario.name, time.monotonic()
        place.mkdir()
        _say(f"{scenario.number} {scenario.name} ...")
        bench = Bench(place, options.quick, lambda text: _say(f"   {text}"), options.peer_checkout)
        try:
            for row in scenario.run(bench):
                rows.append((scenario.name, row))
                _say(f"   {row.what}: {row.shown} {verdict(row)}")
        except Exception as trouble:  # noqa: BLE001 - told at the end; the others go on
            broken[scenario.name] = f"{type(trouble).__name__}: {trouble}"
            _say(traceback.format_exc())
        _say(f"   {time.monotonic() - began:.1f} s")
        shutil.rmtree(place, ignore_errors=True)
    return rows, broken


def _plain(name: str, row: Row) -> dict[str, Any]:
    goal = GOALS[row.goal]
    met = goal.met(row.figure) if goal.is_wish else None
    return {"scenario": goal.scenario, "name": name, **asdict(row), "wanted": goal.words, "met": met}


def _plots(folder: Path, rows: Rows) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in rows:
        if row.series:
            picture = plot(f"{name}: {row.what}", row.unit, row.series)
            (folder / f"{row.goal}.svg").write_text(picture, encoding="utf-8")


def _say(text: str) -> None:
    """How far it is; the table alone goes to stdout."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: everything is ended and removed
    sys.exit(main(sys.argv[1:]))
