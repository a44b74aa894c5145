"""What to do: the world, the jobs and the memory go in, new jobs and cancellations come out.

Guaranteed: level-triggered. A job is due because of what *is* (open, labelled, no job for it), never
because an event came, so a poll that is repeated or was missed changes nothing. One job exists for one
(repository, number, kind); its trigger (labelled event, head SHA, comment id) says what it answers.

Known and left alone: a list may still show the label that our own job took off. The job that starts reads
the newest label event; when it is the one answered already, it lies down again without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator import refusals, texts
from orchestrator.decide.authority import Trust, heard
from orchestrator.decide.commands import Command, Verb, parse
from orchestrator.decide.verdict import broken
from orchestrator.marks import is_ours
from orchestrator.model import TOO_OLD, Actor, Comment, Issue, PullRequest, World
from orchestrator.record import Job, Kind, Status
from orchestrator.state import RepoMemory

HANDLED_KEPT = 86400.0  # seconds that a handled comment id is remembered behind the cursor


@dataclass(frozen=True)
class Rules:
    """The settings that decide what is due."""

    review: str = "all"  # all, label, off
    review_label: str = "review"
    debounce: float = 60.0
    merge: bool = True
    trigger: str = "/merge"
    hold_label: str = "hold"
    bots: frozenset[int] = frozenset()  # that are heard as people are


@dataclass(frozen=True)
class Begin:
    """Remember this job; it starts when its turn comes."""

    job: Job


@dataclass(frozen=True)
class Cancel:
    """Stop a job, with a sentence for the person who asked for it; `by`: only if this one may."""

    key: str
    reason: str
    by: Actor | None = None


@dataclass(frozen=True)
class Tell:
    """Answer a comment that starts nothing."""

    comment: Comment
    text: str


Decision = Begin | Cancel | Tell


def decide(
    world: World, jobs: Mapping[str, Job], memory: RepoMemory, rules: Rules, own_id: int
) -> tuple[list[Decision], RepoMemory]:
    """Everything that this poll makes due, and the memory that follows from it once it is done."""
    memory = _heads(world, memory)
    decisions: list[Decision] = [
        *_implement(world, jobs),
        *_withdrawn(world, jobs),
        *_review(world, jobs, memory, rules),
        *_unreviewed(world, jobs),
        *_moved(world, jobs, rules),
    ]
    handled = dict(memory.handled)
    known = dict(jobs)
    ended = {d.key for d in decisions if isinstance(d, Cancel)}
    cursor = memory.cursor
    for comment in world.comments:
        if str(comment.id) in handled:
            continue
        command = _command(comment, memory, rules, own_id)
        if command is not None:
            attempt = Job(world.repo.name, Kind.MERGE, comment.number, "").key
            if attempt in ended or _not_accepted_yet(comment, known.get(attempt)):
                # An attempt that ends, or a stranger's, must not swallow this: it is offered again, however late.
                cursor = min(cursor, comment.updated_at)
                continue
            decision = _answer(comment, command, world, known, memory, rules)
            if isinstance(decision, Begin):
                known[decision.job.key] = decision.job
            if isinstance(decision, Cancel):
                ended.add(decision.key)
            if decision is not None:
                decisions.append(decision)
            handled[str(comment.id)] = comment.created_at
    kept = {i: at for i, at in handled.items() if at > memory.cursor - HANDLED_KEPT}
    return decisions, replace(memory, handled=kept, cursor=cursor)


def _not_accepted_yet(comment: Comment, live: Job | None) -> bool:
    """Somebody else's command on the same PR is still being looked at."""
    return (
        live is not None
        and live.status in (Status.RUNNING, Status.WAITING)
        and not live.head
        and comment.author is not None
        and live.asked_by != comment.author.login
    )


def _heads(world: World, memory: RepoMemory) -> RepoMemory:
    """When each open head was first seen: for the debounce, and as proof that a commenter could see it."""
    heads = {}
    for pull in world.pulls:
        before = memory.heads.get(str(pull.number))
        known = before is not None and before[0] == pull.head_sha
        heads[str(pull.number)] = before if before and known else [pull.head_sha, world.now]
    history = {n: sha for n, sha in memory.history.items() if n in heads and heads[n][0] == sha}
    return replace(memory, heads=heads, history=history)


def _implement(world: World, jobs: Mapping[str, Job]) -> Iterator[Begin]:
    for issue in sorted(world.ready, key=lambda i: i.number):
        new = Job(world.repo.name, Kind.IMPLEMENT, issue.number, "", Status.WAITING, title=issue.title)
        old = jobs.get(new.key)
        if old is None:
            yield Begin(new)
        elif old.status in (Status.PARKED, Status.DONE) and _fresher(issue, old):
            facts = {"answered": old.trigger, "was": old.status.value, "reason": old.reason}
            facts |= {k: v for k, v in old.facts.items() if k == "pushed"}
            yield Begin(
                replace(
                    new,
                    attempt=old.attempt + 1,
                    pr=old.pr,
                    cost_usd=old.cost_usd,
                    turns=old.turns,
                    seconds=old.seconds,
                    effects={k: v for k, v in old.effects.items() if k == "sticky"},
                    facts=facts,
                )
            )


def _fresher(issue: Issue, old: Job) -> bool:
    """Not an old page of the list: the issue changed since the job answered its label event."""
    return issue.open and issue.updated_at >= float(old.facts.get("label_seen", 0.0))


def _withdrawn(world: World, jobs: Mapping[str, Job]) -> Iterator[Cancel]:
    for number in sorted(world.withdrawn):
        job = jobs.get(Job(world.repo.name, Kind.IMPLEMENT, number, "").key)
        if job is not None and job.status in (Status.RUNNING, Status.WAITING):
            yield Cancel(job.key, texts.WITHDRAWN)
    for number in sorted(world.revoked - world.withdrawn):
        job = jobs[Job(world.repo.name, Kind.IMPLEMENT, number, "").key]
        yield Cancel(job.key, refusals.right_lost(job.asked_by))


def _review(world: World, jobs: Mapping[str, Job], memory: RepoMemory, rules: Rules) -> Iterator[Decision]:
    for pull in sorted(world.pulls, key=lambda p: p.number):
        new = Job(
            world.repo.name,
            Kind.REVIEW,
            pull.number,
            pull.head_sha,
            Status.WAITING,
            title=pull.title,
            head=pull.head_sha,
            base_ref=pull.base_ref,
        )
        old = jobs.get(new.key)
        if old is not None and old.trigger != pull.head_sha and old.status in (Status.RUNNING, Status.WAITING):
            yield Cancel(old.key, texts.superseded(old.trigger, pull.head_sha))
        elif _review_due(pull, old, world, memory, rules):
            effects = {k: v for k, v in old.effects.items() if k == "sticky"} if old else {}
            yield Begin(replace(new, cost_usd=old.cost_usd if old else 0.0, effects=effects))


def _unreviewed(world: World, jobs: Mapping[str, Job]) -> Iterator[Cancel]:
    """A review ends when its PR is closed or made a draft."""
    open_ = {p.number for p in world.pulls if not p.draft}
    for job in jobs.values():
        live = job.kind is Kind.REVIEW and job.status in (Status.RUNNING, Status.WAITING)
        if live and job.repo == world.repo.name and job.number not in open_:
            yield Cancel(job.key, texts.NOT_REVIEWED)


def _review_due(pull: PullRequest, old: Job | None, world: World, memory: RepoMemory, rules: Rules) -> bool:
    wanted = rules.review == "all" or (rules.review == "label" and rules.review_label.lower() in pull.labels)
    answered = old is not None and old.trigger == pull.head_sha
    history = memory.history.get(str(pull.number)) == pull.head_sha
    if not wanted or answered or history or pull.draft or not pull.open:
        return False
    quiet_since = min(float(memory.heads[str(pull.number)][1]), pull.updated_at)
    return world.now - quiet_since >= rules.debounce


def _moved(world: World, jobs: Mapping[str, Job], rules: Rules) -> Iterator[Cancel]:
    """A merge attempt ends when what it pinned is no longer what is."""
    pulls = {p.number: p for p in world.pulls}
    for job in jobs.values():
        if job.repo != world.repo.name or job.kind is not Kind.MERGE or not job.head or job.merge_sha:
            continue
        if job.status not in (Status.RUNNING, Status.WAITING):
            continue
        pull = pulls.get(job.number)
        why = broken(pull, job.head, job.base_ref, rules.hold_label) if pull else refusals.CLOSED
        if why:
            yield Cancel(job.key, why)


def _command(comment: Comment, memory: RepoMemory, rules: Rules, own_id: int) -> Command | None:
    """The command in a comment that somebody could mean for us: no bot, not our own text, not history."""
    if not heard(comment.author, Trust(rules.bots)):
        return None
    if is_ours(comment, own_id) or comment.created_at < memory.since:
        return None
    if comment.updated_at != comment.created_at and comment.created_at < memory.cursor - HANDLED_KEPT:
        return None  # an old comment that was edited; whether it was handled may be forgotten
    return parse(comment.body, rules.trigger)


def _answer(
    comment: Comment,
    command: Command,
    world: World,
    jobs: Mapping[str, Job],
    memory: RepoMemory,
    rules: Rules,
) -> Decision | None:
    assert comment.author is not None
    head, first_seen = memory.heads.get(str(comment.number), ["", 0.0])
    pull = next((p for p in world.pulls if p.number == comment.number), None)
    if not rules.merge:
        return Tell(comment, refusals.SWITCHED_OFF) if pull else None
    if command.verb is Verb.USAGE:
        return Tell(comment, refusals.usage(rules.trigger)) if pull else None
    new = Job(
        world.repo.name,
        Kind.MERGE,
        comment.number,
        str(comment.id),
        Status.WAITING,
        title=pull.title if pull else "",
        asked_by=comment.author.login,
        base_ref=pull.base_ref if pull else "",
        facts={
            "asked_by_id": comment.author.id,
            "asked_at": comment.created_at,
            "sha": command.sha,
            # Our own poll saw this head before the comment was written, so the commenter could see it too.
            "head_seen": head if first_seen < comment.created_at else "",
        },
    )
    live = jobs.get(new.key)
    if live is not None and live.trigger == str(comment.id):
        # Begun by a poll that failed further on; it may be over by now.
        return None
    if live is not None and live.status not in (Status.RUNNING, Status.WAITING):
        live = None
    if command.verb is Verb.CANCEL:
        return Cancel(live.key, refusals.cancelled_by(comment.author.login), comment.author) if live else None
    if live is not None:
        return Tell(comment, refusals.already_running(live.asked_by))
    if world.now - comment.created_at > TOO_OLD:
        return Tell(comment, refusals.too_old(TOO_OLD / 3600)) if pull else None
    return Begin(new)
