"""Scenario 18: the start of a program behind the walls of the sandbox, beside the same program without."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
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
    for goal, what, hosts in (("walls.command", "start a command", ()), ("walls.agent", "start an agent", (MODEL,))):
        pairs = in_turns(
            bench.either(100, 20),
            partial(_started, sandbox, bench.folder, hosts),
            partial(_started, OPEN, bench.folder, ()),
        )
        more = [(ours - floor) * 1000 for ours, floor in zip(pairs.ours, pairs.floor, strict=True)]
        late = statistics.quantiles(more, n=20)[-1]
        ours, floor = spread([s * 1000 for s in pairs.ours]), spread([s * 1000 for s in pairs.floor])
        yield Row(goal, f"{what} behind the walls, {account}, p95", late, f"{late:+.1f} ms", ours, floor, "ms")


def _started(sandbox: Sandbox, folder: Path, hosts: Sequence[str]) -> float:
    """Seconds until the program has ended, with what is made for it before."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "home")}

    def call() -> None:
        gate = held.enter_context(Egress(hosts, {})) if hosts else None
        argv, inside = sandbox.wrap([PROGRAM], folder, environ, Walls(write=(folder,), gate=gate))
        subprocess.run(argv, cwd=folder, env=inside, stdin=subprocess.DEVNULL, check=True)

    with ExitStack() as held:
        return timed(call)
