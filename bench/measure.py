"""Samples, pairs, ratios and slopes; time and CPU of other processes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
Points = list[tuple[float, float]]  # (N, figure)


@dataclass(frozen=True)
class Spread:
    """What a series of samples came to."""

    median: float
    low: float
    high: float
    count: int


def spread(samples: Sequence[float]) -> Spread:
    """Median, least and most of at least one sample."""
    return Spread(statistics.median(samples), min(samples), max(samples), len(samples))


@dataclass(frozen=True)
class Pairs:
    """Samples of the program and of its floor, taken in turns: the ones at one place belong together."""

    ours: list[float]
    floor: list[float]

    @property
    def ratio(self) -> float:
        """The median of the ratios within the pairs: what slows both down for a while cancels out."""
        return statistics.median(o / f for o, f in zip(self.ours, self.floor, strict=True))

    @property
    def excess(self) -> float:
        """The median of the differences within the pairs."""
        return statistics.median(o - f for o, f in zip(self.ours, self.floor, strict=True))


def in_turns(count: int, ours: Callable[[], float], floor: Callable[[], float]) -> Pairs:
    """One warm-up of each, then A B A B; each call returns its own sample."""
    floor()
    ours()
    found = Pairs([], [])
    for _ in range(count):
        found.floor.append(floor())
        found.ours.append(ours())
    return found


def slope(points: Points) -> float:
    """The exponent of growth: least squares through the logarithms. 0 is flat, 1 is linear; 0 for a single point."""
    if len(points) < 2:
        return 0.0
    x = [math.log(n) for n, _ in points]
    y = [math.log(max(value, 1e-12)) for _, value in points]
    mean_x, mean_y = statistics.mean(x), statistics.mean(y)
    over = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / over


def timed(call: Callable[[], object]) -> float:
    """Seconds on the wall."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def cpu_of(pid: int) -> float:
    """CPU seconds of one process, all its threads, without its children."""
    try:
        # Linux names the CPU clock of any process of ours so; `/proc` has it in steps of 10 ms only.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        used = psutil.Process(pid).cpu_times()
        return used.user + used.system


@dataclass(frozen=True)
class Row:
    """One line of the table. `figure` is what `goal` (a key of `goals.GOALS`) is about; `unit` is of ours and floor."""

    goal: str
    what: str
    figure: float
    shown: str  # the figure with its unit
    ours: Spread | None = None
    floor: Spread | None = None
    unit: str = ""
    series: dict[str, Points] = field(default_factory=dict)  # growth, to be plotted
    detail: dict[str, Any] = field(default_factory=dict)


def ratio_row(goal: str, what: str, pairs: Pairs, unit: str, scale: float = 1.0, **detail: Any) -> Row:
    """The median ratio of pairs of samples in seconds, shown times `scale`."""
    ours, floor = spread([s * scale for s in pairs.ours]), spread([s * scale for s in pairs.floor])
    return Row(goal, what, pairs.ratio, f"{pairs.ratio:.2f}x", ours, floor, unit, detail=detail)


def count_row(goal: str, what: str, figure: float, unit: str = "", **detail: Any) -> Row:
    """A figure that has no floor."""
    shown = f"{figure:.0f}" if figure == int(figure) else f"{figure:.2f}"
    return Row(goal, what, figure, f"{shown} {unit}".strip(), detail=detail)


def slope_row(goal: str, what: str, series: dict[str, Points], unit: str, **detail: Any) -> Row:
    """How the first of the series grows; all of them are plotted."""
    found = slope(next(iter(series.values())))
    return Row(goal, what, found, f"slope {found:+.2f}", unit=unit, series=series, detail=detail)


class Broken(Exception):
    """A scenario could not be measured: what it waited for did not happen."""


def until(done: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait, bounded, until it is so; Broken names what did not come."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise Broken(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)


@dataclass(frozen=True)
class Bench:
    """What every scenario gets: a folder of its own, how much to do, and a way to say what it does."""

    folder: Path
    quick: bool
    say: Callable[[str], None]
    peer: Path | None = None

    def either(self, full: T, quick: T) -> T:
        """The one for a full run, or for a quick one."""
        return quick if self.quick else full

    @property
    def pairs(self) -> int:
        return 2 if self.quick else 7

    @property
    def sizes(self) -> list[int]:
        """N of the growth scenarios."""
        return [10, 100, 1000] if self.quick else [10, 100, 1000, 10_000]
