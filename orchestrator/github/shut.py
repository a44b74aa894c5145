"""Why a whole repository cannot be served: what its own page tells, and what GitHub says to any request for it.

Every sentence says what is so and what to do; the daemon looks again by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.errors import Retry
from orchestrator.model import RepoFacts
from orchestrator.patience import LONGEST

ISSUES_OFF = (
    "Its issues are switched off, so no issue is worked on; reviews and merges go on. Switch them on in its settings "
    "(General, Features) if work is to be asked for."
)
ARCHIVED = "It is archived, so nothing in it can be changed. Unarchive it, or take it out of GITHUB_REPO."

_SUSPENDED = "The token's account or installation is suspended. Have that lifted in the settings of who owns it."
_BLOCKED = "GitHub has blocked it ({}). Its owner has to settle that with GitHub."
_WAS_ARCHIVED = "was archived so is read-only"
_OF_REPOSITORY = re.compile(r"(?:https?://[^/]+(?:/api/v3)?)?/repos(?:itories)?/.+")
_SAID: tuple[tuple[str, str], ...] = (
    (
        "saml enforcement",
        "Its organization demands single sign-on, which the token has not passed. Authorize the token for it (on "
        "GitHub: Settings, Developer settings), or use one that is.",
    ),
    (
        "ip allow list",
        "Its organization lets in only addresses on its IP allow list, and this machine's is not on it. Have it added.",
    ),
    ("installation has been suspended", _SUSPENDED),
    ("account was suspended", _SUSPENDED),
    (
        "forbids access via",
        "Its organization does not take this kind of token ({}). Use one of the kind that it takes.",
    ),
    ("access blocked", _BLOCKED),
    ("access to this repository has been disabled", _BLOCKED),
)

MOVED = (
    "It moved to another name, where GitHub leads to. Write that into GITHUB_REPO: what was never watched is not "
    "followed."
)


class Shut(Retry):
    """The whole repository is closed to us, whatever is asked; nothing happened. It is tried again after a while."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, LONGEST)


def refusal(method: str, path: str, status: int, headers: Mapping[str, str], message: str) -> str:
    """Why this answer closes the repository of `path` as a whole; "" when it may be only about what was asked.

    A change may be refused for more than a reading is, so but for the plainest words it takes a reading to tell.
    """
    if status not in (403, 451) or _OF_REPOSITORY.fullmatch(path) is None:
        return ""
    words = message.lower()
    if method != "GET":
        return ARCHIVED if _WAS_ARCHIVED in words else ""
    if status == 403 and headers.get("x-github-sso", "").startswith("required"):
        words = "saml enforcement"
    elif status == 451:
        words = "access blocked"
    said = message.rstrip(".")
    return next((sentence.format(said) for hint, sentence in _SAID if hint in words), "")


def lack(name: str, about: RepoFacts) -> str:
    """Why a repository that can be read cannot be served; "" when it can."""
    if about.archived:
        return ARCHIVED
    if about.disabled:
        return "GitHub has switched it off. Its owner has to settle that with GitHub."
    if not about.may_push:
        return f"The token may not push to {name}. Give its account write permission there."
    if not about.has_pulls:
        return "Its pull requests are switched off, so nothing can be proposed, reviewed or merged. Switch them on."
    return ""


def absent(status: int, message: str) -> str:
    """What a definite no to a look at a repository means."""
    if status == 404:
        return (
            "GitHub answered 404: it is not there, or the token may not see it. Check GITHUB_REPO, and that the token "
            "may see the repository (`gh auth refresh -s repo`)."
        )
    return f"GitHub answered {status}: {message.rstrip('.')}. Check what the token may do in this repository."


def same(other: str) -> str:
    """`other`: the name by which the repository is watched already."""
    return f"It is the repository that is watched as {other} already. Take one of the two names out of GITHUB_REPO."
