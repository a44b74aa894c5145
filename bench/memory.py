"""Scenario 9: a durable change of the state file and its reading, beside the bare minimum for the same bytes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.durable import write_durably
from bench.measure import Bench, Points, Row, in_turns, ratio_row, slope_row, spread, timed
from orchestrator import state
from orchestrator.record import Job, Kind, Status
from orchestrator.state import State
from orchestrator.statefile import Content


def job(number: int) -> Job:
    """A record as a run leaves it, of about 1.5 KB."""
    return Job(
        repo="acme/app",
        kind=Kind.IMPLEMENT,
        number=number,
        trigger=str(10_000_000 + number),
        status=Status.WAITING,
        phase="run",
        title=f"Greet the people of place {number} when they come in",
        asked_by="alice",
        branch=f"feature/issue-{number}",
        head="0123456789abcdef0123456789abcdef01234567",
        base="89abcdef0123456789abcdef0123456789abcdef",
        base_ref="main",
        session_id=str(uuid.UUID(int=number)),
        run_id=f"12345678-{uuid.UUID(int=number).hex}",
        log=f"/var/lib/orchestrator/worktrees/acme/app/logs/issue-{number}-1.log",
        cost_usd=0.25,
        turns=12,
        summary="Added a greeting with a test. " * 8,
        started_at=1_790_000_000.0,
        updated_at=1_790_000_100.0,
        effects={"sticky": 5_000_000 + number, f"busy-{number}": True, f"unready-{number}": True},
        facts={"start": "89abcdef0123456789abcdef0123456789abcdef", "label_seen": 1_790_000_000.0, "left": "cut"},
    )


def file_of(path: Path, count: int) -> None:
    """A state file with so many live items."""
    jobs = {one.key: one for one in map(job, range(1, count + 1))}
    path.write_bytes(Content(jobs=jobs).encoded())
    path.chmod(0o600)


def _plainly(path: Path) -> object:
    return json.loads(path.read_bytes())


def updates(bench: Bench) -> Iterator[Row]:
    """One changed record, on the disk when the call returns; one reading of the whole file."""
    ours_by_n: Points = []
    floor_by_n: Points = []
    for count in bench.sizes:
        path, bare = bench.folder / f"{count}.json", bench.folder / f"{count}.bare"
        file_of(path, count)
        content = path.read_bytes()
        opened = State.open(path)
        turns = iter(range(1_000_000))

        def ours(opened: State = opened, turns: Iterator[int] = turns) -> float:
            changed = replace(job(1), turns=next(turns))
            return timed(lambda: opened.put(changed))

        def floor(bare: Path = bare, content: bytes = content) -> float:
            return timed(lambda: write_durably(bare, content))

        pairs = in_turns(bench.either(25, 9), ours, floor)
        opened.close()
        ours_by_n.append((count, spread(pairs.ours).median * 1000))
        floor_by_n.append((count, spread(pairs.floor).median * 1000))
        goal = "state.update.huge" if count > 1000 else "state.update"
        size = len(content) / 1000
        yield ratio_row(goal, f"durable update among {count:,} items", pairs, "ms", 1000, kilobytes=size)
        loads = in_turns(
            bench.either(9, 5),
            partial(timed, partial(state.read, path)),
            partial(timed, partial(_plainly, path)),
        )
        yield ratio_row("state.load", f"load {count:,} items", loads, "ms", 1000)
    series = {"update": ours_by_n, "bare atomic write": floor_by_n}
    yield slope_row("state.slope", "durable update among N items", series, "ms")
