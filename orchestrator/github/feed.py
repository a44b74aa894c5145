"""What is: one poll of one repository through two repo-wide lists, whatever the number of open items.

Guaranteed: an idle poll is two conditional requests that GitHub does not count: everything that changed last, issues
and PRs in any state, and the comments that changed last; while issues are under way a third one, the list of those.
One changed item costs one request more: a PR is read by itself, an issue stands in its row.
Both lists are read newest first until a whole page (of `TAIL`) is older than the newest thing seen before minus 120 s
(lists lag and come out of order: reading from the newest time itself lost 30 % of the final states in a simulation),
so no item is beyond reach and none is offered as new twice: comments are told apart by id, the rest by what it is.
A poll is whole or it raises, so a page that fails acknowledges nothing. At the start, after any trouble, and every
30 to 60 minutes all of it is read anew without an ETag (`FULL_READ`), so that a change which was missed, or is hidden
by a stale ETag, is only late. What a poll knew is part of the memory that it gives back, with the ETags that stand for
it: a restart goes on where the memory was written, unless the token, the name or the label is another one now.

Known and left alone: the lists may lag behind our own label change; the job that starts reads the issue itself before
it believes. What moves neither an issue nor a comment shows at the next full reading: a review, a fork that is gone;
GitHub says that pushes do move the issue, and a command's own comment does in any case. A ready issue that was deleted
or transferred is noticed when its job has ended; a full reading at the latest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import Missing
from orchestrator.github import shape
from orchestrator.github.api import Api
from orchestrator.github.picture import OVERLAP, Picture
from orchestrator.github.transport import Answer, ApiError, Moved, items_of
from orchestrator.log import get
from orchestrator.model import TOO_OLD, Comment, Issue, Repo, World
from orchestrator.state import RepoMemory

COMMENTS_HISTORY = 3600.0  # at the first start, older `/merge` comments are history
PULLS_HISTORY = 86400.0  # at the first start, PRs last pushed before are history
FULL_READ = 3600.0  # seconds between two readings that trust no ETag, at most; half of it at least
TAIL = 50  # items at the end of a page that must all be old
FEW = 3  # changed PRs up to which each is read by itself

Json = dict[str, Any]
NEWEST_FIRST: dict[str, str | int] = {"sort": "updated", "direction": "desc", "per_page": 100}
KEPT_ETAGS = ("repo", "changes", "comments")  # that outlive a restart


@dataclass
class _Reading:
    """A list as it was read; `paged`: through more than one page."""

    items: list[Json]
    paged: bool


class Feed:
    """The lists of one repository; remembers between polls what they showed."""

    def __init__(self, api: Api, ready_label: str, busy_label: str) -> None:
        self.api = api
        self._ready = ready_label
        self._busy = busy_label
        self._started = False
        self._now = 0.0  # GitHub's time of its last answer
        self.refresh()

    def refresh(self) -> None:
        """Trust nothing that was read before."""
        self._repo: Repo | None = None
        self._picture: Picture | None = None
        self._etags: dict[str, str] = {}
        self._comments: tuple[Comment, ...] = ()
        self._marked: tuple[Issue, ...] = ()
        self._confirmed: dict[int, Issue] = {}
        self._token = ""
        self._read_at = 0.0  # when all of it was read anew
        self._seen: dict[str, Any] = {}  # all of this, as plain data
        self._stirred = True  # whether anything of it changed in this poll

    def look(
        self, memory: RepoMemory | None, busy: frozenset[int], adopt: bool, ended: frozenset[int] = frozenset()
    ) -> tuple[World, RepoMemory]:
        """One poll. `busy`: issues under way; `adopt`: also offer issues that only GitHub knows to be under way;
        `ended`: issues whose work is over, so that one which still seems to be ready is looked at by itself.

        A repository that was renamed is found again by its id, also where another one has its name now, and the rest
        of the house follows `api`. Missing when it is gone, whatever is called so now.
        """
        try:
            try:
                return self._look(memory, busy, adopt, ended)
            except Moved:
                if memory is None:
                    raise  # never seen, so nothing shows that the new place is the one that was meant
                self._follow(memory.id)
                get().warning("repository_renamed", repo=self.api.name, now=self.api.called)
                self.refresh()
                return self._look(memory, busy, adopt, ended)
        except BaseException:
            self.refresh()
            raise

    def _follow(self, repo_id: int) -> None:
        try:
            self.api.follow(repo_id)
        except ApiError as error:
            if error.status != 404:
                raise
            raise Missing(
                f"{self.api.name} is not the repository that was watched (its id was {repo_id}), and that one is gone. "
                "Nothing is done in its successor; to begin anew with it, move the state file away."
            ) from error

    def _look(
        self, memory: RepoMemory | None, busy: frozenset[int], adopt: bool, ended: frozenset[int]
    ) -> tuple[World, RepoMemory]:
        self._recall(memory)
        if self._token != self.api.transport.fingerprint:
            self.refresh()
        repo, picture = self._update(memory)
        now = self._now
        if memory is None:
            memory = self._first_memory(repo.id, picture, now - (TOO_OLD if adopt else COMMENTS_HISTORY), now)
        comments = self._read_comments(memory.cursor - OVERLAP)
        marked = self._read_marked() if busy or adopt else ()
        withdrawn = self._withdrawn(busy, {issue.number for issue in marked})
        self._confirm(picture, ended)
        world = World(
            repo=repo,
            ready=_unique([*picture.ready.values(), *(marked if adopt else ())]),
            pulls=tuple(picture.pulls.values()),
            comments=comments,
            withdrawn=withdrawn,
            now=now,
        )
        newest = max((c.updated_at for c in comments), default=0.0)
        return world, replace(memory, cursor=max(memory.cursor, newest), seen=self._written(repo, picture))

    def _recall(self, memory: RepoMemory | None) -> None:
        """At the start: go on from what was written down, where it is about this repository, seen by this token."""
        started, self._started = self._started, True
        transport = self.api.transport
        if started or memory is None or memory.seen.get("token") != transport.fingerprint:
            return
        seen = memory.seen
        try:
            picture, read_at = Picture.of(seen["picture"]), float(seen["read_at"])
            repo = Repo(memory.id, self.api.name, str(seen["branch"]), str(seen["clone_url"]))
            etags = {str(name): str(etag) for name, etag in seen["etags"].items()}
            known = (str(seen["called"]), picture.label)
        except (AttributeError, KeyError, TypeError, ValueError):
            return  # of another version
        if known != (self.api.called, self._ready.lower()):
            return
        answer = transport.get(f"/repos/{self.api.called}", etag=etags.get("repo"))
        self._now = answer.date
        if answer.status != 304:
            repo, etags["repo"] = self._named(answer.data), answer.headers.get("etag", "")
        self._repo, self._picture, self._etags = repo, picture, etags
        self._token, self._read_at = transport.fingerprint, read_at

    def _named(self, data: Json) -> Repo:
        """By the name as it is set, which jobs and folders go by: GitHub does not care for its case."""
        return replace(shape.repo(data), name=self.api.name)

    def _identify(self, memory: RepoMemory | None) -> Repo:
        """Moved when it is not the one that is remembered."""
        if self._repo is None:
            answer = self.api.transport.get(f"/repos/{self.api.called}")
            self._repo, self._etags["repo"] = self._named(answer.data), answer.headers.get("etag", "")
        if memory is not None and memory.id != self._repo.id:
            raise Moved(f"{self.api.called} is another repository now")  # whose people were never meant
        return self._repo

    def _update(self, memory: RepoMemory | None) -> tuple[Repo, Picture]:
        """What is there now: what was held and what changed since, or all of it anew when it is time."""
        if self._picture is not None:
            repo = self._identify(memory)
            edge = self._picture.cursor - OVERLAP
            reading = self._list("changes", "issues", {"state": "all"}, _older_than(edge))
            self._picture.take(reading.items if reading else ())
            if self._now < self._next_full_read(repo):
                self._read_changed(self._picture)
                return repo, self._picture
            before = self._picture
            self.refresh()
            repo, picture = self._read_all(memory)
            picture.doubt(before)
            return repo, picture
        return self._read_all(memory)

    def _read_all(self, memory: RepoMemory | None) -> tuple[Repo, Picture]:
        picture = Picture(self._ready.lower())
        # First, so that its ETag stands for nothing newer than what is read after it.
        changes = self._list("changes", "issues", {"state": "all"}, lambda page: True)
        repo = self._identify(memory)
        for item in self._all("issues", {"state": "open", "labels": self._ready}):
            if "pull_request" not in item:
                picture.put_issue(shape.issue(item))
        self._put_pulls(picture, lambda page: False)
        picture.take(changes.items if changes else ())
        self._picture, self._read_at, self._token = picture, self._now, self.api.transport.fingerprint
        return repo, picture

    def _next_full_read(self, repo: Repo) -> float:
        """At another time for each repository and each reading, so that they do not come all at once."""
        share = zlib.crc32(f"{repo.id} {self._read_at:.0f}".encode()) / 2**32
        return self._read_at + FULL_READ * (0.5 + share / 2)

    def _read_changed(self, picture: Picture) -> None:
        """The PRs whose rows say that something changed: each by itself, or many at once from their list."""
        self._stirred |= bool(picture.unread)
        left = set(picture.unread)
        if len(left) > FEW:
            left -= self._put_pulls(picture, _older_than(min(picture.unread.values()) - OVERLAP))
        for number in sorted(left):
            try:
                answer = self.api.transport.get(f"/repos/{self.api.called}/pulls/{number}")
            except ApiError as error:
                if error.status not in (404, 410):
                    raise
                if self._now > picture.unread[number] + OVERLAP:  # else it is new, and shows later
                    picture.drop_pull(number)
            else:
                self._now = answer.date
                picture.put_pull(shape.pull(answer.data), self._now)

    def _put_pulls(self, picture: Picture, enough: Callable[[list[Json]], bool]) -> set[int]:
        """Those that are open, from their list; which PRs these were."""
        began, found = self._now, set()
        for item in self._all("pulls", {"state": "open"}, enough):
            pull = shape.pull(item)
            if pull.number not in found:  # pages shift while they are read: the first sight of a number wins
                found.add(pull.number)
                picture.put_pull(pull, began)
        return found

    def _read_comments(self, edge: float) -> tuple[Comment, ...]:
        reading = self._list("comments", "issues/comments", {}, _older_than(edge))
        if reading is not None:
            found = map(shape.comment, reading.items)
            self._comments = tuple(sorted(found, key=lambda c: (c.created_at, c.id)))
        # A page holds more than is asked for; what is older was offered before and may be forgotten by now.
        return tuple(c for c in self._comments if c.updated_at >= edge)

    def _read_marked(self) -> tuple[Issue, ...]:
        """The issues that carry our label."""
        reading = self._list("busy", "issues", {"state": "open", "labels": self._busy})
        if reading is not None:
            self._marked = tuple(shape.issue(i) for i in reading.items if "pull_request" not in i)
            if reading.paged:
                # An unchanged first page tells of everything new, but not of what left a later one.
                self._etags.pop("busy", None)
        return self._marked

    def _first_memory(self, repo_id: int, picture: Picture, start: float, now: float) -> RepoMemory:
        fresh = self._pushed_within_a_day() if picture.pulls else frozenset()
        history = {}
        for pull in picture.pulls.values():
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

    def _confirm(self, picture: Picture, ended: frozenset[int]) -> None:
        """Once for each sight of an issue that seems to be ready though its work is over."""
        for number in sorted(ended & picture.ready.keys()):
            if self._confirmed.get(number) != picture.ready[number]:
                issue = self._found(number)
                self._stirred = True
                if issue is None:
                    del picture.ready[number]
                else:
                    picture.put_issue(issue)
                    self._confirmed[number] = picture.ready.get(number, issue)

    def _withdrawn(self, busy: frozenset[int], marked: set[int]) -> frozenset[int]:
        # The list may lag behind our own label, so each absence is confirmed by the issue itself.
        return frozenset(n for n in busy - marked if not self._still_wanted(n))

    def _still_wanted(self, number: int) -> bool:
        issue = self._found(number)
        return issue is not None and issue.open and self._busy in issue.labels

    def _found(self, number: int) -> Issue | None:
        """The issue itself; None where it was deleted or transferred to another repository."""
        try:
            return self.api.issue(number)
        except Moved:
            return None
        except ApiError as error:
            if error.status in (404, 410):
                return None
            raise

    def _written(self, repo: Repo, picture: Picture) -> dict[str, Any]:
        """What a restart goes on from; the same as before when nothing changed."""
        if self._stirred:
            self._stirred = False
            seen = {
                "token": self._token,
                "called": self.api.called,
                "branch": repo.default_branch,
                "clone_url": repo.clone_url,
                "read_at": self._read_at,
                "etags": {name: etag for name, etag in self._etags.items() if name in KEPT_ETAGS},
                "picture": picture.kept(),
            }
            self._seen = seen if seen["picture"] else {}
        return self._seen

    def _list(
        self,
        name: str,
        path: str,
        parameters: Mapping[str, str | int],
        enough: Callable[[list[Json]], bool] = lambda page: False,
    ) -> _Reading | None:
        """All pages until `enough`; None when the first one is what it was when it was read last."""
        answer = self._first(path, parameters, self._etags.get(name))
        if answer.status == 304 and name in self._etags:
            return None
        self._etags.pop(name, None)
        self._stirred = True
        items, paged = self._rest(answer, enough), answer.next is not None
        if "etag" in answer.headers:
            self._etags[name] = answer.headers["etag"]
        return _Reading(items, paged)

    def _all(
        self,
        path: str,
        parameters: Mapping[str, str | int],
        enough: Callable[[list[Json]], bool] = lambda page: False,
    ) -> list[Json]:
        """All pages until `enough`, whatever was read before."""
        return self._rest(self._first(path, parameters, None), enough)

    def _first(self, path: str, parameters: Mapping[str, str | int], etag: str | None) -> Answer:
        address = f"/repos/{self.api.called}/{path}"
        answer = self.api.transport.get(address, {**NEWEST_FIRST, **parameters}, etag=etag)
        self._now = answer.date
        return answer

    def _rest(self, answer: Answer, enough: Callable[[list[Json]], bool]) -> list[Json]:
        page = items_of(answer.data)
        items = list(page)
        while answer.next is not None and not enough(page):
            answer = self.api.transport.get(answer.next)
            self._now = answer.date
            page = items_of(answer.data)
            items.extend(page)
        return items


def comments_wait(memory: RepoMemory) -> RepoMemory:
    """The memory when comments of this look are to be offered again: a restart must read them."""
    etags = {name: etag for name, etag in memory.seen.get("etags", {}).items() if name != "comments"}
    return replace(memory, seen={**memory.seen, "etags": etags}) if memory.seen else memory


def _older_than(edge: float) -> Callable[[list[Json]], bool]:
    """A whole page is older: single items may be out of order."""
    return lambda page: all(shape.seconds(item["updated_at"]) < edge for item in page[-TAIL:])


def _unique(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """The first sight of a number wins."""
    seen: dict[int, Issue] = {}
    for issue in issues:
        seen.setdefault(issue.number, issue)
    return tuple(seen.values())
