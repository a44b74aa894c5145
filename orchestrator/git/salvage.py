"""Work that would be lost, kept in the mirror under `refs/orchestrator/salvage/<name>/<n>`, newest last."""

from __future__ import annotations

from orchestrator.git.mirror import Mirror

_ROOT = "refs/orchestrator/salvage"


def keep(mirror: Mirror, name: str, sha: str) -> str | None:
    """Keep a commit; returns it, or None when the remote has it. Kept already: the same answer, no new ref."""
    if not _unknown(mirror, sha, "--remotes"):
        return None
    with mirror.lock:
        if unkept(mirror, sha):
            refs = mirror.call("for-each-ref", "--format=%(refname)", f"{_ROOT}/{name}/").text.splitlines()
            number = max((int(n) for ref in refs if (n := ref.rpartition("/")[2]).isdigit()), default=0) + 1
            mirror.call("update-ref", f"{_ROOT}/{name}/{number}", sha, "")
    return sha


def keep_tree(mirror: Mirror, name: str, tree: str, parent: str | None) -> str | None:
    """Keep files as a commit on `parent`; the same files on the same parent are kept once."""
    form = "--format=%(objectname) %(tree) %(parent)"
    for line in mirror.call("for-each-ref", form, f"{_ROOT}/{name}/").text.splitlines():
        sha, *rest = line.split()
        if rest == [tree, *([parent] if parent else [])]:
            return sha
    sha = mirror.commit_tree(tree, [parent] if parent else [], "Files that were left in the worktree")
    return keep(mirror, name, sha)


def unkept(mirror: Mirror, sha: str) -> bool:
    """Whether neither the remote nor a salvage ref has the commit."""
    return _unknown(mirror, sha, "--remotes", f"--glob={_ROOT}")


def _unknown(mirror: Mirror, sha: str, *known: str) -> bool:
    return bool(mirror.call("rev-list", "--max-count=1", sha, "--not", *known).text)
