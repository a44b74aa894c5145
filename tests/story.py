"""Words that the tests of the stories share: what a story is expected to change, and time while agents work."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.settings import Settings
from orchestrator.twin import IssueHandle
from tests.house import House

PATIENCE = 20.0  # real seconds for something that a working thread or process does


def eventually(condition: Callable[[], object], what: str = "it") -> None:
    """Wait in real time, while threads or processes work, until the condition holds."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE:g} s"
        pause.wait(0.01)


def rests(house: House) -> bool:
    """Whether the daemon's loop waits for its next poll."""
    return any(waiter.name == "daemon" for waiter in list(house.clock._waiters))


def poll(house: House, times: int = 1) -> None:
    """Let the daemon poll while agents or commands work, for which time stands still otherwise."""
    interval = Settings(**house.options).poll_interval
    for _ in range(times):
        eventually(lambda: rests(house), "the end of a poll")
        house.clock.advance(interval)
        eventually(lambda: rests(house), "the end of a poll")


def at_work(house: House, issue: int) -> list[str]:
    """What is expected of every implement job that gets as far as its agent."""
    return [
        f"POST issues/{issue}/reactions",
        f"POST issues/{issue}/labels",
        f"DELETE issues/{issue}/labels/*",
        f"POST issues/{issue}/comments",
        "PATCH issues/comments/*",
    ]


def expect_work(house: House, *issues: IssueHandle) -> None:
    """These issues were worked on, and nothing was pushed."""
    for issue in issues:
        house.expect(*at_work(house, issue.number))


def expect_pull(house: House, *issues: IssueHandle) -> None:
    """These issues were worked on, and their branches became pull requests."""
    expect_work(house, *issues)
    for issue in issues:
        house.expect(f"PUSH refs/heads/feature/issue-{issue.number}", "POST pulls")


def ready(house: House, title: str = "Greet people", body: str | None = "Please.") -> IssueHandle:
    """An issue of alice's that she labels `ready`."""
    issue = house.alice.opens_issue(house.repo, title, body)
    house.alice.labels(issue, "ready")
    return issue


def sticky(issue: IssueHandle) -> list[str]:
    """The comments that are edited as things go on."""
    return [c.body.split("-->\n", 1)[-1] for c in issue.comments if ":sticky " in c.body.splitlines()[0]]


def outcomes(issue: IssueHandle) -> list[str]:
    """What the daemon said in comments of their own."""
    return [
        c.body.split("-->\n", 1)[-1]
        for c in issue.comments
        if c.author == "robot" and c.body.startswith("<!-- orchestrator:") and ":sticky " not in c.body.splitlines()[0]
    ]


class Record:
    """What the stub agent wrote down of its runs (`stub("--record", str(record.file), ...)`)."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def runs(self) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines() if line.endswith("}")]

    @property
    def prompts(self) -> list[str]:
        return [json.loads(run["stdin"])["message"]["content"] for run in self.runs]

    def until(self, count: int) -> None:
        """Wait until so many runs have begun."""
        eventually(lambda: len(self.runs) >= count, f"run {count} of the agent")
