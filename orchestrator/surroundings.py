"""What agents and commands meet in one worktree beside its files: variables, ports, caches. One way for both.

Beside each worktree is a folder of its own, `surroundings/<name>`, that comes and goes with it: its caches, which its
runs may write to; which files were copied into it; and, once a command ran in it, what its tear-down needs to know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.git.disk import discard, small, write_whole
from orchestrator.record import Job, Kind

FOLDER = "surroundings"
_MOST = 8 << 20  # bytes of a file of ours


def variables(job: Job, ports: int) -> dict[str, str]:
    """What tells a program where it is; each is documented in the README."""
    is_issue = job.kind is Kind.IMPLEMENT
    return {
        "ORCHESTRATOR_REPO": job.repo,
        "ORCHESTRATOR_ITEM": str(job.number),
        "ORCHESTRATOR_BASE": job.base_ref,
        "ORCHESTRATOR_HEAD": str(job.facts.get("start", "")) if is_issue else job.head,
        "ORCHESTRATOR_BRANCH": job.branch if is_issue else str(job.facts.get("head_ref", "")),
        "ORCHESTRATOR_PORT_BASE": str(ports),
    }


class Surroundings:
    """Those of the worktree `tree`, which need not exist."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.folder = tree.parent / FOLDER / tree.name
        self.caches = self.folder / "caches"
        self._torn = self.folder / "to-tear-down.json"
        self._copied = self.folder / "copied.json"

    def begin(self, copied: Sequence[str]) -> None:
        """For a new worktree, into which these files were copied."""
        discard(self.folder)
        self.caches.mkdir(parents=True, mode=0o700)
        write_whole(self._copied, json.dumps(copied).encode())

    def environment(self, told: Mapping[str, str], passed: Mapping[str, str]) -> dict[str, str]:
        """All variables that are this worktree's own: what it is `told`, and what its owner lets pass.

        Byte code is not written, since what is written elsewhere makes Python compile its own library anew for each
        worktree; other caches lie beside the tree. What a tool leaves in the tree is nobody's work.
        """
        self.caches.mkdir(parents=True, exist_ok=True, mode=0o700)
        return {
            **passed,
            **told,
            "PYTHONDONTWRITEBYTECODE": "1",
            "MYPY_CACHE_DIR": str(self.caches / "mypy"),
            "RUFF_CACHE_DIR": str(self.caches / "ruff"),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.caches / "hypothesis"),
        }

    @property
    def copied(self) -> tuple[str, ...]:
        """The files that were copied into the worktree, as git names paths."""
        return tuple(json.loads(small(self._copied, _MOST) or b"[]"))

    def commands_begin(self, told: Mapping[str, str]) -> None:
        """From now on there is something to tear down."""
        write_whole(self._torn, json.dumps(dict(told)).encode())

    @property
    def to_tear_down(self) -> dict[str, str] | None:
        """What the worktree was told when its commands began; None where none ran since the last tear-down."""
        said = small(self._torn, _MOST)
        return json.loads(said) if said else None

    def torn_down(self) -> None:
        """There is nothing left to tear down."""
        self._torn.unlink(missing_ok=True)

    def end(self) -> None:
        """The worktree is gone."""
        discard(self.folder)
