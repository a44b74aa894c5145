"""The mirror against a repository on the disk: fetch, push, merge, diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import Missing, Refused
from orchestrator.git.access import Access
from orchestrator.git.hunks import postable
from orchestrator.git.mirror import Mirror, Pushed, tracking
from tests.gitremote import BOT, Remote, mirror_of, run_git

MAIN = "refs/heads/main"
HERE = "refs/remotes/origin/main"
LINES = b"".join(b"line %d\n" % n for n in range(1, 21))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"a.txt": LINES})
    return remote


@pytest.fixture
def mirror(remote: Remote, tmp_path: Path) -> Mirror:
    return mirror_of(remote, tmp_path / "work")


def test_a_fetch_brings_branches_and_pull_requests_to_their_places(remote: Remote, mirror: Mirror) -> None:
    main = remote.commit({"b.txt": b"1\n"})
    head = remote.commit({"c.txt": b"2\n"}, ref="refs/pull/7/head", parent=main)
    mirror.fetch(MAIN, "refs/pull/7/head")
    assert mirror.sha(HERE) == main
    assert mirror.sha("refs/remotes/pull/7/head") == head
    assert mirror.sha(f"{head}^") == main
    assert mirror.sha(f"{head}^{{tree}}") == run_git("rev-parse", f"{head}^{{tree}}", cwd=remote.path)
    assert mirror.log(main, head) == ["Change c.txt"]


def test_a_forced_push_on_the_remote_is_followed(remote: Remote, mirror: Mirror) -> None:
    first = mirror.sha(HERE)
    second = remote.commit({"a.txt": b"other\n"}, parent=None, ref="refs/heads/fresh")
    run_git("update-ref", MAIN, second, cwd=remote.path)
    mirror.fetch(MAIN)
    assert mirror.sha(HERE) == second != first


def test_a_ref_that_is_gone_reads_as_none_and_the_others_are_fetched(remote: Remote, mirror: Mirror) -> None:
    mirror.fetch(MAIN)
    run_git("update-ref", "refs/heads/other", str(remote.sha(MAIN)), cwd=remote.path)
    run_git("update-ref", "-d", MAIN, cwd=remote.path)
    mirror.fetch(MAIN, "refs/heads/other", "refs/pull/9/head")
    assert mirror.sha(HERE) is None
    assert mirror.sha("refs/remotes/origin/other") == remote.sha("refs/heads/other")


def test_a_repository_without_commits_has_no_main(tmp_path: Path) -> None:
    mirror = mirror_of(Remote(tmp_path / "empty.git"), tmp_path / "work")
    assert mirror.sha(HERE) is None
    assert mirror.remote_sha(MAIN) is None


def test_remote_sha_reads_exactly_the_ref_that_was_asked_for(remote: Remote, mirror: Mirror) -> None:
    main = remote.sha(MAIN)
    remote.commit({"z": b"z"}, ref="refs/heads/x/refs/heads/main")
    assert mirror.remote_sha(MAIN) == main
    assert mirror.remote_sha("refs/heads/nope") is None


def test_no_repository_at_the_url_is_missing_and_leaves_nothing(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "work" / "mirror.git", Access(str(tmp_path / "nothing")), BOT)
    with pytest.raises(Missing, match="no repository"):
        mirror.ensure()
    assert not (tmp_path / "work").exists()


def test_ensure_finishes_a_half_made_mirror_and_deletes_left_over_trash(remote: Remote, tmp_path: Path) -> None:
    path = tmp_path / "work" / "mirror.git"
    (path / "refs").mkdir(parents=True)
    (path.parent / ".trash-issue-1-x" / "deep").mkdir(parents=True)
    mirror = mirror_of(remote, tmp_path / "work")
    assert mirror.sha(HERE) == remote.sha(MAIN)
    assert not (path.parent / ".trash-issue-1-x").exists()


@pytest.mark.parametrize(
    "name", ["--upload-pack=touch /tmp/x", "main", "refs/heads/a b", "refs/heads/a..b^{/x}", "HEAD"]
)
def test_A34_branch_name_as_option(mirror: Mirror, name: str) -> None:
    for call in (mirror.sha, mirror.remote_sha, mirror.fetch):
        with pytest.raises(ValueError, match="ref"):
            call(name)
    with pytest.raises(ValueError, match="ref"):
        mirror.merge(name, name)


def test_a_tag_is_no_ref_that_is_fetched() -> None:
    with pytest.raises(ValueError, match="not a ref that is fetched"):
        tracking("refs/tags/v1")


def test_a_new_branch_is_pushed_once_and_again_is_done(remote: Remote, mirror: Mirror) -> None:
    base = str(mirror.sha(HERE))
    tree = str(mirror.sha(f"{base}^{{tree}}"))
    work = mirror.commit_tree(tree, [base], "Work\n\nbody")
    assert mirror.push(work, "feature/issue-1", None) is Pushed.DONE
    assert remote.sha("refs/heads/feature/issue-1") == work
    assert mirror.sha("refs/remotes/origin/feature/issue-1") == work
    # After a crash between push and record (F07) the same push finds its own work.
    assert mirror.push(work, "feature/issue-1", None) is Pushed.DONE
    author = run_git("log", "-1", "--format=%an %ae %cn %s", work, cwd=remote.path)
    assert author == "The Bot bot@example.test The Bot Work"


def test_a_branch_that_somebody_else_moved_is_left_alone(remote: Remote, mirror: Mirror) -> None:
    base = str(mirror.sha(HERE))
    mine = mirror.commit_tree(str(mirror.sha(f"{base}^{{tree}}")), [base], "mine")
    theirs = remote.commit({"human.txt": b"mine\n"}, ref="refs/heads/b", parent=base)
    # The lease names what we saw; a background fetch does not make it forget (F38).
    mirror.fetch("refs/heads/b")
    assert mirror.push(mine, "b", None) is Pushed.REJECTED
    assert mirror.push(mine, "b", base) is Pushed.REJECTED
    assert remote.sha("refs/heads/b") == theirs
    assert mirror.push(mine, "b", theirs) is Pushed.DONE


def test_a_branch_that_somebody_deleted_is_not_made_again(remote: Remote, mirror: Mirror) -> None:
    base = str(mirror.sha(HERE))
    mine = mirror.commit_tree(str(mirror.sha(f"{base}^{{tree}}")), [base], "mine")
    assert mirror.push(mine, "gone", base) is Pushed.REJECTED
    assert remote.sha("refs/heads/gone") is None


def test_a_push_that_a_hook_forbids_is_refused_in_the_hooks_words(remote: Remote, mirror: Mirror) -> None:
    remote.hook("pre-receive", "echo 'error: GH013: Repository rule violations found' >&2; exit 1")
    with pytest.raises(Refused, match=r"(?s)`b` was refused: pre-receive hook declined.*GH013: Repository rule"):
        mirror.push(str(mirror.sha(HERE)), "b", None)
    assert mirror.sha("refs/remotes/origin/b") is None


def test_a_push_below_a_branch_of_the_same_name_is_refused(remote: Remote, mirror: Mirror) -> None:
    base = str(mirror.sha(HERE))
    run_git("update-ref", "refs/heads/feature", base, cwd=remote.path)
    with pytest.raises(Refused, match="cannot create"):
        mirror.push(base, "feature/issue-1", None)


def test_a_clean_merge_is_one_tree_and_touches_no_ref(remote: Remote, mirror: Mirror) -> None:
    base = str(remote.sha(MAIN))
    head = remote.commit({"new.txt": b"x\n"}, ref="refs/pull/1/head", parent=base)
    main = remote.commit({"a.txt": LINES + b"end\n"})
    mirror.fetch(MAIN, "refs/pull/1/head")
    before = run_git("for-each-ref", cwd=mirror.path)
    merged = mirror.merge(main, head)
    assert merged.conflicts == ()
    names = run_git("ls-tree", "--name-only", merged.tree, cwd=mirror.path).split()
    assert names == ["a.txt", "new.txt"]
    assert run_git("for-each-ref", cwd=mirror.path) == before


def test_a_conflict_names_its_paths(remote: Remote, mirror: Mirror) -> None:
    base = str(remote.sha(MAIN))
    files = {"a.txt": b"head\n", "ünï cödé.txt": b"1\n"}
    head = remote.commit(files, ref="refs/pull/1/head", parent=base)
    main = remote.commit({"a.txt": b"base\n", "ünï cödé.txt": b"2\n"})
    mirror.fetch(MAIN, "refs/pull/1/head")
    assert sorted(mirror.merge(main, head).conflicts) == ["a.txt", "ünï cödé.txt"]


def test_A56_a_union_attribute_does_not_settle_a_conflict(remote: Remote, mirror: Mirror) -> None:
    """With a work tree, `merge=union` in a pull request turns a conflict into both lines."""
    base = remote.commit({".gitattributes": b"* merge=union\n"})
    head = remote.commit(
        {"a.txt": b"head\n", ".gitattributes": b"* merge=union\n#\n"}, ref="refs/pull/1/head", parent=base
    )
    main = remote.commit({"a.txt": b"base\n"})
    mirror.fetch(MAIN, "refs/pull/1/head")
    # An agent beside us may plant attributes, and make a branch of the mirror's own unborn HEAD.
    (mirror.path / "info").mkdir(exist_ok=True)
    (mirror.path / "info" / "attributes").write_text("* merge=union\n")
    run_git("update-ref", "refs/heads/none", head, cwd=mirror.path)
    assert mirror.merge(main, head).conflicts == ("a.txt",)


def test_branches_without_common_history_are_refused(remote: Remote, mirror: Mirror) -> None:
    lone = remote.commit({"x": b"x"}, ref="refs/pull/1/head")
    mirror.fetch(MAIN, "refs/pull/1/head")
    for call in (mirror.merge, mirror.diff):
        with pytest.raises(Refused, match="no common history"):
            call(str(remote.sha(MAIN)), lone)


def test_a_diff_is_what_the_head_did_since_it_left_the_base(remote: Remote, mirror: Mirror) -> None:
    base = str(remote.sha(MAIN))
    head = remote.commit(
        {"a.txt": None, "moved.txt": LINES.replace(b"line 10\n", b"line ten\n"), "pic.bin": b"\0\1\2" * 50},
        ref="refs/pull/1/head",
        parent=base,
    )
    main = remote.commit({"unrelated.txt": b"1\n"})
    mirror.fetch(MAIN, "refs/pull/1/head")
    diff = mirror.diff(main, head)
    assert b"rename from a.txt" in diff
    assert b"unrelated" not in diff
    assert b"Binary files /dev/null and b/pic.bin differ" in diff
    assert postable(diff).lines == {"moved.txt": frozenset(range(7, 14))}


def test_A36_attributes_of_a_pull_request_hide_nothing_from_the_diff(remote: Remote, mirror: Mirror) -> None:
    """`* -diff` makes a diff with a work tree say "Binary files differ"."""
    base = remote.commit({".gitattributes": b"* -diff\n"})
    head = remote.commit({"evil.py": b"import os\n"}, ref="refs/pull/1/head", parent=base)
    mirror.fetch(MAIN, "refs/pull/1/head")
    (mirror.path / "info").mkdir(exist_ok=True)
    (mirror.path / "info" / "attributes").write_text("* -diff\n")
    assert b"+import os" in mirror.diff(base, head)


def test_a_submodule_that_moves_is_in_the_diff(remote: Remote, mirror: Mirror) -> None:
    base = str(remote.sha(MAIN))
    index = remote.path / "scratch-index"
    run_git("read-tree", base, cwd=remote.path, index=index)
    info = f"160000,{base},vendor"
    run_git("update-index", "--add", "--cacheinfo", info, cwd=remote.path, index=index)
    tree = run_git("write-tree", cwd=remote.path, index=index)
    head = run_git("commit-tree", "-p", base, "-m", "s", tree, cwd=remote.path)
    run_git("update-ref", "refs/pull/1/head", head, cwd=remote.path)
    mirror.fetch("refs/pull/1/head")
    assert f"+Subproject commit {base}".encode() in mirror.diff(base, head)


def test_a_diff_that_is_too_large_ends_after_a_whole_file(
    remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(remote.sha(MAIN))
    head = remote.commit({f"f{n}": b"x" * 79 + b"\n" for n in range(5)}, ref="refs/pull/1/head", parent=base)
    mirror.fetch("refs/pull/1/head")
    whole = mirror.diff(base, head)
    monkeypatch.setattr("orchestrator.git.mirror.LARGEST_DIFF", len(whole) // 2)
    cut = mirror.diff(base, head)
    assert whole.startswith(cut)
    assert cut.count(b"diff --git") == 2
    assert cut.endswith(b"\n")


def test_replacement_objects_do_not_change_what_the_daemon_reads(remote: Remote, mirror: Mirror) -> None:
    base = str(remote.sha(MAIN))
    head = remote.commit({"evil.py": b"import os\n"}, ref="refs/pull/1/head", parent=base)
    mirror.fetch("refs/pull/1/head")
    run_git("replace", head, base, cwd=mirror.path)
    assert b"+import os" in mirror.diff(base, head)


def test_has_path_knows_files_and_folders(remote: Remote, mirror: Mirror) -> None:
    sha = remote.commit({".github/workflows/ci.yml": b"x"})
    mirror.fetch(MAIN)
    assert mirror.has_path(sha, ".github/workflows")
    assert mirror.has_path(sha, ".github/workflows/")
    assert not mirror.has_path(sha, ".github/actions")
