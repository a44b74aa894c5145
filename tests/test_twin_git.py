"""The local GitHub: real git over HTTP, refs, activity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twin_place import START, Place, opened


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path) as made:
        yield made


def test_a_push_over_http_is_taken_in_before_it_is_answered(place: Place) -> None:
    clone = place.clone()
    sha = place.commit(clone, "a.txt")
    done = place.git("push", "-q", "origin", "HEAD:refs/heads/fix", where=clone)
    assert done.returncode == 0, done.stderr
    assert place.repo.sha("fix") == sha
    pushed = place.github.journal.claim("PUSH refs/heads/fix", times=1)[0]
    assert (pushed.login, pushed.body["after"]) == ("robot", sha)
    assert place.github.journal.unclaimed() == []


def test_a_push_moves_the_head_of_its_pr(place: Place) -> None:
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    pr = place.alice.opens_pr(place.repo, "fix")
    clone = place.clone()
    place.git("checkout", "-q", "fix", where=clone)
    sha = place.commit(clone, "b.txt")
    assert place.git("push", "-q", "origin", "fix", where=clone).returncode == 0
    assert pr.head_sha == sha
    fetched = place.git("fetch", "-q", "origin", "refs/pull/1/head", where=clone)
    assert fetched.returncode == 0, fetched.stderr
    assert place.git("rev-parse", "FETCH_HEAD", where=clone).stdout.strip() == sha


def test_a_large_push_arrives_in_chunks(place: Place) -> None:
    clone = place.clone()
    noise = "\n".join(f"{number * 2654435761 % 2**61:x}" for number in range(200_000))
    place.commit(clone, "large.txt", noise)
    assert place.git("push", "-q", "origin", "HEAD:refs/heads/large", where=clone).returncode == 0
    assert place.repo.file("large", "large.txt") == noise


def test_git_wants_a_token_with_rights(place: Place) -> None:
    clone = place.clone()
    place.commit(clone, "a.txt")
    reader = place.github.token(place.mallory)
    read = place.git("ls-remote", place.repo.clone_url, token=reader)
    write = place.git("push", place.repo.clone_url, "HEAD:refs/heads/x", where=clone, token=reader)
    nobody = place.git("ls-remote", place.repo.clone_url, token="wrong")
    assert (read.returncode, write.returncode != 0, nobody.returncode != 0) == (0, True, True)
    assert "403" in write.stderr
    assert place.repo.branches == ["main"]


def test_a_stale_lease_and_a_hidden_ref_are_refused(place: Place) -> None:
    clone = place.clone()
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    place.commit(clone, "b.txt")
    stale = place.git("push", "--force-with-lease=refs/heads/fix:", "origin", "HEAD:refs/heads/fix", where=clone)
    hidden = place.git("push", "origin", "HEAD:refs/pull/1/head", where=clone)
    assert "stale info" in stale.stderr
    assert "hidden ref" in hidden.stderr
    assert place.repo.log("fix") == ["Change", "First commit"]


def test_a_protected_branch_refuses_pushes(place: Place) -> None:
    place.github.requires(place.repo, "main", checks=["lint"])
    clone = place.clone()
    place.commit(clone, "a.txt")
    done = place.git("push", "origin", "HEAD:refs/heads/main", where=clone)
    assert "GH006: Protected branch update failed for refs/heads/main" in done.stderr
    assert place.repo.log("main") == ["First commit"]


def test_the_refs_of_pulls_lag_behind_the_api_for_some_fetches(place: Place) -> None:
    place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    pr = place.alice.opens_pr(place.repo, "fix")
    old = pr.head_sha
    place.github.lag("refs", reads=2)
    new = place.alice.pushes(place.repo, "fix", {"a": "2\n"})
    assert place.get("pulls/1")["head"]["sha"] == new

    def seen() -> str:
        return place.git("ls-remote", place.repo.clone_url, "refs/pull/1/head").stdout.split("\t")[0]

    assert [seen(), seen(), seen()] == [old, old, new]


def test_activity_tells_pushes_with_the_servers_time(place: Place) -> None:
    first = place.repo.sha("main")
    place.time += 100
    one = place.alice.pushes(place.repo, "fix", {"a": "1\n"}, date=START - 10_000)
    place.time += 100
    onward = place.alice.pushes(place.repo, "fix", {"b": "1\n"})
    two = place.bob.force_pushes(place.repo, "fix", {"a": "2\n"})
    place.bob.deletes_branch(place.repo, "fix")
    rows = place.all("activity?ref=refs/heads/fix&time_period=day")
    zero = "0" * 40
    assert [(r["activity_type"], r["before"], r["after"], r["actor"]["login"]) for r in rows] == [
        ("branch_deletion", two, zero, "bob"),
        ("force_push", onward, two, "bob"),
        ("push", one, onward, "alice"),
        ("branch_creation", zero, one, "alice"),
    ]
    assert rows[-1]["timestamp"] == "2026-09-21T14:15:00Z"
    assert [r["after"] for r in place.all("activity?ref=main")] == [first]
    assert len(place.all("activity")) == 5
    place.time += 86_400 * 2
    assert place.get("activity?time_period=day") == []


def test_a_branch_that_holds_the_work_already_makes_its_pr_merged(place: Place) -> None:
    sha = place.alice.pushes(place.repo, "fix", {"a": "1\n"})
    pr = place.alice.opens_pr(place.repo, "fix")
    place.bob.force_pushes(place.repo, "main", sha=sha)
    assert (pr.merged, pr.merged_by, pr.merge_sha) == (True, "bob", sha)


def test_refs_are_read_exactly_or_by_their_start(place: Place) -> None:
    sha = place.alice.pushes(place.repo, "feature/issue-1", {"a": "1\n"})
    place.alice.pushes(place.repo, "feature/issue-10", {"a": "1\n"})
    assert place.get("git/ref/heads/feature/issue-1")["object"]["sha"] == sha
    assert place.call("GET", "git/ref/heads/feature/issue").status_code == 404
    assert [r["ref"] for r in place.get("git/matching-refs/heads/feature/issue-1")] == [
        "refs/heads/feature/issue-1",
        "refs/heads/feature/issue-10",
    ]
