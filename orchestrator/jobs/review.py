"""A pull request's head gets one careful review.

hear → prepare → run → post. The head is fetched as `refs/pull/N/head` (it works for forks) and must be exactly the
SHA that the job is for. The agent has reading tools only and answers under a schema; in the files that it reads no
link leads out of them.

Guaranteed: one review for one head; an agent that fails or talks nonsense is never a clean review; a remark
is put on a line only when the diff shows that line (GitHub refuses the whole review otherwise, without
naming the offender), else it stands in the body; the event is always COMMENT.
"""

from __future__ import annotations

from typing import Any

from orchestrator import refusals, texts
from orchestrator.agents.base import Role
from orchestrator.agents.prompts import REVIEW_SCHEMA, review_prompt
from orchestrator.errors import Refused, Retry, Stopped
from orchestrator.git.hunks import postable
from orchestrator.github.transport import ApiError
from orchestrator.jobs.desk import STICKY, Desk, Phase
from orchestrator.jobs.running import Work, await_allowance, run_agent
from orchestrator.marks import beginning
from orchestrator.model import Finding, PullRequest
from orchestrator.record import Status

_CONVENTIONS = ("CLAUDE.md", "AGENTS.md", "CONTRIBUTING.md")  # of the base: those of the head are under review
PAST = "the head moved, or the PR was closed or made a draft"
REF_TRIES = 5
REF_WAIT = 10.0  # seconds; GitHub's git server may lag behind its API


def hear(desk: Desk) -> None:
    """Acknowledged at once, however long it waits for a slot."""
    if _wanted(desk):
        desk.effects.nod(f"eyes-{desk.job.head}", lambda: desk.api.react(desk.job.number, "eyes"))
        desk.progress()
        desk.turn("prepare")


def prepare(desk: Desk) -> str | None:
    """Head and base are in the mirror."""
    if not _wanted(desk):
        return None
    await_allowance(desk)
    job = desk.job
    fetch_pinned(desk, job.number, job.head, job.base_ref)
    base = desk.mirror.sha(f"refs/remotes/origin/{job.base_ref}")
    if base is None:
        raise Refused(refusals.base_gone(job.base_ref))
    desk.soon(base=base)
    desk.note(left="", once_more="")
    _check_out(desk)
    return "run"


def _check_out(desk: Desk) -> None:
    desk.fresh_tree(desk.job.head, None, stranger_to=desk.job.base, links_out=False)
    desk.furnish(copies=False)


def _wanted(desk: Desk) -> bool:
    """Whether it is still the head, and has no review yet; else the job is over."""
    job = desk.job
    pull = desk.api.pull(job.number)
    if _is_past(pull, job.trigger):
        # Not an answer to this head: it is reviewed when it is there again.
        desk.keep(status=Status.DONE, trigger="", reason=PAST)
        return False
    desk.soon(head=pull.head_sha, base_ref=pull.base_ref, started_at=job.started_at or desk.clock.now())
    desk.note(head_ref=pull.head_ref)
    desk.caused_by(pull)
    if _find(desk) is not None:
        desk.keep(status=Status.DONE, reason="this head has its review already")
        return False
    return True


def _is_past(pull: PullRequest, head: str) -> bool:
    return not pull.open or pull.draft or pull.head_sha != head


def fetch_pinned(desk: Desk, number: int, sha: str, base_ref: str) -> None:
    """Fetch head and base; the head must be `sha`: another commit is never worked on. Retry when it lags."""
    desk.mirror.ensure()
    for attempt in range(REF_TRIES):
        if attempt:
            desk.wait(REF_WAIT)
        desk.mirror.fetch(f"refs/heads/{base_ref}", f"refs/pull/{number}/head")
        if desk.mirror.sha(f"refs/remotes/pull/{number}/head") == sha:
            return
    raise Retry(f"refs/pull/{number}/head does not show {sha} yet")


def run(desk: Desk) -> str:
    """The agent reads. A failure, or an answer that does not fit the schema, is said as such."""
    job = desk.job
    desk.progress()

    def prompt() -> str:
        pull = desk.api.pull(job.number)
        if _is_past(pull, job.head):
            raise Stopped(PAST)
        diff = desk.mirror.diff(job.base, job.head).decode(errors="replace")
        found = ((name, desk.mirror.text(job.base, name)) for name in _CONVENTIONS)
        conventions = ((name, text) for name, text in found if text)
        return review_prompt(pull, job.base, diff, *conventions)

    result = run_agent(desk, Work(Role.REVIEW, desk.tree, prompt, lambda: _check_out(desk), REVIEW_SCHEMA))
    if result.data is None:
        desk.note(failure=texts.not_reviewed(job, result.detail))
        return "give_up"
    desk.note(review=result.data)
    return "post"


def give_up(desk: Desk) -> None:
    """A phase of its own, so that trouble while saying so does not cost another run."""
    raise Refused(str(desk.job.facts["failure"]))


def post(desk: Desk) -> None:
    """One review on exactly this head, found before it is posted."""
    job = desk.job
    desk.check()
    desk.progress()
    answer: dict[str, Any] = job.facts["review"]
    findings = [Finding(f["path"], f["line"], f["severity"], f["text"]) for f in answer["findings"]]
    hunks = postable(desk.mirror.diff(job.base, job.head))
    on_line = [f for f in findings if f.line is not None and hunks.has(f.path, f.line)]
    rest = [f for f in findings if f not in on_line]
    body = _body(desk, answer, rest)
    comments = [{"path": f.path, "line": f.line, "side": "RIGHT", "body": texts.finding(f)} for f in on_line]

    def make() -> int:
        try:
            return desk.api.review(job.number, job.head, body, comments)
        except ApiError as error:
            if error.status != 422 or not comments:
                raise
            # All or nothing, and the offender is not named: the remarks go into the body.
            return desk.api.review(job.number, job.head, _body(desk, answer, findings), [])

    desk.effects.once(f"review-{job.head}", make, lambda: _find(desk))
    desk.effects.show(STICKY, job.number, texts.reviewed(job, answer["verdict"], len(findings)))
    desk.drop_tree()
    desk.note(verdict=answer["verdict"], findings=len(findings))
    desk.keep(status=Status.DONE, summary=answer["summary"])


def _body(desk: Desk, answer: dict[str, Any], rest: list[Finding]) -> str:
    text = texts.review_body(desk.job, answer["verdict"], answer["summary"], rest)
    return desk.place.marks.marked(desk.job, f"review-{desk.job.head}", text)


def _find(desk: Desk) -> int | None:
    job, me = desk.job, desk.place.me.id
    mark = desk.place.marks.of(job, f"review-{job.head}")
    if f"review-{job.head}" in job.effects:  # announced, perhaps with another token than today's
        mark = beginning(job, f"review-{job.head}")
    for review in desk.api.reviews(job.number):
        if review.author is not None and review.author.id == me and review.body.startswith(mark):
            return review.id
    return None


def fail(desk: Desk, error: Refused) -> None:
    """One comment for one reason, however many heads meet it; a head stays unreviewed until a person acts or pushes."""
    job = desk.job
    text = texts.failed(job, str(error), "", f"run `orchestrator retry {job.number}` or push a new commit")
    key = f"failed-{job.trigger}-{job.attempt}"
    if not desk.effects.said_before(key, job.number, text):
        desk.effects.say(key, job.number, text)
    desk.effects.show(STICKY, job.number, texts.parked(job, str(error)))
    desk.drop_tree()
    desk.keep(status=Status.PARKED, reason=str(error))


def cancelled(desk: Desk, reason: str) -> None:
    """Pointless now: a newer head, which the next poll begins with, or no open PR."""
    if STICKY in desk.job.effects:
        desk.effects.show(STICKY, desk.job.number, reason)
    desk.drop_tree()
    desk.keep(status=Status.DONE, trigger="", reason=reason)


PHASES: dict[str, Phase] = {"hear": hear, "prepare": prepare, "run": run, "give_up": give_up, "post": post}
