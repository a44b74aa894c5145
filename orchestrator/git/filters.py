"""The paths that a repository's attributes send through a program, `filter=<name>`, on their way into a commit.

The programs are named by each person's own git config, so here none is run: what was written to such a path is in the
commit as it was in the worktree, and what an encrypting one should have hidden stands in it for all to read.
`unfiltered` finds every such path of a change. The attributes are read by git itself, from commits alone: those of
where the work began and of the base count as much as the new ones, which whoever worked may have edited.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.git.disk import small
from orchestrator.git.environment import Place, Scratch
from orchestrator.git.index import entries
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import Result

FILE = ".gitattributes"

_NONE = ("unspecified", "unset", "set", "")
_LOOKED_AT = 20  # blobs of one filter
_BEGINNING = 64 * 1024  # bytes of each
# git-crypt (`git-crypt`, `git-crypt-<key>`), transcrypt (`crypt`, `crypt-<context>`), git-encrypt (`encrypt`), the
# recipe with `openssl`, git-agecrypt, strongbox, and how people call their own: around sops, gpg, age, ansible-vault,
# ejson, eyaml, or to take passwords out.
_HIDES = re.compile(
    "crypt|cipher|secret|vault|passw|credential|private|openssl|gpg|pgp|sops|strongbox|blackbox|ejson|eyaml|redact"
    r"|(?<![a-z])(?:r?age|aes|seal|sealed|blur)(?![a-z])",
    re.IGNORECASE,
)
# How encrypted files begin: git-crypt, age (also armoured), `openssl enc` (also as base64, so transcrypt), PGP,
# ansible-vault, strongbox; and what sops, ejson and eyaml put in the place of a value.
_ENCRYPTED = re.compile(
    rb"\A(?:\0GITCRYPT\0|age-encryption\.org/|-----BEGIN (?:AGE ENCRYPTED FILE|PGP MESSAGE)-----|Salted__|U2FsdGVkX1"
    rb"|\$ANSIBLE_VAULT;|# STRONGBOX ENCRYPTED)|ENC\[(?:AES256_GCM|PKCS7|GPG),|\bEJ\[1:"
)
# What is as even as an encrypted file and is none: gzip, bzip2, xz, zstd, zip, 7z, PNG, JPEG, GIF, RIFF, PDF.
_PACKED = (
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"PK",
    b"7z",
    b"\x89PNG",
    b"\xff\xd8",
    b"GIF8",
    b"RIFF",
    b"%PDF",
)
# Pearson's test for bytes that are all as frequent: 255 on the average, and English text of 40 bytes has above 600.
_EVEN = 400.0
_SHORTEST = 32  # bytes
_NAMES = re.compile(r"[ \t]filter=([^\s]+)")
_MOST = 1_000_000  # bytes of lines that name filters


class Staged(Protocol):
    """Git on the files of a worktree."""

    def call(self, *args: str, stdin: bytes | None = None) -> Result: ...


@dataclass(frozen=True)
class Unfiltered:
    """A path that was written without its filter; `hides`: the filter encrypts or hides what passes through it."""

    path: str
    filter: str
    hides: bool


@dataclass(frozen=True)
class Filter:
    """A filter that the attributes of a commit name; `hides`: it encrypts or hides what passes through it."""

    name: str
    hides: bool


def used(mirror: Mirror, commit: str) -> list[Filter]:
    """The filters that the attributes of this commit name, also where no file has one yet."""
    where = ("--", f":(glob,icase)**/{FILE}")
    shown = mirror.call("grep", "-h", "--text", "-F", "-e", "filter=", commit, *where, accept=(0, 1), cut=_MOST)
    lines = [line for line in shown.out.decode("utf-8", "replace").splitlines() if not line.lstrip().startswith("#")]
    names = sorted({name for line in lines for name in _NAMES.findall(line)})
    if not names:
        return []
    tree = _Tree(mirror, commit, ())
    stored = {name: sorted({tree.blobs[path] for path, by in tree.filters.items() if by == name}) for name in names}
    return [Filter(name, _hides(mirror, name, stored[name])) for name in names]


def named(top: Path, index: bytes) -> bool:
    """Whether attributes in a fresh checkout name filters, by its index and files; runs no git."""
    if FILE.encode() not in index:
        return False
    files = [top / path for _, path in entries(index) if is_attributes(path)]
    # One that is not checked out may say anything.
    return any(not file.exists() or b"filter" in small(file, 1_000_000) for file in files)


def given(staged: Staged, paths: Sequence[str], name: str) -> list[str]:
    """Those of the paths to which the attributes of a worktree, as it is now, give this filter."""
    asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
    words = staged.call("check-attr", "-z", "--stdin", "filter", stdin=asked).paths if paths else []
    return [path for path, value in zip(words[::3], words[2::3], strict=False) if value == name]


def is_attributes(path: str) -> bool:
    """Whether git reads attributes from the file; on some file systems in any case of letters."""
    return path.rpartition("/")[2].lower() == FILE


def unfiltered(
    mirror: Mirror, head: str, before: Iterable[str], ran: Callable[[str, str], bool] = lambda name, sha: False
) -> list[Unfiltered]:
    """What the commits of `head` that none of the commits `before` has wrote without the filter of its path.

    `ran`: whether the filter of this name made this blob. What a commit of `before` holds under the same filter came
    through it, so it may be moved and copied.
    """
    before = list(dict.fromkeys(before))
    written = versions(mirror, head, before)
    if not written:
        return []
    paths = [path for path, _ in written]
    past = [_Tree(mirror, commit, paths) for commit in before]
    named_by = [tree.filters for tree in (*past, _Tree(mirror, head, paths))]
    through = {(sha, tree.filters[path]) for tree in past for path, sha in tree.blobs.items() if path in tree.filters}
    found = []
    for path, sha in written:
        for name in dict.fromkeys(filters[path] for filters in named_by if path in filters):
            if (sha, name) not in through and not ran(name, sha):
                stored = sorted(blob for blob, by in through if by == name)
                found.append(Unfiltered(path, name, _hides(mirror, name, stored)))
    return list(dict.fromkeys(found))


class _Tree:
    """The files of a commit by path, and the filters that its attributes give to them and to the paths `more`."""

    def __init__(self, mirror: Mirror, commit: str, more: Iterable[str]) -> None:
        with tempfile.TemporaryDirectory(prefix="orchestrator-index-") as name:
            folder, empty = Path(name, "scratch"), Path(name, "empty")
            (folder / "objects").mkdir(parents=True)
            empty.mkdir()
            # In an empty work tree git reads the attributes from the index.
            at, scratch = Place(mirror.path, None, empty), Scratch(folder, (mirror.store,))
            mirror.call("read-tree", commit, at=at, scratch=scratch)
            listed = mirror.call("ls-files", "-s", "-z", at=at, scratch=scratch).paths
            self.blobs = {path: about.split(" ")[1] for about, _, path in (one.partition("\t") for one in listed)}
            asked = b"".join(os.fsencode(path) + b"\0" for path in dict.fromkeys([*self.blobs, *more]))
            words = mirror.call(
                "check-attr", "--cached", "-z", "--stdin", "filter", at=at, scratch=scratch, stdin=asked
            )
        told = words.out.split(b"\0")
        pairs = (
            (os.fsdecode(path), value.decode("utf-8", "replace"))
            for path, value in zip(told[::3], told[2::3], strict=False)
        )
        self.filters = {path: value for path, value in pairs if value not in _NONE}


def versions(mirror: Mirror, head: str, before: Sequence[str]) -> list[tuple[str, str]]:
    """The files that the commits added or changed, each version by its blob, once; of a merge what no parent has."""
    words = ("log", "--raw", "-z", "-c", "--no-renames", "--no-abbrev", "--format=", head)
    said = iter(mirror.call(*words, *(f"^{commit}" for commit in before), "--").paths)
    found: dict[tuple[str, str], None] = {}
    for entry in said:
        path, about = next(said), entry.lstrip("\n:").split(" ")
        parents = len(about) // 2 - 1  # a mode and a blob of each, and of the result, and what happened
        if about[parents].startswith("100"):
            found[path, about[-2]] = None
    return list(found)


def _hides(mirror: Mirror, name: str, stored: Sequence[str]) -> bool:
    """Whether the filter encrypts, or takes secrets out: by its name, and by what it left in the repository before."""
    return _HIDES.search(name) is not None or any(
        looks_encrypted(mirror.call("cat-file", "blob", blob, cut=_BEGINNING).out) for blob in stored[:_LOOKED_AT]
    )


def looks_encrypted(content: bytes) -> bool:
    """Whether the beginning of a file is that of an encrypted one: by its form, or since no byte in it is rare."""
    if _ENCRYPTED.search(content):
        return True
    if len(content) < _SHORTEST or content.startswith(_PACKED) or _is_text(content):
        return False
    return sum(times * times for times in Counter(content).values()) * 256 / len(content) - len(content) < _EVEN


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(content) - 4 and b"\0" not in content  # cut within its last character
