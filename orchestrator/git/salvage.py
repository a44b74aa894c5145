"""Work that would be lost, kept in the mirror under `refs/orchestrator/salvage/<name>/<n>`, newest last.

Each of these refs is an annotated tag: its date tells when the work was kept, its message why. Those of older
versions are bare commits and tell the date of the commit alone. Whoever wants the commit peels the ref.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from orchestrator.git.mirror import Mirror

ROOT = "refs/orchestrator/salvage"

_NUMBERED = re.compile(re.escape(ROOT) + r"/(?P<name>[A-Za-z0-9._-]+)/(?P<number>\d+)")
_IF_TAG = "%(if:equals=tag)%(objecttype)%(then)"
_FORM = "%00".join(
    (
        *("%(refname)", "%(objectname)", "%(creatordate:unix)"),
        f"{_IF_TAG}%(*objectname) %(*tree) %(*parent)%(else)%(objectname) %(tree) %(parent)%(end)",
        f"{_IF_TAG}%(contents:subject)%(end)",
    )
)
_FRESH = 86400.0  # seconds
UNSAID = "it was about to be taken away"


@dataclass(frozen=True)
class Kept:
    """One piece of work. `name`: of its worktree; `at`: seconds since 1970; `why`: empty where nobody noted it."""

    name: str
    number: int
    commit: str
    tree: str
    parents: tuple[str, ...]
    at: float
    why: str
    ref: str
    target: str  # what the ref itself shows: the tag, or the commit


def keep(mirror: Mirror, name: str, sha: str, why: str = UNSAID) -> str | None:
    """Keep a commit; returns it, or None when the remote has it. Kept within a day: the same answer, no new ref.

    What was kept longer ago is kept anew from now on. `why`: the end of a sentence that begins with "kept because".
    """
    if not _unknown(mirror, sha, "--remotes"):
        return None
    with mirror.lock:
        # An older ref goes soon by its age, and this is all that will be left of what is taken away now.
        fresh = [one.ref for one in kept(mirror) if one.at > time.time() - _FRESH]
        if _unknown(mirror, sha, "--remotes", *fresh):
            before = kept(mirror, name)
            number = max((one.number for one in before), default=0) + 1
            tag = _tag(mirror, f"{name}/{number}", sha, why)
            mirror.call("update-ref", f"{ROOT}/{name}/{number}", tag, "")
            for one in before:
                if one.commit == sha:
                    forget(mirror, one)
    return sha


def keep_tree(mirror: Mirror, name: str, tree: str, parent: str | None, why: str = UNSAID) -> str | None:
    """Keep files as a commit on `parent`, as `keep` does; the same files on the same parent are one commit."""
    parents = (parent,) if parent else ()
    same = (one.commit for one in kept(mirror, name) if (one.tree, one.parents) == (tree, parents))
    sha = next(same, None) or mirror.commit_tree(tree, parents, "Files that were left in the worktree")
    return keep(mirror, name, sha, why)


def kept(mirror: Mirror, name: str = "") -> list[Kept]:
    """What is kept, of one worktree or of all, oldest first."""
    listed = mirror.call("for-each-ref", f"--format={_FORM}", f"{ROOT}/{name}".rstrip("/"))
    found = (_read(line) for line in listed.out.decode("utf-8", "replace").split("\n"))
    return sorted(filter(None, found), key=lambda one: (one.at, one.number))


def forget(mirror: Mirror, one: Kept) -> None:
    """Let go of it, for good; GitError when the ref shows something else by now."""
    with mirror.lock:
        mirror.call("update-ref", "-d", one.ref, one.target)


def unkept(mirror: Mirror, sha: str) -> bool:
    """Whether neither the remote nor a salvage ref has the commit."""
    return _unknown(mirror, sha, "--remotes", f"--glob={ROOT}")


def _unknown(mirror: Mirror, sha: str, *known: str) -> bool:
    return bool(mirror.call("rev-list", "--max-count=1", sha, "--not", *known).text)


def _tag(mirror: Mirror, title: str, sha: str, why: str) -> str:
    who_and_when = mirror.call("var", "GIT_COMMITTER_IDENT").text
    text = f"object {sha}\ntype commit\ntag {title}\ntagger {who_and_when}\n\n{why}\n"
    return mirror.call("mktag", stdin=text.encode()).text


def _read(line: str) -> Kept | None:
    """One line of git's list; None for a ref that is not ours, which agents can make."""
    ref, *rest = line.split("\0")
    ours = _NUMBERED.fullmatch(ref)
    if ours is None:
        return None
    target, at, objects, why = rest
    commit, tree, *parents = objects.split(" ")
    return Kept(
        ours["name"],
        int(ours["number"]),
        commit,
        tree,
        tuple(filter(None, parents)),
        float(at or 0),
        why,
        ref,
        target,
    )
