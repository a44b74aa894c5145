"""The head branch of a merged PR: it goes when nothing relies on it, else it stays and the reason is said.

Guaranteed: it goes only when every question was answered, and
- no open PR has it as head or as base, here or where this repository was forked from: GitHub would close those
  unmerged (cli/cli#1168);
- it is still what the PR left, not the default branch, not `BASE_BRANCH`, not protected, and no rule forbids it to go;
- it is a topic branch: one that this daemon made, or one that no PR ever had as base, that no rule or rule set is
  about, that no web site is published from, and whose name is none that lasting branches have.
That takes five requests, and one more for each rule set (at most `RULE_SETS_READ`), for the site and for each origin
of a fork.

Known and left alone: what happens between the last look and the deletion; a PR that was pointed at another base
before; PRs in a repository that is neither this one nor its origin; what deploys from it without a rule that says so.
"""

from __future__ import annotations

import re

from orchestrator import staying, texts
from orchestrator.errors import Retry
from orchestrator.github.branch import Branch, Rule
from orchestrator.github.transport import ApiError, Moved
from orchestrator.jobs.desk import Desk
from orchestrator.log import get
from orchestrator.model import PullRequest, RepoFacts

RULE_SETS_READ = 5

# Rules about what may get into a branch: nobody works on one that has them.
_GUARDS = frozenset(
    (
        *("pull_request", "merge_queue", "required_status_checks", "required_deployments", "update", "workflows"),
        *("code_scanning", "license_compliance_scanning"),
    )
)
_LASTING = re.compile(
    r"""main(?:line)? | master | trunk | default
    | dev(?:el(?:op(?:ment)?)?)? | integration | next | canary | nightly | edge | unstable
    | alpha | beta | preview | qa | uat | staging | stage | pre-?prod(?:uction)? | prod(?:uction)? | live
    | stable | lts | releases? | gh-pages
    | (?:releases?|stable|support|maintenance|lts)[-/]v?\d[\w.]*
    | v?\d+(?:\.(?:\d+|x))+ | v?\d+-(?:x|stable|lts) | v\d+""",
    re.VERBOSE | re.IGNORECASE,
)


def delete_branch(desk: Desk, pull: PullRequest) -> str:
    """Delete the head branch when that is safe; else the reason why it stays ("" when it is gone)."""
    if desk.job.effects.get("branch") or not desk.settings.delete_branch:
        return ""
    if pull.head_repo_id != desk.place.repo.id:
        return staying.IN_ANOTHER_REPO
    branch = Branch(desk.api, pull.head_ref)
    try:
        stays = _reason(desk, branch, pull)
    except ApiError as error:
        return staying.relations_unread(str(error))
    except (Retry, AttributeError, KeyError, TypeError, ValueError) as trouble:
        # An answer that is not understood is as good as none.
        get().warning("branch_kept", trouble=str(trouble) if isinstance(trouble, Retry) else repr(trouble))
        return staying.NOT_SAID
    if stays is not None:
        return stays
    try:
        desk.effects.once("branch", branch.delete, lambda: None)
    except ApiError as error:
        return texts.answered(error.status)
    except Retry as trouble:
        get().warning("branch_kept", trouble=str(trouble))
        return staying.NOT_SAID
    return "" if desk.job.effects.get("branch") else staying.NOT_DELETED


def _reason(desk: Desk, branch: Branch, pull: PullRequest) -> str | None:
    """Why it stays, "" when it is gone already, None when it may go."""
    about, ours = desk.api.facts(), desk.made(branch.name)
    if branch.name == about.repo.default_branch:
        return staying.IS_DEFAULT
    if branch.name == desk.settings.base_branch:
        return staying.IS_BASE_BRANCH
    into = branch.pulls_into("open" if ours else "all")
    if stacked := [number for number, is_open in into if is_open]:
        return staying.stacked(stacked)
    if others := _others(branch, pull, about):
        return staying.same_branch(others)
    rules = branch.rules()
    if any(rule.kind == "deletion" for rule in rules):
        return staying.MAY_NOT_GO
    if not ours and (lasting := _lasting(branch, [number for number, _ in into], rules, about)):
        return lasting
    return _where_it_is(desk, branch, pull, bool(rules))


def _others(branch: Branch, pull: PullRequest, about: RepoFacts) -> list[str]:
    """The other open PRs of the same branch, as they are called here."""
    here = [f"#{number}" for number in branch.pulls_from(about.repo.id) if number != pull.number]
    # In code, since a mention would appear on that other PR.
    there = [f"`{name}#{number}`" for name in about.upstream for number in branch.pulls_from(about.repo.id, name)]
    return [*here, *there]


def _lasting(branch: Branch, into: list[int], rules: list[Rule], about: RepoFacts) -> str:
    """By which sign it is no topic branch; "" when there is none."""
    if into:
        return staying.was_base(into)
    if _LASTING.fullmatch(branch.name):
        return staying.NAMED_TO_LAST
    if any(rule.kind in _GUARDS for rule in rules):
        return staying.HAS_RULES
    rule_sets = sorted({rule.rule_set for rule in rules})
    if len(rule_sets) > RULE_SETS_READ:
        return staying.many_rule_sets(len(rule_sets))
    if any(branch.is_named(number) for number in rule_sets):
        return staying.HAS_RULES
    return staying.IS_PUBLISHED if about.has_pages and branch.is_published() else ""


def _where_it_is(desk: Desk, branch: Branch, pull: PullRequest, ruled: bool) -> str | None:
    """The deletion takes no expected commit: what is pushed after this is lost, so it is looked at last."""
    try:
        standing = branch.standing()
    except Moved:
        # GitHub leads from the name that a branch had to the one that it has now.
        if desk.api.branch_sha(branch.name) is not None:
            raise
        return ""
    if standing is None:
        return ""
    if standing.sha != pull.head_sha or (desk.job.head and standing.sha != desk.job.head):
        return staying.got_commits(standing.sha)
    return staying.IS_PROTECTED if standing.protected and not (standing.by_rules and ruled) else None
