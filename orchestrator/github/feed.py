"""What is: one poll of one repository through repo-wide lists, whatever the number of open items.

Guaranteed: every page is followed, so no item is beyond reach; a poll is whole or it raises, so a page
that fails acknowledges nothing; an unchanged list costs a conditional request that GitHub does not count;
comments are read from 120 s before the newest one seen (lists lag and come out of order: reading from the
newest time itself lost 30 % of the final states in a simulation), and told apart by id, so that none is
missed and none is offered as new twice.

Known and left alone: the list of ready issues may lag behind our own label change; the job that starts
reads the issue itself before it believes. A stale ETag hides a change until `refresh` drops them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.github import shape
from orchestrator.github.api import Api
from orchestrator.github.transport import ApiError, Moved, items_of
from orchestrator.log import get
from orchestrator.model import TOO_OLD, Repo, World
from orchestrator.state import RepoMemory

OVERLAP = 120.0  # seconds that are read again
COMMENTS_HISTORY = 3600.0  # at the first start, older `/merge` comments are history
PULLS_HISTORY = 86400.0  # at the first start, PRs last pushed before are history
FULL_READ = 2700.0  # seconds between two reads that trust no ETag

T = TypeVar("T")
Json = dict[str, Any]


@dataclass
class _Listing:
    """The last reading of a list and the ETag of its first page."""

    etag: str | None
    items: list[Json]
    paged: bool


class Feed:
    """The lists of one repository; remembers ETags between polls."""

    def __init__(self, api: Api, ready_label: str, busy_label: str) -> None:
        self.api = api
        self._ready = ready_label
        self._busy = busy_label
        self._repo: Repo | None = None
        self._listings: dict[str, _Listing] = {}
        self._fresh_until = 0.0
        self._now = 0.0

    def refresh(self) -> None:
        """Trust nothing that was read before."""
        self._repo = None
        self._listings.clear()
        self._fresh_until = 0.0

    def look(self, memory: RepoMemory | None, busy: frozenset[int], adopt: bool) -> tuple[World, RepoMemory]:
        """One poll. `busy`: issues under way; `adopt`: also offer issues that only GitHub knows to be under way.

        A repository that was renamed is found again by its id, and the rest of the house follows `api`.
        """
        try:
            return self._look(memory, busy, adopt)
        except Moved:
            if memory is None:
                raise  # never seen, so nothing shows that the new place is the one that was meant
            self.api.follow(memory.id)
            get().warning("repository_renamed", repo=self.api.name, now=self.api.called)
            self.refresh()
            return self._look(memory, busy, adopt)

    def _look(self, memory: RepoMemory | None, busy: frozenset[int], adopt: bool) -> tuple[World, RepoMemory]:
        if self._now > self._fresh_until:
            self.refresh()
        # The name as it is set, which jobs and folders go by: GitHub does not care for its case.
        repo = self._repo = self._repo or replace(self.api.repo(), name=self.api.name)
        newest_first: dict[str, str | int] = {"sort": "updated", "direction": "desc", "per_page": 100}
        ready, now = self._list("ready", "issues", {**newest_first, "state": "open", "labels": self._ready})
        self._now, self._fresh_until = now, self._fresh_until or now + FULL_READ
        pulls, seen_at = self._list("pulls", "pulls", {**newest_first, "state": "open"})
        if memory is None or memory.id != repo.id:
            memory = self._first_memory(repo.id, pulls, now - (TOO_OLD if adopt else COMMENTS_HISTORY), now)
        edge = memory.cursor - OVERLAP
        listed, _ = self._list("comments", "issues/comments", newest_first, _older_than(edge))
        # A page holds more than is asked for; what is older was offered before and may be forgotten by now.
        comments = [c for c in listed if shape.seconds(c["updated_at"]) >= edge]
        withdrawn: frozenset[int] = frozenset()
        if busy or adopt:
            marked, _ = self._list("busy", "issues", {**newest_first, "state": "open", "labels": self._busy})
            if self._listings["busy"].paged:
                # An unchanged first page tells of everything new, but not of what left a later one.
                del self._listings["busy"]
            withdrawn = self._withdrawn(busy, {int(i["number"]) for i in marked})
            if adopt:
                ready = [*ready, *marked]
        world = World(
            repo=repo,
            ready=_unique(shape.issue(i) for i in ready if "pull_request" not in i),
            pulls=_unique(shape.pull(p) for p in pulls),
            comments=tuple(sorted(map(shape.comment, comments), key=lambda c: (c.created_at, c.id))),
            withdrawn=withdrawn,
            now=seen_at,
        )
        newest = max((c.updated_at for c in world.comments), default=0.0)
        return world, replace(memory, cursor=max(memory.cursor, newest))

    def _first_memory(self, repo_id: int, pulls: list[Json], start: float, now: float) -> RepoMemory:
        fresh = self._pushed_within_a_day() if pulls else frozenset()
        history = {}
        for data in pulls:
            pull = shape.pull(data)
            forked = pull.head_repo_id not in (None, repo_id)
            pushed = pull.head_sha in fresh or (forked and (pull.head_pushed_at or 0.0) > now - PULLS_HISTORY)
            if not pushed and pull.created_at < now - PULLS_HISTORY:
                history[str(pull.number)] = pull.head_sha
        return RepoMemory(id=repo_id, name=self.api.name, since=start, cursor=start, history=history)

    def _pushed_within_a_day(self) -> frozenset[str]:
        try:
            return self.api.pushed_within_a_day()
        except ApiError as error:
            # Not every server and token shows its activity: then only the PRs' own times tell.
            get().warning("activity_unreadable", repo=self.api.name, detail=str(error))
            return frozenset()

    def _withdrawn(self, busy: frozenset[int], marked: set[int]) -> frozenset[int]:
        # The list may lag behind our own label, so each absence is confirmed by the issue itself.
        return frozenset(n for n in busy - marked if not self._still_wanted(n))

    def _still_wanted(self, number: int) -> bool:
        try:
            issue = self.api.issue(number)
        except Moved:
            return False  # transferred to another repository
        except ApiError as error:
            if error.status in (404, 410):
                return False
            raise
        return issue.open and self._busy in issue.labels

    def _list(
        self,
        name: str,
        path: str,
        parameters: dict[str, str | int],
        enough: Callable[[list[Json]], bool] = lambda page: False,
    ) -> tuple[list[Json], float]:
        """All pages until `enough`, or the last reading when the first page did not change; GitHub's time then."""
        transport = self.api.transport
        last = self._listings.get(name)
        answer = transport.get(f"/repos/{self.api.called}/{path}", parameters, etag=last.etag if last else None)
        now = answer.date
        if answer.status == 304 and last is not None:
            return last.items, now
        etag, paged = answer.headers.get("etag"), answer.next is not None
        items = list(items_of(answer.data))
        page = items
        while answer.next is not None and not enough(page):
            answer = transport.get(answer.next)
            now = answer.date
            page = items_of(answer.data)
            items.extend(page)
        self._listings[name] = _Listing(etag, items, paged)
        return items, now


def _older_than(edge: float) -> Callable[[list[Json]], bool]:
    """A whole page is older: single items may be out of order."""
    return lambda page: all(shape.seconds(item["updated_at"]) < edge for item in page)


def _unique(items: Iterable[T]) -> tuple[T, ...]:
    """Pages shift while they are read: the first sight of a number wins."""
    seen: dict[int, T] = {}
    for item in items:
        seen.setdefault(item.number, item)  # type: ignore[attr-defined]
    return tuple(seen.values())
