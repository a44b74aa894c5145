"""What the daemon notes about one worktree, beside its repository and out of its reach: `<mirror>/trees/<name>`.

The index that the checkout left, the commit that it shows, the zero line, the folders of a part, a mark for as long as
a creation lasts, and one where attributes name filters. Two refs of the mirror keep its objects:
`refs/orchestrator/start/<name>`, where it began, and `refs/orchestrator/head/<name>`, what was collected last. A
submodule is a worktree too, in a mirror of its own, and is noted there in the same way.
"""

from __future__ import annotations

import hashlib
import json
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
from orchestrator.git.modules import module
from orchestrator.git.run import Result
from orchestrator.git.salvage import keep
from orchestrator.git.shared_clone import SharedClone, copied, is_real
from orchestrator.git.zero_line import ZeroLine

ANY = (0, 1, 128)  # exit codes of a question whose answer may be "there is none"

_AS_MADE = "as-made-"
_SHA = re.compile("[0-9a-f]{40}")
_ON_BRANCH = re.compile(rb"ref:\s*(refs/heads/[^\s~^:?*\[\\\x00-\x1f\x7f]+)\s*")


class Registration:
    """The worktree at `path` as `mirror` has it, or does not have it yet. `top`: the outermost one that it lies in."""

    def __init__(self, mirror: Mirror, path: Path, within: Registration | None = None, called: str = "") -> None:
        """`within`: the worktree that has this one for a submodule, where it is `called` so."""
        self.mirror = mirror
        self.path = path
        self.top: Path = within.top if within else path
        self.depth: int = within.depth + 1 if within else 0
        self.name = _name_inside(self.top, path) if within else path.name
        self.folder = mirror.path / "trees" / self.name
        self.clone: SharedClone = SharedClone(
            mirror, self.top, f"{within.clone.inner}/modules/{called}" if within else ".git"
        )
        self.start = f"refs/orchestrator/start/{self.name}"
        self.collected = f"refs/orchestrator/head/{self.name}"
        self.files = Place(mirror.path, None, path)
        self._linked = mirror.path / "worktrees" / self.name  # where version 0.1 registered it, with git's own means

    def submodule(self, path: str, name: str, url: str) -> Registration:
        """The worktree in the folder `path` of this one, of the repository at `url`."""
        return Registration(module(self.mirror, url), self.path / path, self, name)

    @property
    def submodules(self) -> list[tuple[str, Registration]]:
        """Those whose files were brought, by their folders."""
        noted = small(self._modules, 16_000_000)
        return [(path, self.submodule(path, name, url)) for path, name, url in json.loads(noted or b"[]")]

    def note_submodules(self, brought: Sequence[tuple[str, str, str]]) -> None:
        """Note folder, name and address of each, before the first one is begun."""
        write_whole(self._modules, json.dumps(brought).encode())

    @property
    def _modules(self) -> Path:
        return self.folder / "modules.json"

    @property
    def declares(self) -> bool:
        """Whether the commit that was checked out can have submodules."""
        made = self.as_made()
        return made is not None and declares(made[0])

    @property
    def stores(self) -> tuple[Path, ...]:
        """All folders of objects, those of Git LFS too, that the clone and those of its submodules borrow from."""
        inner = (store for _, known in self.submodules for store in known.stores)
        return tuple(dict.fromkeys((*self.mirror.lent, *inner)))

    @property
    def is_there(self) -> bool:
        """Whether its folder is one, and its clone too, and no link leads to either from the outermost worktree."""
        return is_real(self.path, self.top) and self.clone.is_there

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

        What was collected and neither the remote nor a salvage ref has is saved first. A submodule's folder goes with
        the one around it.
        """
        if not self.exists:
            return []
        tip = self.mirror.sha(self.collected)
        if tip is not None:
            keep(self.mirror, self.name, tip)
        inner, trash = self.submodules, []
        own = () if self.depth else (self.path, self._linked)
        for path in filter(os.path.lexists, (*own, self.folder)):
            away = self.mirror.base / f"{TRASH}{self.name}-{uuid.uuid4().hex}"
            Path(path).rename(away)
            trash.append(away)
        self.mirror.update(f"delete {self.start}", f"delete {self.collected}")
        return [*trash, *(path for _, known in inner if known.mirror.path.is_dir() for path in known.withdraw())]


def declares(index: Path) -> bool:
    """Whether the index that a checkout left names `.gitmodules`."""
    return b".gitmodules" in copied(index)


def outermost(name: str) -> str:
    """The name of the worktree that the one of this name, which may be a submodule's, lies in."""
    return name.rpartition(".")[2]


def _name_inside(top: Path, path: Path) -> str:
    """For a submodule: its folder and where that is, and behind the last dot the outermost worktree."""
    inner = str(path.relative_to(top))
    digest = hashlib.sha256(os.fsencode(inner)).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9_]', '-', path.name)[:40]}-{digest}.{top.name}"
