"""The comments of pull requests one by one, where GitHub gives no list of all of them (issues are switched off).

A comment moves its PR, so a PR is read once it moved, and again until that is longer ago than any list is late: by a
request that is free while nothing is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.github import shape
from orchestrator.github.api import Api
from orchestrator.github.picture import OVERLAP
from orchestrator.github.transport import ApiError, items_of
from orchestrator.model import Comment


@dataclass
class _Thread:
    """Of one PR: what was said since `since`, as it was read at `read_at`."""

    since: float
    moved: float
    read_at: float = 0.0
    etag: str | None = None
    comments: tuple[Comment, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether it was read late enough to show all that moved it."""
        return self.read_at > self.moved + OVERLAP


class Talk:
    """What was said on the PRs of one repository of late; remembers between polls what it was."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._moved: dict[int, float] = {}
        self._threads: dict[int, _Thread] = {}

    def note(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """These PRs are so; any of them may have moved."""
        for row in rows:
            number, at = int(row["number"]), shape.seconds(row["updated_at"])
            self._moved[number] = max(at, self._moved.get(number, 0.0))

    def read(self, edge: float) -> tuple[Comment, ...]:
        """The comments that are not older than `edge`."""
        for number, at in self._moved.items():
            if number in self._threads:
                self._threads[number].moved = max(at, self._threads[number].moved)
            elif at >= edge:
                self._threads[number] = _Thread(edge, at)
        self._moved = {}
        for number, thread in sorted(self._threads.items()):
            if not thread.settled:
                self._bring_up(number, thread)
            elif thread.moved < edge and all(c.updated_at < edge for c in thread.comments):
                del self._threads[number]
        found = (c for thread in self._threads.values() for c in thread.comments if c.updated_at >= edge)
        return tuple(sorted(found, key=lambda c: (c.created_at, c.id)))

    def _bring_up(self, number: int, thread: _Thread) -> None:
        path, since = f"{self._api.at}/issues/{number}/comments", shape.stamp(thread.since)
        try:
            answer = self._api.transport.get(path, {"since": since, "per_page": 100}, etag=thread.etag)
        except ApiError as error:
            if error.status not in (404, 410):
                raise
            thread.read_at, thread.comments = thread.moved + OVERLAP + 1, ()
            return
        thread.read_at = answer.date
        if answer.status == 304:
            return
        # The oldest come first, so a first page that is as it was tells nothing of what is on the others.
        thread.etag = answer.headers.get("etag") if answer.next is None else None
        rows = items_of(answer.data)
        while answer.next is not None:
            answer = self._api.transport.get(answer.next)
            rows += items_of(answer.data)
        thread.comments = tuple(map(shape.comment, rows))
