"""The local GitHub: the merge queue and merges in the background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.twin import PullHandle
from orchestrator.twin.merging import HEAD_MOVED, NotMerged
from orchestrator.twin.queue import NotQueued
from tests.twin_place import Place, merge, open_pr, opened

QUEUED = """query Queued($n: Int!) { repository(owner: "acme", name: "app") { pullRequest(number: $n) {
  id state mergeStateStatus isInMergeQueue isMergeQueueEnabled mergeQueueEntry { position state } } } }"""
DEQUEUE = "mutation Dequeue($id: ID!) { dequeuePullRequest(input: {id: $id}) { mergeQueueEntry { position } } }"
ENQUEUE = """mutation Enqueue($id: ID!, $sha: GitObjectID) {
  enqueuePullRequest(input: {pullRequestId: $id, expectedHeadOid: $sha}) { mergeQueueEntry { position } } }"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path, mergeable_after=0) as made:
        yield made


@pytest.fixture
def queued(place: Place) -> Place:
    """Where main demands a merge queue."""
    place.github.requires(place.repo, "main", queue="squash", by_rules=True)
    return place


def ask(place: Place, pr: PullHandle, **body: Any) -> tuple[int, str, dict[str, Any]]:
    answer = place.call("PUT", f"pulls/{pr.number}/merge-async", {"sha": pr.head_sha, **body})
    return answer.status_code, *told(answer.json())


def told(data: Any) -> tuple[str, dict[str, Any]]:
    return str(data["status"]), dict(data["details"])


def follow(place: Place, pr: PullHandle, uuid: str) -> tuple[str, dict[str, Any]]:
    return told(place.get(f"pulls/{pr.number}/merge-async/{uuid}"))


def looks(place: Place, pr: PullHandle) -> dict[str, Any]:
    data: dict[str, Any] = place.ask("Queued", QUEUED, n=pr.number)["data"]["repository"]["pullRequest"]
    return data


def test_a_queued_branch_takes_no_merge_call(queued: Place) -> None:
    pr = open_pr(queued)
    assert looks(queued, pr)["isMergeQueueEnabled"] is True
    code, said = merge(queued, pr)
    assert (code, "Changes must be made through the merge queue" in said, pr.merged) == (405, True, False)
    queued.github.requires(queued.repo, "main", queue="squash")
    assert merge(queued, pr) == (405, "Changes must be made through the merge queue")


def test_a_merge_in_the_background_is_pending_and_then_merged(place: Place) -> None:
    pr = open_pr(place)
    place.github.merges_in_background(seconds=5)
    code, status, details = ask(place, pr, merge_method="squash", commit_title="Own title")
    assert (code, status, details["expected_head_sha"]) == (202, "pending", pr.head_sha)
    assert (details["merge_method"], details["merge_action"]) == ("squash", "default")
    assert follow(place, pr, details["uuid"])[0] == "pending"
    place.time += 5
    assert follow(place, pr, details["uuid"]) == (
        "merged",
        {"message": "Pull Request successfully merged", "sha": place.repo.sha("main")},
    )
    assert place.repo.log("main")[0] == "Own title"
    code, status, details = ask(place, pr)
    assert (code, status, details["sha"]) == (200, "merged", place.repo.sha("main"))


def test_a_second_request_gets_the_first_ones_uuid(place: Place) -> None:
    pr = open_pr(place)
    place.github.merges_in_background(seconds=5)
    _, _, first = ask(place, pr)
    code, status, again = ask(place, pr, merge_method="rebase")
    assert (code, status, again["uuid"], again["merge_method"]) == (409, "pending", first["uuid"], "default")


def test_only_the_state_of_the_pr_is_judged_at_once(place: Place) -> None:
    pr = open_pr(place, draft=True)
    assert ask(place, pr)[:2] == (400, "failed")
    place.alice.readies(pr)
    place.github.requires(place.repo, "main", checks=["lint"])
    code, _, details = ask(place, pr)
    assert (code, follow(place, pr, details["uuid"])) == (
        202,
        ("failed", {"message": 'Required status check "lint" is expected.'}),
    )
    _, _, details = ask(place, pr, merge_action="merge_queue")
    assert follow(place, pr, details["uuid"])[1]["message"] == "Merge queue is not enabled for this branch."
    _, _, details = ask(place, pr, sha="0" * 40)
    assert follow(place, pr, details["uuid"])[1]["message"] == HEAD_MOVED
    place.alice.closes(pr)
    assert ask(place, pr)[:2] == (400, "failed")


def test_a_server_without_the_endpoint_says_404_and_results_fade(place: Place) -> None:
    pr = open_pr(place)
    _, _, details = ask(place, pr)
    at = f"pulls/{pr.number}/merge-async"
    assert follow(place, pr, details["uuid"])[0] == "merged"
    assert place.call("GET", f"{at}/nonsense").status_code == 404
    place.time += 24 * 3600 + 1
    assert place.call("GET", f"{at}/{details['uuid']}").status_code == 404
    place.repo.settings(offers_async=False)
    assert place.call("PUT", at, {}).status_code == 404


def test_who_may_not_write_may_not_ask(place: Place) -> None:
    pr = open_pr(place)
    token = place.github.token(place.mallory)
    assert place.call("PUT", f"pulls/{pr.number}/merge-async", {}, token=token).status_code == 403
    asked = place.call("POST", "/graphql", {"query": DEQUEUE, "variables": {"id": looks(place, pr)["id"]}}, token=token)
    assert asked.json()["errors"][0]["type"] == "FORBIDDEN"


def test_the_queue_lands_on_the_live_base_with_its_own_method(queued: Place) -> None:
    queued.github.requires(queued.repo, "main", queue="merge", by_rules=True)
    queue = queued.github.queue(queued.repo, "main")
    first, second = open_pr(queued, "one"), open_pr(queued, "two")
    _, _, details = ask(queued, first, merge_method="squash")
    assert follow(queued, first, details["uuid"])[0] == "enqueued"
    queued.bob.enqueues(second)
    assert [pr.number for pr in queue.waits()] == [1, 2]
    entry = looks(queued, second)
    assert (entry["isInMergeQueue"], entry["mergeQueueEntry"]["position"]) == (True, 2)
    assert entry["mergeStateStatus"] == "CLEAN", "the state tells of the branch, not of the queue"
    assert ask(queued, first)[:2] == (200, "enqueued")
    assert ask(queued, second) == (200, "enqueued", {"message": "Pull request is in the merge queue."})
    queue.merges(second)
    landed = queue.merges(first)
    assert (landed, queue.waits()) == (queued.repo.sha("main"), [])
    assert queued.repo.git("show", "-s", "--format=%P", "main").split()[1] == first.head_sha
    assert follow(queued, first, details["uuid"]) == (
        "merged",
        {"message": "Pull Request successfully merged", "sha": landed},
    )
    assert (first.merged_by, looks(queued, first)["state"]) == ("github-merge-queue[bot]", "MERGED")
    moves = queued.get("activity?ref=main")
    assert {one["activity_type"] for one in moves} == {"merge_queue_merge"}


def test_a_pr_that_is_dropped_tells_why(queued: Place) -> None:
    pr = open_pr(queued)
    _, _, details = ask(queued, pr)
    queue = queued.github.queue(queued.repo, "main")
    queue.drops(pr, "Checks failed on the group.")
    assert follow(queued, pr, details["uuid"]) == ("failed", {"message": "Checks failed on the group."})
    assert [event for event, _ in pr.events] == ["added_to_merge_queue", "removed_from_merge_queue"]
    with pytest.raises(LookupError):
        queue.merges(pr)
    assert (pr.open, pr.merged) == (True, False)


def test_a_push_a_draft_and_a_close_end_what_waits(queued: Place) -> None:
    pr = open_pr(queued)
    queue = queued.github.queue(queued.repo, "main")
    for change, why in (
        (lambda: queued.alice.pushes(queued.repo, "fix", {"more": "1\n"}), HEAD_MOVED),
        (lambda: queued.alice.drafts(pr), "Pull Request is still a draft"),
    ):
        _, _, details = ask(queued, pr)
        assert [one.number for one in queue.waits()] == [1]
        change()
        assert follow(queued, pr, details["uuid"]) == ("failed", {"message": why})
        assert queue.waits() == []
    queued.alice.readies(pr)
    queued.github.merges_in_background(seconds=5)
    _, _, details = ask(queued, pr)
    queued.alice.closes(pr)
    assert follow(queued, pr, details["uuid"]) == ("failed", {"message": "Pull Request is closed"})


def test_a_person_who_merges_first_answers_the_request(place: Place) -> None:
    pr = open_pr(place)
    place.github.merges_in_background(seconds=5)
    _, _, details = ask(place, pr)
    sha = place.alice.merges(pr, "rebase")
    assert follow(place, pr, details["uuid"])[1]["sha"] == sha


def test_a_conflict_with_the_live_base_stops_the_queue(queued: Place) -> None:
    pr = open_pr(queued)
    queued.bob.enqueues(pr)
    queued.alice.pushes(queued.repo, "main", {"fix.txt": "other\n"})
    with pytest.raises(NotMerged):
        queued.github.queue(queued.repo, "main").merges(pr)
    assert not pr.merged


def test_the_queue_takes_only_what_meets_the_demands(queued: Place) -> None:
    pr = open_pr(queued)
    queued.github.requires(queued.repo, "main", checks=["lint"], queue="squash")
    with pytest.raises(NotQueued, match="lint"):
        queued.bob.enqueues(pr)
    queued.ci.passes(pr, "lint")
    queued.bob.enqueues(pr)
    assert queued.github.queue(queued.repo, "main").waits() != []


def test_a_mutation_is_a_change_that_a_test_must_claim(queued: Place) -> None:
    pr = open_pr(queued)
    known = looks(queued, pr)["id"]
    journal = queued.github.journal
    assert journal.mutations == []
    queued.ask("Enqueue", ENQUEUE, id=known, sha=pr.head_sha)
    assert journal.unclaimed("robot") == ["MUTATE enqueuePullRequest → 200"]
    journal.claim("MUTATE enqueuePullRequest", times=1)
    answer = queued.ask("Dequeue", DEQUEUE, id=known)
    assert answer["data"] == {"dequeuePullRequest": {"mergeQueueEntry": {"position": 1}}}
    assert not looks(queued, pr)["isInMergeQueue"]
    journal.claim("MUTATE dequeue*", times=1)
    assert queued.ask("Dequeue", DEQUEUE, id=known)["errors"][0]["type"] == "UNPROCESSABLE"
    moved = queued.ask("Enqueue", ENQUEUE, id=known, sha="0" * 40)
    assert moved["errors"][0]["message"] == HEAD_MOVED
    assert journal.count("MUTATE *") == 4
