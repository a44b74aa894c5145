"""What a branch demands of a PR, by its protection or by a rule set, and what a PR still owes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.twin import checks

if TYPE_CHECKING:
    from orchestrator.twin.world import Pull, Repository, User, World

_OPINIONS = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
_WILD = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
_CHECK_WORDS = {"expected": "is expected", "pending": "is pending", "failing": "is failing"}


@dataclass(eq=False)
class Protection:
    """`by_rules`: told by the rules endpoint instead of the branch's protection. `exempt`: ids of accounts that
    nothing here holds (`enforce_admins` off, or on a rule set's bypass list)."""

    checks: list[str] = field(default_factory=list)
    strict: bool = False
    reviews: int = 0
    conversations: bool = False
    queue: str | None = None  # the merge queue's method
    by_rules: bool = False
    exempt: frozenset[int] = frozenset()


@dataclass(frozen=True)
class RuleSet:
    """Rules for the branches that `include` names and `exclude` does not.

    Names are `~ALL`, `~DEFAULT_BRANCH`, or patterns of full ref names in which `*` ends at a slash and `**/` does not.
    """

    id: int
    kinds: tuple[str, ...]  # GitHub's words for rules
    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()

    def covers(self, branch: str, default_branch: str) -> bool:
        """Whether it is about this branch."""

        def fits(pattern: str) -> bool:
            if pattern == "~ALL":
                return True
            wanted = f"refs/heads/{default_branch}" if pattern == "~DEFAULT_BRANCH" else pattern
            pieces = (_WILD.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*|\?)", wanted))
            return re.fullmatch("".join(pieces), f"refs/heads/{branch}") is not None

        return any(map(fits, self.include)) and not any(map(fits, self.exclude))


@dataclass(frozen=True)
class CheckState:
    """One required context on one commit: `expected` (absent), `pending`, `failing` or `passing`."""

    context: str
    state: str


def of(pull: Pull) -> Protection:
    """What the PR's base branch demands; nothing where it is not protected."""
    return pull.repo.protections.get(pull.base_ref, Protection())


def rule_sets(repo: Repository, branch: str) -> list[RuleSet]:
    """Those that cover a branch, beside the one that its protection may be told by."""
    return [one for one in repo.rule_sets if one.covers(branch, repo.default_branch)]


def may_delete(repo: Repository, branch: str) -> str:
    """Why GitHub does not delete a branch that somebody wants to be deleted; "" when it does."""
    if branch == repo.default_branch:
        return "Cannot delete the default branch"
    own = repo.protections.get(branch)
    if own is not None and not own.by_rules:
        return "Cannot delete a protected branch"
    if any("deletion" in one.kinds for one in rule_sets(repo, branch)):
        return "Repository rule violations found\n\nCannot delete this branch\n\n"
    return ""


def holds(pull: Pull, actor: User) -> bool:
    """Whether the demands bind this account."""
    return actor.id not in of(pull).exempt


def required_checks(pull: Pull) -> list[CheckState]:
    """The state of each context that the base branch demands."""
    found = checks.states(pull.repo, pull.head_sha)
    return [CheckState(name, found.get(name, "expected")) for name in of(pull).checks]


def review_decision(world: World, pull: Pull) -> str | None:
    """GitHub's word; None where nothing asks for reviews, whatever was said in them (github-metrics-aggregator#224)."""
    wanted = of(pull).reviews
    if not wanted:
        return None
    latest = {
        review.user.id: review.state
        for review in pull.reviews
        if review.user and review.state in _OPINIONS and world.may(pull.repo, review.user, "write")
    }
    if "CHANGES_REQUESTED" in latest.values():
        return "CHANGES_REQUESTED"
    return "APPROVED" if list(latest.values()).count("APPROVED") >= wanted else "REVIEW_REQUIRED"


def debts(world: World, pull: Pull) -> list[str]:
    """GitHub's sentence for each demand that is not met; the queue and an old base are asked for apart."""
    found = []
    owed = [check for check in required_checks(pull) if check.state != "passing"]
    if len(owed) == 1:
        found.append(f'Required status check "{owed[0].context}" {_CHECK_WORDS[owed[0].state]}.')
    elif owed:
        total = len(of(pull).checks)
        found.append(f"{len(owed)} of {total} required status checks have not succeeded: {_count(owed)}.")
    decision = review_decision(world, pull)
    if decision == "REVIEW_REQUIRED":
        wanted = of(pull).reviews
        plural = "review is" if wanted == 1 else "reviews are"
        found.append(f"At least {wanted} approving {plural} required by reviewers with write access.")
    elif decision == "CHANGES_REQUESTED":
        found.append("Changes were requested by a reviewer with write access.")
    if of(pull).conversations and any(not comment.resolved for comment in pull.review_comments):
        found.append("A conversation must be resolved before this pull request can be merged.")
    return found


def refusal(pull: Pull, sentences: list[str]) -> str:
    """How a merge call says it: a protection names one demand, a rule set all that are not met."""
    if not of(pull).by_rules:
        return sentences[0]
    return "\n\n".join(["Repository rule violations found", *sentences, ""])


def behind(pull: Pull) -> bool:
    """Whether the base must be in the head and is not."""
    base = pull.repo.tip(pull.base_ref)
    return of(pull).strict and base is not None and not pull.repo.bare.is_ancestor(base, pull.head_sha)


def _count(owed: list[CheckState]) -> str:
    words = [check.state for check in owed]
    return ", ".join(f"{words.count(word)} {word}" for word in ("failing", "pending", "expected") if word in words)
