"""Reading agents' output in a process of its own: `python -m bench.reader HOW WHAT FOLDER ARGUMENTS`; JSON on stdout.

HOW is `ours` (the program's own supervision with its parser) or `plain` (a thread per child that reads lines, keeps
them in a file and hands them on). WHAT is `firehose BYTES` or `storm AGENTS RATE SECONDS`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.house import child
from orchestrator.agents.claude_stream import Stream
from orchestrator.clock import Stop
from orchestrator.process import Limits, run

TICK = 0.05  # seconds between two looks at how late a waiting thread wakes
Take = Callable[[bytes], None]


def ours(command: str, output: Path, take: Take) -> None:
    """As an agent is run, its events parsed."""
    stream = Stream()

    def on_line(line: bytes) -> None:
        take(line)
        stream.take(line)

    limits = Limits(total=600.0, stall=600.0, output=4 * 1024**3)
    environ, errors = {"PATH": os.environ["PATH"]}, output.with_suffix(".err")
    run(
        shlex.split(command),
        cwd=output.parent,
        env=environ,
        run_id=str(uuid.uuid4()),
        output=output,
        errors=errors,
        limits=limits,
        stop=Stop(),
        on_line=on_line,
    )


def plain(command: str, output: Path, take: Take) -> None:
    """The least that keeps the output and sees each line."""
    with (
        output.open("wb") as file,
        output.with_suffix(".err").open("wb") as errors,
        subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, stderr=errors, cwd=output.parent) as started,
    ):
        assert started.stdout is not None
        for line in started.stdout:
            file.write(line)
            take(line)


READERS = {"ours": ours, "plain": plain}


def firehose(how: str, folder: Path, size: int) -> dict[str, Any]:
    """One agent that writes as fast as it is read."""
    lines = 0

    def take(_: bytes) -> None:
        nonlocal lines
        lines += 1

    output = folder / "firehose.log"
    before, began = _memory("VmRSS"), time.monotonic()
    READERS[how](child("firehose", str(size)), output, take)
    seconds = time.monotonic() - began
    told_lines, told_bytes = (int(word) for word in output.with_suffix(".err").read_text().split())
    lost = abs(told_lines - lines) + abs(told_bytes - output.stat().st_size)
    output.unlink()
    return {"seconds": seconds, "lost": lost, "more_mb": _memory("VmHWM") - before, "cpu": time.process_time()}


def storm(how: str, folder: Path, agents: int, rate: int, seconds: int) -> dict[str, Any]:
    """Many agents that talk at once."""
    late: list[float] = []
    stamp = re.compile(rb'\{"type": "assistant", "t": ([0-9.]+)')

    def take(line: bytes) -> None:
        found = stamp.match(line)
        if found:
            late.append(time.monotonic() - float(found[1]))

    over, jitter = threading.Event(), list[float]()

    def tick() -> None:
        due = time.monotonic()
        while not over.is_set():
            due += TICK
            over.wait(max(0.0, due - time.monotonic()))
            jitter.append(time.monotonic() - due)
            due = max(due, time.monotonic() - TICK)

    ticker = threading.Thread(target=tick)
    command = child("talker", str(rate), str(seconds))
    threads = [
        threading.Thread(target=READERS[how], args=(command, folder / f"{how}-{n}.log", take)) for n in range(agents)
    ]
    cpu = time.process_time()
    for thread in (ticker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    ticker.join()
    used = time.process_time() - cpu
    lost = agents * rate * seconds - len(late)
    p99 = statistics.quantiles(late, n=100)[98]
    return {"cpu": used, "p99_ms": p99 * 1000, "lost": lost, "jitter_ms": max(jitter) * 1000}


def _memory(field: str) -> float:
    """Megabytes by `/proc`: RSS now (VmRSS) or at its most (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def main(how: str, what: str, folder: Path, *numbers: int) -> None:
    scenario: Callable[..., dict[str, Any]] = firehose if what == "firehose" else storm
    sys.stdout.write(json.dumps(scenario(how, folder, *numbers)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *(int(word) for word in sys.argv[4:]))
