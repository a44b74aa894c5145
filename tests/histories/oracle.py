"""What must hold, judged from the local GitHub alone, at the moment of each merge and at the end.

A request takes a moment: what changed between the daemon's last look and its call could not be known to it. So a
condition of a merge holds when it held at any moment since the job last came back from waiting; the pinned head
is exempt from this, since the call itself carries it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from orchestrator.twin import acts, checks, merging
from orchestrator.twin.world import Comment, Pull, Reaction, Repository, User, World

MARK = "<!-- orchestrator:"
SETTLE = 60.0
HISTORY = 3600.0
LATE = 120.0  # seconds that a list may be late, so that a little more than an hour may be seen
MOST_WRITES = 15
# False: the base that counts is the one at the daemon's first look, as the daemon pins it; True: the one that the
# author of the command could see.
STRICT_BASE = True


@dataclass
class Asked:
    """A `/merge` comment of a person, and what its author could see."""

    comment: Comment
    sha: str
    head: str
    base: str
    edited: int | None = None
    seen: int | None = None  # when the daemon began to look at it, in acts
    allowed: bool = True  # its author was always one who may
    old: bool = False  # may be history for a daemon that lost its memory
    void: bool = False  # is history for it


@dataclass
class Counts:
    """What a history was made of."""

    merges: int
    refusals: int


class Oracle:
    """One repository's watcher."""

    def __init__(
        self, world: World, repo: Repository, robot: User, since: Callable[[], int], happened: Callable[[], int]
    ) -> None:
        self.world = world
        self.repo = repo
        self.robot = robot
        self.wrong: list[str] = []
        self.erred = False  # GitHub was told to fail
        self.asked: dict[int, Asked] = {}
        self.cancels: list[Comment] = []
        self._since = since
        self._happened = happened
        self._remembered: list[tuple[int, dict[int, frozenset[str]]]] = []
        self._heads: dict[int, list[tuple[str, float]]] = {}
        self.landed: set[int] = set()
        self._patches: list[Any] = []

    # -- watching

    def watch(self) -> None:
        merge, react = merging.merge, acts.react

        def watched_merge(world: World, pull: Pull, actor: User, order: merging.Order) -> str:
            if actor is not self.robot:
                return merge(world, pull, actor, order)
            if pull.number in self.landed:
                self.wrong.append(f"#{pull.number}: called again after the call had taken effect")
            wrong = self._judge(pull)
            made = merge(world, pull, actor, order)
            self.landed.add(pull.number)
            self.wrong += wrong
            return made

        def watched_react(world: World, reactions: list[Reaction], user: User, content: str) -> tuple[Reaction, bool]:
            if user is self.robot:
                for asked in self.asked.values():
                    if asked.comment.reactions is reactions and asked.seen is None:
                        asked.seen = self._since()
            return react(world, reactions, user, content)

        self._patches = [patch.object(merging, "merge", watched_merge), patch.object(acts, "react", watched_react)]
        for one in self._patches:
            one.start()

    def unwatch(self) -> None:
        for one in self._patches:
            one.stop()

    def remember(self) -> None:
        """An act is about to happen in the midst of the daemon's looking."""
        self._remembered.append((self._happened(), {pull.number: self._facts(pull) for pull in self.repo.pulls}))

    def forgotten(self, now: float) -> None:
        """The daemon lost its memory: older commands are history."""
        for asked in self.asked.values():
            asked.old = asked.old or asked.comment.created_at < now - HISTORY
            asked.void = asked.void or asked.comment.created_at < now - HISTORY - LATE

    def note(self) -> None:
        """After each act: when each head came, and who must be answered: who may from the comment to the end."""
        for pull in self.repo.pulls:
            known = self._heads.setdefault(pull.number, [])
            if not known or known[-1][0] != pull.head_sha:
                known.append((pull.head_sha, self.world.now()))
        for asked in self.asked.values():
            user = asked.comment.user
            person = user is not None and user.type == "User"
            asked.allowed = asked.allowed and person and self.world.may(self.repo, user, "write")
            if asked.seen is None and not STRICT_BASE and asked.comment.issue.pull:
                asked.base = asked.comment.issue.pull.base_ref

    def first_head(self, pull: Pull) -> str:
        """What the branch showed when the pull request was opened."""
        return self._heads[pull.number][0][0]

    # -- the moment of a merge

    def _judge(self, pull: Pull) -> list[str]:
        since = self._since()
        held = frozenset().union(
            self._facts(pull), *(facts[pull.number] for at, facts in self._remembered if at >= since)
        )
        missing = [fact for fact in ("checks", "commands", "hold", "reviews") if fact not in held]
        commands = [asked for asked in self.asked.values() if asked.comment.issue is pull.issue]
        if not any(self._justifies(asked, pull, held) for asked in commands):
            missing.append(f"a command for {pull.head_sha[:8]}: {[self._told(one, pull, held) for one in commands]}")
        return [f"#{pull.number} merged without {fact}" for fact in missing]

    def _justifies(self, asked: Asked, pull: Pull, held: frozenset[str]) -> bool:
        return not self._told(asked, pull, held)

    def _told(self, asked: Asked, pull: Pull, held: frozenset[str]) -> list[str]:
        """What this command lacks."""
        number = asked.comment.id
        lacks = [fact for fact in ("there", "may", "not-cancelled") if f"{fact}-{number}" not in held]
        pinned = pull.head_sha.startswith(asked.sha) if asked.sha else pull.head_sha == asked.head
        if not pinned:
            lacks.append("head")
        if f"base-{asked.base}" not in held:
            lacks.append("base")
        if asked.edited is not None and (asked.seen is None or asked.edited < asked.seen):
            lacks.append("unedited")
        if asked.void:
            lacks.append("not history")
        return lacks

    def _facts(self, pull: Pull) -> frozenset[str]:
        found = {f"base-{pull.base_ref}"}
        if self._checks(pull):
            found.add("checks")
        if self._commands(pull):
            found.add("commands")
        if all(label.name != "hold" for label in pull.issue.labels):
            found.add("hold")
        newest = {r.user.id: r for r in pull.reviews if r.user and r.state != "COMMENTED"}
        if not any(
            r.state == "CHANGES_REQUESTED" and self.world.may(self.repo, r.user, "write") for r in newest.values()
        ):
            found.add("reviews")
        for asked in self.asked.values():
            if asked.comment.issue is pull.issue:
                found |= self._wishes(asked, pull)
        return frozenset(found)

    def _wishes(self, asked: Asked, pull: Pull) -> set[str]:
        comment, number = asked.comment, asked.comment.id
        found = set()
        if not comment.deleted:
            found.add(f"there-{number}")
        if self.world.may(self.repo, comment.user, "write"):
            found.add(f"may-{number}")
        if not any(
            one.issue is comment.issue
            and one.id > number
            and not one.deleted
            and one.body == "/merge cancel"
            and (one.user is pull.issue.user or self.world.may(self.repo, one.user, "write"))
            for one in self.cancels
        ):
            found.add(f"not-cancelled-{number}")
        return found

    def _checks(self, pull: Pull) -> bool:
        runs = checks.latest_runs(self.repo, pull.head_sha)
        statuses = checks.latest_statuses(self.repo, pull.head_sha)
        if not runs and not statuses:
            return self.world.now() - self._heads[pull.number][-1][1] >= SETTLE
        return all(run.status == "completed" and run.conclusion in checks.GREEN for run in runs) and all(
            status.state == "success" for status in statuses
        )

    def _commands(self, pull: Pull) -> bool:
        base = self.repo.tip(pull.base_ref)
        if base is None:
            return False
        merged = self.repo.bare.merge_tree(base, pull.head_sha)
        return not merged.conflicts and self.repo.bare.file(merged.tree, "bad") is None

    # -- the end

    def check(self, writes: list[tuple[str, str, int]], restarts: int) -> list[str]:
        """Everything that is wrong, after all is quiet."""
        return [*self.wrong, *self._doubled(), *self._unanswered(), *self._too_many(writes, restarts)]

    def _ours(self, pull: Pull) -> list[Comment]:
        return [c for c in pull.issue.comments if c.user is self.robot and c.body.startswith(MARK)]

    def _doubled(self) -> list[str]:
        found = []
        for pull in self.repo.pulls:
            marks = Counter(comment.body.split(" -->")[0] for comment in self._ours(pull))
            found += [f"#{pull.number}: {mark} {times} times" for mark, times in marks.items() if times > 1]
            texts = Counter(c.body.split("\n", 1)[1] for c in self._ours(pull) if ":status-" not in c.body)
            found += [f"#{pull.number}: said {times} times: {text}" for text, times in texts.items() if times > 1]
        return found

    def _unanswered(self) -> list[str]:
        found = []
        for asked in self.asked.values():
            comment = asked.comment
            if not asked.allowed or asked.old or asked.edited is not None or comment.deleted:
                continue
            eyes = any(reaction.user is self.robot for reaction in comment.reactions)
            # The same sentence is not said twice to those who ask while an attempt is under way.
            marks = [f"-{comment.id} "]
            if self.erred and comment.user:  # it may have said that it does not know them: once for all that they ask
                marks.append(f":denied-{comment.user.id} ")
            reply = any(
                any(mark in c.body.split("\n")[0] for mark in marks) or "is already under way" in c.body
                for c in comment.issue.comments
                if c.user is self.robot
            )
            if not eyes and not reply:
                found.append(
                    f"#{comment.issue.number}: {comment.body!r} by {comment.user and comment.user.login}: no answer"
                )
        return found

    def _too_many(self, writes: list[tuple[str, str, int]], restarts: int) -> list[str]:
        """No pull request hears more of the daemon than its comments and the daemon's own ends are worth."""
        spent: Counter[int] = Counter()
        places = {str(c.id): pull.number for pull in self.repo.pulls for c in pull.issue.comments}
        for _, path, status in writes:
            found = re.search(r"/issues/comments/(\d+)|/(?:issues|pulls)/(\d+)|/heads/topic-(\d+)$", path)
            if found and status < 400:
                comment, number, branch = found.groups()
                spent[places.get(comment, 0) if comment else int(number or int(branch) + 1)] += 1
        written = {c for pull in self.repo.pulls for c in pull.issue.comments if c.user is not self.robot}
        written |= {asked.comment for asked in self.asked.values()}  # also those that were deleted
        wished = Counter(comment.issue.number for comment in written)
        return [
            f"#{number}: {times} writes for {wished[number]} comments"
            for number, times in spent.items()
            if number and times > MOST_WRITES * (wished[number] + restarts)
        ]

    def words(self, pull: Pull) -> list[str]:
        """The daemon's comments without what names a commit, so that two houses can be compared."""
        return [re.sub(r"[0-9a-f]{7,40}|-\d+|log `[^`]*`|: `/.*", "", c.body)[:200] for c in self._ours(pull)]

    def counts(self) -> Counts:
        refused = sum(
            ":refused-" in c.body or ":denied-" in c.body for pull in self.repo.pulls for c in self._ours(pull)
        )
        return Counts(len(self.landed), refused)
