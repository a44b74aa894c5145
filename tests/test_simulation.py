"""The whole daemon in virtual time, from seeds: people, faults and crashes in any order, and what always holds.

`SIMULATION_STEPS=100000 SIMULATION_SEED=1000 pytest tests/test_simulation.py` runs more, from another seed on. A
failure prints its seed, every step up to it and the daemon's last log lines.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.histories.slim import quick
from tests.simulation.ears import listening
from tests.simulation.episode import LENGTH, Episode
from tests.simulation.real import RealEpisode
from tests.sizes import some

TOTAL = 10_000  # steps that CI asks for; a twentieth of it where nobody does
PARTS = range(20)  # short ones: a loaded machine takes four times as long
STEPS = int(os.environ.get("SIMULATION_STEPS", TOTAL // 10))
EACH = max(1, STEPS // LENGTH // len(PARTS))  # simulations of one part
REAL_SEEDS = range(4)
REAL_LENGTH = 14
FIRST = int(os.environ.get("SIMULATION_SEED", "0"))

# Seeds that found something once; what a seed makes changes with the dice, so a new one takes the place of one that
# finds nothing any more when what it found is undone.
FOUND = {
    5: "claimed, and closed by a person before that was through: called in-progress for ever",
    28: "killed while it ended the work for somebody who lost the right to ask, the daemon told another reason",
    73: "after a refusal the issue of a daemon that lost its memory was called in-progress for ever",
    86: "a probe whose good end could not be written down, on a full disk, broke",
    169: "killed after a comment was posted, the daemon looked at once, saw a late list and said it again",
}

Simulate = Callable[[int], Counter[str]]


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Runs the simulation of a seed to its end; in memory where the machine offers that."""
    memory = Path("/dev/shm")
    # A simulation leaves thousands of objects and no other memory behind; looking through all of them takes a third.
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        quick(),
        listening() as ears,
    ):
        yield lambda seed: Episode(Path(folder), ears, seed).run()
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize("part", some(PARTS, 2))
def test_whatever_happens_nothing_is_done_twice_and_nothing_is_lost(part: int, simulate: Simulate) -> None:
    tally: Counter[str] = Counter()
    for number in range(EACH):
        tally += simulate(FIRST + part * EACH + number)
    assert tally["steps"] == EACH * LENGTH
    # Not vacuous: things came to be, and much went wrong on the way.
    assert min(tally[what] for what in ("deaths", "faults", "runs", "reviews", "writes")) >= EACH, tally


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_mended(seed: int, simulate: Simulate) -> None:
    assert simulate(seed)["steps"] == LENGTH


@pytest.mark.parametrize("seed", REAL_SEEDS)
def test_the_real_house_keeps_it_too(seed: int, tmp_path: Path) -> None:
    with listening() as ears:
        tally = RealEpisode(tmp_path, ears, FIRST + seed, REAL_LENGTH).run()
    assert min(tally["runs"], tally["pulls"]) >= 1, tally


def test_ci_runs_ten_thousand_steps() -> None:
    assert f"SIMULATION_STEPS={TOTAL}" in (Path(__file__).parent.parent / ".ci" / "run").read_text(encoding="utf-8")


def test_a_seed_is_always_the_same_simulation(simulate: Simulate) -> None:
    assert simulate(FIRST) == simulate(FIRST)
