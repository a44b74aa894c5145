"""A worktree that holds a part of a huge repository: the named folders, and the files beside each on the way to it.

What is not checked out is never taken for deleted: the worktree's own registration tells what it holds (the setting may
have changed since), and a commit without something from outside of that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import Refused
from orchestrator.git.content import shown
from orchestrator.git.mirror import Mirror

SWITCHES = ("-c", "core.sparseCheckout=true", "-c", "core.sparseCheckoutCone=true")


def patterns(folders: Sequence[str]) -> bytes:
    """The folders as git's file `info/sparse-checkout` names them in cone mode; none may hold a glob character."""
    top = [one for one in folders if not any(one.startswith(f"{other}/") for other in folders)]
    lines = ["/*", "!/*/"]
    for above in _above(top):
        lines += [f"/{above}/", f"!/{above}/*/"]
    lines += [f"/{one}/" for one in sorted(set(top))]
    return "".join(f"{line}\n" for line in lines).encode()


def folders(patterns: bytes) -> tuple[str, ...]:
    """What `patterns` was made of; nothing for an empty file."""
    lines = patterns.decode("utf-8", "surrogateescape").split("\n")
    return tuple(line[1:-1] for line in lines if line.startswith("/") and line != "/*" and f"!{line}*/" not in lines)


def outside(folders: Sequence[str]) -> list[str]:
    """The pathspecs of everything that a worktree of these folders does not hold."""
    beside = [f":(exclude,glob){above}/*" for above in _above(folders)]
    return [".", ":(exclude,glob)*", *beside, *(f":(exclude,literal){one}" for one in folders)]


def check_kept(mirror: Mirror, folders: Sequence[str], before: str, after: str) -> None:
    """Refuse a tree `after` that lacks what `before` has outside of the folders."""
    flags = ("-r", "-z", "--name-only", "--no-renames", "--diff-filter=D")
    gone = mirror.call("diff-tree", *flags, before, after, "--", *outside(folders)).paths
    if gone:
        raise Refused(
            f"`{shown(gone[0])}` is not checked out here, because of SPARSE_PATHS, and something else was put in its "
            "place, which would delete it. Nothing was pushed."
        )


def _above(folders: Sequence[str]) -> list[str]:
    """The folders on the way to these, outer ones first, the root apart."""
    found = {one[:end] for one in folders for end, char in enumerate(one) if char == "/"}
    return sorted(found)
