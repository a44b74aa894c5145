"""Which commits the submodules of a worktree show, and what of that becomes part of a commit around them.

Their clones are read as text, never used as repositories; what others wrote there runs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from orchestrator.git.content import refused_move
from orchestrator.git.gitmodules import GITLINK, Unusable, address, declared, gitlinks, shown
from orchestrator.git.mirror import Mirror
from orchestrator.git.modules import is_published, module, refresh
from orchestrator.git.registration import Registration
from orchestrator.git.shared_clone import checked_out, is_real
from orchestrator.git.trouble import Unreachable


def standing(known: Registration) -> dict[str, str]:
    """The commits that the submodules with files show now, whoever brought those, by path."""
    there = gitlinks(known.mirror, known.start) if known.declares else {}
    real = (path for path in there if is_real(known.path / path, known.top))
    found = ((path, checked_out(known.path / path)) for path in real)
    return {path: sha for path, sha in found if sha is not None}


def moved(known: Registration, now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Of the submodules that are at these commits `now` those that were elsewhere when the work began, with both."""
    began = {**gitlinks(known.mirror, known.start), **known.zero_line.modules} if now else {}
    return {path: (began[path], sha) for path, sha in now.items() if sha != began[path]}


def moves(known: Registration, now: Mapping[str, str], head: str) -> bytes:
    """The gitlinks that a commit of now needs beyond those of `head`, for `update-index --index-info`.

    One that was moved since the work began is where it is now. One that only set-up commands moved stays where the
    repository has it, also where the agent committed it with its own work.
    """
    if not now:
        return b""
    links, before, since = gitlinks(known.mirror, head), gitlinks(known.mirror, known.start), moved(known, now)
    wanted = {path: now[path] for path in since}
    zero = known.zero_line.modules
    wanted |= {path: before[path] for path in now if path not in since and links.get(path) == zero.get(path)}
    lines = (f"{GITLINK} {sha}\t{path}\0" for path, sha in wanted.items() if links.get(path, sha) != sha)
    return os.fsencode("".join(lines))


def check_move(mirror: Mirror, start: str, path: str, sha: str) -> None:
    """Refused where no branch or tag of the submodule's repository, as `start` names it, holds the commit."""
    found = next((one for one in declared(mirror, start) if one.path == path), None)
    if found is None or not mirror.submodules:
        why = "its repository, as far as is known here (`.gitmodules` does not name it, or SUBMODULES is off)"
        raise refused_move(path, sha, why)
    try:
        url = address(found.url, mirror.access.url, mirror.root.access)
    except Unusable as no:
        raise refused_move(path, sha, f"its repository, as far as is known here ({no})") from no
    theirs = module(mirror, url)
    theirs.make()
    if not is_published(theirs, sha):
        try:
            refresh(theirs)
        except Unreachable as no:
            raise refused_move(path, sha, f"{shown(url)}, as far as is known here ({no.why})") from no
        if not is_published(theirs, sha):
            raise refused_move(path, sha, shown(url))
