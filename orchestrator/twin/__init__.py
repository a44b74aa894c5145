"""A local GitHub: real HTTP on loopback over real bare git repositories, strict, with faults on demand.

The demo and the tests run on it. It speaks what the daemon uses and nothing else: an endpoint it does not know
answers 501 and stands in `journal.unknown`. Bodies carry every field that GitHub's published OpenAPI requires.

Where it is less than GitHub, knowingly:
- an open PR's `merge_commit_sha` looks like a commit and is none; `refs/pull/N/merge` does not exist;
- only squash merges; no merge queue, auto-merge, merge-async, draft by GraphQL, milestones, teams or webhooks;
- GraphQL answers three named operations and does not read the query's text;
- secondary rate limits come only as faults; `Last-Modified` is not sent;
- linked issues are closed within the merge request, not seconds later;
- the wording of 422 for deleting a default or protected branch is a guess (the code is not);
- a required check posted by another app than the expected one counts;
- git answers are built in memory, so a repository of hundreds of megabytes is not for this server.
"""

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
from orchestrator.twin.handles import CommentHandle, IssueHandle, PullHandle, RepoHandle
from orchestrator.twin.journal import Exchange, Journal
from orchestrator.twin.say import Ci, Person
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
    "RepoHandle",
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
