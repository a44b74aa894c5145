"""A commit for somebody who only reads it: no link of it leads out (R5).

The files of a pull request are read by an agent that opens what looks like a file of the change. A link to the
program's stored login beside the worktree, or to whatever a missing wall leaves open, would be quoted from as such.
"""

from __future__ import annotations

import os

from orchestrator.git.content import leads_out, targets
from orchestrator.git.gitmodules import gitlinks
from orchestrator.git.mirror import Mirror

_FILE = "100644"


def without_ways_out(mirror: Mirror, sha: str) -> str:
    """A commit on `sha` in which each link that leads out of the tree is a file that tells its target.

    `sha` itself where there is none.
    """
    leading = targets(mirror, sha)
    # What lies behind the links of a submodule is not known here, so no way leads through one.
    modules = dict.fromkeys(gitlinks(mirror, sha), "/") if leading else {}
    outward = {path for path in leading if leads_out(path, leading | modules)}
    if not outward:
        return sha
    made: dict[str, str] = {}
    for folder in sorted({above for path in outward for above in _above(path)}, key=len, reverse=True):
        entries = []
        for mode, kind, found, name in _listed(mirror, f"{sha}:{folder}"):
            path = f"{folder}/{name}" if folder else name
            entries.append(f"{_FILE if path in outward else mode} {kind} {made.get(path, found)}\t{name}\0")
        made[folder] = mirror.call("mktree", "-z", stdin=os.fsencode("".join(entries))).text
    return mirror.commit_tree(made[""], [sha], "Links that lead out are files here\n")


def _listed(mirror: Mirror, *tree: str) -> list[tuple[str, str, str, str]]:
    """Mode, kind, object and path of each entry."""
    found = []
    for entry in mirror.call("ls-tree", "-z", "--full-tree", *tree).paths:
        about, _, path = entry.partition("\t")
        mode, kind, sha = about.split(" ")
        found.append((mode, kind, sha, path))
    return found


def _above(path: str) -> list[str]:
    """All folders that the path lies in, the root as the empty word."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
