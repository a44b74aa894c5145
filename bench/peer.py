"""Scenario 17: the nearest peer, from a checkout that is given as a path; nothing of it is kept here."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.crowd import Crowd
from bench.house import ROOT
from bench.measure import Bench, Broken, Pairs, Row, count_row, in_turns, ratio_row, spread, timed
from bench.memory import file_of, job
from orchestrator.state import State

CARD = "bench-peer.json"  # in the checkout: the commands by which it is measured, see README.md
ITEMS = 1000


def against(bench: Bench) -> Iterator[Row]:
    """Only with `--peer-checkout`; what the card does not tell is not run."""
    if bench.peer is None:
        bench.say("not run: no --peer-checkout")
        return
    card: dict[str, str] = json.loads((bench.peer / CARD).read_text())
    yield from _help(bench, bench.peer, card)
    if "tick" in card:
        yield from _tick(bench, bench.peer, card)
    if "state" in card:
        yield from _state(bench, bench.peer, card)


def _help(bench: Bench, peer: Path, card: dict[str, str]) -> Iterator[Row]:
    ours = [sys.executable, "-m", "orchestrator", "--help"]
    pairs = in_turns(
        bench.either(15, 5),
        lambda: timed(lambda: _call(ours, bench.folder, {})),
        lambda: timed(lambda: _call(shlex.split(card["help"]), peer, {})),
    )
    yield ratio_row("peer.help", "--help beside the peer's", pairs, "ms", 1000)


def _tick(bench: Bench, peer: Path, card: dict[str, str]) -> Iterator[Row]:
    """The peer's command polls as often as it is told and writes the CPU seconds of one poll, and the items it saw."""
    with Crowd(bench.folder / "crowd", ITEMS) as crowd:
        for issue in crowd.repos[0].issues:
            crowd.alice.labels(issue, "wanted")
        crowd.fresh("daemon")
        crowd.poll(3)
        seen: list[int] = []
        told = {"API": crowd.still.url, "TOKEN": str(crowd.settings["github_token"]), "LABEL": "wanted", "TICKS": "20"}

        def floor() -> float:
            cpu, items = _call(shlex.split(card["tick"]), peer, {**told, "REPO": "acme/r0"}).split()[-2:]
            seen.append(int(items))
            return float(cpu)

        pairs = in_turns(bench.either(5, 2), lambda: float(crowd.poll(20)["cpu"]) / 20, floor)
        issues = len(crowd.repos[0].issues)
    yield ratio_row("peer.tick", f"CPU of an idle poll, {ITEMS:,} items", pairs, "ms", 1000)
    yield count_row("peer.seen", f"items that the peer sees of {issues}; scenario 5 says what we do", seen[-1])


def _state(bench: Bench, peer: Path, card: dict[str, str]) -> Iterator[Row]:
    """The peer's command fills its state with COUNT items in FILE and writes the seconds of one update."""
    for count in bench.either([1000, 10_000], [1000]):
        path = bench.folder / f"{count}.json"
        file_of(path, count)
        opened = State.open(path)

        def floor(count: int = count) -> float:
            told = {"COUNT": str(count), "FILE": str(bench.folder / f"peer-{count}.json")}
            return float(_call(shlex.split(card["state"]), peer, told).split()[-1])

        def ours(opened: State = opened) -> float:
            return spread([timed(lambda: opened.put(job(1))) for _ in range(5)]).median

        pairs: Pairs = in_turns(bench.either(5, 2), ours, floor)
        opened.close()
        yield ratio_row("peer.state", f"state update among {count:,} items", pairs, "ms", 1000)


def _call(argv: list[str], folder: Path, more: dict[str, Any]) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "GITHUB_REPO": "acme/app"}
    done = subprocess.run(
        argv, cwd=folder, env={**environ, **more}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise Broken(f"{shlex.join(argv)}: {done.stderr[-1000:]}")
    return done.stdout
