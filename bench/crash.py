"""Scenario 10: kill -9 after every change that an item makes on GitHub, then start again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import psutil

from bench.house import House
from bench.measure import Bench, Row, count_row, spread, timed, until
from orchestrator.github.effects import READ_BACK
from orchestrator.twin import IssueHandle

MARK = re.compile(r"<!-- orchestrator:\S+ ")


def resume(bench: Bench) -> Iterator[Row]:
    """One item per step boundary; then many items in flight at once."""
    files, flight = bench.either((200, 16), (50, 4))
    starts: list[float] = []
    issues: list[IssueHandle] = []
    with House(bench.folder / "house", files, max_concurrent=8) as house:
        house.start()
        blow = _Blow(house)
        steps = _steps(house, blow)
        chosen = bench.either(list(range(1, steps + 1)), [2, steps // 2, steps - 1])
        bench.say(f"an item makes {steps} changes; killed after {chosen}")
        for step in chosen:
            issues += _killed_after(house, blow, step, 1)
            starts.append(_again(house))
            house.settle()
        found = _killed_after(house, blow, flight * steps // 2, flight)
        issues += found
        under_way = sum(not house.finished(issue) for issue in found)
        ready = _again(house)
        house.settle()
        lost = [issue.number for issue in issues if not house.has_pull(issue)]
        twice = _twice(house, issues)
        house.stop()
        left = _left(house)
    yield count_row("crash.lost", f"lost of {len(issues)} items, {len(starts) + 1} crashes", len(lost), numbers=lost)
    yield count_row("crash.twice", "pull requests and comments made twice", len(twice), which=twice)
    yield count_row("crash.left", "processes left", len(left), which=left)
    for what, seconds, count in (("one", spread(starts).median, 1), (str(under_way), ready, under_way)):
        above = seconds - (2 + 0.010 * count)
        yield Row("crash.ready", f"start to first poll, {what} in flight", above, f"{seconds:.2f} s")


class _Blow:
    """kill -9 after so many changes from when it was aimed; counts them all the same."""

    def __init__(self, house: House) -> None:
        self.changes = 0
        self._at = 0
        self._house = house
        house.on_write(self._strike)

    def aim(self, after: int) -> None:
        self.changes, self._at = 0, after

    def _strike(self) -> None:
        self.changes += 1
        if self.changes == self._at:
            self._house.kill()


def _steps(house: House, blow: _Blow) -> int:
    """How many changes one undisturbed item makes."""
    house.label()
    with house.explained():
        until(lambda: house.jobs and house.idle(), "an undisturbed item")
    return blow.changes


def _killed_after(house: House, blow: _Blow, step: int, count: int) -> list[IssueHandle]:
    """New items, and kill -9 after so many changes; the daemon never hears that answer."""
    blow.aim(step)
    issues, _ = house.label(count)
    with house.explained():
        until(house.killed, f"change {step}")
    until(lambda: house.twin.connections == 0, "what the dead daemon asked to end")
    house.ahead += READ_BACK + 1  # so that nobody has to wait until an unheard answer may be looked for
    return issues


def _again(house: House) -> float:
    """Seconds from the start of the process to the end of its first poll's lists."""
    return timed(house.start)


def _twice(house: House, issues: list[IssueHandle]) -> list[str]:
    heads = Counter(pull.head_ref for pull in house.repo.pulls)
    found = [f"{head} has {count} pull requests" for head, count in heads.items() if count > 1]
    for issue in issues:
        marks = Counter(m[0] for c in issue.comments if c.author == "robot" and (m := MARK.match(c.body)))
        found += [f"#{issue.number}: {mark} {count} times" for mark, count in marks.items() if count > 1]
    return found


def _left(house: House) -> list[str]:
    """Whatever lives and works in the house's folder after the daemon has left."""
    found = []
    for process in psutil.process_iter():
        try:
            environ, command = process.environ(), " ".join(process.cmdline())
            if process.pid != psutil.Process().pid and str(house.folder) in f"{command} {environ.get('HOME', '')}":
                found.append(command)
        except (psutil.Error, OSError):
            continue
    return found
