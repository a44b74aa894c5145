"""The last look at what a write says, whoever composed it: no secret leaves this way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.marks import split
from orchestrator.redactor import OURS

# Members that hold no prose but GitHub's words, commits, branches and labels: changed, they would mean something else.
_NAMES = frozenset(
    (
        *("sha", "commit_id", "head", "base", "labels", "color", "side", "event", "state", "state_reason", "content"),
        *("merge_method", "merge_action", "query", "operationName"),
    )
)


def redacted(value: Any) -> Any:
    """A body of JSON without secrets in its texts; the mark at the beginning of a comment of ours stays whole."""
    if isinstance(value, Mapping):
        return {name: inner if name in _NAMES else redacted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [redacted(inner) for inner in value]
    if not isinstance(value, str):
        return value
    mark, rest = split(value)
    return mark + OURS.text(rest)
