"""Scenario 15: twenty quiet repositories, 10,000 polls: what the daemon holds on to."""

from __future__ import annotations

from collections.abc import Iterator

from bench.crowd import Crowd
from bench.measure import Bench, Row, Spread, count_row

REPOS = 20
ITEMS = 30
SAMPLES = 10
STEP = 60.0  # virtual seconds between two rounds, as in a day's work


def soak(bench: Bench) -> Iterator[Row]:
    """A poll is one look at one repository; a round looks at all of them."""
    polls = bench.either(10_000, 600)
    with Crowd(bench.folder / "crowd", ITEMS, REPOS) as crowd:
        crowd.fresh("daemon")
        crowd.poll(60 // REPOS, STEP)
        bench.say(f"{polls} polls of {REPOS} repositories")
        warm = crowd.tell("look")
        requests, cpu, memory, files = 0, 0.0, [warm["memory"]], [warm["files"]]
        for _ in range(SAMPLES):
            found = crowd.poll(polls // REPOS // SAMPLES, STEP)
            requests += len(found["asked"])
            cpu += found["cpu"]
            now = crowd.tell("look")
            memory.append(now["memory"])
            files.append(now["files"])
    grown = (memory[-1] - memory[0]) * 10_000 / polls
    held = Spread(memory[-1], min(memory), max(memory), len(memory))
    imported = Spread(warm["imported"], warm["imported"], warm["imported"], 1)
    ratio = memory[-1] / warm["imported"]
    what = f"memory after {polls:,} idle polls of {REPOS} repos"
    yield Row("soak.memory", what, ratio, f"{ratio:.2f}x", held, imported, "MB")
    yield Row("soak.growth", "growth of it per 10,000 polls", grown, f"{grown:+.2f} MB", detail={"memory": memory})
    per = cpu / requests * 1000
    yield Row("soak.cpu", "CPU per request", per, f"{per:.2f} ms", detail={"requests": requests})
    yield count_row("soak.files", "open files more than at the beginning", max(files) - files[0], files=files)
