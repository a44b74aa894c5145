"""Submodules from the setting to the merge: the addresses that are fetched, where the token goes, the whole story."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.git.access import Access
from orchestrator.git.checkout import Terms
from orchestrator.git.gitmodules import Unusable, address
from orchestrator.git.mirror import Mirror
from orchestrator.git.modules import folder as modules_folder
from orchestrator.git.worktree import Worktree
from orchestrator.housekeeping import collect
from orchestrator.salvaged import find, pick, restore
from orchestrator.twin import RepoHandle, pushes
from tests.boxed import walled
from tests.conftest import MakeHouse
from tests.gitremote import BOT, Remote, run_git
from tests.house import House, stub
from tests.merging import LANDED
from tests.story import expect_pull, ready
from tests.submodule_graph import Link, commit

GITHUB = Access("https://github.com/acme/app.git", "t")
SERVER = Access("https://git.acme.test:8443/acme/app.git", "t")
LIB = "https://github.com/acme/lib.git"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (LIB, LIB),
        ("https://github.com/acme/lib", "https://github.com/acme/lib"),
        ("https://alice:secret@github.com/acme/lib.git", LIB),
        ("http://github.com/acme/lib.git", LIB),
        ("git://github.com/acme/lib.git", LIB),
        ("git@github.com:acme/lib.git", LIB),
        ("github.com:acme/lib.git", LIB),
        ("GitHub.com:/acme/lib.git", LIB),
        ("ssh://git@github.com/acme/lib.git", LIB),
        ("ssh://git@github.com:22/acme/lib.git", LIB),
        ("../lib.git", LIB),
        ("./../lib.git/", LIB),
        ("../../other/x", "https://github.com/other/x"),
        ("./inner.git", "https://github.com/acme/app.git/inner.git"),
        ("https://gitlab.test/a/b.git", "https://gitlab.test/a/b.git"),
        ("https://bob@gitlab.test:444/a/b.git", "https://gitlab.test:444/a/b.git"),
        ("https://github.com:8443/a/b.git", "https://github.com:8443/a/b.git"),
    ],
)
def test_every_way_to_write_an_address_on_the_own_host_is_the_way_there_is(url: str, found: str) -> None:
    assert address(url, GITHUB.url, GITHUB) == found


@pytest.mark.parametrize("url", ["git@git.acme.test:acme/lib.git", "ssh://git@git.acme.test:2222/acme/lib.git"])
def test_a_host_with_a_port_of_its_own_keeps_it(url: str) -> None:
    assert address(url, SERVER.url, SERVER) == "https://git.acme.test:8443/acme/lib.git"


@pytest.mark.parametrize(
    "url",
    [
        *("git@gitlab.test:a/b.git", "ssh://gitlab.test/a/b", "git://gitlab.test/a", "http://gitlab.test/a/b.git"),
        *("http://169.254.169.254/", "http://127.0.0.1:80/a", "http://github.com:9000/a", "file:///etc", "/etc"),
        *("ext::sh -c id", "-u./x", "--upload-pack=id", "../../../x", "https:///x", "https://[x/y", "https://h:p/x"),
        *("https://h/\nx", "https://h/\x1b[31m", "C:\\repo", "lib", "", "\\\\host\\repo", "file://github.com/x"),
    ],
)
def test_any_other_address_is_not_fetched(url: str) -> None:
    with pytest.raises(Unusable):
        address(url, GITHUB.url, GITHUB)


def test_a_relative_address_is_relative_to_the_repository_that_declares_it() -> None:
    assert address("../x.git", "https://gitlab.test/a/b.git", GITHUB) == "https://gitlab.test/a/x.git"


# -- the token


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://gitlab.test/acme/lib.git",
            "https://github.com.gitlab.test/acme/lib.git",
            "http://127.0.0.1/lib.git",
        ),
        *("https://github.com:8443/acme/lib.git", "https://api.github.com/acme/lib.git", "/srv/lib.git"),
    ],
)
def test_another_host_is_asked_without_the_token(url: str) -> None:
    there = GITHUB.elsewhere(url)
    assert there.token is None
    assert not any("extraHeader" in key for key, _ in there.settings)
    assert GITHUB.elsewhere(LIB).token == GITHUB.token


class Host:
    """A git host over HTTP for the bare repositories in `folder`; `requests`: path and credentials of each."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[tuple[str, str]] = []
        self.moved: dict[str, str] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def _serve(self, body: bytes) -> None:
                path, _, query = self.path.partition("?")
                host.requests.append((path, self.headers.get("Authorization", "")))
                repository, _, rest = path.partition(".git/")
                if repository in host.moved:
                    self.send_response(301)
                    self.send_header("Location", f"{host.moved[repository]}.git/{rest}?{query}")
                    self.end_headers()
                    return
                env = {
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                }
                done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
                head, _, data = done.stdout.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
                self.send_response(int(fields.pop("Status", "200").split(" ")[0]))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def credentials(self, repository: str) -> set[bool]:
        """Whether requests for it came with credentials."""
        return {bool(given) for path, given in self.requests if path.startswith(f"/{repository}.git/")}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.server.shutdown()
    host.server.server_close()


def _brought(host: Host, folder: Path) -> Worktree:
    mirror = Mirror(folder / "work/mirror.git", Access(f"{host.url}/app.git", "secret-token"), BOT, submodules=True)
    mirror.ensure()
    mirror.fetch()
    tree = Worktree(mirror, mirror.base / "issue-1")
    assert tree.create(str(mirror.sha("refs/remotes/origin/main")), None) == ()
    return tree


def test_the_token_goes_to_the_own_host_and_stands_in_no_file(host: Host, tmp_path: Path) -> None:
    lib = Remote(tmp_path / "lib.git").commit({"l.txt": b"lib\n"})
    links = [Link("one", "../lib.git", lib), Link("two", "git@127.0.0.1:lib.git", lib, "second")]
    commit(Remote(tmp_path / "app.git"), links)
    tree = _brought(host, tmp_path)
    assert (tree.path / "one/l.txt").read_bytes() == (tree.path / "two/l.txt").read_bytes() == b"lib\n"
    assert host.credentials("lib") == {True}
    files = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert not any(b"secret-token" in path.read_bytes() for path in files)
    assert len(list(modules_folder(tree.mirror).glob("*.git"))) == 1


def test_a_renamed_repository_is_followed_without_the_token(host: Host, tmp_path: Path) -> None:
    lib = Remote(tmp_path / "new.git").commit({"l.txt": b"lib\n"})
    commit(Remote(tmp_path / "app.git"), [Link("lib", "../old.git", lib)])
    host.moved["/old"] = f"{host.url.replace('127.0.0.1', 'localhost')}/new"
    tree = _brought(host, tmp_path)
    assert (tree.path / "lib/l.txt").read_bytes() == b"lib\n"
    assert host.credentials("new") == {False}
    assert host.credentials("old") == {True, False}


def test_a_redirect_to_another_kind_of_address_is_not_followed(host: Host, tmp_path: Path) -> None:
    secret = Remote(tmp_path / "secret.git")
    commit(Remote(tmp_path / "app.git"), [Link("lib", "../old.git", secret.commit({"s.txt": b"secret\n"}))])
    host.moved["/old"] = f"file://{tmp_path}/secret"
    mirror = Mirror(tmp_path / "work/mirror.git", Access(f"{host.url}/app.git", "secret-token"), BOT, submodules=True)
    mirror.ensure()
    mirror.fetch()
    tree = Worktree(mirror, mirror.base / "issue-1")
    [lacking] = tree.create(str(mirror.sha("refs/remotes/origin/main")), None, terms=Terms(patient=False))
    assert lacking.path == "lib"


# -- the whole story


def _with_submodules(house: House, links: list[tuple[str, str]]) -> tuple[RepoHandle, str]:
    """`acme/lib`, which the robot may read, and a commit of acme/app with it at each path and address."""
    lib = house.github.repo("acme/lib", files={"l.txt": "lib\n"})
    house.github.user("robot", lib, permission="read")
    sha = str(lib.sha("main"))
    commit(Remote(house.repo.thing.bare.path), [Link(path, url, sha, path) for path, url in links])
    with house.repo.looking() as world:
        pushes.sync(world, house.repo.thing, house.alice.thing)
    return lib, sha


@pytest.mark.parametrize("sandbox", ["off", pytest.param("bwrap", marks=walled)])
def test_case_03_an_issue_becomes_a_merged_pull_request_with_submodules(make_house: MakeHouse, sandbox: str) -> None:
    house = make_house(
        sandbox=sandbox,
        toolchain_paths=(str(Path(__file__).parent),),  # of which the stand-in for the agent is one
        review_prs="all",
        setup_commands=("git submodule update --init", "grep -q lib lib/l.txt"),
        pre_merge_commands=("grep -q lib lib/l.txt", "git -C second log -1", "git submodule update --init"),
    )
    _with_submodules(house, [("lib", "../lib.git"), ("second", "git@127.0.0.1:acme/lib.git")])
    issue = ready(house)
    house.start(claude_command=stub("success"))
    house.quiet()
    [pull] = house.repo.pulls
    assert house.repo.git("diff", "--name-only", "main", pull.head_ref).split() == ["agent.txt"]
    [review] = pull.reviews
    assert "The submodule" not in (pull.body or "") + review.body
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged, house.said(pull)
    assert house.repo.git("ls-tree", "-r", "main").count("160000") == 2
    expect_pull(house, issue)
    house.expect("POST issues/2/reactions", "POST pulls/2/reviews", *LANDED)


def test_case_03_what_cannot_be_had_is_said_and_stops_nothing(make_house: MakeHouse) -> None:
    house = make_house(review_prs="all")
    _with_submodules(house, [("gone", "../gone.git"), ("lib", "../lib.git"), ("ssh", "git@elsewhere.test:a/b.git")])
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    [review] = pull.reviews
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged, house.said(pull)
    landed = next(said for said in house.said(pull) if said.startswith("**Merged**"))
    for text in (said.replace("\u200b", "") for said in (pull.body or "", review.body, landed)):
        assert text.count("The submodule `gone`") == 1
        assert f"The submodule `gone` ({house.github.url}/acme/gone.git) is empty: there is no repository" in text
        assert "The submodule `ssh` (git@elsewhere.test:a/b.git) is empty: it is reached by another way" in text
        assert "`lib`" not in text
    expect_pull(house, issue)
    house.expect("POST issues/2/reactions", "POST pulls/2/reviews", *LANDED)


def test_what_only_the_daemon_may_read_is_not_brought_to_the_code_of_a_fork(make_house: MakeHouse) -> None:
    house = make_house(allow_fork_merge=True, pre_merge_commands=("test -d new && ! test -e new/l.txt",))
    lib = house.github.repo("acme/lib", files={"l.txt": "private\n"})
    house.github.user("robot", lib, permission="read")
    pull = house.mallory.opens_fork_pr(house.repo, {"fork.txt": "fork\n"})
    fork = house.mallory.fork_of(house.repo)
    link = Link("new", f"{house.github.url}/acme/lib.git", str(lib.sha("main")))
    commit(Remote(fork.thing.bare.path), [link], ref=f"refs/heads/{pull.head_ref}")
    with fork.looking() as world:
        pushes.sync(world, fork.thing, house.mallory.thing)
    house.clock.advance(120)
    house.ci.passes(pull, "build")
    house.alice.comments(pull, f"/merge {pull.head_sha}")
    house.quiet()
    assert pull.merged, house.said(pull)
    assert "the base does not name that address" in house.said(pull)[-1]
    house.expect(*LANDED[:-1])


def test_case_03_off_is_a_plain_clone_and_not_a_word(make_house: MakeHouse) -> None:
    house = make_house(submodules="off", setup_commands=("test -d lib && ! test -e lib/l.txt",))
    _with_submodules(house, [("lib", "../lib.git"), ("gone", "../gone.git")])
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert "submodule" not in (pull.body or "")
    expect_pull(house, issue)


# -- what is kept


def _edited(tmp_path: Path) -> tuple[Mirror, Worktree]:
    lib = Remote(tmp_path / "lib.git").commit({"l.txt": b"lib\n"})
    commit(Remote(tmp_path / "app.git"), [Link("lib", "../lib.git", lib)])
    folder = tmp_path / "base/acme/app"
    mirror = Mirror(folder / "mirror.git", Access(str(tmp_path / "app.git")), BOT, submodules=True)
    mirror.ensure()
    mirror.fetch()
    tree = Worktree(mirror, folder / "issue-7")
    tree.create(str(mirror.sha("refs/remotes/origin/main")), "feature/issue-7")
    (tree.path / "lib/l.txt").write_text("edit\n")
    return mirror, tree


def test_what_was_saved_of_a_submodule_is_listed_with_its_item_and_comes_back(tmp_path: Path) -> None:
    _, tree = _edited(tmp_path)
    assert tree.save("issue-7") is None  # of the outer repository there is nothing to keep
    [saved] = find(tmp_path / "base", ["acme/app"], "7")
    assert saved.what.startswith("lib-")
    restore(pick([saved], saved.what), tmp_path / "back")
    assert (tmp_path / "back/l.txt").read_bytes() == b"edit\n"


def test_a_mirror_of_a_submodule_goes_when_nothing_used_it_for_long(tmp_path: Path) -> None:
    mirror, tree = _edited(tmp_path)
    later = time.time() + 8 * 86_400
    [path] = modules_folder(mirror).glob("*.git")
    collect(mirror.base, mirror, {"issue-7"}, later, 7.0, 0.0)
    assert tree.path.exists()
    collect(mirror.base, mirror, (), later, 7.0, 0.0)
    assert not tree.path.exists()
    assert path.exists()  # it holds what was saved
    assert len(find(tmp_path / "base", ["acme/app"])) == 1
    collect(mirror.base, mirror, (), later + 8 * 86_400, 7.0, 0.0)
    collect(mirror.base, mirror, (), later + 8 * 86_400, 7.0, 0.0)
    assert not path.exists()
    tree.create(str(mirror.sha("refs/remotes/origin/main")), "feature/issue-7")
    assert (tree.path / "lib/l.txt").read_bytes() == b"lib\n"


def test_a_mirror_whose_worktree_was_taken_away_by_hand_holds_no_notes_of_it(tmp_path: Path) -> None:
    mirror, tree = _edited(tmp_path)
    run_git("gc", "-q", cwd=tree.path)
    [path] = modules_folder(mirror).glob("*.git")
    tree.path.rename(tmp_path / "elsewhere")
    collect(mirror.base, mirror, {"issue-7"}, time.time(), 7.0, 0.0)
    assert list((path / "trees").iterdir()) == []
