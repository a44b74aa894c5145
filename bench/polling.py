"""Scenarios 3, 4 and 5: a poll when nothing changed, when one of N items did, and at a start without memory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bench.crowd import Crowd
from bench.measure import Bench, Pairs, Points, Row, count_row, in_turns, ratio_row, slope_row
from bench.still import Asked

FULL_DISK = 100_000  # DISK_FLOOR_GB with which nothing starts: what a poll found stays waiting


def idle(bench: Bench) -> Iterator[Row]:
    """Nothing changed: polls beside the same conditional requests through a session of `requests`."""
    per_poll: Points = []
    floor: Points = []
    for items, repos in [(n, 1) for n in bench.sizes] + [(10, 20)]:
        with Crowd(bench.folder / f"{items}-{repos}", items, repos) as crowd:
            pairs, asked, polls = _idle_pairs(bench, crowd, repos)
        where = f"{items:,} items" if repos == 1 else f"{repos} repos of {items} items"
        requests = len(asked) / polls / repos
        yield ratio_row("idle.cpu", f"CPU per request, {where}", pairs, "ms", 1000)
        if repos == 1:
            per_poll.append((items, statistics.median(pairs.ours) * requests * 1000))
            floor.append((items, statistics.median(pairs.floor) * requests * 1000))
        if items == bench.sizes[-1] or repos > 1:
            counted = sum(one.status != 304 for one in asked)
            yield count_row("idle.requests", f"requests per poll and repo, {where}", requests)
            yield count_row("idle.quota", f"of {len(asked)} requests counted by GitHub, {where}", counted)
    yield slope_row("idle.slope", "CPU of an idle poll over N open items", {"poll": per_poll, "bare 304": floor}, "ms")


def _idle_pairs(bench: Bench, crowd: Crowd, repos: int) -> tuple[Pairs, list[Asked], int]:
    """CPU seconds per request; the requests of so many polls."""
    polls = max(1, bench.either(60, 20) // repos)
    crowd.fresh("daemon")
    crowd.poll(3)
    asked: list[Asked] = []
    rounds = 0

    def ours() -> float:
        nonlocal rounds
        found = crowd.poll(polls)
        asked.extend(found["asked"])
        rounds += polls
        return float(found["cpu"]) / len(found["asked"])

    def floor() -> float:
        known = [[f"{crowd.still.url}{one.path}", one.etag] for one in warm]
        return float(crowd.tell("bare", asked=known, times=polls)["cpu"]) / (polls * len(known))

    warm = crowd.poll(1)["asked"]
    pairs = in_turns(bench.pairs, ours, floor)
    return pairs, asked, rounds


def changed(bench: Bench) -> Iterator[Row]:
    """One of N items got another label since the last poll; beside one page of raw JSON."""
    ours_by_n: Points = []
    floor_by_n: Points = []
    for items in bench.sizes:
        with Crowd(bench.folder / str(items), items) as crowd:
            crowd.fresh("daemon")
            crowd.poll(3)
            counts: list[int] = []
            issue = crowd.repos[0].issues[0]
            page = f"{crowd.still.url}/repos/acme/r0/issues?state=all&sort=updated&direction=desc&per_page=100"

            def ours(crowd: Crowd = crowd, counts: list[int] = counts, issue: Any = issue) -> float:
                crowd.pace.move(5)
                crowd.alice.labels(issue, f"label-{len(counts)}")
                crowd.still.forget()
                found = crowd.poll(1)
                counts.append(len(found["asked"]))
                return float(found["cpu"])

            def floor(crowd: Crowd = crowd, page: str = page) -> float:
                return float(crowd.tell("pages", urls=[page], most=1)["cpu"])

            pairs = in_turns(bench.pairs, ours, floor)
        ours_by_n.append((items, statistics.median(pairs.ours) * 1000))
        floor_by_n.append((items, statistics.median(pairs.floor) * 1000))
        yield ratio_row("changed.cpu", f"CPU of a poll, 1 of {items:,} items changed", pairs, "ms", 1000)
        if items == bench.sizes[-1]:
            yield count_row("changed.requests", f"requests of that poll, {items:,} items", statistics.median(counts))
    series = {"poll": ours_by_n, "a page of raw JSON": floor_by_n}
    yield slope_row("changed.slope", "CPU of a poll after one change, over N", series, "ms")


def cold(bench: Bench) -> Iterator[Row]:
    """A start without memory; beside raw JSON paging through the same lists. The oldest item is a wish."""
    above: list[int] = []
    totals: list[int] = []
    wishes: list[bool] = []
    ours_by_n: Points = []
    floor_by_n: Points = []
    for items in bench.sizes:
        with Crowd(bench.folder / str(items), items, disk_floor_gb=FULL_DISK) as crowd:
            oldest = crowd.repos[0].issues[0]
            crowd.alice.labels(oldest, "ready")
            # What is changed last comes first in the lists: the wish shall stand at their end.
            oldest.thing.updated_at = oldest.thing.created_at
            asked: list[Asked] = []
            starts: list[int] = []

            def ours(crowd: Crowd = crowd, asked: list[Asked] = asked, starts: list[int] = starts) -> float:
                starts.append(len(starts))
                crowd.fresh(f"daemon-{len(starts)}")
                found = crowd.poll(1)
                asked[:] = found["asked"]
                return float(found["cpu"])

            def floor(crowd: Crowd = crowd, asked: list[Asked] = asked) -> float:
                urls = [f"{crowd.still.url}{one.path}" for one in crowd.lists(asked)]
                return float(crowd.tell("pages", urls=urls, most=_most_pages(asked))["cpu"])

            ours()  # so that every answer stands before anything is measured, and the floor knows the lists
            pairs = in_turns(bench.either(5, 3), ours, floor)
            found = oldest.number in crowd.tell("look")["jobs"]
        ours_by_n.append((items, statistics.median(pairs.ours) * 1000))
        floor_by_n.append((items, statistics.median(pairs.floor) * 1000))
        yield ratio_row("cold.cpu", f"CPU of the first poll, {items:,} items", pairs, "ms", 1000)
        above.append(_above(asked, items))
        totals.append(len(asked))
        wishes.append(found)
    yield count_row("cold.requests", "most pages above ceil(N/100)+1 of a list", max(above), requests=totals)
    yield count_row("cold.found", "share of sizes at which the one wish was found", sum(wishes) / len(wishes))
    series = {"first poll": ours_by_n, "raw JSON paging": floor_by_n}
    yield slope_row("cold.slope", "CPU of the first poll over N", series, "ms")


def _most_pages(asked: list[Asked]) -> int:
    return max(_pages(asked).values(), default=1)


def _pages(asked: list[Asked]) -> dict[str, int]:
    """How many pages of each list were read; GitHub links the later ones by the repository's number."""
    found: dict[str, int] = {}
    for one in asked:
        parts = urlsplit(one.path)
        query = {k: v for k, v in parse_qs(parts.query).items() if k not in ("page", "per_page")}
        name = f"{'/'.join(parts.path.split('/')[3:]).removeprefix('r0/')} {sorted(query.items())}"
        if one.status == 200 and query:
            found[name] = found.get(name, 0) + 1
    return found


def _above(asked: list[Asked], items: int) -> int:
    """Requests that are more than a list of N items needs, over all lists."""
    return sum(max(0, pages - math.ceil(items / 100) - 1) for pages in _pages(asked).values())
