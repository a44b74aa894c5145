"""The daemon's polls, and their floor through bare `requests`, in a process of their own: told on stdin what to do.

`python -m bench.poller JSON`. Each line of stdin is an order, each line of stdout what came of it. Here, so that the
CPU and the memory of whoever serves and counts is not in the figures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from bench.pace import Pace
from orchestrator import heap, log, serve
from orchestrator.daemon import Daemon
from orchestrator.settings import Settings
from orchestrator.state import State

assert serve  # what `orchestrator run` imports is in memory before anything is measured


class Poller:
    """One daemon at a time, and one session of `requests`."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._pace = Pace(Path(given["clock"]))
        self._daemon: Daemon | None = None
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {given['settings']['github_token']}"
        self._imported = self._memory()

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """`do` names a method; the rest are its arguments."""
        words = dict(order)
        found: dict[str, Any] = getattr(self, words.pop("do"))(**words)
        return found

    def fresh(self, folder: str) -> dict[str, Any]:
        """Another daemon, which remembers nothing."""
        if self._daemon is not None:
            self._daemon.close()
        settings = Settings(
            **self._given["settings"], state_file=Path(folder, "state.json"), worktree_base=Path(folder, "worktrees")
        )
        state = State.open(settings.state_file)
        self._daemon = Daemon(settings, self._given["settings"]["github_token"], state, clock=self._pace)
        return {}

    def poll(self, times: int, step: float) -> dict[str, Any]:
        """So many polls, each `step` virtual seconds after the one before."""
        daemon = self._daemon
        assert daemon is not None
        wall, cpu, failed = time.perf_counter(), time.process_time(), 0
        for _ in range(times):
            self._pace.move(step)
            daemon.poll()
            failed += daemon.failed_polls
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "failed": failed}

    def bare(self, asked: list[list[str]], times: int) -> dict[str, Any]:
        """The same conditional requests, so many times, through a session of `requests` and nothing else."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            for url, etag in asked:
                answer = self._session.get(url, headers={"If-None-Match": etag})
                assert answer.status_code == 304, answer.status_code
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}

    def pages(self, urls: list[str], most: int) -> dict[str, Any]:
        """Lists as raw JSON, up to `most` pages of each."""
        wall, cpu, items = time.perf_counter(), time.process_time(), 0
        for url in urls:
            following: str | None = url
            for _ in range(most):
                if following is None:
                    break
                answer = self._session.get(following)
                items += len(answer.json())
                following = answer.links.get("next", {}).get("url")
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "items": items}

    def look(self) -> dict[str, Any]:
        """What the process holds, and which items it knows of."""
        process = psutil.Process()
        jobs = sorted(job.number for job in self._daemon.state.jobs.values()) if self._daemon else []
        return {"imported": self._imported, "memory": self._memory(), "files": process.num_fds(), "jobs": jobs}

    @staticmethod
    def _memory() -> float:
        return psutil.Process().memory_info().rss / 1e6


def main() -> None:
    """Until stdin ends."""
    heap.share()  # as `orchestrator run` does
    poller = Poller(json.loads(sys.argv[1]))
    log.configure("json")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(poller.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
