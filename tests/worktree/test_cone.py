"""A worktree that holds a part of the repository: the rest is neither written nor lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.git import cone
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Worktree
from orchestrator.sandbox import Sandbox
from tests.gitremote import BOT, LINK, Remote, run_git
from tests.worktree.looking import BRANCH, SALVAGE, content_of, dirty, files

HELD = [".gitignore", "a.txt", "apps/read.me", "apps/web/deep/x.txt", "apps/web/y.txt"]
ELSEWHERE = ["apps/api/z.txt", "docs/deep/guide.txt", "docs/read.me", "sub/b.txt"]


@pytest.fixture
def whole(remote: Remote, mirror: Mirror) -> str:
    paths = [path for path in (*HELD, *ELSEWHERE) if path not in (".gitignore", "a.txt", "sub/b.txt")]
    sha = remote.commit({path: f"{path}\n".encode() for path in paths})
    mirror.fetch("refs/heads/main")
    return sha


@pytest.fixture
def narrow(mirror: Mirror, sandbox: Sandbox) -> Mirror:
    return Mirror(mirror.path, mirror.access, BOT, sandbox=sandbox, cone=("apps/web", "not/there"))


@pytest.fixture
def part(narrow: Mirror, whole: str) -> Worktree:
    tree = Worktree(narrow, narrow.base / "issue-1")
    tree.create(whole, BRANCH)
    return tree


def on_disk(tree: Worktree) -> list[str]:
    found = (str(path.relative_to(tree.path)) for path in tree.path.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith(".git/"))


def test_a_part_is_checked_out_and_looks_clean_to_anybody(part: Worktree, whole: str) -> None:
    assert on_disk(part) == HELD
    assert part.head() == whole
    assert (dirty(part), part.modified()) == (False, ([], b""))
    assert run_git("status", "--porcelain", cwd=part.path) == ""


def test_a_commit_keeps_what_is_not_checked_out(part: Worktree, mirror: Mirror, whole: str) -> None:
    (part.path / "apps/web/y.txt").write_text("changed\n")
    (part.path / "apps/web/deep/x.txt").unlink()
    (part.path / "new.txt").write_text("new\n")
    head = part.collect("one").head
    assert files(mirror, head) == sorted({*HELD, *ELSEWHERE, "new.txt"} - {"apps/web/deep/x.txt"})
    assert mirror.call("diff", "--name-only", whole, head).text.split() == [
        "apps/web/deep/x.txt",
        "apps/web/y.txt",
        "new.txt",
    ]
    assert not dirty(part)
    (part.path / "a.txt").write_text("more\n")
    assert set(ELSEWHERE) <= set(files(mirror, part.collect("two").head))


def test_what_is_made_outside_of_the_part_is_taken_too(part: Worktree, mirror: Mirror) -> None:
    (part.path / "docs").mkdir()
    (part.path / "docs/read.me").write_text("over what is there\n")
    (part.path / "docs/new.txt").write_text("new\n")
    head = part.collect("x").head
    assert content_of(mirror, head, "docs/read.me") == b"over what is there\n"
    assert files(mirror, head) == sorted({*HELD, *ELSEWHERE, "docs/new.txt"})


@pytest.mark.parametrize("how", ["file", "link"])
def test_nothing_takes_the_place_of_a_folder_that_is_not_there(part: Worktree, how: str) -> None:
    if how == "file":
        (part.path / "docs").write_text("in its place\n")
    else:
        (part.path / "docs").symlink_to("apps")
    with pytest.raises(Refused, match=r"`docs/deep/guide\.txt` is not checked out here, because of SPARSE_PATHS"):
        part.collect("x")


def test_the_agents_own_commit_and_its_index_change_nothing_of_that(part: Worktree, mirror: Mirror) -> None:
    (part.path / "a.txt").write_text("by the agent\n")
    run_git("commit", "-qam", "mine", cwd=part.path)
    run_git("update-index", "--no-skip-worktree", "sub/b.txt", cwd=part.path)
    (part.path / "apps/web/y.txt").write_text("left\n")
    assert files(mirror, part.collect("x").head) == sorted((*HELD, *ELSEWHERE))


def test_a_commit_of_the_agents_that_lacks_the_rest_is_refused(part: Worktree) -> None:
    git_folder = Path(run_git("rev-parse", "--absolute-git-dir", cwd=part.path))
    (git_folder / "info/sparse-checkout").unlink()
    run_git("read-tree", "HEAD", cwd=part.path)
    run_git("add", "--all", "--sparse", cwd=part.path)
    run_git("commit", "--quiet", "--message=all that I see", cwd=part.path)
    (git_folder / "info/sparse-checkout").write_bytes(cone.patterns(("apps/web", "not/there")))
    with pytest.raises(Refused, match="SPARSE_PATHS"):
        part.collect("one")


def test_what_is_kept_of_a_part_is_whole(part: Worktree, mirror: Mirror, whole: str) -> None:
    (part.path / "a.txt").write_text("half a thought\n")
    part.create(whole, BRANCH)
    assert files(mirror, f"{SALVAGE}/issue-1/1") == sorted((*HELD, *ELSEWHERE))
    assert on_disk(part) == HELD


@pytest.mark.parametrize("now", [(), ("docs",)])
def test_another_setting_does_not_change_what_a_worktree_of_before_holds(
    part: Worktree, mirror: Mirror, now: tuple[str, ...]
) -> None:
    later = Worktree(Mirror(mirror.path, mirror.access, BOT, sandbox=mirror.sandbox, cone=now), part.path)
    (part.path / "a.txt").write_text("1\n")
    assert files(mirror, later.collect("x").head) == sorted((*HELD, *ELSEWHERE))


def test_a_detached_worktree_holds_everything(narrow: Mirror, whole: str) -> None:
    tree = Worktree(narrow, narrow.base / "pr-review-7")
    tree.create(whole, None)
    assert on_disk(tree) == sorted((*HELD, *ELSEWHERE))


def test_a_link_into_what_is_not_checked_out_stays(remote: Remote, narrow: Mirror, whole: str) -> None:
    sha = remote.commit({"apps/web/guide": b"../../docs/read.me"}, modes={"apps/web/guide": LINK})
    narrow.fetch("refs/heads/main")
    tree = Worktree(narrow, narrow.base / "issue-2")
    tree.create(sha, "feature/issue-2")
    (tree.path / "a.txt").write_text("1\n")
    (tree.path / "apps/web/more").symlink_to("../../docs/deep")
    assert "apps/web/more" in files(narrow, tree.collect("x").head)


def test_what_is_deleted_within_the_part_is_a_deletion(part: Worktree) -> None:
    shutil.rmtree(part.path / "apps")
    (part.path / "a.txt").unlink()
    assert sorted(part.modified()[0]) == ["a.txt", "apps/read.me", "apps/web/deep/x.txt", "apps/web/y.txt"]


@pytest.mark.parametrize("folders", [("a",), ("a/b", "c"), ("a/b/c", "a/d"), ("ä b/!x", "#y"), ("a\u2028b/c",)])
def test_the_folders_are_read_back_from_what_git_is_told(folders: tuple[str, ...]) -> None:
    assert set(cone.folders(cone.patterns(folders))) == set(folders)


def test_a_folder_within_another_needs_no_word_of_its_own() -> None:
    assert cone.folders(cone.patterns(("a", "a/b/c", "a"))) == ("a",)
    assert cone.folders(b"") == ()
