"""All single crashes and all pairs, on several stages at a time.

Every single crash is a real one, at every point. Of the pairs those are run whose second crash leaves a world that no
run has gone on from yet: where it leaves the same GitHub, state file, mirror, worktrees and agent sessions as another
crash (times, costs and random names apart), the rest of the story is the same and is not told twice.
"""

from __future__ import annotations

import contextlib
import queue
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.crashes.points import Point
from tests.crashes.stage import Broken, Snapshot
from tests.crashes.trial import Bench, Golden, Verdict

Known = dict[str, int]  # worlds from which the story came to its good end, with the agent runs on the way there
Thing = TypeVar("Thing")
Told = TypeVar("Told")


@dataclass(frozen=True)
class Single:
    """What came of one crash, and the world that it left; `tail`: agent runs from there to the end."""

    verdict: Verdict
    world: str = ""
    tail: int = 0


@dataclass(frozen=True)
class Pairs:
    """What came of a second crash at each of `points` after a first one: told by a run, or by a world that is known."""

    world: str
    points: int = 0
    verdicts: tuple[Verdict, ...] = ()
    left_out: int = 0
    extra_runs: int = 0
    trouble: str = ""


@dataclass
class Tally:
    """The matrix as far as it has come."""

    golden: Golden
    stages: int
    singles: list[Single] = field(default_factory=list)
    pairs: list[Pairs] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def verdicts(self) -> list[Verdict]:
        """Of every run with a crash."""
        return [s.verdict for s in self.singles] + [v for p in self.pairs for v in p.verdicts]

    @property
    def worlds(self) -> Counter[str]:
        """The worlds that single crashes left, and how many left each."""
        return Counter(s.world for s in self.singles if s.world)

    def weighed(self, count: Callable[[Pairs], int]) -> int:
        """A sum over all first crashes; those that left one world share its run."""
        worlds = self.worlds
        return sum(worlds[p.world] * count(p) for p in self.pairs)

    @property
    def bad(self) -> list[str]:
        """Everything that is not as it should be."""
        extra = [f"{p.extra_runs} agent runs too many" for p in self.pairs if p.extra_runs > 2]
        return [str(v) for v in self.verdicts if not v.good] + [p.trouble for p in self.pairs if p.trouble] + extra


class Matrix:
    """The stages, for as long as the context of `matrix` is open."""

    def __init__(self, folder: Path, stages: int, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        first = Bench(Path(tempfile.mkdtemp(dir=folder)))
        self.tally = Tally(first.golden, stages)
        self._all = [first, *(Bench(Path(tempfile.mkdtemp(dir=folder)), first.golden) for _ in range(stages - 1))]
        for bench in self._all:
            self._benches.put(bench)

    def singles(self, points: Sequence[Point]) -> None:
        """One crash at each."""
        for found in self._each(_one, points):
            self.tally.singles.append(found)
            self._note([found.verdict])
            self._tell(f"{len(self.tally.singles)} of {len(points)} single crashes")

    def pairs(self, most: int, seed: int) -> None:
        """A second crash after each of the single ones; `most`: how many are run after one world at the most."""
        good = [s for s in self.tally.singles if s.verdict.good]
        known = {s.world: s.tail for s in good}
        firsts = {s.world: s.verdict.plan[0] for s in good}

        def two(bench: Bench, first: tuple[str, Point]) -> Pairs:
            return _two(bench, *first, known, most, seed)

        for found in self._each(two, firsts.items()):
            self.tally.pairs.append(found)
            self._note(found.verdicts)
            runs = sum(len(p.verdicts) for p in self.tally.pairs)
            self._tell(f"second crashes after {len(self.tally.pairs)} of {len(firsts)} worlds, {runs} of them run")

    def _each(self, work: Callable[[Bench, Thing], Told], things: Iterable[Thing]) -> Iterator[Told]:
        def on_a_bench(thing: Thing) -> Told:
            bench = self._benches.get()
            try:
                return work(bench, thing)
            finally:
                self._benches.put(bench)

        began = time.monotonic()
        with ThreadPoolExecutor(self.tally.stages) as pool:
            for future in as_completed([pool.submit(on_a_bench, thing) for thing in things]):
                yield future.result()
        self.tally.seconds += time.monotonic() - began

    def _note(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if not verdict.good:
                self._tell(str(verdict))

    def close(self) -> None:
        for bench in self._all:
            bench.close()


def _one(bench: Bench, point: Point) -> Single:
    """One crash, and on to the end."""
    try:
        after = bench.crash(point)
        if after is None:
            return Single(bench.judged((point,), 0))
        with after:
            world, before = bench.stage.traces(), bench.runs
            return Single(bench.go_on(after, point), world, bench.runs - before)
    except Broken as broken:
        return Single(Verdict((point,), 1, trouble=str(broken)))


def _two(bench: Bench, world: str, first: Point, known: Known, most: int, seed: int) -> Pairs:
    """After this crash, a second one at every point of the run that goes on."""
    try:
        after = bench.crash(first)
        if after is None:
            return Pairs(world, trouble=f"{first}: the daemon did not come by again")
        with after:
            return _all_seconds(bench, after, first, world, known, most, seed)
    except Broken as broken:
        return Pairs(world, trouble=f"{first}: {broken}")


def _all_seconds(bench: Bench, after: Snapshot, first: Point, world: str, known: Known, most: int, seed: int) -> Pairs:
    ahead = bench.look_ahead(after)
    usual = sum(bench.golden.runs.values())
    verdicts: list[Verdict] = []
    extra = left_out = 0
    for there in random.Random(f"{seed} {first}").sample(ahead, len(ahead)):
        if (tail := known.get(there.world)) is not None:
            extra = max(extra, there.runs + tail - usual)
        elif len(verdicts) >= most:
            left_out += 1
        else:
            verdict, left, tail = _second(bench, after, first, there.point)
            verdicts.append(verdict)
            if verdict.good and left:
                known[left] = tail
    return Pairs(world, len(ahead), tuple(verdicts), left_out, extra)


def _second(bench: Bench, after: Snapshot, first: Point, point: Point) -> tuple[Verdict, str, int]:
    """The verdict, the world that the second crash left ("" when there was none), the agent runs after it."""
    try:
        again = bench.crash(point, after)
        if again is None:
            return bench.judged((first, point), 1), "", 0
        with again:
            left, before = bench.stage.traces(), bench.runs
            return bench.go_on(again, first, point), left, bench.runs - before
    except Broken as broken:
        return Verdict((first, point), 2, trouble=str(broken)), "", 0


@contextlib.contextmanager
def matrix(stages: int, tell: Callable[[str], object] = lambda _: None) -> Iterator[Matrix]:
    """A matrix in a folder of its own, in memory where the system offers that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="crashes-", dir=memory if memory.is_dir() else None) as folder:
        made = Matrix(Path(folder), stages, tell)
        try:
            yield made
        finally:
            made.close()
