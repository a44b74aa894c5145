"""Faults of the machine and of the daemon itself: crash loops, clocks, sleep, used-up resources, what was left running.

F15, F19, F34, F35, F65, F68, F73-F75 of the fault matrix, and the log line when nothing moves.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents.base import Bounds, Outcome, Role, Task
from orchestrator.agents.claude import Claude
from orchestrator.agents.prompts import prompt_file
from orchestrator.clock import Stop, SystemClock
from orchestrator.errors import Misconfigured
from orchestrator.instance import instance_id
from orchestrator.leftovers import RUN_ID
from orchestrator.process import Limits, shell
from orchestrator.record import Job, Kind, Status
from orchestrator.state import State
from orchestrator.twin import Fault, status
from tests.child import Child
from tests.conftest import MakeHouse
from tests.faulty import events
from tests.house import House, stub
from tests.merging import LANDED, STOPPED, gone, green, refusal
from tests.story import Record, eventually, expect_pull, outcomes, ready, rests

HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(tmp_path)
    yield made
    made.close()


def test_F15_a_job_that_the_daemon_dies_with_again_and_again_is_parked_with_one_comment(child: Child) -> None:
    issue = child.labelled()
    for death in range(5):
        # What its agent is to be told: heard before it once, and then something in its work kills the daemon each time.
        child.dies_before("POST *graphql", nth=1 if death else 2)
        child.start_and_die()
    child.start()
    child.until(lambda: child.job("implement", 1).get("status") == "parked")
    other = child.labelled("Another")
    child.until(lambda: child.is_done("implement", other.number))
    child.stop()
    assert "ended unexpectedly 5 times within ten minutes" in child.job("implement", 1)["reason"]
    assert len([key for key in child.said(issue) if key.startswith("failed-")]) == 1
    assert len(child.repo.pulls) == 1


def crashed(house: House, *times: float) -> None:
    """The daemon died at these times while issue 1 was under way, and was not started since."""
    state = State.open(house.folder / "state.json")
    state.put(Job("acme/app", Kind.IMPLEMENT, 1, "", Status.RUNNING, crashes=list(times)))
    state.close()
    (house.folder / "state.json.lock").write_text("4711 0\n")  # as one that could not close it leaves it


@pytest.mark.parametrize(("ago", "parked"), [(60.0, True), (700.0, False)])
def test_F15_only_deaths_of_the_last_ten_minutes_count(house: House, ago: float, parked: bool) -> None:
    issue = ready(house)
    crashed(house, *[house.clock.now() - ago] * 4)
    house.quiet()
    assert (house.job("implement", 1).status is Status.PARKED) == parked
    assert len(house.repo.pulls) == (0 if parked else 1)
    if parked:
        assert len(outcomes(issue)) == 1
        house.expect("POST issues/1/comments", "POST issues/1/labels", "DELETE issues/1/labels/*")
    else:
        expect_pull(house, issue)


def test_F15_the_innocent_are_not_given_up_with_the_guilty(house: House) -> None:
    """After two deaths with both under way they go one at a time, and who only waits is not counted any more."""
    first, second = ready(house), ready(house, "Another")
    state = State.open(house.folder / "state.json")
    for number in (1, 2):
        state.put(Job("acme/app", Kind.IMPLEMENT, number, "", Status.RUNNING, crashes=[house.clock.now()]))
    state.close()
    lock = house.folder / "state.json.lock"
    lock.write_text("4711 0\n")
    seen: list[list[Status]] = []
    house.github.before("GET issues/1", lambda: seen.append([job.status for job in house.jobs]))
    house.quiet()
    assert sorted(seen[0]) == [Status.RUNNING, Status.WAITING]
    assert [len(house.job("implement", n).crashes) for n in (1, 2)] == [2, 2]
    expect_pull(house, first, second)


def test_F15_a_daemon_that_was_stopped_in_order_did_not_crash(house: House) -> None:
    issue = ready(house)
    crashed(house, *[house.clock.now()] * 4)
    (house.folder / "state.json.lock").write_text("")
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert len(house.job("implement", 1).crashes) == 4
    expect_pull(house, issue)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM])
def test_F19_what_the_machine_lacks_is_waited_for_and_counts_against_no_item(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    house.start()
    issue = ready(house)
    lacks = [True]

    real = Path.mkdir

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == "logs" and lacks[0]:
            raise OSError(number, os.strerror(number), str(path))
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    end = house.clock.now() + HOUR
    house.until(lambda: house.clock.now() > end)
    job = house.job("implement", 1)
    assert (job.status, job.failures, job.attempt) == (Status.WAITING, 0, 1)
    assert os.strerror(number) in job.reason
    lacks[0] = False
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert outcomes(issue) == []
    expect_pull(house, issue)


def test_F19_status_tells_how_many_files_the_daemon_has_open(child: Child) -> None:
    child.start()
    child.until(lambda: '"polled_at": 1' in child.command("status", "--json").stdout)
    files = len(list(Path(f"/proc/{child.started[-1].pid}/fd").iterdir()))
    assert f'"open_files": {files}' in child.command("status", "--json").stdout
    child.stop()


def test_F19_a_job_that_is_over_leaves_no_connection_open(house: House) -> None:
    issues = [ready(house, f"Issue {number}") for number in range(3)]
    house.quiet()
    assert len(house.repo.pulls) == 3
    eventually(lambda: house.github.connections == 2, "only those of the start and of the loop are left")
    expect_pull(house, *issues)


def test_a_request_that_makes_no_sense_stops_nothing(house: House, lines: list[Any]) -> None:
    house.start()
    house.quiet()
    requests = house.folder / "state.json.requests"
    requests.mkdir()
    for number, word in enumerate(("[]", "no JSON", "{}", '{"verb": "retry", "key": "acme/app#9/implement"}')):
        (requests / f"{number}.json").write_text(word)
    (requests / "9.json").mkdir()
    issue = ready(house)
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert [line["verb"] for line in events(lines, "obeyed")] == ["retry"]
    assert events(lines, "step_broke") == []
    expect_pull(house, issue)


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_F34_a_wall_clock_that_jumps_moves_no_time_of_ours(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    clock = SystemClock()
    before, wall = clock.now(), time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    assert 0 <= clock.now() - before < 60


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_F34_no_limit_of_a_run_fires_when_the_wall_clock_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    wall = time.time
    task = Task(Role.IMPLEMENT, tmp_path, prompt_file("implement"), "Do it.", "s", "r", tmp_path / "log")
    agent = Claude(stub("success"), {"PATH": os.environ["PATH"]})
    monkeypatch.setattr(time, "time", lambda: wall() + (jump if task.log.exists() else 0.0))  # in the midst of it
    assert agent.run(task, Bounds(9, 1.0, total=HOUR, stall=HOUR), Stop()).outcome is Outcome.DONE


def test_F34_the_time_of_github_is_what_counts() -> None:
    clock = SystemClock()
    clock.agree(1_000_000.0)
    assert 0 <= clock.now() - 1_000_000.0 < 60


def test_F35_a_run_is_not_ended_because_the_machine_slept(make_house: MakeHouse) -> None:
    house = make_house(run_timeout=60, stall_timeout=60)
    go_on = house.folder / "go-on"
    command = f"while [ ! -e {go_on} ]; do sleep 0.02; done"
    house.options["setup_commands"] = (command,)
    issue = ready(house)
    house.start()
    eventually(lambda: (house.folder / "worktrees/acme/app/issue-1").exists(), "the worktree")
    eventually(lambda: rests(house), "the end of a poll")
    before = house.github.journal.count("GET issues")
    house.clock.advance(8 * HOUR)  # the process slept too: its own seconds did not pass
    eventually(lambda: house.github.journal.count("GET issues") > before, "a poll right after the sleep")
    go_on.touch()
    house.quiet()
    assert len(house.repo.pulls) == 1
    assert house.job("implement", 1).attempt == 1
    expect_pull(house, issue)


def test_F35_what_was_read_before_the_machine_slept_is_read_again_before_the_call(house: House) -> None:
    pull = green(house)
    house.start()
    house.quiet()
    asked = "GET collaborators/alice/permission"
    house.github.before("GET git/ref/heads/main", lambda: house.clock.advance(8 * HOUR), nth=2)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert pull.merged
    call = next(e.number for e in house.github.journal.find("PUT pulls/*/merge"))
    slept = [e.number for e in house.github.journal.find("GET git/ref/heads/main")][1]
    assert [e for e in house.github.journal.find(asked) if slept < e.number < call], "everything is read again"
    house.expect(*LANDED, "PUT pulls/*/merge")


def test_F35_what_was_read_before_a_sleep_between_the_gate_and_the_call_is_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = green(house)
    real = State.put
    slept: list[Job] = []

    def put(state: State, job: Job) -> None:
        real(state, job)
        if job.phase == "land" and not slept:
            slept.append(job)
            house.clock.advance(8 * HOUR)
            house.ci.fails(pull, "build")

    monkeypatch.setattr(State, "put", put)
    house.alice.comments(pull, "/merge")
    house.quiet()
    assert "merge" not in slept[0].effects, "it slept before the call was on the record"
    assert "`build`" in refusal(house, pull)
    house.expect(*STOPPED)


BOMB = """
import os, shutil, sys, tempfile
from pathlib import Path
from orchestrator import hold, process
from orchestrator.clock import Stop

hold.MOST_TASKS = 40
folder = Path(tempfile.mkdtemp(dir="/tmp"))
if os.getuid() == 0:  # who is not bound by such limits
    os.chown(folder, 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)

def ran(line, name):
    limits = process.Limits(total=30.0, grace=0.1)
    return process.shell(line, cwd=folder, env={"PATH": "/usr/bin:/bin"}, run_id=name, output=folder / name,
                         limits=limits, stop=Stop())

# A shell that only looks for a place to fork tries again for long.
bomb = ran("sleep 1; exec sh -c 'while sleep 60 & do :; done'", "bomb")
after = ran("exit 7", "after")
shutil.rmtree(folder)
print(bomb.cause.value, bomb.code != 0, 0 < bomb.killed < 4000, after.code)
"""


def test_F58_a_fork_bomb_ends_itself_and_not_the_daemon() -> None:
    done = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, timeout=60)
    assert done.stdout == "exited True True 7\n", done.stderr


def test_F58_when_memory_runs_out_the_kernel_takes_the_run_and_not_the_daemon(tmp_path: Path) -> None:
    own = Path("/proc/self/oom_score_adj").read_text()
    limits, score = Limits(total=30.0), tmp_path / "score"
    look, env = f"sleep 0.2; (cat /proc/self/oom_score_adj) > {score}", dict(os.environ)
    shell(look, cwd=tmp_path, env=env, run_id="memory", output=tmp_path / "log", limits=limits, stop=Stop())
    assert score.read_text() == "1000\n"
    assert Path("/proc/self/oom_score_adj").read_text() == own


@pytest.mark.parametrize("failures", [0, 3])
@pytest.mark.parametrize("scenario", ["review-prose", "review-shape"])
def test_F65_an_answer_in_the_wrong_form_is_asked_for_once_more(
    make_house: MakeHouse, scenario: str, failures: int
) -> None:
    house = make_house(review_prs="all", review_debounce=0)
    record, sessions = house.folder / "record", house.folder / "sessions"
    pull = green(house)
    if failures:  # 1: heard, 2: prepared, 3: before the first run, 4: before the second
        house.github.faults.add(Fault("GET pulls/1", status(502), nth=4, times=failures))
    house.start(
        claude_command=stub("--record", str(record), "--sessions", str(sessions), "--review", scenario, "success")
    )
    house.quiet()
    assert len(Record(record).runs) == 2
    assert "not in the form" in Record(record).prompts[1]
    assert pull.reviews == []
    assert len(outcomes(pull)) == 1
    house.expect("POST issues/*/reactions", "POST issues/*/comments", "PATCH issues/comments/*")


def test_F68_only_processes_of_this_very_daemon_are_ended_at_its_start(house: House) -> None:
    settings = {**house.options}
    own = instance_id(Path(settings["state_file"]))
    names = {"ours": f"{own}-1", "another daemon's": "0123456789ab-1", "a stranger's": ""}
    left = {who: subprocess.Popen(["sleep", "60"], env={RUN_ID: run} if run else {}) for who, run in names.items()}
    try:
        house.start()
        eventually(lambda: gone(left["ours"].pid), "the end of what was ours")
        assert not gone(left["another daemon's"].pid)
        assert not gone(left["a stranger's"].pid)
    finally:
        for process in left.values():
            process.kill()
            process.wait()


def test_F73_settings_that_became_wrong_leave_the_daemon_as_it_was(house: House, lines: list[Any]) -> None:
    def renew() -> str:
        raise Misconfigured("POLL_INTERVAL must be a number.")

    house.start(renew=renew)
    house.quiet()
    house.github.revokes(house.token)
    end = house.clock.now() + HOUR
    house.until(lambda: house.clock.now() > end)
    assert len(events(lines, "token_not_read")) == 1
    assert house.jobs == []


@pytest.mark.parametrize("sink", ["full", "closed"])
def test_F74_a_log_that_cannot_be_written_stops_nothing(child: Child, sink: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = os.open("/dev/full", os.O_WRONLY) if sink == "full" else writing
    try:
        child.labelled()
        child.sink = log
        child.start()
        child.until(lambda: child.is_done("implement", 1))
        child.stop()
    finally:
        for fd in {log, writing}:
            os.close(fd)
    assert len(child.repo.pulls) == 1


def test_F75_a_stop_while_an_agent_works_is_out_in_time_with_zero_and_the_next_start_goes_on(child: Child) -> None:
    script = child.folder / "script"
    script.write_text("ignores-sigterm\nsuccess\n")
    sessions = str(child.folder / "sessions")
    child.settings["claude_command"] = stub("--record", str(child.record), "--sessions", sessions, f"@{script}")
    child.labelled()
    child.start()
    child.until(lambda: child.runs == 1)
    asked = time.monotonic()
    child.stop()
    assert time.monotonic() - asked < 5
    assert child.processes() == []
    child.start()
    child.until(lambda: child.is_done("implement", 1))
    child.stop()
    job = child.job("implement", 1)
    assert (child.runs, job["attempt"], job["continuations"], job["crashes"]) == (2, 1, 0, [])


def test_work_that_could_start_and_does_not_is_told_of_loudly(
    house: House, lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = ready(house)
    with monkeypatch.context() as broken:
        broken.setattr("orchestrator.daemon.runnable", lambda *_: [])  # what nothing that can be met does
        house.start()
        end = house.clock.now() + HOUR
        house.until(lambda: house.clock.now() > end)
    told = events(lines, "nothing_starts")
    assert 4 <= len(told) <= 6
    assert told[0]["waiting"] == ["acme/app#1/implement"]
    house.quiet()
    expect_pull(house, issue)
