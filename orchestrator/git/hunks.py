"""Which lines of a diff can carry an inline comment.

The files of a diff are told apart here, on bytes, and their hunks are read by `unidiff`: a line inside a hunk
always begins with ` `, `+`, `-` or `\\`, so a line that begins with `diff --git ` is never file content, while
names may hold anything and stand in `+++ ` lines without ambiguity. What cannot be understood carries no
comment; nothing here raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

_HEADER = b"diff --git "
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abtnvfr"\\])')
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


@dataclass(frozen=True)
class Hunks:
    """Per path of the new version, the lines of the new version that the diff shows: added and context lines."""

    lines: dict[str, frozenset[int]] = field(default_factory=dict)

    def has(self, path: str, line: int) -> bool:
        """Whether GitHub takes a comment on this line (side RIGHT)."""
        return line in self.lines.get(path, ())


def postable(diff: bytes) -> Hunks:
    """Read the output of `Mirror.diff`."""
    lines: dict[str, frozenset[int]] = {}
    for file in (b"\n" + diff).split(b"\n" + _HEADER)[1:]:
        head, mark, hunks = file.partition(b"\n@@ ")
        path = _new_path(head)
        if mark and path is not None:
            lines[path] = _right_side(b"@@ " + hunks + b"\n")
    return Hunks(lines)


def _new_path(head: bytes) -> str | None:
    for line in head.split(b"\n"):
        if line.startswith(b"+++ "):
            # Git ends a name that holds a space with a tab.
            name = _unquoted(line[4:].removesuffix(b"\t"))
            return name[2:].decode("utf-8", "replace") if name.startswith(b"b/") else None
    return None


def _unquoted(name: bytes) -> bytes:
    if not (len(name) > 1 and name.startswith(b'"') and name.endswith(b'"')):
        return name
    return _ESCAPE.sub(lambda found: _character(found.group(1)), name[1:-1])


def _character(code: bytes) -> bytes:
    if len(code) == 3:
        return bytes([int(code, 8) & 0xFF])
    return _ESCAPED.get(code, code)


def _right_side(hunks: bytes) -> frozenset[int]:
    # Latin-1 decodes every byte, and only line numbers are wanted.
    text = "--- a/file\n+++ b/file\n" + hunks.decode("latin-1")
    try:
        files = PatchSet.from_string(text)
    except UnidiffParseError:
        return frozenset()
    return frozenset(
        line.target_line_no
        for file in files
        for hunk in file
        for line in hunk.target_lines()
        if line.target_line_no is not None
    )
