"""Every sentence that a person reads on GitHub: what happened, on which SHA, what to do next.

Pure functions. Text that came from elsewhere passes through `quoting`; how our comments are found again: `marks`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from orchestrator.model import Finding
from orchestrator.quoting import cap, fence, inert, plain, tail
from orchestrator.record import Job, Kind

_ACTS_IN_TITLE = re.compile(r"(?<!\w)@(?=\w)|#(?=\d)|\bGH-(?=\d)", re.IGNORECASE)

WITHDRAWN = "The issue was closed or its label was taken off; the run was stopped and nothing was pushed."
NO_COMMITS = "The repository has no commits yet, so there is nothing to start from. Push a first commit."
LACKING_TOLD = 5  # submodules that are named
TOO_LATE = "Too late: the merge had been asked of GitHub before this was read."
CLEARED = "Cleared by `orchestrator clear`."


def short(sha: str) -> str:
    """A SHA as people read it."""
    return f"`{sha[:10]}`"


def count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def spent(job: Job) -> str:
    """Turns, minutes and dollars in a few words."""
    return f"{count(job.turns, 'turn')}, {job.seconds / 60:.1f} min, ${job.cost_usd:.2f}"


_STEPS = {
    Kind.IMPLEMENT: {
        "claim": "seen",
        "prepare": "preparing a worktree",
        "run": "the agent works",
        "commit": "collecting the changes",
        "push": "pushing",
        "open": "opening the pull request",
    },
    Kind.REVIEW: {"prepare": "fetching the head", "run": "the agent reads", "post": "posting the review"},
    Kind.MERGE: {},  # its status comment is `merging`
}


_HOW_TO_CANCEL = {
    Kind.IMPLEMENT: "To cancel, close the issue or take the label `in-progress` off.",
    Kind.REVIEW: "To cancel, close the pull request or make it a draft.",
}


def progress(job: Job, waits_for: str = "") -> str:
    """The one sticky comment while a job is under way; `waits_for`: why what comes next does not begin yet."""
    what = "Working on this issue" if job.kind is Kind.IMPLEMENT else f"Reviewing {short(job.head)}"
    steps = list(_STEPS[job.kind])
    place = steps.index(job.phase) if job.phase in steps else 0
    lines = [f"**{what}**, attempt {job.attempt}: {_STEPS[job.kind][steps[place]]}."]
    lines.append(f"Branch `{job.branch}`, so far {spent(job)}." if job.branch else f"So far {spent(job)}.")
    if steps[place + 1 :]:
        lines.append("Next: " + ", ".join(_STEPS[job.kind][s] for s in steps[place + 1 :]) + ".")
    if waits_for:
        lines.append(f"It waits: {waits_for}")
    lines.append(_HOW_TO_CANCEL[job.kind])
    return "\n".join(lines)


def limited(job: Job, what: str, until: float) -> str:
    """The sticky comment while an agent may not work; `until`: seconds since 1970."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until))
    lines = [
        f"**Waiting**: {what} It goes on by itself, with attempt {job.attempt}, as soon as that is over; ",
        f"looked at again at {when} ({spent(job)}).",
    ]
    lines.append(_HOW_TO_CANCEL[job.kind])
    return "\n".join(lines)


def implemented(job: Job) -> str:
    return f"Done: #{job.pr} was opened from `{job.branch}` at {short(job.head)} ({spent(job)})."


def not_allowed_to_label(login: str | None, label: str) -> str:
    """`login` is None when GitHub does not say who it was."""
    who = f"@{login} put `{label}` on, but" if login else f"The label `{label}` was put on by an account that"
    return (
        f"{who} does not have write permission here (or is a bot), so nothing was started. "
        "Somebody with write permission can take the label off and put it on again."
    )


def no_base(branch: str) -> str:
    return f"There is no branch `{inert(branch)}` here, which is set as `BASE_BRANCH`. Push it, or change the setting."


ELSEWHERE = "Another daemon claimed this first; its comment tells how it goes on. Nothing was done from here."


def branch_taken(branch: str, sha: str) -> str:
    return (
        f"The branch `{inert(branch)}` exists already, at {short(sha)}, which is not what was pushed to it from here, "
        "and no open pull request has it. It was left alone. Delete it, or open a pull request from it, which is then "
        "continued."
    )


def pushed_meanwhile(job: Job) -> str:
    return (
        f"Somebody else pushed to `{job.branch}` meanwhile; their commits were left alone and ours "
        f"({short(job.head)}) were not pushed. Delete or merge that branch first."
    )


def branch_gone(job: Job) -> str:
    return f"The branch `{job.branch}` was deleted meanwhile, so the new commits ({short(job.head)}) were not pushed."


def pull_title(title: str) -> str:
    """One line that mentions nobody and closes nothing, also as a commit's subject; broken by blanks one can see."""
    one_line = " ".join(_ACTS_IN_TITLE.sub(lambda m: m[0] + " ", plain(title).replace("<!--", "")).split())
    return one_line[:240] or "Untitled change"


def look_first(why: Sequence[str], head: str, trigger: str, draft: bool) -> str:
    """What a person must do with a pull request that must not be merged unseen, for these reasons."""
    ready = "mark this draft ready for review, then " if draft else ""
    how = f"comment `{trigger} {head[:12]}`" if trigger else "merge it with GitHub's own button"
    reasons = ". ".join(why)
    return f"{reasons}, so a person has to look at it before it is merged. When it is as it should be, {ready}{how}."


def pull_body(job: Job, first: str, checked: Sequence[str], left_out: str, label: str, trigger: str) -> str:
    """`first`: what to look at before all; `left_out`: see there; `trigger`: the merge command, "" where it is off."""
    merge = f"- a comment with the line `{trigger}` checks and merges this pull request\n" if trigger else ""
    checks = (
        "Set-up commands that passed in the worktree: " + ", ".join(f"`{c}`" for c in checked) + "."
        if checked
        else "No set-up command is configured; what the agent ran itself is in its report above."
    )
    return cap(
        f"Closes #{job.number}\n\n{first and f'**Look first:** {first}{chr(10) * 2}'}"
        f"### What was done\n\n{inert(job.summary)}\n\n{left_out and f'{left_out}{chr(10) * 2}'}"
        f"### How it was checked\n\n{checks}\n\n"
        f"### Cost\n\n{spent(job)}, attempt {job.attempt}.\n\n"
        "<details><summary>Commands</summary>\n\n"
        f"{merge}- the label `{label}` on #{job.number} asks for another attempt\n\n</details>\n"
    )


def left_out(job: Job, byproducts: Sequence[str], ignored: Sequence[str], inside: Sequence[str], kept: bool) -> str:
    """What the agent's worktree held and the commit does not, a sentence for each sort; empty where there is none."""
    said = []
    if inside:
        said.append(
            f"Not in the commit, because a submodule is a repository of its own: {_paths(inside)}. Such a change "
            "belongs in a pull request there."
        )
    if byproducts:
        said.append(f"Not in the commit, as byte code, caches and the like never are: {_paths(byproducts)}.")
    if ignored:
        said.append(f"Not in the commit, because `.gitignore` names it: {_paths(ignored)}.")
    if kept:
        said.append(
            "What no commit of the branch holds (files of a submodule, ignored files, a stash, another branch) is "
            f"saved on the daemon's machine for some days: `orchestrator salvage list {job.number}`."
        )
    return " ".join(said)


def lacking(job: Job) -> str:
    """Which submodules are empty in the worktree of this job, a sentence for each; empty where none is."""
    said = [
        f"The submodule `{inert(one['path'])}` ({inert(one['address']) or 'no address'}) is empty: {inert(one['why'])}."
        for one in job.facts.get("lacking") or ()
    ]
    more = job.facts.get("lacking_more")
    return " ".join([*said, f"So are {more} more."] if more else said)


def _paths(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{inert(name)}`" for name in names[:most]) + more


def no_change(job: Job, left_out: str, label: str) -> str:
    said = inert(job.summary) or "(it gave no explanation)"
    more = f"{left_out}\n\n" if left_out else ""
    return (
        f"The agent changed nothing on {short(job.base)}, so there is no pull request ({spent(job)}). Its own "
        f"explanation:\n\n{said}\n\n{more}Next: make the issue clearer and label it `{label}` again, or close it."
    )


def failed(job: Job, what: str, worktree: str, again: str, output: bytes = b"") -> str:
    """The one comment after a failure: cause first, next step (`again`), log and worktree."""
    lines = [what + (f" (On base {short(job.base)}.)" if job.base else "")]
    if empty := lacking(job):
        lines.append(empty)
    if output.strip():
        lines.append(f"The end of the output:\n\n{fence(plain(tail(output)))}")
    lines.append(f"Next: {again} to try again.")
    if job.log:
        lines.append(f"On the daemon's machine: `orchestrator logs {job.number}` (log `{job.log}`).")
    if worktree:
        lines.append(f"The worktree was kept: `{worktree}`.")
    return "\n\n".join(lines)


def parked(job: Job, what: str) -> str:
    """The sticky comment of a job that only a person wakes."""
    return f"**Needs a person**: {what} ({spent(job)})"


def command_failed(command: str, number: int, total: int, code: int) -> str:
    how = f"ended with exit status {code}" if code >= 0 else f"was ended by signal {-code}"
    return f"Command {number} of {total}, `{inert(command)}`, {how}."


def command_late(command: str, number: int, total: int, seconds: float) -> str:
    return (
        f"Command {number} of {total}, `{inert(command)}`, timed out after {seconds:g} s (`COMMAND_TIMEOUT`) and was "
        "ended with everything that it had started."
    )


# Reviews


def review_body(job: Job, verdict: str, summary: str, rest: Sequence[Finding]) -> str:
    """The review's own text; `rest`: findings that no line of the diff can carry."""
    word = {"approve": "looks good", "comment": "has remarks", "request_changes": "asks for changes"}[verdict]
    lines = [f"**This review {word}** (head {short(job.head)}, {spent(job)}).", inert(summary)]
    if rest:
        lines.append("Findings outside of the diff's lines:")
        lines.append("\n".join(f"- `{inert(f.path)}`{_line(f)} ({f.severity}): {inert(f.text)}" for f in rest))
    if empty := lacking(job):
        lines.append(empty)
    lines.append("An automated opinion: it neither approves nor blocks.")
    return "\n\n".join(lines)


def _line(finding: Finding) -> str:
    return f" line {finding.line}" if finding.line else ""


def finding(found: Finding) -> str:
    return cap(f"**{found.severity}**: {inert(found.text)}")


def not_reviewed(job: Job, why: str) -> str:
    return f"No review of {short(job.head)}: {why}"


def reviewed(job: Job, verdict: str, findings: int) -> str:
    return f"Reviewed {short(job.head)}: {verdict.replace('_', ' ')}, {count(findings, 'finding')} ({spent(job)})."


NOT_REVIEWED = "The pull request was closed or made a draft; its review was stopped."


def superseded(old: str, new: str) -> str:
    return f"The head moved from {short(old)} to {short(new)}; the review of the old one was stopped."


# Merges


def merging(job: Job, step: str, trigger: str) -> str:
    """The status comment of a merge attempt."""
    return (
        f"**Merging {short(job.head)} into `{job.base_ref}`** for @{job.asked_by}: {step}.\n"
        f"To cancel, comment `{trigger} cancel`."
    )


BASE_MOVES = 3  # that the verdict allows


def testing(base: str, commands: int, moves: int) -> str:
    """`moves`: how often the base moved after the merge was built and passed."""
    again = f" (the base moved, {moves} of {BASE_MOVES})" if moves else ""
    if not commands:
        return f"the merge with base {short(base)} is built{again}"
    return f"{count(commands, 'pre-merge command')} on the merge with base {short(base)}{again}"


def waiting_for_checks(names: Sequence[str]) -> str:
    return "waiting for checks: " + (", ".join(f"`{inert(n)}`" for n in names) if names else "none reported yet")


def merged(job: Job, commands: Sequence[str], checks: str) -> str:
    passed = ", ".join(f"`{inert(c)}`" for c in commands)
    empty = lacking(job)
    tested = f"{passed} passed on the merge" if commands else "no pre-merge command is set; it merged cleanly"
    return (
        f"**Merged** {short(job.head)} into `{job.base_ref}` as {short(job.merge_sha)}: tree {short(job.tree)}, "
        f"{tested} with base {short(job.base)}; {checks}.{empty and f' {empty}'}"
    )


def merged_by(job: Job, login: str) -> str:
    return f"**Merged** by @{login} as {short(job.merge_sha)} while this attempt was under way; the rest is tidying up."


def already_merged(sha: str) -> str:
    return f"This pull request is already merged as {short(sha)}; nothing was left to do but to tidy up."


def untested(job: Job, parent: str, commits: Sequence[str]) -> str:
    """`commits`: the subjects of what came in between; on the tested base itself the files differ."""
    landed = f"**Merged, but not what was tested**: {short(job.head)} landed as {short(job.merge_sha)}"
    if parent == job.base:
        return (
            f"{landed} on the base that the commands ran on, {short(parent)}, but its files differ from those that "
            f"were tested (tree {short(job.tree)}). Compare {short(job.merge_sha)} with this pull request and run the "
            f"checks on `{job.base_ref}`; revert it when they fail."
        )
    return (
        f"{landed} on {short(parent)}, the commands ran on {short(job.base)}. Run the checks on `{job.base_ref}`. "
        f"Not tested together with: {_listed(commits) or 'commits that cannot be named'}"
    )


def queued_with(job: Job, parent: str, commits: Sequence[str]) -> str:
    """As `untested`, where the merge queue put it on another base and tested that by the branch's own rules."""
    return (
        f"**Merged** {short(job.head)} into `{job.base_ref}` by the merge queue as {short(job.merge_sha)} on "
        f"{short(parent)}. The commands here ran on {short(job.base)}; in between came: "
        f"{_listed(commits) or 'nothing named'}"
    )


def _listed(subjects: Sequence[str]) -> str:
    return "".join(f"\n- {inert(subject[:200])}" for subject in subjects[-20:])


def untidy(job: Job, why: str) -> str:
    """What landed stays said; where that could not be found out, this is said."""
    unread = (
        f"**Merged** as {short(job.merge_sha)}, but whether that is what was tested could not be read. "
        f"Run the checks on `{job.base_ref}`."
    )
    return (
        f"{job.facts.get('landed', unread)}\n\nTidying up did not finish: {why}\n\n"
        "Next: close the linked issues and delete the branch where they are still there."
    )


ISSUES_UNREAD = "The linked issues could not be read and were left alone; close by hand what this was to close."


def issue_kept(number: int, why: str) -> str:
    return f"Issue #{number} could not be closed: {why}."


def foreign_issues(names: Sequence[str]) -> str:
    """`names`: `owner/name#5`, or empty where the repository is private, whose name is no public matter."""
    known = [f"`{name}`" for name in names if name]  # as code, so that nothing appears on those issues
    hidden = names.count("")
    listed = ", ".join([*known, *([f"{hidden} in private repositories"] if hidden else [])])
    return (
        f"Linked issues of other repositories were left alone: {listed}. "
        "GitHub itself may have closed them with this merge."
    )


def answered(status: int) -> str:
    return f"GitHub answered {status}"


def merge_refused(job: Job, why: str, output: bytes = b"", what: str = "output") -> str:
    """`output`: what the reader needs to see of the `what`, an output or a diff."""
    on = f" {short(job.head)}" if job.head else ""
    lines = [f"**Not merged**{on}: {why}"]
    if empty := lacking(job):
        lines.append(empty)
    if output.strip():
        lines.append(f"The end of the {what}:\n\n{fence(plain(tail(output)))}")
        lines.append(f"The whole {what} is on the daemon's machine: `{job.log}`.")
    lines.append("Nothing is pending; only a new comment starts another attempt.")
    return "\n\n".join(lines)


OVER = "**Ended**"


def attempt_over(job: Job, why: str) -> str:
    """The status comment of an attempt that was refused; what else is to be said is said in a comment of its own."""
    on = f" {short(job.head)}" if job.head else ""
    return f"{OVER}{on} for @{job.asked_by} (comment {job.trigger}): {why.splitlines()[0]}"


BLOCKED = "waiting for GitHub, which still calls this pull request blocked"
TURN = "waiting for its turn"
QUEUED = "in the merge queue of GitHub"


def crash_loop(times: int) -> str:
    return (
        f"The daemon ended unexpectedly {times} times within ten minutes while it worked on this, so it was given up. "
        "The daemon's log says how it ended."
    )


def cut_off_often(times: int) -> str:
    return (
        f"The agent's run was cut off {times} times because the daemon ended unexpectedly, so it was given up. What "
        "was saved of its work: `orchestrator salvage list` on the daemon's machine."
    )


def gave_up(reason: str) -> str:
    return f"It was tried several times and did not work: {inert(reason)}"
