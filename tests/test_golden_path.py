"""The main story, whole: an issue becomes a pull request, is reviewed, merged on a word, and tidied up."""

from __future__ import annotations

from tests.conftest import MakeHouse
from tests.house import House, stub

IMPLEMENTING = (
    "POST issues/1/reactions",
    "POST issues/1/labels",
    "DELETE issues/1/labels/*",
    "POST issues/1/comments",
    "PATCH issues/comments/*",
    "PUSH refs/heads/feature/issue-1",
    "POST pulls",
)


def test_an_issue_becomes_a_reviewed_and_merged_pull_request(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all", review_debounce=60, pre_merge_commands=("test -f agent.txt",))
    issue = house.alice.opens_issue(house.repo, "Greet people", "Please add a greeting.")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))

    pull = house.repo.pulls[0]
    assert pull.head_ref == "feature/issue-1"
    assert pull.title == "Greet people"
    assert "Closes #1" in (pull.body or "")
    assert house.repo.file("feature/issue-1", "agent.txt")
    assert "eyes" in issue.reactions
    assert issue.labels == []

    house.until(lambda: bool(pull.reviews))
    review = pull.reviews[0]
    assert (review.event, review.commit_id) == ("COMMENT", pull.head_sha)
    assert review.comments

    house.quiet()
    comment = house.bob.comments(pull, "/merge")
    head = pull.head_sha
    house.until(lambda: pull.merged)
    house.quiet()
    assert "eyes" in comment.reactions
    assert not issue.open
    assert pull.head_ref not in house.repo.branches
    assert house.repo.file("main", "agent.txt")
    assert house.repo.sha("main") == pull.merge_sha
    assert head[:10] in house.said(pull)[-1]
    assert not list((house.folder / "worktrees/acme/app").glob("*-[0-9]*"))
    for item, others in ((issue, 2), (pull, 2)):  # beside these: the push and the PR; the merge and the branch
        ends = tuple(f"/{comment.id}" for comment in item.comments)
        at = f"/{item.number}/"
        writes = [e for e in house.github.journal.mutations if at in e.path or e.path.endswith(ends)]
        assert 4 < len(writes) + others <= 15
    house.expect(*IMPLEMENTING, "POST pulls/2/reviews", "POST issues/2/*", "PUT pulls/2/merge")
    house.expect("POST issues/comments/*/reactions", "DELETE git/refs/heads/*")


def test_no_change_is_no_pull_request_but_the_agents_own_words(house: House) -> None:
    house.start(claude_command=stub("no-change"))
    issue = house.alice.opens_issue(house.repo, "Nothing to do", "")
    house.alice.labels(issue, "ready")
    house.quiet()
    assert house.repo.pulls == []
    assert issue.labels == ["needs-human"]
    assert any("changed nothing" in text for text in house.said(issue))
    house.expect(*(p for p in IMPLEMENTING if not p.startswith(("PUSH", "POST pulls"))))
