"""Whether a person could see a commit when they wrote, by GitHub's own record of pushes. Pure.

Commit dates are never read: whoever pushes chooses them (bazelbuild/continuous-integration#2841).
"""

from __future__ import annotations

from collections.abc import Sequence


def could_see(head: str, asked_at: float, pushes: Sequence[tuple[float, str]], polled: bool) -> bool:
    """Whether `head` was the branch's head just before `asked_at`.

    `pushes`: (time, commit) newest first, whole seconds of GitHub's clock; the second of the comment counts as after
    it. `polled`: our own poll saw this head before the comment; enough only where the record does not know the head.
    """
    before = next((commit for time, commit in pushes if time < asked_at), "")
    return before == head or (polled and all(commit != head for _, commit in pushes))
