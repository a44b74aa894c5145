"""What a test or the demo holds in its hand: live, read-only views of repositories, issues, PRs and comments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.twin.world import Comment, Issue, Pull, Repository, Review, ReviewComment, World

_EVENTS = {
    "APPROVED": "APPROVE",
    "CHANGES_REQUESTED": "REQUEST_CHANGES",
    "COMMENTED": "COMMENT",
    "DISMISSED": "DISMISSED",
    "PENDING": "PENDING",
}
SETTINGS = (
    "archived",
    "git_status",
    "has_issues",
    "has_pulls",
    "allow_squash",
    "allow_merge",
    "allow_rebase",
    "autoclose",
    "delete_branch_on_merge",
    "has_hooks",
    "offers_async",
    "private",
)


@dataclass(frozen=True)
class Seen:
    """A review comment as it was when it was looked at."""

    path: str
    line: int
    body: str


@dataclass(frozen=True)
class SeenReview:
    """A review as it was when it was looked at; `event` is the word it was posted with."""

    id: int
    author: str | None
    body: str
    event: str
    commit_id: str
    comments: tuple[Seen, ...]


class Handle:
    """A view of one thing of a world."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self._url = url

    @contextmanager
    def looking(self) -> Iterator[World]:
        """Hold the world still."""
        with self.world.lock:
            yield self.world


class CommentHandle(Handle):
    """A conversation comment."""

    def __init__(self, world: World, url: str, comment: Comment) -> None:
        super().__init__(world, url)
        self.thing = comment

    @property
    def id(self) -> int:
        return self.thing.id

    @property
    def body(self) -> str:
        return self.thing.body

    @property
    def author(self) -> str | None:
        return self.thing.user.login if self.thing.user else None

    @property
    def reactions(self) -> list[str]:
        with self.looking():
            return [reaction.content for reaction in self.thing.reactions]

    @property
    def edited(self) -> bool:
        return self.thing.edited_at is not None

    @property
    def deleted(self) -> bool:
        return self.thing.deleted

    def __repr__(self) -> str:
        return f"<comment {self.id} by {self.author}: {self.body[:60]!r}>"


class IssueHandle(Handle):
    """An issue; also the part of a PR that it shares with issues."""

    def __init__(self, world: World, url: str, issue: Issue) -> None:
        super().__init__(world, url)
        self.thing = issue

    @property
    def number(self) -> int:
        return self.thing.number

    @property
    def title(self) -> str:
        return self.thing.title

    @property
    def body(self) -> str | None:
        return self.thing.body

    @property
    def author(self) -> str | None:
        return self.thing.user.login if self.thing.user else None

    @property
    def url(self) -> str:
        """Where a person would look at it."""
        face = "pull" if self.thing.pull else "issues"
        return f"{self._url}/{self.thing.repo.full_name}/{face}/{self.number}"

    @property
    def open(self) -> bool:
        return self.thing.state == "open"

    @property
    def labels(self) -> list[str]:
        with self.looking():
            return [label.name for label in self.thing.labels]

    @property
    def comments(self) -> list[CommentHandle]:
        with self.looking():
            return [CommentHandle(self.world, self._url, comment) for comment in self.thing.comments]

    @property
    def reactions(self) -> list[str]:
        with self.looking():
            return [reaction.content for reaction in self.thing.reactions]

    @property
    def events(self) -> list[tuple[str, str | None]]:
        """What happened and who did it, oldest first."""
        with self.looking():
            return [(one.event, one.actor.login if one.actor else None) for one in self.thing.events]

    def __repr__(self) -> str:
        return f"<{'PR' if self.thing.pull else 'issue'} #{self.number} {self.title[:60]!r}>"


class PullHandle(IssueHandle):
    """A pull request."""

    def __init__(self, world: World, url: str, pull: Pull) -> None:
        super().__init__(world, url, pull.issue)
        self.pull = pull

    @property
    def merged(self) -> bool:
        return self.pull.merged_at is not None

    @property
    def merged_by(self) -> str | None:
        return self.pull.merged_by.login if self.pull.merged_by else None

    @property
    def merge_sha(self) -> str | None:
        return self.pull.merge_sha

    @property
    def draft(self) -> bool:
        return self.pull.draft

    @property
    def head_sha(self) -> str:
        return self.pull.head_sha

    @property
    def head_ref(self) -> str:
        return self.pull.head_ref

    @property
    def base_ref(self) -> str:
        return self.pull.base_ref

    @property
    def reviews(self) -> list[SeenReview]:
        with self.looking():
            return [
                SeenReview(
                    review.id,
                    review.user.login if review.user else None,
                    review.body,
                    _EVENTS[review.state],
                    review.commit_id,
                    tuple(Seen(c.path, c.line, c.body) for c in review.comments),
                )
                for review in self.pull.reviews
            ]


class ReviewHandle(Handle):
    """A review that a person gave."""

    def __init__(self, world: World, url: str, pull: Pull, review: Review) -> None:
        super().__init__(world, url)
        self.pull = pull
        self.thing = review


class ThreadHandle(Handle):
    """An inline comment of a person and the conversation below it."""

    def __init__(self, world: World, url: str, comment: ReviewComment) -> None:
        super().__init__(world, url)
        self.thing = comment


class RepoHandle(Handle):
    """A repository."""

    def __init__(self, world: World, url: str, repo: Repository) -> None:
        super().__init__(world, url)
        self.thing = repo

    @property
    def id(self) -> int:
        return self.thing.id

    @property
    def name(self) -> str:
        """owner/name, as it is now."""
        return self.thing.full_name

    @property
    def clone_url(self) -> str:
        return f"{self._url}/{self.thing.full_name}.git"

    @property
    def branches(self) -> list[str]:
        with self.looking():
            return sorted(ref.removeprefix("refs/heads/") for ref in self.thing.refs)

    @property
    def labels(self) -> list[str]:
        with self.looking():
            return [label.name for label in self.thing.labels]

    @property
    def issues(self) -> list[IssueHandle]:
        """Issues that are no PRs."""
        with self.looking():
            found = [issue for issue in self.thing.issues.values() if issue.pull is None]
            return [IssueHandle(self.world, self._url, issue) for issue in found]

    @property
    def pulls(self) -> list[PullHandle]:
        with self.looking():
            return [PullHandle(self.world, self._url, pull) for pull in self.thing.pulls]

    def sha(self, branch: str) -> str | None:
        """The tip of a branch; None when there is no such branch."""
        with self.looking():
            return self.thing.tip(branch)

    def log(self, name: str) -> list[str]:
        """Commit subjects, newest first."""
        with self.looking():
            return self.thing.bare.log(name)

    def file(self, name: str, path: str) -> str | None:
        """A file's text on a branch or at a commit; None when it is not there."""
        with self.looking():
            data = self.thing.bare.file(name, path)
        return None if data is None else data.decode("utf-8", "replace")

    def git(self, *args: str) -> str:
        """Ask the real repository anything else."""
        with self.looking():
            return self.thing.bare.git(*args)

    def settings(self, **changed: Any) -> None:
        """Set any of SETTINGS."""
        with self.looking():
            for name, value in changed.items():
                if name not in SETTINGS:
                    raise TypeError(f"a repository has no setting {name!r}")
                setattr(self.thing, name, value)
