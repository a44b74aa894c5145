"""A mirror whose objects or refs are broken, as a power loss or a failing disk leaves them (F48).

What git says raises the suspicion, `fsck` proves it; then the mirror is set aside, never deleted, and what can be
read of its own branches and of the saved work is taken over into the new one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import Retry
from orchestrator.git.access import Access
from orchestrator.git.environment import Place
from orchestrator.git.run import GitError, git
from orchestrator.git.trouble import Said

_OURS = ("refs/heads/", "refs/orchestrator/")
_SIGNS = re.compile(
    r"object file .+ is empty|loose object .+ is corrupt|object corrupt or missing|bad object|broken link|bad ref|"
    r"unable to (?:read|parse|unpack|find) |failed to (?:read|unpack tree) object|could not (?:read|parse|get object)|"
    r"missing (?:blob|tree|commit)|(?:index|pack) ?file .+\.(?:idx|pack) |pack has bad object|invalid sha1 pointer|"
    r"inflate: data|badRefContent|invalid packed-refs|unexpected line in .+packed-refs",
    re.IGNORECASE,
)
# `fsck` on an object that is whole and not well formed (`malformed`), at times in words that somebody chose.
_FORM = re.compile(r"^(?:error|warning) in \w+ [0-9a-f]{40}[^:\n]*: \w+: .*", re.MULTILINE)


def suspected(said: str) -> bool:
    """Whether git's words can mean that the repository is damaged; also, that something is just not there."""
    return _SIGNS.search(Said.read(said).own) is not None


def proven(mirror: Path, timeout: float) -> bool:
    """Whether git's own check of the repository, which reads all of it, finds objects or refs broken."""
    try:
        answer = git("fsck", "--no-dangling", "--no-progress", at=Place(mirror), timeout=timeout, accept=range(256))
    except GitError:
        return False  # it took too long: no proof
    said = f"{answer.text}\n{answer.err.decode('utf-8', 'replace')}"
    return answer.code != 0 and suspected(_FORM.sub("", said))


def set_aside(mirror: Path) -> Path:
    """Rename the mirror; its worktrees stay where they are, as folders that no repository knows."""
    number = 1
    while (aside := mirror.with_name(f"{mirror.name}.damaged-{number}")).exists():
        number += 1
    mirror.rename(aside)
    return aside


def take_over(aside: Path, mirror: Path, timeout: float) -> None:
    """Bring our own refs from the damaged mirror, one by one: those whose commits are whole arrive."""
    refs: list[str] = []
    with suppress(GitError, Retry):
        listed = git("for-each-ref", "--format=%(refname)", *_OURS, at=Place(aside), timeout=timeout)
        refs = listed.text.splitlines()
    for ref in refs:
        with suppress(GitError):
            fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", str(aside))
            git(*fetch, f"{ref}:{ref}", at=Place(mirror), access=Access(str(aside)), timeout=timeout)
