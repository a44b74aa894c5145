"""Where worktrees and mirrors lie when `WORKTREE_BASE` names no folder, and what tools find above them.

The place is `~/.local/state/orchestrator/<8 hex digits>`, told from the path of the state file alone: each daemon of an
account has its own, finds it again after a restart, and so does every command, from whatever folder it is called.

- Not beside the state file: that often lies in a checkout, and pytest, npm, cargo, git and others that look for their
  settings in parent folders would take the checkout's for the repository's own.
- Not a cache, which may be emptied at any time: saved work, logs and `runs.jsonl` are nowhere else.
- The same on macOS: the space in `~/Library/Application Support` breaks `make` and the first lines of scripts.
- No `XDG_STATE_HOME`: a service does not see what a shell's profile sets, and the daemon and `orchestrator salvage`
  would look in two places. `WORKTREE_BASE` in `.env` is seen by both.

The place of earlier versions, `worktrees` in the daemon's folder, stays in use as long as a mirror lies in it and the
new place is not there. Nothing is moved at a start: records, links of git and comments on GitHub name absolute paths in
it, and what was to be gigabytes across two disks could be cut off halfway. `moving` is the command for a person; it
leaves a link, by which all those paths go on to be true.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

_OLD = "worktrees"
# What tools look for in each parent folder.
_SOUGHT = (
    *(".git", ".hg", ".editorconfig", ".envrc", ".tool-versions", "mise.toml", "AGENTS.md", "CLAUDE.md"),
    *("conftest.py", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "setup.py", "pyproject.toml", "mypy.ini"),
    *("ruff.toml", ".ruff.toml", ".pylintrc", ".python-version", "node_modules", "package.json", "pnpm-workspace.yaml"),
    *(".npmrc", ".yarnrc.yml", ".nvmrc", "tsconfig.json", "jsconfig.json", ".babelrc", ".prettierrc", ".eslintrc"),
    *(".eslintrc.js", ".eslintrc.json", "eslint.config.js", "eslint.config.mjs", "biome.json", "deno.json", "nx.json"),
    *("lerna.json", "turbo.json", "Cargo.toml", ".cargo", "rust-toolchain", "rust-toolchain.toml", "rustfmt.toml"),
    *("clippy.toml", "go.mod", "go.work", "pom.xml", ".mvn", "settings.gradle", "settings.gradle.kts", "Gemfile"),
    *(".rubocop.yml", ".ruby-version", "global.json", "Directory.Build.props", ".clang-format", ".clang-tidy"),
    *("MODULE.bazel", "WORKSPACE"),
)


def own(state_file: Path) -> Path:
    """The place of the daemon with this state file."""
    real = Path(os.path.realpath(state_file.parent), state_file.name)
    return Path.home() / ".local/state/orchestrator" / hashlib.sha256(os.fsencode(real)).hexdigest()[:8]


def default(state_file: Path) -> Path:
    """The own place, or the one of an earlier version that is still in use."""
    new = own(state_file)
    if os.path.lexists(new):
        return new
    return next((old for old in _olds(state_file) if any(old.glob("*/*/mirror.git*"))), new)


def above(base: Path) -> list[Path]:
    """What tools in a worktree find in parent folders, the nearest first.

    In the account's home only checkouts, and what is not hidden: settings of the account's are for all that it does.
    """
    real, home = Path(os.path.realpath(base)), Path(os.path.realpath(Path.home()))
    found = [folder / name for folder in (real, *real.parents) for name in _SOUGHT if os.path.lexists(folder / name)]
    return [path for path in found if path.parent != home or path.name == ".git" or path.name[0] != "."]


def trouble(base: Path) -> str:
    """The sentence about a place with something `above`; empty where there is nothing."""
    found = above(base)
    if not found:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (
        f"in the worktrees in {base}, tools that look in parent folders find {', '.join(map(str, found[:3]))}{more}, "
        "and take that for the repository's own unless a sandbox hides it"
    )


def outside(base: Path) -> str:
    """What to do about `trouble`."""
    return f"name a folder outside of {above(base)[-1].parent} as WORKTREE_BASE"


def moving(base: Path, state_file: Path) -> str:
    """The command that moves the place of an earlier version while no daemon runs; empty where there is none."""
    if base not in _olds(state_file) or base.is_symlink() or not base.is_dir():
        return ""
    new = own(state_file)
    if os.path.lexists(new) or above(new):
        return ""
    old, there = shlex.quote(str(base)), shlex.quote(str(new))
    return f"mkdir -p {shlex.quote(str(new.parent))} && mv {old} {there} && ln -s {there} {old}"


def _olds(state_file: Path) -> list[Path]:
    """Where earlier versions had it: in the folder that they were started in, mostly that of the state file."""
    return list(dict.fromkeys((state_file.absolute().parent / _OLD, Path(_OLD).absolute())))
