"""What the figures were measured on, and what of it makes them misleading."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.durable import write_durably

NOISE = 0.15  # of the calibration loop's median
STEAL = 0.02  # of all CPU time
LOAD = 0.5  # per core, before anything of ours runs
SLOW_SYNC = 0.010  # seconds for one durable write of 1 KB
CHURN = 200  # small files that are made and deleted
SLOW_CHURN = 0.1  # seconds for that


@dataclass(frozen=True)
class Machine:
    """Facts for the head of the table; `warnings` are sentences for whoever reads the figures."""

    facts: dict[str, Any]
    warnings: list[str]


def look(folder: Path) -> Machine:
    """Takes less than a second. `folder`: where the scenarios work."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    noise, kind, journal = _noise(), *_file_system(folder)
    sync, churn = _sync(folder), statistics.median(_churn(folder) for _ in range(3))
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    facts = {
        "machine": f"{os.cpu_count()} cores, {_memory_gb():.0f} GB, {system}",
        "python": sys.version.split()[0],
        "git": subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[2],
        "file_system": kind,
        "journal": journal,
        "durable_write_ms": round(sync * 1000, 2),
        f"churn_{CHURN}_files_ms": round(churn * 1000, 1),
        "load_per_core": round(load, 2),
        "calibration_noise": round(noise, 3),
    }
    warnings = []
    if kind == "ext4" and journal is False:
        warnings.append("ext4 without a journal: making and deleting files can be up to 16 times slower after a while.")
    if churn > SLOW_CHURN or sync > SLOW_SYNC:
        warnings.append("a slow file system: figures with files in them say more about it than about the program.")
    if load > LOAD:
        warnings.append(f"a loaded machine ({load:.1f} per core before the start): ratios hold better than times.")
    if noise > NOISE:
        warnings.append(f"a noisy machine: the same loop takes {noise:.0%} longer in one of ten runs.")
    return Machine(facts, warnings)


class Stolen:
    """How much CPU time the hypervisor gave to others while something ran."""

    def __init__(self) -> None:
        self._before = _cpu_ticks()

    def warnings(self) -> list[str]:
        """A sentence when it was too much."""
        total, stolen = (after - before for after, before in zip(_cpu_ticks(), self._before, strict=True))
        share = stolen / total if total else 0.0
        return [f"{share:.0%} of the CPU time was stolen by other machines during the run."] if share > STEAL else []


def _cpu_ticks() -> tuple[int, int]:
    """All and stolen ticks; (0, 0) where the system does not tell."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return 0, 0
    return sum(ticks), ticks[7]


def _noise() -> float:
    samples = []
    for _ in range(60):
        began = time.perf_counter()
        sum(range(150_000))
        samples.append(time.perf_counter() - began)
    middle = statistics.median(samples)
    return (statistics.quantiles(samples, n=10)[8] - middle) / middle


def _file_system(folder: Path) -> tuple[str, bool | None]:
    """Its kind and, of ext4, whether it has a journal; None where that cannot be told."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return "unknown", None
    place, deepest, found = os.path.realpath(folder), "", ("unknown", "")
    for line in mounts:
        fields, _, about = line.partition(" - ")
        point = fields.split(" ")[4]
        if (place == point or place.startswith(point.rstrip("/") + "/")) and len(point) >= len(deepest):
            deepest, found = point, (about.split(" ")[0], about.split(" ")[1])
    kind, device = found
    if kind != "ext4":
        return kind, None
    journals = Path("/proc/fs/jbd2")
    return kind, journals.is_dir() and any(journals.glob(f"{Path(os.path.realpath(device)).name}-*"))


def _sync(folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        target, samples = Path(inner, "file"), []
        for _ in range(9):
            began = time.perf_counter()
            write_durably(target, b"x" * 1024)
            samples.append(time.perf_counter() - began)
    return statistics.median(samples)


def _churn(folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        began = time.perf_counter()
        for number in range(CHURN):
            Path(inner, str(number)).write_bytes(b"x" * 1000)
        for number in range(CHURN):
            Path(inner, str(number)).unlink()
        return time.perf_counter() - began


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
