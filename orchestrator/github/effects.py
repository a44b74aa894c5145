"""The only way for a job to change GitHub: announced, looked for, done once, recorded.

Guaranteed: every effect has a natural key in its job; the key is on the disk before the call, and its
outcome with the next write after it. An effect with an outcome is never done again. One that was announced, or
that a lost state file may have forgotten, is looked for on GitHub first. A write whose answer says nothing (5xx,
time-out, reset) or was never heard (the daemon died) is looked for 10 s after it was announced, since an early
empty list can race the server, and repeated only when it is not there, three times at the most.

Left alone: an effect that is idempotent by itself (label, reaction, edit, close) is simply repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from orchestrator.clock import Clock
from orchestrator.errors import Retry
from orchestrator.github.api import Api
from orchestrator.github.transport import ApiError, Unknown
from orchestrator.log import get
from orchestrator.marks import Marks, claimed, said
from orchestrator.quoting import cap
from orchestrator.record import Job
from orchestrator.redactor import OURS

READ_BACK = 10.0  # seconds before an unknown outcome is looked for
TRIES = 3
_ANNOUNCED_AT = "announced_at"

T = TypeVar("T", int, str, bool)


class Effects:
    """The effects of one job."""

    def __init__(
        self,
        api: Api,
        marks: Marks,
        job: Callable[[], Job],
        keep: Callable[[Job], None],
        note: Callable[[Job], None],
        clock: Clock,
    ) -> None:
        """`keep` makes a job durable before it returns, `note` at the next time."""
        self._api = api
        self._marks = marks
        self._job = job
        self._keep = keep
        self._note = note
        self._clock = clock

    def once(self, key: str, do: Callable[[], T], find: Callable[[], T | None]) -> T:
        """Do it unless it is done; its outcome. ApiError when GitHub says no; Retry when it stays unknown."""
        job = self._job()
        done: T | None = job.effects.get(key)
        if done is not None:
            return done
        if key in job.effects:  # announced by a life of the daemon that did not hear the answer
            self._pause(float(job.facts.get(_ANNOUNCED_AT, 0.0)) + READ_BACK - self._clock.now())
        found = find()
        for _ in range(TRIES):
            if found is not None:
                break
            self._announce(key)
            try:
                found = do()
            except Unknown:
                self._pause(READ_BACK)
                found = find()
        if found is None:
            raise Retry(f"{key}: GitHub gave no usable answer {TRIES} times")
        self._record(key, found)
        return found

    def again(self, key: str, do: Callable[[], object]) -> None:
        """An effect that may be repeated without harm: at least once, then remembered."""
        if self._job().effects.get(key) is not None:
            return
        for _ in range(TRIES):
            self._announce(key)
            try:
                do()
            except Unknown:
                self._pause(READ_BACK)
            else:
                self._record(key, True)
                return
        raise Retry(f"{key}: GitHub gave no usable answer {TRIES} times")

    def nod(self, key: str, do: Callable[[], object]) -> None:
        """A reaction: nothing depends on it, so when GitHub does not take it (locked, blocked) the work goes on."""

        def run() -> None:
            try:
                do()
            except ApiError as error:
                get().warning("reaction_refused", key=key, answer=str(error))

        self.again(key, run)

    def say(self, key: str, number: int, text: str) -> int:
        """A new comment, once; its id. 0 when GitHub does not take it (locked, too long): the work goes on."""
        return self._said(key, number, text)[0]

    def _said(self, key: str, number: int, text: str) -> tuple[int, bool]:
        """As `say`, and whether it was said by this call."""
        body = self._marks.marked(self._job(), key, text)
        is_new = False

        def post() -> int:
            nonlocal is_new
            is_new = True
            try:
                return self._api.comment(number, body)
            except ApiError as error:
                get().warning("comment_refused", number=number, key=key, answer=str(error))
                return 0

        return self.once(key, post, lambda: self._find(number, key)), is_new

    def said_before(self, key: str, number: int, text: str) -> bool:
        """Whether another comment of ours on the same issue or PR says exactly this."""
        mark, words = self._marks.of(self._job(), key), OURS.text(cap(text))
        return any(
            self._marks.fit(c) and not c.body.startswith(mark) and said(c) == words for c in self._api.comments(number)
        )

    def show(self, key: str, number: int, text: str) -> None:
        """The one comment of this `key`, edited as things go on; written only when the text differs."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self._job().facts.get(f"shown:{key}") == digest:
            return
        known = self._job().effects.get(key)
        comment, is_new = (int(known), False) if known else self._said(key, number, text)
        if comment and not is_new:
            self._edit(key, number, comment, text)
        self._fact(f"shown:{key}", digest)

    def _edit(self, key: str, number: int, comment: int, text: str) -> None:
        body = self._marks.marked(self._job(), key, text)
        for left in reversed(range(TRIES)):
            try:
                self._api.edit_comment(comment, body)
            except Unknown:
                self._pause(READ_BACK)
            except ApiError as error:
                if error.status != 404 or not left:
                    self._cannot_edit(key, number, text, error)
                    return
                self._pause(READ_BACK)  # a comment may be missing for a moment after it was made (octokit.js#900)
            else:
                return
        get().warning("edit_unknown", number=number, key=key, tries=TRIES)

    def _cannot_edit(self, key: str, number: int, text: str, error: ApiError) -> None:
        if error.status not in (404, 410):
            get().warning("edit_refused", number=number, key=key, answer=str(error))
        elif not self._job().facts.get(f"deleted:{key}"):
            # Somebody deleted it: made again, once.
            self._fact(f"deleted:{key}", True)
            self._record(key, None)
            try:
                self.say(key, number, text)
            except ApiError as gone:  # with the whole issue, so there is nobody to tell
                get().warning("comment_refused", number=number, key=key, answer=str(gone))

    def _find(self, number: int, key: str) -> int | None:
        mark = self._marks.of(self._job(), key)
        job = self._job()
        ours, _ = claimed(self._marks.marked(job, key, ""))
        for comment in self._api.comments(number):
            fits = self._marks.fit(comment) and comment.body.startswith(mark)
            if fits or (key in job.effects and self._marks.names(comment, job, key)):
                by, _ = claimed(comment.body)
                if by in ("", ours):
                    return comment.id
        return None

    def _pause(self, seconds: float) -> None:
        self._api.transport.sleep(min(seconds, READ_BACK))

    def _announce(self, key: str) -> None:
        job = self._job()
        facts = {**job.facts, _ANNOUNCED_AT: self._clock.now()}
        self._keep(replace(job, effects={**job.effects, key: None}, facts=facts))

    def _record(self, key: str, outcome: int | str | bool | None) -> None:
        job = self._job()
        self._note(replace(job, effects={**job.effects, key: outcome}))

    def _fact(self, name: str, value: str | bool) -> None:
        job = self._job()
        self._note(replace(job, facts={**job.facts, name: value}))
