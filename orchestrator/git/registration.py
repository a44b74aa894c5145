"""What the daemon notes about one worktree, beside its repository and out of its reach: `<mirror>/trees/<name>`.

The index that the checkout left, the commit that it shows, the zero line, the folders of a part, a mark for as long as
a creation lasts, and one where attributes name filters. Two refs of the mirror keep its objects:
`refs/orchestrator/start/<name>`, where it began, and `refs/orchestrator/head/<name>`, what was collected last.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from orchestrator.git import cone, lfs
from orchestrator.git.disk import small, write_whole
from orchestrator.git.environment import Place, Scratch
from orchestrator.git.mirror import TRASH, Mirror
from orchestrator.git.run import Result
from orchestrator.git.salvage import keep
from orchestrator.git.shared_clone import SharedClone, copied
from orchestrator.git.zero_line import ZeroLine

ANY = (0, 1, 128)  # exit codes of a question whose answer may be "there is none"

_AS_MADE = "as-made-"
_SHA = re.compile("[0-9a-f]{40}")
_ON_BRANCH = re.compile(rb"ref:\s*(refs/heads/[^\s~^:?*\[\\\x00-\x1f\x7f]+)\s*")


class Registration:
    """The worktree at `path` as `mirror` has it, or does not have it yet."""

    def __init__(self, mirror: Mirror, path: Path) -> None:
        self.mirror = mirror
        self.path = path
        self.folder = mirror.path / "trees" / path.name
        self.clone = SharedClone(mirror, path)
        self.start = f"refs/orchestrator/start/{path.name}"
        self.collected = f"refs/orchestrator/head/{path.name}"
        self.files = Place(mirror.path, None, path)
        self._linked = mirror.path / "worktrees" / path.name  # where version 0.1 registered it, with git's own means

    def call(
        self,
        *args: str,
        scratch: Scratch | None = None,
        stdin: bytes | None = None,
        cut: int | None = None,
        accept: Sequence[int] = (0,),
    ) -> Result:
        """Run git on the files of the worktree, with the mirror for a repository."""
        return self.mirror.call(*args, at=self.files, scratch=scratch, stdin=stdin, cut=cut, accept=accept)

    @property
    def exists(self) -> bool:
        return any(map(os.path.lexists, (self.folder, self.path, self._linked)))

    @property
    def half_made(self) -> bool:
        """Whether a creation was cut off (F03)."""
        linked = self._linked / "locked"
        return self._making.exists() or (linked.is_file() and linked.read_bytes().startswith(b"initializing"))

    @property
    def _making(self) -> Path:
        return self.folder / "making"

    def begin(self) -> None:
        """A creation begins."""
        self.folder.mkdir(parents=True)
        self._making.touch()

    def finished(self, sha: str) -> None:
        """The creation is over: the files are those of `sha`. Their index is kept as it is now, for `as_made`."""
        shutil.copy2(self.clone.index, self.folder / f"{_AS_MADE}{sha}")
        self._making.unlink()

    def as_made(self) -> tuple[Path, str] | None:
        """The index that the creation left, and the commit that it shows."""
        found = next((file for file in self.folder.glob(f"{_AS_MADE}*") if file.is_file()), None)
        return None if found is None or found.is_symlink() else (found, found.name.removeprefix(_AS_MADE))

    @property
    def untouched(self) -> bool:
        """Whether nobody wrote to the clone's index since the creation."""
        made = self.as_made()
        return made is not None and copied(self.clone.index) == copied(made[0])

    @property
    def zero_line(self) -> ZeroLine:
        """What stood in the worktree when the work began."""
        return ZeroLine.load(self.folder / "zero-line.json")

    @zero_line.setter
    def zero_line(self, now: ZeroLine) -> None:
        now.store(self.folder / "zero-line.json")

    @property
    def filtered(self) -> bool:
        """Whether attributes of the commit where the worktree began name filters."""
        return self._filtered.exists()

    @filtered.setter
    def filtered(self, named: bool) -> None:
        if named:
            self._filtered.touch()

    @property
    def _filtered(self) -> Path:
        return self.folder / "filtered"

    def lfs(self) -> str:
        """The address of the LFS server that the daemon calls for this worktree, by where it began; else empty."""
        asked = ("config", "--no-includes", "--blob", f"{self.start}:.lfsconfig", "--get", "lfs.url")
        return lfs.server(self.mirror.access, self.mirror.call(*asked, accept=(0, 1, 3, 128)).text) or ""

    def head(self) -> str | None:
        """The commit that is checked out; None when there is none."""
        if self.clone.is_there:
            return self.clone.head()
        said = small(self._linked / "HEAD")
        branch = _ON_BRANCH.fullmatch(said)
        name = os.fsdecode(branch[1]) if branch else said.strip().decode("ascii", "replace")
        return self.mirror.sha(name) if branch or _SHA.fullmatch(name) else None

    def head_or_start(self) -> str | None:
        """The commit that is checked out, else the one where the worktree began; None for what never was one."""
        return self.head() or self.mirror.sha(self.start)

    def narrow(self, folders: Sequence[str]) -> None:
        """Note that the checkout writes these folders only."""
        write_whole(self.folder / "sparse-checkout", cone.patterns(folders))

    @property
    def holds(self) -> tuple[str, ...]:
        """The folders that are checked out; none: everything."""
        file = "sparse-checkout" if self.folder.is_dir() else f"{self._linked}/info/sparse-checkout"
        return cone.folders(small(self.folder / file, 1_000_000))

    def withdraw(self) -> list[Path]:
        """Move folder and registration out of the way, at once; returns what is then to be deleted.

        What was collected and neither the remote nor a salvage ref has is saved first.
        """
        if not self.exists:
            return []
        tip = self.mirror.sha(self.collected)
        if tip is not None:
            keep(self.mirror, self.path.name, tip)
        trash = []
        for path in filter(os.path.lexists, (self.path, self.folder, self._linked)):
            away = self.mirror.base / f"{TRASH}{self.path.name}-{uuid.uuid4().hex}"
            Path(path).rename(away)
            trash.append(away)
        self.mirror.update(f"delete {self.start}", f"delete {self.collected}")
        return trash
