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

Where issues are switched off GitHub gives neither of the two lists (410): then the list of PRs and the comments of
those that moved take their place (`talk`), and every five minutes one request asks whether issues are on again.

Known and left alone: the lists may lag behind our own label change; the job that starts reads the issue itself before
it believes. What moves neither an issue nor a comment shows at the next full reading: a review, a fork that is gone;
GitHub says that pushes do move the issue, and a command's own comment does in any case. A ready issue that was deleted
or transferred is noticed when its job has ended; a full reading at the latest.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import Missing
from orchestrator.github import shape
from orchestrator.github.api import Api
from orchestrator.github.lists import Enough, Json, Lists, Reading, whole
from orchestrator.github.picture import OVERLAP, Picture
from orchestrator.github.presence import Presence
from orchestrator.github.shut import Shut
from orchestrator.github.talk import Talk
from orchestrator.github.transport import ApiError, Moved
from orchestrator.log import get
from orchestrator.model import TOO_OLD, Comment, Issue, Repo, RepoFacts, World
from orchestrator.patience import LONGEST
from orchestrator.state import RepoMemory

COMMENTS_HISTORY = 3600.0  # at the first start, older `/merge` comments are history
PULLS_HISTORY = 86400.0  # at the first start, PRs last pushed before are history
FULL_READ = 3600.0  # seconds between two readings that trust no ETag, at most; half of it at least
TAIL = 50  # items at the end of a page that must all be old
FEW = 3  # changed PRs up to which each is read by itself

KEPT_ETAGS = ("changes", "comments")  # that outlive a restart


class Feed:
    """The lists of one repository; remembers between polls what they showed."""

    def __init__(self, api: Api, ready_label: str, busy_label: str) -> None:
        self.api = api
        self.without_issues = False  # GitHub says that they are switched off
        self._ready = ready_label
        self._busy = busy_label
        self._presence = Presence(api)
        self._lists = Lists(api)
        self._others: Mapping[int, str] = {}
        self._asked_for_issues = 0.0  # GitHub's time
        self._itself_first = False  # it was closed as a whole, and one request tells whether it still is
        self._started = False
        self.refresh()

    def refresh(self) -> None:
        """Trust nothing that was read before."""
        self._presence.forget()
        self._lists.etags = {}
        self._picture: Picture | None = None
        self._talk = Talk(self.api)
        self._comments: tuple[Comment, ...] = ()
        self._marked: tuple[Issue, ...] = ()
        self._confirmed: dict[int, Issue] = {}
        self._token = ""
        self._read_at = 0.0  # when all of it was read anew
        self._seen: dict[str, Any] = {}  # all of this, as plain data
        self._stirred = True  # whether anything of it changed in this poll

    def doubt(self) -> None:
        """The next look asks after the repository itself."""
        self._presence.forget()

    def greet(self, memory: RepoMemory | None, others: Mapping[int, str]) -> RepoFacts:
        """What the repository allows, at the start. Raises as `look`."""
        return self._presence.followed(memory, lambda: self._presence.facts(memory, others), self.refresh)

    def look(
        self,
        memory: RepoMemory | None,
        busy: frozenset[int],
        adopt: bool,
        ended: frozenset[int] = frozenset(),
        others: Mapping[int, str] | None = None,
    ) -> tuple[World, RepoMemory]:
        """One poll. `busy`: issues under way; `adopt`: also offer issues that only GitHub knows to be under way;
        `ended`: issues whose work is over, so that one which still seems to be ready is looked at by itself; `others`:
        the repositories that are watched by other names, by id.

        Missing when the repository is gone, Shut when it cannot be served, Moved when it was never seen and answers
        from another place; else as `Api`.
        """
        self._others = others or {}

        def read() -> tuple[World, RepoMemory]:
            return self._look(memory, busy, adopt, ended)

        try:
            try:
                return self._presence.followed(memory, read, self.refresh)
            except ApiError as error:
                if error.status != 410 or self.without_issues:
                    raise
                self.without_issues, self._asked_for_issues = True, 0.0
                self.refresh()
                return read()
        except BaseException as trouble:
            self._itself_first = isinstance(trouble, (ApiError, Missing, Moved, Shut))
            self.refresh()
            raise

    def _look(
        self, memory: RepoMemory | None, busy: frozenset[int], adopt: bool, ended: frozenset[int]
    ) -> tuple[World, RepoMemory]:
        self._recall(memory)
        if self._token != self.api.transport.fingerprint or self._has_issues_again():
            self.refresh()
        repo, picture = self._update(memory)
        now = self._lists.now
        if memory is None:
            memory = self._first_memory(repo.id, picture, now - (TOO_OLD if adopt else COMMENTS_HISTORY), now)
        comments = self._read_comments(memory.cursor - OVERLAP)
        marked: tuple[Issue, ...] = ()
        withdrawn: frozenset[int] = frozenset()
        if not self.without_issues:
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
            etag = etags.pop("repo", "")
            known = (str(seen["called"]), picture.label)
        except (AttributeError, KeyError, TypeError, ValueError):
            return  # of another version
        if known != (self.api.called, self._ready.lower()):
            return
        self._lists.now = self._presence.recall(repo, etag, memory, self._others).date
        self._picture, self._lists.etags = picture, etags
        self._token, self._read_at = transport.fingerprint, read_at

    def _has_issues_again(self) -> bool:
        """Where they were switched off; asked now and then."""
        self._asked_for_issues = self._asked_for_issues or self._lists.now
        if not self.without_issues or self._lists.now < self._asked_for_issues + LONGEST:
            return False
        self._asked_for_issues = self._lists.now
        try:
            self.api.transport.get(f"{self.api.at}/issues", {"per_page": 1})
        except ApiError as error:
            if error.status == 410:
                return False
            raise
        self.without_issues = False
        return True

    def _update(self, memory: RepoMemory | None) -> tuple[Repo, Picture]:
        """What is there now: what was held and what changed since, or all of it anew when it is time."""
        if self._picture is not None:
            repo = self._presence.repo(memory, self._others)
            self._take(self._picture, self._changes(_older_than(self._picture.cursor - OVERLAP)))
            if self._lists.now < self._next_full_read(repo):
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
        if self._itself_first:
            self._presence.repo(memory, self._others)
            self._itself_first = False
        # First, so that its ETag stands for nothing newer than what is read after it.
        changes = self._changes(lambda page: self._is_enough(page, memory))
        repo = self._presence.repo(memory, self._others)
        if not self.without_issues:
            for item in self._lists.all("issues", {"state": "open", "labels": self._ready}):
                if "pull_request" not in item:
                    picture.put_issue(shape.issue(item))
        self._put_pulls(picture, whole)
        self._take(picture, changes)
        self._picture, self._read_at, self._token = picture, self._lists.now, self.api.transport.fingerprint
        return repo, picture

    def _is_enough(self, page: list[Json], memory: RepoMemory | None) -> bool:
        """Comments have a list of their own, unless they are found by the PRs that they moved."""
        start = memory.cursor if memory else self._lists.now - COMMENTS_HISTORY
        return not self.without_issues or _older_than(start - OVERLAP)(page)

    def _changes(self, enough: Enough) -> Reading | None:
        path = "pulls" if self.without_issues else "issues"
        return self._changed("changes", path, {"state": "all"}, enough)

    def _changed(
        self, name: str, path: str, parameters: Mapping[str, str | int], enough: Enough = whole
    ) -> Reading | None:
        reading = self._lists.changed(name, path, parameters, enough)
        self._stirred |= reading is not None
        return reading

    def _take(self, picture: Picture, changes: Reading | None) -> None:
        rows = changes.items if changes else []
        if self.without_issues:
            self._talk.note(rows)
            rows = [{**row, "pull_request": {}} for row in rows]  # as they stand in the list of issues
        picture.take(rows)

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
                answer = self.api.transport.get(f"{self.api.at}/pulls/{number}")
            except ApiError as error:
                if error.status not in (404, 410):
                    raise
                if self._lists.now > picture.unread[number] + OVERLAP:  # else it is new, and shows later
                    picture.drop_pull(number)
            else:
                self._lists.now = answer.date
                picture.put_pull(shape.pull(answer.data), answer.date)

    def _put_pulls(self, picture: Picture, enough: Enough) -> set[int]:
        """Those that are open, from their list; which PRs these were."""
        began, found = self._lists.now, set()
        for item in self._lists.all("pulls", {"state": "open"}, enough):
            pull = shape.pull(item)
            if pull.number not in found:  # pages shift while they are read: the first sight of a number wins
                found.add(pull.number)
                picture.put_pull(pull, began)
        return found

    def _read_comments(self, edge: float) -> tuple[Comment, ...]:
        if self.without_issues:
            return self._talk.read(edge)
        reading = self._changed("comments", "issues/comments", {}, _older_than(edge))
        if reading is not None:
            found = map(shape.comment, reading.items)
            self._comments = tuple(sorted(found, key=lambda c: (c.created_at, c.id)))
        # A page holds more than is asked for; what is older was offered before and may be forgotten by now.
        return tuple(c for c in self._comments if c.updated_at >= edge)

    def _read_marked(self) -> tuple[Issue, ...]:
        """The issues that carry our label."""
        reading = self._changed("busy", "issues", {"state": "open", "labels": self._busy})
        if reading is not None:
            self._marked = tuple(shape.issue(i) for i in reading.items if "pull_request" not in i)
            if reading.paged:
                # An unchanged first page tells of everything new, but not of what left a later one.
                self._lists.etags.pop("busy", None)
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
                "etags": {
                    "repo": self._presence.etag,
                    **{n: e for n, e in self._lists.etags.items() if n in KEPT_ETAGS},
                },
                "picture": picture.kept(),
            }
            self._seen = seen if seen["picture"] and not self.without_issues else {}
        return self._seen


def comments_wait(memory: RepoMemory) -> RepoMemory:
    """The memory when comments of this look are to be offered again: a restart must read them."""
    etags = {name: etag for name, etag in memory.seen.get("etags", {}).items() if name != "comments"}
    return replace(memory, seen={**memory.seen, "etags": etags}) if memory.seen else memory


def _older_than(edge: float) -> Enough:
    """A whole page is older: single items may be out of order."""
    return lambda page: all(shape.seconds(item["updated_at"]) < edge for item in page[-TAIL:])


def _unique(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """The first sight of a number wins."""
    seen: dict[int, Issue] = {}
    for issue in issues:
        seen.setdefault(issue.number, issue)
    return tuple(seen.values())
