"""What is known of a repository's open items, and how a row of its list of changes alters it.

Items are held without their bodies and without secrets in their titles, and after a restart with no more of them than
decisions look at. A row of an issue is the whole of it; a row of a pull request only says that there is something to
read: `unread` names those, until a reading shows the second after the change (times are whole seconds, and a push
alters nothing else in a row). A reading of a server that lags counts, too, once the change is older than any lag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.github import shape
from orchestrator.model import Issue, PullRequest
from orchestrator.redactor import OURS

Json = Mapping[str, Any]

OVERLAP = 120.0  # seconds that a list may be late or out of order
MOST_KEPT = 300  # open PRs up to which a picture is written down; more are read again at a start


@dataclass
class Picture:
    """`label`: what makes an issue ready; `cursor`: the newest change seen; `read_at`: when PRs were read."""

    label: str
    ready: dict[int, Issue] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    read_at: dict[int, float] = field(default_factory=dict)
    unread: dict[int, float] = field(default_factory=dict)  # PR -> when it changed
    cursor: float = 0.0

    def take(self, rows: Iterable[Json]) -> None:
        """Rows of issues and PRs in any state."""
        for row in rows:
            at, number = shape.seconds(row["updated_at"]), int(row["number"])
            self.cursor = max(self.cursor, at)
            if "pull_request" not in row:
                self.put_issue(shape.issue(row))
            elif row["state"] == "open":
                if not self._covers(number, at):
                    self.unread[number] = max(at, self.unread.get(number, 0.0))
            elif self._is_newer(at, self.pulls.get(number)):
                self.drop_pull(number)

    def put_issue(self, issue: Issue) -> None:
        """Ready, or not ready any more; an older sight than the one that is held changes nothing."""
        if not self._is_newer(issue.updated_at, self.ready.get(issue.number)):
            return
        if issue.open and self.label in issue.labels:
            self.ready[issue.number] = replace(issue, title=OURS.text(issue.title), body="")
        else:
            self.ready.pop(issue.number, None)

    def put_pull(self, pull: PullRequest, at: float) -> None:
        """As it was read at `at`."""
        row = self.unread.pop(pull.number, 0.0)
        self.read_at[pull.number] = at
        if not pull.open:
            self.pulls.pop(pull.number, None)
            return
        self.pulls[pull.number] = replace(pull, title=OURS.text(pull.title), body="")
        changed = max(row, pull.updated_at)
        if (at <= changed or pull.updated_at < row) and at <= changed + OVERLAP:
            self.unread[pull.number] = changed

    def drop_pull(self, number: int) -> None:
        """It is not open any more; a row that shows it open, however old, makes it be read again."""
        self.pulls.pop(number, None)
        self.read_at.pop(number, None)
        self.unread.pop(number, None)

    def doubt(self, before: Picture) -> None:
        """PRs that were open before and are missing here: a page that shifts while it is read can hide one."""
        for number in before.pulls.keys() - self.pulls.keys():
            self.pulls[number], self.read_at[number] = before.pulls[number], before.read_at[number]
            self.unread[number] = before.pulls[number].updated_at

    def _covers(self, number: int, at: float) -> bool:
        """Whether what was read of the PR shows all that a row of this time can mean."""
        read_at, pull = self.read_at.get(number, 0.0), self.pulls.get(number)
        late = pull is not None and at > pull.updated_at
        return at < read_at and (not late or at + OVERLAP < read_at)

    @staticmethod
    def _is_newer(at: float, held: Issue | PullRequest | None) -> bool:
        return held is None or at >= held.updated_at

    def kept(self) -> dict[str, Any] | None:
        """As plain data, for a restart; None when it would be too much of it."""
        if len(self.pulls) > MOST_KEPT:
            return None
        return {
            "label": self.label,
            "cursor": self.cursor,
            "ready": [[i.number, i.title, i.created_at, i.updated_at] for i in self.ready.values()],
            "pulls": [_pull_kept(p, self.read_at[p.number]) for p in self.pulls.values()],
            "unread": [[number, at] for number, at in self.unread.items()],
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Picture:
        """What `kept` gave. KeyError, TypeError or ValueError for anything else."""
        picture = cls(str(kept["label"]), cursor=float(kept["cursor"]))
        for number, title, created_at, updated_at in kept["ready"]:
            labels = frozenset((picture.label,))
            picture.ready[number] = Issue(number, title, "", None, labels, True, created_at, updated_at)
        for data in kept["pulls"]:
            pull = PullRequest(**_pull_given(data))
            picture.pulls[pull.number], picture.read_at[pull.number] = pull, float(data["read_at"])
        picture.unread.update((int(number), float(at)) for number, at in kept["unread"])
        return picture


_FIELDS = ("number", "title", "head_sha", "base_ref", "draft", "created_at", "updated_at")


def _pull_kept(pull: PullRequest, read_at: float) -> dict[str, Any]:
    return {**{name: getattr(pull, name) for name in _FIELDS}, "labels": sorted(pull.labels), "read_at": read_at}


def _pull_given(data: Mapping[str, Any]) -> dict[str, Any]:
    rest = {"body": "", "author": None, "open": True, "head_ref": "", "head_repo_id": None, "base_sha": ""}
    return {**{name: data[name] for name in _FIELDS}, "labels": frozenset(data["labels"]), **rest}
