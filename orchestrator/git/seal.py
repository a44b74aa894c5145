"""The mirror's config is the daemon's: agents share the folder, and what stands there runs programs.

Settings like `filter.*`, `url.*` or `http.*.proxy` have no neutral value that could be given to a single call,
so the whole file is compared with what it must be, and written again when it differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.git.disk import write_whole
from orchestrator.git.environment import Identity

_PLANTED = (
    *("config.worktree", "shallow", "info/attributes", "info/exclude", "info/grafts", "info/sparse-checkout"),
    "objects/info/alternates",
)


def seal(mirror: Path, identity: Identity) -> None:
    """Put back what an agent may have planted to have our git run a program or see other files (A30-A33)."""
    wanted = _config(identity)
    for name in _PLANTED:
        (mirror / name).unlink(missing_ok=True)
    config = mirror / "config"
    if not config.is_file() or config.is_symlink() or config.read_bytes() != wanted:
        write_whole(config, wanted)


def _config(identity: Identity) -> bytes:
    case = "\tignorecase = true\n\tprecomposeunicode = true\n" if sys.platform == "darwin" else ""
    name, email = (
        "".join(f"\\{char}" if char in '"\\' else char for char in text if char.isprintable())
        for text in (identity.name, identity.email)
    )
    return (
        f"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n{case}"
        f'[user]\n\tname = "{name}"\n\temail = "{email}"\n'
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    ).encode()
