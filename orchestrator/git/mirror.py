"""The daemon's own bare clone of a repository: all history, no files of its own.

Refs in it:
- `refs/remotes/origin/<branch>`, `refs/tags/<tag>`: every branch and tag of the remote, as at the last fetch or push;
- `refs/remotes/pull/<n>/head`: heads of pull requests that were fetched;
- `refs/orchestrator/start/<worktree>`, `.../head/<worktree>`, `.../salvage/<worktree>/<n>`: see `Worktree`.

Guaranteed: whatever moves refs or worktrees holds `lock` (threads and processes); merges and diffs are made
from commits alone, so that no `.gitattributes` of a pull request hides a change or settles a conflict; the
token is in no file. The sandbox lets nobody else write to this folder. For where there is none, its config and the
few files that change what git does are put back before every command of ours; a process that rewrites them between
that moment and git's start is not stopped here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from orchestrator.errors import Refused, Retry
from orchestrator.git import abandoned, damage
from orchestrator.git.access import Access
from orchestrator.git.disk import discard
from orchestrator.git.environment import Identity, Place, Scratch
from orchestrator.git.incoming import checked_first
from orchestrator.git.lfs import Store
from orchestrator.git.lock import Lock
from orchestrator.git.run import GitError, Result, git
from orchestrator.git.seal import seal
from orchestrator.git.trouble import MalformedObject, absent_ref, explain, no_git_host, rejected
from orchestrator.log import get
from orchestrator.sandbox import OPEN, Sandbox

LOCAL_TIMEOUT = 600.0  # seconds
# For one push: when the host's answer breaks off whole, git waits for the rest of it for ever, and holds a slot.
PUSH_TIMEOUT = 600.0
LARGEST_DIFF = 16 * 1024 * 1024  # bytes
LOCK_TRIES = 4  # one command can meet several locks, one after the other
TRASH = ".trash-"

_BRANCHES = "refs/remotes/origin/"
_REF = r"refs/[^\s~^:?*\[\\\x00-\x1f\x7f]+"
_REV = re.compile(rf"(?:[0-9a-f]{{40}}|{_REF})(?:\^|\^\{{tree\}})?")
_DIFF = [
    *("diff", "-U3", "-M", "--inter-hunk-context=0", "--diff-algorithm=default", "--no-ext-diff", "--no-textconv"),
    *("--no-color", "--no-relative", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=none"),
    "--submodule=short",
]


class Pushed(str, Enum):
    """How a push ended, when the remote did not forbid it."""

    DONE = "done"  # the branch is at our commit, by this push or an earlier one
    REJECTED = "rejected"  # the branch is not where we expected it: somebody else moved, made or deleted it


@dataclass(frozen=True)
class Merged:
    """A merge made without a work tree. With `conflicts` (paths), `tree` holds conflict markers: never use it."""

    tree: str
    conflicts: tuple[str, ...] = ()


class Mirror:
    """The bare clone at `path` of the repository that `access` names. `timeout`: seconds for one fetch.

    `sandbox`: what holds a git that reads files which others wrote. `cone`: the folders that its worktrees hold where
    work is done on a branch; none: everything. `default`: the repository's default branch, for `origin/HEAD`.
    `submodules`: whether worktrees hold the files of submodules too, from mirrors of their own (`modules`).
    """

    def __init__(
        self,
        path: Path,
        access: Access,
        identity: Identity,
        timeout: float = 1800,
        sandbox: Sandbox = OPEN,
        cone: Sequence[str] = (),
        default: str = "",
        submodules: bool = False,
    ) -> None:
        self.path = path.parent.resolve() / path.name
        self.access = access
        self.identity = identity
        self.place = Place(self.path)
        self.lock = Lock(self.path.with_name(self.path.name + ".lock"))
        self.sandbox = sandbox
        self.cone = tuple(cone)
        self.default = default
        self.submodules = submodules
        self.root = self  # where it is a submodule's: the mirror of the watched repository
        self.modules: dict[str, Mirror] = {}  # those of submodules, by address; the root has them all
        self._timeout = timeout
        self._ready = False
        self._damaged = False

    @classmethod
    def reader(cls, path: Path) -> Mirror:
        """The mirror that a daemon made, for somebody who has neither its token nor its name: no remote is known."""
        config = (path / "config").read_text("utf-8", "replace")
        words = [
            re.sub(r"\\(.)", r"\1", word) for word in re.findall(r'^\t(?:name|email) = "(.*)"$', config, re.MULTILINE)
        ]
        return cls(path, Access(str(path)), Identity(*words) if len(words) == 2 else Identity("orchestrator", ""))

    @property
    def base(self) -> Path:
        """The folder that holds the mirror and its worktrees; nothing outside of it is ever deleted."""
        return self.path.parent

    @property
    def store(self) -> Path:
        """The folder of its objects, from which worktrees borrow."""
        return self.path / "objects"

    @property
    def large(self) -> Store:
        """The objects of Git LFS."""
        return Store(self.path / "lfs")

    @property
    def lent(self) -> tuple[Path, ...]:
        """What worktrees borrow, to be read only."""
        return (self.store, self.path / "lfs")

    def examine(self) -> None:
        """Retry when the mirror is found to be damaged: `ensure` will make it anew."""
        if damage.proven(self.path, LOCAL_TIMEOUT):
            self._damaged, self._ready = True, False
            raise Retry(f"The mirror {self.path} is damaged and is made anew.")

    @property
    def damaged(self) -> bool:
        """Whether a command found it so, or a submodule's; until `ensure` has made it anew."""
        return self._damaged or any(module.damaged for module in list(self.modules.values()))

    def ensure(self) -> None:
        """Make the mirror if there is none or it is damaged, finish what a crash left half-made, and greet the remote.

        Raises Missing when the URL is no git repository or refuses the token, Retry when it is out of reach.
        Free of charge once it has succeeded.
        """
        if not (self._ready and self.path.is_dir()):
            self.remote_sha("refs/heads/main")
        for mirror in (self, *(module for module in list(self.modules.values()) if module.damaged)):
            mirror.make()

    def make(self) -> None:
        """As `ensure`, without a word to the remote."""
        if self._ready and self.path.is_dir():
            return
        self.base.mkdir(parents=True, exist_ok=True)
        with self.lock:
            for left_over in self.base.glob(f"{TRASH}*"):
                with suppress(OSError):  # one file of another user's must not stop all work; see `housekeeping`
                    discard(left_over)
            aside = damage.set_aside(self.path) if self._damaged and self.path.exists() else None
            self.path.mkdir(exist_ok=True)
            make = ("init", "--quiet", "--bare", "--template=", "--initial-branch=none", "--", str(self.path))
            self._unlocked(lambda: git(*make))
            self._damaged, self._ready = False, True
        if aside is not None:
            get().error("mirror_set_aside", kept=str(aside), next="the repository is fetched anew")
            damage.take_over(aside, self.path, LOCAL_TIMEOUT)

    def fetch(self, *refs: str) -> None:
        """Bring every branch and tag, and of `refs` the heads of pull requests, to where `tracking()` says.

        A name that the remote does not have any more goes first, so that one below or above it finds room, and `sha()`
        answers None for it. Where a branch or tag cannot be taken, `refs` alone are brought. Raises Retry on network
        trouble, Missing when the remote is gone or refuses the token, Refused when `refs` themselves cannot be taken.
        """
        with self.lock:
            try:
                self._fetch(refs, f"+refs/heads/*:{_BRANCHES}*", "+refs/tags/*:refs/tags/*")
            except MalformedObject:
                if not refs:
                    raise
                self._fetch(refs)

    def _fetch(self, refs: Sequence[str], *patterns: str) -> None:
        """One fetch of these refs and of what the patterns map; a ref that is not there is deleted here too.

        Git takes a web page for a repository without branches, and would prune them all: a ref that is asked for by
        its name is missed first.
        """
        wanted = list(dict.fromkeys(refs))
        while wanted or patterns:
            try:
                self.remote(
                    *("fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head"),
                    *("--no-recurse-submodules", "--no-auto-maintenance", "--end-of-options", self.access.url),
                    *(*patterns, *(f"+{ref}:{tracking(ref)}" for ref in wanted)),
                    at=self.place,
                    timeout=self._timeout,
                )
                return
            except GitError as error:
                gone = absent_ref(error)
                if gone not in wanted:
                    raise
                if self.remote_sha(gone) is not None:
                    raise Retry(f"{gone} came and went on the remote.") from error
                wanted.remove(gone)
                self.call("update-ref", "-d", tracking(gone))

    def remote_sha(self, ref: str) -> str | None:
        """Where `ref` is on the remote now; None when it is not there. Raises as `fetch`."""
        listed = self.remote("ls-remote", "--end-of-options", self.access.url, _rev(ref), packets=True)
        if not listed.packets:
            # Git takes a web page of one line, or an empty answer, for an old server's empty repository.
            raise no_git_host(self.access)
        for line in listed.text.splitlines():
            sha, _, name = line.partition("\t")
            if name == ref:
                return sha
        return None

    def sha(self, ref: str) -> str | None:
        """The commit that a full ref name or SHA stands for in the mirror; None when it is not there.

        With `^` behind it: its first parent; with `^{tree}`: its tree.
        """
        wanted = _rev(ref) if ref.endswith("}") else f"{_rev(ref)}^{{commit}}"
        found = self.call("rev-parse", "--verify", "--quiet", "--end-of-options", wanted, accept=(0, 1))
        return found.text or None

    def update(self, *changes: str) -> None:
        """Move, make and delete refs at once, all or none: lines as `update-ref --stdin` reads them."""
        self.call("update-ref", "--stdin", stdin="".join(f"{line}\n" for line in changes).encode())

    def resolve(self, *names: str, at: Place | None = None) -> list[str | None]:
        """What object each name stands for, such as `HEAD^{tree}` of a place; None for those that are not there."""
        asked = "".join(f"{name}\n" for name in names).encode()
        said = self.call("cat-file", "--batch-check=%(objectname)", at=at, stdin=asked).text.splitlines()
        return [None if line.endswith(" missing") else line for line in said]

    def push(self, sha: str, branch: str, expect: str | None) -> Pushed:
        """Move the remote's `branch` from `expect` (None: it must not exist) to `sha`; repeatable after a crash.

        Raises Refused with the remote's sentence when a hook or a protection rule says no, Retry when the
        outcome is unknown, Missing as `fetch`.
        """
        ref = f"refs/heads/{branch}"
        pushed = self.remote(
            *["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-recurse-submodules", "--no-signed"],
            *(
                f"--force-with-lease={ref}:{expect or ''}",
                "--end-of-options",
                self.access.url,
                f"{_rev(sha)}:{_rev(ref)}",
            ),
            at=self.place,
            timeout=PUSH_TIMEOUT,
            accept=(0, 1, 128),
        )
        answer = next((line for line in pushed.text.splitlines() if f"\t{sha}:{ref}\t" in f"{line}\t"), None)
        if answer is None:
            raise explain(GitError(["push"], pushed.code, pushed.err), self.access)
        # curl sends a request again when a kept connection breaks, and then our own first push is in the way (F36).
        if answer.startswith("!") and rejected(answer, branch, pushed) and self.remote_sha(ref) != sha:
            return Pushed.REJECTED
        with self.lock:
            self.call("update-ref", tracking(ref), sha)
        return Pushed.DONE

    def merge(self, base: str, head: str) -> Merged:
        """Merge two commits on paper. Raises Refused when they have no common history."""
        try:
            merged = self.call(
                *["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", "--end-of-options"],
                *(_rev(base), _rev(head)),
                accept=(0, 1),
            )
        except GitError as error:
            if "unrelated histories" in error.stderr:
                raise Refused("The branch and its base have no common history, so they cannot be merged.") from error
            raise
        tree, *conflicts = merged.names
        return Merged(tree, tuple(conflicts))

    def commit_tree(self, tree: str, parents: Sequence[str], message: str) -> str:
        """A new commit by the daemon; no ref moves."""
        above = [word for parent in parents for word in ("-p", parent)]
        return self.call("commit-tree", *above, "-F", "-", _rev(tree), stdin=message.encode()).text

    def diff(self, base: str, head: str) -> bytes:
        """What `head` changed since it left `base`, renames found, as GitHub shows it; at most 16 MiB of whole files.

        Binary files are named, not shown. Raises Refused when there is no common history.
        """
        try:
            shown = self.call(*_DIFF, "--end-of-options", f"{_rev(base)}...{_rev(head)}", cut=LARGEST_DIFF)
        except GitError as error:
            if "no merge base" in error.stderr:
                raise Refused("The branch and its base have no common history, so there is no diff to show.") from error
            raise
        return shown.out if shown.whole else shown.out[: shown.out.rfind(b"\ndiff --git ") + 1]

    def changed(self, base: str, head: str) -> list[str]:
        """The files that `head` changed, made or deleted since it left `base`; [] without a common history."""
        flags = ("--name-only", "-z", "--no-renames", "--no-ext-diff", "--no-textconv", "--end-of-options")
        try:
            return self.call("diff", *flags, f"{_rev(base)}...{_rev(head)}").names
        except GitError as error:
            if "no merge base" in error.stderr:
                return []
            raise

    def contains(self, head: str, base: str) -> bool:
        """Whether `base` is an ancestor of `head`; both must be in the mirror."""
        return self.call("merge-base", "--is-ancestor", _rev(base), _rev(head), accept=(0, 1)).code == 0

    def has_path(self, sha: str, path: str) -> bool:
        """Whether the commit has a file or a folder with something in it at `path`."""
        return bool(self.call("ls-tree", "--full-tree", "-z", _rev(sha), "--", path.rstrip("/")).out)

    def text(self, sha: str, path: str, most: int = 100_000) -> str | None:
        """A file of a commit, at most so many bytes of it; None where there is none."""
        shown = self.call("cat-file", "blob", f"{_rev(sha)}:{path}", cut=most, accept=(0, 128))
        return None if shown.code else shown.out.decode("utf-8", "replace")

    def log(self, base: str, head: str, *only: str) -> list[str]:
        """The first lines of the commits that `head` has and `base` has not, oldest first; `only`: filters of git's."""
        return self.call("log", "-z", "--reverse", "--format=%s", *only, f"{_rev(base)}..{_rev(head)}", "--").names

    def maintain(self) -> None:
        """Pack objects and refs once enough have piled up; what nothing refers to stays for git's two weeks."""
        with self.lock:
            self.call("-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")

    def call(
        self,
        *args: str,
        at: Place | None = None,
        scratch: Scratch | None = None,
        stdin: bytes | None = None,
        cut: int | None = None,
        accept: Sequence[int] = (0,),
    ) -> Result:
        """Run git here or in one of our worktrees, without the remote, on a mirror whose config is ours again.

        `accept`: exit codes that are answers; any other raises GitError. Raises Retry while another process
        holds one of git's locks; a lock that a killed process left is taken away.
        """
        return self._unlocked(
            lambda: git(
                *args,
                at=at or self.place,
                identity=self.identity,
                scratch=scratch,
                stdin=stdin,
                cut=cut,
                timeout=LOCAL_TIMEOUT,
                accept=accept,
            )
        )

    def remote(
        self,
        *args: str,
        at: Place | None = None,
        timeout: float = 60,
        accept: Sequence[int] = (0,),
        packets: bool = False,
    ) -> Result:
        """Run git with the remote, told apart by who has to know: Missing, Retry, else GitError."""

        def ask() -> Result:
            brings = at is not None and args[0] == "fetch"
            with checked_first(self.place, self.base, f"{TRASH}fetch-") if brings else nullcontext(at) as place:
                return git(*args, at=place, access=self.access, timeout=timeout, accept=accept, packets=packets)

        try:
            return ask() if at is None else self._unlocked(ask)
        except GitError as error:
            trouble = explain(error, self.access)
            if trouble is error:
                raise
            raise trouble from error

    def _unlocked(self, call: Callable[[], Result]) -> Result:
        """A git command on a mirror whose config is ours; again when a lock that a killed process left is gone."""
        for _ in range(LOCK_TRIES):
            seal(self.path, self.identity)
            try:
                return call()
            except GitError as error:
                found = abandoned.locks(error.stderr, self.path)
                if not found:
                    self._suspect(error)
                    raise
                for lock in found:
                    abandoned.remove(lock, self.base)
        raise Retry(f"Other git processes are at work in {self.path}.")

    def _suspect(self, error: GitError) -> None:
        if damage.suspected(error.stderr):
            self.examine()


def tracking(ref: str) -> str:
    """The name in the mirror of the remote's `refs/heads/B` or `refs/pull/N/head`."""
    _rev(ref)
    if ref.startswith("refs/heads/"):
        return f"{_BRANCHES}{ref.removeprefix('refs/heads/')}"
    if re.fullmatch(r"refs/pull/\d+/head", ref):
        return f"refs/remotes/{ref.removeprefix('refs/')}"
    raise ValueError(f"not a ref that is fetched: {ref!r}")


def _rev(name: str) -> str:
    """`name` when it is a full ref name or SHA: a bare branch name could be read as an option (A34)."""
    if not _REV.fullmatch(name):
        raise ValueError(f"neither a full ref name nor a SHA: {name!r}")
    return name
