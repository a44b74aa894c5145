"""Why what was asked for was not done, and what to do next: one sentence or two for the person who asked.

Pure functions, as in `texts`; foreign text passes through `quoting`.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.quoting import inert
from orchestrator.record import Job
from orchestrator.texts import count, short

DRAFT = "The PR is a draft. Mark it ready for review first."
CLOSED = "The PR is closed. Reopen it first."
EDITED = "The comment was edited, so it does not count. Post the command in a new comment."
SWITCHED_OFF = "Merging by comment is switched off here (`AUTO_MERGE_ENABLED=false`). Merge with GitHub's own button."
FORK = (
    "The head comes from a fork, and its code would run on the daemon's machine. "
    "Push the branch to this repository to have it merged here."
)
REVIEW_REQUIRED = "The branch's rules require an approving review that is not there yet. Get one first."
NOTHING_TO_LAND = "The merge would change nothing: all of it is in the base already. Close the pull request."
QUEUE_DROPPED = "The merge queue dropped it. Its entry in the pull request's history says why."
FROM_A_FORK = "The head comes from a fork"
AUTHOR_MAY_NOT_WRITE = "The author of the pull request has no write permission here"
HOLDS_SECRET = (
    "The change holds a token, key or password of the daemon's machine, so nothing was pushed. Look at it in the "
    "worktree; if it could be read by somebody else, replace that secret."
)
_AGAIN = "Read it as it is now; if that is meant, put the label on again (take it off first where it is on)."
MOVED_HERE = f"The issue came from another repository after the label was put on. {_AGAIN}"
EDITED_AFTER_LABEL = (
    "The title or text was changed after the label was put on, and not surely by somebody with write permission here. "
    f"{_AGAIN}"
)
EDITED_MEANWHILE = f"The title or text was changed after the work had begun, so its result was not published. {_AGAIN}"
BEGUN_BEFORE = f"It was begun by an older version, which did not note who asked for which words. {_AGAIN}"


def right_lost(login: str) -> str:
    return f"@{login}, who asked for this, may not ask any more; the run was stopped, and its branch was left as it is."


def head_moved(pinned: str, now: str) -> str:
    return f"The head moved from {short(pinned)} to {short(now)} after the command. Look at the new head first."


def pushed_after(head: str, trigger: str) -> str:
    return (
        f"Commit {short(head)} arrived after your comment, or cannot be shown to be older, so it may not be what you "
        "saw. "
        f"If you mean it, comment `{trigger} {head[:12]}`."
    )


def head_is(head: str, trigger: str) -> str:
    return f"The head is now {short(head)}, not the commit that you named. If you mean it: `{trigger} {head[:12]}`."


def retargeted(old: str, new: str) -> str:
    was = f"from `{inert(old)}` to `{inert(new)}`" if old != new else f"away from `{inert(old)}` and back"
    return f"The base was changed {was} after the command. Make sure that it is meant, and ask again."


def cancelled_by(login: str) -> str:
    return f"Cancelled by @{login}."


def already_running(login: str) -> str:
    return f"A merge attempt asked for by @{login} is already under way; this comment starts no second one."


def needs_write(login: str) -> str:
    return f"@{login} has no write permission on this repository, so this was not done. Somebody with it can ask."


def too_old(hours: float) -> str:
    return (
        f"This came too long ago: it was more than {hours:g} hours old when the daemon read it, so nothing was done. "
        "Look at the pull request as it is now and post it again."
    )


def usage(trigger: str) -> str:
    return f"Not understood. The command is one whole line: `{trigger}`, `{trigger} <sha>` or `{trigger} cancel`."


def name_the_sha(why: str, head: str, trigger: str) -> str:
    return f"{why}, so the commit must be named. If {short(head)} is what you looked at: `{trigger} {head[:12]}`."


def touches(paths: Sequence[str]) -> str:
    shown = ", ".join(f"`{inert(p)}`" for p in paths[:5]) + (f" and {len(paths) - 5} more" if paths[5:] else "")
    return f"It changes files that steer tools or people ({shown})"


def _each(paths: Sequence[Sequence[str]]) -> str:
    """Paths with the filters of each."""
    shown = ", ".join(f"`{inert(path)}` (`{inert(name)}`)" for path, name in paths[:5])
    return shown + (f" and {len(paths) - 5} more" if paths[5:] else "")


def unfiltered(paths: Sequence[Sequence[str]]) -> str:
    return (
        f"`.gitattributes` names filters that are not run here, so this was written without them: {_each(paths)}; "
        "`git add --renormalize` in a clone that has them makes up for it"
    )


def not_hidden(paths: Sequence[Sequence[str]]) -> str:
    return (
        f"`.gitattributes` names filters that encrypt or hide what is committed: {_each(paths)}. They are not run "
        "here, so what was written there would have been readable for everybody, and nothing was pushed. Make that "
        "part in a clone that has the filter and its key, and let the issue say that these files stay as they are."
    )


def without_lfs(paths: Sequence[str], installed: bool) -> str:
    """`installed`: whether git-lfs is there, so that it is the server that the daemon does not call."""
    shown = ", ".join(f"`{inert(p)}`" for p in paths[:5]) + (f" and {len(paths) - 5} more" if paths[5:] else "")
    why, mend = (
        ("its `.lfsconfig` names another server than the repository's own", "Take `lfs.url` out of `.lfsconfig`")
        if installed
        else ("git-lfs is not installed on the daemon's machine", "Install git-lfs there")
    )
    return (
        f"The repository keeps {shown} in Git LFS (the filter `lfs`), but {why}, so the content itself would have been "
        f"committed in the place of a pointer. Nothing was pushed. {mend}, then ask again."
    )


def locked(path: str, owner: str) -> str:
    """`owner`: as the LFS server names who holds the lock; empty where it does not."""
    whose = f"`{inert(owner)}` has" if owner else "Somebody has"
    return (
        f"{whose} locked `{inert(path)}` in Git LFS, so the work that changes it was not pushed. Have it unlocked "
        "(`git lfs unlock`), then ask again."
    )


def look_at(steering: Sequence[str], written_bare: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Why a person has to look before a merge: files that steer, and paths that were written without their filter."""
    return (*([touches(steering)] if steering else ()), *([unfiltered(written_bare)] if written_bare else ()))


def held(label: str) -> str:
    return f"The label `{inert(label)}` is on it. Take it off and ask again."


def changes_requested(logins: Sequence[str]) -> str:
    who = ", ".join(f"@{login}" for login in logins) or "A reviewer"
    verb = "ask" if len(logins) > 1 else "asks"
    return f"{who} {verb} for changes. Have the review renewed or dismissed first."


def approval_missing(head: str) -> str:
    return (
        f"Nobody with write permission has approved {short(head)} (`REQUIRE_APPROVAL=always`). "
        "Have exactly this commit approved first."
    )


def behind(base_ref: str) -> str:
    return (
        f"The rules of `{inert(base_ref)}` want branches that contain its newest commit. Update the branch, let its "
        "checks pass, and ask again."
    )


def blocked(base_ref: str) -> str:
    return (
        f"GitHub calls the pull request blocked although its checks and reviews are in order: another rule of "
        f"`{inert(base_ref)}` is not met, for example an open conversation. Its merge box says which."
    )


def base_gone(base_ref: str) -> str:
    return f"The base branch `{inert(base_ref)}` does not exist any more. Choose another base."


def conflict(paths: Sequence[str], base: str) -> str:
    names = ", ".join(f"`{inert(p)}`" for p in paths[:20])
    return f"It conflicts with the base {short(base)} in {names}. Merge the base into the branch first."


def checks_failed(names: Sequence[str]) -> str:
    """A name may carry GitHub's word for what waits for a person."""
    waits = " What says `action_required` waits for a person to allow it on GitHub." if _waits(names) else ""
    return "These checks are not green: " + ", ".join(f"`{inert(n)}`" for n in names) + f". Mend them first.{waits}"


def _waits(names: Sequence[str]) -> bool:
    return any(name.endswith("(action_required)") for name in names)


def merge_unclear(times: int) -> str:
    return f"GitHub gave no usable answer to the merge call {times} times, and the PR is still open."


def checks_late(names: Sequence[str], seconds: float) -> str:
    what = ", ".join(f"`{inert(n)}`" for n in names) or "any check (there are workflow files at the head)"
    return f"Waited {seconds:g} s (`CI_TIMEOUT`) for {what}. See why they do not report."


def base_kept_moving(times: int) -> str:
    return f"The base moved each time the merge was built and tested, {times} times in a row. Wait for a quieter time."


def files_modified(paths: Sequence[str]) -> str:
    names = ", ".join(f"`{inert(p)}`" for p in paths[:20])
    return f"The commands passed but modified tracked files: {names}. Commit what they produce first."


def agent_at_work(job: Job) -> str:
    return (
        f"The agent still works on `{inert(job.branch)}` for #{job.number} and will push to it. "
        f"Look at its new head and ask again when #{job.number} is done."
    )


def github_refuses(sentence: str) -> str:
    return f"GitHub refuses the merge: {inert(sentence)}"


def github_forbids(sentence: str) -> str:
    return (
        f"GitHub does not let this daemon's account merge: {inert(sentence)} Give it the right to in the branch's "
        "rules, or merge by hand."
    )


def queue_late(seconds: float) -> str:
    return f"The merge queue did not come to it within {seconds:g} s (`CI_TIMEOUT`), so it was taken out again."


def too_large(kilobytes: int) -> str:
    return (
        f"The change is more than {kilobytes} kB of diff (`MAX_DIFF_KB`), so nothing was pushed. Ask for less in one "
        "issue, or have built and downloaded files ignored."
    )


def runs_used_up(login: str | None, most: int) -> str:
    who = f"@{login}" if login else "the account behind this"
    runs = count(most, "agent run")
    return f"The {runs} that {who} may cause within 24 hours are used up (`MAX_RUNS_PER_ACTOR_DAY`)."


def budget_used_up(usd: float) -> str:
    return f"The ${usd:g} that agents may cost within 24 hours are spent, or set aside for others (`DAILY_BUDGET_USD`)."


def copy_would_replace(path: str) -> str:
    """`COPY_FILES` and the repository have the same path."""
    return (
        f"`COPY_FILES` brings `{inert(path)}`, and the repository has it too, so nothing was run. Take it out of that "
        "folder, or out of the repository."
    )


def tells_copied(path: str) -> str:
    """A commit holds what was copied into the worktree."""
    return (
        f"The change holds `{inert(path)}`, which `COPY_FILES` brought into the worktree and which is not for others, "
        "so nothing was pushed. Label the issue again, and say in it where else this is to go."
    )
