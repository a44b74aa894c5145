"""Why the head branch of a merged pull request stays.

Pure functions, as in `texts`; foreign text passes through `quoting`.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.quoting import inert
from orchestrator.texts import short

IN_ANOTHER_REPO = "it is in another repository"
IS_DEFAULT = "it is the default branch"
IS_PROTECTED = "it is protected"
IS_BASE_BRANCH = "it is what `BASE_BRANCH` names"
IS_PUBLISHED = "the repository's web site is made from it (GitHub Pages)"
NAMED_TO_LAST = "its name is one that lasting branches have, so a person decides whether it goes"
HAS_RULES = "there are rules for it, so it is no mere topic branch"
MAY_NOT_GO = "a rule set forbids to delete it"
NOT_SAID = "GitHub did not say whether it may go"
NOT_DELETED = "GitHub refuses to delete it"


def got_commits(tip: str) -> str:
    return f"it got new commits after the merge, its tip is now {short(tip)}"


def stacked(numbers: Sequence[int]) -> str:
    return "open pull requests are based on it: " + ", ".join(f"#{n}" for n in numbers)


def same_branch(others: Sequence[str]) -> str:
    """`others`: pull requests as they are called here."""
    if len(others) == 1:
        return f"another open pull request has the same branch ({others[0]})"
    return f"other open pull requests have the same branch ({', '.join(others)})"


def was_base(numbers: Sequence[int]) -> str:
    """`numbers`: pull requests that are over, the newest first."""
    named = ", ".join(f"#{n}" for n in numbers[:3]) + (" and others" if numbers[3:] else "")
    return f"pull requests were made into it ({named}), so it is no mere topic branch"


def many_rule_sets(number: int) -> str:
    return f"{number} rule sets cover it, which are too many to look at"


def relations_unread(error: str) -> str:
    return f"what relies on it could not be read ({inert(error).rstrip('.')})"


def branch_kept(branch: str, why: str) -> str:
    return f"The branch `{inert(branch)}` was kept: {why}."
