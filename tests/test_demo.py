"""`orchestrator demo` as a stranger runs it: an environment with nothing in it, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from tests.child import PATIENCE, ROOT

MINUTE = 60.0


@dataclass(frozen=True)
class Stranger:
    """A new HOME and an empty folder for temporary files."""

    home: Path
    temporary: Path

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }

    @contextmanager
    def demo(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The command, with both of its streams in one pipe; killed where a test fails in between."""
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "orchestrator", "demo", *words],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as demo:
            try:
                yield demo
            finally:
                if demo.poll() is None:
                    demo.terminate()

    def left(self) -> list[str]:
        """Files, and processes that carry the HOME."""
        found = [str(path) for folder in (self.home, self.temporary) for path in folder.iterdir()]
        for process in psutil.process_iter():
            try:
                if str(self.home) in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    made = Stranger(tmp_path / "home", tmp_path / "temporary")
    made.home.mkdir()
    made.temporary.mkdir()
    return made


def read_to(demo: subprocess.Popen[str], word: str) -> str:
    """The output up to the line that holds this word."""
    assert demo.stdout is not None
    read = ""
    for line in demo.stdout:
        read += line
        if word in line:
            return read
    raise AssertionError(f"{word!r} was never said:\n{read}")


def until(done: Callable[[], bool]) -> None:
    """Wait, bounded, until it is so."""
    end = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        pause.wait(0.1)


def test_the_demo_tells_the_whole_story_in_a_minute_and_leaves_nothing(stranger: Stranger) -> None:
    began = time.monotonic()
    with stranger.demo() as demo:
        out, _ = demo.communicate(timeout=2 * MINUTE)
    assert demo.returncode == 0, out
    assert time.monotonic() - began < MINUTE
    steps = (
        r"scripted stand-in: no model is asked",
        r"labelled issue #1 .* with `ready`: http://127\.0\.0\.1:\d+/acme/greetings/issues/1$",
        r"an agent works in its own worktree",
        r"Pull request #2 was opened from `feature/issue-1`: http://127\.0\.0\.1:\d+/acme/greetings/pull/2$",
        r"It was reviewed at [0-9a-f]{10}: 1 remark",
        r"@you commented `/merge`",
        r"Merged as [0-9a-f]{10}; the branch was deleted and issue #1 closed",
        r"git log of main:",
        r"Add a greet function with a test \(#2\)$",
        r"Everything was stopped and removed",
    )
    lines = iter(out.splitlines())
    for step in steps:
        assert any(re.search(step, line) for line in lines), f"{step!r} is missing, or not in its place:\n{out}"
    assert stranger.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl+C", "SIGTERM"])
def test_a_demo_that_is_ended_in_the_middle_leaves_nothing(stranger: Stranger, number: signal.Signals) -> None:
    with stranger.demo() as demo:
        read_to(demo, "labelled issue #1")
        assert len(stranger.left()) > 1
        demo.send_signal(number)
        out, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    assert "Traceback" not in out
    assert stranger.left() == []


def test_a_demo_that_is_kept_does_what_its_curl_lines_say(stranger: Stranger) -> None:
    with stranger.demo("--keep") as demo:
        out = read_to(demo, "Ctrl+C ends it.")
        token = re.search(r"Authorization: Bearer (\S+)'", out)
        assert token is not None
        calls = re.findall(r"-X POST (http://127\.0\.0\.1:\d+/repos/acme/greetings/\S+) -d '(.*)'", out)
        assert len(calls) == 3
        with requests.Session() as you:
            you.headers["Authorization"] = f"Bearer {token[1]}"

            def curl(line: int, number: int) -> dict[str, object]:
                url, data = calls[line]
                answer = you.post(url.replace("NUMBER", str(number)), data=data)
                assert answer.ok, answer.text
                found = answer.json()
                return dict(found[0] if isinstance(found, list) else found)

            place = calls[0][0].rpartition("/")[0]
            issue = curl(0, 0)
            number = int(str(issue["number"]))
            curl(1, number)
            until(lambda: len(you.get(f"{place}/pulls").json()) == 1)
            opened = int(time.time())
            until(lambda: int(time.time()) > opened)
            pull = int(you.get(f"{place}/pulls").json()[0]["number"])
            curl(2, pull)
            until(lambda: bool(you.get(f"{place}/pulls/{pull}").json()["merged"]))
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0
    assert "Everything was stopped and removed" in out
    assert stranger.left() == []
