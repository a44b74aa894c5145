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
    wanted = own_config(identity, bare=True)
    for name in _PLANTED:
        (mirror / name).unlink(missing_ok=True)
    config = mirror / "config"
    if not config.is_file() or config.is_symlink() or config.read_bytes() != wanted:
        write_whole(config, wanted)


def own_config(identity: Identity, bare: bool) -> bytes:
    """What stands in the config of every repository that the daemon makes."""
    case = "\tignorecase = true\n\tprecomposeunicode = true\n" if sys.platform == "darwin" else ""
    name, email = (quoted("".join(filter(str.isprintable, text))) for text in (identity.name, identity.email))
    return (
        f"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = {str(bare).lower()}\n{case}"
        f"[user]\n\tname = {name}\n\temail = {email}\n"
        "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    ).encode()


def quoted(text: str) -> str:
    """A value, or the name of a subsection, as a config file holds it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
