"""Ways in which a whole repository can be closed to the daemon, and opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.patience import LONGEST
from orchestrator.twin import IssueHandle, RepoHandle
from tests.house import House

HOUR = 3600.0
Deed = Callable[[House, RepoHandle], object]


@dataclass(frozen=True)
class Way:
    """`says`: what the sentence about it holds; `at_work`: only a job meets it."""

    close: Deed
    open: Deed
    says: str
    at_work: bool = False


def _answers(status: int, message: str, **headers: str) -> tuple[Deed, Deed]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (
        lambda house, repo: house.github.shuts(repo, status, message, named),
        lambda house, repo: house.github.shuts(repo, 0),
    )


def _set(**changed: Any) -> tuple[Deed, Deed]:
    back = {name: not value if isinstance(value, bool) else 0 for name, value in changed.items()}
    return lambda _, repo: repo.settings(**changed), lambda _, repo: repo.settings(**back)


def _rights(word: str) -> tuple[Deed, Deed]:
    return (
        lambda house, repo: house.github.permission(house.robot, repo, word),
        lambda house, repo: house.github.permission(house.robot, repo, "write"),
    )


def _folder(house: House, repo: RepoHandle) -> None:
    place = house.folder / "worktrees" / repo.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(place.with_name(f"{place.name}.away"))
    place.write_text("in the way\n")


def _folder_back(house: House, repo: RepoHandle) -> None:
    place = house.folder / "worktrees" / repo.name
    place.unlink()
    away = place.with_name(f"{place.name}.away")
    if away.exists():
        away.rename(place)


SAML = "Resource protected by organization SAML enforcement. You must grant your Personal Access token access."
ADDRESS = "Although you appear to have the correct authorization, the `acme` organization has an IP allow list enabled."
KIND = "`acme` forbids access via a personal access token (classic). Please use a GitHub App."

WAYS = {
    "deleted": Way(
        lambda house, repo: house.github.hides(repo),
        lambda house, repo: house.github.hides(repo, hidden=False),
        "it is not there, or the token may not see it. Check GITHUB_REPO",
    ),
    "not seen": Way(*_rights("none"), "it is not there, or the token may not see it. Check GITHUB_REPO"),
    "no right": Way(*_rights("read"), "The token may not push to acme/other. Give its account write permission"),
    "archived": Way(*_set(archived=True), "It is archived, so nothing in it can be changed. Unarchive it"),
    "no pulls": Way(*_set(has_pulls=False), "Its pull requests are switched off"),
    "sso": Way(*_answers(403, SAML), "demands single sign-on"),
    "sso header": Way(
        *_answers(403, "Must authorize", X_GitHub_SSO="required; url=https://github.com/orgs/acme/sso"),
        "demands single sign-on",
    ),
    "address": Way(*_answers(403, ADDRESS), "IP allow list, and this machine's is not on it"),
    "suspended": Way(*_answers(403, "This installation has been suspended"), "is suspended. Have that lifted"),
    "kind of token": Way(*_answers(403, KIND), "does not take this kind of token"),
    "blocked": Way(*_answers(403, "Repository access blocked"), "GitHub has blocked it (Repository access blocked)"),
    "law": Way(*_answers(451, "Repository access blocked"), "GitHub has blocked it (Repository access blocked)"),
    "odd": Way(*_answers(403, "Not today."), "GitHub answered 403: Not today. Check what the token may do"),
    "git": Way(*_set(git_status=403), "refuses the token", at_work=True),
    "git gone": Way(*_set(git_status=404), "There is no repository at", at_work=True),
    "folder": Way(_folder, _folder_back, "Mend the rights of", at_work=True),
}


def second_repository(house: House, name: str = "acme/other") -> RepoHandle:
    """Another repository, in which the same people may do the same."""
    other = house.github.repo(name, files={"README.md": "hello\n"})
    house.github.permission(house.robot, other, "write")
    house.github.permission(house.alice, other, "write")
    house.github.permission(house.bob, other, "admin")
    return other


def wishes(house: House, repo: RepoHandle, title: str = "Greet people") -> IssueHandle:
    """Alice labels an issue."""
    house.clock.advance(5)
    issue = house.alice.opens_issue(repo, title, "Please.")
    house.alice.labels(issue, "ready")
    return issue


def served(repo: RepoHandle, issue: IssueHandle) -> bool:
    """Whether the issue became a pull request, and all that belongs to it is done."""
    pulls = [pull for pull in repo.pulls if pull.head_ref == f"feature/issue-{issue.number}"]
    return len(pulls) == 1 and issue.labels == []


def counted(house: House, repo: RepoHandle, since: int = 0) -> int:
    """How many requests for this repository GitHub counted after the exchange number `since`."""
    starts = (f"/repos/{repo.name}", f"/repositories/{repo.id}")
    asked = [e for e in house.github.journal.exchanges if e.number > since and not e.git and e.status != 304]
    return sum(e.path == start or e.path.startswith(f"{start}/") for e in asked for start in starts)


def now(house: House) -> int:
    """The number of the newest exchange."""
    return len(house.github.journal.exchanges)


def bound(seconds: float) -> float:
    """How often a repository that is closed may be asked for in this time: now and then, and at first more often."""
    return seconds / LONGEST + 8


def for_a_while(house: House, seconds: float) -> None:
    """Let the daemon work for so long."""
    end = house.clock.now() + seconds
    house.until(lambda: house.clock.now() >= end)


def expect_all(house: House) -> None:
    """What was done is looked at otherwise."""
    for exchange in house.github.journal.mutations:
        house.github.journal.claim(f"{exchange.method} {exchange.path}")
