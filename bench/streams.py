"""Scenarios 11 to 13: one agent that writes a gigabyte, 32 that talk at once, and 32 families that are killed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench.house import ROOT, child
from bench.measure import Bench, Broken, Pairs, Row, count_row, in_turns, ratio_row, spread, timed, until
from orchestrator.clock import Stop
from orchestrator.process import Limits, run

GRACE = 1.0  # seconds between SIGTERM and SIGKILL


def firehose(bench: Bench) -> Iterator[Row]:
    """Stream JSON with lines of 5 MB among it; beside the same child with its output redirected to a file."""
    size = bench.either(1_000_000_000, 60_000_000)
    results: list[dict[str, Any]] = []

    def ours() -> float:
        results.append(_read(bench.folder, "ours", "firehose", size))
        return float(results[-1]["seconds"])

    def floor() -> float:
        target = bench.folder / "redirected"
        with target.open("wb") as file:
            command = shlex.split(child("firehose", str(size)))
            seconds = timed(lambda: subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True))
        target.unlink()
        return seconds

    pairs = in_turns(bench.either(5, 2), ours, floor)
    rates, bare = [size / s / 1e6 for s in pairs.ours], [size / s / 1e6 for s in pairs.floor]
    rate = statistics.median(rates)
    what = f"{size / 1e6:,.0f} MB from one agent"
    yield Row("firehose.rate", what, rate, f"{rate:.0f} MB/s", spread(rates), spread(bare), "MB/s")
    more = statistics.median(r["more_mb"] for r in results)
    yield Row("firehose.memory", "memory above the beginning, at most", more, f"{more:+.1f} MB")
    yield count_row("firehose.lost", "lines and bytes lost", sum(r["lost"] for r in results))


def storm(bench: Bench) -> Iterator[Row]:
    """32 agents, 1,000 lines a second each; beside a plain threaded reader of the same agents."""
    agents, rate, seconds = bench.either((32, 1000, 10), (8, 250, 1))
    results: list[dict[str, Any]] = []

    def ours() -> float:
        results.append(_read(bench.folder, "ours", "storm", agents, rate, seconds))
        return float(results[-1]["cpu"])

    def floor() -> float:
        return float(_read(bench.folder, "plain", "storm", agents, rate, seconds)["cpu"])

    pairs = in_turns(bench.either(5, 2), ours, floor)
    lines = agents * rate * seconds
    each = Pairs([s / lines for s in pairs.ours], [s / lines for s in pairs.floor])
    yield ratio_row("storm.cpu", f"CPU per line, {agents} agents x {rate:,} lines/s, {seconds} s", each, "us", 1e6)
    late = statistics.median(r["p99_ms"] for r in results)
    yield Row("storm.late", "99 of 100 lines handled within", late, f"{late:.1f} ms")
    jitter = statistics.median(r["jitter_ms"] for r in results)
    yield Row("storm.jitter", "a waiting thread wakes late by at most", jitter, f"{jitter:.1f} ms")
    yield count_row("storm.lost", "lines lost", sum(r["lost"] for r in results))


def _read(folder: Path, how: str, what: str, *numbers: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.reader", how, what, str(folder), *map(str, numbers)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Broken(f"{how} {what}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def kill_tree(bench: Bench) -> Iterator[Row]:
    """Stopped while a leader ignores SIGTERM and a child has a session of its own; beside killpg of plain groups."""
    left: list[int] = []
    for goal, families in (("kill.one", 1), ("kill.many", bench.either(32, 8))):
        folder = bench.folder / goal
        folder.mkdir()
        pairs = in_turns(bench.either(5, 2), partial(_stopped, folder, families, left), partial(_killed, families))
        over = [(s - GRACE) * 1000 for s in pairs.ours]
        above = statistics.median(over)
        plain = spread([s * 1000 for s in pairs.floor])
        what = f"{families} families of 4, from the stop to the last death, over grace"
        yield Row(goal, what, above, f"{above:+.0f} ms", spread(over), plain, "ms")
    yield count_row("kill.left", "processes left", len(left))


def _stopped(folder: Path, families: int, left: list[int]) -> float:
    """Seconds from the stop until every run has returned; whoever lives then is added to `left`."""
    stop, pids = Stop(), list[int]()
    limits = Limits(total=120.0, grace=GRACE)

    def one(number: int) -> None:
        run(
            shlex.split(child("family")),
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            run_id=str(uuid.uuid4()),
            output=folder / f"{number}.log",
            errors=None,
            limits=limits,
            stop=stop,
            on_line=lambda line: pids.extend(int(word) for word in line.split()),
        )

    threads = [threading.Thread(target=one, args=(number,)) for number in range(families)]
    for thread in threads:
        thread.start()
    until(lambda: len(pids) == 4 * families, "the families")
    began = time.monotonic()
    stop.set("measured")
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    left += [pid for pid in pids if _lives(pid)]
    return seconds


def _killed(families: int) -> float:
    """Seconds for SIGKILL to as many plain groups of four, until the leaders are reaped."""
    command = ["sh", "-c", "sleep 300 & sleep 300 & sleep 300 & echo ready; wait"]
    leaders = [
        subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(families)
    ]
    for leader in leaders:
        assert leader.stdout is not None
        leader.stdout.readline()

    def kill() -> None:
        for leader in leaders:
            os.killpg(leader.pid, signal.SIGKILL)
        for leader in leaders:
            leader.communicate()

    return timed(kill)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
