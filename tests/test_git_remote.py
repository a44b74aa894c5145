"""The mirror against the local GitHub over HTTP: where the token goes, and what becomes of network trouble."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import Misconfigured, Missing, Refused, Retry, Stopped
from orchestrator.git import run
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror, Pushed
from orchestrator.git.run import GitError
from orchestrator.git.trouble import explain, lacks_room
from orchestrator.twin import Fault, RepoHandle, Twin, apply_then, apply_then_reset, cut, hang, html, reset, status
from orchestrator.twin.faults import Kind
from tests.gitremote import BOT, run_git

MAIN = "refs/heads/main"
HERE = "refs/remotes/origin/main"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with Twin(tmp_path_factory.mktemp("twin")) as twin:
        yield twin


@pytest.fixture
def repo(twin: Twin, request: pytest.FixtureRequest) -> Iterator[RepoHandle]:
    yield twin.repo(f"acme/{abs(hash(request.node.name))}", files={"a.txt": "a\n"})
    twin.faults.clear()


@pytest.fixture
def token(twin: Twin, repo: RepoHandle) -> str:
    return twin.token(twin.user("robot", repo, permission="write"))


@pytest.fixture
def mirror(repo: RepoHandle, token: str, tmp_path: Path) -> Mirror:
    mirror = Mirror(tmp_path / "mirror.git", Access(repo.clone_url, token), BOT)
    mirror.ensure()
    return mirror


def work_on(mirror: Mirror, repo: RepoHandle) -> str:
    """A new commit on main, in the mirror only."""
    mirror.fetch(MAIN)
    base = str(repo.sha("main"))
    return mirror.commit_tree(str(mirror.sha(f"{base}^{{tree}}")), [base], "Work")


def test_fetch_and_push_go_over_http_with_the_token(repo: RepoHandle, mirror: Mirror) -> None:
    sha = work_on(mirror, repo)
    assert mirror.sha(HERE) == repo.sha("main") == mirror.remote_sha(MAIN)
    assert mirror.push(sha, "feature/issue-1", None) is Pushed.DONE
    assert repo.sha("feature/issue-1") == sha


def test_an_empty_repository_reads_as_none(twin: Twin, tmp_path: Path) -> None:
    repo = twin.repo("acme/empty")
    token = twin.token(twin.user("robot", repo, permission="write"))
    mirror = Mirror(tmp_path / "mirror.git", Access(repo.clone_url, token), BOT)
    mirror.ensure()
    mirror.fetch(MAIN)
    assert mirror.sha(HERE) is None


def test_the_environment_of_the_daemon_does_not_reach_git(
    repo: RepoHandle, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M14: started from a git hook, with a proxy that must not see plain HTTP to this machine."""
    trap = tmp_path / "trap"
    (trap / ".config" / "git").mkdir(parents=True)
    (trap / ".gitconfig").write_text(f'[url "{trap}"]\n\tinsteadOf = http\n')
    for name, value in {
        "GIT_DIR": str(trap),
        "GIT_INDEX_FILE": str(trap / "index"),
        "GIT_OBJECT_DIRECTORY": str(trap),
        "GIT_SSH_COMMAND": "false",
        "GIT_CONFIG_PARAMETERS": "'http.extraHeader'='X: y'",
        "HOME": str(trap),
        "XDG_CONFIG_HOME": str(trap),
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    mirror = Mirror(tmp_path / "mirror.git", Access(repo.clone_url, token), BOT)
    mirror.ensure()
    mirror.fetch(MAIN)
    assert mirror.sha(HERE) == repo.sha("main")


def test_the_token_is_in_no_argv_and_ending_all_ends_the_whole_tree(twin: Twin, mirror: Mirror, token: str) -> None:
    """A49: argv is readable by every user of the machine, the environment is not."""
    arrived = threading.Event()
    twin.before("GET *info/refs*", arrived.set)
    twin.faults.add(Fault("GET *info/refs*", hang()))
    others = set(psutil.Process().children(recursive=True))  # of tests before this one
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(mirror.fetch, MAIN)
        assert arrived.wait(10)
        family = [one for one in psutil.Process().children(recursive=True) if one not in others]
        told = [process.cmdline() for process in family]
        secrets = (token, base64.b64encode(f"x-access-token:{token}".encode()).decode())
        assert any("git-remote-http" in word for argv in told for word in argv)
        assert not any(secret in word for argv in told for word in argv for secret in secrets)
        assert any(secrets[1] in value for process in family for value in process.environ().values())
        assert run.end_all() == 1
        with pytest.raises(Stopped):
            fetch.result(10)
    _, alive = psutil.wait_procs(family, 10)
    assert alive == []


def test_the_token_is_in_no_file_and_no_error(repo: RepoHandle, mirror: Mirror, token: str) -> None:
    mirror.push(work_on(mirror, repo), "b", None)
    secrets = (token.encode(), base64.b64encode(f"x-access-token:{token}".encode()))
    for path in mirror.path.rglob("*"):
        if path.is_file():
            assert not any(secret in path.read_bytes() for secret in secrets), path
    assert token not in repr(mirror.access)
    assert secrets[1].decode() not in repr(mirror.access)


def test_what_the_remote_says_of_the_token_is_masked(twin: Twin, repo: RepoHandle, mirror: Mirror, token: str) -> None:
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    twin.faults.add(Fault("GET *info/refs*", status(403, f"no {token} {basic}", {"Content-Type": "text/plain"})))
    with pytest.raises(Missing) as caught:
        mirror.fetch(MAIN)
    cause = caught.value.__cause__
    assert isinstance(cause, GitError)
    said = f"{caught.value} {cause} {cause.stderr}"
    assert "no *** ***" in said
    assert token not in said
    assert basic not in said


class Elsewhere(HTTPServer):
    """Where a redirect leads: keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeper)
        self.asked: list[str] = []
        self.code = 404


class _Keeper(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.asked.append(str(self.headers))
        self.send_error(self.server.code)

    def do_CONNECT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_a_redirect_is_not_followed(twin: Twin, mirror: Mirror) -> None:
    """A50: whoever a redirect leads to gets no request, so no token."""
    with Elsewhere() as elsewhere:
        thread = threading.Thread(target=elsewhere.serve_forever, args=(0.02,))
        thread.start()
        try:
            to = f"http://127.0.0.1:{elsewhere.server_port}/x.git/info/refs?service=git-upload-pack"
            twin.faults.add(Fault("GET *info/refs*", status(301, headers={"Location": to}), times=9))
            with pytest.raises(Missing, match="redirects elsewhere"):
                mirror.fetch(MAIN)
        finally:
            elsewhere.shutdown()
            thread.join()
        assert elsewhere.asked == []


def test_a_renamed_repository_is_missing_under_its_old_name(twin: Twin, repo: RepoHandle, mirror: Mirror) -> None:
    twin.renames(repo, f"{repo.name}-new")
    with pytest.raises(Missing, match="renamed"):
        mirror.fetch(MAIN)


def test_a_refused_token_is_missing(twin: Twin, repo: RepoHandle, mirror: Mirror, token: str) -> None:
    sha = work_on(mirror, repo)
    twin.revokes(token)
    calls: list[Callable[[], object]] = [
        lambda: mirror.fetch(MAIN),
        lambda: mirror.push(sha, "b", None),
        lambda: mirror.remote_sha(MAIN),
    ]
    for call in calls:
        with pytest.raises(Missing, match="refuses the token"):
            call()


def test_a_token_that_may_only_read_is_missing_at_the_push(twin: Twin, repo: RepoHandle, tmp_path: Path) -> None:
    token = twin.token(twin.user("reader", repo, permission="read"))
    mirror = Mirror(tmp_path / "reader.git", Access(repo.clone_url, token), BOT)
    mirror.ensure()
    with pytest.raises(Missing, match="may read and write"):
        mirror.push(work_on(mirror, repo), "b", None)


def test_a_repository_that_is_not_there_is_missing(twin: Twin, repo: RepoHandle, token: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "no.git", Access(f"{twin.url}/acme/none.git", token), BOT)
    with pytest.raises(Missing, match="no repository"):
        mirror.ensure()
    assert not mirror.path.exists()


def test_a_web_page_instead_of_git_is_no_git_host(twin: Twin, repo: RepoHandle, mirror: Mirror) -> None:
    """Git itself takes a page of one line for a repository without branches."""
    sha = work_on(mirror, repo)
    twin.faults.add(Fault(f"* *{repo.name}*", html(), times=99))
    calls: list[Callable[[], object]] = [
        lambda: mirror.fetch(MAIN),
        lambda: mirror.push(sha, "b", None),
        lambda: mirror.remote_sha(MAIN),
        Mirror(mirror.path, mirror.access, BOT).ensure,
    ]
    for call in calls:
        with pytest.raises(Missing, match="not a git host"):
            call()
    assert mirror.sha(HERE) == repo.sha("main")


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ("GET *info/refs*", status(500)),
        ("GET *info/refs*", status(503)),
        ("GET *info/refs*", status(429)),
        ("GET *info/refs*", reset()),
        ("GET *info/refs*", cut()),
        ("POST *git-upload-pack", status(502)),
        ("POST *git-upload-pack", reset()),
        ("POST *git-upload-pack", cut()),
    ],
)
def test_network_trouble_in_a_fetch_is_tried_again(
    twin: Twin, repo: RepoHandle, mirror: Mirror, request_: str, kind: Kind
) -> None:
    twin.faults.add(Fault(request_, kind, times=9))
    with pytest.raises(Retry, match="could not be reached"):
        mirror.fetch(MAIN)
    twin.faults.clear()
    mirror.fetch(MAIN)
    assert mirror.sha(HERE) == repo.sha("main")


@pytest.mark.parametrize(("kind", "times"), [(apply_then(500), 1), (status(500), 1), (reset(), 9), (cut(), 1)])
def test_a_push_whose_answer_is_lost_is_done_at_the_next_try(
    twin: Twin, repo: RepoHandle, mirror: Mirror, kind: Kind, times: int
) -> None:
    """F36: the branch is at the old place or at the new one, and the second push is right for both."""
    sha = work_on(mirror, repo)
    twin.faults.add(Fault("POST *git-receive-pack", kind, times=times))
    with pytest.raises(Retry):
        mirror.push(sha, "b", None)
    twin.faults.clear()
    assert mirror.push(sha, "b", None) is Pushed.DONE
    assert repo.sha("b") == sha


def test_a_push_that_curl_sent_twice_is_ours(twin: Twin, repo: RepoHandle, mirror: Mirror) -> None:
    """F36: the first copy was applied and its answer lost; the second is refused because of the first."""
    sha = work_on(mirror, repo)
    twin.faults.add(Fault("POST *git-receive-pack", apply_then_reset()))
    assert mirror.push(sha, "b", None) is Pushed.DONE
    assert repo.sha("b") == sha


def test_a_host_that_never_answers_costs_the_timeout_and_leaves_no_process(
    twin: Twin, repo: RepoHandle, token: str, mirror: Mirror, tmp_path: Path
) -> None:
    hasty = Mirror(mirror.path, mirror.access, BOT, timeout=0.5)
    twin.faults.add(Fault("GET *info/refs*", hang()))
    with pytest.raises(Retry, match="did not finish in time"):
        hasty.fetch(MAIN)
    assert not [child for child in psutil.Process().children(recursive=True) if child.name().startswith("git-remote")]


def test_a_port_where_nobody_listens_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a/b.git"
        with pytest.raises(Retry, match="could not be reached"):
            Mirror(tmp_path / "m.git", Access(url, "ghp_x"), BOT).ensure()


def test_a_protected_branch_refuses_in_githubs_words(twin: Twin, repo: RepoHandle, mirror: Mirror) -> None:
    sha = work_on(mirror, repo)
    twin.requires(repo, "main", checks=["ci"])
    with pytest.raises(Refused, match="`main` was refused"):
        mirror.push(sha, "main", repo.sha("main"))


@pytest.mark.parametrize(
    "said",
    [
        "fatal: unable to access 'https://x.test/': Could not resolve host: x.test",
        "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly\nfatal: early EOF",
        "fetch-pack: unexpected disconnect while reading sideband packet",
        "fatal: unable to access 'https://x.test/': gnutls_handshake() failed: Error in the pull function.",
        "error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec transferred the last 60 seconds",
    ],
)
def test_other_words_for_network_trouble(said: str) -> None:
    assert isinstance(explain(GitError(["fetch"], 128, said.encode()), Access("https://x.test/a/b")), Retry)


@pytest.mark.parametrize(
    ("code", "words", "trouble", "told"),
    [
        (403, "Repository `acme/app' is disabled. Please ask the owner to check their account.", Refused, "has closed"),
        (403, "Access to this repository has been disabled by GitHub staff.", Refused, "has closed .* staff"),
        (403, "This repository was archived so it is read-only.", Refused, "has closed .* archived"),
        (451, "Repository unavailable due to DMCA takedown.", Refused, "has closed .* DMCA"),
        (403, "Permission to acme/app.git denied to robot.", Missing, "refuses the token.* denied to robot"),
        (403, "This repository is temporarily locked. Please try again later.", Retry, "temporarily locked"),
        (403, "You have exceeded a secondary rate limit.", Retry, "rate limit"),
        (400, "Bad request.", Missing, "GITHUB_API_URL. The host said: Bad request."),
        (410, "It is gone.", Missing, "no repository"),
        (413, "Too large.", Refused, "more than its host takes"),
        (429, "Too many requests.", Retry, "did not do what was asked: Too many requests."),
        (503, "The repository is unavailable.", Retry, "is unavailable"),
    ],
)
def test_what_lasts_passes_or_is_the_operators_is_told_so(
    twin: Twin, repo: RepoHandle, mirror: Mirror, code: int, words: str, trouble: type[Exception], told: str
) -> None:
    twin.faults.add(Fault(f"GET *{repo.name}*", status(code, words, {"Content-Type": "text/plain"}), times=9))
    with pytest.raises(trouble, match=told) as caught:
        mirror.fetch(MAIN)
    assert "@" not in str(caught.value)
    assert isinstance(caught.value, trouble)


def test_a_hosts_words_have_no_effect_where_they_are_repeated(twin: Twin, repo: RepoHandle, mirror: Mirror) -> None:
    words = "Repository is disabled. @everybody closes #1"
    twin.faults.add(Fault("GET *info/refs*", status(403, words, {"Content-Type": "text/plain"})))
    with pytest.raises(Refused, match="is disabled") as caught:
        mirror.fetch(MAIN)
    assert "@everybody" not in str(caught.value)
    assert "#1" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "told"),
    [("receive.maxInputSize=10", "more than its host takes"), ("receive.fsckObjects=true", r"`missingEmail`")],
)
def test_what_the_host_will_never_take_is_said_at_once(
    repo: RepoHandle, mirror: Mirror, setting: str, told: str
) -> None:
    base = str(repo.sha("main"))
    mirror.fetch(MAIN)
    tree = mirror.sha(f"{base}^{{tree}}")
    words = f"tree {tree}\nparent {base}\nauthor A 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n"
    write = ("hash-object", "-t", "commit", "-w", "--literally", "--stdin")
    work = mirror.call(*write, stdin=words.encode()).text
    repo.git("config", *setting.split("="))
    with pytest.raises(Refused, match=told):
        mirror.push(work, "b", None)
    repo.git("config", "--unset", setting.partition("=")[0])
    assert mirror.push(work, "b", None) is Pushed.DONE


def test_a_quota_of_the_host_is_said_with_its_words(repo: RepoHandle, mirror: Mirror) -> None:
    sha = work_on(mirror, repo)
    bare = Path(repo.git("rev-parse", "--absolute-git-dir"))
    (bare / "hooks").mkdir(exist_ok=True)
    hook = bare / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'Disk quota exceeded by 3 MB.' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(
        Refused, match=r"no room left for this repository.* The host said: Disk quota exceeded by 3 MB\."
    ):
        mirror.push(sha, "b", None)


def test_a_host_whose_copy_is_broken_is_no_network_trouble_and_no_damage_here(
    repo: RepoHandle, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Path(repo.git("rev-parse", "--absolute-git-dir"))
    blob = repo.git("rev-parse", "main:a.txt")
    for pack in [*bare.glob("objects/pack/*.pack")]:
        content = pack.read_bytes()
        pack.unlink()
        pack.with_suffix(".idx").unlink()
        run_git("unpack-objects", "-q", cwd=bare, stdin=content)
    (bare / "objects" / blob[:2] / blob[2:]).unlink()
    monkeypatch.setattr(Mirror, "examine", lambda self: pytest.fail("the mirror was suspected"))
    with pytest.raises(Retry, match=r"did not do what was asked: .*corruption on the remote side\.$"):
        mirror.fetch(MAIN)


def test_a_repository_with_other_names_of_objects_is_told_so(tmp_path: Path) -> None:
    there = tmp_path / "sha256.git"
    there.mkdir()
    run_git("init", "--quiet", "--bare", "--object-format=sha256", cwd=there)
    run_git("update-ref", MAIN, run_git("commit-tree", "-m", "x", run_git("mktree", cwd=there), cwd=there), cwd=there)
    mirror = Mirror(tmp_path / "m.git", Access(str(there)), BOT)
    mirror.ensure()
    with pytest.raises(Refused, match="named by SHA-256"):
        mirror.fetch(MAIN)


def test_a_folder_that_takes_no_files_is_the_operators(
    repo: RepoHandle, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Read-only file system"
    (tmp_path / "mv").write_text(f"#!/bin/sh\necho \"mv: cannot move '$2': {said}\" >&2\nexit 1\n")
    (tmp_path / "mv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Missing, match=f"cannot be written on this machine.* Git said: mv: .*: {said}$"):
        mirror.fetch(MAIN)
    monkeypatch.undo()
    assert mirror.sha(HERE) is None
    mirror.fetch(MAIN)
    assert mirror.sha(HERE) == repo.sha("main")


@pytest.mark.parametrize("code", [403, 407, 502])
def test_a_proxy_that_lets_nothing_through_is_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with Elsewhere() as proxy:
        proxy.code = code
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
            trouble, told = (Retry, "could not be reached") if code == 502 else (Missing, "The proxy on the way")
            with pytest.raises(trouble, match=told):
                Mirror(tmp_path / "m.git", Access("https://x.test/a/b", "ghp_x"), BOT).ensure()
        finally:
            proxy.shutdown()
            thread.join()
        assert "ghp_x" not in "".join(proxy.asked)


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("fatal: write error: No space left on device\nfatal: index-pack failed", True),
        ("fatal: cannot fork() for index-pack: Resource temporarily unavailable\nfatal: index-pack failed", True),
        ("remote: fatal: write error: No space left on device\nfatal: early EOF\nfatal: index-pack failed", False),
        ("remote: fatal: write error: Disk quota exceeded\nfatal: early EOF\nfatal: index-pack failed", False),
    ],
)
def test_a_disk_that_is_full_here_is_told_apart_from_one_over_there(said: str, here: bool) -> None:
    error = GitError(["fetch"], 128, said.encode())
    assert (explain(error, Access("https://x.test/a/b")) is error) is here
    assert lacks_room(error) is here


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ("fatal: remote error: \n  Repository `a/b' is disabled. Please ask the owner.", Refused),
        ("fatal: remote error: upload-pack: not our ref 1234", Retry),
        ("fatal: remote error: Repository not found.", Missing),
        ("error: https://x.test/a/b did not send all necessary objects", Retry),
        ("fatal: write error: File too large\nfatal: index-pack failed", Missing),
        ("git: 'remote-https' is not a git command. See 'git --help'.", Missing),
        ("warning: object 1: badTagName: Could not resolve host\nfatal: something else", GitError),
    ],
)
def test_other_words_of_hosts_and_machines(said: str, trouble: type[Exception]) -> None:
    error = GitError(["fetch"], 128, said.encode())
    assert isinstance(explain(error, Access("https://x.test/a/b")), trouble)


def test_a_certificate_that_is_not_trusted_is_for_the_operator() -> None:
    said = b"fatal: unable to access 'https://x.test/': SSL certificate problem: self-signed certificate"
    assert isinstance(explain(GitError(["fetch"], 128, said), Access("https://x.test/a/b")), Missing)


def test_the_name_of_the_repository_says_nothing_about_the_trouble() -> None:
    access = Access("https://x.test/a/tls-certificate")
    said = b"fatal: unable to access 'https://x.test/a/tls-certificate/': Could not resolve host: x.test"
    assert isinstance(explain(GitError(["fetch"], 128, said), access), Retry)
    ours = GitError(["fetch"], 128, b"fatal: bad object HEAD in https://x.test/a/tls-certificate")
    assert explain(ours, access) is ours


@pytest.mark.parametrize(
    "url",
    [
        "ssh://git@github.com/a/b",
        "git@github.com:a/b",
        "ext::sh -c touch% /tmp/x",
        "http://github.com/a/b",
        "relative/path",
        "--upload-pack=x",
    ],
)
def test_only_https_this_machine_and_its_disk_are_remotes(url: str) -> None:
    with pytest.raises(Misconfigured, match="https://"):
        Access(url)


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(Misconfigured) as caught:
        Access("https://user:s3cret@github.com/a/b")
    assert "s3cret" not in str(caught.value)
