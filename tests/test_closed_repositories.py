"""One repository never stops the others: what cannot be served is set aside with a sentence, and taken up again."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest

from orchestrator import state
from orchestrator.decide.limits import Limits
from orchestrator.errors import Missing
from orchestrator.patience import LONGEST
from orchestrator.record import Status
from orchestrator.status import document, text
from orchestrator.twin import Fault, IssueHandle, RepoHandle, status
from tests.closing import (
    HOUR,
    WAYS,
    Way,
    bound,
    counted,
    expect_all,
    for_a_while,
    now,
    second_repository,
    served,
    wishes,
)
from tests.conftest import MakeHouse
from tests.faulty import events
from tests.house import House
from tests.merging import POLL, announced, green, no, opens, refusal
from tests.sizes import some

BOTH = "acme/other,acme/app"
SOON = 2 * LONGEST
PROBE = 4  # requests that a job makes until it meets what keeps it from working


def begins(house: House) -> None:
    """As `orchestrator run` begins."""
    house.start(checks=True)


def shown(house: House) -> tuple[str, list[dict[str, Any]]]:
    """What `orchestrator status` says, and its list of repositories that are set aside."""
    saved = state.read(house.folder / "state.json")
    at = house.clock.now()
    return text(saved, at, Limits(0, 0, 0), 200), document(saved, at, Limits(0, 0, 0))["asides"]


@pytest.mark.parametrize("name", some(list(WAYS), 3))
def test_J_what_is_closed_while_the_daemon_runs_is_set_aside_and_taken_up_again(
    make_house: MakeHouse, lines: list[Any], name: str
) -> None:
    way = WAYS[name]
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    begins(house)
    house.quiet()
    way.close(house, other)
    there = wishes(house, other)
    for_a_while(house, HOUR)
    before = now(house)
    for_a_while(house, HOUR)
    assert counted(house, other, before) <= bound(HOUR) * (PROBE if way.at_work else 1)
    [aside] = events(lines, "repository_set_aside")
    assert (aside["repo"], aside["log_level"], aside["again_in_seconds"]) == ("acme/other", "error", LONGEST)
    assert way.says in aside["reason"]
    page, [told] = shown(house)
    assert (told["repo"], told["reason"], told["still"]) == ("acme/other", aside["reason"], "")
    assert "set aside: acme/other for " in page
    assert "looked at again every 5 min" in page
    assert not served(other, there)

    here = wishes(house, house.repo)
    house.until(lambda: served(house.repo, here), most=5 * POLL)
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=5 * POLL)

    way.open(house, other)
    house.until(lambda: served(other, there), most=SOON + 5 * POLL)
    for_a_while(house, 5 * POLL)
    [back] = events(lines, "repository_back")
    assert back["repo"] == "acme/other"
    assert shown(house)[1] == []
    assert len(events(lines, "repository_set_aside")) == 1
    assert events(lines, "nothing_starts") == events(lines, "job_broke") == events(lines, "poll_broke") == []
    expect_all(house)


AT_LOOK = list(product((name for name, way in WAYS.items() if not way.at_work), (False, True)))


@pytest.mark.parametrize(("name", "known"), some(AT_LOOK, 3))
def test_case_43_a_start_serves_what_can_be_served(
    make_house: MakeHouse, lines: list[Any], name: str, known: bool
) -> None:
    way = WAYS[name]
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    if known:
        begins(house)
        house.quiet()
        house.stop()
    way.close(house, other)
    there, here = wishes(house, other), wishes(house, house.repo)
    begins(house)
    [aside] = events(lines, "repository_set_aside")
    assert (aside["repo"], aside["log_level"]) == ("acme/other", "error")
    assert way.says in aside["reason"]
    house.until(lambda: served(house.repo, here), most=5 * POLL)
    before = now(house)
    for_a_while(house, HOUR)
    assert counted(house, other, before) <= bound(HOUR)
    assert shown(house)[1][0]["repo"] == "acme/other"
    way.open(house, other)
    house.until(lambda: served(other, there), most=SOON + 5 * POLL)
    for_a_while(house, 5 * POLL)
    assert [line["repo"] for line in events(lines, "repository_back")] == ["acme/other"]
    assert len(events(lines, "repository_set_aside")) == 1
    expect_all(house)


def test_case_43_a_start_without_any_that_can_be_served_says_why_of_each(make_house: MakeHouse) -> None:
    house = make_house(github_repo=f"{BOTH},acme/none")
    other = second_repository(house)
    WAYS["archived"].close(house, house.repo)
    WAYS["sso"].close(house, other)
    with pytest.raises(Missing) as ended:
        begins(house)
    lacks = dict(line.split(": ", 1) for line in str(ended.value).splitlines())
    assert list(lacks) == ["acme/other", "acme/app", "acme/none"]
    assert "single sign-on" in lacks["acme/other"]
    assert "archived" in lacks["acme/app"]
    assert "404" in lacks["acme/none"]


def test_case_43_what_is_set_aside_at_a_start_is_told_at_the_next_one_too(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    house.github.hides(other)
    for number in range(1, 4):
        begins(house)
        for_a_while(house, HOUR)
        assert len(events(lines, "repository_set_aside")) == number
        assert shown(house)[1][0]["since"] <= house.clock.now() - number * HOUR
        house.stop()
    house.github.hides(other, hidden=False)
    begins(house)
    for_a_while(house, 2 * POLL)
    assert len(events(lines, "repository_back")) == 1
    house.stop()
    house.options["github_repo"] = "acme/app"


def test_case_43_what_is_not_watched_any_more_is_not_told_of(make_house: MakeHouse) -> None:
    house = make_house(github_repo=BOTH)
    begins(house)
    for_a_while(house, 2 * POLL)
    assert [aside["repo"] for aside in shown(house)[1]] == ["acme/other"]
    house.stop()
    house.options["github_repo"] = "acme/app"
    begins(house)
    for_a_while(house, 2 * POLL)
    assert shown(house)[1] == []


def test_case_43_a_bad_hour_of_github_at_the_start_sets_aside_what_it_strikes(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    house.github.faults.add(Fault("GET /repos/acme/other", status(502), times=3))
    there = wishes(house, other)
    begins(house)
    house.until(lambda: served(other, there), most=5 * POLL)
    [aside] = events(lines, "repository_set_aside")
    assert "GitHub answered 502. Check the network" in aside["reason"]
    expect_all(house)


def test_case_43_a_repository_that_was_renamed_meanwhile_is_followed_by_the_start(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    begins(house)
    house.quiet()
    house.stop()
    house.github.renames(other, "elsewhere/better")  # a transfer
    taken = second_repository(house)  # and another one has its name
    mine = wishes(house, taken)
    there = wishes(house, other)
    begins(house)
    house.until(lambda: served(other, there), most=5 * POLL)
    assert events(lines, "repository_set_aside") == []
    assert mine.reactions == []
    expect_all(house)


def test_case_43_a_name_that_was_never_watched_and_leads_elsewhere_is_set_aside(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(github_repo=BOTH)
    other = second_repository(house)
    house.github.renames(other, "acme/better")
    begins(house)
    for_a_while(house, HOUR)
    [aside] = events(lines, "repository_set_aside")
    assert "moved to another name" in aside["reason"]
    assert "Write that into GITHUB_REPO" in aside["reason"]


@pytest.mark.parametrize("again", [False, True], ids=["running", "started again"])
def test_J_two_names_of_one_repository_are_one_repository(make_house: MakeHouse, lines: list[Any], again: bool) -> None:
    house = make_house(github_repo="acme/better,acme/app", review_prs="all", review_debounce=0)
    begins(house)
    house.quiet()
    if again:
        house.stop()
    house.github.renames(house.repo, "acme/better")
    issue = wishes(house, house.repo)
    if again:
        begins(house)
    house.until(lambda: served(house.repo, issue), most=SOON + 5 * POLL)
    house.quiet()
    for_a_while(house, SOON)
    [pull] = house.repo.pulls
    assert len(pull.reviews) == 1
    asides = events(lines, "repository_set_aside")
    assert {line["repo"] for line in asides} == {"acme/better"}
    assert "It is the repository that is watched as acme/app already." in asides[-1]["reason"]
    before = now(house)
    for_a_while(house, HOUR)
    assert house.github.journal.count("GET /repos/acme/better") < bound(2 * HOUR)
    assert counted(house, house.repo, before) < 2 * bound(HOUR)
    expect_all(house)


def test_J_a_repository_without_a_commit_is_served(make_house: MakeHouse, lines: list[Any]) -> None:
    house = make_house(github_repo="acme/empty,acme/app")
    empty = house.github.repo("acme/empty")
    house.github.permission(house.robot, empty, "write")
    house.github.permission(house.alice, empty, "write")
    begins(house)
    there, here = wishes(house, empty), wishes(house, house.repo)
    house.until(lambda: served(house.repo, here), most=5 * POLL)
    house.quiet()
    assert "The repository has no commits yet" in house.said(there)[-1]
    assert events(lines, "repository_set_aside") == []
    house.alice.pushes(empty, "main", {"README.md": "hello\n"})
    house.alice.unlabels(there, "needs-human")
    house.alice.labels(there, "ready")
    house.until(lambda: served(empty, there), most=5 * POLL)
    expect_all(house)


def test_J_a_job_under_way_in_a_repository_that_is_archived_goes_on_when_it_is_open_again(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(github_repo=BOTH, pre_merge_commands=("true",))
    other = second_repository(house)
    house.alice.pushes(other, "topic", {"topic.txt": "new\n"})
    pull = house.alice.opens_pr(other, "topic")
    house.github.ci(other).passes(pull, "build")
    begins(house)
    house.clock.advance(5)
    house.github.before("PUT /repos/acme/other/pulls/*", lambda: other.settings(archived=True))
    house.alice.comments(pull, "/merge")
    for_a_while(house, HOUR)
    [aside] = events(lines, "repository_set_aside")
    assert "It is archived" in aside["reason"]
    [job] = house.jobs
    assert (job.status, job.failures) == (Status.WAITING, 0)
    assert len(house.said(pull)) == 1
    other.settings(archived=False)
    house.until(lambda: pull.merged, most=SOON + 5 * POLL)
    house.quiet()
    announced(house, pull)
    expect_all(house)


def test_J_more_work_than_slots_in_a_closed_repository_takes_none_of_the_others(make_house: MakeHouse) -> None:
    house = make_house(github_repo=BOTH, max_concurrent=1)
    other = second_repository(house)
    begins(house)
    house.quiet()
    WAYS["git"].close(house, other)
    there = [wishes(house, other) for _ in range(4)]
    for_a_while(house, SOON)
    before = now(house)
    here = wishes(house, house.repo)
    house.until(lambda: served(house.repo, here), most=5 * POLL)
    for_a_while(house, HOUR)
    tried = [e for e in house.github.journal.exchanges if e.git and e.number > before and "/other.git" in e.path]
    assert 0 < len(tried) <= bound(HOUR)
    WAYS["git"].open(house, other)
    house.until(lambda: all(served(other, issue) for issue in there), most=SOON + 10 * POLL)
    expect_all(house)


# Issues are switched off


@pytest.mark.parametrize("how", ["switched off", "lists only"])
def test_case_27_without_issues_reviews_and_merges_go_on(make_house: MakeHouse, lines: list[Any], how: str) -> None:
    house = make_house(review_prs="all", review_debounce=0)
    begins(house)
    house.quiet()
    issue = house.alice.opens_issue(house.repo, "Greet people")
    if how == "switched off":
        house.repo.settings(has_issues=False)
    else:
        gone = no(410, "Issues are disabled for this repo")
        for listed in ("GET issues", "GET issues/comments"):
            house.github.faults.add(Fault(listed, gone, times=1_000_000))
    house.alice.labels(issue, "ready")
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.until(lambda: pull.merged, most=5 * POLL)
    house.quiet()
    announced(house, pull)
    second = green(house, "second")
    house.quiet()
    assert len(second.reviews) == 1
    assert issue.reactions == []
    [told] = events(lines, "repository_served_in_part")
    assert (told["still"], told["again_in_seconds"]) == ("reviews and merges", LONGEST)
    assert "Its issues are switched off" in told["reason"]
    page, [aside] = shown(house)
    assert aside["still"] == "reviews and merges"
    assert "served in part (reviews and merges): acme/app" in page
    assert events(lines, "repository_set_aside") == []
    if how == "switched off":
        house.repo.settings(has_issues=True)
    else:
        house.github.faults.clear()
    house.until(lambda: served(house.repo, issue), most=SOON + 5 * POLL)
    assert len(events(lines, "repository_back")) == 1
    assert shown(house)[1] == []
    house.quiet()
    expect_all(house)


def off(house: House, **settings: Any) -> None:
    """The daemon runs where issues are switched off."""
    house.repo.settings(has_issues=False)
    house.start(**settings)
    house.quiet()


def test_case_27_an_idle_poll_without_issues_costs_one_request_that_is_not_counted(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "Well done.")
    house.clock.advance(HOUR)
    off(house)
    before = now(house)
    for_a_while(house, HOUR / 3)
    asked = [e for e in house.github.journal.exchanges if e.number > before]
    free = [e for e in asked if e.status == 304]
    assert {e.short for e in free} == {"GET pulls"}
    assert len(free) >= HOUR / 3 / POLL - 2
    assert len(asked) - len(free) <= HOUR / 3 / LONGEST + 6  # and what a full reading takes


@pytest.mark.parametrize("page", [2, 100])
def test_case_27_no_command_is_missed_without_issues(make_house: MakeHouse, page: int) -> None:
    """Among many remarks, in the second in which something else was read, and listed late."""
    house = make_house(page=page)
    off(house)
    pulls = [green(house, name) for name in ("one", "two", "three")]
    for number in range(5):
        house.bob.comments(pulls[0], f"Remark {number}")
    house.until(lambda: house.github.journal.count("GET issues/1/comments") > 0, most=5 * POLL)
    house.alice.comments(pulls[0], "/merge")
    house.until(lambda: pulls[0].merged, most=5 * POLL)
    house.quiet()

    house.bob.comments(pulls[1], "First")
    house.github.after("GET issues/2/comments", lambda: house.alice.comments(pulls[1], "/merge"))
    house.until(lambda: pulls[1].merged, most=5 * POLL)
    house.quiet()

    house.github.lag("comments", 2)
    house.alice.comments(pulls[2], "/merge")
    house.until(lambda: pulls[2].merged, most=10 * POLL)
    house.quiet()
    expect_all(house)


def test_case_27_a_command_is_obeyed_once_without_issues_also_over_restarts(house: House) -> None:
    off(house)
    pull = opens(house)
    house.ci.fails(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "not green" in refusal(house, pull)
    for _ in range(3):
        for_a_while(house, HOUR)
        house.stop()
        house.clock.advance(60)
        house.start()
        house.quiet()
    refusal(house, pull)
    house.alice.closes(pull)
    house.bob.comments(pull, "/merge")
    house.quiet()
    assert "The PR is closed. Reopen it first." in house.said(pull)[-1]
    expect_all(house)


def test_case_27_work_on_an_issue_waits_while_issues_are_switched_off(make_house: MakeHouse, lines: list[Any]) -> None:
    house = make_house()
    begins(house)
    issue = wishes(house, house.repo)
    house.github.before("POST pulls", lambda: house.repo.settings(has_issues=False))
    for_a_while(house, HOUR)
    job = house.job("implement", issue.number)
    assert job.status is Status.WAITING
    assert events(lines, "nothing_starts") == []
    assert [line["event"] for line in lines if line["event"] in ("job_broke", "job_parked")] == []
    house.repo.settings(has_issues=True)
    house.until(lambda: served(house.repo, issue), most=SOON + 5 * POLL)
    assert len(house.repo.pulls) == 1
    expect_all(house)


# All of it by dice


class Fleet:
    """Three repositories that close and open, and people who wish for work in them."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.dice = random.Random(seed)
        self.repos = [house.repo, second_repository(house), second_repository(house, "acme/third")]
        self.closed: dict[str, Way] = {}
        self.wished: list[tuple[RepoHandle, IssueHandle]] = []
        self.story: list[str] = []

    def turns(self) -> None:
        """One of them is closed, or opened again."""
        repo = self.dice.choice(self.repos)
        way = self.closed.pop(repo.name, None)
        if way is None:
            name = self.dice.choice(list(WAYS))
            self.story.append(f"{repo.name} closed: {name}")
            self.closed[repo.name] = WAYS[name]
            WAYS[name].close(self.house, repo)
        else:
            self.story.append(f"{repo.name} opened")
            way.open(self.house, repo)

    def wishes(self) -> None:
        repo = self.dice.choice(self.repos)
        issue = wishes(self.house, repo, f"Wish {len(self.wished)}")
        self.wished.append((repo, issue))
        self.story.append(f"wish {repo.name}#{issue.number}")

    def starts_again(self) -> None:
        self.house.stop()
        self.story.append("started again")
        try:
            begins(self.house)
        except Missing:
            self.story.append("none can be served")
            assert len(self.closed) == len(self.repos), self.story
            self.house.stop()
            self.house.start()  # as if the last one had been closed a moment later

    def look(self, seconds: float) -> None:
        """After a while what is open is served, and what is closed was hardly asked for."""
        before = now(self.house)
        for_a_while(self.house, seconds)
        for repo, issue in self.wished:
            assert repo.name in self.closed or served(repo, issue), (repo.name, issue.number, self.story)
        for repo in self.repos:
            # A full reading and the jobs of the moment before come on top.
            most = bound(seconds) + 60
            assert repo.name not in self.closed or counted(self.house, repo, before) <= most, self.story


@pytest.mark.parametrize("seed", some(range(6), 6))
def test_J_whichever_is_open_is_served_whatever_the_others_are(make_house: MakeHouse, seed: int) -> None:
    house = make_house(github_repo="acme/app,acme/other,acme/third", page=100)
    fleet = Fleet(house, seed)
    begins(house)
    for _ in range(8):
        for _ in range(fleet.dice.randrange(1, 4)):
            fleet.dice.choice((fleet.turns, fleet.turns, fleet.wishes, fleet.wishes, fleet.starts_again))()
        fleet.look(3 * LONGEST)
    for repo in fleet.repos:
        if way := fleet.closed.pop(repo.name, None):
            way.open(house, repo)
    fleet.look(3 * LONGEST)
    assert shown(house)[1] == []
    expect_all(house)
