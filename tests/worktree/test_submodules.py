"""A worktree holds the files of submodules, as a clone with all of them does, and says which cannot be had."""

from __future__ import annotations

import random
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import Stop
from orchestrator.errors import Refused, Retry
from orchestrator.git import checkout, mirror
from orchestrator.git.access import Access
from orchestrator.git.checkout import Terms
from orchestrator.git.mirror import Mirror
from orchestrator.git.modules import folder as modules_folder
from orchestrator.git.modules import module
from orchestrator.git.run import GitError, Result, git
from orchestrator.git.salvage import kept
from orchestrator.git.worktree import Worktree
from orchestrator.process import Cause, Limits, run
from orchestrator.sandbox import OPEN, Sandbox, Walls
from tests.gitremote import BOT, LINK, Remote, run_git
from tests.sizes import seeds
from tests.submodule_graph import Link, cloned, commit, gitmodules, snapshot
from tests.worktree.looking import BRANCH, content_of

MAIN = "refs/heads/main"


class Project:
    """`app` with the submodule `lib`, which has `deep` for one, on local paths; the worktree of one issue."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        """The remotes are in the folder, as `remotes` made them."""
        self.folder = folder
        self.app, self.lib, self.deep = (Remote(folder / f"{name}.git") for name in ("app", "lib", "deep"))
        self.start, self.lib_sha, self.deep_sha = (str(x.sha(MAIN)) for x in (self.app, self.lib, self.deep))
        self.lib_first = str(self.lib.sha("refs/heads/first"))
        self.link = Link("lib", "../lib.git", self.lib_sha)
        self.sandbox = sandbox
        self.mirror = self.mirror_of(True)
        self.tree = Worktree(self.mirror, self.mirror.base / "issue-1")

    def mirror_of(self, submodules: bool) -> Mirror:
        """As a daemon has it that was just started."""
        path, access = self.folder / "work" / "mirror.git", Access(str(self.app.path))
        mirror = Mirror(path, access, BOT, sandbox=self.sandbox, default="main", submodules=submodules)
        mirror.make()
        return mirror

    def create(self, sha: str = "", terms: Terms = checkout.OURS) -> list[tuple[str, str]]:
        """Make the worktree; the folders that stayed empty, and why."""
        self.mirror.fetch()
        lacking = self.tree.create(sha or str(self.app.sha("refs/heads/main")), BRANCH, "main", terms)
        return [(one.path, one.why) for one in lacking]

    def take(self, sha: str) -> None:
        """Let the mirror have the commit as older versions let it in, without git's own look for the worst."""
        run_git("-c", "fetch.fsckObjects=false", "fetch", "-q", str(self.app.path), sha, cwd=self.mirror.path)

    @property
    def lib_mirror(self) -> Mirror:
        return module(self.mirror, str(self.lib.path))

    def shell(self, command: str) -> tuple[int, str]:
        """Run a command in the worktree as the daemon runs the operator's; exit code and output."""
        output = self.folder / "output"
        ended = run(
            ("sh", "-c", command),
            cwd=self.tree.path,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"},
            run_id=str(uuid.uuid4()),  # all that has it ends with the command
            output=output,
            errors=None,
            limits=Limits(total=60),
            stop=Stop(),
            sandbox=self.sandbox,
            walls=Walls((self.tree.path,), self.tree.borrows),
        )
        assert ended.cause is Cause.EXITED
        return ended.code, output.read_text()

    def sh(self, command: str) -> str:
        """The same for one that passes."""
        code, said = self.shell(command)
        assert code == 0, said
        return said


def changed(mirror: Mirror, before: str, after: str) -> str:
    """The paths that differ between two commits, submodules included."""
    return mirror.call("diff-tree", "-r", "--name-only", "--ignore-submodules=none", before, after).text


@pytest.fixture(scope="module")
def remotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The remotes of a project, copied for each test; their addresses are relative."""
    folder = tmp_path_factory.mktemp("remotes")
    app, lib, deep = (Remote(folder / f"{name}.git") for name in ("app", "lib", "deep"))
    lib.commit({"l.txt": b"old\n"}, "refs/heads/first")
    lib.commit({"l.txt": b"lib\n"}, MAIN, parent=lib.sha("refs/heads/first"))
    commit(lib, [Link("inner/deep", "../deep.git", deep.commit({"d.txt": b"deep\n"}))])
    commit(app, [Link("lib", "../lib.git", str(lib.sha(MAIN)))], {"README.md": b"hello\n"})
    return folder


@pytest.fixture
def project(remotes: Path, tmp_path: Path, sandbox: Sandbox) -> Project:
    shutil.copytree(remotes, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, sandbox)


@pytest.fixture
def plain(remotes: Path, tmp_path: Path) -> Project:
    """For what walls have no part in."""
    shutil.copytree(remotes, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, OPEN)


def test_case_03_a_worktree_has_what_a_clone_with_submodules_has(plain: Project, tmp_path: Path) -> None:
    assert plain.create() == []
    there = snapshot(plain.tree.path)
    assert there == cloned(plain.app, tmp_path / "clone", plain.start)
    assert "lib/inner/deep/d.txt" in there
    status = plain.sh("git submodule status --recursive; git status --porcelain; git -C lib status --porcelain")
    assert [line.split()[:2] for line in status.splitlines()] == [
        [plain.lib_sha, "lib"],
        [plain.deep_sha, "lib/inner/deep"],
    ]


def test_case_03_git_works_in_submodules_behind_the_walls_and_without_a_network(project: Project) -> None:
    project.create()
    project.sh("git submodule update --init --recursive")
    assert project.sh("git -C lib log --format=%s").split("\n")[0] == "With submodules"
    project.sh("git -C lib/inner/deep show HEAD:d.txt | grep -q deep")
    project.sh("git submodule foreach --recursive 'git fsck --connectivity-only' && git submodule sync --recursive")
    project.sh("git submodule deinit -f lib && test ! -e lib/l.txt && git submodule update --init --recursive")
    assert project.sh("cat lib/inner/deep/d.txt") == "deep\n"
    project.sh("git rm -q lib && git diff --cached --quiet -- README.md")


def test_case_03_an_edit_beside_submodules_is_all_that_a_pull_request_holds(project: Project) -> None:
    project.create()
    project.sh("git submodule update --init")
    project.tree.work_begins()
    project.sh("echo more >> README.md")
    made = project.tree.collect("x")
    assert changed(project.mirror, project.start, made.head) == "README.md"
    assert (made.inside, made.kept) == ((), False)
    assert project.tree.modified()[0] == ["README.md"]


def test_case_03_one_that_a_command_brought_itself_is_no_foreign_repository(plain: Project) -> None:
    plain.mirror = plain.mirror_of(submodules=False)
    plain.tree = Worktree(plain.mirror, plain.tree.path)
    assert plain.create() == []
    assert not any((plain.tree.path / "lib").iterdir())
    allowed = ("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init", "--recursive")
    run_git(*allowed, cwd=plain.tree.path)
    assert (plain.tree.path / "lib/inner/deep/d.txt").exists()
    plain.tree.work_begins()
    (plain.tree.path / "README.md").write_text("new\n")
    made = plain.tree.collect("x")
    assert changed(plain.mirror, plain.start, made.head) == "README.md"


def test_off_is_a_plain_clone_and_asks_for_nothing(plain: Project) -> None:
    plain.mirror = plain.mirror_of(submodules=False)
    plain.tree = Worktree(plain.mirror, plain.tree.path)
    assert plain.create() == []
    assert list((plain.tree.path / "lib").iterdir()) == []
    assert not modules_folder(plain.mirror).exists()


def test_a_repository_without_submodules_costs_no_process(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = plain.app.commit({".gitmodules": None, "lib": None, "x": b"1"})
    asked: list[str] = []

    def counted(word: str, *words: str, **more: Any) -> Result:
        asked.append(word)
        return git(word, *words, **more)

    monkeypatch.setattr(mirror, "git", counted)
    costs = []
    for number, submodules in enumerate((False, True)):
        tree = Worktree(plain.mirror_of(submodules), plain.mirror.base / f"issue-{number}")
        asked.clear()
        tree.mirror.fetch()
        tree.create(sha, BRANCH)
        tree.work_begins()
        (tree.path / "x").write_text(f"issue {number}\n")
        tree.collect("x")
        tree.modified()
        tree.remove()
        costs.append(list(asked))
    assert "fetch" in costs[0]
    assert costs[0] == costs[1]


def test_what_is_there_is_not_fetched_again(plain: Project) -> None:
    plain.create()
    for remote in (plain.lib, plain.deep):
        remote.path.rename(remote.path.with_suffix(".away"))
    plain.mirror = plain.mirror_of(True)
    plain.tree = Worktree(plain.mirror, plain.mirror.base / "issue-2")
    assert plain.create() == []
    assert (plain.tree.path / "lib/inner/deep/d.txt").exists()


# -- what cannot be had


def test_one_that_is_gone_leaves_its_folder_empty_and_says_so(plain: Project) -> None:
    gone = Link("gone", "../gone.git", "1" * 40)
    commit(plain.app, [plain.link, gone])
    [(path, why)] = plain.create()
    assert path == "gone"
    assert (
        why == "there is no repository that anybody may see; let the daemon's account read it, or correct the address"
    )
    assert list((plain.tree.path / "gone").iterdir()) == []
    assert (plain.tree.path / "lib/l.txt").exists()
    (plain.tree.path / "README.md").write_text("new\n")
    plain.tree.collect("x")


def test_a_commit_that_nobody_has_is_named(plain: Project) -> None:
    commit(plain.app, [Link("lib", "../lib.git", "2" * 40)])
    assert plain.create() == [("lib", "commit 2222222222 is not there; push it there")]


def test_a_commit_on_no_branch_is_asked_for_by_its_name(plain: Project) -> None:
    lost = plain.lib.commit({"l.txt": b"lost\n"}, "refs/heads/topic")
    run_git("update-ref", "-d", "refs/heads/topic", cwd=plain.lib.path)
    run_git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=plain.lib.path)
    commit(plain.app, [Link("lib", "../lib.git", lost)])
    assert plain.create() == []
    assert (plain.tree.path / "lib/l.txt").read_bytes() == b"lost\n"
    assert plain.tree.collect("x").kept is False


def test_history_that_git_refuses_leaves_its_folder_empty_and_says_why(plain: Project) -> None:
    bad = commit(plain.lib, [Link("x", "-u./payload", plain.deep_sha)])
    commit(plain.app, [Link("lib", "../lib.git", bad)])
    [(path, why)] = plain.create()
    assert path == "lib"
    assert "holds object" in why
    assert "`gitmodulesUrl`" in why


def test_a_full_disk_is_no_trouble_of_the_submodule(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Mirror) -> None:
        raise GitError(["fetch"], 128, b"fatal: write error: No space left on device")

    monkeypatch.setattr(checkout, "refresh", full)
    with pytest.raises(GitError, match="No space left"):
        plain.create()


OUT_OF_REACH = Link("far", "https://127.0.0.1:9/acme/far.git", "1" * 40)


def test_a_host_out_of_reach_is_waited_for_and_then_left(plain: Project) -> None:
    commit(plain.app, [plain.link, OUT_OF_REACH, Link("farther", f"{OUT_OF_REACH.url}/2", "1" * 40)])
    with pytest.raises(Retry, match="could not be reached"):
        plain.create()
    [(path, why), again] = plain.create(terms=Terms(patient=False))
    assert path == "far"
    assert why.startswith("it was tried several times (The git host of https://127.0.0.1:9/acme/far.git")
    assert again == ("farther", "its host does not answer; try again when it does")
    assert (plain.tree.path / "lib/l.txt").exists()


def test_a_gitlink_that_nothing_declares_is_an_empty_folder(plain: Project) -> None:
    commit(plain.app, [Link("lib", "../lib.git", plain.lib_sha)], told=b"# nothing\n")
    assert plain.create() == []
    assert list((plain.tree.path / "lib").iterdir()) == []


def test_update_none_is_an_empty_folder(plain: Project) -> None:
    commit(plain.app, [plain.link], told=gitmodules([plain.link]) + b"\tupdate = none\n")
    assert plain.create() == []
    assert list((plain.tree.path / "lib").iterdir()) == []


# -- strangers' bytes

HOSTILE_URLS = [
    "ext::sh -c touch% /tmp/ran",
    "-u./payload",
    "--upload-pack=touch /tmp/ran",
    "http://169.254.169.254/latest",
    "https://exa mple/x\x01",
    "ssh://-oProxyCommand=touch/x",
    "git@elsewhere.test:acme/lib.git",
    "git://elsewhere.test/acme/lib.git",
    "ftp://elsewhere.test/lib.git",
    "https://[bad/x",
    "https://host:port/x",
    "../../../../../../../../../../../../../../../../../../x",
    "lib",
    "C:\\lib",
    "",
]


def test_addresses_that_are_not_fetched_are_said_and_run_nothing(
    plain: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "".join(
        f'[submodule "m{number}"]\n\tpath = m{number}\n\turl = "{url}"\n'.replace("\\", "\\\\")
        for number, url in enumerate(HOSTILE_URLS)
    )
    paths = [f"m{number}" for number in range(len(HOSTILE_URLS))]
    links = [Link(path, "", plain.lib_sha) for path in paths]
    sha = commit(plain.app, links, ref="refs/heads/odd", told=told.encode())
    plain.take(sha)
    monkeypatch.setattr(checkout, "refresh", lambda _: pytest.fail("the network was asked"))
    lacking = plain.tree.create(sha, BRANCH)
    assert sorted(one.path for one in lacking) == sorted(paths)
    assert all(";" in one.why for one in lacking)
    assert not any(any((plain.tree.path / path).iterdir()) for path in paths)


GIT_FILES = ["HEAD", "ORIG_HEAD", "config", "index", "info", "logs", "objects", "packed-refs", "refs"]
ASTRAY = ["../../x", "..", "a/../../hooks", "a//b", ".", "x" * 300, "a\x01b", "lib/"]


def test_names_that_would_lead_git_astray_are_not_taken(plain: Project) -> None:
    """CVE-2018-11235."""
    links = [Link(f"m{number}", "../lib.git", plain.lib_sha, name) for number, name in enumerate(ASTRAY)]
    sha = commit(plain.app, links, ref="refs/heads/odd")
    plain.take(sha)
    assert [one.path for one in plain.tree.create(sha, BRANCH)] == [one.path for one in links]
    assert not any(any((plain.tree.path / one.path).iterdir()) for one in links)
    assert not modules_folder(plain.mirror).exists()
    assert sorted(path.name for path in (plain.tree.path / ".git").iterdir()) == GIT_FILES


def test_of_names_that_lie_in_one_another_the_first_is_taken(plain: Project) -> None:
    pairs = [("a", "a/b"), ("c/d", "c"), ("Same", "same"), ("e", "e/modules/x")]
    links = [
        Link(f"{number}/{place}", "../deep.git", plain.deep_sha, name)
        for number, pair in enumerate(pairs)
        for place, name in zip(("one", "two"), pair, strict=True)
    ]
    commit(plain.app, links)
    assert [path for path, _ in plain.create() if path != "lib"] == [f"{number}/two" for number in range(len(pairs))]
    assert all((plain.tree.path / f"{number}/one/d.txt").exists() for number in range(len(pairs)))


def test_the_same_name_twice_is_read_as_git_reads_it(plain: Project, tmp_path: Path) -> None:
    told = gitmodules([Link("other", "../nowhere.git", "", "lib"), plain.link])
    sha = commit(plain.app, [plain.link], told=told)
    assert plain.create() == []
    assert snapshot(plain.tree.path) == cloned(plain.app, tmp_path / "clone", sha)


def test_gitmodules_that_nobody_can_read_declares_nothing(plain: Project) -> None:
    for content in (b"[submodule\n\x00", b"\xff\xfe[", b'[submodule "lib"]\n\tpath\n\turl\n', b""):
        sha = commit(plain.app, [plain.link], ref="refs/heads/odd", told=content)
        plain.take(sha)
        assert plain.tree.create(sha, BRANCH) == ()
        assert list((plain.tree.path / "lib").iterdir()) == []


def test_nothing_is_written_through_a_link(plain: Project, tmp_path: Path) -> None:
    """CVE-2024-32002, as a file system that does not tell `A` from `a` shows it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    commit(plain.app, [Link("a/lib", "../lib.git", plain.lib_sha)])
    call = Mirror.call

    def planted(self: Mirror, *words: str, **more: object) -> object:
        done = call(self, *words, **more)  # type: ignore[arg-type]
        if words[0] == "reset" and (plain.tree.path / "a/lib").is_dir():
            shutil.rmtree(plain.tree.path / "a")
            (outside / "lib").mkdir(exist_ok=True)
            (plain.tree.path / "a").symlink_to(outside)
        return done

    plain.mirror.fetch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mirror, "call", planted)
        [(path, why)] = plain.create()
    assert path == "a/lib"
    assert why.startswith("a link leads to its folder")
    assert list((outside / "lib").iterdir()) == []


def test_a_repository_that_has_itself_for_a_submodule_ends(plain: Project, tmp_path: Path) -> None:
    within = commit(plain.app, [Link("me", "../app.git", plain.start)])
    sha = commit(plain.app, [Link("me", "./../app.git", within)])
    assert plain.create() == []
    assert (plain.tree.path / "me/me/lib/inner/deep/d.txt").exists()
    assert snapshot(plain.tree.path) == cloned(plain.app, tmp_path / "clone", sha)


def test_deep_and_many_ones_are_bounded(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "DEEPEST", 1)
    too_deep = "it lies more than 1 submodules deep; let a set-up command bring it"
    assert plain.create() == [("lib/inner/deep", too_deep)]
    monkeypatch.setattr(checkout, "MOST", 2)
    commit(plain.app, [Link(f"m{number}", "../deep.git", plain.deep_sha) for number in range(4)])
    assert [path for path, _ in plain.create()] == ["m2", "m3"]
    links = [Link("lib", "../lib.git", plain.lib_sha), Link("too", "../lib.git", plain.lib_sha)]
    monkeypatch.setattr(checkout, "DEEPEST", 10)
    commit(plain.app, links, {f"m{number}": None for number in range(4)})
    assert [path for path, _ in plain.create()] == ["lib/inner/deep", "too/inner/deep"]


def test_the_files_of_a_stranger_lead_to_no_address_that_the_base_has_not(plain: Project, tmp_path: Path) -> None:
    other = Remote(tmp_path / "other.git")
    links = [plain.link, Link("new", "../other.git", other.commit({"o.txt": b"other\n"}))]
    head = commit(plain.app, links, ref="refs/heads/topic")
    plain.mirror.fetch()
    terms = Terms(stranger_to=plain.start)
    assert [path for path, _ in plain.create(head, terms)] == ["new"]
    assert (plain.tree.path / "lib/inner/deep/d.txt").exists()
    assert plain.create(head) == []


def test_the_files_of_a_stranger_get_only_commits_of_a_branch(plain: Project) -> None:
    """A host gives commits of forks by their names too, and those declare what they like."""
    lost = plain.lib.commit({"l.txt": b"of a fork\n"}, "refs/heads/topic")
    run_git("update-ref", "-d", "refs/heads/topic", cwd=plain.lib.path)
    head = commit(plain.app, [Link("lib", "../lib.git", lost)], ref="refs/heads/topic")
    plain.mirror.fetch()
    for _ in range(2):  # also when it is there by then, for somebody who may
        [(path, why)] = plain.create(head, Terms(stranger_to=plain.start))
        assert (path, why) == ("lib", f"commit {lost[:10]} is on none of its branches or tags; push it there")
        plain.create(head)


def test_links_of_a_stranger_lead_out_of_no_submodule(plain: Project) -> None:
    files = {"out": b"../../../secret", "up": b"..", "in": b"l.txt"}
    sha = plain.lib.commit(files, modes=dict.fromkeys(files, LINK))
    outer = {"through": b"lib/up/../../secret", "fine": b"README.md"}
    first = plain.app.commit(outer, modes=dict.fromkeys(outer, LINK))
    head = commit(plain.app, [Link("lib", "../lib.git", sha)])
    assert first
    plain.mirror.fetch()
    plain.create(head, Terms(stranger_to=head, links_out=False))
    there = plain.tree.path
    links = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_symlink())
    assert links == ["fine", "lib/in"]
    assert (there / "lib/out").read_text() == "../../../secret"


# -- moved, edited, left


def test_a_move_to_a_commit_of_the_remote_enters_the_commit(plain: Project) -> None:
    plain.create()
    plain.sh(f"git -C lib checkout -q {plain.lib_first}")
    made = plain.tree.collect("x")
    assert plain.mirror.sha(f"{made.head}^") == plain.start
    assert plain.lib_first in plain.mirror.call("ls-tree", made.head, "lib").text
    assert plain.tree.modified()[0][0] == "lib"


def test_a_move_that_the_agent_committed_to_what_was_pushed_meanwhile_enters_it_too(plain: Project) -> None:
    plain.create()
    newer = plain.lib.commit({"l.txt": b"newer\n"})
    plain.sh(f"git update-index --cacheinfo 160000,{newer},lib && git commit -qm moved")
    made = plain.tree.collect("x")
    assert newer in plain.mirror.call("ls-tree", made.head, "lib").text


def test_a_move_to_what_nobody_can_fetch_is_refused_and_saved(plain: Project) -> None:
    plain.create()
    plain.sh("cd lib && echo mine > l.txt && git commit -qam mine && cd .. && git add lib && git commit -qm outer")
    [sha] = plain.sh("git -C lib rev-parse HEAD").split()
    with pytest.raises(Refused, match=rf"`lib` was moved to commit {sha[:10]}, which is not on a branch or tag of "):
        plain.tree.collect("x")
    plain.create()
    [saved] = kept(plain.lib_mirror)
    assert saved.commit == sha
    assert saved.name.endswith(".issue-1")
    assert content_of(plain.lib_mirror, saved.commit, "l.txt") == b"mine\n"


def test_without_the_setting_a_move_is_refused(plain: Project) -> None:
    plain.create()
    plain.sh(f"git update-index --cacheinfo 160000,{plain.lib_first},lib && git commit -qm moved")
    again = Worktree(plain.mirror_of(submodules=False), plain.tree.path)
    with pytest.raises(Refused, match="SUBMODULES is off"):
        again.collect("x")


def test_what_set_up_commands_moved_stays_where_it_was(plain: Project) -> None:
    plain.create()
    plain.sh(f"git -C lib checkout -q {plain.lib_first}")
    plain.tree.work_begins()
    plain.sh("echo more >> README.md")
    made = plain.tree.collect("x")
    assert plain.lib_sha in plain.mirror.call("ls-tree", made.head, "lib").text
    plain.sh("echo again >> README.md && git commit -qam 'with the move'")
    made = plain.tree.collect("x")
    assert plain.lib_sha in plain.mirror.call("ls-tree", made.head, "lib").text
    assert content_of(plain.mirror, made.head, "README.md") == b"hello\nmore\nagain\n"


def test_edits_inside_are_named_and_saved(plain: Project) -> None:
    plain.create()
    plain.tree.work_begins()
    plain.sh("echo edit >> lib/l.txt; echo new > lib/inner/deep/n.txt; echo more >> README.md")
    made = plain.tree.collect("x")
    assert made.inside == ("lib/l.txt", "lib/inner/deep/n.txt")
    assert made.kept
    assert changed(plain.mirror, plain.start, made.head) == "README.md"
    [saved] = kept(plain.lib_mirror)
    assert content_of(plain.lib_mirror, saved.commit, "l.txt") == b"lib\nedit\n"
    deep = module(plain.mirror, str(plain.deep.path))
    [saved] = kept(deep)
    assert content_of(deep, saved.commit, "n.txt") == b"new\n"
    assert "lib/l.txt" in plain.tree.modified()[0]


def test_what_set_up_commands_left_inside_is_nobodys_edit(plain: Project) -> None:
    plain.create()
    plain.sh("echo built > lib/out.o; echo lock >> lib/l.txt")
    plain.tree.work_begins()
    plain.sh("echo more >> README.md")
    made = plain.tree.collect("x")
    assert (made.inside, made.kept) == ((), False)


def test_a_submodule_that_is_taken_away_is_a_change(plain: Project) -> None:
    plain.create()
    plain.sh("git rm -q lib")
    made = plain.tree.collect("x")
    assert plain.mirror.call("ls-tree", "--name-only", made.head).text.split() == [".gitmodules", "README.md"]


def test_A38_a_submodule_that_the_agent_added_is_refused(plain: Project) -> None:
    plain.create()
    plain.sh("git clone -q -s lib other && git add other && git commit -qm other")
    with pytest.raises(Refused, match="`other` is a git repository"):
        plain.tree.collect("x")


def test_a_stash_in_a_submodule_is_saved(plain: Project) -> None:
    plain.create()
    plain.sh("cd lib && echo stashed > l.txt && git stash -q")
    made = plain.tree.collect("x")
    assert (made.head, made.inside, made.kept) == (plain.start, (), True)
    assert len(kept(plain.lib_mirror)) == 1


def test_A55_the_config_of_a_submodule_runs_nothing(project: Project, tmp_path: Path) -> None:
    project.create()
    witness, script = tmp_path / "ran", tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {witness}\ncat\n")
    script.chmod(0o755)
    for key in ("filter.evil.clean", "core.fsmonitor", "diff.external"):
        run_git("config", key, str(script), cwd=project.tree.path / "lib")
    witness.unlink(missing_ok=True)
    (project.tree.path / "lib/.gitattributes").write_text("* filter=evil\n")
    (project.tree.path / "lib/l.txt").write_text("changed\n")
    assert project.tree.collect("x").inside == ("lib/l.txt", "lib/.gitattributes")
    project.tree.modified()
    project.tree.save("issue-1")
    project.create()
    assert not witness.exists()


@pytest.mark.parametrize("what", ["lib", ".git/modules/lib"])
def test_a_link_in_the_place_of_a_submodule_is_not_followed(plain: Project, tmp_path: Path, what: str) -> None:
    plain.create()
    secret = tmp_path / "secret"
    shutil.copytree(plain.tree.path / what, secret, symlinks=True)
    (secret / "canary.txt").write_text("canary\n")
    shutil.rmtree(plain.tree.path / what)
    (plain.tree.path / what).symlink_to(secret)
    plain.tree.save("issue-1")
    assert all("canary.txt" not in one.tree for one in kept(plain.lib_mirror))
    assert kept(plain.lib_mirror) == []
    plain.create()
    assert (secret / "canary.txt").exists()


def test_a_part_has_only_the_submodules_in_it(plain: Project) -> None:
    links = [Link("apps/lib", "../lib.git", plain.lib_sha), Link("docs/lib", "../lib.git", plain.lib_sha)]
    commit(plain.app, [*links, plain.link], {"apps/a": b"1", "docs/d": b"1"})
    plain.mirror.cone = ("apps",)
    assert plain.create() == []
    assert (plain.tree.path / "apps/lib/l.txt").exists()
    assert not (plain.tree.path / "docs").exists()
    assert (plain.tree.path / "lib/l.txt").exists()


# -- it goes, and comes again


def test_a_worktree_that_goes_leaves_nothing_in_the_mirrors_of_its_submodules(plain: Project) -> None:
    plain.create()
    assert plain.lib_mirror.call("for-each-ref", "refs/orchestrator").text
    plain.tree.remove()
    assert plain.lib_mirror.call("for-each-ref", "refs/orchestrator").text == ""
    assert list((plain.lib_mirror.path / "trees").iterdir()) == []


def test_a_creation_that_was_cut_off_is_made_again(plain: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write, times = checkout.Checkout.write, iter(range(9))

    def cut(self: checkout.Checkout, *words: object, **more: object) -> None:
        if next(times) == 1:
            raise KeyboardInterrupt
        write(self, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(checkout.Checkout, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            plain.create()
    assert plain.create() == []
    assert (plain.tree.path / "lib/inner/deep/d.txt").exists()
    assert kept(plain.mirror) == kept(plain.lib_mirror) == []


def test_notes_without_their_worktree_are_replaced(plain: Project) -> None:
    plain.create()
    shutil.rmtree(plain.mirror.path / "trees")
    shutil.rmtree(plain.tree.path)
    assert plain.create() == []
    assert (plain.tree.path / "lib/l.txt").exists()


def test_F48_the_damaged_mirror_of_a_submodule_is_made_anew(plain: Project) -> None:
    plain.create()
    store = plain.lib_mirror.store
    for file in [path for path in store.rglob("*") if path.is_file()]:
        file.chmod(0o600)
        file.write_bytes(b"")
    with pytest.raises(Retry, match="damaged"):
        plain.create()
    assert plain.mirror.damaged
    plain.mirror.ensure()
    assert not plain.mirror.damaged
    assert plain.create() == []
    assert (plain.tree.path / "lib/l.txt").read_bytes() == b"lib\n"


# -- graphs


def _graph(folder: Path, seed: int) -> tuple[Remote, str]:
    """Repositories that have each other, and themselves as they were, for submodules; some links lead nowhere."""
    rng = random.Random(seed)
    remotes = [Remote(folder / f"r{number}.git") for number in range(4)]
    known: list[tuple[Remote, str]] = []
    for step in range(rng.randint(4, 9)):
        remote = rng.choice(remotes)
        links = []
        for number in range(rng.randint(0, min(3, len(known)))):
            theirs, sha = rng.choice(known)
            path = rng.choice((f"m{number}", f"sub dir/m{number}", f"vendor/ü{number}"))
            url = rng.choice((f"../{theirs.path.name}", str(theirs.path), f".././{theirs.path.name}/"))
            kind = rng.random()
            if kind < 0.15:
                url = f"../missing{number}.git"
            elif kind < 0.25:
                sha = f"{rng.getrandbits(160):040x}"
            links.append(Link(path, url, sha, rng.choice(("", f"name {number}", f"x/{path}"))))
        files: dict[str, bytes | None] = {f"f{step}.txt": f"{step}\n".encode(), "same": bytes([65 + step])}
        old = [line.split("\t")[1] for line in _links_of(remote)]
        made = commit(remote, links, {**files, **{path: None for path in old if path not in [x.path for x in links]}})
        known.append((remote, made))
    return known[-1]


def _links_of(remote: Remote) -> list[str]:
    if remote.sha("refs/heads/main") is None:
        return []
    listed = run_git("-c", "core.quotePath=false", "ls-tree", "-r", "refs/heads/main", cwd=remote.path)
    return [line for line in listed.splitlines() if line.startswith("160000")]


@pytest.mark.parametrize("seed", seeds(2, 25))
def test_case_03_graphs_of_submodules_are_as_in_a_clone(tmp_path: Path, sandbox: Sandbox, seed: int) -> None:
    remote, sha = _graph(tmp_path / "remotes", seed)
    mirror = Mirror(tmp_path / "work/mirror.git", Access(str(remote.path)), BOT, sandbox=sandbox, submodules=True)
    mirror.ensure()
    mirror.fetch()
    tree = Worktree(mirror, mirror.base / "issue-1")
    lacking = tree.create(sha, BRANCH, "main")
    expected = cloned(remote, tmp_path / "clone", sha)
    assert snapshot(tree.path) == expected
    clone = tmp_path / "clone"
    empty = [path for path in _submodule_folders(clone) if all(one.name == ".git" for one in (clone / path).iterdir())]
    assert sorted(one.path for one in lacking) == sorted(empty)
    assert run_git("status", "--porcelain", cwd=tree.path) == ""
    rng = random.Random(seed)
    brought = [path for path in _submodule_folders(clone) if path not in empty]
    edited = sorted({f"{path}/edit.txt" for path in brought if rng.random() < 0.5})
    for path in edited:
        (tree.path / path).write_text("edit\n")
    (tree.path / "mine.txt").write_text("mine\n")
    made = tree.collect("x")
    assert sorted(made.inside) == edited
    assert made.kept == bool(edited)
    assert changed(mirror, sha, made.head) == "mine.txt"


def _submodule_folders(top: Path, below: str = "") -> list[str]:
    if not (top / below / ".git").exists():
        return []
    listed = run_git("-c", "core.quotePath=false", "ls-files", "-s", cwd=top / below).splitlines()
    found = [line.split("\t")[1] for line in listed if line.startswith("160000")]
    here = [f"{below}/{path}".lstrip("/") for path in found]
    return [*here, *(path for one in here for path in _submodule_folders(top, one))]
