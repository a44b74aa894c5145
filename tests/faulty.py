"""Words for tests of faults: an agent that works for as long as wanted, the daemon's log, what is there at the end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from orchestrator.twin import IssueHandle, PullHandle
from tests.house import House, stub
from tests.story import eventually, expect_pull, outcomes, poll, sticky

HOUR = 3600.0
FOR_EVER = 1_000_000


def events(lines: list[Any], name: str) -> list[Any]:
    """The log lines of this name."""
    return [line for line in lines if line["event"] == name]


def for_a_while(house: House, seconds: float) -> None:
    """Let the daemon work for so long."""
    end = house.clock.now() + seconds
    house.until(lambda: house.clock.now() >= end)


def busy_agent(house: House, *words: str) -> Path:
    """From now on an agent waits until this file is made, and then plays the stub's scenario (`success`)."""
    go_on = house.folder / "go-on"
    begun, gone_on = shlex.quote(str(_begun(house))), shlex.quote(str(go_on))
    wait = f"echo $$ >> {begun}; while [ ! -e {gone_on} ]; do sleep 0.01; done"
    # Neither a question about the program nor an attempt to go on with a session is a run.
    wait = f'case "$*" in *--resume*) ;; *" -p "*) {wait};; esac; exec "$@"'
    house.options["claude_command"] = shlex.join(["sh", "-c", wait, "sh", *shlex.split(stub(*(words or ("success",))))])
    return go_on


def _begun(house: House) -> Path:
    return house.folder / "begun"


def pids(house: House) -> list[int]:
    """Of the runs of the agent of `busy_agent` that have begun."""
    return [int(pid) for pid in _begun(house).read_text().split()] if _begun(house).exists() else []


def runs(house: House) -> int:
    """How many they are."""
    return len(pids(house))


def at_work(house: House, count: int = 1) -> None:
    """Start the daemon if needed, and wait until so many agent runs have begun."""
    if house.daemon is None:
        house.start()

    def begun() -> bool:
        if runs(house) < count and count > 1:
            poll(house)  # what comes later may need another look, or wait for time
        return runs(house) >= count

    eventually(begun, f"run {count} of the agent")


def the_pull(house: House, issue: IssueHandle) -> PullHandle:
    """The one pull request of this issue, which tells its end in the one comment that is edited."""
    [pull] = [p for p in house.repo.pulls if p.head_ref == f"feature/issue-{issue.number}"]
    assert ([text[:4] for text in sticky(issue)], outcomes(issue), issue.labels) == (["Done"], [], [])
    expect_pull(house, issue)
    return pull
