"""The file in which git notes what is checked out, as our git writes it: version 2, or 3 for a part of the files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_HEAD = 12  # bytes before the first entry
_FIXED = 62  # bytes of an entry before its path
_EXTENDED = 0x4000  # of an entry's flags: two bytes more


def entries(index: bytes) -> Iterator[tuple[int, str]]:
    """Where each entry begins, and its path. ValueError for another version."""
    kind, version, count = struct.unpack_from(">4sII", index)
    if kind != b"DIRC" or version not in (2, 3):
        raise ValueError(f"an index of version {version}")
    place = _HEAD
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", index, place + _FIXED - 2)
        begin = place + _FIXED + (2 if flags & _EXTENDED else 0)
        end = index.index(b"\0", begin)
        yield place, os.fsdecode(index[begin:end])
        place += end - place + 8 & ~7
