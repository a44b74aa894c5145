"""The file in which git notes what is checked out, as our git writes it: version 2, or 3 for a part of the files."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Set
from pathlib import Path

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


def looked_at(index: bytes, top: Path, paths: Set[str]) -> bytes:
    """The index as if git had written these files below `top` itself as they are now, so that it reads none again."""
    content = bytearray(index[:-20])
    for place, path in entries(index):
        if path in paths:
            about = (top / path).lstat()
            times = (*divmod(about.st_ctime_ns, 10**9), *divmod(about.st_mtime_ns, 10**9), about.st_dev, about.st_ino)
            struct.pack_into(">6I", content, place, *(number & 0xFFFFFFFF for number in times))
            owner = (about.st_uid, about.st_gid, about.st_size)
            struct.pack_into(">3I", content, place + 28, *(number & 0xFFFFFFFF for number in owner))
    return bytes(content) + hashlib.sha1(content, usedforsecurity=False).digest()
