"""Scenarios 6 and 16: many items at once on one clone, and merges in a row, beside shell loops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from bench.house import House, Moment
from bench.measure import Bench, Pairs, Points, Row, count_row, in_turns, ratio_row, slope_row, spread
from bench.shell import Shell
from orchestrator.record import Kind
from orchestrator.twin import PullHandle

TROUBLE = ("job_waits", "job_broke", "job_lost", "GitError", '"status": "parked"')


def fanout(bench: Bench) -> Iterator[Row]:
    """Items labelled at once; items per second with 2 and with 8 at a time."""
    files, batch, wanted = bench.either((1000, 16, 500), (200, 3, 3))
    rates: dict[int, float] = {}
    failures, done = 0, 0
    for at_once in (2, 8):
        with House(bench.folder / str(at_once), files, max_concurrent=at_once) as house:
            shell = Shell(house)
            house.start()

            def ours(house: House = house) -> float:
                return _batch(house, batch)

            def floor(house: House = house, shell: Shell = shell, at_once: int = at_once) -> float:
                names = [shell.name() for _ in range(batch)]
                seconds = shell.fan_out("item-shared.sh", names, at_once)
                shell.tidy(*names)
                house.close_pulls()
                return seconds

            pairs = in_turns(bench.either(5, 2), ours, floor)
            while at_once == 8 and done + house.made < wanted:
                _batch(house, batch)
            failures += len(house.log(*TROUBLE))
            done += house.made
        ours_rate, floor_rate = [batch / s for s in pairs.ours], [batch / s for s in pairs.floor]
        rate = Pairs(ours_rate, floor_rate)
        rates[at_once] = spread(ours_rate).median
        yield ratio_row("fanout.rate", f"{batch} items of {files:,} files, {at_once} at a time", rate, "items/s")
    scaling = rates[8] / rates[2]
    yield Row("fanout.scaling", "8 at a time beside 2 at a time", scaling, f"{scaling:.2f}x")
    yield count_row("fanout.failures", f"failures in {done} items", failures)


def _batch(house: House, count: int) -> float:
    """Seconds from the label to the last pull request."""
    opened = house.opened(count)
    _, seen = house.label(count)
    with house.explained():
        opened.await_(f"{count} pull requests")
    house.settle()
    house.close_pulls()
    return opened.at - seen.at


def merges(bench: Bench) -> Iterator[Row]:
    """K pull requests, each asked to be merged, a command of 0.1 s before each; command seen -> all merged."""
    files = bench.either(1000, 100)
    ours_by_k: Points = []
    floor_by_k: Points = []
    commands = '["sleep 0.1"]'
    with House(bench.folder / "house", files, pre_merge_commands=commands, delete_branch="false") as house:
        shell = Shell(house)
        house.start()
        for count in bench.either([1, 2, 4, 8], [1, 2]):
            pairs = in_turns(bench.either(5, 2), partial(_merge, house, count), partial(_by_hand, house, shell, count))
            per_pull = Pairs([s / count for s in pairs.ours], [s / count for s in pairs.floor])
            yield ratio_row("merges.ratio", f"{count} merges in a row, per PR, {files:,} files", per_pull, "ms", 1000)
            ours_by_k.append((count, spread(pairs.ours).median))
            floor_by_k.append((count, spread(pairs.floor).median))
        kept = sum(1 for path in (house.folder / "worktrees/acme/app").glob("merge-*"))
        refused = [job.reason for job in house.jobs if job.kind is Kind.MERGE and job.facts.get("failed")]
    series = {"K merges": ours_by_k, "shell loop": floor_by_k}
    yield slope_row("merges.slope", "K merges in a row", series, "s", worktrees_kept=kept, refused=refused)


def _merge(house: House, count: int) -> float:
    pulls = _pulls(house, count)
    seen, merged = Moment(), Moment()
    with house.repo.looking():
        house.twin.after("PUT pulls/*/merge", merged.stamp, count)
        house.twin.after("GET issues/comments", seen.stamp)
        for pull in pulls:
            house.bob.comments(pull, "/merge")
    with house.explained():
        merged.await_(f"{count} merges")
    house.settle()
    return merged.at - seen.at


def _by_hand(house: House, shell: Shell, count: int) -> float:
    return shell.run("merge.sh", *(f"{pull.number}:{pull.pull.head_sha}" for pull in _pulls(house, count)))


def _pulls(house: House, count: int) -> list[PullHandle]:
    """New pull requests, and the next second: GitHub's times could not tell a command in the second of its push."""
    pulls = house.pulls(count)
    began = int(time.time())
    while int(time.time()) == began:
        time.sleep(0.01)
    return pulls
