"""What must hold when an agent is run, a branch pushed or a pull request opened, judged from the local GitHub alone.

It derives from GitHub's own record whose label the daemon took up, who might ask, and which words stood. As with merges
(`oracle`), a condition holds when it held at any moment since the thread last came back from waiting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from orchestrator.twin import acts
from orchestrator.twin.world import Comment, Event, Issue, Pull, Repository, User, World

_WORDS = re.compile(r"\b(?:naming|saying)-\d+\b")  # no word that a block of the prompt may be called by
_REMARKS = re.compile(r"\bremark-\d+\b")
Fact = tuple[object, ...]


class Wishes:
    """The watcher of one repository's issues."""

    def __init__(
        self,
        world: World,
        repo: Repository,
        robot: User,
        bots: frozenset[int],
        since: Callable[[], int],
        happened: Callable[[], int],
    ) -> None:
        self.world = world
        self.repo = repo
        self.robot = robot
        self.bots = bots
        self.wrong: list[str] = []
        self.runs = 0
        self.published = 0
        self._since = since
        self._happened = happened
        self._remembered: list[tuple[int, dict[int, frozenset[Fact]]]] = []
        self._taken: dict[int, frozenset[int]] = {}  # the label events that may have been meant when it was claimed
        self._given: dict[int, list[str]] = {}  # the words that the last run began with
        self._patches: list[Any] = []

    def watch(self) -> None:
        label, opens = acts.add_label, acts.open_pull

        def watched_label(world: World, issue: Issue, actor: User, name: str) -> None:
            if actor is self.robot and name == "in-progress":
                held = self._held(issue.number)
                # A repeated call, after an answer that was lost, takes up nothing else.
                before = self._taken.get(issue.number, frozenset()) if ("busy", True) in held else frozenset()
                self._taken[issue.number] = before | {fact[1] for fact in held if fact[0] == "stands"}
            label(world, issue, actor, name)

        def watched_open(world: World, repo: Repository, user: User, *rest: Any) -> Pull:
            if user is self.robot:
                self.publishes(rest[0][1], "opened")
            return opens(world, repo, user, *rest)

        self._patches = [patch.object(acts, "add_label", watched_label), patch.object(acts, "open_pull", watched_open)]
        for one in self._patches:
            one.start()

    def unwatch(self) -> None:
        for one in self._patches:
            one.stop()

    def remember(self) -> None:
        """An act is about to happen in the midst of the daemon's looking."""
        self._remembered.append((self._happened(), {n: self._facts(i) for n, i in self.repo.issues.items()}))

    def begins(self, number: int, prompt: str, resumed: bool) -> None:
        """An agent is run for the issue."""
        self.runs += 1
        if not resumed:
            self._given[number] = _WORDS.findall(prompt)
        held = self._held(number)
        for remark in () if resumed else _REMARKS.findall(prompt):
            if not any(("reads", event, remark) in held for event in self._taken.get(number, ())):
                self.wrong.append(f"#{number}: the agent reads {remark}")
        self._judge(number, "run")

    def publishes(self, branch: str, what: str) -> None:
        """A branch of the daemon's is pushed, or its pull request opened."""
        self.published += 1
        self._judge(int(branch.rpartition("-")[2]), what)

    def _judge(self, number: int, what: str) -> None:
        held = self._held(number)
        if not any({("may", e), ("frozen", e)} <= held for e in self._taken.get(number, ())):
            self.wrong.append(f"#{number} {what} for nobody: {sorted(map(repr, held))}, taken {self._taken}")
        for fact in (("open", True), ("busy", True), ("words", *self._given.get(number, ()))):
            if fact not in held:
                self.wrong.append(f"#{number} {what} without {fact}")

    def _held(self, number: int) -> frozenset[Any]:
        since = self._since()
        before = (facts.get(number, frozenset()) for at, facts in self._remembered if at >= since)
        return self._facts(self.repo.issues[number]).union(*before)

    def _facts(self, issue: Issue) -> frozenset[Fact]:
        found: set[Fact] = {
            ("open", issue.state == "open"),
            ("busy", any(label.name == "in-progress" for label in issue.labels)),
            ("words", *_WORDS.findall(f"{issue.title} {issue.body}")),
        }
        stands: Event | None = None
        for event in issue.events:
            if event.label is None or event.label.name != "ready":
                continue
            if event.event == "unlabeled":
                stands = stands if event.actor is self.robot else None
                continue
            stands = event
            if self._may(event.actor):
                found.add(("may", event.id))
            if self._frozen(issue, event.created_at):
                found.add(("frozen", event.id))
            found |= {("reads", event.id, r) for c in issue.comments for r in self._readable(c, event.created_at)}
        if stands is not None:
            found.add(("stands", stands.id))
        return frozenset(found)

    def _may(self, user: User | None) -> bool:
        """A person or a listed bot that may write now."""
        if user is None or (user.type != "User" and user.id not in self.bots):
            return False
        return self.world.may(self.repo, user, "write")

    def _frozen(self, issue: Issue, at: int) -> bool:
        edits = [(edit.editor, edit.edited_at) for edit in issue.edits]
        renames = [(event.actor, event.created_at) for event in issue.events if event.event == "renamed"]
        return all(when < at or self._may(who) for who, when in edits + renames)

    def _readable(self, comment: Comment, at: int) -> list[str]:
        before = comment.created_at < at and (comment.edited_at or 0) < at
        return _REMARKS.findall(comment.body) if before and not comment.minimized and self._may(comment.user) else []

    def refusals(self) -> int:
        """How many people were told that they may not ask."""
        return sum(":denied-" in c.body or ":refused-" in c.body for c in self._ours())

    def check(self) -> list[str]:
        """Everything that is wrong, after all is quiet: nobody heard a no twice."""
        marks = [f"{c.issue.number} {c.body.split(' -->')[0]}" for c in self._ours()]
        return [*self.wrong, *(f"{mark}: {marks.count(mark)} times" for mark in set(marks) if marks.count(mark) > 1)]

    def _ours(self) -> list[Comment]:
        return [c for c in self.repo.comments if c.user is self.robot and c.issue.pull is None]
