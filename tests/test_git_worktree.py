"""Worktrees: made in place of anything, read whatever an agent did to them, collected with care."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.git import content
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import GitError
from orchestrator.git.worktree import Worktree
from tests.gitremote import BOT, LINK, Remote, mirror_of, run_git

SALVAGE = "refs/orchestrator/salvage"
BRANCH = "feature/issue-1"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote and its mirror, copied for each test."""
    folder = tmp_path_factory.mktemp("template")
    remote = Remote(folder / "remote.git")
    remote.commit({"a.txt": b"a\n", ".gitignore": b"*.log\n", "sub/b.txt": b"b\n"})
    mirror_of(remote, folder / "work")
    return folder


@pytest.fixture
def remote(template: Path, tmp_path: Path) -> Remote:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Remote(tmp_path / "remote.git")


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "work" / "mirror.git", Access(str(remote.path)), BOT)


@pytest.fixture
def start(mirror: Mirror) -> str:
    return str(mirror.sha("refs/remotes/origin/main"))


@pytest.fixture
def tree(mirror: Mirror, start: str) -> Worktree:
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(start, BRANCH)
    return tree


def salvaged(mirror: Mirror) -> list[str]:
    return mirror.call("for-each-ref", "--format=%(refname)", SALVAGE).text.split()


def files(mirror: Mirror, sha: str) -> list[str]:
    return mirror.call("ls-tree", "-r", "-z", "--name-only", sha).names


def content_of(mirror: Mirror, sha: str, path: str) -> bytes:
    return mirror.call("cat-file", "blob", f"{sha}:{path}").out


def registered(mirror: Mirror) -> list[str]:
    folder = mirror.path / "worktrees"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# -- create


def test_a_worktree_has_the_files_and_the_branch(tree: Worktree, start: str) -> None:
    assert (tree.path / "sub" / "b.txt").read_bytes() == b"b\n"
    assert tree.head() == start
    assert not tree.dirty()
    assert run_git("branch", "--show-current", cwd=tree.path) == BRANCH
    assert run_git("status", "--porcelain", cwd=tree.path) == ""


def test_without_a_branch_head_is_detached(mirror: Mirror, start: str) -> None:
    tree = Worktree(mirror, mirror.base / "pr-review-7")
    tree.create(start, None)
    assert run_git("branch", "--show-current", cwd=tree.path) == ""
    assert tree.head() == start


def test_an_agent_can_commit_in_a_worktree(tree: Worktree, mirror: Mirror) -> None:
    (tree.path / "a.txt").write_text("agent\n")
    plain = {"PATH": os.environ["PATH"], "HOME": "/dev/null"}
    assert os.spawnvpe(os.P_WAIT, "git", ["git", "-C", str(tree.path), "commit", "-qam", "mine"], plain) == 0
    assert run_git("log", "-1", "--format=%an", cwd=tree.path) == "The Bot"
    assert mirror.sha(f"refs/heads/{BRANCH}") == tree.head()


def _delete_folder(tree: Worktree) -> None:
    shutil.rmtree(tree.path)


def _delete_registration(tree: Worktree) -> None:
    shutil.rmtree(tree.mirror.path / "worktrees" / tree.name)


def _lock(tree: Worktree) -> None:
    run_git("worktree", "lock", "--reason", "portable disk", str(tree.path), cwd=tree.mirror.path)


def _switch_branch(tree: Worktree) -> None:
    run_git("switch", "-qc", "another", cwd=tree.path)


def _leave_locks(tree: Worktree) -> None:
    for name in ("index.lock", "HEAD.lock"):
        (tree.mirror.path / "worktrees" / tree.name / name).touch()


def _break_index(tree: Worktree) -> None:
    (tree.mirror.path / "worktrees" / tree.name / "index").write_bytes(b"DIRC nonsense")


def _break_head(tree: Worktree) -> None:
    (tree.mirror.path / "worktrees" / tree.name / "HEAD").write_bytes(b"\0\0\0")


def _delete_head(tree: Worktree) -> None:
    (tree.mirror.path / "worktrees" / tree.name / "HEAD").unlink()


def _replace_link(tree: Worktree) -> None:
    (tree.path / ".git").write_text("gitdir: /nowhere\n")


def _own_repository(tree: Worktree) -> None:
    (tree.path / ".git").unlink()
    run_git("init", "-q", cwd=tree.path)


def _make_read_only(tree: Worktree) -> None:
    (tree.path / "sub").chmod(0o500)


def _file_in_its_place(tree: Worktree) -> None:
    shutil.rmtree(tree.path)
    tree.path.write_text("no folder")


def _link_in_its_place(tree: Worktree) -> None:
    tree.path.rename(tree.path.with_name("moved"))
    tree.path.symlink_to(tree.path.with_name("moved"))


def _nothing(tree: Worktree) -> None:
    """A clean worktree that is simply made again."""


@pytest.mark.parametrize(
    "harm",
    [
        _nothing,
        _delete_folder,
        _delete_registration,
        _lock,
        _switch_branch,
        _leave_locks,
        _break_index,
        _break_head,
        _delete_head,
        _replace_link,
        _own_repository,
        _make_read_only,
        _file_in_its_place,
        _link_in_its_place,
    ],
)
def test_a_worktree_is_made_again_whatever_became_of_it(
    tree: Worktree, mirror: Mirror, start: str, harm: Callable[[Worktree], None]
) -> None:
    harm(tree)
    tree.create(start, BRANCH)
    assert tree.head() == start
    assert not tree.dirty()
    assert (tree.path / "a.txt").read_bytes() == b"a\n"
    assert run_git("branch", "--show-current", cwd=tree.path) == BRANCH
    assert registered(mirror) == ["issue-1"]
    assert not list(mirror.base.glob(".trash-*"))


def test_a_creation_that_was_killed_is_replaced_without_salvage(mirror: Mirror, start: str) -> None:
    """F03: kill -9 during `worktree add` leaves it locked as `initializing`, which prune keeps for ever."""
    tree = Worktree(mirror, mirror.base / "issue-1")
    run_git(
        *["worktree", "add", "--quiet", "--no-checkout", "--lock", "--reason", "initializing", "-b"],
        *(BRANCH, str(tree.path), start),
        cwd=mirror.path,
    )
    (tree.path / "a.txt").write_text("a\n")  # the first of its files
    tree.create(start, BRANCH)
    assert not tree.dirty()
    assert salvaged(mirror) == []


def test_a_creation_waits_for_whoever_holds_the_mirror(mirror: Mirror, start: str) -> None:
    tree = Worktree(mirror, mirror.base / "issue-1")
    with ThreadPoolExecutor(1) as pool:
        with mirror.lock:
            creation = pool.submit(tree.create, start, BRANCH)
            with pytest.raises(TimeoutError):
                creation.result(0.2)
            assert registered(mirror) == []
        creation.result(10)
    assert tree.head() == start


@pytest.mark.parametrize("left", ["HEAD", "commondir", "gitdir", None])
def test_a_creation_that_was_killed_does_not_stop_the_others(
    mirror: Mirror, remote: Remote, tree: Worktree, left: str | None
) -> None:
    half = mirror.path / "worktrees" / "issue-2"
    half.mkdir()
    (half / "locked").write_text("initializing\n")
    if left is not None:
        shutil.copy(mirror.path / "worktrees" / tree.name / left, half / left)
    sha = remote.commit({"later.txt": b"1\n"})
    mirror.fetch("refs/heads/main")
    other = Worktree(mirror, mirror.base / "issue-2")
    other.create(sha, "feature/issue-2")
    assert other.head() == sha
    third = Worktree(mirror, mirror.base / "issue-3")
    third.create(sha, "feature/issue-3")
    assert registered(mirror) == ["issue-1", "issue-2", "issue-3"]


def test_what_was_left_in_a_replaced_worktree_is_kept(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("half a thought\n")
    (tree.path / "new file.txt").write_text("new\n")
    (tree.path / "noise.log").write_text("ignored\n")
    tree.create(start, BRANCH)
    kept = str(mirror.sha(f"{SALVAGE}/issue-1/1"))
    assert content_of(mirror, kept, "a.txt") == b"half a thought\n"
    assert files(mirror, kept) == [".gitignore", "a.txt", "new file.txt", "sub/b.txt"]
    assert mirror.sha(f"{kept}^") == start


def test_commits_that_nobody_else_has_are_kept(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("done\n")
    work = tree.collect("Work")
    shutil.rmtree(tree.path)
    tree.create(start, BRANCH)
    assert mirror.sha(f"{SALVAGE}/issue-1/1") == work
    tree.create(start, BRANCH)
    assert len(salvaged(mirror)) == 1


def test_commits_that_the_remote_has_are_not_kept_twice(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("done\n")
    mirror.push(tree.collect("Work"), BRANCH, None)
    tree.create(start, BRANCH)
    assert salvaged(mirror) == []


def test_a_folder_that_is_no_worktree_is_kept_too(mirror: Mirror, start: str) -> None:
    path = mirror.base / "issue-1"
    path.mkdir()
    (path / "notes.txt").write_text("a person's\n")
    Worktree(mirror, path).create(start, BRANCH)
    kept = str(mirror.sha(f"{SALVAGE}/issue-1/1"))
    assert files(mirror, kept) == ["notes.txt"]
    assert not (path / "notes.txt").exists()


@pytest.mark.parametrize("name", [".git", ".g\u200cit"])
def test_what_cannot_be_kept_in_a_commit_is_set_aside_whole(
    tree: Worktree, mirror: Mirror, start: str, name: str
) -> None:
    odd = tree.path / "new" / name
    odd.mkdir(parents=True)
    (odd / "f").write_text("x")
    tree.create(start, BRANCH)
    assert not tree.dirty()
    assert (mirror.base / "issue-1.kept-1" / "new" / name / "f").exists()


def test_a_branch_that_an_older_worktree_holds_moves_to_the_new_one(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("older\n")
    newer = Worktree(mirror, mirror.base / "issue-1-again")
    newer.create(start, BRANCH)
    assert run_git("branch", "--show-current", cwd=newer.path) == BRANCH
    assert not tree.path.exists()
    assert registered(mirror) == ["issue-1-again"]
    assert content_of(mirror, f"{SALVAGE}/issue-1/1", "a.txt") == b"older\n"


def test_a_persons_own_worktree_of_the_branch_is_left_alone(mirror: Mirror, start: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    run_git("worktree", "add", "-q", "-b", BRANCH, str(theirs), start, cwd=mirror.path)
    Worktree(mirror, mirror.base / "issue-1").create(start, BRANCH)
    assert (theirs / "a.txt").exists()


@pytest.mark.parametrize("place", ["../outside", "mirror.git", "mirror.git/inside", ".hidden", "a b", "x.lock", "."])
def test_a_worktree_lies_in_the_mirrors_folder_under_a_plain_name(mirror: Mirror, place: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        Worktree(mirror, mirror.base / place)


def test_a_folder_that_leads_out_by_a_link_is_no_place(mirror: Mirror, tmp_path: Path) -> None:
    (mirror.base / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="no place"):
        Worktree(mirror, mirror.base / "link" / "issue-1")


def test_many_worktrees_come_and_go_at_once(mirror: Mirror, start: str) -> None:
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        begin.wait(10)
        for _ in range(5):
            tree = Worktree(mirror, mirror.base / f"issue-{number}")
            tree.create(start, f"feature/issue-{number}")
            assert (tree.path / "a.txt").exists()
            tree.remove()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result()
    assert registered(mirror) == []
    assert [path.name for path in mirror.base.iterdir() if path.is_dir()] == ["mirror.git"]


# -- save


def test_save_keeps_everything_once_and_changes_nothing(tree: Worktree, mirror: Mirror) -> None:
    assert tree.save("issue-1") is None
    (tree.path / "new.txt").write_text("new\n")
    before = run_git("status", "--porcelain", cwd=tree.path)
    kept = tree.save("issue-1")
    assert kept is not None
    assert files(mirror, kept) == [".gitignore", "a.txt", "new.txt", "sub/b.txt"]
    assert tree.save("issue-1") == kept
    (tree.path / "new.txt").write_text("newer\n")
    assert tree.save("issue-1") != kept
    assert salvaged(mirror) == [f"{SALVAGE}/issue-1/1", f"{SALVAGE}/issue-1/2"]
    assert run_git("status", "--porcelain", cwd=tree.path) == before


def test_save_leaves_nested_repositories_out(tree: Worktree, mirror: Mirror) -> None:
    nested = tree.path / "nested"
    nested.mkdir()
    run_git("init", "-q", cwd=nested)
    run_git("commit", "-q", "--allow-empty", "-m", "x", cwd=nested)
    (tree.path / "new.txt").write_text("new\n")
    kept = tree.save("issue-1")
    assert kept is not None
    assert files(mirror, kept) == [".gitignore", "a.txt", "new.txt", "sub/b.txt"]


# -- collect


def test_collect_commits_what_was_left_in_the_tree(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").unlink()
    (tree.path / "sub" / "b.txt").chmod(0o755)
    (tree.path / "neu ä\n.txt").write_text("new\n")
    (tree.path / "noise.log").write_text("ignored\n")
    head = tree.collect('Title with "quotes" $(x)\n\nbody')
    assert mirror.sha(f"{head}^") == start
    assert files(mirror, head) == [".gitignore", "neu ä\n.txt", "sub/b.txt"]
    assert mirror.log(start, head) == ['Title with "quotes" $(x)']
    assert tree.head() == head == mirror.sha(f"refs/heads/{BRANCH}")
    assert not tree.dirty()
    assert (tree.path / "noise.log").exists()
    assert tree.collect("again") == head


def test_collect_takes_the_agents_own_commits_as_they_are(tree: Worktree, start: str) -> None:
    assert tree.collect("nothing") == start
    (tree.path / "a.txt").write_text("1\n")
    run_git("commit", "-qam", "by the agent", cwd=tree.path)
    mine = run_git("rev-parse", "HEAD", cwd=tree.path)
    assert tree.collect("nothing") == mine


def test_collect_takes_what_is_checked_out_on_another_branch_or_none(
    tree: Worktree, mirror: Mirror, start: str
) -> None:
    run_git("switch", "-qc", "agents-own", cwd=tree.path)
    (tree.path / "a.txt").write_text("1\n")
    run_git("commit", "-qam", "one", cwd=tree.path)
    run_git("checkout", "-q", "--detach", cwd=tree.path)
    (tree.path / "a.txt").write_text("2\n")
    head = tree.collect("two")
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
    head = tree.collect("x")
    assert content_of(mirror, head, "a.txt") == content_of(mirror, head, "sub/b.txt") == b"hidden\n"
    _break_index(tree)
    _leave_locks(tree)
    (tree.path / "a.txt").write_text("more\n")
    assert content_of(mirror, tree.collect("y"), "a.txt") == b"more\n"
    assert not tree.dirty()


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1"])
def test_collect_refuses_a_nested_repository(tree: Worktree, name: str) -> None:
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
    assert files(mirror, tree.collect("x")) == [".gitignore", "a.txt", "sub/b.txt"]


def test_a_nested_repository_runs_none_of_its_programs(tree: Worktree, tmp_path: Path) -> None:
    """A55: its filters and monitors run on `status`, `diff` and `add` in spite of every setting of ours."""
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
    tree.dirty()
    tree.modified()
    tree.save("issue-1")
    with pytest.raises(Refused, match="sub2"):
        tree.collect("x")
    tree.reset(tree.head())
    assert not witness.exists()


def test_collect_refuses_a_submodule_that_the_agent_committed(tree: Worktree) -> None:
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
def test_collect_refuses_a_link_that_leads_out(tree: Worktree, link: str, target: str) -> None:
    (tree.path / "sub" / "step").symlink_to("..")
    (tree.path / link).symlink_to(target)
    with pytest.raises(Refused, match=f"`{link}` is a link to .*leads out"):
        tree.collect("x")


def test_links_that_stay_inside_are_fine_even_in_circles(tree: Worktree, mirror: Mirror) -> None:
    for link, target in (("one", "sub/b.txt"), ("sub/up", "../a.txt"), ("x", "y"), ("y", "x"), ("gone", "nowhere/..")):
        (tree.path / link).symlink_to(target)
    assert "sub/up" in files(mirror, tree.collect("x"))


def test_links_that_the_repository_had_before_are_its_own_business(remote: Remote, mirror: Mirror) -> None:
    sha = remote.commit({"passwd": b"/etc/passwd"}, modes={"passwd": LINK})
    mirror.fetch("refs/heads/main")
    tree = Worktree(mirror, mirror.base / "issue-1")
    tree.create(sha, BRANCH)
    (tree.path / "a.txt").write_text("1\n")
    assert tree.collect("x") != sha


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
    assert tree.collect("x") != sha


def test_a_file_that_git_does_not_take_is_refused_by_name(tree: Worktree) -> None:
    (tree.path / "x").mkdir()
    (tree.path / "x" / ".g\u200cit").write_text("read as .git on a Mac")
    with pytest.raises(Refused, match=r"cannot be added \(invalid path 'x/"):
        tree.collect("x")


def _own_git_folder(tree: Worktree, evil: Path) -> None:
    (tree.path / ".git").unlink()
    run_git("init", "-q", cwd=tree.path)
    run_git("config", "core.fsmonitor", str(evil), cwd=tree.path)


def _link_elsewhere(tree: Worktree, evil: Path) -> None:
    _own_git_folder(tree, evil)
    (tree.path / ".git").rename(evil.parent / "other.git")
    (tree.path / ".git").write_text(f"gitdir: {evil.parent / 'other.git'}\n")


def _common_dir(tree: Worktree, evil: Path) -> None:
    run_git("init", "-q", "--bare", str(evil.parent / "other.git"), cwd=evil.parent)
    run_git("config", "core.fsmonitor", str(evil), cwd=evil.parent / "other.git")
    (tree.mirror.path / "worktrees" / tree.name / "commondir").write_text(str(evil.parent / "other.git"))


def _worktree_config(tree: Worktree, evil: Path) -> None:
    run_git("config", "extensions.worktreeConfig", "true", cwd=tree.mirror.path)
    run_git("config", "--worktree", "filter.evil.clean", str(evil), cwd=tree.path)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")


def _mirror_config(tree: Worktree, evil: Path) -> None:
    run_git("config", "filter.evil.clean", str(evil), cwd=tree.mirror.path)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")


@pytest.mark.parametrize("attack", [_own_git_folder, _link_elsewhere, _common_dir, _worktree_config, _mirror_config])
def test_what_was_planted_in_git_files_runs_nothing(
    tree: Worktree, mirror: Mirror, tmp_path: Path, attack: Callable[[Worktree, Path], None]
) -> None:
    """A31, A32, A33: the daemon names repository, common folder and work tree itself."""
    witness = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    evil.chmod(0o755)
    (tree.path / "a.txt").write_text("changed\n")
    attack(tree, evil)
    witness.unlink(missing_ok=True)
    assert tree.dirty()
    assert tree.modified() == ["a.txt"]
    head = tree.collect("x")
    assert content_of(mirror, head, "a.txt") == b"changed\n"
    tree.reset(head)
    assert run_git("status", "--porcelain", cwd=tree.path) == ""
    assert not witness.exists()


# -- reading and putting back


def test_modified_names_tracked_files_only(tree: Worktree) -> None:
    (tree.path / "sub" / "b.txt").write_text("changed\n")
    (tree.path / "new.txt").write_text("new\n")
    assert tree.modified() == ["sub/b.txt"]
    assert tree.dirty()
    (tree.path / "sub" / "b.txt").unlink()
    assert tree.modified() == ["sub/b.txt"]


def test_reset_shows_exactly_one_commit(tree: Worktree, mirror: Mirror, remote: Remote, start: str) -> None:
    later = remote.commit({"later.txt": b"1\n"})
    mirror.fetch("refs/heads/main")
    (tree.path / "a.txt").write_text("changed\n")
    run_git("update-index", "--assume-unchanged", "a.txt", cwd=tree.path)
    (tree.path / "noise.log").write_text("ignored\n")
    (tree.path / "nested").mkdir()
    run_git("init", "-q", cwd=tree.path / "nested")
    _leave_locks(tree)
    tree.reset(later)
    assert sorted(path.name for path in tree.path.iterdir()) == [".git", ".gitignore", "a.txt", "later.txt", "sub"]
    assert (tree.path / "a.txt").read_bytes() == b"a\n"
    assert tree.head() == later
    assert run_git("branch", "--show-current", cwd=tree.path) == ""
    assert mirror.sha(f"refs/heads/{BRANCH}") == start
    assert tree.collect("nothing") == later


def test_a_worktree_that_is_gone_is_an_error_and_not_an_empty_answer(tree: Worktree) -> None:
    shutil.rmtree(tree.path)
    for call in (tree.dirty, tree.modified, lambda: tree.collect("x")):
        with pytest.raises((GitError, OSError)):
            call()


def test_a_link_in_place_of_the_worktree_is_not_followed(tree: Worktree, tmp_path: Path) -> None:
    shutil.rmtree(tree.path)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key").write_text("secret")
    tree.path.symlink_to(secrets)
    with pytest.raises(GitError, match="is gone"):
        tree.collect("x")
    tree.remove()
    assert (secrets / "key").exists()
    assert not tree.path.is_symlink()


def test_remove_takes_folder_registration_and_pushed_branch(tree: Worktree, mirror: Mirror) -> None:
    tree.remove()
    assert not tree.path.exists()
    assert registered(mirror) == []
    assert mirror.sha(f"refs/heads/{BRANCH}") is None
    assert not list(mirror.base.glob(".trash-*"))
    tree.remove()


def test_remove_leaves_a_branch_that_only_we_have(tree: Worktree, mirror: Mirror, start: str) -> None:
    (tree.path / "a.txt").write_text("1\n")
    head = tree.collect("x")
    tree.remove()
    assert mirror.sha(f"refs/heads/{BRANCH}") == head
    tree.create(start, BRANCH)
    assert mirror.sha(f"{SALVAGE}/issue-1/1") == head


def test_remove_leaves_a_branch_that_another_worktree_is_on(tree: Worktree, mirror: Mirror, start: str) -> None:
    other = Worktree(mirror, mirror.base / "issue-2")
    other.create(start, "feature/issue-2")
    run_git("symbolic-ref", "HEAD", f"refs/heads/{BRANCH}", cwd=other.path)
    tree.remove()
    assert other.head() == start


def test_remove_deletes_no_ref_but_a_branch(tree: Worktree, mirror: Mirror, start: str) -> None:
    (mirror.path / "worktrees" / tree.name / "HEAD").write_text("ref: refs/remotes/origin/main\n")
    tree.remove()
    assert mirror.sha("refs/remotes/origin/main") == start


def test_remove_deletes_folders_that_were_made_read_only(tree: Worktree) -> None:
    deep = tree.path / "sub" / "deep"
    deep.mkdir()
    (deep / "f").write_text("x")
    deep.chmod(0o000)
    (tree.path / "sub").chmod(0o500)
    tree.remove()
    assert not list(tree.mirror.base.glob("*issue-1*"))
