"""What a PR changes, file by file and hunk by hunk, read from real git."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from orchestrator.twin.repository import BareRepository

_HUNK = re.compile(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_WORDS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}


@dataclass(frozen=True)
class Hunk:
    """One hunk: its text and the lines a review may stand on, per side."""

    text: str
    left: frozenset[int]
    right: frozenset[int]

    def lines(self, side: str) -> frozenset[int]:
        return self.left if side == "LEFT" else self.right


@dataclass(frozen=True)
class FileChange:
    """One changed file as GitHub lists it; `patch` is None for a binary file."""

    path: str
    status: str
    blob: str | None
    additions: int
    deletions: int
    patch: str | None
    previous: str | None
    hunks: tuple[Hunk, ...] = field(default=())


def changes(bare: BareRepository, base: str, head: str) -> list[FileChange]:
    """The files that differ between the merge base and `head`."""
    start = bare.merge_base(base, head)
    raw = bare.raw("diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", start, head)
    fields = raw.decode("utf-8", "replace").split("\0")
    found = []
    at = 0
    while at < len(fields) - 1:
        _, _, _, blob, letter = fields[at].lstrip(":").split(" ")
        renamed = letter[0] in "RC"
        names = fields[at + 1 : at + (3 if renamed else 2)]
        at += 1 + len(names)
        found.append(_file(bare, start, head, letter[0], blob, names))
    return found


def _file(bare: BareRepository, start: str, head: str, letter: str, blob: str, names: list[str]) -> FileChange:
    text = bare.raw("diff", "-U3", "-M", "--no-ext-diff", "--no-textconv", start, head, "--", *names)
    _, mark, body = text.decode("utf-8", "replace").partition("\n@@ ")
    patch = ("@@ " + body).rstrip("\n") if mark else None
    lines = patch.split("\n") if patch else []
    return FileChange(
        path=names[-1],
        status=_WORDS.get(letter, "changed"),
        blob=None if letter == "D" else blob,
        additions=sum(line.startswith("+") for line in lines),
        deletions=sum(line.startswith("-") for line in lines),
        patch=patch,
        previous=names[0] if len(names) == 2 else None,
        hunks=tuple(_hunks(lines)),
    )


def _hunks(lines: list[str]) -> list[Hunk]:
    hunks: list[Hunk] = []
    text: list[str] = []
    left: set[int] = set()
    right: set[int] = set()
    old = new = 0
    for line in [*lines, "@@ -0 +0 @@"]:
        start = _HUNK.match(line)
        if start:
            if text:
                hunks.append(Hunk("\n".join(text), frozenset(left), frozenset(right)))
            old, new = int(start[1]), int(start[2])
            text, left, right = [line], set(), set()
            continue
        text.append(line)
        if line.startswith((" ", "-")) or line == "":
            left.add(old)
            old += 1
        if line.startswith((" ", "+")) or line == "":
            right.add(new)
            new += 1
    return hunks
