"""A worktree answers what an ordinary clone answers, by a person's own git, and reaches nobody else's."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Worktree
from orchestrator.process import clean_env
from orchestrator.sandbox import Sandbox, Walls
from tests.gitremote import BOT, Remote, run_git
from tests.sizes import some
from tests.worktree.looking import BRANCH

SOURCES = {"release": "refs/heads/release", "deep": "refs/heads/team/deep"}


@pytest.fixture
def world(remote: Remote, tmp_path: Path, sandbox: Sandbox) -> Worktree:
    """A worktree for an issue, of a repository with tags and other branches, whose default branch is `main`."""
    first = remote.sha("refs/heads/main")
    remote.commit({"c.txt": b"c\n"})
    run_git("tag", "v1.1.0", str(first), cwd=remote.path)
    run_git("tag", "-a", "-m", "The second", "v1.2.0", str(first), cwd=remote.path)
    for name, ref in SOURCES.items():
        remote.commit({f"{name}.txt": b"1\n"}, ref=ref, parent=first)
    mirror = Mirror(tmp_path / "work" / "mirror.git", Access(str(remote.path)), BOT, sandbox=sandbox, default="main")
    mirror.ensure()
    mirror.fetch("refs/heads/main")
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(str(mirror.sha("refs/remotes/origin/main")), BRANCH, "main")
    return tree


def told(tree: Worktree, script: str) -> tuple[int, str]:
    """What a command says in the worktree, inside of the walls that commands have."""
    walls = Walls(write=(tree.path,), read=(tree.mirror.store,))
    env = clean_env({"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tree.path.parent / "nobody")})
    argv, variables = tree.mirror.sandbox.wrap(["/bin/sh", "-c", script], tree.path, env, walls)
    done = subprocess.run(argv, cwd=tree.path, env=variables, capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).strip()


def test_case_06_tags_are_there(world: Worktree) -> None:
    assert told(world, "git describe --tags")[1].startswith("v1.2.0-1-g")
    assert told(world, "git tag") == (0, "v1.1.0\nv1.2.0")
    assert told(world, "git cat-file -t v1.2.0") == (0, "tag")


ANSWERS = (
    *("git rev-parse main", "git rev-parse origin/main", "git rev-parse origin/HEAD", "git rev-parse origin/team/deep"),
    *(
        "git remote get-url origin",
        "git config --get-all remote.origin.fetch",
        "git remote",
        "git merge-base HEAD main",
    ),
    *("git rev-parse --abbrev-ref main@{upstream}", "git branch -r", "git rev-parse --is-shallow-repository"),
    *("git log --oneline origin/release", "git rev-list --count HEAD", "test -d .git && echo a folder"),
    *("git status --porcelain", "git rev-parse --show-toplevel | xargs basename", "git diff main...HEAD --stat"),
)


@pytest.mark.parametrize("question", ANSWERS)
def test_case_35_an_ordinary_clone_says_the_same(world: Worktree, tmp_path: Path, question: str) -> None:
    clone = tmp_path / "clone" / "issue-1"
    run_git("clone", "-q", world.mirror.access.url, str(clone), cwd=tmp_path)
    run_git("switch", "-qc", BRANCH, cwd=clone)
    expected = subprocess.run(
        ["/bin/sh", "-c", question], cwd=clone, capture_output=True, text=True, env=clean_env({"PATH": "/usr/bin:/bin"})
    )
    assert told(world, question) == (expected.returncode, (expected.stdout + expected.stderr).strip())


def test_case_35_the_address_holds_no_token(remote: Remote, world: Worktree, tmp_path: Path) -> None:
    mirror = Mirror(world.mirror.path, Access(str(remote.path), "canary-token"), BOT, sandbox=world.mirror.sandbox)
    tree = Worktree(mirror, mirror.base / "issue-2")
    tree.create(str(mirror.sha("refs/remotes/origin/main")), None, "main")
    assert not [file for file in (tree.path / ".git").rglob("*") if file.is_file() and b"canary" in file.read_bytes()]
    assert told(tree, "git rev-parse --abbrev-ref HEAD") == (0, "HEAD")
    assert told(tree, "git rev-parse main")[0] == 0


OWN = (
    *("git stash", "git stash && git stash pop", "git config user.name me", "git write-tree", "git notes add -m x"),
    *("git commit -qam mine", "git worktree add -q ./w", "git branch x && git branch -d x", "git tag mine"),
    *(
        "git switch -qc other",
        "git gc -q",
        "git fsck",
        "git reflog",
        "git rebase -q origin/release || git rebase --abort",
    ),
    *("git merge -q origin/release", "git cherry-pick origin/release", "git update-index --refresh || true"),
)


@pytest.mark.parametrize("command", OWN)
def test_case_19_what_writes_to_its_own_worktree_works(world: Worktree, command: str) -> None:
    (world.path / "a.txt").write_text("changed\n")
    mirror = _refs(world.mirror.path)
    if command.startswith(("git rebase", "git cherry-pick", "git merge", "git switch")):
        shutil.copyfile(world.path / "sub" / "b.txt", world.path / "a.txt")
        run_git("commit", "-qam", "first", cwd=world.path)
    assert told(world, command)[0] == 0
    assert _refs(world.mirror.path) == mirror


def test_case_19_what_reaches_further_says_so(world: Worktree) -> None:
    code, said = told(world, "GIT_ALLOW_PROTOCOL=https git fetch https://example.invalid/x.git")
    assert code != 0
    assert "Could not resolve host" in said


def _refs(repository: Path) -> str:
    return run_git("for-each-ref", cwd=repository)


def test_case_08_a_name_that_is_gone_gives_way(remote: Remote, world: Worktree) -> None:
    mirror, sha = world.mirror, str(remote.sha("refs/heads/main"))
    for gone, come in (("release", "release/1.0"), ("release/1.0", "release"), ("team/deep", "team")):
        run_git("update-ref", "-d", f"refs/heads/{gone}", cwd=remote.path)
        run_git("update-ref", f"refs/heads/{come}", sha, cwd=remote.path)
        mirror.fetch(f"refs/heads/{come}")
        assert mirror.sha(f"refs/remotes/origin/{gone}") is None
        assert mirror.sha(f"refs/remotes/origin/{come}") == sha


def test_a_branch_that_cannot_be_taken_stops_no_other(remote: Remote, world: Worktree) -> None:
    evil = run_git("hash-object", "-w", "--stdin", cwd=remote.path, stdin=b"x")
    info = f"100644 blob {evil}\t.git\n".encode()
    tree = run_git("mktree", "--missing", cwd=remote.path, stdin=info)
    run_git("update-ref", "refs/heads/evil", run_git("commit-tree", "-m", "x", tree, cwd=remote.path), cwd=remote.path)
    new = remote.commit({"d.txt": b"d\n"})
    world.mirror.fetch("refs/heads/main")
    assert world.mirror.sha("refs/remotes/origin/main") == new
    with pytest.raises(Refused, match="hasDotgit"):
        world.mirror.fetch("refs/heads/evil")


@pytest.mark.parametrize("seed", some(range(8), 3))
def test_the_mirror_follows_names_that_come_and_go(remote: Remote, world: Worktree, seed: int) -> None:
    """Branches and tags that are made, moved and deleted, above and below one another."""
    chance = random.Random(seed)
    shas = [str(remote.sha("refs/heads/main")), str(remote.sha("refs/heads/release"))]
    names = [f"refs/{kind}/{name}" for kind in ("heads", "tags") for name in ("x", "x/y", "x/y/z", "w", "w/HEAD")]
    for _ in range(6):
        for name in chance.sample(names, 3):
            there = run_git("for-each-ref", "--format=%(refname)", "refs", cwd=remote.path).split()
            for other in there:
                if other == name or other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                    run_git("update-ref", "-d", other, cwd=remote.path)
            if chance.random() < 0.7:
                run_git("update-ref", name, chance.choice(shas), cwd=remote.path)
        world.mirror.fetch("refs/heads/main")
        there = _refs(remote.path).replace("refs/heads/", "refs/remotes/origin/").splitlines()
        ours = [line for line in _refs(world.mirror.path).splitlines() if "refs/orchestrator/" not in line]
        assert sorted(ours) == sorted(there)
        tree = Worktree(world.mirror, world.mirror.base / "issue-3")
        tree.create(shas[0], "feature/issue-3", "main")
        shown = [line for line in _refs(tree.path).splitlines() if "refs/heads/" not in line]
        assert sorted(shown) == sorted([*there, *(line for line in shown if line.endswith("origin/HEAD"))])
