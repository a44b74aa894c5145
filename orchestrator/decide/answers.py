"""What GitHub's refusal of a merge means: pure, from the status and the sentence.

The sentences are GitHub's own; a new one is final, and shown as it is.
"""

from __future__ import annotations

from enum import Enum


class Answer(str, Enum):
    """What follows from a definite no."""

    BASE_MOVED = "base moved"  # build and test on the new base
    AGAIN = "again"  # stale or passing: read everything again, then call, a bounded number of times
    FORBIDDEN = "forbidden"  # the token may not
    FINAL = "final"  # the sentence is for the person


def classify(status: int, sentence: str) -> Answer:
    """`sentence`: GitHub's message with its error list, or the one of a failed asynchronous merge."""
    said = sentence.lower()
    if "base branch was modified" in said:
        return Answer.BASE_MOVED
    if status == 403:
        return Answer.FORBIDDEN
    # Stale right after another merge, while our own merge is clean; the head was read again and is the pinned one;
    # seen on ref updates and gone a moment later (rust-lang/rust#150925); 422 seen the same way (bors-ng#1150).
    passing = ("not mergeable", "head branch was modified", "not authorized to push", "already in progress")
    return Answer.AGAIN if status == 422 or any(words in said for words in passing) else Answer.FINAL
