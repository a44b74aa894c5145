"""What GitHub's refusals of a merge mean, and who could see which commit."""

from __future__ import annotations

import pytest

from orchestrator.decide.answers import Answer, classify
from orchestrator.decide.protected import protected
from orchestrator.decide.pushes import could_see
from orchestrator.settings import PROTECTED


@pytest.mark.parametrize(
    ("status", "sentence", "meaning"),
    [
        (405, "Base branch was modified. Review and try the merge again.", Answer.BASE_MOVED),
        (409, "Base branch was modified. Review and try the merge again.", Answer.BASE_MOVED),
        (405, "Pull Request is not mergeable", Answer.AGAIN),
        (409, "Head branch was modified. Review and try the merge again.", Answer.AGAIN),
        (409, "Not authorized to push to this branch", Answer.AGAIN),
        (405, "Merge already in progress", Answer.AGAIN),
        (422, "Validation Failed", Answer.AGAIN),
        (403, "Resource not accessible by personal access token", Answer.FORBIDDEN),
        (405, 'Required status check "build" is expected.', Answer.FINAL),
        (405, "Squash merges are not allowed on this repository.", Answer.FINAL),
        (405, "", Answer.FINAL),
        (400, "A sentence of tomorrow", Answer.FINAL),
    ],
)
def test_a_refusal_is_read_by_its_status_and_sentence(status: int, sentence: str, meaning: Answer) -> None:
    assert classify(status, sentence) is meaning


@pytest.mark.parametrize(
    ("pushes", "polled", "seen"),
    [
        ([(10.0, "a")], False, True),
        ([(10.0, "b"), (5.0, "a")], True, False),
        ([(100.0, "a")], False, False),  # in the second of the comment: nobody knows which was first
        ([(100.0, "a")], True, False),
        ([(200.0, "a"), (10.0, "a")], False, True),
        ([(200.0, "a"), (50.0, "b"), (10.0, "a")], True, False),  # away when the comment was written
        ([], True, True),
        ([], False, False),
        ([(10.0, "b")], True, True),  # the record does not know the head yet, our own poll did
        ([(10.0, "b")], False, False),
    ],
)
def test_a_head_could_be_seen_when_the_record_or_our_own_poll_shows_it(
    pushes: list[tuple[float, str]], polled: bool, seen: bool
) -> None:
    assert could_see("a", 100.0, pushes, polled) is seen


def test_files_that_steer_are_told_from_others_that_look_like_them() -> None:
    steering = [".github/workflows/ci.yml", "a/.GitHub/x", "CLAUDE.md", "x/agents.md", "docs/CODEOWNERS", ".gitmodules"]
    steering += [".mcp.json", ".env", "sub/.gitattributes", ".husky/pre-commit", ".claude/a\nb", "codeowners/x"]
    others = ["github/x", "xCLAUDE.md", "claude.md.txt", "src/.environment", "README.md", "src/.github.py"]
    assert protected([*others, *steering], PROTECTED) == tuple(sorted(steering))
