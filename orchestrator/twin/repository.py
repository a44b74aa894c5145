"""Real git behind the twin: one bare repository, changed without a work tree."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

NOBODY = "0" * 40  # git's name for "no commit"
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

# "deny updating a hidden ref" is what GitHub says of `refs/pull` too.
_CONFIG = """
[http]
	receivepack = true
[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
[receive]
	hideRefs = refs/pull
	autogc = false
[gc]
	auto = 0
"""

_PROTECT = """#!/bin/sh
while read -r old new ref; do
  if grep -qxF "$ref" "$GIT_DIR/protected" 2>/dev/null; then
    echo "error: GH006: Protected branch update failed for $ref." >&2
    exit 1
  fi
done
"""


class GitFailed(Exception):
    """A git command of the twin itself failed."""


@dataclass(frozen=True)
class Person:
    """Who a commit is by."""

    name: str
    email: str


@dataclass(frozen=True)
class CommitFacts:
    """What a commit says of itself."""

    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    date: int
    authored: int
    message: str


@dataclass(frozen=True)
class MergeResult:
    """`tree` of the merge and the paths in conflict; empty for a clean merge."""

    tree: str
    conflicts: tuple[str, ...]


def environment() -> dict[str, str]:
    """An environment in which no setting of the user or the system reaches git."""
    keep = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    return {
        **keep,
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }


Ask = TypeVar("Ask", bound=Callable[..., Any])
_SHA = re.compile("[0-9a-f]{40}")


def _for_ever(ask: Ask) -> Ask:
    """Ask git once: commits never change, so an answer about full SHAs holds; the lack of one may not."""

    @functools.wraps(ask)
    def known(self: BareRepository, *names: str) -> Any:
        if not all(_SHA.fullmatch(name) for name in names):
            return ask(self, *names)
        key = (ask.__name__, *names)
        if key not in self.answers:
            answer = ask(self, *names)
            if answer is None or answer == EMPTY_TREE:
                return answer
            self.answers[key] = answer
        return self.answers[key]

    return cast(Ask, known)


class BareRepository:
    """One bare repository on disk. Callers hold the world's lock; git's own locks guard against pushes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[tuple[Any, ...], Any] = {}

    def create(self, default_branch: str) -> None:
        """Make it, empty."""
        branch = f"--initial-branch={default_branch}"
        self._git_anywhere("init", "--quiet", "--bare", "--template=", branch, str(self.path))
        with (self.path / "config").open("a") as config:
            config.write(_CONFIG)

    def create_fork_of(self, other: BareRepository, default_branch: str) -> None:
        """Make it as a copy of another one's branches."""
        self.create(default_branch)
        self.git("fetch", "--quiet", str(other.path), "+refs/heads/*:refs/heads/*")

    def protect(self, refs: Sequence[str]) -> None:
        """Refuse pushes to these refs, as a branch protection does."""
        (self.path / "protected").write_text("".join(f"{ref}\n" for ref in refs))
        hook = self.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(_PROTECT)
        hook.chmod(0o755)

    def git(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run git here; its output, stripped. GitFailed when it fails."""
        return self.raw(*args, stdin=stdin, env=env).decode("utf-8", "replace").strip()

    def raw(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        """As `git`, but the bytes as they are."""
        return self._git_anywhere(f"--git-dir={self.path}", *args, stdin=stdin, env=env)

    def _git_anywhere(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        done = self._try(*args, stdin=stdin, env=env)
        if done.returncode != 0:
            raise GitFailed(f"git {' '.join(args)}: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout

    def _try(
        self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", *args],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env={**environment(), **(env or {})},
            check=False,
            timeout=120,
        )

    def refs(self) -> dict[str, str]:
        """Every branch: full ref name to SHA."""
        lines = self.git("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads").splitlines()
        return {ref: sha for sha, ref in (line.split(" ", 1) for line in lines)}

    @_for_ever
    def resolve(self, name: str) -> str | None:
        """The commit a name stands for; None when there is none."""
        done = self._try(f"--git-dir={self.path}", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def update_ref(self, ref: str, new: str, old: str) -> bool:
        """Compare and set; False when the ref is not at `old` (`NOBODY`: must not exist)."""
        return self._try(f"--git-dir={self.path}", "update-ref", ref, new, old).returncode == 0

    def set_ref(self, ref: str, sha: str) -> None:
        """Set a ref whatever it was."""
        self.git("update-ref", ref, sha)

    def delete_ref(self, ref: str) -> None:
        """Delete a ref."""
        self.git("update-ref", "-d", ref)

    def fetch(self, other: BareRepository, sha: str) -> None:
        """Bring a commit of another repository in."""
        self.git("fetch", "--quiet", "--no-write-fetch-head", str(other.path), sha)

    def commit(
        self, parent: str | None, files: Mapping[str, str | bytes | None], message: str, person: Person, date: int
    ) -> str:
        """A commit on top of `parent` that sets these files; None as content deletes one. Moves no branch."""
        who = f"{person.name} <{person.email}> {date} +0000".encode()
        text = message.encode()
        scratch = b"refs/twin/scratch"
        stream = [
            b"reset %s\n" % scratch,
            b"commit %s\nmark :1\nauthor %s\ncommitter %s\ndata %d\n%s\n" % (scratch, who, who, len(text), text),
        ]
        if parent is not None:
            stream.append(b"from %s\n" % parent.encode())
        for path, content in files.items():
            stream.append(_file_change(path, content))
        stream += [b"\nget-mark :1\n", b"reset %s\nfrom %s\n\ndone\n" % (scratch, NOBODY.encode())]
        return self.git("fast-import", "--quiet", "--force", "--done", stdin=b"".join(stream))

    @_for_ever
    def merge_tree(self, base: str, head: str) -> MergeResult:
        """The merge of two commits, made by git itself; the conflicts name the paths."""
        done = self._try(
            f"--git-dir={self.path}", "merge-tree", "--write-tree", "--no-messages", "--name-only", base, head
        )
        if done.returncode not in (0, 1):
            raise GitFailed(done.stderr.decode("utf-8", "replace"))
        tree, *paths = done.stdout.decode("utf-8", "replace").splitlines()
        return MergeResult(tree, tuple(p for p in paths if p) if done.returncode else ())

    def rebase(self, base: str, head: str, committer: Person, date: int) -> str | None:
        """The commits that `head` adds, again on top of `base`: the new tip; None when one does not apply.

        As GitHub does it: authors stay, the committer changes; merges, and what became empty, are left out.
        """
        tip = base
        for sha in self.git("rev-list", "--reverse", "--topo-order", "--no-merges", head, f"^{base}").split():
            picked, onto = self.commit_facts(sha), self.commit_facts(tip)
            # With the picked commit's parent as the only one, git merges from there: that is a cherry-pick.
            ours = self.commit_tree(onto.tree, picked.parents, "scratch", committer, committer, date)
            merged = self.merge_tree(ours, sha)
            if merged.conflicts:
                return None
            if merged.tree != onto.tree:
                tip = self.commit_tree(
                    merged.tree, [tip], picked.message, picked.author, committer, date, picked.authored
                )
        return tip

    def commit_tree(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: Person,
        committer: Person,
        date: int,
        authored: int | None = None,
    ) -> str:
        """A commit of a ready tree; `authored` where the author's date is another."""
        env = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_AUTHOR_DATE": f"@{date if authored is None else authored} +0000",
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
            "GIT_COMMITTER_DATE": f"@{date} +0000",
        }
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.git("commit-tree", tree, *flags, stdin=message.encode(), env=env)

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` contains `old`."""
        return self._try(f"--git-dir={self.path}", "merge-base", "--is-ancestor", old, new).returncode == 0

    @_for_ever
    def merge_base(self, one: str, other: str) -> str:
        """The newest common commit; the empty tree when there is none."""
        done = self._try(f"--git-dir={self.path}", "merge-base", one, other)
        return done.stdout.decode().strip() if done.returncode == 0 else EMPTY_TREE

    @_for_ever
    def commits(self, base: str, head: str) -> list[str]:
        """SHAs in `head` that are not in `base`, oldest first."""
        return self.git("rev-list", "--reverse", head, f"^{base}").split()

    @_for_ever
    def message(self, sha: str) -> str:
        """The whole message of a commit."""
        return self.git("show", "-s", "--format=%B", sha)

    @_for_ever
    def commit_facts(self, sha: str) -> CommitFacts:
        """Tree, parents, people, date and message."""
        text = self.git("show", "-s", "--format=%T%n%P%n%an%n%ae%n%cn%n%ce%n%ct%n%at%n%B", sha)
        tree, parents, name, mail, by_name, by_mail, date, authored, message = text.split("\n", 8)
        author, committer = Person(name, mail), Person(by_name, by_mail)
        return CommitFacts(tree, tuple(parents.split()), author, committer, int(date), int(authored), message)

    @_for_ever
    def numstat(self, base: str, head: str) -> list[tuple[int, int]]:
        """Added and removed lines of each changed file; a binary file counts as 0 and 0."""
        rows = self.git("diff", "--numstat", "-M", base, head).splitlines()
        return [tuple(int(n) if n.isdigit() else 0 for n in row.split("\t")[:2]) for row in rows]  # type: ignore[misc]

    def log(self, name: str) -> list[str]:
        """Subjects, newest first."""
        return self.git("log", "--format=%s", name).splitlines()

    def file(self, name: str, path: str) -> bytes | None:
        """A file's content at a commit; None when it is not there."""
        done = self._try(f"--git-dir={self.path}", "cat-file", "blob", f"{name}:{path}")
        return done.stdout if done.returncode == 0 else None


def _file_change(path: str, content: str | bytes | None) -> bytes:
    name = b'"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").encode() + b'"'
    if content is None:
        return b"D %s\n" % name
    data = content.encode() if isinstance(content, str) else content
    return b"M 100644 inline %s\ndata %d\n%s\n" % (name, len(data), data)
