"""SIGTERM and Ctrl+C in each phase: out in time, nothing left running, and the next start goes on; and `--once`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents.base import Agent, Bounds, Outcome, RunResult, Task
from orchestrator.clock import Stop
from orchestrator.daemon import Daemon
from orchestrator.leftovers import RUN_ID
from orchestrator.settings import Settings
from orchestrator.state import State
from orchestrator.twin.faults import Fault, hang, status
from tests.child import LEAVES, PATIENCE, Child
from tests.house import stub
from tests.sizes import some

MakeChild = Callable[..., Child]
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


@pytest.fixture
def make_child(tmp_path: Path) -> Iterator[MakeChild]:
    made: list[Child] = []

    def make(**settings: Any) -> Child:
        made.append(Child(tmp_path, **settings))
        return made[-1]

    yield make
    for child in made:
        child.close()


def leaves(child: Child, number: signal.Signals = signal.SIGTERM) -> None:
    """The daemon gets the signal, ends in time and with 0, and nothing of what it started is left."""
    daemon = child.started[-1]
    asked = time.monotonic()
    daemon.send_signal(number)
    assert daemon.wait(PATIENCE) == 0, child.log()
    assert time.monotonic() - asked < LEAVES
    assert child.processes() == []
    assert list(child.temporary.iterdir()) == []


def reached(child: Child, request: str) -> threading.Event:
    """Set when the daemon asks this; GitHub never answers it."""
    event = threading.Event()
    child.github.faults.add(Fault(request, hang(), times=1000))
    child.github.before(request, event.set)
    return event


@BOTH
def test_an_idle_daemon_leaves_at_once(make_child: MakeChild, number: signal.Signals) -> None:
    child = make_child(poll_interval=3600)
    child.start()
    child.until(lambda: child.state().get("repos"))
    leaves(child, number)
    assert child.github.journal.mutations == []


@BOTH
def test_an_agent_that_ignores_the_signal_is_ended_and_the_next_start_goes_on(
    make_child: MakeChild, number: signal.Signals, tmp_path: Path
) -> None:
    child = make_child()
    script = tmp_path / "script"
    script.write_text("ignores-sigterm\nsuccess\n")
    sessions = str(tmp_path / "sessions")
    child.settings["claude_command"] = stub("--record", str(child.record), "--sessions", sessions, f"@{script}")
    child.labelled()
    child.start()
    child.until(lambda: child.runs == 1 and b"deaf" in Path(child.job("implement", 1)["log"]).read_bytes())
    leaves(child, number)
    job = child.job("implement", 1)
    assert (job["status"], job["phase"]) == ("running", "run")
    assert "waiting (1)" in child.command("status").stdout

    child.start()
    child.until(lambda: child.is_done("implement", 1))
    child.stop()
    assert child.runs == 2
    assert [child.said(issue) for issue in child.repo.issues] == [["sticky"]]
    assert [pull.head_ref for pull in child.repo.pulls] == ["feature/issue-1"]


@BOTH
def test_a_command_with_a_child_in_its_own_session_is_ended_whole(
    make_child: MakeChild, number: signal.Signals, tmp_path: Path
) -> None:
    began, go_on = tmp_path / "began", tmp_path / "go-on"
    command = f"[ -e {go_on} ] && exit 0; setsid sleep 60 & sleep 0; touch {began}; sleep 60"
    child = make_child(pre_merge_commands=f'["{command}"]')
    child.asked(child.pull())
    child.start()
    child.until(began.exists)
    leaves(child, number)
    job = child.job("merge", 1)
    assert (job["status"], job["phase"]) == ("running", "gate")
    assert len(child.said(child.repo.pulls[0])) == 1

    go_on.touch()
    child.start()
    child.until(lambda: child.is_done("merge", 1))
    child.stop()
    assert child.repo.pulls[0].merged
    assert child.said(child.repo.pulls[0]) == ["status-*"]


def test_a_merge_that_waits_for_checks_goes_on_waiting_after_a_restart(make_child: MakeChild) -> None:
    child = make_child()
    pull = child.pull()
    ci = child.github.ci(child.repo)
    ci.runs(pull, "build")
    child.asked(pull)
    child.start()
    child.until(lambda: "waiting for checks: `build`" in pull.comments[-1].body)
    leaves(child)
    assert child.job("merge", 1)["phase"] == "gate"

    child.start()
    child.until(lambda: child.github.journal.count("GET commits/*/check-runs") > 5)
    assert not pull.merged
    ci.passes(pull, "build")
    child.until(lambda: child.is_done("merge", 1))
    child.stop()
    assert pull.merged
    assert child.said(pull) == ["status-*"]


@pytest.mark.parametrize(
    "request_",
    some(
        ["GET /user", "GET issues", "POST issues/1/comments", "GET *.git/info/refs", "POST *.git/git-receive-pack"], 2
    ),
)
def test_a_github_that_never_answers_delays_no_stop(make_child: MakeChild, request_: str) -> None:
    child = make_child()
    issue = child.labelled()
    asked = reached(child, request_)
    child.start()
    assert asked.wait(PATIENCE)
    leaves(child)

    child.github.faults.clear()
    child.start()
    child.until(lambda: child.is_done("implement", 1))
    child.stop()
    assert child.said(issue) == ["sticky"]
    assert [pull.head_ref for pull in child.repo.pulls] == ["feature/issue-1"]


def test_once_waits_for_its_jobs_and_does_not_poll_again(make_child: MakeChild) -> None:
    child = make_child(review_prs="all")
    child.labelled()
    daemon = child.start("--once")
    assert daemon.wait(PATIENCE) == 0, child.log()
    assert len(child.repo.pulls) == 1
    assert child.is_done("implement", 1)
    assert child.job("review", 2) == {}
    assert len([e for e in child.github.journal.find("GET issues") if "labels" in e.query]) == 1


def test_once_tells_by_its_exit_code_that_some_work_failed(make_child: MakeChild) -> None:
    child = make_child(claude_command=stub("exit-1"))
    issue = child.labelled()
    daemon = child.start("--once")
    assert daemon.wait(PATIENCE) == 1, child.log()
    assert issue.labels == ["needs-human"]


def test_once_tells_by_its_exit_code_that_it_could_not_look(make_child: MakeChild) -> None:
    child = make_child()
    child.github.faults.add(Fault("GET pulls", status(502), times=1000))
    daemon = child.start("--once")
    assert daemon.wait(PATIENCE) == 1, child.log()


def in_this_process(child: Child, agent: Agent | None = None) -> Daemon:
    """The daemon as an object."""
    files = {"state_file": child.folder / "state.json", "worktree_base": child.folder / "worktrees"}
    settings = Settings(**{**child.settings, **files})
    return Daemon(settings, child.token, State.open(settings.state_file), agent=agent)


def test_a_stop_ends_the_rest_between_two_polls(make_child: MakeChild) -> None:
    child = make_child(poll_interval=3600)
    daemon = in_this_process(child)
    polled = threading.Event()
    loop = threading.Thread(target=lambda: daemon.loop(False, polled.set), daemon=True)
    loop.start()
    assert polled.wait(PATIENCE)
    daemon.halt.set("enough")
    loop.join(PATIENCE)
    assert not loop.is_alive()


class Hanging:
    """An agent whose run starts a process and whose thread then hears of nothing."""

    name = "hanging"

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.child: subprocess.Popen[bytes] | None = None

    def run(self, task: Task, bounds: Bounds, stop: Stop) -> RunResult:
        """Until the test ends."""
        self.child = subprocess.Popen(["sleep", "60"], env={**os.environ, RUN_ID: task.run_id})
        self.began.set()
        self.go_on.wait(PATIENCE)
        return RunResult(Outcome.STOPPED, "", None, task.session_id, 0, 0.0, 0.0, "")

    def read_back(self, task: Task, bounds: Bounds) -> RunResult | None:
        """Never asked."""
        raise NotImplementedError

    def version(self) -> str:
        """Any."""
        return "0"

    check = version

    def probe(self, stop: Stop) -> RunResult:
        """Never asked."""
        raise NotImplementedError


def test_a_run_whose_thread_hangs_is_ended_from_outside(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.slots.STOP_WITHIN", 0.3)
    monkeypatch.setattr("orchestrator.slots.GRACE", 0.1)
    child = make_child()
    child.labelled()
    agent = Hanging()
    daemon = in_this_process(child, agent)
    for _ in range(400):
        daemon.poll()  # the first one hears the wish, a later one gives it a slot
        if agent.began.wait(0.05):
            break
    (thread,) = daemon.slots.threads()
    daemon.close()
    assert agent.child is not None
    agent.child.wait(PATIENCE)  # by itself it would outlast our patience
    agent.go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_daemon_at_rest_tells_its_watchdog_that_it_lives(make_child: MakeChild, tmp_path: Path) -> None:
    child = make_child(poll_interval=3600)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        child.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="150000")
        heard = [manager.recv(100) for _ in range(6)]
        assert heard == [b"READY=1", *[b"WATCHDOG=1"] * 5]
        child.stop()
        while manager.recv(100) != b"STOPPING=1":
            pass
