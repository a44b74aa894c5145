"""The lists of one repository, newest first, page by page; an unchanged first page is told by its ETag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.github.api import Api
from orchestrator.github.transport import Answer, items_of

Json = dict[str, Any]
Enough = Callable[[list[Json]], bool]
NEWEST_FIRST: dict[str, str | int] = {"sort": "updated", "direction": "desc", "per_page": 100}


def whole(page: list[Json]) -> bool:
    """Never enough: every page is read."""
    return False


@dataclass
class Reading:
    """A list as it was read; `paged`: through more than one page."""

    items: list[Json]
    paged: bool


class Lists:
    """`etags` by the names that the lists go by here; `now`: GitHub's time of its last answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.etags: dict[str, str] = {}
        self.now = 0.0

    def changed(
        self, name: str, path: str, parameters: Mapping[str, str | int], enough: Enough = whole
    ) -> Reading | None:
        """All pages until `enough`; None when the first one is what it was when it was read last."""
        answer = self._first(path, parameters, self.etags.get(name))
        if answer.status == 304 and name in self.etags:
            return None
        self.etags.pop(name, None)
        items, paged = self._rest(answer, enough), answer.next is not None
        if "etag" in answer.headers:
            self.etags[name] = answer.headers["etag"]
        return Reading(items, paged)

    def all(self, path: str, parameters: Mapping[str, str | int], enough: Enough = whole) -> list[Json]:
        """All pages until `enough`, whatever was read before."""
        return self._rest(self._first(path, parameters, None), enough)

    def _first(self, path: str, parameters: Mapping[str, str | int], etag: str | None) -> Answer:
        answer = self._api.transport.get(f"{self._api.at}/{path}", {**NEWEST_FIRST, **parameters}, etag=etag)
        self.now = answer.date
        return answer

    def _rest(self, answer: Answer, enough: Enough) -> list[Json]:
        page = items_of(answer.data)
        items = list(page)
        while answer.next is not None and not enough(page):
            answer = self._api.transport.get(answer.next)
            self.now = answer.date
            page = items_of(answer.data)
            items.extend(page)
        return items
