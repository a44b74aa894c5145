"""The hidden first line of our comments, by which we find them again: what it is about, and a keyed digest of that.

A mark is evidence that something was said only when the author is our account and the digest fits: the account may
also be its owner's, and whoever may write can edit any comment. The key comes from the token, so that daemons which
share one know each other's marks, and a lost memory loses no mark. A new token does: what was said with the old one is
then found only where the record says that it was announced.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from orchestrator.model import Comment
from orchestrator.quoting import cap
from orchestrator.record import Job

BEGINNING = "<!-- orchestrator:"
_MARK = re.compile(rf"{BEGINNING}(\S+) (\w+) -->")
_CLAIM = re.compile(rf"{_MARK.pattern}<!-- claim (\w+) (\w*) -->")


class Marks:
    """The marks of one account."""

    def __init__(self, token: str, own_id: int) -> None:
        self._key = hmac.digest(token.encode(), b"the marks of the orchestrator", "sha256")
        self._own_id = own_id

    def of(self, job: Job, name: str) -> str:
        """The mark of a job's comment `name`."""
        return self._mark(f"{job.key}:{name}")

    def reply(self, repo: str, number: int, comment: int) -> str:
        """The mark of an answer to a comment that started nothing."""
        return self._mark(f"{repo}#{number}:reply-{comment}")

    def marked(self, job: Job, name: str, text: str) -> str:
        """The comment as it is posted: its mark first, within GitHub's limits."""
        return f"{self.of(job, name)}{job.facts.get('claim', '')}\n{cap(text)}"

    def fit(self, comment: Comment) -> bool:
        """Whether this daemon, or one with the same token, said this."""
        found = _MARK.match(comment.body)
        return is_ours(comment, self._own_id) and found is not None and found[0] == self._mark(found[1])

    def names(self, comment: Comment, job: Job, name: str) -> bool:
        """Whether our account said it, with whichever token: enough for what is known to have been announced."""
        return is_ours(comment, self._own_id) and is_about(comment, job, name)

    def _mark(self, what: str) -> str:
        digest = hmac.new(self._key, what.encode(), hashlib.sha256).hexdigest()[:16]
        return f"{BEGINNING}{what} {digest} -->"


def is_ours(comment: Comment, own_id: int) -> bool:
    """Written by our account with a mark, fitting or not: enough not to take it for a command, not for more."""
    return comment.author is not None and comment.author.id == own_id and comment.body.startswith(BEGINNING)


def is_about(comment: Comment, job: Job, name: str) -> bool:
    """Whether the mark names this, whatever its digest: another daemon may have another token."""
    return comment.body.startswith(beginning(job, name))


def beginning(job: Job, name: str) -> str:
    """A job's mark up to its digest."""
    return f"{BEGINNING}{job.key}:{name} "


def said(comment: Comment) -> str:
    """One of our comments as a person reads it: without its mark."""
    return comment.body.partition("\n")[2]


def split(body: str) -> tuple[str, str]:
    """The mark and the claim that a text of ours begins with, empty where it does not, and the rest."""
    found = _CLAIM.match(body) or _MARK.match(body)
    return (found[0], body[found.end() :]) if found else ("", body)


def claim(instance: str, event: str) -> str:
    """What follows the mark where one of several daemons says whose the wish of a label event is."""
    return f"<!-- claim {instance} {event} -->"


def claimed(body: str) -> tuple[str, str]:
    """The instance and the event of a claim; empty where a comment claims nothing."""
    found = _CLAIM.match(body)
    return (found[3], found[4]) if found else ("", "")
