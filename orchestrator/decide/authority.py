"""Who may ask for work, and for which words: rules over frozen facts, without I/O.

Guaranteed: fail-closed. What is missing, unknown or not understood is a no, and so is a time equal to the label's
(GitHub tells whole seconds). Nobody is allowed anything by an association, a `[bot]` in a name or a commit's author.
All times are GitHub's, compared with GitHub's only; accounts are told apart by id.

Decided so: the words that count are those that stand when the label is answered. Whoever may write may have changed
them after the label: a run that has not begun takes the new words. Once it began, it is bound to what it was given
(`digest`), and any change, whoever made it, ends it before something is published, with the request to label again.
A listed bot needs write permission as people do; the list only says that it is heard at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator import refusals, texts
from orchestrator.model import Access, Actor, IssueFacts, LabelEvent, Remark

TRIAGE = "triage"


@dataclass(frozen=True)
class Trust:
    """The operator's settings that grant something."""

    bots: frozenset[int] = frozenset()  # numeric ids
    triage: bool = False  # whether that role may label


def heard(actor: Actor | None, trust: Trust) -> bool:
    """Whether what this account does can ask for anything: a person, or a listed bot."""
    if actor is None:
        return False
    return actor.id in trust.bots or (actor.is_user and not actor.login.lower().endswith("[bot]"))


def may_write(actor: Actor | None, access: Access | None, trust: Trust) -> bool:
    """Whether somebody may ask for what changes the repository, and may change what others asked for."""
    return heard(actor, trust) and access is not None and access.permission.may_write


def wish(events: Sequence[LabelEvent], label: str, own_id: int) -> LabelEvent | None:
    """The event that put the label on, unless a person took it off since; the daemon does so when it begins."""
    found = None
    for event in events:
        if event.label.lower() == label.lower():
            if event.on:
                found = event
            elif event.actor is None or event.actor.id != own_id:
                found = None
    return found


def may_label(actor: Actor | None, access: Access | None, label: str, trust: Trust) -> str:
    """Why the label of this account starts nothing; "" when it does. `access`: live, of this account."""
    triages = trust.triage and heard(actor, trust) and access is not None and access.role == TRIAGE
    if may_write(actor, access, trust) or triages:
        return ""
    return texts.not_allowed_to_label(actor.login if actor else None, label)


def digest(title: str, body: str) -> str:
    """SHA-256 of the words that are worked on."""
    return hashlib.sha256(f"{title}\0{body}".encode("utf-8", "surrogatepass")).hexdigest()


def late(at: float, asked_at: float) -> bool:
    """Not surely before the label."""
    return at <= 0 or asked_at <= 0 or at >= asked_at


def late_authors(facts: IssueFacts, asked_at: float) -> list[Actor]:
    """Whose permission decides whether the words still count."""
    return [change.by for change in facts.changes if change.by and late(change.at, asked_at)]


def frozen(facts: IssueFacts, asked_at: float, writers: Collection[int], expected: str = "") -> str:
    """Why the words are not those that the label was for; "" when they are.

    `writers`: the ids among `late_authors` that may write; `expected`: the digest of what was begun with.
    """
    if any(late(at, asked_at) for at in facts.transfers):
        return refusals.MOVED_HERE
    if not facts.whole or any(
        late(change.at, asked_at) and (change.by is None or change.by.id not in writers) for change in facts.changes
    ):
        return refusals.EDITED_AFTER_LABEL
    if expected and expected != digest(facts.title, facts.body):
        return refusals.EDITED_MEANWHILE
    return ""


def readable(remark: Remark, asked_at: float) -> bool:
    """Whether a comment may be read by the agent, where its author may write."""
    edited = remark.created_at if remark.edited_at is None else remark.edited_at
    whole = not remark.minimized and remark.author is not None
    return whole and not late(remark.created_at, asked_at) and not late(edited, asked_at)


def trusted(remark: Remark, asked_at: float, access: Access | None, trust: Trust) -> bool:
    """Whether the agent may read a comment. `access`: live, of its author."""
    return readable(remark, asked_at) and may_write(remark.author, access, trust)
