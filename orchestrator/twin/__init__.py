"""A local GitHub: real HTTP on loopback over real bare git repositories, strict, with faults on demand.

The demo and the tests run on it. It speaks what the daemon uses and nothing else: an endpoint it does not know
answers 501 and stands in `journal.unknown`. Bodies carry every field that GitHub's published OpenAPI requires.

Where it is less than GitHub, knowingly:
- an open PR's `merge_commit_sha` looks like a commit and is none; `refs/pull/N/merge` does not exist;
- no auto-merge, draft by GraphQL, milestones, teams or webhooks; a branch has a protection or a rule set, not both;
- the merge queue lands one PR after the other on the live base, without a branch for the group, when a test says so;
- a review thread is one comment; a PR that is pushed to while it waits in the queue leaves it (not certain of GitHub);
- GraphQL knows the fields that are asked here and reads no named fragments;
- what a blocked account is told, and how a transferred or deleted issue answers a PATCH, are guesses;
- secondary rate limits come only as faults; `Last-Modified` is not sent;
- linked issues are closed within the merge request, not seconds later;
- the sentences of `merge-async` and of what leaves a queue are guesses, and that a wrong `sha` there is told later;
- the wording of 422 for deleting a default or protected branch is a guess (the code is not);
- a required check posted by another app than the expected one counts;
- git answers are built in memory, so a repository of hundreds of megabytes is not for this server.
"""

from orchestrator.twin.ci import Ci
from orchestrator.twin.faults import (
    Fault,
    Faults,
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
from orchestrator.twin.handles import CommentHandle, IssueHandle, PullHandle, RepoHandle, ReviewHandle, ThreadHandle
from orchestrator.twin.journal import Exchange, Journal
from orchestrator.twin.queueing import QueueHandle
from orchestrator.twin.say import Person
from orchestrator.twin.twin import Twin

__all__ = [
    "Ci",
    "CommentHandle",
    "Exchange",
    "Fault",
    "Faults",
    "IssueHandle",
    "Journal",
    "Person",
    "PullHandle",
    "QueueHandle",
    "RepoHandle",
    "ReviewHandle",
    "ThreadHandle",
    "Twin",
    "apply_then",
    "apply_then_reset",
    "cut",
    "delay",
    "hang",
    "html",
    "reset",
    "short",
    "status",
]
