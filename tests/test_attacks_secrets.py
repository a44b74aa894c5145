"""Attacks on secrets and on the people who read us; the numbers are those of the threat model."""

from __future__ import annotations

import base64
import io
import json
import logging
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog

from orchestrator import log, state, status
from orchestrator.allowance import limits_of
from orchestrator.clock import Stop, SystemClock
from orchestrator.github.transport import Moved, Transport
from orchestrator.settings import Settings
from orchestrator.twin import Fault, Twin
from orchestrator.twin import status as answer
from tests.conftest import MakeHouse
from tests.faulty import HOUR, events, for_a_while
from tests.house import STUB, House, stub
from tests.merging import LANDED, STOPPED, ask, opens, refusal, runs
from tests.story import Record, expect_pull, expect_work, outcomes, ready

ESCAPES = "Greet \x1b[2J\x1b]52;c;aGk=\x07 people\r\nforged \x9b31m\u202e \u2028line"


# A41: what a command prints


def test_A41_what_a_command_prints_is_posted_without_secrets_in_any_form(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_TOKEN", "npm-canary-0123456789")
    secrets = [house.token, "npm-canary-0123456789"]
    told = []
    for secret in secrets:
        told += [secret, secret[::-1], secret.encode().hex(), f"https://x:{secret}@example.com"]
        told += [base64.b64encode(b"." * n + secret.encode() + b"...").decode() for n in range(3)]
    pull = opens(house, files={"leak.txt": "\n".join(told) + "\n"})
    runs(house, 'test -z "$NPM_TOKEN$GITHUB_TOKEN" && echo nothing-was-handed-over; cat leak.txt; exit 1')
    ask(house, pull)
    said = refusal(house, pull)
    assert "nothing-was-handed-over" in said
    assert said.count("[secret]") >= len(told)
    everything = [json.dumps(e.body) for e in house.github.journal.exchanges if e.login == "robot"]
    everything += [p.read_text() for p in house.folder.glob("state.json*") if p.is_file()]
    everything += [p.read_text() for p in (house.folder / "worktrees/acme/app").glob("**/*.log")]
    for form in told:
        core = form.removeprefix("https://x:").removesuffix("@example.com")[6:-6]
        assert not any(core in text for text in everything), core
    house.expect(*STOPPED)


def test_A41_what_a_command_leaves_is_shown_without_secrets(house: House) -> None:
    pull = opens(house, files={"kept.txt": "old\n", "leak.txt": house.token})
    runs(house, "cat leak.txt > kept.txt")
    ask(house, pull)
    assert "[secret]" in refusal(house, pull)
    logs = [path.read_text() for path in (house.folder / "worktrees/acme/app").glob("**/*.log")]
    assert any("[secret]" in text for text in logs)
    assert not any(house.token in text for text in logs)
    house.expect(*STOPPED)


def test_A41_the_end_of_an_output_is_cut_after_the_secrets_are_out(house: House) -> None:
    """Half a token at the cut would be no token for the redactor, and half the work for a guesser."""
    secret = house.token
    pull = opens(house, files={"leak.txt": f"{secret}," * 400})
    runs(house, "cat leak.txt; exit 1")
    ask(house, pull)
    said = refusal(house, pull)
    assert not any(secret[at : at + 8] in said for at in range(len(secret) - 8))
    house.expect(*STOPPED)


def test_A41_a_change_that_holds_a_secret_is_not_pushed(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a later commit takes it out again: all commits are pushed."""
    key = "sk-canary-of-the-agent-0123456789"
    script = (
        f"echo {base64.b64encode(key.encode()).decode()} > leak.txt; git add leak.txt; git commit -qm Leak; "
        "git rm -q leak.txt; echo fine > fine.txt"
    )
    house = make_house(anthropic_api_key=key, claude_command=acts(script))
    issue = ready(house)
    house.quiet()
    assert house.repo.pulls == []
    assert house.repo.branches == ["main"]
    [said] = outcomes(issue)
    assert "nothing was pushed" in said
    assert "worktree was kept" in said
    assert "needs-human" in issue.labels
    expect_work(house, issue)


def acts(script: str, *words: str) -> str:
    """An agent that runs a script in its worktree, and then plays the stub's scenario (`no-change`)."""
    only = 'case "$*" in *" -p "*probe.md*|*--version*|*--help*) ;; *" -p "*) ' + script + ";; esac"
    rest = shlex.split(stub(*(words or ("no-change",))))
    who = "export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x; "
    return shlex.join(["sh", "-c", f'{who}{only}; exec "$@"', "sh", *rest])


# A44: a change of what steers tools or people


def test_A44_a_change_of_ci_becomes_a_draft_that_only_a_named_commit_lands(make_house: MakeHouse) -> None:
    house = make_house(claude_command=acts("mkdir -p .github/workflows; echo 'on: push' > .github/workflows/x.yml"))
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert pull.draft
    assert pull.body
    assert pull.labels == ["needs-human"]
    assert "`.github/workflows/x.yml`" in pull.body
    assert f"mark this draft ready for review, then comment `/merge {pull.head_sha[:12]}`" in pull.body
    house.clock.advance(5)
    ask(house, pull)
    assert "The PR is a draft. Mark it ready for review first." in house.said(pull)[-1]
    house.alice.readies(pull)
    house.clock.advance(5)
    ask(house, pull)
    assert f"so the commit must be named. If `{pull.head_sha[:10]}` is what you looked at" in house.said(pull)[-1]
    assert not pull.merged
    house.ci.passes(pull, "build")
    house.alice.comments(pull, f"/merge {pull.head_sha[:12]}")
    house.quiet()
    assert pull.merged
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels", *LANDED)


def test_A44_where_there_are_no_drafts_it_is_a_pull_request_with_the_same_words(make_house: MakeHouse) -> None:
    house = make_house(claude_command=stub("success", "CLAUDE.md"))
    refuses = {
        "message": "Validation Failed",
        "errors": [
            {
                "resource": "PullRequest",
                "code": "custom",
                "message": "Draft pull requests are not supported in this repository.",
            }
        ],
        "documentation_url": "https://docs.github.com/rest",
        "status": "422",
    }
    house.github.faults.add(Fault("POST pulls", answer(422, refuses)))
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert not pull.draft
    assert pull.labels == ["needs-human"]
    assert pull.body
    assert "`CLAUDE.md`" in pull.body
    assert f"comment `/merge {pull.head_sha[:12]}`" in pull.body
    assert "draft" not in pull.body
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "must be named" in refusal(house, pull)
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels", *STOPPED)


def test_A44_a_second_attempt_that_touches_it_is_told_on_the_pull_request(make_house: MakeHouse) -> None:
    house = make_house(claude_command=stub("success"))
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert (pull.draft, pull.labels) == (False, [])
    house.stop()
    house.start(claude_command=stub("success", "Makefile"))
    house.alice.labels(issue, "ready")
    house.quiet()
    assert pull.labels == ["needs-human"]
    [told] = house.said(pull)
    assert "`Makefile`" in told
    assert pull.head_sha[:12] in told
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels", f"POST issues/{pull.number}/comments")


def test_A44_the_operator_says_what_is_protected(make_house: MakeHouse) -> None:
    house = make_house(claude_command=stub("success", "CLAUDE.md"), protected_paths=("docs/",))
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert (pull.draft, pull.labels) == (False, [])
    expect_pull(house, issue)


# A48: names that drive a terminal


@pytest.fixture
def terminal() -> Iterator[io.StringIO]:
    """What the operator sees of the daemon's log on a terminal."""
    root = logging.getLogger()
    before = list(root.handlers)
    stream = io.StringIO()
    log.configure("console", stream=stream)
    yield stream
    structlog.reset_defaults()
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def raw(text: str) -> list[str]:
    return [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u202e\u2028"]


def test_A48_no_title_and_no_file_name_drives_the_terminal_or_forges_a_line(
    make_house: MakeHouse, terminal: io.StringIO
) -> None:
    name = "a\x1b[2J\x07b\nERROR forged.txt"
    house = make_house(claude_command=stub("is-error"))
    issue = ready(house, title=ESCAPES)
    pull = opens(house, files={name: "theirs\n"})
    house.alice.pushes(house.repo, "main", {name: "ours\n"}, "Conflict")
    house.clock.advance(5)
    ask(house, pull)
    shown = terminal.getvalue()
    assert "forged" in shown
    assert raw(shown) == []
    assert not any(line.startswith(("ERROR", "forged")) for line in shown.splitlines())
    saved = state.read(house.folder / "state.json")
    limits = limits_of(Settings(**house.options))
    told = status.text(saved, house.clock.now(), limits)
    assert "forged" in told
    assert raw(told) == []
    assert raw(json.dumps(status.document(saved, house.clock.now(), limits))) == []
    assert raw("".join(house.said(pull) + house.said(issue)).replace("\t", "")) == []
    expect_work(house, issue)
    house.expect(*STOPPED)


# A49: the token where others can read it


def test_A49_the_token_is_in_no_argv_and_no_config_through_a_whole_story(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("true",))
    seen: set[str] = set()
    carried: set[str] = set()

    def look() -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                words = process.cmdline()
                seen.add("\0".join(words))
                if basic in "\0".join(process.environ().values()):
                    carried.add(Path(words[0]).name if words else "")
            except (psutil.Error, OSError):
                continue

    basic = base64.b64encode(f"x-access-token:{house.token}".encode()).decode()
    for request in ("GET *info/refs*", "POST *git-upload-pack", "POST *git-receive-pack"):
        for nth in range(1, 9):
            house.github.before(request, look, nth)
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    house.ci.passes(pull, "build")
    house.clock.advance(5)
    ask(house, pull)
    assert pull.merged
    assert any("git-remote-http" in argv for argv in seen)
    assert not any(form in argv for argv in seen for form in (house.token, basic))
    assert carried <= {"git", "git-remote-http", "git-remote-https"}
    assert carried
    configs = [p for p in house.folder.glob("worktrees/**/*") if p.is_file() and "config" in p.name]
    assert configs
    assert not any(form.encode() in p.read_bytes() for p in configs for form in (house.token, basic))
    expect_pull(house, issue)
    house.expect(*LANDED)


# A50: a redirect


class Elsewhere(HTTPServer):
    """Where a redirect leads: keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeper)
        self.asked: list[str] = []


class _Keeper(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.headers}")
        self.send_error(404)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_A50_a_git_host_that_redirects_gets_no_token_to_its_friends(house: House, elsewhere: Elsewhere) -> None:
    to = f"http://127.0.0.1:{elsewhere.server_port}/x.git/info/refs?service=git-upload-pack"
    house.github.faults.add(Fault("GET *info/refs*", answer(301, {}, {"Location": to}), times=99))
    issue = ready(house)
    house.until(lambda: house.github.journal.count("GET *info/refs*") > 2)
    assert elsewhere.asked == []
    house.github.faults.clear()
    house.quiet()
    expect_pull(house, issue)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_A50_an_api_that_redirects_gets_no_token_to_its_friends(
    tmp_path: Path, elsewhere: Elsewhere, code: int
) -> None:
    with Twin(tmp_path) as github:
        repo = github.repo("acme/app", files={"README.md": "hello\n"})
        token = github.token(github.user("robot", repo, permission="write"))
        to = f"http://127.0.0.1:{elsewhere.server_port}/x"
        github.faults.add(Fault("*", answer(code, {}, {"Location": to}), times=99))
        transport = Transport(github.url, token, SystemClock(), Stop())
        for ask_for in (
            lambda: transport.get("/repos/acme/app"),
            lambda: transport.write("POST", "/repos/acme/app/issues", {"title": "x"}),
            lambda: transport.graphql("Q", "query Q { viewer { login } }", {}),
        ):
            with pytest.raises(Moved):
                ask_for()
        transport.close()
    assert elsewhere.asked == []


# A54: the agent's program is replaced


def test_A54_a_program_that_was_replaced_between_two_runs_is_checked_before_it_runs(
    make_house: MakeHouse, lines: list[Any]
) -> None:
    house = make_house(poll_interval=600)
    program, record = house.folder / "claude", Record(house.folder / "record")
    good = shlex.join([sys.executable, str(STUB), "--record", str(record.file), "success"])

    def install(script: str) -> None:
        new = house.folder / "claude.new"
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        new.replace(program)

    install(f'exec {good} "$@"')
    house.options["claude_command"] = str(program)
    first = ready(house)
    house.quiet()
    assert len(record.runs) == 1
    # The next version knows its flags no more, and would run with settings that nobody asked for.
    install(f'case "$1" in --help) echo -p; exit;; esac; exec {good} "$@"')
    second = ready(house, "Another")
    for_a_while(house, HOUR)
    assert len(record.runs) == 1, "no run with a program that was not looked at"
    assert len(events(lines, "paused")) == 1
    install(f'exec {good} "$@"')
    house.until(lambda: len(house.repo.pulls) == 2)
    house.quiet()
    assert len(record.runs) == 2
    expect_pull(house, first, second)
