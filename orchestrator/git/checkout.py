"""The files of a commit and of its submodules, written into a new worktree.

A submodule gets what `git submodule update --init --recursive` gives it, and its git works as there: its clone lies in
`.git/modules/<name>` and borrows the objects of a mirror of its own, which is asked only for a commit that it lacks.

Guaranteed: `.gitmodules` of a commit leads the daemon to https (or to where the watched repository itself is) alone,
with the token for its own host alone; in the files of a stranger, only to addresses that the base has too, and to
commits that are on a branch or tag there. Nothing is written through a link. What cannot be brought is no failure: its
folder stays empty, as in a clone without submodules, and `lacking` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.errors import Refused, Retry
from orchestrator.git import byproducts, cone, filters, lfs
from orchestrator.git.disk import discard_later, small, write_whole
from orchestrator.git.environment import Place
from orchestrator.git.gitmodules import Declared, Unusable, address, check_names, declared, shown
from orchestrator.git.index import looked_at
from orchestrator.git.lfs_transfer import LfsServer
from orchestrator.git.mirror import Mirror
from orchestrator.git.modules import fetch_commit, is_published, module, refresh, use
from orchestrator.git.plain import without_ways_out
from orchestrator.git.registration import Registration, declares
from orchestrator.git.run import GitError
from orchestrator.git.seal import quoted
from orchestrator.git.shared_clone import is_real
from orchestrator.git.trouble import MalformedObject, Unreachable, lacks_room
from orchestrator.log import get

MOST = 500  # submodules of one worktree
DEEPEST = 10  # levels of them

_TOO_MANY = f"there are more than {MOST} submodules, and no more are brought; let a set-up command bring the others"
_LONGEST = 300  # characters of an address that are told
_LOGGED = 20


@dataclass(frozen=True)
class Lacking:
    """A submodule whose folder stayed empty; `why` completes "it is empty, because ..." and says what to do."""

    path: str
    address: str
    why: str


@dataclass(frozen=True)
class Terms:
    """How far a checkout goes. `stranger_to`: the base's commit, where the files are those of somebody who need not
    have any right here. `links_out`: whether links may lead out of it. `patient`: whether trouble that may pass is
    waited for (Retry), or leaves the submodule empty.
    """

    stranger_to: str = ""
    links_out: bool = True
    patient: bool = True


OURS = Terms()


class Checkout:
    """One worktree's files, on these terms; `lacking` grows as it is written."""

    def __init__(self, terms: Terms) -> None:
        self.lacking: list[Lacking] = []
        self._terms = terms
        self._count = 0
        self._silent: set[str] = set()  # hosts that were waited for in vain
        self._named: set[str] | None = None

    def write(
        self, known: Registration, sha: str, branch: str | None = None, base: str = "", narrow: Sequence[str] = ()
    ) -> None:
        """Put the files of `sha` and a clone into the folder, which holds nothing. As `Worktree.create`, but unlocked.

        Raises Retry where a submodule's host is out of reach and the terms are patient.
        """
        commit = sha if self._terms.links_out else without_ways_out(known.mirror, sha)
        with known.mirror.lock:
            known.mirror.update(f"update {known.start} {commit}")
        if not known.depth:  # a submodule's folder came with the files around it
            known.path.mkdir(parents=True)
        if narrow:
            known.narrow(narrow)
        known.clone.make(commit, branch, base, cone.patterns(narrow) if narrow else b"")
        known.clone.exclude(byproducts.PATTERNS)
        # The slow half: writing files needs no lock, and would keep every other item waiting.
        known.mirror.call("reset", "--hard", "--quiet", at=Place(known.clone.folder, None, known.path))
        if known.mirror.submodules and declares(known.clone.index):
            self._bring(known, sha)
        index = known.clone.index.read_bytes()
        known.filtered = filters.named(known.path, index)
        if known.filtered:
            _bring_contents(known, index)
        known.finished(commit)
        known.clone.believe_index()

    def _bring(self, known: Registration, sha: str) -> None:
        """The submodules of a worktree whose own files are there."""
        # Outside of a part there is no folder.
        found = [one for one in declared(known.mirror, sha) if (known.path / one.path).is_dir()]
        for one in found[MOST:]:
            self._leave(known, one, _TOO_MANY)
        found = found[:MOST]
        wrong, ready = check_names(found), []
        for one in found:
            try:
                ready.append((one, self._ready(known, one, wrong.get(one.path, ""))))
            except Unusable as no:
                self._leave(known, one, str(no))
        if not ready:
            return
        known.note_submodules([(one.path, one.name, url) for one, url in ready])
        told = "".join(
            f"[submodule {quoted(one.name)}]\n\tactive = true\n\turl = {quoted(url)}\n" for one, url in ready
        )
        known.clone.configure(told)
        for one, url in ready:
            inner = known.submodule(one.path, one.name, url)
            with inner.mirror.lock:
                discard_later(inner.withdraw())  # of a worktree that nobody took away in order
                inner.begin()
            self.write(inner, one.sha)
            inner.clone.belongs_to(inner.path)

    def _ready(self, known: Registration, one: Declared, wrong: str) -> str:
        """The address of a submodule whose commit is in its mirror by now. Raises Unusable, Retry."""
        if wrong:
            raise Unusable(wrong)
        self._count += 1
        if self._count > MOST:
            raise Unusable(_TOO_MANY)
        if known.depth >= DEEPEST:
            raise Unusable(f"it lies more than {DEEPEST} submodules deep; let a set-up command bring it")
        folder = known.path / one.path
        if not is_real(folder, known.top) or any(folder.iterdir()):
            raise Unusable("a link leads to its folder, or something lies there; correct that in the repository")
        url = address(one.url, known.mirror.access.url, known.mirror.root.access)
        if self._terms.stranger_to and not known.depth and url not in self._of_the_base(known.mirror):
            raise Unusable("the base does not name that address, and a pull request of somebody else may not add one")
        of_it, host = module(known.mirror, url), urlsplit(url).netloc
        if host in self._silent:
            raise Unusable("its host does not answer; try again when it does")
        try:
            self._fetch(of_it, one.sha)
        except Unreachable as no:
            raise Unusable(f"{no.why}; let the daemon's account read it, or correct the address") from no
        except Refused as no:
            raise Unusable(f"it cannot be fetched ({str(no).rstrip('.')})") from no
        except GitError as error:
            if lacks_room(error):
                raise
            raise Unusable(f"git could not fetch it ({_last_line(error)})") from error
        except Retry as trouble:
            if self._terms.patient or of_it.damaged:
                raise
            self._silent.add(host or url)
            raise Unusable(f"it was tried several times ({trouble}); try again when its host answers") from trouble
        return url

    def _fetch(self, mirror: Mirror, sha: str) -> None:
        use(mirror)
        if self._has(mirror, sha):
            return
        try:
            refresh(mirror)
        except MalformedObject:
            if self._terms.stranger_to:
                raise
        if not self._terms.stranger_to and not self._has(mirror, sha):
            fetch_commit(mirror, sha)
        if not self._has(mirror, sha):
            where = "on none of its branches or tags" if self._terms.stranger_to else "not there"
            raise Unusable(f"commit {sha[:10]} is {where}; push it there")

    def _has(self, mirror: Mirror, sha: str) -> bool:
        return is_published(mirror, sha) if self._terms.stranger_to else mirror.sha(sha) is not None

    def _of_the_base(self, mirror: Mirror) -> set[str]:
        """The addresses that the base names."""
        if self._named is None:
            self._named = set()
            for one in declared(mirror, self._terms.stranger_to):
                with suppress(Unusable):
                    self._named.add(address(one.url, mirror.access.url, mirror.access))
        return self._named

    def _leave(self, known: Registration, one: Declared, why: str) -> None:
        try:
            url = address(one.url, known.mirror.access.url, known.mirror.root.access)
        except Unusable:
            url = one.url
        path = str((known.path / one.path).relative_to(known.top))
        left = Lacking(_printable(path), _printable(shown(url))[:_LONGEST], why)
        self.lacking.append(left)
        if len(self.lacking) <= _LOGGED:
            get().warning("submodule_left_empty", path=left.path, address=left.address, why=why)


def _bring_contents(known: Registration, index: bytes) -> None:
    """Put the contents of Git LFS in the place of their pointers in a fresh checkout, where they can be had."""
    mirror, store = known.mirror, known.mirror.large
    server = known.lfs()
    if not server:
        return
    at = Place(known.clone.folder, None, known.path)
    paths = mirror.call("ls-files", "-z", f":(attr:filter={lfs.NAME})", at=at).paths
    read = ((path, lfs.Pointer.read(small(known.path / path, lfs.LONGEST + 1))) for path in paths)
    wanted = {path: one for path, one in read if one is not None}
    store.use(wanted.values())  # after the mark `filtered` was made, whose age `housekeeping` goes by
    if wanted:
        LfsServer(server, mirror.access).fetch(list(wanted.values()), store)
    placed = {path for path, one in wanted.items() if store.has(one) and store.place(one, known.path / path)}
    write_whole(known.clone.index, looked_at(index, known.path, placed))
    known.clone.use_lfs()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _last_line(error: GitError) -> str:
    return error.stderr.splitlines()[-1][:200] if error.stderr else "it said nothing"
