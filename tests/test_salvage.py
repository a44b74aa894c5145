"""Work that was saved: what is kept with it, and what a person sees of it and gets back."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main
from orchestrator.git.mirror import Mirror
from orchestrator.git.salvage import ROOT, forget, keep, keep_tree, kept
from orchestrator.git.worktree import Worktree
from orchestrator.settings import Settings
from tests.gitremote import Remote, mirror_of, run_git

REPO = "octo/demo"


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The worktree base of an operator in an own folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("GITHUB_REPO", REPO)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "worktrees"


def house(base: Path, repo: str = REPO) -> Mirror:
    remote = Remote(base.parent / f"{repo.replace('/', '-')}.git")
    remote.commit({"a.txt": b"a\n", "bin": b"\0\1"})
    (base / repo).mkdir(parents=True)
    return mirror_of(remote, base / repo)


def work(mirror: Mirror, name: str = "issue-7") -> Worktree:
    """A worktree in which an agent committed once and left a new file."""
    tree = Worktree(mirror, mirror.base / name)
    tree.create(str(mirror.sha("refs/remotes/origin/main")), f"feature/{name}")
    (tree.path / "a.txt").write_text("changed\n")
    tree.collect(f"Change a for {name}")  # else the work of two worktrees in one second would be the same commit
    (tree.path / "new.txt").write_text("half a thought\n")
    return tree


def call(*words: str) -> Result:
    done = CliRunner().invoke(main, ["salvage", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_a_kept_commit_tells_when_and_why(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    sha = tree.save("issue-7", "somebody\nwanted it")
    [one] = kept(mirror)
    assert (one.name, one.number, one.commit, one.why) == ("issue-7", 1, sha, "somebody wanted it")
    assert one.ref == f"{ROOT}/issue-7/1"
    assert abs(one.at - time.time()) < 60
    assert mirror.sha(one.ref) == sha
    assert run_git("cat-file", "-t", one.ref, cwd=mirror.path) == "tag"


def test_the_same_work_is_kept_once_also_beside_that_of_an_older_version(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    first = tree.save("issue-7")
    assert first is not None
    [one] = kept(mirror)
    for _ in range(2):
        assert tree.save("issue-7", "again") == first
        assert keep_tree(mirror, "issue-7", one.tree, one.parents[0]) == first
        assert keep(mirror, "issue-7", first) == first
        assert [o.number for o in kept(mirror)] == [1]
        run_git("update-ref", one.ref, first, cwd=mirror.path)  # as it was before there were tags
    [old] = kept(mirror)
    assert (old.commit, old.tree, old.why, old.target) == (first, one.tree, "", first)
    (tree.path / "new.txt").write_text("more\n")
    assert tree.save("issue-7") != first
    assert [o.number for o in kept(mirror)] == [1, 2]


def test_what_is_forgotten_is_gone_and_what_moved_meanwhile_stays(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    tree.save("issue-7")
    [one] = kept(mirror)
    other = run_git("rev-parse", "refs/remotes/origin/main", cwd=mirror.path)
    run_git("update-ref", one.ref, other, cwd=mirror.path)
    with pytest.raises(Exception, match="cannot lock ref"):
        forget(mirror, one)
    assert mirror.sha(one.ref) == other
    forget(mirror, kept(mirror)[0])
    assert kept(mirror) == []


def test_refs_that_an_agent_made_there_are_no_saved_work(base: Path) -> None:
    mirror = house(base)
    main_ = str(mirror.sha("refs/remotes/origin/main"))
    for name in ("issue-7/x", "issue-7/deep/1", "oddé/1"):
        run_git("update-ref", f"{ROOT}/{name}", main_, cwd=mirror.path)
    assert kept(mirror) == []
    assert work(mirror).save("issue-7") is not None
    assert [o.number for o in kept(mirror, "issue-7")] == [1]


def test_list_tells_what_when_of_which_item_and_why(base: Path) -> None:
    mirror = house(base)
    sha = work(mirror).save("issue-7", "its item was over")
    work(mirror, "merge-8").save("merge-8")
    (base / REPO / "issue-9.kept-1").mkdir()
    heading, *lines = call("list").stdout.splitlines()
    assert heading.split() == ["what", "saved", "of", "commit", "files", "because"]
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) == {"issue-7/1", "merge-8/1", "issue-9.kept-1"}
    assert rows["issue-7/1"].split()[3:6] == ["octo/demo#7", str(sha)[:10], "2"]
    assert rows["issue-7/1"].endswith("its item was over")
    assert rows["issue-9.kept-1"].endswith(str(base / REPO / "issue-9.kept-1"))
    for item in ("8", "#8", "octo/demo#8", "OCTO/demo#8"):
        assert [line.split()[0] for line in call("list", item).stdout.splitlines()[1:]] == ["merge-8/1"]
    assert call("list", "77").stdout == "No work had to be saved.\n"


def test_where_nothing_was_ever_saved_this_is_said_and_nothing_is_made(base: Path) -> None:
    done = call("list")
    assert (done.exit_code, done.stdout) == (0, "No work had to be saved.\n")
    assert not base.exists()


def test_show_tells_the_commits_and_changes_and_both_ways_back(base: Path, tmp_path: Path) -> None:
    mirror = house(base)
    work(mirror).save("issue-7", "its item was over")
    said = call("show", "issue-7/1").stdout
    assert "because its item was over" in said
    assert "2 files differ" in said
    assert said.index("Change a") < said.index("Files that were left") < said.index("+half a thought")
    [command] = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("as a branch")]
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", str(mirror.access.url), str(checkout)], check=True)
    ran = subprocess.run(command.replace("NAME", "mine"), shell=True, cwd=checkout, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert (checkout / "new.txt").read_text() == "half a thought\n"
    assert run_git("branch", "--show-current", cwd=checkout) == "mine"


def test_what_the_remote_has_by_now_is_still_shown(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    sha = str(tree.save("issue-7"))
    mirror.push(sha, "feature/issue-7", None)
    assert "+half a thought" in call("show", "issue-7/1").stdout


def test_what_an_agent_left_cannot_drive_the_terminal(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    (tree.path / "new.txt").write_text("\x1b[2Jgone\x9b\n")
    tree.save("issue-7")
    said = call("show", "issue-7/1").stdout
    assert "\\x1b[2Jgone\\x9b" in said
    assert "\x1b" not in said


def test_restore_writes_the_files_into_a_new_folder_and_touches_nothing_else(base: Path, tmp_path: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    (tree.path / "tool").write_text("#!/bin/sh\n")
    (tree.path / "tool").chmod(0o755)
    (tree.path / "link").symlink_to("a.txt")
    tree.save("issue-7")
    before = (run_git("for-each-ref", cwd=mirror.path), (mirror.path / "config").stat(), sorted(mirror.path.iterdir()))
    done = call("restore", "issue-7/1", "--to", "back")
    assert (done.exit_code, done.stdout) == (0, f"issue-7/1: its files are in {tmp_path / 'back'}.\n")
    back = tmp_path / "back"
    assert sorted(p.name for p in back.iterdir()) == ["a.txt", "bin", "link", "new.txt", "tool"]
    assert (back / "a.txt").read_text() == "changed\n"
    assert (back / "bin").read_bytes() == b"\0\1"
    assert (back / "link").readlink() == Path("a.txt")
    assert (back / "tool").stat().st_mode & 0o111
    after = (run_git("for-each-ref", cwd=mirror.path), (mirror.path / "config").stat(), sorted(mirror.path.iterdir()))
    assert after == before


def test_a_daemon_that_works_in_the_mirror_is_not_waited_for(base: Path) -> None:
    mirror = house(base)
    work(mirror).save("issue-7")
    with mirror.lock, ThreadPoolExecutor(1) as pool:
        for words in (["list"], ["show", "issue-7/1"], ["restore", "issue-7/1", "--to", "back"]):
            assert pool.submit(call, *words).result(30).exit_code == 0


def test_a_program_that_an_agent_planted_in_the_mirror_is_not_run(base: Path, tmp_path: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    (tree.path / ".gitattributes").write_text("* filter=evil\n")
    tree.save("issue-7")
    with (mirror.path / "config").open("a") as config:
        config.write(f'[filter "evil"]\n\tsmudge = touch {tmp_path}/ran; cat\n[log]\n\tshowSignature = true\n')
    assert call("show", "issue-7/1").exit_code == 0
    assert call("restore", "issue-7/1", "--to", "back").exit_code == 0
    assert not (tmp_path / "ran").exists()


BAD = [
    (["list", "seven"], "'seven' names no item; write its number, or owner/repo#number."),
    (["show", "issue-9/1"], "There is no saved work 'issue-9/1'. Newest: octo/demo/issue-7/1"),
    (["restore", "issue-9/1", "--to", "back"], "There is no saved work 'issue-9/1'."),
    (["restore", "issue-7/1", "--to", "mine"], "mine exists and was left alone"),
    (["restore", "issue-7/1", "--to", "letter"], "letter exists and was left alone"),
    (["restore", "issue-7/1", "--to", "letter/x"], "cannot be made: Not a directory."),
    (["restore", "issue-7/1", "--to", "no/where"], "cannot be made: No such file or directory."),
    (["restore", "issue-7/1"], "Missing option '--to'"),
    (["restore", "issue-7.kept-1", "--to", "back"], "is a folder already; copy it with `cp -a "),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_a_sentence_and_exits_with_2(base: Path, tmp_path: Path, words: list[str], said: str) -> None:
    mirror = house(base)
    work(mirror).save("issue-7")
    (base / REPO / "issue-7.kept-1").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "letter").write_text("dear")
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert (tmp_path / "letter").read_text() == "dear"
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "back").exists()


def test_a_mirror_that_git_cannot_read_exits_with_3_and_a_restore_leaves_no_half(base: Path, tmp_path: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    before = set((mirror.path / "objects/pack").glob("*.pack"))
    tree.save("issue-7")
    for pack in set((mirror.path / "objects/pack").glob("*.pack")) - before:
        pack.unlink()
    done = call("restore", "issue-7/1", "--to", "back")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith("issue-7/1 cannot be restored: The mirror ")
    assert not (tmp_path / "back").exists()
    (mirror.path / "HEAD").write_text("nonsense\n")
    done = call("list")
    assert (done.exit_code, done.stdout) == (3, "")
    assert f"{base / REPO} cannot be read: git for-each-ref" in done.stderr


def test_several_repositories_are_told_apart(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPO", "octo/demo,acme/tool,acme/never-polled")
    for repo in ("octo/demo", "acme/tool"):
        work(house(base, repo)).save("issue-7")
    assert {line.split()[0] for line in call("list").stdout.splitlines()[1:]} == {
        "octo/demo/issue-7/1",
        "acme/tool/issue-7/1",
    }
    assert len(call("list", "acme/tool#7").stdout.splitlines()) == 2
    done = call("show", "issue-7/1")
    assert done.exit_code == 2
    assert "is in several repositories; write one of: " in done.stderr
    assert call("show", "acme/tool/issue-7/1").stdout.startswith("issue-7/1 of acme/tool")


def test_a_folder_that_was_set_aside_is_shown_and_leads_to_no_worktree(base: Path) -> None:
    mirror = house(base)
    tree = work(mirror)
    nested = tree.path / "nested"
    nested.mkdir()
    run_git("init", "--quiet", cwd=nested)
    tree.create(tree.head(), None)
    aside = base / REPO / "issue-7.kept-1"
    assert sorted(p.name for p in aside.iterdir()) == [".git", "a.txt", "bin", "nested", "new.txt"]
    assert call("show", "issue-7.kept-1").stdout.endswith(f": a folder that git could not read.\n{aside}\n")
    said = run_git("status", "--porcelain", cwd=aside)  # in a clone of its own
    assert "?? nested/" in said
    assert run_git("status", "--porcelain", cwd=tree.path) == ""
