"""Three days of virtual time with many items and faults: what the daemon holds does not grow.

`SOAK_ITEMS=500 pytest -s tests/test_soak.py` is the long one (`make soak`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.simulation.soak import Sample, Soak

ITEMS = int(os.environ.get("SOAK_ITEMS", "16"))
LONG = ITEMS >= 200
WAVE = 10 if LONG else 4  # items at a time
HOURS = 72.0
FAULTS = 0.05
WARM = 0.4  # of the waves, after which nothing may grow
GROWTH = 0.05  # of the memory
MEGABYTES = 4e6  # that a small memory may grow by all the same


def flat(samples: list[Sample]) -> list[str]:
    """What grew after the daemon was warm."""
    warm, end = samples[int(len(samples) * WARM)], samples[-1]
    rest = samples[int(len(samples) * WARM) :]
    found = []
    if end.memory > warm.memory + max(GROWTH * warm.memory, MEGABYTES):
        found.append(f"memory grew from {warm.memory / 1e6:.1f} to {end.memory / 1e6:.1f} MB")
    for name in ("threads", "files"):
        values = {getattr(sample, name) for sample in rest}
        if max(values) > getattr(samples[0], name) + 2 or max(values) - min(values) > 2:
            found.append(f"{name} are not constant: {sorted(values)}")
    found += [f"zombies or processes: {s}" for s in samples if s.zombies]
    found += [f"worktrees that no item needs: {s}" for s in samples if s.worktrees]
    return found


def test_three_days_leave_nothing_behind(tmp_path: Path) -> None:
    waves = max(1, ITEMS // WAVE)
    with Soak(tmp_path, FAULTS, poll=60.0 if LONG else 600.0) as soak:
        samples = []
        for _ in range(waves):
            samples.append(soak.wave(WAVE, HOURS * 3600 / waves))
            sys.stdout.write(f"{samples[-1]}\n")
        assert soak.done == waves * WAVE
        assert soak.faults >= soak.done
    assert flat(samples) == [], samples
