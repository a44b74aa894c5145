"""A small GitHub for `doctor`, a folder with good settings, and its report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.git.run import git
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
                    "id": 1,
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


def good_settings(github: GitHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go into this folder, in which a `.env` has all that is needed, without a sandbox; the home is beside it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(folder)
    home = folder.with_name(f"{folder.name}-home")
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    remote = folder.with_name(f"{folder.name}.git")
    git("init", "--quiet", "--bare", str(remote))
    github.change("/repos/octo/demo", clone_url=str(remote))
    env = folder / ".env"
    env.write_text(
        f"GITHUB_REPO=octo/demo\nGITHUB_TOKEN=ghp_canary0123456789\nGITHUB_API_URL={github.url}\n"
        f"CLAUDE_COMMAND={sys.executable} {AGENT} success\n"
        f"SANDBOX=off\nTOOLCHAIN_PATHS='{json.dumps([str(Path(AGENT).parent)])}'\n"
    )
    env.chmod(0o600)
    return env


def report(*words: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, ["doctor", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "canary" not in done.output
    lines = done.stdout.splitlines()
    for line in bad(lines):
        sentences = re.split(r"[.;] ", line)
        assert len(sentences) == len(set(sentences)), line
        assert_can_be_pasted(line)
    return done.exit_code, lines


def bad(lines: list[str]) -> list[str]:
    """What is not good, but for the word on the sandbox that these settings leave out."""
    return [line for line in lines if not line.startswith(("PASS", "WARN  sandbox     off: "))]


def assert_can_be_pasted(line: str) -> None:
    """The line ends with one command that a shell understands."""
    found = re.search(r"(?:[^.?!]\.|[?!]) Mend: `([^`]+)`$", line)
    assert found, line
    subprocess.run(["/bin/sh", "-n", "-c", found[1]], check=True)


def mend(line: str) -> str:
    return line.split("Mend: ")[1].strip("`")
