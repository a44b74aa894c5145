"""Git in memory, for thousands of histories: commits are parents and a dict of files, merges are by whole files.

The local GitHub's repository and the daemon's mirror share one `Objects`; each has refs of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.twin.repository import NOBODY, BareRepository, CommitFacts, MergeResult, Person

Tree = Mapping[str, bytes]


class Objects:
    """Every commit and tree there is."""

    def __init__(self) -> None:
        self.commits: dict[str, CommitFacts] = {}
        self.trees: dict[str, Tree] = {}
        self._above: dict[str, frozenset[str]] = {}

    def tree(self, files: Tree) -> str:
        sha = _sha(sorted(files.items()))
        self.trees[sha] = files
        return sha

    def commit(self, facts: CommitFacts) -> str:
        sha = _sha(facts)
        self.commits[sha] = facts
        return sha

    def files(self, sha: str) -> Tree:
        """Of a commit."""
        return self.trees[self.commits[sha].tree]

    def ancestors(self, sha: str) -> frozenset[str]:
        """All commits that `sha` has, itself too."""
        found = self._above.get(sha)
        if found is None:
            found = frozenset([sha]).union(*(self.ancestors(parent) for parent in self.commits[sha].parents))
            self._above[sha] = found
        return found

    def merge_base(self, one: str, other: str) -> str | None:
        common = self.ancestors(one) & self.ancestors(other)
        return max(common, key=lambda sha: (len(self.ancestors(sha)), sha), default=None)

    def merge(self, base: str, head: str) -> MergeResult:
        """Three ways, by whole files."""
        root = self.merge_base(base, head)
        old: Tree = self.files(root) if root else {}
        ours, theirs = self.files(base), self.files(head)
        merged, conflicts = dict(ours), []
        for path in sorted({*old, *ours, *theirs}):
            before, mine, new = old.get(path), ours.get(path), theirs.get(path)
            if new in (before, mine):
                continue
            if mine != before:
                conflicts.append(path)
            elif new is None:
                del merged[path]
            else:
                merged[path] = new
        return MergeResult(self.tree(merged), tuple(conflicts))

    def between(self, base: str, head: str) -> list[str]:
        """What `head` has and `base` has not, oldest first."""
        found = self.ancestors(head) - self.ancestors(base)
        return sorted(found, key=lambda sha: (len(self.ancestors(sha)), sha))


class MemoryRepository(BareRepository):
    """The part of a bare repository that a history needs."""

    def __init__(self, path: Path, objects: Objects) -> None:
        super().__init__(path)
        self.objects = objects
        self.all_refs: dict[str, str] = {}

    def create(self, default_branch: str) -> None:
        """Nothing to make."""

    def protect(self, refs: Sequence[str]) -> None:
        """Nobody pushes here but by the people's verbs."""

    def refs(self) -> dict[str, str]:
        return {ref: sha for ref, sha in self.all_refs.items() if ref.startswith("refs/heads/")}

    def resolve(self, name: str) -> str | None:
        found = self.all_refs.get(name, name)
        return found if found in self.objects.commits else None

    def update_ref(self, ref: str, new: str, old: str) -> bool:
        if self.all_refs.get(ref, NOBODY) != old:
            return False
        self.all_refs[ref] = new
        return True

    def set_ref(self, ref: str, sha: str) -> None:
        self.all_refs[ref] = sha

    def delete_ref(self, ref: str) -> None:
        self.all_refs.pop(ref, None)

    def commit(
        self, parent: str | None, files: Mapping[str, str | bytes | None], message: str, person: Person, date: int
    ) -> str:
        tree = dict(self.objects.files(parent)) if parent else {}
        for path, content in files.items():
            if content is None:
                tree.pop(path, None)
            else:
                tree[path] = content.encode() if isinstance(content, str) else content
        return self.commit_tree(self.objects.tree(tree), [parent] if parent else [], message, person, person, date)

    def merge_tree(self, base: str, head: str) -> MergeResult:
        return self.objects.merge(base, head)

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
        when = date if authored is None else authored
        return self.objects.commit(CommitFacts(tree, tuple(parents), author, committer, date, when, message))

    def rebase(self, base: str, head: str, committer: Person, date: int) -> str | None:
        # Only asked whether it would work; histories squash.
        return None if self.objects.merge(base, head).conflicts else head

    def is_ancestor(self, old: str, new: str) -> bool:
        return old in self.objects.ancestors(new)

    def merge_base(self, one: str, other: str) -> str:
        return self.objects.merge_base(one, other) or one

    def commits(self, base: str, head: str) -> list[str]:
        return self.objects.between(base, head)

    def message(self, sha: str) -> str:
        return self.objects.commits[sha].message

    def commit_facts(self, sha: str) -> CommitFacts:
        return self.objects.commits[sha]

    def numstat(self, base: str, head: str) -> list[tuple[int, int]]:
        before, after = self.objects.files(base), self.objects.files(head)
        return [(1, 1) for path in {*before, *after} if before.get(path) != after.get(path)]

    def file(self, name: str, path: str) -> bytes | None:
        files = self.objects.trees.get(name) or self.objects.files(self.all_refs.get(f"refs/heads/{name}", name))
        return files.get(path)


def _sha(thing: object) -> str:
    return hashlib.sha1(repr(thing).encode(), usedforsecurity=False).hexdigest()
