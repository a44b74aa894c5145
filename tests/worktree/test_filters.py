"""Paths whose attributes name a filter: which of them a change wrote without it, held against what git itself runs."""

from __future__ import annotations

import hashlib
import random
import shutil
import zlib
from pathlib import Path

import pytest

from orchestrator.git import filters
from orchestrator.git.filters import Unfiltered, unfiltered
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Collected, Worktree
from tests.gitremote import Remote, run_git
from tests.sizes import some
from tests.worktree.looking import BRANCH

MAIN = "refs/heads/main"


def begun(
    remote: Remote, mirror: Mirror, files: dict[str, bytes | None], name: str = "issue-2"
) -> tuple[Worktree, str]:
    """A worktree at a new commit with these files, and that commit."""
    sha = remote.commit(files)
    mirror.fetch(MAIN)
    tree = Worktree(mirror, mirror.base / name)
    tree.create(sha, BRANCH)
    return tree, sha


def wrote(tree: Worktree, files: dict[str, bytes]) -> Collected:
    """What is collected after these files were written."""
    for path, content in files.items():
        (tree.path / path).parent.mkdir(parents=True, exist_ok=True)
        (tree.path / path).write_bytes(content)
    return tree.collect("x")


def pairs(found: list[Unfiltered]) -> set[tuple[str, str]]:
    return {(one.path, one.filter) for one in found}


# What git itself runs

PATHS = ("a.txt", "b.bin", "d/a.txt", "d/b.bin", "d/e/c.txt", "new.txt", "d/new.bin", "d/e/f/new.txt")
PATTERNS = ("*.txt", "*.bin", "a.*", "d/**", "/d/e/*", "*", "new.*", "e/f/*", "/a.txt")
ATTRIBUTES = (
    *("filter=one", "filter=two", "-filter", "!filter", "filter", "secret", "-secret", "filter=one -filter"),
    *("text", "-text", "eol=crlf", "text=auto", "ident", "working-tree-encoding=ISO-8859-1", "binary"),
)
CONTENTS = (
    b"plain\n",
    b"with\r\nreturns\r\n",
    b"$Id$\n",
    b"$Id: 0123 $\r\n",
    b"\0\1\2\n",
    b"",
    b"no end",
    b"\xff\xfea\0\n\0",
)


def attributes(dice: random.Random) -> bytes:
    lines = [f"{dice.choice(PATTERNS)} {' '.join(dice.sample(ATTRIBUTES, dice.randint(1, 3)))}" for _ in range(4)]
    return "".join(f"{line}\n" for line in lines[: dice.randint(0, 4)]).encode()


class Git:
    """A checkout of a commit in which the filters `one` and `two` tell when git runs them."""

    def __init__(self, mirror: Mirror, folder: Path, sha: str) -> None:
        folder.mkdir()
        self._told = folder / "told"
        self._clone = folder / "clone"
        run_git("clone", "-q", "--no-checkout", "-s", str(mirror.path), str(self._clone), cwd=folder)
        run_git("checkout", "-q", sha, cwd=self._clone)
        for name in ("one", "two"):
            run_git("config", f"filter.{name}.clean", f"echo {name} >>{self._told}; cat", cwd=self._clone)

    def runs(self, path: str) -> set[str]:
        """The filters that a file of this name goes through."""
        self._told.write_text("")
        run_git("hash-object", "--stdin", "--path", path, cwd=self._clone, stdin=b"x\n")
        return set(self._told.read_text().split())


def blobs(mirror: Mirror, sha: str) -> dict[str, str]:
    listed = mirror.call("ls-tree", "-r", "-z", sha).paths
    return {path: about.split(" ")[2] for about, _, path in (one.partition("\t") for one in listed)}


@pytest.mark.parametrize("seed", some(range(24), 4))
def test_what_is_found_is_what_git_would_have_run(remote: Remote, mirror: Mirror, tmp_path: Path, seed: int) -> None:
    """Attributes in two folders, macros, line ends, encodings, and agents that write, move, delete, edit attributes."""
    dice = random.Random(seed)
    files: dict[str, bytes | None] = {path: dice.choice(CONTENTS) for path in PATHS[:5]}
    files |= {
        ".gitattributes": b"[attr]secret filter=two -text\n" + attributes(dice),
        "d/.gitattributes": attributes(dice),
    }
    tree, start = begun(remote, mirror, files)
    top = tree.path
    for path in dice.sample(PATHS, 4):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(dice.choice(CONTENTS) + b"by the agent\n")
    if dice.random() < 0.4:
        (top / "a.txt").replace(top / "d/moved.txt")
    if dice.random() < 0.4:
        (top / "d/b.bin").unlink(missing_ok=True)
    if dice.random() < 0.3:
        run_git("-c", "core.safecrlf=false", "add", "a*", "d", cwd=top)
        run_git("commit", "-q", "--allow-empty", "-m", "by the agent", cwd=top)
    if dice.random() < 0.6:
        (top / dice.choice(["", "d/", "d/e/"]) / ".gitattributes").write_bytes(attributes(dice))
    made = tree.collect("x")
    before, after = Git(mirror, tmp_path / "before", start), Git(mirror, tmp_path / "after", made.head)
    was, now = blobs(mirror, start), blobs(mirror, made.head)
    through = {(sha, name) for path, sha in was.items() for name in before.runs(path)}
    changed = [path for path, sha in now.items() if was.get(path) != sha]
    names = {(path, name) for path in changed for name in before.runs(path) | after.runs(path)}
    expected = {(path, name) for path, name in names if (now[path], name) not in through}
    assert pairs(unfiltered(mirror, made.head, [start])) == expected
    assert made.filtered or not expected


# One by one


def test_a_repository_without_filters_is_not_looked_at(remote: Remote, mirror: Mirror) -> None:
    """Attributes of other sorts cost nothing; new ones do."""
    tree, start = begun(remote, mirror, {".gitattributes": b"* text=auto eol=lf\n*.png binary\n"})
    assert not wrote(tree, {"a.txt": b"1\n"}).filtered
    tree.create(start, BRANCH)
    assert wrote(tree, {"x/.gitattributes": b"* text\n"}).filtered


def test_what_a_later_commit_takes_back_is_found(remote: Remote, mirror: Mirror) -> None:
    tree, start = begun(remote, mirror, {".gitattributes": b"*.yml filter=git-crypt\n", "k.yml": b"\0GITCRYPT\0x"})
    (tree.path / "k.yml").write_bytes(b"password: 1\n")
    run_git("commit", "-qam", "one", cwd=tree.path)
    run_git("revert", "--no-edit", "HEAD", cwd=tree.path)
    made = tree.collect("x")
    assert made.filtered
    assert unfiltered(mirror, made.head, [start]) == [Unfiltered("k.yml", "git-crypt", True)]


@pytest.mark.parametrize("edit", [b"", b"*.yml !filter\n", b"*.yml -filter\n", b"k.* filter=other\n"])
def test_whoever_edits_the_attributes_hides_nothing(remote: Remote, mirror: Mirror, edit: bytes) -> None:
    tree, start = begun(remote, mirror, {".gitattributes": b"*.yml filter=git-crypt\n", "k.yml": b"\0GITCRYPT\0x"})
    made = wrote(tree, {".gitattributes": edit, "k.yml": b"password: 1\n"})
    assert Unfiltered("k.yml", "git-crypt", True) in unfiltered(mirror, made.head, [start])


def test_the_attributes_of_the_base_count_where_the_branch_is_older(remote: Remote, mirror: Mirror) -> None:
    old = remote.commit({"k.yml": b"1\n"})
    base = remote.commit({".gitattributes": b"*.yml filter=git-crypt\n"})
    mirror.fetch(MAIN)
    tree = Worktree(mirror, mirror.base / "issue-2")
    tree.create(old, BRANCH)
    made = wrote(tree, {"k.yml": b"password: 1\n"})
    assert pairs(unfiltered(mirror, made.head, [old, base])) == {("k.yml", "git-crypt")}


def test_what_came_through_the_filter_may_be_moved_deleted_and_made_executable(remote: Remote, mirror: Mirror) -> None:
    stored = {"s/a": b"\0GITCRYPT\0a", "s/b": b"\0GITCRYPT\0b", "s/c": b"\0GITCRYPT\0c", "plain": b"1\n"}
    tree, start = begun(remote, mirror, {".gitattributes": b"s/** filter=git-crypt\n", **stored})
    (tree.path / "s/a").rename(tree.path / "s/moved")
    (tree.path / "s/b").unlink()
    (tree.path / "s/c").chmod(0o755)
    (tree.path / "s/link").symlink_to("c")
    assert unfiltered(mirror, tree.collect("x").head, [start]) == []
    shutil.copy(tree.path / "plain", tree.path / "s/plain")
    assert pairs(unfiltered(mirror, tree.collect("y").head, [start])) == {("s/plain", "git-crypt")}


def test_what_the_base_brings_into_the_branch_is_not_its_own(remote: Remote, mirror: Mirror) -> None:
    """The agent merges the base, in which somebody who has the key changed a secret, and resolves a conflict in one."""
    secret = {"s/a": b"\0GITCRYPT\0old", "s/b": b"\0GITCRYPT\0old"}
    tree, start = begun(remote, mirror, {".gitattributes": b"s/** filter=git-crypt\n", **secret})
    base = remote.commit({"s/a": b"\0GITCRYPT\0new", "s/b": b"\0GITCRYPT\0new"})
    mirror.fetch(MAIN)
    run_git("merge", "-q", "--no-edit", "--no-ff", base, cwd=tree.path)
    merged = run_git("rev-parse", "HEAD", cwd=tree.path)
    assert unfiltered(mirror, tree.collect("x").head, [start, base]) == []
    (tree.path / "s/a").write_bytes(b"in a merge\n")
    run_git("commit", "-qa", "--amend", "--no-edit", cwd=tree.path)
    assert run_git("rev-parse", "HEAD^2", cwd=tree.path) == run_git("rev-parse", f"{merged}^2", cwd=tree.path)
    assert pairs(unfiltered(mirror, tree.collect("x").head, [start, base])) == {("s/a", "git-crypt")}


def test_a_part_of_the_files_has_the_attributes_of_all(remote: Remote, mirror: Mirror) -> None:
    sha = remote.commit({"d/.gitattributes": b"* filter=git-crypt\n", "d/a": b"1", "e/b": b"1", "f/c": b"1"})
    mirror.fetch(MAIN)
    mirror.cone = ("e",)
    tree = Worktree(mirror, mirror.base / "issue-2")
    tree.create(sha, BRANCH)
    made = wrote(tree, {"e/b": b"2"})
    assert made.filtered
    assert unfiltered(mirror, made.head, [sha]) == []


# Which filters hide something

SAMPLES = {
    "git-crypt": b"\0GITCRYPT\0" + bytes(range(100, 140)),
    "age": b"age-encryption.org/v1\n-> X25519 x\n",
    "armoured age": b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n",
    "openssl": b"Salted__12345678",
    "base64": b"U2FsdGVkX1+abc=\n",
    "pgp": b"-----BEGIN PGP MESSAGE-----\n\nhQ\n",
    "ansible": b"$ANSIBLE_VAULT;1.1;AES256\n6162\n",
    "sops": b"key: ENC[AES256_GCM,data:x,type:str]\n",
    "ejson": b'{"_public_key": "x", "password": "EJ[1:abc:def:ghi]"}\n',
    "random": hashlib.shake_256(b"1").digest(64),
    "more random": hashlib.shake_256(b"2").digest(200_000),
}
OPEN = {
    "text": b"some words of no importance, and a few more of them\n" * 3,
    "notebook": b'{"cells": [], "metadata": {}, "nbformat": 4}\n',
    "utf-16": "some words of no importance, and more".encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\0" + zlib.compress(b"x" * 100),
    "zip": b"PK\x03\x04" + hashlib.shake_256(b"3").digest(500),
    "short": b"\xff\0\1",
    "base64 of a picture": b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk\n",
    "records": b"".join(n.to_bytes(4, "little") for n in range(300)),
    "cut": "ä".encode() * 20 + b"\xc3",
    "empty": b"",
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_what_stands_under_a_filter_of_any_name_tells_that_it_encrypts(
    remote: Remote, mirror: Mirror, kind: str
) -> None:
    assert filters.looks_encrypted(SAMPLES[kind])
    tree, start = begun(remote, mirror, {".gitattributes": b"k/* filter=ours\n", "k/old": SAMPLES[kind]})
    made = wrote(tree, {"k/new": b"password\n"})
    assert unfiltered(mirror, made.head, [start]) == [Unfiltered("k/new", "ours", True)]


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_not_encrypted_does_not_look_so(kind: str) -> None:
    assert not filters.looks_encrypted(OPEN[kind])


def test_random_bytes_look_encrypted_and_words_do_not() -> None:
    """The chance to mistake one for the other is less than one in thousands."""
    dice = random.Random(7)
    words = Path(filters.__file__).read_bytes()
    for size in (48, 64, 100, 500, 5_000):
        taken = [filters.looks_encrypted(b"\xff\0" + dice.randbytes(size)) for _ in range(300)]
        assert sum(taken) >= 299
        places = [dice.randrange(len(words) - size) for _ in range(300)]
        assert not any(filters.looks_encrypted(b"\xff\0" + words[place : place + size]) for place in places)


NAMES = {
    **dict.fromkeys(
        ("git-crypt", "git-crypt-staging", "crypt", "crypt-two", "encrypt", "git-encrypt", "openssl"), True
    ),
    **dict.fromkeys(("git-agecrypt", "strongbox", "sops", "git-vault", "ansible-vault", "gpg", "age", "git-age"), True),
    **dict.fromkeys(("secrets", "hide-passwords", "private", "ejson", "Cipher", "aes256"), True),
    **dict.fromkeys(
        ("lfs", "nbstripout", "indent", "image", "usage", "package", "kustomize", "jupyter", "tabs"), False
    ),
}


@pytest.mark.parametrize("name", some(list(NAMES), 3))
def test_a_filter_without_files_is_known_by_its_name(remote: Remote, mirror: Mirror, name: str) -> None:
    tree, start = begun(remote, mirror, {".gitattributes": f"k/* filter={name}\n".encode()})
    made = wrote(tree, {"k/new": b"1\n"})
    assert unfiltered(mirror, made.head, [start]) == [Unfiltered("k/new", name, NAMES[name])]
