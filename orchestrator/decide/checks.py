"""What one complete reading of a head's CI says. Pure: waiting, repeating and "no CI at all" are the caller's.

- Everything observed must pass, required or not, and every required context must have been observed.
- Of the runs of one name from one source (an app, a workflow started by one kind of event) only the newest counts; one
  name from two sources must pass twice.
- Green is a closed list. Words that mean "not finished" are a closed list too. Any other word, known or invented
  tomorrow, is red: `action_required` waits for a person, `cancelled` and `stale` prove nothing.
- Red wins over pending: nobody should wait ten minutes to be told no.
- A required context that never reports (its workflow was skipped by a path filter) stays pending by name until the
  caller's time-out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from orchestrator.model import CheckRun

ACTION_REQUIRED = "action_required"  # GitHub's word: a person must allow it
_GREEN = frozenset({"success", "skipped", "neutral"})
_UNFINISHED = frozenset({None, "queued", "in_progress", "pending", "waiting", "requested", "expected"})


class Reading(str, Enum):
    GREEN = "green"
    RED = "red"
    PENDING = "pending"
    EMPTY = "empty"  # nothing observed and nothing required: either no CI, or GitHub has not listed it yet


@dataclass(frozen=True)
class CiVerdict:
    reading: Reading
    names: tuple[str, ...] = ()  # what is red, or what is pending or missing; sorted


def judge(observed: Iterable[CheckRun], required: Iterable[str] = ()) -> CiVerdict:
    """The verdict on all that was observed of one head, in any order; an incomplete reading must not come here."""
    runs = _newest(observed)
    if red := {_shown(run) for run in runs if run.conclusion not in _GREEN | _UNFINISHED}:
        return CiVerdict(Reading.RED, tuple(sorted(red)))
    missing = set(required) - {run.name for run in runs}
    if pending := missing | {run.name for run in runs if run.conclusion in _UNFINISHED}:
        return CiVerdict(Reading.PENDING, tuple(sorted(pending)))
    return CiVerdict(Reading.GREEN if runs else Reading.EMPTY)


def _shown(run: CheckRun) -> str:
    """Its name; what waits for a person is told from what failed."""
    return f"{run.name} ({ACTION_REQUIRED})" if run.conclusion == ACTION_REQUIRED else run.name


def _newest(runs: Iterable[CheckRun]) -> list[CheckRun]:
    """Per name and source those with the highest id; runs that share an id all count, so that none can hide another."""
    newest: dict[tuple[str, str], list[CheckRun]] = {}
    for run in runs:
        known = newest.get((run.name, run.source))
        if known is None or run.id > known[0].id:
            newest[run.name, run.source] = [run]
        elif run.id == known[0].id:
            known.append(run)
    return [run for group in newest.values() for run in group]
