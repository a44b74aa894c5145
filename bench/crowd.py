"""Repositories with many open items behind a server of standing answers, and a poller that looks at them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.house import NO_LIMIT, ROOT
from bench.measure import Broken
from bench.pace import Pace
from bench.still import Asked, Still
from orchestrator.model import IN_PROGRESS
from orchestrator.twin import RepoHandle, Twin, acts
from orchestrator.twin.world import Label

PULLS = 0.1  # of the items are pull requests
DAYS = 2.0  # since they were made
BODY = "What an issue says of itself, in a sentence or two. " * 8


class Crowd:
    """So many repositories with so many open items each, none of which is anybody's wish."""

    def __init__(self, folder: Path, items: int, repos: int = 1, **settings: Any) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.pace = Pace(folder / "clock", time.time())
        self._ago = DAYS * 86400
        self.twin = Twin(folder / "github", now=self._then, page=100)
        try:
            self._move_in(items, repos, settings)
        except BaseException:
            self.twin.close()
            raise

    def _move_in(self, items: int, repos: int, settings: dict[str, Any]) -> None:
        self.repos = [self.twin.repo(f"acme/r{n}", files={"README.md": "hello\n"}) for n in range(repos)]
        self.alice = self.twin.user("alice")
        robot = self.twin.user("robot")
        token = self.twin.token(robot, limit=NO_LIMIT)
        for repo in self.repos:
            self.twin.permission(self.alice, repo, "write")
            self.twin.permission(robot, repo, "write")
            self._fill(repo, items)
        self._ago = 0.0
        self.still = Still(self.twin.url, self.pace.now)
        self.settings = {
            "github_repo": ",".join(repo.thing.full_name for repo in self.repos),
            "github_api_url": self.still.url,
            "github_token": token,
            "disk_floor_gb": 0,
            "sandbox": "off",
            "review_prs": "off",
            **settings,
        }
        given = {"clock": str(self.folder / "clock"), "settings": self.settings}
        with (self.folder / "poller.log").open("wb") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "bench.poller", json.dumps(given)],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
        self.still.close()
        self.twin.close()
        self.pace.close()

    def _then(self) -> float:
        return self.pace.now() - self._ago

    def _fill(self, repo: RepoHandle, items: int) -> None:
        pulls = int(items * PULLS)
        if pulls:
            self.alice.pushes(repo, "topic", {"topic.txt": "new\n"})
        with repo.looking() as world:
            repo.thing.labels.append(Label(world.new_id(), IN_PROGRESS))
            for number in range(items - pulls):
                acts.open_issue(world, repo.thing, self.alice.thing, f"Thought {number}", BODY)
            for number in range(pulls):
                head = (repo.thing, "topic")
                acts.open_pull(world, repo.thing, self.alice.thing, head, "main", f"Change {number}", BODY, draft=False)

    def tell(self, do: str, **words: Any) -> dict[str, Any]:
        """Give the poller an order; what came of it."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise Broken(f"the poller ended: {(self.folder / 'poller.log').read_text()[-3000:]}")
        found = dict(json.loads(line))
        if found.get("failed"):
            raise Broken(f"a poll failed: {(self.folder / 'poller.log').read_text()[-3000:]}")
        return found

    def fresh(self, name: str) -> None:
        """A daemon that remembers nothing."""
        folder = self.folder / name
        folder.mkdir()
        self.tell("fresh", folder=str(folder))

    def poll(self, times: int, step: float = 0.01) -> dict[str, Any]:
        """As the poller's; with `asked`, the requests of these polls."""
        self.still.asked.clear()
        found = self.tell("poll", times=times, step=step)
        return {**found, "asked": list(self.still.asked)}

    def lists(self, asked: list[Asked]) -> list[Asked]:
        """The first pages among these requests, each once."""
        firsts = [a for a in asked if _is_list(a) and "page=" not in a.path.replace("per_page=", "")]
        return list({a.path: a for a in firsts}.values())


def _is_list(asked: Asked) -> bool:
    path = asked.path.partition("?")[0]
    return asked.method == "GET" and path.endswith(("/issues", "/pulls", "/comments"))
