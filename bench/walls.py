"""Scenario 18: the start of a program behind the walls of the sandbox, beside the same program without."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measure import Bench, Row, in_turns, spread, timed
from orchestrator.egress import Egress
from orchestrator.sandbox import OPEN, Sandbox, Walls, choose

PROGRAM = shutil.which("true") or "true"
MODEL = "https://api.model.test"  # allowed, never called


def start(bench: Bench) -> Iterator[Row]:
    """From the wish to the exit: as a set-up command is started, and as an agent is, with a way out to its model."""
    sandbox = choose("auto", ())
    account = "root" if os.geteuid() == 0 else "an ordinary account"
    with Egress([MODEL], {}) as gate:
        for goal, what, walls in (
            ("walls.command", "start a command", Walls(write=(bench.folder,))),
            ("walls.agent", "start an agent", Walls(write=(bench.folder,), gate=gate)),
        ):
            pairs = in_turns(
                bench.either(100, 20),
                partial(_started, sandbox, bench.folder, walls),
                partial(_started, OPEN, bench.folder, walls),
            )
            more = [(ours - floor) * 1000 for ours, floor in zip(pairs.ours, pairs.floor, strict=True)]
            late = statistics.quantiles(more, n=20)[-1]
            ours, floor = spread([s * 1000 for s in pairs.ours]), spread([s * 1000 for s in pairs.floor])
            yield Row(goal, f"{what} behind the walls, {account}, p95", late, f"{late:+.1f} ms", ours, floor, "ms")


def _started(sandbox: Sandbox, folder: Path, walls: Walls) -> float:
    """Seconds until the program has ended."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "home")}

    def call() -> None:
        argv, inside = sandbox.wrap([PROGRAM], folder, environ, walls)
        subprocess.run(argv, cwd=folder, env=inside, stdin=subprocess.DEVNULL, check=True)

    return timed(call)
