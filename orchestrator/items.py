"""From what a person types to the jobs that are meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.record import Job

_WORD = re.compile(r"(?:(?P<repo>[^/\s#]+/[^/\s#]+)#|#?)(?P<number>\d{1,18})(?:/(?P<kind>[a-z]+))?")


def find(jobs: Sequence[Job], word: str) -> list[Job]:
    """The jobs of one item: `42`, `#42`, `owner/repo#42`, each with `/implement`, `/review` or `/merge` if wanted.

    LookupError with a sentence that lists the candidates when it names none, or items of several repositories.
    """
    parts = _WORD.fullmatch(word.strip())
    if parts is None:
        raise LookupError(f"{word!r} names no item; write its number, or owner/repo#number. {_candidates(jobs)}")
    found = [
        job
        for job in jobs
        if job.number == int(parts["number"])
        and (parts["repo"] is None or parts["repo"].lower() == job.repo.lower())
        and parts["kind"] in (None, job.kind.value)
    ]
    if not found:
        raise LookupError(f"There is no item {word}. {_candidates(jobs)}")
    if len({job.repo for job in found}) > 1:
        raise LookupError(f"{word} is in several repositories; write one of: {_names(found)}.")
    return found


def _candidates(jobs: Sequence[Job]) -> str:
    return f"Known: {_names(jobs)}." if jobs else "No item is known yet; see `orchestrator status`."


def _names(jobs: Sequence[Job]) -> str:
    names = [f"{repo}#{number}" for repo, number in sorted({(job.repo, job.number) for job in jobs})]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
