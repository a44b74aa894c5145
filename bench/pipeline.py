"""Scenarios 1 and 2: from a label to a pull request, and from a label to a working agent."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.house import CHILDREN, House, child
from bench.measure import Bench, Row, count_row, in_turns, ratio_row, spread
from bench.shell import Shell
from orchestrator.settings import Settings

POLLS = ("GET issues", "GET pulls", "GET issues/comments")
CALM_POLL = 1.0  # seconds: the moment of the look is stamped, so that polls need not be in the way


def pipeline(bench: Bench) -> Iterator[Row]:
    """One item with a scripted agent, label seen -> pull request open, beside a shell script that does the same."""
    sizes = bench.either([("small", 1000), ("large", 20_000)], [("small", 200)])
    for goal, files in sizes:
        bench.say(f"{files} files")
        with House(bench.folder / goal, files, poll_interval=CALM_POLL) as house:
            shell, cpu = Shell(house), list[float]()
            house.start()
            pairs = in_turns(min(5, bench.pairs), partial(_item, house, cpu), partial(_by_hand, shell))
            (requests, writes), peak = _requests(house), house.peak()
        what = f"label seen -> PR open, {files:,} files"
        yield ratio_row(f"pipeline.{goal}", what, pairs, "ms", 1000)
        own = [seconds * 1000 for seconds in cpu[1:]]
        what, found = f"our CPU per item, {files:,} files", statistics.median(own)
        yield Row("pipeline.cpu", what, found, f"{found:.0f} ms", spread(own), unit="ms", detail={"peak_mb": peak})
        yield count_row("pipeline.writes", f"writes to GitHub per item, of {requests} requests", writes)
    yield from _sandbox(bench)


def _item(house: House, cpu: list[float]) -> float:
    """Seconds for one item; its CPU is added to the list. The next one begins when all of this one is over."""
    opened = house.opened()
    _, seen = house.label()
    with house.explained():
        opened.await_("the pull request")
    house.settle()
    cpu.append(opened.cpu - seen.cpu)
    return opened.at - seen.at


def _by_hand(shell: Shell) -> float:
    name = shell.name()
    seconds = shell.run("item.sh", name)
    shell.tidy(name)
    return seconds


def _requests(house: House) -> tuple[int, int]:
    """What one more item asks of GitHub's API, polls apart: all of it, and what changes something."""
    before = len(house.twin.journal.exchanges)
    _item(house, [])
    asked = [e for e in house.twin.journal.exchanges[before:] if not e.git and e.short not in POLLS]
    return len(asked), sum(e.changes for e in asked)


def _sandbox(bench: Bench) -> Iterator[Row]:
    """The same item with the agent behind walls, beside the one without."""
    walls: dict[str, Any] = {"sandbox": "auto"}
    if "toolchain_paths" in Settings.model_fields:
        walls["toolchain_paths"] = f'["{CHILDREN}", "{sys.prefix}", "{sys.base_prefix}"]'
    files = bench.either(1000, 200)
    with (
        House(bench.folder / "walls", files, poll_interval=CALM_POLL, **walls) as inside,
        House(bench.folder / "open", files, poll_interval=CALM_POLL) as outside,
    ):
        inside.start()
        outside.start()
        pairs = in_turns(bench.pairs, lambda: _item(inside, []), lambda: _item(outside, []))
    ours, floor = spread([s * 1000 for s in pairs.ours]), spread([s * 1000 for s in pairs.floor])
    what = f"the same with SANDBOX=auto, {files:,} files"
    yield Row("pipeline.sandbox", what, pairs.excess * 1000, f"{pairs.excess * 1000:+.0f} ms", ours, floor, "ms")


def label_to_spawn(bench: Bench) -> Iterator[Row]:
    """Label visible -> agent process started, with a warm clone; beside fetch and `worktree add` alone."""
    files = bench.either(1000, 200)
    stamps = bench.folder / "stamps"
    agent = child("agent", "--stamp", str(stamps))
    awaited: list[int] = []
    with House(bench.folder / "house", files, poll_interval=CALM_POLL, claude_command=agent) as house:
        shell, written = Shell(house), list[float]()
        house.start()
        house.on_write(lambda: written.append(time.monotonic()))

        def ours() -> float:
            opened = house.opened()
            _, seen = house.label()
            with house.explained():
                opened.await_("the pull request")
            house.settle()
            started = float(stamps.read_text().splitlines()[-1])
            awaited.append(sum(seen.at < at < started for at in written))
            return started - seen.at

        pairs = in_turns(bench.pairs, ours, lambda: _begin_by_hand(shell))
    ours_ms, floor_ms = spread([s * 1000 for s in pairs.ours]), spread([s * 1000 for s in pairs.floor])
    excess = pairs.excess * 1000
    what = f"label visible -> agent started, {files:,} files"
    yield Row("spawn.excess", what, excess, f"{excess:+.0f} ms", ours_ms, floor_ms, "ms")
    # Here they cost next to nothing; github.com asks for a second between two of them.
    yield count_row("spawn.writes", "GitHub writes awaited before it starts", statistics.median(awaited))


def _begin_by_hand(shell: Shell) -> float:
    name = shell.name()
    seconds = shell.run("begin.sh", name)
    shell.tidy(name)
    return seconds
