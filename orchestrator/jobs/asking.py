"""Who asked for an implement job and for which words: read live from GitHub, judged by `decide.authority`.

Guaranteed: what the job began with (`note_asker`) is on its record; `words` compares all of it with what is now, and
is asked before every run and before everything that others could see.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator import refusals, texts
from orchestrator.decide import authority
from orchestrator.decide.authority import Trust
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.jobs.desk import Desk
from orchestrator.marks import BEGINNING
from orchestrator.model import IN_PROGRESS, Access, Actor, IssueFacts, LabelEvent
from orchestrator.record import Job
from orchestrator.settings import Settings


def trust(settings: Settings) -> Trust:
    """What the operator grants."""
    return Trust(frozenset(int(one) for one in settings.trusted_bots), settings.allow_triage)


def read(desk: Desk) -> IssueFacts:
    """The issue as it is now. Retry when the name is another repository's by now."""
    facts = desk.api.issue_facts(desk.job.number)
    if facts.repo_id != desk.place.repo.id:
        raise Retry(f"another repository is called {desk.job.repo} now")
    return facts


def refusal(desk: Desk, facts: IssueFacts, event: LabelEvent | None) -> tuple[str, str] | None:
    """Why this label starts nothing, and the key to say it by: once for each person, once for each label event."""
    label, trusting = desk.settings.ready_label, trust(desk.settings)
    actor = event.actor if event else None
    if no := authority.may_label(actor, desk.api.access(actor) if actor else None, label, trusting):
        return f"denied-{actor.id if actor else 0}", no
    assert event is not None
    if no := _changed(desk, facts, event.created_at, ""):
        return f"refused-{event.id}", no
    return None


def note_asker(desk: Desk, facts: IssueFacts, event: LabelEvent) -> None:
    """From here on the job is bound to this person, this moment and these words."""
    assert event.actor is not None
    desk.soon(
        asked_by=event.actor.login,
        facts={
            **desk.job.facts,
            "asked_by_id": event.actor.id,
            "asked_by_user": event.actor.is_user,
            "asked_at": event.created_at,
            "words": authority.digest(facts.title, facts.body),
        },
    )


def words(desk: Desk) -> IssueFacts:
    """What the job may work on and publish, now.

    Stopped when its asker may not ask any more, or the wish was taken back; Refused when the words are others.
    """
    return desk.at_once(lambda: _words(desk))


def readable(desk: Desk) -> tuple[IssueFacts, tuple[list[str], int]]:
    """As `words`, with the comments that the agent may read, oldest first, and how many of other people it may not."""

    def read() -> tuple[IssueFacts, tuple[list[str], int]]:
        facts = _words(desk)
        return facts, _context(desk, facts)

    return desk.at_once(read)


def _words(desk: Desk) -> IssueFacts:
    job = desk.job
    if "words" not in job.facts:
        raise Refused(refusals.BEGUN_BEFORE)
    facts = read(desk)
    if not facts.open or IN_PROGRESS not in facts.carries:
        raise Stopped(texts.WITHDRAWN)
    if no := right_lost(desk.api.access, desk.settings, job):
        raise Stopped(no)
    if no := _changed(desk, facts, float(job.facts["asked_at"]), str(job.facts["words"])):
        raise Refused(no)
    return facts


def right_lost(access: Callable[[Actor], Access], settings: Settings, job: Job) -> str:
    """Why the one who asked for a job may not ask any more; "" while they may. `access` reads what they may."""
    asker = Actor(int(job.facts["asked_by_id"]), job.asked_by, bool(job.facts["asked_by_user"]))
    lost = authority.may_label(asker, access(asker), settings.ready_label, trust(settings))
    return refusals.right_lost(job.asked_by) if lost else ""


def _changed(desk: Desk, facts: IssueFacts, asked_at: float, expected: str) -> str:
    trusting = trust(desk.settings)
    authors = {actor.id: actor for actor in authority.late_authors(facts, asked_at)}
    writers = {i for i, actor in authors.items() if authority.may_write(actor, desk.api.access(actor), trusting)}
    return authority.frozen(facts, asked_at, writers, expected)


def _context(desk: Desk, facts: IssueFacts) -> tuple[list[str], int]:
    asked_at, trusting = float(desk.job.facts["asked_at"]), trust(desk.settings)
    rights: dict[int, Access] = {}
    shown: list[str] = []
    hidden = facts.older
    for remark in facts.remarks:
        author = remark.author
        if author is not None and author.id == desk.place.me.id and remark.body.startswith(BEGINNING):
            continue
        if author is not None and authority.readable(remark, asked_at) and author.id not in rights:
            rights[author.id] = desk.api.access(author)
        if author is not None and authority.trusted(remark, asked_at, rights.get(author.id), trusting):
            shown.append(remark.body)
        else:
            hidden += 1
    return shown, hidden
