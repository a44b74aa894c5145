"""Rows C of the merge specification: what is a command, who may ask, and how it is taken back."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from orchestrator.twin import Fault, status
from orchestrator.twin.say import Person
from tests.house import House
from tests.merging import (
    LANDED,
    REFUSED,
    SAID,
    SEEN,
    STOPPED,
    announced,
    green,
    opens,
    refusal,
    short,
)


@pytest.mark.parametrize(
    "text",
    [
        "```\n/merge\n```",
        "    /merge",
        "text `\n/merge\n` text",
        "> /merge",
        "<!--\n/merge\n-->",
        "[\n/merge\n](https://example.com)",
    ],
    ids=["fence", "indented", "code", "quote", "html", "link"],
)
def test_C1_a_command_that_is_shown_as_something_else_is_none(house: House, text: str) -> None:
    pull = green(house)
    house.alice.comments(pull, text)
    house.quiet()
    assert house.said(pull) == []
    assert not pull.merged


@pytest.mark.parametrize("text", ["Fine.\r\n\r\n/merge\r\n", "   /merge  \t"], ids=["crlf", "blanks"])
def test_C2_line_ends_and_blanks_do_not_hide_the_command(house: House, text: str) -> None:
    pull = green(house)
    house.alice.comments(pull, text)
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@pytest.mark.parametrize("text", ["\u00a0/merge", "\u200b/merge"], ids=["no-break", "zero-width"])
def test_C2_characters_that_cannot_be_seen_make_no_command(house: House, text: str) -> None:
    pull = green(house)
    house.alice.comments(pull, text)
    house.quiet()
    assert house.said(pull) == []


def test_C3_a_fence_that_is_never_closed_runs_to_the_end(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "```sh\nmake\n\n/merge")
    house.quiet()
    assert house.said(pull) == []


def test_C4_words_around_the_command_make_it_none(house: House) -> None:
    pull = green(house)
    for text in ("please /merge", "/merged", "/merge-base", "`/merge`"):
        house.alice.comments(pull, text)
    house.quiet()
    assert house.said(pull) == []


@pytest.mark.parametrize("text", ["/merge now", "/merge 12345"])
def test_C5_an_argument_that_means_nothing_is_answered_with_the_usage(house: House, text: str) -> None:
    pull = green(house)
    house.alice.comments(pull, text)
    house.quiet()
    [said] = house.said(pull)
    assert "`/merge`, `/merge <sha>` or `/merge cancel`" in said
    house.expect(SAID)


def test_C5_a_mistyped_command_does_not_swallow_the_right_one(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "/merge now")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    house.expect(*LANDED)


def test_C8_a_strangers_command_does_not_swallow_a_maintainers(house: House) -> None:
    pull = green(house)
    house.mallory.comments(pull, "/merge")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    house.expect(*LANDED)


def test_C5_naming_an_older_head_is_answered_with_the_one_of_now(house: House) -> None:
    pull = opens(house)
    old = pull.head_sha
    new = house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.passes(pull, "build")
    house.alice.comments(pull, f"/merge {old[:12]}")
    house.quiet()
    said = refusal(house, pull)
    assert short(new) in said
    assert f"`/merge {new[:12]}`" in said
    house.expect(*REFUSED)


def test_C5_naming_the_head_settles_every_doubt_about_a_late_push(house: House) -> None:
    pull = green(house)
    new = house.alice.pushes(house.repo, "topic", {"more.txt": "more\n"})
    house.ci.passes(pull, "build")
    house.alice.comments(pull, f"/merge {new[:7].upper()}")
    house.quiet()
    assert short(new) in announced(house, pull)
    house.expect(*LANDED)


def test_C8_who_may_not_write_is_told_so_once_for_each_pull_request(house: House) -> None:
    pull = opens(house, by=house.mallory)
    house.ci.passes(pull, "build")
    carol = house.github.user("carol", house.repo, permission="triage")
    for _ in range(3):
        house.mallory.comments(pull, "/merge")
        house.quiet()
    carol.comments(pull, "/merge")
    house.quiet()
    said = house.said(pull)
    assert ["@mallory" in text and "write permission" in text for text in said] == [True, False]
    assert "@carol" in said[1]
    assert not pull.merged
    house.github.journal.claim(SAID, times=2)


ALICES = "GET collaborators/alice/permission"


def test_C9_a_member_whom_github_calls_a_contributor_may_merge(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.quiet()
    [listed, *_] = house.github.journal.find(f"GET issues/{pull.number}/comments")
    assert [comment["author_association"] for comment in listed.answer] == ["CONTRIBUTOR"]
    announced(house, pull)
    house.expect(*LANDED)


def permission_of_alice(house: House) -> dict[str, Any]:
    """GitHub's present answer."""
    at = f"{house.github.url}/repos/acme/app/collaborators/alice/permission"
    with urlopen(Request(at, headers={"Authorization": f"Bearer {house.token}"})) as answer:
        return dict(json.load(answer))


@pytest.mark.parametrize(
    ("word", "role", "may"),
    [("write", "deployer", True), ("read", "admin", False), ("maintain", "maintain", False), ("owner", "write", False)],
)
def test_C10_the_four_words_of_the_permission_decide_and_not_the_role(
    house: House, word: str, role: str, may: bool
) -> None:
    pull = green(house)
    shown = {**permission_of_alice(house), "permission": word, "role_name": role}
    house.github.faults.add(Fault(ALICES, status(200, shown), times=99))
    house.alice.comments(pull, "/merge")
    house.quiet()
    if may:
        announced(house, pull)
    else:
        assert "@alice has no write permission" in refusal(house, pull)
    house.expect(*(LANDED if may else (SAID,)))


def renames(house: House, person: Person, login: str) -> None:
    """The account has another login from now on; the old one is free."""
    with house.github.world.lock:
        users = house.github.world.users
        users[login] = users.pop(person.login)
        person.thing.login = login


def test_C13_somebody_who_was_renamed_before_the_lookup_is_refused(house: House) -> None:
    pull = green(house)
    house.alice.comments(pull, "/merge")
    house.github.before(ALICES, lambda: renames(house, house.alice, "alicia"))
    house.quiet()
    assert [e.status for e in house.github.journal.find(ALICES)] == [404]
    assert "@alice has no write permission" in refusal(house, pull)
    house.expect(SAID)


@pytest.mark.parametrize(("nth", "changes"), [(1, (SAID,)), (3, STOPPED)], ids=["when it is heard", "before the call"])
def test_C13_a_login_that_somebody_else_took_over_does_not_merge(
    house: House, nth: int, changes: tuple[str, ...]
) -> None:
    pull = green(house)

    def swap() -> None:
        renames(house, house.alice, "alicia")
        house.github.user("alice", house.repo, permission="admin")

    house.alice.comments(pull, "/merge")
    house.github.before(ALICES, swap, nth=nth)
    house.quiet()
    assert house.github.journal.find(ALICES)[-1].answer["permission"] == "admin"
    assert "@alice has no write permission" in refusal(house, pull)
    house.expect(*changes)


def test_C14_bots_are_not_heard(house: House) -> None:
    pull = green(house)
    bot = house.github.user("helper[bot]", house.repo, permission="write", kind="Bot")
    bot.comments(pull, "/merge")
    house.quiet()
    assert house.said(pull) == []
    assert not pull.merged


def test_C15_on_an_issue_there_is_silence(house: House) -> None:
    issue = house.alice.opens_issue(house.repo, "A question")
    asked = house.alice.comments(issue, "/merge")
    house.quiet()
    assert house.said(issue) == []
    assert asked.reactions == []


def test_C15_on_a_closed_pull_request_there_is_one_reply(house: House) -> None:
    pull = green(house)
    house.alice.closes(pull)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "closed" in refusal(house, pull)
    house.expect(*REFUSED)


def test_C15_on_a_merged_pull_request_the_rest_is_tidied_up(house: House) -> None:
    pull = green(house)
    sha = house.alice.merges(pull)
    house.bob.comments(pull, "/merge")
    house.quiet()
    assert short(sha) in announced(house, pull)
    assert "topic" not in house.repo.branches
    house.expect(*REFUSED, "DELETE git/refs/heads/topic")


def test_C11_who_lost_the_right_while_commands_ran_does_not_merge(house: House) -> None:
    pull = green(house)
    house.github.before(
        "GET collaborators/alice/permission",
        lambda: house.github.permission(house.alice, house.repo, "read"),
        nth=3,
    )
    house.alice.comments(pull, "/merge")
    house.quiet()
    said = refusal(house, pull)
    assert "@alice has no write permission" in said
    assert short(pull.head_sha) in said
    house.expect(*STOPPED)


def test_C12_a_permission_that_cannot_be_read_is_waited_for(house: House) -> None:
    pull = green(house)
    house.github.faults.add(Fault("GET collaborators/*", status(500), times=7))
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    house.github.journal.claim(SAID, times=1)
    house.expect(*LANDED)


def test_P8_deleting_the_comment_takes_it_back(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    asked = house.alice.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    house.alice.deletes(asked)
    house.ci.passes(pull, "build")
    house.quiet()
    assert "Cancelled by @alice" in refusal(house, pull)
    house.expect(*STOPPED)


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda house, pull: house.alice.drafts(pull), "draft"),
        (lambda house, pull: house.alice.closes(pull), "closed"),
        (lambda house, pull: house.alice.retargets(pull, "develop"), "`main` to `develop`"),
        (lambda house, pull: house.alice.comments(pull, "/merge cancel"), "Cancelled by @alice"),
    ],
    ids=["draft", "closed", "retargeted", "cancelled"],
)
def test_an_attempt_that_waits_ends_when_the_pull_request_changes(house: House, act: object, word: str) -> None:
    house.alice.pushes(house.repo, "develop", {"develop.txt": "new\n"})
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.bob.comments(pull, "/merge")
    house.until(lambda: any("waiting for checks" in text for text in house.said(pull)))
    asked = house.clock.now()
    assert callable(act)
    act(house, pull)
    house.until(lambda: len(house.said(pull)) > 1)
    assert house.clock.now() - asked <= 61
    house.quiet()
    assert word in refusal(house, pull)
    house.expect(*STOPPED)


def test_mallory_cannot_cancel_what_bob_asked_for(house: House) -> None:
    pull = opens(house)
    house.ci.runs(pull, "build")
    house.bob.comments(pull, "/merge")
    house.until(lambda: bool(house.said(pull)))
    house.mallory.comments(pull, "/merge cancel")
    house.clock.advance(120)
    house.ci.passes(pull, "build")
    house.quiet()
    announced(house, pull)
    house.github.journal.claim(SEEN, times=1)
    house.expect(*LANDED)
