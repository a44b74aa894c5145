"""What a person types beside a daemon that runs or does not run, and starts that end with one sentence."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.shipped import shipped
from tests.child import PATIENCE, Child
from tests.house import stub
from tests.ward import GitHub

HEAP = 64 << 20  # bytes that glibc keeps for the heap of one thread


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """A daemon-to-be that polls once an hour and plays the scenarios in the file `script`, one for each run."""
    made = Child(tmp_path, poll_interval=3600)
    made.settings["claude_command"] = stub("--record", str(made.record), f"@{tmp_path / 'script'}")
    yield made
    made.close()


def plays(child: Child, *scenarios: str) -> None:
    """What the agent does in this and the next runs."""
    (child.folder / "script").write_text("\n".join(scenarios) + "\n")


def runs_for_ever(child: Child) -> Path:
    """Start with an agent that says a word and then hangs; the log of its run."""
    plays(child, "ignores-sigterm", "success")
    child.labelled()
    child.start()
    child.until(lambda: child.runs == 1 and b"deaf" in Path(child.job("implement", 1)["log"]).read_bytes())
    return Path(child.job("implement", 1)["log"])


def status(child: Child) -> dict[str, Any]:
    return dict(json.loads(child.command("status", "--json").stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="the heaps of glibc are looked for in /proc")
def test_what_a_thread_freed_is_there_for_the_others(child: Child) -> None:
    runs_for_ever(child)
    maps = Path(f"/proc/{child.started[-1].pid}/maps").read_text()
    spans = [(int(begin, 16), int(end, 16), mode) for begin, end, mode in re.findall(r"^(\w+)-(\w+) (\S+)", maps, re.M)]
    # How glibc makes the heap of a thread: a part in use, the rest kept for it.
    own = [a for a, b in itertools.pairwise(spans) if a[0] % HEAP == 0 and b[1:] == (a[0] + HEAP, "---p")]
    assert own == []


def test_status_tells_a_running_daemon_from_one_that_is_gone(child: Child) -> None:
    runs_for_ever(child)
    shown = status(child)
    assert shown["daemon"]["pid"] == child.started[-1].pid
    assert shown["daemon"]["polled_at"]
    assert (shown["counts"]["running"], [item["title"] for item in shown["items"]]) == (1, ["Greet people"])
    assert child.command("status").stdout.startswith("running (1)\n  #1  implement")
    child.kill()
    shown = status(child)
    assert (shown["daemon"]["running"], shown["counts"]["running"], shown["counts"]["waiting"]) == (False, 0, 1)
    child.start()
    child.until(lambda: child.is_done("implement", 1))
    child.stop()
    assert status(child)["counts"] == {"needs_you": 0, "running": 0, "waiting": 0, "done": 1}


def test_retry_wakes_a_running_daemon_at_once(child: Child) -> None:
    plays(child, "is-error", "success")
    issue = child.labelled()
    child.start()
    child.until(lambda: child.job("implement", 1).get("status") == "parked")
    told = child.command("retry", "1")
    assert (told.returncode, told.stderr) == (0, "")
    assert f"the running daemon (pid {child.started[-1].pid}) was told and acts at once" in told.stdout
    child.until(lambda: child.is_done("implement", 1))
    assert ([pull.head_ref for pull in child.repo.pulls], issue.labels) == (["feature/issue-1"], [])
    child.stop()


def test_retry_without_a_daemon_is_for_the_next_start(child: Child) -> None:
    plays(child, "is-error", "success")
    child.labelled()
    assert child.start("--once").wait(PATIENCE) == 1, child.log()
    assert status(child)["counts"]["needs_you"] == 1
    assert "the daemon is not running" in child.command("retry", "1").stdout
    assert child.start("--once").wait(PATIENCE) == 0, child.log()
    assert len(child.repo.pulls) == 1


def test_clear_ends_the_agent_and_forgets_the_item(child: Child) -> None:
    runs_for_ever(child)
    issue = child.repo.issues[0]
    told = child.command("clear", "1")
    assert told.returncode == 0
    child.until(lambda: child.job("implement", 1) == {})
    assert len(child.processes()) == 1, "the daemon alone"
    assert issue.labels == []
    assert status(child)["items"] == []
    child.stop()
    assert (child.runs, child.repo.pulls, child.worktrees()) == (1, [], [])


def test_clear_without_a_daemon_lets_the_item_start_afresh(child: Child) -> None:
    plays(child, "is-error", "success")
    issue = child.labelled()
    assert child.start("--once").wait(PATIENCE) == 1, child.log()
    assert child.command("clear", "1").returncode == 0
    assert child.state()["jobs"] == {}
    child.later()
    child.alice.labels(issue, "ready")
    assert child.start("--once").wait(PATIENCE) == 0, child.log()
    assert len(child.repo.pulls) == 1


def test_logs_shows_and_follows_a_run_to_its_end(child: Child) -> None:
    log = runs_for_ever(child)
    assert child.command("logs", "1").stdout == "-- started: stub, session " + log_session(log) + "\nI am deaf.\n"
    assert child.command("logs", "1", "--raw").stdout == log.read_text()
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "logs", "1", "-f"],
        cwd=child.folder,
        env=child.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("-- started")
        assert following.stdout.readline() == "I am deaf.\n"
        assert following.poll() is None
        child.command("clear", "1")
        assert following.stdout.read() == ""
        assert following.wait(PATIENCE) == 0
    child.stop()


def log_session(log: Path) -> str:
    return str(json.loads(log.read_text().splitlines()[0])["session_id"])


class _NoGithub(BaseHTTPRequestHandler):
    """A web site."""

    def do_GET(self) -> None:
        page = b"<!DOCTYPE html><h1>Welcome</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def web_site() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _NoGithub)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def refused(child: Child, code: int, said: str, **more: str) -> None:
    """The start ends with this code and one sentence; nothing was changed, here or on GitHub."""
    before = {file: file.read_bytes() for file in child.folder.iterdir() if file.is_file()}
    done = child.command("run", **more)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    left = {file: file.read_bytes() for file in child.folder.iterdir() if file.is_file()}
    left.pop(child.folder / ".orchestrator-state.json.lock", None)
    assert left == before
    assert not (child.folder / "worktrees").exists()
    assert child.github.journal.mutations == []


def test_a_token_that_github_refuses_ends_the_start(child: Child) -> None:
    refused(child, 3, "GitHub refuses the token (401", GITHUB_TOKEN="ghp_wrong")


def test_no_token_ends_the_start(child: Child) -> None:
    refused(child, 3, "There is no GitHub token", GITHUB_TOKEN="", PATH=str(child.folder))


def test_a_token_that_may_not_push_ends_the_start(child: Child) -> None:
    reader = child.github.user("mallory", child.repo, permission="read")
    refused(child, 3, "may not push to acme/app", GITHUB_TOKEN=child.github.token(reader))


def test_a_repository_that_is_not_there_ends_the_start(child: Child) -> None:
    refused(child, 3, "acme/none: GitHub answered 404", GITHUB_REPO="acme/none")


def test_a_web_site_instead_of_github_ends_the_start(child: Child, web_site: str) -> None:
    refused(child, 3, f"{web_site} does not answer as GitHub does. Check GITHUB_API_URL.", GITHUB_API_URL=web_site)


@pytest.mark.parametrize("answer", [(200, {"login": "x"}), (200, [1]), (404, {"message": "Not Found"}), (302, {})])
def test_something_else_than_github_ends_the_start(child: Child, answer: tuple[int, Any]) -> None:
    with GitHub() as other:
        code, said = answer
        other.answers["GET", "/user"] = (code, {"Location": "/login"} if code == 302 else {}, said)
        sentence = f"{other.url} does not answer as GitHub does. Check GITHUB_API_URL."
        refused(child, 3, sentence, GITHUB_API_URL=other.url)


def test_a_lost_memory_is_told_at_every_start_until_github_was_asked(child: Child) -> None:
    (child.folder / ".orchestrator-state.json").write_text("damaged")
    with HTTPServer(("127.0.0.1", 0), _NoGithub) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}"
    told = [child.command("run", "--once", GITHUB_API_URL=url) for _ in range(2)]
    assert [done.returncode for done in told] == [3, 3]
    assert "state_recovered" in told[0].stderr
    assert ["memory_rebuilt" in done.stderr for done in told] == [True, True]
    assert ["memory_rebuilt" in child.command("run", "--once").stderr for _ in range(2)] == [True, False]


def test_the_start_tells_which_instructions_the_agents_get(child: Child) -> None:
    (child.folder / "prompts").mkdir()
    own = child.folder / "prompts" / "review.md"
    own.write_text("Look.\n")
    [started] = [line for line in child.command("run", "--once").stderr.splitlines() if '"started"' in line]
    assert json.loads(started)["prompts"] == [str(shipped("prompts/implement.md")), str(own)]


def test_the_start_tells_what_a_token_may_do_beyond_its_need(child: Child) -> None:
    def told(**settings: str) -> dict[str, dict[str, Any]]:
        lines = map(json.loads, child.command("run", "--once", **settings).stderr.splitlines())
        return {line["event"]: line for line in lines}

    plain = told()
    assert plain["started"]["scopes"] == ["repo", "workflow"]
    assert not plain.keys() & {"token_may_too_much", "account_is_administrator"}
    broad = told(GITHUB_TOKEN=child.github.token(child.bob, scopes="repo, delete_repo, admin:org"))
    assert broad["token_may_too_much"]["scopes"] == ["admin:org", "delete_repo"]
    assert broad["account_is_administrator"]["repo"] == "acme/app"


def test_a_port_where_nobody_listens_ends_the_start(child: Child) -> None:
    with HTTPServer(("127.0.0.1", 0), _NoGithub) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}"
    refused(child, 3, f"{url} cannot be reached", GITHUB_API_URL=url)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": "orchestrator-state", "version": 99, "checksum": "", "body": {}}, "was written by a newer version"),
        ({"mine": 1}, "is not a state file of this program"),
    ],
    ids=["newer", "foreign"],
)
def test_a_state_file_of_somebody_else_ends_the_start(child: Child, content: dict[str, Any], said: str) -> None:
    (child.folder / ".orchestrator-state.json").write_text(json.dumps(content))
    refused(child, 2, said)


def test_a_setting_that_does_not_exist_ends_the_start_and_the_near_miss_is_named(child: Child) -> None:
    (child.folder / ".env").write_text("POLL_INTERVALL=5\n")
    refused(child, 2, "there is no setting POLL_INTERVALL. Did you mean POLL_INTERVAL?")
