"""What an agent's commits must be before anybody else sees them.

Of bounded size, without secrets and copied files, and encrypted where the repository encrypts.

Everything that a push would show is looked at: each commit that the base has not, with its message and its whole
difference, also of files that git calls binary and of what a later commit takes back.
Not guaranteed: a secret in pieces or disguised is not found (see `redactor`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from orchestrator import refusals
from orchestrator.decide.protected import protected
from orchestrator.errors import Refused
from orchestrator.git import content, filters, lfs
from orchestrator.git.pointers import pointers
from orchestrator.git.worktree import Collected
from orchestrator.jobs.desk import Desk
from orchestrator.redactor import OURS

_ALL = (
    *("log", "--patch", "--cc", "--text", "--no-ext-diff", "--no-textconv", "--no-color", "--no-notes"),
    "--format=%an%n%ae%n%cn%n%ce%n%B",
)
_NAMES = ("log", "-m", "-z", "--name-only", "--no-renames", "--format=")

_OVERLAP = 16 * 1024  # bytes; longer than any secret in any form


def check(desk: Desk, made: Collected) -> None:
    """Refused when its head, or a file that goes to Git LFS with it, must not be pushed."""
    start, most = str(desk.job.facts["start"]), desk.settings.max_diff_kb
    shown = desk.mirror.call(*_ALL, made.head, f"^{start}", f"^{desk.job.base}", "--", cut=most * 1024)
    if not shown.whole:
        raise Refused(refusals.too_large(most))
    if OURS.holds(shown.out):
        raise Refused(refusals.HOLDS_SECRET)
    if copied := set(desk.around.copied):
        named = desk.mirror.call(*_NAMES, made.head, f"^{start}", f"^{desk.job.base}", "--").names
        if told := next((path for path in named if path in copied), None):
            raise Refused(refusals.tells_copied(told))
    for _, one in made.large:
        if desk.mirror.large.has(one) and _holds_secret(desk.mirror.large.pieces(one)):
            raise Refused(refusals.HOLDS_SECRET)


def _holds_secret(pieces: Iterable[bytes]) -> bool:
    """Whether one stands in the content, however large that is."""
    before = b""
    for piece in pieces:
        if OURS.holds(before + piece):
            return True
        before = piece[-_OVERLAP:]
    return False


def unfiltered(desk: Desk, made: Collected) -> list[tuple[str, str]]:
    """The paths, with their filters, that were written without one and that a person must look at.

    Refused where the filter would have hidden what was written.
    """
    if not made.filtered:
        return []

    def ran(name: str, blob: str) -> bool:
        return name == lfs.NAME and bool(made.server and pointers(desk.mirror, [blob]))

    found = filters.unfiltered(desk.mirror, made.head, [str(desk.job.facts["start"]), desk.job.base], ran)
    if not made.server and (raw := [content.shown(one.path) for one in found if one.filter == lfs.NAME]):
        raise Refused(refusals.without_lfs(raw, installed=shutil.which("git-lfs") is not None))
    if bare := [(one.path, one.filter) for one in found if one.hides]:
        raise Refused(refusals.not_hidden(bare))
    return [(one.path, one.filter) for one in found]


def look_first(desk: Desk) -> tuple[str, ...]:
    """Why a person must look at this job's commits before they are merged; nothing where none has to."""
    changed = desk.mirror.changed(str(desk.job.facts["start"]), desk.job.head)
    return refusals.look_at(protected(changed, desk.settings.protected_paths), desk.job.facts.get("unfiltered", ()))
