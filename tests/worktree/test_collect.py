"""What an agent left becomes commits, or is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.git import content
from orchestrator.git.mirror import Mirror
from orchestrator.git.worktree import Worktree
from tests.gitremote import LINK, Remote, run_git
from tests.worktree.looking import BRANCH, break_index, content_of, dirty, files, leave_locks


def test_collect_commits_what_was_left_in_the_tree(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").unlink()
    (tree.path / "sub" / "b.txt").chmod(0o755)
    (tree.path / "neu ä\n.txt").write_text("new\n")
    (tree.path / "noise.log").write_text("ignored\n")
    head = tree.collect('Title with "quotes" $(x)\n\nbody').head
    assert mirror.sha(f"{head}^") == start
    assert files(mirror, head) == [".gitignore", "neu ä\n.txt", "sub/b.txt"]
    assert mirror.log(start, head) == ['Title with "quotes" $(x)']
    assert tree.head() == head
    assert run_git("rev-parse", BRANCH, cwd=tree.path) == head
    assert run_git("status", "--porcelain", cwd=tree.path) == ""
    assert not dirty(tree)
    assert (tree.path / "noise.log").exists()
    assert tree.collect("again").head == head


def test_collect_takes_the_agents_own_commits_as_they_are(tree: Worktree, start: str) -> None:
    assert tree.collect("nothing").head == start
    (tree.path / "a.txt").write_text("1\n")
    run_git("commit", "-qam", "by the agent", cwd=tree.path)
    mine = run_git("rev-parse", "HEAD", cwd=tree.path)
    assert tree.collect("nothing").head == mine


def test_collect_takes_what_is_checked_out_on_another_branch_or_none(
    tree: Worktree, mirror: Mirror, start: str
) -> None:
    run_git("switch", "-qc", "agents-own", cwd=tree.path)
    (tree.path / "a.txt").write_text("1\n")
    run_git("commit", "-qam", "one", cwd=tree.path)
    run_git("checkout", "-q", "--detach", cwd=tree.path)
    (tree.path / "a.txt").write_text("2\n")
    head = tree.collect("two").head
    assert mirror.log(start, head) == ["one", "two"]


def test_collect_refuses_a_history_that_does_not_build_on_the_start(tree: Worktree, mirror: Mirror) -> None:
    run_git("checkout", "-q", "--orphan", "new", cwd=tree.path)
    run_git("commit", "-q", "-m", "all new", cwd=tree.path)
    with pytest.raises(Refused, match="no longer builds on"):
        tree.collect("x")


def test_collect_refuses_a_merge_that_was_left_with_conflicts(tree: Worktree, mirror: Mirror, start: str) -> None:
    tip = mirror.commit_tree(str(mirror.sha(f"{start}^{{tree}}")), [start], "base")
    run_git("switch", "-qc", "side", tip, cwd=tree.path)
    (tree.path / "a.txt").write_text("side\n")
    run_git("commit", "-qam", "side", cwd=tree.path)
    run_git("switch", "-q", BRANCH, cwd=tree.path)
    (tree.path / "a.txt").write_text("main\n")
    run_git("commit", "-qam", "main", cwd=tree.path)
    with pytest.raises(AssertionError):
        run_git("merge", "-q", "side", cwd=tree.path)
    with pytest.raises(Refused, match=r"conflicts in `a\.txt`"):
        tree.collect("x")


def test_collect_does_not_care_about_the_agents_index(tree: Worktree, mirror: Mirror) -> None:
    (tree.path / "a.txt").write_text("hidden\n")
    run_git("update-index", "--assume-unchanged", "a.txt", cwd=tree.path)
    run_git("update-index", "--skip-worktree", "sub/b.txt", cwd=tree.path)
    (tree.path / "sub" / "b.txt").write_text("hidden\n")
    head = tree.collect("x").head
    assert content_of(mirror, head, "a.txt") == content_of(mirror, head, "sub/b.txt") == b"hidden\n"
    break_index(tree)
    leave_locks(tree)
    (tree.path / "a.txt").write_text("more\n")
    assert content_of(mirror, tree.collect("y").head, "a.txt") == b"more\n"
    assert not dirty(tree)


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1"])
def test_A39_collect_refuses_a_nested_repository_whatever_it_is_called(tree: Worktree, name: str) -> None:
    inner = tree.path / "vendor" / "lib"
    inner.mkdir(parents=True)
    run_git("init", "-q", cwd=inner)
    (inner / ".git").rename(inner / name)
    with pytest.raises(Refused, match="`vendor/lib` is a git repository"):
        tree.collect("x")


def test_a_nested_repository_that_is_ignored_is_nobodys_business(tree: Worktree, mirror: Mirror) -> None:
    """Package managers leave clones in their folders."""
    inner = tree.path / "vendor" / "lib"
    inner.mkdir(parents=True)
    run_git("init", "-q", cwd=inner)
    (tree.path / ".gitignore").write_text("*.log\n/vendor/\n")
    assert files(mirror, tree.collect("x").head) == [".gitignore", "a.txt", "sub/b.txt"]


def test_A55_a_nested_repository_runs_none_of_its_programs(tree: Worktree, tmp_path: Path) -> None:
    """Its filters and monitors run on `status`, `diff` and `add` in spite of every setting of ours."""
    witness = tmp_path / "ran"
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    script.chmod(0o755)
    inner = tree.path / "sub2"
    inner.mkdir()
    run_git("init", "-q", cwd=inner)
    (inner / ".gitattributes").write_text("* filter=evil\n")
    (inner / "f").write_text("1\n")
    run_git("add", "-A", cwd=inner)
    run_git("commit", "-qm", "x", cwd=inner)
    run_git("add", "sub2", cwd=tree.path)
    run_git("commit", "-qm", "as a submodule", cwd=tree.path)
    for key in ("filter.evil.clean", "core.fsmonitor"):
        run_git("config", key, str(script), cwd=inner)
    (inner / "f").write_text("2\n")
    dirty(tree)
    tree.modified()
    tree.save("issue-1")
    with pytest.raises(Refused, match="sub2"):
        tree.collect("x")
    assert not witness.exists()


def test_A38_collect_refuses_a_submodule_that_the_agent_committed(tree: Worktree) -> None:
    inner = tree.path / "vendor"
    inner.mkdir()
    run_git("init", "-q", cwd=inner)
    run_git("commit", "-q", "--allow-empty", "-m", "x", cwd=inner)
    run_git("add", "vendor", cwd=tree.path)
    run_git("commit", "-qm", "x", cwd=tree.path)
    shutil.rmtree(inner / ".git")
    with pytest.raises(Refused, match="`vendor` is a git repository"):
        tree.collect("x")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("secret", "/etc/passwd"),
        ("sub/up", "../../x"),
        ("sub/deep", "./../sub/../../x"),
        ("two", "sub/step/.."),
        ("git", "sub/step/../mirror.git"),
    ],
)
def test_A35_collect_refuses_a_link_that_leads_out(tree: Worktree, link: str, target: str) -> None:
    (tree.path / "sub" / "step").symlink_to("..")
    (tree.path / link).symlink_to(target)
    with pytest.raises(Refused, match=f"`{link}` is a link to .*leads out"):
        tree.collect("x")


def test_links_that_stay_inside_are_fine_even_in_circles(tree: Worktree, mirror: Mirror) -> None:
    for link, target in (("one", "sub/b.txt"), ("sub/up", "../a.txt"), ("x", "y"), ("y", "x"), ("gone", "nowhere/..")):
        (tree.path / link).symlink_to(target)
    assert "sub/up" in files(mirror, tree.collect("x").head)


def test_links_that_the_repository_had_before_are_its_own_business(remote: Remote, mirror: Mirror) -> None:
    sha = remote.commit({"passwd": b"/etc/passwd"}, modes={"passwd": LINK})
    mirror.fetch("refs/heads/main")
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(sha, BRANCH)
    (tree.path / "a.txt").write_text("1\n")
    assert tree.collect("x").head != sha


def test_collect_refuses_a_huge_file_before_reading_it(tree: Worktree, mirror: Mirror) -> None:
    with (tree.path / "video.bin").open("wb") as file:
        file.truncate(content.LARGEST_FILE + 1)
    before = sorted(mirror.path.glob("objects/*/*"))
    with pytest.raises(Refused, match=r"`video\.bin` is 50 MB"):
        tree.collect("x")
    assert sorted(mirror.path.glob("objects/*/*")) == before


def test_collect_refuses_a_huge_file_that_the_agent_committed(tree: Worktree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.path / "b.bin").write_bytes(b"x" * 2_000)
    run_git("add", "b.bin", cwd=tree.path)
    run_git("commit", "-qm", "x", cwd=tree.path)
    monkeypatch.setattr(content, "LARGEST_FILE", 1_000)
    with pytest.raises(Refused, match=r"`b\.bin` is"):
        tree.collect("x")


def test_a_huge_file_that_the_repository_has_already_is_let_through(
    remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "LARGEST_FILE", 1_000)
    sha = remote.commit({"b.bin": b"x" * 2_000})
    mirror.fetch("refs/heads/main")
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(sha, BRANCH)
    (tree.path / "a.txt").write_text("1\n")
    assert tree.collect("x").head != sha


def test_a_file_that_git_does_not_take_is_refused_by_name(tree: Worktree) -> None:
    (tree.path / "x").mkdir()
    (tree.path / "x" / ".g\u200cit").write_text("read as .git on a Mac")
    with pytest.raises(Refused, match=r"cannot be added \(invalid path 'x/"):
        tree.collect("x")


def _own_git_folder(tree: Worktree, evil: Path) -> None:
    shutil.rmtree(tree.path / ".git")
    run_git("init", "-q", cwd=tree.path)
    run_git("config", "core.fsmonitor", str(evil), cwd=tree.path)


def _link_elsewhere(tree: Worktree, evil: Path) -> None:
    _own_git_folder(tree, evil)
    (tree.path / ".git").rename(evil.parent / "other.git")
    (tree.path / ".git").write_text(f"gitdir: {evil.parent / 'other.git'}\n")


def _common_dir(tree: Worktree, evil: Path) -> None:
    run_git("init", "-q", "--bare", str(evil.parent / "other.git"), cwd=evil.parent)
    run_git("config", "core.fsmonitor", str(evil), cwd=evil.parent / "other.git")
    (tree.path / ".git" / "commondir").write_text(str(evil.parent / "other.git"))


def _clone_config(tree: Worktree, evil: Path) -> None:
    for key in ("core.fsmonitor", "filter.evil.clean", "diff.external", "core.alternateRefsCommand"):
        run_git("config", key, str(evil), cwd=tree.path)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")


def _worktree_config(tree: Worktree, evil: Path) -> None:
    run_git("config", "extensions.worktreeConfig", "true", cwd=tree.path)
    run_git("config", "--worktree", "filter.evil.clean", str(evil), cwd=tree.path)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")


def _mirror_config(tree: Worktree, evil: Path) -> None:
    run_git("config", "filter.evil.clean", str(evil), cwd=tree.mirror.path)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")


@pytest.mark.parametrize(
    "attack", [_own_git_folder, _link_elsewhere, _common_dir, _clone_config, _worktree_config, _mirror_config]
)
def test_A32_what_was_planted_in_git_files_runs_nothing(
    tree: Worktree, mirror: Mirror, tmp_path: Path, attack: Callable[[Worktree, Path], None]
) -> None:
    """The daemon names repository, common folder and work tree itself."""
    witness = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    evil.chmod(0o755)
    (tree.path / "a.txt").write_text("changed\n")
    attack(tree, evil)
    witness.unlink(missing_ok=True)
    assert dirty(tree)
    assert tree.modified()[0] == ["a.txt"]
    head = tree.collect("x").head
    assert content_of(mirror, head, "a.txt") == b"changed\n"
    assert not witness.exists()


@pytest.mark.parametrize("place", ["refs/heads/feature", "refs/heads", "refs", "info"])
def test_a_link_in_the_clone_leads_no_write_of_ours_out(
    tree: Worktree, mirror: Mirror, start: str, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    run_git("pack-refs", "--all", cwd=tree.path)
    shutil.rmtree(tree.path / ".git" / place, ignore_errors=True)
    (tree.path / ".git" / place).symlink_to(outside)
    (tree.path / "a.txt").write_text("changed\n")
    tree.settle()
    head = tree.collect("x").head
    tree.work_begins()
    assert content_of(mirror, head, "a.txt") == b"changed\n"
    assert list(outside.iterdir()) == []
