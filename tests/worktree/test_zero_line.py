"""What enters a commit was changed since the work began: no conversion of the checkout's, nothing that set-up left."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Collected, Worktree
from tests.gitremote import Remote, run_git
from tests.sizes import seeds
from tests.worktree.looking import BRANCH, SALVAGE, content_of, salvaged

Make = Callable[..., Worktree]


@pytest.fixture
def made(remote: Remote, mirror: Mirror) -> Make:
    """A worktree of a commit with these files on top of the template's, and after these commands of a set-up."""

    def make(files: dict[str, bytes], *commands: str) -> Worktree:
        sha = remote.commit(files)
        mirror.fetch("refs/heads/main")
        tree = Worktree(mirror, mirror.base / "issue-1")
        tree.create(sha, BRANCH, "main")
        for command in commands:
            shell(tree, command)
        if commands:
            tree.work_begins()
        return tree

    return make


def shell(tree: Worktree, script: str) -> None:
    """Run a script in the worktree as its owner would."""
    run_git("-c", f"alias.do=!{script}", "do", cwd=tree.path)


def in_the_commit(tree: Worktree, made: Collected) -> list[str]:
    """The paths by which the collected commit differs from where the work began."""
    return tree.mirror.call("diff-tree", "-r", "-z", "--name-only", tree._known.start, made.head).names


CRLF = {f"w{n}.bat": b"@echo off\r\necho %d\r\n" % n for n in range(30)}


@pytest.mark.parametrize("attributes", [b"*.bat text eol=crlf\n", b"* text\n", b"* text=auto eol=lf\n"])
@pytest.mark.parametrize("own", ["uncommitted", "git commit -qam x", "git add -A && git commit -qm x"])
def test_case_01_line_ends_that_the_checkout_converts_are_nobodys_change(
    made: Make, attributes: bytes, own: str
) -> None:
    tree = made({".gitattributes": attributes, **CRLF})
    assert tree.modified() == ([], b"")
    with (tree.path / "a.txt").open("a") as file:
        file.write("one more line\n")
    if own != "uncommitted":
        shell(tree, own)
    assert in_the_commit(tree, tree.collect("x")) == ["a.txt"]


def test_case_01_a_line_that_is_added_to_such_a_file_is_a_change(made: Make, mirror: Mirror) -> None:
    tree = made({".gitattributes": b"* text\n", **CRLF})
    with (tree.path / "w3.bat").open("ab") as file:
        file.write(b"pause\r\n")
    (tree.path / "w4.bat").touch()
    assert tree.modified()[0] == ["w3.bat"]
    assert in_the_commit(tree, tree.collect("x")) == ["w3.bat"]


def test_case_01_a_file_that_was_put_away_and_came_back_is_unchanged(made: Make) -> None:
    tree = made({".gitattributes": b"* text\n", **CRLF})
    for path in tree.path.glob("w*.bat"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    (tree.path / "a.txt").write_text("new\n")
    assert in_the_commit(tree, tree.collect("x")) == ["a.txt"]


LOCK = "echo '{\"lock\":2}' >package-lock.json"


@pytest.mark.parametrize("setup", ["mkdir app.egg-info && echo m >app.egg-info/PKG-INFO", "echo x >left.txt", LOCK])
@pytest.mark.parametrize("own", ["true", "git add -A && git commit -q --allow-empty -m x"])
def test_case_02_what_the_set_up_left_is_the_zero_line(made: Make, setup: str, own: str) -> None:
    tree = made({"package-lock.json": b'{"lock":1}\n'}, setup)
    shell(tree, own)
    assert in_the_commit(tree, tree.collect("x")) == []
    (tree.path / "a.txt").write_text("work\n")
    shell(tree, own)
    assert in_the_commit(tree, tree.collect("x")) == ["a.txt"]


@pytest.mark.parametrize("where", ["", "git switch -qc other && ", "git switch -q --detach && "])
@pytest.mark.parametrize("own", ["", "git commit -qam mine"])
def test_case_02_what_the_set_up_commits_is_in_no_commit(made: Make, where: str, own: str) -> None:
    setup = f"{where}echo locked > a.txt && echo made > made.txt && git add -A && git commit -qm setup"
    tree = made({"a.txt": b"one\n", "b.txt": b"one\n"}, setup)
    assert in_the_commit(tree, tree.collect("x")) == []
    (tree.path / "b.txt").write_text("written\n")
    if own:
        shell(tree, own)
    assert in_the_commit(tree, tree.collect("x")) == ["b.txt"]
    assert (tree.path / "made.txt").read_text() == "made\n"


def test_case_02_what_the_agent_makes_of_a_left_over_is_its_work(made: Make, mirror: Mirror) -> None:
    tree = made({"package-lock.json": b'{"lock":1}\n'}, LOCK, "echo 1 >config.toml; echo 1 >kept.toml")
    (tree.path / "config.toml").write_text("2\n")
    (tree.path / "package-lock.json").write_text('{"lock":3}\n')
    done = tree.collect("x")
    assert in_the_commit(tree, done) == ["config.toml", "package-lock.json"]
    assert content_of(mirror, done.head, "package-lock.json") == b'{"lock":3}\n'


def test_case_02_a_clean_status_at_the_begin_of_the_work(made: Make) -> None:
    tree = made({}, "echo 1 >'odd [name] *.txt'; mkdir -p __pycache__ && touch __pycache__/x.pyc")
    assert run_git("status", "--porcelain", cwd=tree.path) == ""


def test_case_16_ignored_files_that_are_new_are_named_and_saved(made: Make, mirror: Mirror) -> None:
    tree = made({".gitignore": b"lib/\n*.log\n"}, "touch before.log")
    (tree.path / "lib").mkdir()
    (tree.path / "lib" / "index.js").write_text("work\n")
    done = tree.collect("x")
    assert (in_the_commit(tree, done), done.ignored, done.kept) == ([], ("lib/",), True)
    assert content_of(mirror, f"{SALVAGE}/issue-1/1", "lib/index.js") == b"work\n"
    tree.remove()
    assert salvaged(mirror) == [f"{SALVAGE}/issue-1/1"]


def test_case_16_a_forced_one_is_taken_in(made: Make, mirror: Mirror) -> None:
    tree = made({".gitignore": b"lib/\n"})
    (tree.path / "lib").mkdir()
    (tree.path / "lib" / "index.js").write_text("work\n")
    (tree.path / "lib" / "other.js").write_text("not added\n")
    run_git("add", "-f", "lib/index.js", cwd=tree.path)
    done = tree.collect("x")
    assert in_the_commit(tree, done) == ["lib/index.js"]


def test_case_12_a_stash_is_its_own_worktrees_and_not_nothing(made: Make, mirror: Mirror, start: str) -> None:
    one = made({})
    two = Worktree(mirror, mirror.base / "issue-2")
    two.create(start, "feature/issue-2", "main")
    for tree, word in ((one, "one"), (two, "two")):
        (tree.path / "a.txt").write_text(f"{word}\n")
        run_git("add", "a.txt", cwd=tree.path)
        run_git("stash", cwd=tree.path)
    run_git("stash", "pop", cwd=one.path)
    done = one.collect("x")
    assert content_of(mirror, done.head, "a.txt") == b"one\n"
    left = two.collect("x")
    assert (left.head, left.kept) == (start, True)
    assert content_of(mirror, f"{SALVAGE}/issue-2/1", "a.txt") == b"two\n"


def test_a_commit_on_a_branch_that_was_left_is_saved(made: Make, mirror: Mirror) -> None:
    tree = made({})
    run_git("switch", "-qc", "aside", cwd=tree.path)
    (tree.path / "a.txt").write_text("aside\n")
    run_git("commit", "-qam", "aside", cwd=tree.path)
    run_git("switch", "-q", BRANCH, cwd=tree.path)
    done = tree.collect("x")
    assert (in_the_commit(tree, done), done.kept) == ([], True)
    assert content_of(mirror, f"{SALVAGE}/issue-1/1", "a.txt") == b"aside\n"


BYPRODUCTS = ("pkg/__pycache__/m.cpython-311.pyc", ".venv/bin/python", ".DS_Store", ".idea/x.xml", "notes.txt~")


@pytest.mark.parametrize("own", ["true", "git add -A && git commit -q --allow-empty -m x"])
def test_first_D1_byte_code_and_the_like_never_enter_a_commit(made: Make, own: str) -> None:
    tree = made({"pkg/m.py": b"x = 1\n"})
    for name in BYPRODUCTS:
        (tree.path / name).parent.mkdir(parents=True, exist_ok=True)
        (tree.path / name).write_text("x")
    (tree.path / "pkg" / "n.py").write_text("y = 1\n")
    shell(tree, own)
    done = tree.collect("x")
    assert in_the_commit(tree, done) == ["pkg/n.py"]
    assert sorted(done.byproducts) == [".DS_Store", ".idea/", ".venv/", "notes.txt~", "pkg/__pycache__/"]
    assert not done.kept


def test_first_D1_unless_the_base_tracks_their_like(made: Make) -> None:
    tree = made({"vendor/old.pyc": b"1", ".vscode/settings.json": b"{}"})
    for name in ("vendor/new.pyc", ".vscode/tasks.json", ".DS_Store"):
        (tree.path / name).write_text("x")
    done = tree.collect("x")
    assert in_the_commit(tree, done) == [".vscode/tasks.json", "vendor/new.pyc"]
    assert done.byproducts == (".DS_Store",)


def test_first_D2_a_virtual_environment_of_any_name_is_left_alone(made: Make) -> None:
    make = (
        "for e in .venv my-env; do mkdir -p $e/bin && ln -s /usr/bin/python3 $e/bin/python && touch $e/pyvenv.cfg; done"
    )
    tree = made({}, make)
    (tree.path / "a.txt").write_text("work\n")
    (tree.path / "my-env" / "bin" / "pip").symlink_to("/usr/bin/pip3")
    done = tree.collect("x")
    assert in_the_commit(tree, done) == ["a.txt"]


def test_a_cache_is_known_by_what_it_says_of_itself(made: Make) -> None:
    tree = made({"target/tracked.rs": b"1"})
    for folder in ("out", "target/debug", "liar"):
        (tree.path / folder).mkdir(exist_ok=True)
        (tree.path / folder / "CACHEDIR.TAG").write_text(
            "Signature: 8a477f597d28d172789f06886806bc55\n" if folder != "liar" else "nothing of the kind\n"
        )
        (tree.path / folder / "x.o").write_text("1")
    done = tree.collect("x")
    assert in_the_commit(tree, done) == ["liar/CACHEDIR.TAG", "liar/x.o"]
    assert sorted(done.byproducts) == ["out/", "target/debug/"]


def test_a_command_that_hides_its_change_in_a_commit_is_found(made: Make) -> None:
    tree = made({})
    shell(tree, "echo changed >a.txt && git commit -qam hidden && rm -rf .git")
    changed, diff = tree.modified()
    assert changed == ["a.txt"]
    assert b"+changed" in diff


def test_salvage_holds_the_same_changes(made: Make, mirror: Mirror) -> None:
    tree = made({".gitattributes": b"* text\n", **CRLF}, "echo x >left.txt")
    assert tree.save("issue-1") is None
    (tree.path / "new.txt").write_text("1\n")
    kept = tree.save("issue-1")
    assert kept is not None
    assert mirror.call("diff-tree", "-r", "-z", "--name-only", tree._known.start, kept).names == ["new.txt"]


# -- generated: attributes, line ends, what a set-up leaves, and what an agent then does

ATTRIBUTES = (
    *("text", "-text", "text=auto", "eol=crlf", "text eol=crlf", "text eol=lf", "text=auto eol=crlf", "ident"),
    *("text ident", "binary", "working-tree-encoding=UTF-16LE", "text working-tree-encoding=UTF-8"),
)
CONTENTS = (
    *(b"", b"one\ntwo\n", b"one\r\ntwo\r\n", b"one\r\ntwo\n", b"one\rtwo", b"\0\1\r\n\n", b"$Id$\nx\r\n"),
    *(b"$Id: stale $\n", "ünï\n".encode(), b"no end", b"\r\n"),
)
NAMES = ("a.txt", "b.bat", "c.sh", "d/e.txt", "d/f.bin", "g h.txt", "ü.txt", ":odd.txt", "d/[x].sh", "-n.txt")


def _as_on_disk(top: Path) -> dict[str, tuple[int, bytes]]:
    found = {}
    for folder, folders, names in os.walk(top):
        if folder == str(top):
            folders.remove(".git")
        for name in names:
            path = Path(folder, name)
            about = path.lstat()
            link = stat.S_ISLNK(about.st_mode)
            content = os.fsencode(path.readlink()) if link else path.read_bytes()
            found[str(path.relative_to(top))] = (stat.S_IFMT(about.st_mode) | (about.st_mode & 0o100), content)
    return found


def _write(tree: Worktree, chance: random.Random, name: str) -> None:
    path = tree.path / name
    if path.is_dir() and not path.is_symlink():
        return
    if any(above.is_file() for above in path.parents if tree.path in above.parents):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    match chance.randrange(6):
        case 0:
            path.unlink(missing_ok=True)
        case 1 if path.exists():
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        case 2 if path.exists():
            path.touch()
        case 3 if path.exists():
            with path.open("ab") as file:
                file.write(chance.choice((b"more\n", b"more\r\n")))
        case 4:
            path.unlink(missing_ok=True)
            path.symlink_to("a.txt")
        case _:
            path.unlink(missing_ok=True)
            path.write_bytes(chance.choice(CONTENTS))
            path.chmod(chance.choice((0o644, 0o755)))


def _refused(tree: Worktree) -> str:
    try:
        tree.collect("x")
    except Refused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("seed", seeds(8, 100))
def test_a_commit_holds_exactly_what_was_written_since_the_work_began(made: Make, mirror: Mirror, seed: int) -> None:
    chance = random.Random(seed)
    rules = "".join(
        f"{chance.choice(('*', '*.txt', '*.bat', '*.sh', 'd/*'))} {chance.choice(ATTRIBUTES)}\n" for _ in "12"
    )
    files = {name: chance.choice(CONTENTS) for name in NAMES if chance.random() < 0.7}
    if "UTF-16" in rules:  # what has no such encoding cannot be checked out at all
        files = dict.fromkeys(files, b"one\ntwo\n")
    tree = made({**files, ".gitattributes": rules.encode()})
    more = ("left/x.txt", "left.bat", "left 2")
    setup = chance.random() < 0.6
    if setup:
        for name in chance.sample((*NAMES, *more), 4):
            _write(tree, chance, name)
        tree.work_begins()
    before = _as_on_disk(tree.path)
    for _ in range(chance.randrange(3)):
        for name in chance.sample((*NAMES, *more, "new.txt", "d/new.bat"), 3):
            _write(tree, chance, name)
        if chance.random() < 0.3:
            fails = " || true" if "UTF-16" in rules else ""  # what has no such encoding cannot be added either
            shell(tree, "git add -A && git commit -q --allow-empty -m x" + fails)
    after = _as_on_disk(tree.path)
    written = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    theirs = tree.head()
    if "UTF-16" in rules and (why := _refused(tree)):
        assert "failed to encode" in why
        return
    done = tree.collect("x")
    entered = set(in_the_commit(tree, done))
    for path in entered - written:
        # Its own `git add` stored what a checkout wrote in another way, and that commit is its own.
        kept = mirror.resolve(f"{done.head}:{path}", f"{theirs}:{path}")
        assert kept[0] == kept[1] == run_git("hash-object", "--", path, cwd=tree.path), (rules, path)
        assert path not in tree._known.zero_line.stood
    for path in written - entered:
        # The bytes differ, and are stored as they were: the repository's rules say that it does not matter.
        stored = mirror.resolve(f"{tree._known.start}:{path}")[0]
        there = (tree.path / path).is_symlink() or (tree.path / path).exists()
        assert stored == (run_git("hash-object", "--", path, cwd=tree.path) if there else None), (rules, path)
