"""`doctor` measures, and each line that is not good ends with what mends it."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator import doctor
from orchestrator.cli import main
from orchestrator.doctor import Level, Mend
from orchestrator.settings import Settings

Answers = dict[tuple[str, str], tuple[int, dict[str, str], Any]]

AGENT = Path(__file__).parent / "stub_agent.py"


class GitHub:
    """The few answers that doctor asks for, over real HTTP; a test changes what it is about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.skew = 0.0
        self.answers: Answers = {
            ("GET", "/user"): (200, {"X-OAuth-Scopes": "repo, workflow"}, {"login": "robot", "id": 1, "type": "User"}),
            ("GET", "/repos/octo/demo"): (
                200,
                {},
                {
                    "default_branch": "main",
                    "permissions": {"push": True},
                    "allow_squash_merge": True,
                    "has_issues": True,
                },
            ),
            ("GET", "/repos/octo/demo/git/ref/heads/main"): (200, {}, {"object": {"sha": "a" * 40}}),
            ("GET", "/repos/octo/demo/labels"): (
                200,
                {},
                [{"name": name} for name in ("ready", "In-Progress", "needs-human")],
            ),
            ("POST", "/repos/octo/demo/labels"): (201, {}, {}),
        }
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        github = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.split("?")[0]
                github.asked.append((self.command, path, json.loads(body) if body else None))
                status, headers, data = github.answers.get((self.command, path), (404, {}, {"message": "Not Found"}))
                content = json.dumps(data).encode()
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Date", formatdate(time.time() + github.skew, usegmt=True))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815  # the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler

    def __enter__(self) -> GitHub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def change(self, path: str, **fields: Any) -> None:
        status, headers, data = self.answers["GET", path]
        self.answers["GET", path] = (status, headers, {**data, **fields})


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


@pytest.fixture
def wished(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good `.env`."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    env = tmp_path / ".env"
    env.write_text(
        f"GITHUB_REPO=octo/demo\nGITHUB_TOKEN=ghp_canary0123456789\nGITHUB_API_URL={github.url}\n"
        f"CLAUDE_COMMAND={sys.executable} {AGENT} success\n"
    )
    env.chmod(0o600)
    return env


def report(*words: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, ["doctor", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "canary" not in done.output
    return done.exit_code, done.output.splitlines()


def bad(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("PASS")]


def test_a_good_house_passes_every_check_with_a_real_turn(wished: Path) -> None:
    code, lines = report()
    assert (code, bad(lines)) == (0, [])
    names = [line[6:17].strip() for line in lines]
    assert names == ["settings", "git", "worktrees", "disk", "state", "agent", "agent login", "token", "scopes",
                     "clock", "octo/demo", "octo/demo"]  # fmt: skip
    assert any("0.0.0 (stub agent)" in line for line in lines)


def test_no_probe_takes_no_turn(wished: Path) -> None:
    assert not any("agent login" in line for line in report("--no-probe")[1])


def test_nothing_is_left_behind(wished: Path) -> None:
    before = sorted(wished.parent.iterdir())
    report("--no-probe")
    assert sorted(wished.parent.iterdir()) == before


def test_an_agent_that_is_not_logged_in_fails(wished: Path) -> None:
    wished.write_text(wished.read_text().replace(" success\n", " not-logged-in\n"))
    code, lines = report()
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith("FAIL  agent login")
    assert "run `claude` and log in, or set ANTHROPIC_API_KEY" in line


def test_a_missing_agent_fails_with_the_command_that_installs_it(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("CLAUDE_COMMAND=/no/such/agent\n")
    code, lines = report()
    assert code == 3
    assert "`npm install -g @anthropic-ai/claude-code`" in bad(lines)[0]


def test_a_refused_token_fails(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (401, {}, {"message": "Bad credentials"})
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        "FAIL  token       GitHub answered 401: Bad credentials. Set a valid GITHUB_TOKEN, or run `gh auth login`."
    ]


def test_something_else_than_github_fails(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (200, {}, ["hello"])
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].endswith(f"Try `curl -sS {github.url}/meta`.")


def test_nobody_at_the_address_fails(wished: Path) -> None:
    with GitHub() as other:
        nobody = other.url
    text = wished.read_text()
    wished.write_text(text.replace(text.split("GITHUB_API_URL=")[1].splitlines()[0], nobody))
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].startswith(f"FAIL  github      {nobody} does not answer as GitHub does")


def test_a_rate_limit_of_an_hour_is_told_instead_of_waited_for(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (403, {"Retry-After": "3000"}, {"message": "secondary rate limit"})
    began = time.monotonic()
    code, lines = report("--no-probe")
    assert code == 3
    assert any("GitHub limits this token for another 50 min" in line for line in bad(lines))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("scopes", "level"), [("public_repo, workflow", "WARN"), ("gist, workflow", "FAIL")])
def test_a_classic_token_without_the_scope_is_noticed(wished: Path, github: GitHub, scopes: str, level: str) -> None:
    github.answers["GET", "/user"] = (200, {"X-OAuth-Scopes": scopes}, {"login": "robot", "id": 1})
    code, lines = report("--no-probe")
    assert code == (3 if level == "FAIL" else 0)
    assert bad(lines) == [
        f"{level}  scopes      the token has {scopes}, not repo. Run `gh auth refresh --scopes repo,workflow`."
    ]


def test_a_fine_grained_token_is_judged_by_the_repository(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (200, {}, {"login": "robot", "id": 1})
    assert bad(report("--no-probe")[1]) == []
    github.change("/repos/octo/demo", permissions={"push": False, "pull": True})
    code, lines = report("--no-probe")
    assert code == 3
    assert "can be read, but the token may not push. Give the token's account write access" in bad(lines)[0]


@pytest.mark.parametrize("skew", [-90.0, 90.0])
def test_a_clock_that_is_off_fails(wished: Path, github: GitHub, skew: float) -> None:
    github.skew = skew
    code, lines = report("--no-probe")
    assert code == 3
    assert ("ahead of" if skew < 0 else "behind") in bad(lines)[0]
    assert "timedatectl" in bad(lines)[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"archived": True, "html_url": "https://h/octo/demo"},
            "is archived. Change it at https://h/octo/demo/settings.",
        ),
        ({"has_issues": False, "html_url": "https://h/octo/demo"}, "has its issues switched off."),
        ({"default_branch": "trunk"}, "has no branch trunk. Push a first commit to it, or set BASE_BRANCH"),
        ({"allow_squash_merge": False}, "does not allow squash merging. Allow it in its settings, or"),
    ],
)
def test_a_repository_that_cannot_be_worked_on_fails(
    wished: Path, github: GitHub, fields: dict[str, Any], said: str
) -> None:
    github.change("/repos/octo/demo", **fields)
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert said in line


def test_a_repository_that_is_not_there_fails_and_the_others_are_still_checked(wished: Path, github: GitHub) -> None:
    wished.write_text(wished.read_text().replace("octo/demo", "octo/gone,octo/demo"))
    code, lines = report("--no-probe")
    assert code == 3
    assert [line[:15] for line in bad(lines)] == ["FAIL  octo/gone"]
    assert any(line.startswith("PASS  octo/demo") for line in lines)


def test_missing_labels_are_told_with_the_command_and_made_by_it(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/repos/octo/demo/labels"] = (200, {}, [{"name": "ready"}])
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        "FAIL  octo/demo   lacks the labels in-progress, needs-human. "
        "Make them with `orchestrator doctor --fix-labels`."
    ]
    assert not any(method == "POST" for method, _, _ in github.asked)
    code, lines = report("--no-probe", "--fix-labels")
    assert (code, bad(lines)) == (0, [])
    made = [body["name"] for method, _, body in github.asked if method == "POST"]
    assert made == ["in-progress", "needs-human"]


def test_on_a_terminal_missing_labels_are_offered(
    wished: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.answers["GET", "/repos/octo/demo/labels"] = (200, {}, [])
    asked: list[str] = []

    def confirm(question: str, default: bool) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("click.confirm", confirm)
    assert doctor.main(Mend.ASK, probe=False) == 3
    assert asked == ["octo/demo lacks the labels ready, in-progress, needs-human. Make them?"]
    assert not any(method == "POST" for method, _, _ in github.asked)


def test_the_review_label_is_wanted_only_where_it_is_used(wished: Path, github: GitHub) -> None:
    with wished.open("a") as env:
        env.write("REVIEW_PRS=label\nREVIEW_LABEL=look\n")
    assert "lacks the labels look." in bad(report("--no-probe")[1])[0]


def test_a_settings_file_that_others_can_read_is_a_warning(wished: Path) -> None:
    wished.chmod(0o644)
    code, lines = report("--no-probe")
    assert code == 0
    assert bad(lines) == ["WARN  settings    others can read .env. Close it with `chmod 600 .env`."]


def test_a_state_file_that_is_not_ours_fails(wished: Path) -> None:
    (wished.parent / ".orchestrator-state.json").write_text("{}")
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].startswith("FAIL  state")


def test_a_worktree_folder_that_cannot_be_written_fails(wished: Path) -> None:
    (wished.parent / "file").write_text("")
    with wished.open("a") as env:
        env.write("WORKTREE_BASE=./file\n")
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].startswith("FAIL  worktrees")


@pytest.mark.parametrize(
    ("script", "level"),
    [
        ("echo git version 2.39.0", Level.PASS),
        ("echo git version 2.37.9", Level.FAIL),
        ("echo git version 1.99.0", Level.FAIL),
        ("echo git version 3.0.windows.1", Level.PASS),
        ("echo hello", Level.FAIL),
        ("exit 1", Level.FAIL),
        (None, Level.FAIL),
    ],
)
def test_git_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, level: Level
) -> None:
    if script is not None:
        (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.git_version()
    assert found.level is level
    assert (found.mend == "Install git 2.39 or newer.") is (level is Level.FAIL)


def test_wrong_settings_are_listed_and_exit_with_2(wished: Path) -> None:
    with wished.open("a") as env:
        env.write("MAX_TURNS=many\nPOLL_INTERVAL=0\n")
    code, lines = report()
    assert code == 2
    assert [line[:27] for line in bad(lines)] == ["FAIL  settings    POLL_INTE", "FAIL  settings    MAX_TURNS"]


def test_too_little_room_fails(wished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = os.statvfs(wished.parent)
    monkeypatch.setattr(doctor, "DISK", stat.f_frsize * stat.f_bavail * 2)
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines)[0].startswith("FAIL  disk        only ")
    assert f"du -sh {wished.parent}/worktrees" in bad(lines)[0]
