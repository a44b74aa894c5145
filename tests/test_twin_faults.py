"""The local GitHub: trouble on demand, late sight, and the way it ends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from orchestrator.twin import (
    Fault,
    Twin,
    apply_then,
    apply_then_reset,
    cut,
    delay,
    hang,
    html,
    reset,
    short,
    status,
)
from tests.twin_place import Place, opened

COMMENTS = "POST issues/*/comments"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        made.alice.opens_issue(made.repo, "Title")
        yield made


def written(place: Place) -> list[str]:
    return [comment.body for comment in place.repo.issues[0].comments]


def test_a_fault_strikes_the_nth_match_so_many_times(place: Place) -> None:
    place.github.faults.add(Fault("GET issues", status(503), nth=2, times=2))
    assert [place.call("GET", "issues").status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert place.call("GET", "issues/1").status_code == 200


def test_a_limit_can_be_told_with_its_headers_and_text(place: Place) -> None:
    body = {"message": "You have exceeded a secondary rate limit.", "documentation_url": "https://docs.github.com"}
    place.github.faults.add(Fault(COMMENTS, status(403, body, {"Retry-After": "60"})))
    answer = place.call("POST", "issues/1/comments", {"body": "x"})
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (403, "60", body)
    assert written(place) == []


def test_apply_then_fail_has_done_its_work(place: Place) -> None:
    place.github.faults.add(Fault(COMMENTS, apply_then(502)))
    assert place.call("POST", "issues/1/comments", {"body": "one"}).status_code == 502
    place.github.faults.add(Fault(COMMENTS, apply_then_reset()))
    with pytest.raises(requests.ConnectionError):
        place.call("POST", "issues/1/comments", {"body": "two"})
    assert written(place) == ["one", "two"]
    assert [e.status for e in place.github.journal.claim(COMMENTS, times=2)] == [502, 0]
    assert {e.login for e in place.github.journal.mutations} == {"robot"}


def test_a_reset_has_done_nothing(place: Place) -> None:
    place.github.faults.add(Fault(COMMENTS, reset()))
    with pytest.raises(requests.ConnectionError):
        place.call("POST", "issues/1/comments", {"body": "x"})
    assert written(place) == []
    assert [e.login for e in place.github.journal.mutations] == ["robot"]


def test_bodies_that_are_no_json(place: Place) -> None:
    for kind in (short(), html()):
        place.github.faults.add(Fault("GET issues", kind))
        answer = place.call("GET", "issues")
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(answer.text)
    place.github.faults.add(Fault("GET issues", cut()))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        place.call("GET", "issues")


def test_a_late_answer_is_late(place: Place) -> None:
    place.github.faults.add(Fault("GET issues", delay(0.2)))
    assert place.call("GET", "issues").elapsed.total_seconds() >= 0.2
    assert place.call("GET", "issues").elapsed.total_seconds() < 0.2


def test_a_hanging_request_ends_with_the_client_or_with_the_twin(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    reached = threading.Event()
    with Twin(tmp_path) as github, requests.Session() as session:
        github.faults.add(Fault("GET /user", hang(), times=2))
        with pytest.raises(requests.ReadTimeout):
            session.get(f"{github.url}/user", timeout=0.2)
        github.before("GET /user", reached.set)
        failed: list[Exception] = []

        def wait() -> None:
            try:
                requests.get(f"{github.url}/user", timeout=30)
            except requests.ConnectionError as error:
                failed.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert reached.wait(10)
    waiting.join(10)
    assert len(failed) == 1
    assert set(threading.enumerate()) <= before


def test_a_connection_that_comes_in_while_the_twin_closes_is_hung_up(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Twin(tmp_path) as github:
        github._server.hang_up()
        github._server.opened(ours)
        theirs.settimeout(5)
        assert theirs.recv(1) == b""


def test_hooks_run_just_before_and_just_after(place: Place) -> None:
    place.github.before(COMMENTS, lambda: place.alice.comments(place.repo.issues[0], "before"), nth=2)
    place.github.after(COMMENTS, lambda: place.alice.comments(place.repo.issues[0], "after"))
    place.call("POST", "issues/1/comments", {"body": "one"})
    place.call("POST", "issues/1/comments", {"body": "two"})
    assert written(place) == ["one", "after", "before", "two"]


def test_a_push_between_the_last_look_and_the_merge_is_a_409(place: Place) -> None:
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    pr = place.alice.opens_pr(place.repo, "fix")
    place.github.before("PUT */merge", lambda: place.alice.pushes(place.repo, "fix", {"a": "2\n"}))
    answer = place.call("PUT", "pulls/2/merge", {"sha": pr.head_sha, "merge_method": "squash"})
    assert (answer.status_code, pr.merged) == (409, False)


def test_a_new_comment_is_listed_late(place: Place) -> None:
    place.github.lag("comments", reads=2)
    comment = place.alice.comments(place.repo.issues[0], "hello")
    assert [len(place.get("issues/comments")) for _ in range(3)] == [0, 0, 1]
    assert place.get(f"issues/comments/{comment.id}")["body"] == "hello"


def test_a_new_pull_is_listed_late_and_a_merge_seen_late(place: Place) -> None:
    place.github.lag("pulls", reads=1)
    place.github.lag("merged", reads=2)
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    pr = place.alice.opens_pr(place.repo, "fix")
    assert [len(place.get("pulls")) for _ in range(2)] == [0, 1]
    place.alice.merges(pr)
    assert [place.get("pulls/2")["merged"] for _ in range(3)] == [False, False, True]


def test_waiting_for_an_exchange_does_not_block_the_server(place: Place) -> None:
    def ask() -> None:
        place.call("POST", "issues/1/comments", {"body": "hello"})

    asking = threading.Thread(target=ask)
    asking.start()
    assert place.github.journal.wait_for(lambda: written(place) == ["hello"])
    asking.join(10)
    assert not place.github.journal.wait_for(lambda: False, timeout=0.05)


def test_git_can_fail_too(place: Place) -> None:
    place.github.faults.add(Fault("GET */info/refs", status(500)))
    assert place.git("ls-remote", place.repo.clone_url).returncode != 0
    assert place.git("ls-remote", place.repo.clone_url).returncode == 0


def test_faults_and_hooks_know_what_graphql_is_asked(place: Place) -> None:
    seen: list[str] = []
    place.github.faults.add(Fault("QUERY Second", status(502)))
    place.github.before("MUTATE dequeue*", lambda: seen.append("hook"))
    query = 'query {name} {{ repository(owner: "acme", name: "app") {{ nameWithOwner }} }}'
    assert place.ask("First", query.format(name="First"))["data"] == {"repository": {"nameWithOwner": "acme/app"}}
    assert "data" not in place.ask("Second", query.format(name="Second"))
    assert seen == []
    place.ask("Third", 'mutation Third { dequeuePullRequest(input: {id: "x"}) { clientMutationId } }')
    assert seen == ["hook"]
    assert (place.github.journal.count("QUERY *"), place.github.journal.count("POST graphql")) == (2, 3)
