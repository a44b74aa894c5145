"""What stood in a worktree before the work in it began, as far as the checkout did not put it there.

Copied files and what the set-up commands left are neither the agent's nor a command's change, whatever git says of
them; they become one as soon as their content is another.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.git.disk import write_whole

_CHUNK = 1024 * 1024
Stand = tuple[str, tuple[int, ...]]  # what it is and holds; size, inode and times, while which are the same it is too


@dataclass(frozen=True)
class ZeroLine:
    """`stood`: each path that differed from the checkout, by its content; `ignored`: names that git ignored then.

    `modules`: the commits that submodules were at.
    """

    stood: dict[str, Stand] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    modules: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, top: Path, differing: Iterable[str], ignored: Iterable[str], modules: Mapping[str, str] | None = None
    ) -> ZeroLine:
        """As it is now in the folder `top`."""
        return cls({path: stand(top / path) for path in differing}, frozenset(ignored), dict(modules or {}))

    @classmethod
    def load(cls, file: Path) -> ZeroLine:
        """What `store` wrote; the empty one where there is none."""
        try:
            kept = json.loads(file.read_bytes())
        except FileNotFoundError:
            return cls()
        stood = {path: (str(content), tuple(about)) for path, (content, about) in kept["stood"].items()}
        return cls(stood, frozenset(kept["ignored"]), kept["modules"])

    def store(self, file: Path) -> None:
        """Write it whole."""
        kept = {"stood": self.stood, "ignored": sorted(self.ignored), "modules": self.modules}
        write_whole(file, json.dumps(kept).encode())

    def holds(self, top: Path, path: str) -> bool:
        """Whether the path is what it was."""
        before = self.stood.get(path)
        if before is None:
            return False
        return before[1] == _about(top / path) or before[0] == stand(top / path)[0]


def stand(path: Path) -> Stand:
    """What a path is now; links are not followed, and a pipe holds nobody up."""
    about = _about(path)
    if not about:
        return "none", about
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link {path.readlink()}", about
    if not stat.S_ISREG(mode):
        return f"kind {stat.S_IFMT(mode)}", about
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return f"file {bool(mode & 0o100)} {digest.hexdigest()}", about


def _about(path: Path) -> tuple[int, ...]:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return found.st_mode, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
