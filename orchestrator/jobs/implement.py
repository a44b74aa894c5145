"""An issue becomes a pull request.

claim → prepare → run → commit → push → open → finish. Every phase can be entered again after a crash: what
a phase needs is on the record, what it does is idempotent or looked for first. The agent's work leaves the
worktree only as commits; how a run that was cut off goes on is told in `running`.

Guaranteed: nothing starts, and nothing is published, without the right of the person who put the label on, read
live, or for other words than those that the label was for (`asking`); one branch and one PR for one issue; nothing
of a failed attempt is in the next one; a commit that somebody else pushed to the branch is never overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import texts
from orchestrator.agents.base import Outcome, Role
from orchestrator.agents.prompts import implement_prompt
from orchestrator.decide.authority import wish
from orchestrator.errors import Refused, Retry
from orchestrator.git.lfs import Pointer
from orchestrator.git.lfs_transfer import LfsServer
from orchestrator.git.mirror import Pushed
from orchestrator.github.transport import ApiError, Unknown
from orchestrator.instance import instance_id
from orchestrator.jobs import asking, publishable
from orchestrator.jobs.desk import STICKY, CommandFailed, Desk, Phase
from orchestrator.jobs.running import Work, await_allowance, run_agent
from orchestrator.marks import claim as claim_of
from orchestrator.marks import claimed, is_about, is_ours
from orchestrator.model import IN_PROGRESS, NEEDS_HUMAN, Comment, Issue, IssueFacts, LabelEvent
from orchestrator.record import Status

SETTLE = 10.0  # seconds until another daemon's claim shows


def claim(desk: Desk) -> None:
    """Ours now, if it is still wanted and the one who asked may ask."""
    job = desk.job
    seen, waits = desk.at_once(lambda: (_look(desk), desk.api.transport.waits))
    issue, facts, event, no = seen.issue, seen.facts, seen.event, seen.no
    asked = event.id if event else ""
    if not seen.wanted:
        if any(key.startswith("busy-") for key in job.effects):
            cancelled(desk, texts.WITHDRAWN)  # closed while the claim was cut off
        else:
            _lie_down(desk, issue.updated_at)
        return
    desk.soon(trigger=asked, title=facts.title, started_at=desk.clock.now())
    if event is None or no is not None:
        key, text = no or ("denied-0", texts.not_allowed_to_label(None, desk.settings.ready_label))
        desk.note(label_seen=issue.updated_at + 1)
        desk.effects.say(key, job.number, text)
        if IN_PROGRESS in issue.labels:  # ours of before the memory was lost
            desk.effects.again(f"unbusy-{asked}", lambda: desk.api.remove_label(job.number, IN_PROGRESS))
        desk.keep(status=Status.PARKED, reason=text, attempt=job.attempt - 1)
        return
    desk.soon(branch=f"feature/issue-{job.number}")
    asking.note_asker(desk, facts, event)
    desk.note(label_seen=issue.updated_at)
    if not _first(desk, asked):
        return
    desk.effects.nod(f"eyes-{asked}", lambda: desk.api.react(job.number, "eyes"))
    if desk.api.transport.waits != waits and not _stands(desk, asked):
        return
    # Added before the other is removed, so that a crash in between leaves a visible state.
    desk.effects.again(f"busy-{asked}", lambda: desk.api.add_label(job.number, IN_PROGRESS))
    desk.effects.again(f"unready-{asked}", lambda: desk.api.remove_label(job.number, desk.settings.ready_label))
    if NEEDS_HUMAN in issue.labels:
        desk.effects.again(f"unstuck-{asked}", lambda: desk.api.remove_label(job.number, NEEDS_HUMAN))
    desk.turn("prepare")


@dataclass(frozen=True)
class _Seen:
    """What a claim is decided by. `no` is what is against it (`asking.refusal`), where it is wanted at all."""

    issue: Issue
    facts: IssueFacts
    event: LabelEvent | None
    wanted: bool
    no: tuple[str, str] | None


def _look(desk: Desk) -> _Seen:
    job, label = desk.job, desk.settings.ready_label
    issue = desk.api.issue(job.number)
    facts = asking.read(desk)
    event = wish(facts.labels, label, desk.place.me.id)
    told = job.facts.get("retried") or (event is not None and IN_PROGRESS in issue.labels)
    new = label.lower() in issue.labels and (event.id if event else "") != job.facts.get("answered")
    wanted = bool(issue.open and (told or new))
    return _Seen(issue, facts, event, wanted, asking.refusal(desk, facts, event) if wanted else None)


def _first(desk: Desk, event: str) -> bool:
    """Whether this daemon works on the wish of this label event: the lowest comment that claims it says whose it is.

    Another daemon may run on another machine with the same account. The one that was not first touches neither
    labels nor branch. A comment of an earlier wish is claimed by an edit, which the others see only after a while.
    """
    mine = instance_id(desk.settings.state_file)
    said = _own_comments(desk)
    if not _claims(said, event):
        known = any(claimed(c.body)[0] for c in said)
        desk.note(claim=claim_of(mine, event))
        desk.progress()
        if known:
            desk.wait(SETTLE)
            if not _stands(desk, event):
                return False
        said = _own_comments(desk)
    claims = _claims(said, event)
    if not claims or min(claims)[1] == mine:
        desk.note(claim=claim_of(mine, event))
        return True
    if mine in (by for _, by in claims):
        desk.effects.show(STICKY, desk.job.number, texts.ELSEWHERE)
    desk.note(label_seen=desk.job.facts["label_seen"] + 1)
    desk.keep(status=Status.DONE, reason="another daemon claimed this first")
    return False


def _stands(desk: Desk, event: str) -> bool:
    """Whether it is still this label event that asks; else the job ends here."""
    now = wish(asking.read(desk).labels, desk.settings.ready_label, desk.place.me.id)
    if now is None or now.id != event:
        cancelled(desk, texts.WITHDRAWN)
        return False
    return True


def _claims(said: Sequence[Comment], event: str) -> list[tuple[int, str]]:
    """(comment, instance) of everybody who wants to answer this label event."""
    found = ((c.id, *claimed(c.body)) for c in said)
    return [(number, by) for number, by, wish in found if by and wish == event]


def _own_comments(desk: Desk) -> list[Comment]:
    """What this daemon and those that share its account said on the issue in their one comment each."""
    found = desk.api.comments(desk.job.number)
    return [c for c in found if is_ours(c, desk.place.me.id) and is_about(c, desk.job, STICKY)]


def _lie_down(desk: Desk, seen: float) -> None:
    """The list was late: no new wish. The job is again what it was before."""
    was = Status(desk.job.facts.get("was", Status.DONE.value))
    answered = str(desk.job.facts.get("answered", ""))
    desk.note(label_seen=seen + 1)
    reason = str(desk.job.facts.get("reason", ""))
    desk.keep(status=was, trigger=answered, reason=reason, attempt=desk.job.attempt - 1)


def prepare(desk: Desk) -> str:
    """A fresh worktree on our branch: from the open PR where there is one, else from the base."""
    job = desk.job
    await_allowance(desk)
    desk.progress()
    base_ref = desk.settings.base_branch or desk.api.repo().default_branch
    desk.mirror.ensure()
    desk.mirror.fetch(f"refs/heads/{base_ref}")
    base = desk.mirror.sha(f"refs/remotes/origin/{base_ref}")
    if base is None:
        raise Refused(texts.no_base(base_ref) if desk.settings.base_branch else texts.NO_COMMITS)
    remote = desk.mirror.remote_sha(f"refs/heads/{job.branch}")
    pull = desk.api.find_pull(job.branch) if remote else None
    start = base
    if remote and pull:
        desk.mirror.fetch(f"refs/heads/{job.branch}")
        start = remote
    elif remote and remote != job.facts.get("pushed"):
        raise Refused(texts.branch_taken(job.branch, remote))
    desk.soon(base=base, base_ref=base_ref, head="")
    desk.note(start=start, remote=remote or "", left="", once_more="")
    _fresh_tree(desk)
    return "run"


def _fresh_tree(desk: Desk) -> None:
    """The worktree as it was before any agent, set up; what is there is saved in the mirror first."""
    job = desk.job
    desk.clear_place()
    desk.fresh_tree(str(job.facts["start"]), job.branch)
    desk.furnish(copies=True)
    if setup := desk.settings.setup_commands:
        desk.commands(setup, desk.new_log(f"issue-{job.number}-setup"), desk.settings.command_timeout)
    if setup or desk.settings.copy_files is not None:
        desk.tree.work_begins()


def run(desk: Desk) -> str | None:
    """The agent works in the worktree."""
    desk.progress()

    def prompt() -> str:
        facts, context = asking.readable(desk)
        return implement_prompt(desk.job.number, facts.title, facts.body, *context)

    result = run_agent(desk, Work(Role.IMPLEMENT, desk.tree, prompt, lambda: _fresh_tree(desk)))
    if result.outcome is not Outcome.DONE:
        desk.note(failure=result.detail)
        return "give_up"
    desk.soon(summary=result.text)
    return "commit"


def give_up(desk: Desk) -> None:
    """A phase of its own, so that trouble while saying so does not cost another run."""
    raise Refused(str(desk.job.facts["failure"]))


def commit(desk: Desk) -> str | None:
    """What the agent committed and what it left in the tree becomes one line of commits."""
    job = desk.job
    desk.check()
    asking.words(desk)
    tree = desk.tree
    made = tree.collect(f"{texts.pull_title(job.title)}\n\nIssue: #{job.number}\n")
    left_out = texts.left_out(job, made.byproducts, made.ignored, made.inside, made.kept)
    desk.note(left_out=" ".join(filter(None, (texts.lacking(job), left_out))))
    if made.head == job.facts["start"]:
        _nothing(desk)
        return None
    publishable.check(desk, made)
    desk.note(lfs=made.server, large=[(path, one.oid, one.size) for path, one in made.large])
    desk.note(unfiltered=publishable.unfiltered(desk, made))
    desk.soon(head=made.head)
    return "push"


def _nothing(desk: Desk) -> None:
    job = desk.job
    said = texts.no_change(desk.job, str(desk.job.facts["left_out"]), desk.settings.ready_label)
    desk.effects.say(f"nothing-{job.trigger}-{job.attempt}", job.number, said)
    _park(desk, "the agent changed nothing")
    desk.drop_tree()


def push(desk: Desk) -> str:
    """The branch shows our commits, or somebody else's were there and stay."""
    job = desk.job
    desk.check()
    desk.progress()
    expected = str(job.facts["remote"]) or None
    found = desk.api.repo()
    if (found.id, found.clone_url) != (desk.place.repo.id, desk.place.repo.clone_url):
        raise Retry(f"another repository is called {job.repo} now")
    asking.words(desk)
    if large := [(path, Pointer(*one)) for path, *one in job.facts.get("large", ())]:
        LfsServer(str(job.facts["lfs"]), desk.mirror.access).send(large, job.branch, desk.mirror.large)
    if desk.mirror.push(job.head, job.branch, expected) is Pushed.REJECTED:
        gone = desk.mirror.remote_sha(f"refs/heads/{job.branch}") is None
        raise Refused(texts.branch_gone(job) if gone else texts.pushed_meanwhile(job))
    desk.note(pushed=job.head)
    return "open"


def open_pull(desk: Desk) -> str:
    """One PR for the branch, found before it is made; one that must not be merged unseen waits for a person's eyes."""
    job = desk.job
    desk.check()
    desk.progress()
    why = publishable.look_first(desk)

    def find() -> int | None:
        found = desk.api.find_pull(job.branch)
        return found.number if found else None

    def make() -> int:
        asking.words(desk)
        try:
            return _create(desk, why, draft=bool(why))
        except ApiError as error:
            if why and error.says("draft pull requests are not supported"):
                return _create(desk, why, draft=False)
            raise

    number = desk.effects.once(f"pull-{job.trigger}", make, find)
    desk.soon(pr=number)
    if why:
        desk.effects.again(f"steering-{job.trigger}", lambda: desk.api.add_label(number, NEEDS_HUMAN))
        if job.facts["start"] != job.base:  # it was there before, and its body says nothing of this change
            desk.effects.say(f"look-{job.trigger}-{job.attempt}", number, _look_first(desk, why, draft=False))
    return "finish"


def _create(desk: Desk, why: tuple[str, ...], draft: bool) -> int:
    job, s = desk.job, desk.settings
    first = _look_first(desk, why, draft) if why else ""
    left_out = str(job.facts.get("left_out", ""))
    body = texts.pull_body(job, first, s.setup_commands, left_out, s.ready_label, _trigger(desk))
    try:
        return desk.api.create_pull(texts.pull_title(job.title), job.branch, job.base_ref, body, draft)
    except ApiError as error:
        if error.says("already exists"):
            # Made by an earlier call without an answer; a new PR may be listed late (F33).
            raise Unknown("the pull request is not listed yet") from error
        raise


def _look_first(desk: Desk, why: tuple[str, ...], draft: bool) -> str:
    return texts.look_first(why, desk.job.head, _trigger(desk), draft)


def _trigger(desk: Desk) -> str:
    return desk.settings.merge_comment_trigger if desk.settings.auto_merge_enabled else ""


def finish(desk: Desk) -> None:
    """Labels and the sticky comment tell the end; the worktree is pushed whole, so it can go."""
    job = desk.job
    desk.effects.again(f"unbusy-{job.trigger}", lambda: desk.api.remove_label(job.number, IN_PROGRESS))
    desk.effects.show(STICKY, job.number, texts.implemented(job))
    desk.drop_tree()
    desk.keep(status=Status.DONE)


def fail(desk: Desk, error: Refused) -> None:
    """One comment with the cause, the next step, the log and the worktree that was kept."""
    job = desk.job
    if not job.trigger:
        # Given up before the claim: its label is still on, and must not be taken for a new wish.
        event = wish(asking.read(desk).labels, desk.settings.ready_label, desk.place.me.id)
        job = desk.keep(trigger=event.id if event else "")
    path = desk.tree.path
    output = error.output if isinstance(error, CommandFailed) else b""
    again = f"label the issue `{desk.settings.ready_label}` again"
    text = texts.failed(job, str(error), str(path) if path.exists() else "", again, output)
    desk.effects.say(f"failed-{job.trigger}-{job.attempt}", job.number, text)
    _park(desk, str(error))


def _park(desk: Desk, reason: str) -> None:
    job = desk.job
    desk.effects.again(f"stuck-{job.trigger}", lambda: desk.api.add_label(job.number, NEEDS_HUMAN))
    desk.effects.again(f"unbusy-{job.trigger}", lambda: desk.api.remove_label(job.number, IN_PROGRESS))
    desk.effects.show(STICKY, job.number, texts.parked(job, reason))
    desk.keep(status=Status.PARKED, reason=reason)


def cancelled(desk: Desk, reason: str) -> None:
    """A person withdrew the wish: nothing is pushed, what was made is saved in the mirror."""
    job = desk.job
    reason = str(job.facts.get("ends_for") or reason)  # when this was cut off, the label that it took off is no reason
    desk.note(ends_for=reason)
    tree = desk.tree
    if tree.path.exists():
        tree.save(f"issue-{job.number}")
        desk.drop_tree()
    desk.effects.again(f"unbusy-{job.trigger}", lambda: desk.api.remove_label(job.number, IN_PROGRESS))
    desk.effects.show(STICKY, job.number, reason)
    desk.keep(status=Status.DONE, reason=reason, facts={**desk.job.facts, "ends_for": ""})


PHASES: dict[str, Phase] = {
    "claim": claim,
    "prepare": prepare,
    "run": run,
    "give_up": give_up,
    "commit": commit,
    "push": push,
    "open": open_pull,
    "finish": finish,
}
