"""The part of `doctor` that looks at the current folder: a checkout should not offer our files for a commit."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from orchestrator.diagnosis import Good, Warn


def examine(state_file: Path | None, worktree_base: Path | None) -> Iterator[Good]:
    """A warning where the current folder is in a checkout of git that does not ignore these; None: not known."""
    told = _asked("rev-parse", "--show-toplevel", "--git-path", "info/exclude")
    if told is None:
        return
    top, exclude = told.splitlines()
    wanted: list[tuple[str, Path, str, tuple[Path, ...]]] = []
    if state_file is not None:
        # Its companions begin with its name.
        wanted += [("STATE_FILE", state_file, "*", (state_file, state_file.with_name(f"{state_file.name}.prev")))]
    if worktree_base is not None:
        wanted += [("WORKTREE_BASE", worktree_base, "/", (worktree_base / "owner",))]
    bare = [(name, _place(path, Path(top)), end) for name, path, end, probes in wanted if not _are_ignored(probes)]
    lines = [shlex.quote(f"/{_literal(place)}{end}") for _, place, end in bare if place]
    if lines:
        names = " and ".join(name for name, place, _ in bare if place)
        seen = f"git does not ignore {names} in {top}, so a commit there could take it along"
        yield Warn("checkout", seen, f"printf '%s\\n' {' '.join(lines)} >> {shlex.quote(exclude)}")


def _asked(*words: str) -> str | None:
    """What the operator's own git answers, with their own settings; None where it says no."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _are_ignored(paths: tuple[Path, ...]) -> bool:
    return all(_asked("check-ignore", "--quiet", "--", str(path)) is not None for path in paths)


def _place(path: Path, top: Path) -> str:
    """The path as seen from the top of the checkout; empty where it is outside, or the checkout itself."""
    real = path.parent.resolve() / path.name
    return str(real.relative_to(top)) if top in real.parents else ""


def _literal(place: str) -> str:
    return re.sub(r"([*?\[\\])", r"\\\1", place)
