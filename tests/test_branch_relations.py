"""A merged branch goes only when nothing relies on it, and that can be read."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from orchestrator.jobs.branch import RULE_SETS_READ
from orchestrator.twin import Fault, PullHandle, status
from orchestrator.twin.faults import Kind
from orchestrator.twin.merging import NotMerged
from tests.conftest import MakeHouse
from tests.house import House
from tests.merging import CALLED, DELETED, EDITED, LANDED, SAID, SEEN, announced, ask, green, no, opens
from tests.sizes import some

STAYS = (SEEN, SAID, EDITED, CALLED)


def stays(house: House, pull: PullHandle, why: str) -> None:
    """Merged, its branch is still there, and the reason is said."""
    assert f"The branch `{pull.head_ref}` was kept: {why}" in announced(house, pull)
    assert pull.head_ref in house.repo.branches
    house.expect(*STAYS)


def goes(house: House, pull: PullHandle) -> None:
    """Merged, and its branch is gone without a word."""
    assert "was kept" not in announced(house, pull)
    assert pull.head_ref not in house.repo.branches
    house.expect(*LANDED)


def test_case_09_a_branch_that_another_open_pull_request_has_stays(house: House) -> None:
    house.alice.pushes(house.repo, "release", {"release.txt": "1\n"})
    first = green(house, "fix")
    second = house.alice.opens_pr(house.repo, "fix", base="release")
    ask(house, first)
    stays(house, first, f"another open pull request has the same branch (#{second.number}).")
    assert second.open
    house.clock.advance(5)
    ask(house, second)
    goes(house, second)


def test_case_09_all_others_of_the_same_branch_are_named(house: House) -> None:
    for base in ("release", "next"):
        house.alice.pushes(house.repo, base, {f"{base}.txt": "1\n"})
    first = green(house, "fix")
    others = [house.alice.opens_pr(house.repo, "fix", base=base) for base in ("release", "next")]
    ask(house, first)
    named = ", ".join(f"#{pull.number}" for pull in reversed(others))
    stays(house, first, f"other open pull requests have the same branch ({named}).")
    assert all(pull.open for pull in others)


@pytest.mark.parametrize("end", ["closed", "merged"])
def test_case_09_another_pull_request_of_the_branch_that_is_over_keeps_nothing(house: House, end: str) -> None:
    house.alice.pushes(house.repo, "release", {"release.txt": "1\n"})
    first = green(house, "fix")
    second = house.alice.opens_pr(house.repo, "fix", base="release")
    if end == "closed":
        house.alice.closes(second)
    else:
        house.bob.merges(second)
    ask(house, first)
    goes(house, first)


def test_case_09_a_fork_with_a_branch_of_the_same_name_keeps_nothing(house: House) -> None:
    house.mallory.opens_fork_pr(house.repo, {"other.txt": "1\n"}, head="fix")
    owner = house.github.users["acme"]
    owner.opens_fork_pr(house.repo, {"more.txt": "1\n"}, head="fix")  # GitHub lists heads by owner and name
    first = green(house, "fix")
    ask(house, first)
    goes(house, first)
    assert [pull.open for pull in house.repo.pulls] == [True, True, False]


def test_case_09_a_pull_request_into_what_the_repository_is_a_fork_of_counts(house: House) -> None:
    first = house.github.repo("first/app", files={"README.md": "hello\n"}, private=False)
    house.repo.thing.parent = first.thing
    pull = green(house, "fix")
    above = house.alice.opens_pr(house.repo, "fix", into=first)
    ask(house, pull)
    stays(house, pull, f"another open pull request has the same branch (`first/app#{above.number}`).")
    assert above.open
    house.bob.closes(above)
    later = green(house, "other")
    ask(house, later)
    goes(house, later)


def test_case_21_develop_stays_after_its_release(house: House) -> None:
    pull = green(house, "develop")
    ask(house, pull)
    stays(house, pull, "its name is one that lasting branches have")


@pytest.mark.parametrize("end", ["closed", "merged", "open", "fork"])
def test_case_21_a_branch_that_was_ever_a_base_stays(house: House, end: str) -> None:
    house.alice.pushes(house.repo, "team", {"team.txt": "1\n"})
    house.alice.pushes(house.repo, "step", {"step.txt": "1\n"})
    if end == "fork":
        into = house.mallory.opens_fork_pr(house.repo, {"more.txt": "1\n"}, base="team")
    else:
        into = house.alice.opens_pr(house.repo, "step", base="team")
    if end == "closed":
        house.alice.closes(into)
    elif end == "merged":
        house.bob.merges(into)
    pull = green(house, "team")
    ask(house, pull)
    if into.open:
        stays(house, pull, f"open pull requests are based on it: #{into.number}")
    else:
        stays(house, pull, f"pull requests were made into it (#{into.number}), so it is no mere topic branch")
    assert into.open is (end in ("open", "fork"))


@pytest.mark.parametrize(
    "name", ["dev", "Development", "release/1.0", "v2", "1.x", "4.2.x", "6-lts", "staging", "gh-pages", "stable/3"]
)
def test_case_21_names_of_lasting_branches(house: House, name: str) -> None:
    pull = green(house, name)
    ask(house, pull)
    stays(house, pull, "its name is one that lasting branches have")


@pytest.mark.parametrize("name", ["develop-greeting", "release-notes", "to/main", "fix-1.0", "42", "version"])
def test_case_21_names_that_only_look_like_them(house: House, name: str) -> None:
    pull = green(house, name)
    ask(house, pull)
    goes(house, pull)


def test_case_21_the_branch_that_work_starts_from_stays(make_house: MakeHouse) -> None:
    house = make_house(base_branch="team")
    pull = green(house, "team")
    ask(house, pull)
    stays(house, pull, "it is what `BASE_BRANCH` names")


RULES: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "named": (("non_fast_forward",), {"include": ["refs/heads/topic"]}, "there are rules for it"),
    "pattern": (("required_signatures",), {"include": ["refs/heads/t*"]}, "there are rules for it"),
    "deep pattern": (("creation",), {"include": ["refs/heads/**/topic"]}, "there are rules for it"),
    "guarded": (("pull_request",), {"exclude": ["refs/heads/feature/*"]}, "there are rules for it"),
    "may not go": (("deletion",), {}, "a rule set forbids to delete it"),
    "all branches": (("non_fast_forward", "commit_message_pattern"), {}, ""),
    "another branch": (("deletion", "pull_request"), {"include": ["refs/heads/main", "refs/heads/*/topic"]}, ""),
    "but not this": (("pull_request",), {"exclude": ["refs/heads/t*"]}, ""),
}


@pytest.mark.parametrize(("kinds", "about", "why"), RULES.values(), ids=RULES)
def test_case_21_rule_sets(house: House, kinds: tuple[str, ...], about: dict[str, Any], why: str) -> None:
    house.github.rules(house.repo, *kinds, **about)
    pull = green(house)
    ask(house, pull)
    if why:
        stays(house, pull, why)
    else:
        goes(house, pull)


def test_case_21_a_branch_with_a_merge_queue_or_required_checks_by_rules_stays(house: House) -> None:
    house.github.requires(house.repo, "topic", checks=["build"], by_rules=True)
    pull = green(house)
    ask(house, pull)
    stays(house, pull, "there are rules for it")


@pytest.mark.parametrize("sets", [RULE_SETS_READ, RULE_SETS_READ + 1])
def test_case_21_a_bounded_number_of_rule_sets_is_looked_at(house: House, sets: int) -> None:
    for _ in range(sets):
        house.github.rules(house.repo, "non_fast_forward")
    pull = green(house)
    ask(house, pull)
    if sets == RULE_SETS_READ:
        goes(house, pull)
        assert house.github.journal.count("GET rulesets/*") == sets
    else:
        stays(house, pull, f"{sets} rule sets cover it, which are too many to look at")
        assert house.github.journal.count("GET rulesets/*") == 0


@pytest.mark.parametrize(("source", "gone"), [("topic", False), ("main", True), ("", True)])
def test_case_21_what_the_web_site_is_made_from_stays(house: House, source: str, gone: bool) -> None:
    house.github.publishes(house.repo, source)
    pull = green(house)
    ask(house, pull)
    if gone:
        goes(house, pull)
    else:
        stays(house, pull, "the repository's web site is made from it")


def test_case_21_what_this_daemon_made_is_a_topic_branch(make_house: MakeHouse) -> None:
    """Rules for `feature/*`, and pull requests that were merged into it, are about people's work on it."""
    house = make_house(ci_settle=0)
    house.github.rules(house.repo, "required_signatures", include=["refs/heads/feature/*"])
    issue = house.alice.opens_issue(house.repo, "Wish")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    [pull] = house.repo.pulls
    house.alice.pushes(house.repo, "help", {"help.txt": "1\n"})
    house.bob.merges(house.alice.opens_pr(house.repo, "help", base=pull.head_ref))
    house.clock.advance(120)
    ask(house, pull)
    goes(house, pull)
    house.expect("POST *", "PUSH *", "DELETE *")


def test_case_21_what_this_daemon_made_stays_while_another_pull_request_needs_it(make_house: MakeHouse) -> None:
    house = make_house(ci_settle=0)
    issue = house.alice.opens_issue(house.repo, "Wish")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    house.quiet()
    [pull] = house.repo.pulls
    stacked = opens(house, "more", base=pull.head_ref)
    house.clock.advance(120)
    ask(house, pull)
    stays(house, pull, f"open pull requests are based on it: #{stacked.number}")
    house.expect("POST *", "PUSH *", "DELETE *")


UNREAD = [
    "GET pulls",
    "GET rules/branches/*",
    "GET rulesets/*",
    "GET pages",
    "GET branches/topic",
    "GET /repos/first/*",
]
ODD = {"Content-Type": "text/odd"}  # what GitHub publishes says nothing of it
TROUBLE: dict[str, tuple[Kind, str]] = {
    "refused": (no(403, "Resource not accessible by personal access token"), "what relies on it could not be read"),
    "missing": (no(404, "Not Found"), "what relies on it could not be read (GitHub answered 404"),
    "broken": (status(502), "GitHub did not say whether it may go"),
    "odd": (status(200, {"rules": "of another kind"}, ODD), "GitHub did not say whether it may go"),
    "odd list": (status(200, [{"number": 7}], ODD), "GitHub did not say whether it may go"),
}


@pytest.mark.parametrize(
    ("request_", "trouble"),
    # That there is no such branch means that it is gone.
    some([(r, t) for r in UNREAD for t in TROUBLE if (r, t) != ("GET branches/topic", "missing")], 4),
)
def test_case_21_an_answer_that_cannot_be_read_keeps_the_branch(house: House, request_: str, trouble: str) -> None:
    kind, why = TROUBLE[trouble]
    first = house.github.repo("first/app", files={"README.md": "hello\n"}, private=False)
    house.repo.thing.parent = first.thing
    house.github.rules(house.repo, "non_fast_forward")
    house.github.publishes(house.repo, "main")
    pull = green(house)
    house.github.after(CALLED, lambda: house.github.faults.add(Fault(request_, kind, times=3)))
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged and any("was kept" in text for text in house.said(pull)))
    house.github.faults.clear()
    house.quiet()
    stays(house, pull, why)


def test_case_21_five_requests_tell_whether_a_branch_may_go(house: House) -> None:
    pull = green(house)
    ask(house, pull)
    goes(house, pull)
    journal = house.github.journal
    closed = journal.find("QUERY LinkedIssues")[-1].number
    gone = journal.find(DELETED)[-1].number
    asked = [e.path for e in journal.exchanges if closed < e.number < gone and e.method == "GET"]
    at = "/repos/acme/app"
    assert asked == [
        *(f"{at}/pulls/{pull.number}", at, f"{at}/pulls", f"{at}/pulls", f"{at}/rules/branches/topic"),
        f"{at}/branches/topic",
    ]


def test_case_21_a_branch_that_was_renamed_is_as_good_as_gone(house: House) -> None:
    pull = green(house)
    elsewhere = {"message": "Moved Permanently", "url": f"{house.github.url}/repositories/5/branches/new"}
    moved = status(301, elsewhere, {"Location": elsewhere["url"]})
    house.github.faults.add(Fault("GET branches/topic", moved, times=99))
    house.github.after(CALLED, lambda: house.alice.deletes_branch(house.repo, "topic"))
    ask(house, pull)
    assert "was kept" not in announced(house, pull)
    house.expect(*STAYS)


class Tangle:
    """Pull requests that share heads and bases, made by dice; `merge` has the daemon merge one."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.dice = random.Random(seed)
        self.story: list[str] = []
        for name in BRANCHES:
            house.alice.pushes(house.repo, name, {f"{name}.txt": "1\n"}, f"Begin {name}")
        if self.dice.random() < 0.5:
            self.protected = self.dice.choice(BRANCHES)
            house.github.requires(house.repo, self.protected)
        else:
            self.protected = ""
        self.ruled = self.dice.choice(("", *BRANCHES))
        if self.ruled:
            house.github.rules(house.repo, "non_fast_forward", include=[f"refs/heads/{self.ruled}"])

    def told(self, words: str) -> None:
        self.story.append(words)

    def opens(self) -> None:
        repo = self.house.repo
        head = self.dice.choice([b for b in repo.branches if b != "main"] or ["main"])
        base = self.dice.choice([b for b in ("main", "main", *repo.branches) if b != head] or ["main"])
        taken = any(p.open and (p.head_ref, p.base_ref) == (head, base) for p in repo.pulls)
        if head != base and not taken and repo.git("rev-list", f"{base}..{head}"):
            pull = self.house.alice.opens_pr(repo, head, base=base)
            self.told(f"#{pull.number}: {head} -> {base}")

    def forks(self) -> None:
        base = self.dice.choice(self.house.repo.branches)
        name = self.dice.choice(BRANCHES)
        files = {f"fork-{len(self.story)}.txt": "1\n"}
        pull = self.house.mallory.opens_fork_pr(self.house.repo, files, head=name, base=base)
        self.told(f"#{pull.number}: fork's {name} -> {base}")

    def ends(self) -> None:
        alive = [p for p in self.house.repo.pulls if p.open]
        if not alive:
            return
        pull = self.dice.choice(alive)
        if self.dice.random() < 0.5:
            self.house.alice.closes(pull)
            self.told(f"#{pull.number} closed")
        else:
            with contextlib.suppress(NotMerged):
                self.house.bob.merges(pull)
                self.told(f"#{pull.number} merged by bob")

    def merges(self) -> None:
        repo = self.house.repo
        ours = [p for p in repo.pulls if p.open and p.pull.head_repo is repo.thing]
        if not ours:
            return
        pull = self.dice.choice(ours)
        before = {p.number for p in repo.pulls if p.open}
        others = [p for p in repo.pulls if p.open and p.number != pull.number and p.head_ref == pull.head_ref]
        relies = (
            any(p.pull.head_repo is repo.thing for p in others)
            or any(p.base_ref == pull.head_ref for p in repo.pulls)
            or pull.head_ref in ("main", self.protected, self.ruled)
        )
        self.house.clock.advance(5)
        ask(self.house, pull)
        self.told(f"#{pull.number} asked for, merged: {pull.merged}, relied on: {relies}")
        lost = [p.number for p in repo.pulls if p.number in before and not p.open and not p.merged]
        assert lost == [], self.story
        if pull.merged:
            assert (pull.head_ref in repo.branches) is relies, self.story


BRANCHES = ("one", "two", "three", "four")


@pytest.mark.parametrize("seed", some(range(8), 3))
def test_G_no_deletion_closes_a_pull_request_and_what_nothing_relies_on_goes(make_house: MakeHouse, seed: int) -> None:
    house = make_house(page=100, ci_settle=0)
    tangle = Tangle(house, seed)
    for _ in range(3):
        tangle.opens()
    deeds = (tangle.opens, tangle.opens, tangle.forks, tangle.ends, tangle.merges, tangle.merges)
    for _ in range(14):
        tangle.dice.choice(deeds)()
    for exchange in house.github.journal.mutations:
        house.github.journal.claim(f"{exchange.method} {exchange.path}")
