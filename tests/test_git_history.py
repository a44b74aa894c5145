"""History as old programs left it: what a plain clone takes is fetched and worked with, what is dangerous never is."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import pytest

from orchestrator.errors import Refused, Retry
from orchestrator.git import malformed
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.worktree import Worktree
from orchestrator.record import Status
from tests.conftest import MakeHouse
from tests.gitremote import BOT, Remote, run_git
from tests.house import House
from tests.story import expect_pull, expect_work, outcomes, ready
from tests.test_review import expect_look, opens

MAIN = "refs/heads/main"
WHO, WHEN = b"A U Thor <a@example.test>", b"1700000000 +0000"
FILE, FOLDER, LINK, SUBMODULE = "100644", "40000", "120000", "160000"
NOTHING = "0" * 40

# A mode, a name, and a file's bytes, a folder's entries or the name of any object.
Entry = tuple[str, str, Union[bytes, str, "Entries"]]
Entries = tuple[Entry, ...]


def put(git_dir: Path, kind: str, content: bytes) -> str:
    """Write any object, as no git of today would; its name."""
    whole = f"{kind} {len(content)}\0".encode() + content
    name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    path = git_dir / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole, 1))
    return name


def put_tree(git_dir: Path, entries: Entries) -> str:
    """Write a tree with these entries in this order, and all below it."""
    lines = []
    for mode, name, content in entries:
        if isinstance(content, tuple):
            content = put_tree(git_dir, content)
        elif isinstance(content, bytes):
            content = put(git_dir, "blob", content)
        lines.append(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(content))
    return put(git_dir, "tree", b"".join(lines))


@dataclass(frozen=True)
class Words:
    """What a commit says after its tree and its parents."""

    author: bytes = b"author %s %s\n" % (WHO, WHEN)
    committer: bytes = b"committer %s %s\n" % (WHO, WHEN)
    rest: bytes = b"\nmessage\n"

    def put(self, git_dir: Path, tree: str, *parents: str) -> str:
        above = "".join(f"parent {parent}\n" for parent in parents)
        return put(git_dir, "commit", f"tree {tree}\n{above}".encode() + self.author + self.committer + self.rest)


def by(line: bytes) -> Words:
    return Words(author=b"author %s\n" % line)


GOOD = Words()
COMMITS = {
    "no name": by(b"<a@example.test> " + WHEN),
    "nobody": by(b""),
    "no address": by(b"A U Thor " + WHEN),
    "no space before the address": by(b"A U Thor<a@example.test> " + WHEN),
    "an address without an end": by(b"A U Thor <a@example.test " + WHEN),
    "a bracket in the name": by(b"A > Thor <a@example.test> " + WHEN),
    "a bracket in the address": by(b"A U Thor <a<b@example.test> " + WHEN),
    "two addresses": by(b"A U Thor <a@example.test> <b@example.test> " + WHEN),
    "no space before the date": by(WHO + WHEN),
    "no date": by(WHO),
    "a date in words": by(WHO + b" yesterday +0000"),
    "a negative date": by(WHO + b" -1 +0000"),
    "a padded date": by(WHO + b" 01700000000 +0000"),
    "a date beyond numbers": by(WHO + b" 99999999999999999999 +0000"),
    "no time zone": by(WHO + b" 1700000000"),
    "a long time zone": by(WHO + b" 1700000000 +51800"),
    "a time zone in words": by(WHO + b" 1700000000 CEST"),
    "a carriage return": by(WHO + b" " + WHEN + b"\r"),
    "latin-1": by("Jörg <j@example.test> ".encode("latin-1") + WHEN),
    "a committer without an address": Words(committer=b"committer A U Thor %s\n" % WHEN),
    "a committer without a date": Words(committer=b"committer %s x\n" % WHO),
    "several authors": Words(author=GOOD.author * 3),
    "several committers": Words(committer=GOOD.committer * 2),
    "no author": Words(author=b""),
    "no committer": Words(committer=b""),
    "neither": Words(author=b"", committer=b""),
    "the committer first": Words(author=GOOD.committer, committer=GOOD.author),
    "a NUL in the message": Words(rest=b"\nmessage\0and more\n"),
    "no message": Words(rest=b""),
    "an unknown encoding": Words(rest=b"encoding none-9\n\nmessage\n"),
    "a broken signature": Words(rest=b"gpgsig -----BEGIN\n\nmessage\n"),
}
# Git lets nobody pass over these two checks.
UNREADABLE = {
    "a NUL in the name": (by(b"A\0U <a@example.test> " + WHEN), "nulInHeader"),
    "no end of the header": (Words(committer=GOOD.committer.rstrip(b"\n"), rest=b""), "unterminatedHeader"),
}
INNER: Entries = ((FILE, "f", b"one\n"),)
TREES: dict[str, Entries] = {
    "files out of order": ((FILE, "b", b"one\n"), (FILE, "a", b"one\n")),
    "a folder in a file's order": ((FOLDER, "a", INNER), (FILE, "a.c", b"one\n")),
    "a padded mode": ((FILE, "a", b"one\n"), ("040000", "d", INNER)),
    "a file twice": ((FILE, "a", b"one\n"), (FILE, "a", b"other\n")),
    "a file and a folder": ((FILE, "a", b"one\n"), (FOLDER, "a", INNER)),
    "a submodule twice": ((SUBMODULE, "a", "1" * 40), (SUBMODULE, "a", "2" * 40)),
    "a submodule at nothing": ((SUBMODULE, "a", NOTHING),),
    "a mode of old": (("100664", "a", b"one\n"),),
    "no mode": (("0", "a", b"one\n"),),
    "too much of a mode": (("107777", "a", b"one\n"),),
    "an empty folder": ((FOLDER, "d", ()),),
    "a folder of attributes": ((FOLDER, ".gitattributes", INNER),),
    "a link to attributes": ((LINK, ".gitattributes", b"x"),),
    "a long line of attributes": ((FILE, ".gitattributes", b"*.x " + b"a" * 3000 + b"\n"),),
    "submodules in no language": ((FILE, ".gitmodules", b'[submodule "x\n'),),
}
MODULE = b'[submodule "%s"]\n\tpath = x\n\turl = %s\n'
DANGEROUS: dict[str, tuple[Entry, str]] = {
    ".": ((FOLDER, ".", INNER), "hasDot"),
    "..": ((FOLDER, "..", INNER), "hasDotdot"),
    ".git": ((FOLDER, ".git", INNER), "hasDotgit"),
    ".GIT": ((FILE, ".GIT", b"gitdir: x\n"), "hasDotgit"),
    "git~1": ((FOLDER, "git~1", INNER), "hasDotgit"),
    ".git with a joiner": ((FOLDER, ".g\u200cit", INNER), "hasDotgit"),
    "a path": ((FILE, "../../x", b"one\n"), "fullPathname"),
    "a link to submodules": ((LINK, ".gitmodules", b"x"), "gitmodulesSymlink"),
    "a folder of submodules": ((FOLDER, ".gitmodules", INNER), "gitmodulesBlob"),
    "an address that is an option": ((FILE, ".gitmodules", MODULE % (b"x", b"-u./x")), "gitmodulesUrl"),
    "a name that leads out": ((FILE, ".gitmodules", MODULE % (b"../x", b"https://x")), "gitmodulesName"),
    "an update that runs": (
        (FILE, ".gitmodules", MODULE % (b"x", b"https://x") + b"\tupdate = !touch x\n"),
        "gitmodulesUpdate",
    ),
}


class Old(Remote):
    """A remote where what is malformed lies below the tip of a branch, as in a history of years."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.good = put_tree(path, ((FILE, "a.txt", b"one\n"),))
        self.root = GOOD.put(path, self.good)
        more = put_tree(path, ((FILE, "a.txt", b"one\n"), (FILE, "m.txt", b"one\n")))
        self.main = GOOD.put(path, more, self.root)
        self.place(MAIN, self.main)

    def place(self, ref: str, sha: str) -> None:
        path = self.path / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{sha}\n")

    def above(self, ref: str, bad: str) -> str:
        """Make `ref`, whose tip is in order, on top of `bad`."""
        self.place(ref, GOOD.put(self.path, self.good, bad))
        return ref

    def words(self, ref: str, words: Words) -> str:
        return self.above(ref, words.put(self.path, self.good, self.root))

    def tree(self, ref: str, entries: Entries) -> str:
        """In a folder, since it is there that nobody has touched a tree for years."""
        outer = put_tree(self.path, ((FOLDER, "sub", entries),))
        return self.above(ref, GOOD.put(self.path, outer, self.root))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    return Old(tmp_path_factory.mktemp("old") / "remote.git")


@pytest.fixture(scope="module")
def mirror(old: Old) -> Mirror:
    mirror = Mirror(old.path.with_name("work") / "mirror.git", Access(str(old.path)), BOT)
    mirror.ensure()
    mirror.fetch(MAIN)
    return mirror


def cloned(old: Old, folder: Path, *refs: str) -> None:
    """Fails when a plain git does not take these refs."""
    folder.mkdir()
    run_git("init", "--quiet", "--bare", cwd=folder)
    run_git("fetch", "--quiet", "--no-tags", str(old.path), *(f"{ref}:{ref}" for ref in refs), cwd=folder)


def here(ref: str) -> str:
    return ref.replace("refs/", "refs/remotes/", 1).replace("/heads/", "/origin/", 1)


def works(old: Old, mirror: Mirror, ref: str) -> None:
    """The branch is there, and git does with it what a story needs."""
    tip = str(mirror.sha(here(ref)))
    assert tip == old.sha(ref)
    assert mirror.contains(tip, old.root)
    assert mirror.log(old.root, tip)[-1] == "message"
    merged = mirror.merge(old.main, tip)
    assert (merged.tree, merged.conflicts) == (mirror.sha(f"{old.main}^{{tree}}"), ())
    assert mirror.changed(tip, old.main) == ["m.txt"]
    assert b"m.txt" in mirror.diff(tip, old.main)


@pytest.mark.parametrize("kind", COMMITS)
def test_case_07_a_malformed_commit_is_fetched_and_worked_with(old: Old, mirror: Mirror, kind: str) -> None:
    ref = old.words(f"refs/heads/commit/{list(COMMITS).index(kind)}", COMMITS[kind])
    mirror.fetch(MAIN, ref)
    works(old, mirror, ref)


@pytest.mark.parametrize("kind", TREES)
def test_case_07_a_malformed_tree_is_fetched_and_worked_with(old: Old, mirror: Mirror, kind: str) -> None:
    ref = old.tree(f"refs/heads/tree/{list(TREES).index(kind)}", TREES[kind])
    mirror.fetch(MAIN, ref)
    works(old, mirror, ref)


@pytest.mark.parametrize("tagger", [b"", b"tagger nobody\n", b"tagger %s x\n" % WHO, b"tagger <a@b> 1 +0000\n"])
def test_case_07_a_malformed_tag_is_fetched(old: Old, mirror: Mirror, tagger: bytes) -> None:
    tag = put(old.path, "tag", b"object %s\ntype commit\ntag v 1..\n%s\nnew\n" % (old.root.encode(), tagger))
    old.place("refs/pull/1/head", tag)
    mirror.fetch("refs/pull/1/head")
    assert mirror.sha("refs/remotes/pull/1/head") == old.root


def refused(mirror: Mirror, ref: str, check: str, named: str, bad: str) -> None:
    """The fetch ends for this check, in a sentence that names the object and what to do; `bad` never gets in."""
    for _ in range(2):  # what the first one left must not help the second
        with pytest.raises(Refused, match=f"holds object {named}, which git's check `{check}` refuses: ") as told:
            mirror.fetch(ref)
        assert f" refuses: {malformed.REFUSED[check]}." in str(told.value)
        assert "git filter-repo" in str(told.value)
        assert mirror.sha(here(ref)) is None
        assert mirror.resolve(bad) == [None]
    mirror.fetch(MAIN)
    assert list(mirror.base.glob(".trash-*")) == []


@pytest.mark.parametrize("kind", DANGEROUS)
def test_case_07_a_dangerous_name_is_never_fetched(old: Old, mirror: Mirror, kind: str) -> None:
    entry, check = DANGEROUS[kind]
    ref = old.tree(f"refs/heads/no/{list(DANGEROUS).index(kind)}", (entry,))
    named = bad = put_tree(old.path, (entry,))
    if isinstance(entry[2], bytes) and entry[0] == FILE and entry[1] == ".gitmodules":
        named = put(old.path, "blob", entry[2])  # what is wrong stands in the file
    elif check == "gitmodulesBlob":
        named = put_tree(old.path, INNER)
    refused(mirror, ref, check, named, bad)


@pytest.mark.parametrize("kind", [kind for kind, (entry, _) in DANGEROUS.items() if entry[1] == ".gitmodules"])
def test_case_07_what_was_harmless_under_another_name_is_never_fetched(old: Old, mirror: Mirror, kind: str) -> None:
    """Git is not sent what it has, and looks at it when the rest is among the other objects already."""
    (mode, name, content), check = DANGEROUS[kind]
    number = list(DANGEROUS).index(kind)
    before = GOOD.put(old.path, put_tree(old.path, ((mode, "known", content), (FILE, "n", b"%d" % number))), old.root)
    old.place(f"refs/heads/before/{number}", before)
    mirror.fetch(f"refs/heads/before/{number}")
    bad = put_tree(old.path, ((mode, name, content), (FILE, "n", b"%d" % number)))
    old.place(f"refs/heads/after/{number}", GOOD.put(old.path, bad, before))
    known = str(mirror.resolve(f"{before}:known")[0])
    refused(mirror, f"refs/heads/after/{number}", check, bad if mode == LINK else known, bad)


def test_a_fetch_lets_its_objects_in_once_however_many_refs_move(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [old.words(f"refs/heads/many/{number}", GOOD) for number in range(20)]
    begun = tmp_path / "begun"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mkdir").write_text(f'#!/bin/sh\necho x >> {begun}\nexec {shutil.which("mkdir")} "$@"\n')
    (programs / "mkdir").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    there = Mirror(tmp_path / "work" / "mirror.git", Access(str(old.path)), BOT)
    there.ensure()
    there.fetch(*refs)
    assert begun.read_text() == "x\n"
    assert there.resolve(*map(here, refs)) == [old.sha(ref) for ref in refs]


def test_a_disk_where_no_program_may_be_started_takes_a_fetch(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Mirror(tmp_path / "work" / "mirror.git", Access(str(old.path)), BOT)
    there.ensure()
    monkeypatch.setattr(Path, "chmod", lambda path, mode: None)
    there.fetch(MAIN)
    assert there.log(old.root, old.main) == ["message"]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_case_07_what_git_never_passes_over_is_named(old: Old, mirror: Mirror, kind: str) -> None:
    words, check = UNREADABLE[kind]
    ref = old.words(f"refs/heads/unreadable/{check}", words)
    bad = words.put(old.path, old.good, old.root)
    refused(mirror, ref, check, bad, bad)


def test_every_check_is_judged_once_and_known_to_git() -> None:
    known = {line.partition(".")[2] for line in run_git("help", "--config-for-completion", cwd=Path("/")).splitlines()}
    judged = [*malformed.HARMLESS, *malformed.REFUSED]
    assert len(judged) == len(set(judged))
    assert set(judged) - known <= {"largePathname"}


def test_old_history_is_no_damage(old: Old, mirror: Mirror) -> None:
    """Also when somebody chose words that git uses for damage."""
    refs = [old.words("refs/heads/d/words", COMMITS["no name"]), old.tree("refs/heads/d/tree", TREES["a file twice"])]
    tag = b"object %s\ntype commit\ntag bad object broken link\ntagger %s %s\n\nnew\n"
    old.place("refs/pull/2/head", put(old.path, "tag", tag % (old.root.encode(), WHO, WHEN)))
    mirror.fetch(*refs, "refs/pull/2/head")
    mirror.examine()
    assert not mirror.damaged


def test_a_mirror_of_old_history_that_is_damaged_is_found(old: Old, tmp_path: Path) -> None:
    ref = old.tree("refs/heads/d/tree", TREES["a file twice"])
    shutil.copytree(old.path, tmp_path / "old.git")
    here = Mirror(tmp_path / "work" / "mirror.git", Access(str(tmp_path / "old.git")), BOT)
    here.ensure()
    here.fetch(ref)
    [pack] = (here.path / "objects/pack").glob("*.pack")
    run_git("unpack-objects", "-q", cwd=here.path, stdin=Path(shutil.move(pack, tmp_path)).read_bytes())
    blob = put(here.path, "blob", b"other\n")
    (here.path / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(Retry, match="damaged"):
        here.examine()


@pytest.mark.parametrize("kind", ["a long line of attributes", "a folder of attributes", "a link to attributes"])
@pytest.mark.parametrize("commits", [False, True])
def test_case_07_an_agent_works_where_git_passes_over_attributes(
    old: Old, mirror: Mirror, kind: str, commits: bool
) -> None:
    tree = put_tree(old.path, (*TREES[kind], (FILE, "a.txt", b"one\n")))
    mirror.fetch(old.above("refs/heads/passed", old.root))
    old.place("refs/heads/passed", GOOD.put(old.path, tree, old.root))
    mirror.fetch("refs/heads/passed")
    made = Worktree(mirror, mirror.base / "issue-2")
    made.create(str(mirror.sha("refs/remotes/origin/passed")), "feature/2")
    (made.path / "a.txt").write_text("another\n")
    if commits:
        run_git("commit", "--quiet", "-am", "mine", cwd=made.path)
    head = made.collect("x").head
    assert mirror.text(head, "a.txt") == "another\n"
    assert mirror.changed(f"{head}^", head) == ["a.txt"]
    made.remove()


STRICT = ("files out of order", "a padded mode", "a file twice", "a submodule at nothing")


@pytest.mark.parametrize("kind", STRICT)
def test_case_07_what_an_agent_made_stays_strict(
    old: Old, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A git among the files may hand over what it wants: the same object that is fetched is not taken from it."""
    liar = tmp_path / "liar.git"
    liar.mkdir()
    run_git("init", "--quiet", "--bare", cwd=liar)
    tree = put_tree(liar, TREES[kind])
    names = run_git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=liar)
    run_git("pack-objects", "--quiet", "pack", cwd=liar, stdin=f"{names}\n".encode())
    [pack] = liar.glob("pack-*.pack")
    programs = tmp_path / "bin"
    programs.mkdir()
    git = programs / "git"
    git.write_text(
        f'#!/bin/sh\ncase "$*" in *"orchestrator-all "*) echo {tree}; exec cat {pack};; esac\n'
        f'exec {shutil.which("git")} "$@"\n'
    )
    git.chmod(0o755)
    made = Worktree(mirror, mirror.base / "issue-1")
    made.create(old.main, None)
    (made.path / "new.txt").write_text("new\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(GitError, match="fsck error"):
        made.collect("x")
    assert made.head() == old.main
    made.remove()
    mirror.fetch(old.tree("refs/heads/strict", TREES[kind]))


# Generated: any lines where a clone wants none in particular, any tree without a dangerous name.
_BITS = (b"A", b" ", b"<", b">", b"@", b"\t", b"\r", b"0", b"17", b"-", b"+", b"\xff", b"\xc3\xa9", b"\\", b'"', b",")
_NAMES = tuple(f"{a}{b}" for a in ("a", "b", "é", "_", "a.", "A", " ", "\\", "~1") for b in ("", "b", "-", ".c", "é"))
_MODES = (FILE, "100755", "100664", "100600", "0100644", LINK, FOLDER, "040000", SUBMODULE, "0160000")


def _line(chance: random.Random, word: bytes) -> bytes:
    """A header line: as it should be, with pieces lost or put in, or made of nothing but pieces."""
    content = b"%s %s %s" % (word, WHO, WHEN)
    for _ in range(chance.choice((0, 1, 2, 5))):
        at, much = chance.randrange(len(content) + 1), chance.choice((0, 0, 1, 3))
        content = content[:at] + chance.choice((b"", *_BITS)) + content[at + much :]
    if chance.random() < 0.1:
        content = word + b" " + b"".join(chance.choices(_BITS, k=chance.randrange(12)))
    return content + b"\n"


def _words(chance: random.Random) -> Words:
    lines = [_line(chance, chance.choice((b"author", b"committer"))) for _ in range(chance.randrange(4))]
    if chance.random() < 0.6:
        lines = [_line(chance, b"author"), _line(chance, b"committer")]
    extra = chance.choice((b"", b"encoding latin1\n", b"HG:extra x\n", b"gpgsig x\n y\n", b" lost\n", b"mergetag x\n"))
    message = chance.choice((b"", b"\n", b"\nm\n", b"\n\0\n", b"\nm", b"\n\n\nauthor x\n"))
    # A commit that ends with its parents is none.
    return Words(b"".join(lines[:1]), b"".join(lines[1:]), extra + message or b"\n")


def _tree(chance: random.Random, deep: int = 0) -> Entries:
    entries: list[Entry] = []
    for _ in range(chance.randrange(1, 6)):
        mode = chance.choice(_MODES)
        content: bytes | str | Entries = chance.choice((b"one\n", b"other\n", b""))
        if mode in (FOLDER, "040000"):
            content = _tree(chance, deep + 1) if deep < 3 else ()
        elif mode.endswith("160000"):
            content = chance.choice((NOTHING, "1" * 40))
        entries.append((mode, chance.choice(_NAMES), content))
    return tuple(entries)


@pytest.mark.parametrize("seed", range(2))
def test_case_07_generated_history_that_a_clone_takes_is_taken(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    old = Old(tmp_path / "remote.git")
    refs = [old.words(f"refs/heads/w/{number}", _words(chance)) for number in range(150)]
    refs += [old.tree(f"refs/heads/t/{number}", _tree(chance)) for number in range(100)]
    for number in range(30):
        tag = b"object %s\ntype commit\ntag %s\n" % (old.root.encode(), b"".join(chance.choices(_BITS[:-4], k=4)))
        tag += _line(chance, b"tagger") * chance.randrange(3) + b"\nnew\n"
        old.place(f"refs/pull/{number}/head", put(old.path, "tag", tag))
        refs.append(f"refs/pull/{number}/head")
    cloned(old, tmp_path / "plain.git", *refs)
    mirror = Mirror(tmp_path / "work" / "mirror.git", Access(str(old.path)), BOT)
    mirror.ensure()
    mirror.fetch(MAIN, *refs)
    names = mirror.resolve(*map(here, refs))
    assert names == [(old.path / ref).read_text().strip() for ref in refs]
    for ref in chance.sample(refs[:250], 4):
        works(old, mirror, ref)
    mirror.examine()


# Stories.


def grows_old(house: House, folder: Path, *, words: Words = GOOD, tree: Entries = ()) -> None:
    """Main has a malformed ancestor from here on: pushed, as it came to GitHub once."""
    work = folder / "old-work"
    address = house.repo.clone_url.replace("://", f"://x:{house.github.token(house.bob)}@")
    run_git("clone", "--quiet", address, str(work), cwd=folder)
    root = run_git("rev-parse", "HEAD", cwd=work)
    good = run_git("rev-parse", "HEAD^{tree}", cwd=work)
    bad = words.put(work / ".git", put_tree(work / ".git", ((FOLDER, "sub", tree),)) if tree else good, root)
    tip = GOOD.put(work / ".git", good, bad)
    run_git("push", "--quiet", address, f"{tip}:{MAIN}", cwd=work)


STORIES: dict[str, tuple[Words, Entries]] = {
    "no name": (COMMITS["no name"], ()),
    "a NUL in the message": (COMMITS["a NUL in the message"], ()),
    "a file twice": (COMMITS["a padded date"], TREES["a file twice"]),
}


@pytest.mark.parametrize("kind", STORIES)
def test_case_07_an_issue_becomes_a_merged_pull_request_on_top_of_old_history(
    make_house: MakeHouse, tmp_path: Path, kind: str
) -> None:
    house = make_house(review_prs="all", pre_merge_commands=("test -f agent.txt", "git log --oneline"))
    words, tree = STORIES[kind]
    grows_old(house, tmp_path, words=words, tree=tree)
    issue = ready(house)
    house.until(lambda: bool(house.repo.pulls))
    [pull] = house.repo.pulls
    house.until(lambda: bool(pull.reviews))
    house.quiet()
    house.bob.comments(pull, "/merge")
    house.until(lambda: pull.merged)
    house.quiet()
    assert not issue.open
    assert house.repo.file("main", "agent.txt")
    expect_pull(house, issue)
    house.expect("POST issues/2/*", "POST pulls/2/reviews", "PUT pulls/2/merge", "DELETE git/refs/heads/*")
    house.expect("POST issues/comments/*/reactions")


def test_case_07_refused_history_is_said_once_and_at_once(house: House, tmp_path: Path) -> None:
    grows_old(house, tmp_path, tree=(DANGEROUS[".git"][0],))
    issue = ready(house)
    began = house.clock.now()
    house.until(lambda: bool(outcomes(issue)))
    assert house.clock.now() - began < 200
    house.quiet()
    [said] = outcomes(issue)
    assert "git's check `hasDotgit` refuses: a name in it leads out" in said
    assert "could not be reached" not in said
    job = house.job("implement", issue.number)
    assert (job.status, job.failures, job.attempt) == (Status.PARKED, 0, 1)
    assert issue.labels == ["needs-human"]
    expect_work(house, issue)


def test_case_07_refused_history_is_said_once_on_a_pull_request_however_often_it_is_pushed(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    house = make_house(review_prs="all")
    grows_old(house, tmp_path, tree=(DANGEROUS[".git"][0],))
    pull = opens(house)
    house.quiet()
    for number in range(2):
        house.alice.pushes(house.repo, "topic", {"topic.txt": f"{number}\n"})
        house.quiet()
    [said] = outcomes(pull)
    assert "hasDotgit" in said
    assert house.job("review", pull.number).trigger == pull.head_sha
    expect_look(house, pull)
