"""Real processes: what `process.run` promises about limits, output and what is left."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator import pipes
from orchestrator.clock import Stop
from orchestrator.leftovers import RUN_ID
from orchestrator.process import MIB, Cause, Ended, Limits, clean_env, run, shell, sweep

PATH = "/usr/local/bin:/usr/bin:/bin"
PLENTY = Limits(total=30.0, grace=0.3)


class Lab:
    """A folder to run things in, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "logs" / "output"
        self.errors = folder / "errors"
        self.pids = folder / "pids"

    def sh(
        self,
        script: str,
        limits: Limits = PLENTY,
        stop: Stop | None = None,
        on_line: Callable[[bytes], None] | None = None,
        stdin: bytes = b"",
    ) -> Ended:
        return run(
            ["/bin/sh", "-c", script],
            cwd=self.folder,
            env={"PATH": PATH},
            run_id=str(uuid.uuid4()),
            output=self.output,
            errors=self.errors,
            limits=limits,
            stop=stop or Stop(),
            on_line=on_line,
            stdin=stdin,
        )

    def left(self) -> list[int]:
        """Those of the recorded pids that live."""
        recorded = [int(line) for line in self.pids.read_text().split()]
        assert recorded, "nothing was started"
        return [pid for pid in recorded if lives(pid)]


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether the condition comes true in time."""
    pause = threading.Event()
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        pause.wait(0.01)
    return holds()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_streams_go_to_their_files_and_lines_to_the_caller(lab: Lab) -> None:
    lines: list[bytes] = []
    ended = lab.sh("echo one; echo two >&2; printf 'thr\\303\\051\\342\\200\\250ee'; exit 3", on_line=lines.append)
    assert (ended.code, ended.cause, ended.killed) == (3, Cause.EXITED, 0)
    assert lines == [b"one", b"thr\xc3\x29\xe2\x80\xa8ee"]  # bad UTF-8 and U+2028 are bytes like others
    assert lab.output.read_bytes() == b"one\nthr\xc3\x29\xe2\x80\xa8ee"
    assert lab.errors.read_bytes() == b"two\n"


def test_a_log_is_for_its_owner_only(lab: Lab) -> None:
    lab.sh("echo secret")
    assert stat.S_IMODE(lab.output.stat().st_mode) == 0o600


def test_a_shell_command_has_both_streams_in_one_file_and_no_input(lab: Lab) -> None:
    ended = shell(
        "cat; echo one; echo two >&2",
        cwd=lab.folder,
        env={"PATH": PATH},
        run_id=str(uuid.uuid4()),
        output=lab.output,
        limits=PLENTY,
        stop=Stop(),
    )
    assert (ended.code, ended.cause) == (0, Cause.EXITED)
    assert lab.output.read_text() == "one\ntwo\n"


def test_a_child_ended_by_a_signal_has_a_negative_code(lab: Lab) -> None:
    ended = lab.sh("kill -KILL $$")
    assert (ended.code, ended.cause) == (-signal.SIGKILL, Cause.EXITED)


def test_the_environment_is_what_is_given_and_the_run_id(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_never")
    run(
        ["/usr/bin/env"],
        cwd=lab.folder,
        env={"A": "1"},
        run_id="the-run",
        output=lab.output,
        errors=None,
        limits=PLENTY,
        stop=Stop(),
    )
    assert sorted(lab.output.read_text().split()) == ["A=1", f"{RUN_ID}=the-run"]


def test_only_allowed_names_pass_into_a_clean_environment() -> None:
    secrets = {"GITHUB_TOKEN": "x", "GH_TOKEN": "x", "GIT_DIR": "x", "GIT_CONFIG_COUNT": "1", "LD_PRELOAD": "x"}
    locale = {"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX", "LC_CTYPE": "C"}
    environ = {"PATH": PATH, "HOME": "/h", "https_proxy": "p", "TERM": "xterm", "MINE": "m", "OTHER": "o"}
    expected = {"PATH": PATH, "HOME": "/h", "https_proxy": "p", "TERM": "dumb", "MINE": "m"}
    expected |= {"FIXED": "f", "GH_CONFIG_DIR": "/dev/null", "LANG": "C.UTF-8"}
    for given in (environ, {**environ, **secrets, **locale}):
        assert clean_env(given, "MINE", "ABSENT", FIXED="f") == expected
    assert clean_env({**environ, **locale}, "LC_ALL", LANG="fr_FR.UTF-8").items() >= {
        ("LANG", "fr_FR.UTF-8"),
        ("LC_ALL", "POSIX"),
    }


@pytest.mark.parametrize(("mode", "error"), [(None, FileNotFoundError), (0o644, PermissionError)])
def test_a_program_that_cannot_be_started_is_told_at_once(lab: Lab, mode: int | None, error: type[OSError]) -> None:
    program = lab.folder / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    with pytest.raises(error):
        run(
            [str(program)],
            cwd=lab.folder,
            env={},
            run_id="r",
            output=lab.output,
            errors=None,
            limits=PLENTY,
            stop=Stop(),
        )


@pytest.mark.parametrize(
    ("script", "limits", "cause"),
    [
        ("while :; do echo x; sleep 0.05; done", Limits(total=0.4, stall=20.0, grace=0.3), Cause.TOTAL),
        ("echo x; sleep 60", Limits(total=20.0, stall=0.4, first=20.0, grace=0.3), Cause.STALLED),
        ("sleep 60", Limits(total=20.0, stall=20.0, first=0.4, grace=0.3), Cause.STALLED),
        ("sleep 60", Limits(total=20.0, stall=0.4, grace=0.3), Cause.STALLED),
        ("while :; do echo x >&2; sleep 0.05; done", Limits(total=20.0, stall=0.4, grace=0.3), Cause.STALLED),
        ("exec yes", Limits(total=20.0, grace=0.3, output=MIB), Cause.FLOODED),
        ("exec yes >&2", Limits(total=20.0, grace=0.3, output=MIB), Cause.FLOODED),
    ],
    ids=["total", "silent later", "silent at first", "silent always", "noise on stderr", "flood", "flood on stderr"],
)
def test_each_limit_ends_the_run_and_is_named(lab: Lab, script: str, limits: Limits, cause: Cause) -> None:
    ended = lab.sh(script, limits)
    assert ended.cause is cause
    assert ended.code == -signal.SIGTERM
    assert ended.seconds < 10.0
    assert lab.output.stat().st_size + lab.errors.stat().st_size <= MIB


def test_a_child_that_speaks_is_not_stalled(lab: Lab) -> None:
    ended = lab.sh("for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done", Limits(total=20.0, stall=0.5))
    assert (ended.cause, ended.code) == (Cause.EXITED, 0)


def test_a_stop_ends_the_run(lab: Lab) -> None:
    stop = Stop()
    ended = lab.sh("echo ready; exec sleep 60", stop=stop, on_line=lambda line: stop.set("enough"))
    assert (ended.cause, ended.code) == (Cause.STOPPED, -signal.SIGTERM)


def test_a_stop_that_outlives_many_runs_forgets_them(lab: Lab) -> None:
    class Counting(Stop):
        listeners = 0

        def listen(self, call: Callable[[], None]) -> Callable[[], None]:
            undo = super().listen(call)
            self.listeners += 1

            def forget() -> None:
                undo()
                self.listeners -= 1

            return forget

    stop = Counting()
    lab.sh("true", stop=stop)
    assert stop.listeners == 0


def test_nothing_is_started_after_a_stop(lab: Lab) -> None:
    stop = Stop()
    stop.set("before")
    assert lab.sh("echo started > started", stop=stop).cause is Cause.STOPPED
    assert not (lab.folder / "started").exists()


def test_what_a_child_says_on_its_way_out_is_heard(lab: Lab) -> None:
    stop = Stop()
    lines: list[bytes] = []

    def on_line(line: bytes) -> None:
        lines.append(line)
        stop.set("enough")

    lab.sh("trap 'echo bye; exit 5' TERM; echo ready; sleep 60 & wait", stop=stop, on_line=on_line)
    assert lines == [b"ready", b"bye"]


def test_a_deaf_tree_is_gone_in_under_five_seconds_with_the_usual_grace(lab: Lab) -> None:
    stop = Stop()
    (lab.folder / "deaf").write_text("trap '' TERM; echo $$ >> pids; while :; do sleep 1; done")
    script = "trap '' TERM; setsid sh deaf & while [ ! -s pids ]; do :; done; echo ready; . ./deaf"
    asked = [0.0]

    def on_line(line: bytes) -> None:
        asked[0] = time.monotonic()
        stop.set("enough")

    ended = lab.sh(script, Limits(total=60.0), stop=stop, on_line=on_line)
    assert time.monotonic() - asked[0] < 5.0
    assert ended.code == -signal.SIGKILL
    assert lab.left() == []


LEFTOVERS = {
    "background": "sleep 60 & echo $! > pids",
    "nohup": "nohup sleep 60 > /dev/null 2>&1 & echo $! > pids",
    "own session": "setsid sh -c 'echo $$ > pids; exec sleep 60' & while [ ! -s pids ]; do :; done",
    "double fork": "(setsid sh -c 'echo $$ > pids; exec sleep 60' &) ; while [ ! -s pids ]; do :; done",
    "deaf": "(setsid sh -c 'trap \"\" TERM; echo $$ > pids; sleep 60; sleep 60' &) ; while [ ! -s pids ]; do :; done",
    "no environment, own group": "env -i /usr/bin/sleep 60 & echo $! > pids",
}


@pytest.mark.parametrize("script", LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_nothing_outlives_a_run_that_ends_well(lab: Lab, script: str) -> None:
    ended = lab.sh(f"{script}; echo done")  # each of them holds a stream of the run open
    assert (ended.code, ended.cause) == (0, Cause.EXITED)
    assert ended.killed >= 1
    assert ended.seconds < 10.0
    assert lab.left() == []


def test_a_limit_finds_a_descendant_without_environment_in_its_own_session(lab: Lab) -> None:
    hidden = "setsid env -i /bin/sh -c 'echo $$ > pids; exec sleep 60'"
    ended = lab.sh(f"{hidden} & while [ ! -s pids ]; do :; done; echo ready; wait", Limits(total=30.0, stall=0.3))
    assert ended.cause is Cause.STALLED
    assert lab.left() == []


def test_a_leader_whose_first_thread_has_ended_still_leads_to_its_descendants(lab: Lab) -> None:
    program = """import ctypes, subprocess, threading, time
hidden = subprocess.Popen(["sleep", "60"], env={}, start_new_session=True)
open("pids", "w").write(str(hidden.pid))
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)"""
    (lab.folder / "program.py").write_text(program)
    ended = lab.sh(f"exec {sys.executable} program.py", Limits(total=1.0, grace=0.1))
    assert ended.cause is Cause.TOTAL
    assert lab.left() == []


def test_other_runs_and_strangers_are_left_alone(lab: Lab) -> None:
    with subprocess.Popen(["sleep", "60"], env={RUN_ID: "another"}, start_new_session=True) as stranger:
        assert lab.sh("setsid sleep 60 & echo x").killed == 1
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize(("script", "said"), [("exit 0", ""), ("sleep 0.3; wc -c", "10000000\n"), ("exec <&-", "")])
def test_input_never_blocks(lab: Lab, script: str, said: str) -> None:
    ended = lab.sh(script, stdin=b"x" * 10_000_000)
    assert (ended.code, ended.cause) == (0, Cause.EXITED)
    assert lab.output.read_text().strip() == said.strip()


def test_a_line_of_ten_megabytes_arrives_whole(lab: Lab) -> None:
    lines: list[bytes] = []
    lab.sh("head -c 10000000 /dev/zero; echo; echo after", on_line=lines.append)
    assert [len(line) for line in lines] == [10_000_000, 5]


def test_a_line_beyond_all_measure_is_kept_in_the_file_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_LINE", 100_000)
    lines: list[bytes] = []
    lab.sh("echo before; head -c 300000 /dev/zero; echo; echo after", on_line=lines.append)
    assert lines == [b"before", b"after"]
    assert lab.output.stat().st_size == 300_000 + len("before\n\nafter\n")


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_lines_are_the_same_however_the_bytes_come(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(pipes, "MAX_LINE", 6)
    given: list[bytes] = []
    lines = pipes.Lines(given.append)
    said = b"one\n\nmuch too long\nsix six\nsixsix\nand here as well\nend"
    for at in range(0, len(said), size):
        lines.feed(said[at : at + size])
    lines.close()
    assert given == [b"one", b"", b"sixsix", b"end"]


def test_an_error_of_the_listener_ends_the_run_and_is_raised(lab: Lab) -> None:
    def on_line(line: bytes) -> None:
        raise ValueError(line.decode())

    with pytest.raises(ValueError, match="ready"):
        lab.sh("echo $$ > pids; echo ready; exec sleep 60", on_line=on_line)
    assert lab.left() == []


def test_many_runs_at_once_from_short_lived_threads(lab: Lab) -> None:
    codes: dict[int, int] = {}

    def one(number: int) -> None:
        codes[number] = Lab(lab.folder / str(number)).sh(f"sleep 60 & exit {number}").code

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for number, thread in enumerate(threads):
        (lab.folder / str(number)).mkdir()
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(6)}


def test_a_sweep_ends_what_a_killed_daemon_left(lab: Lab) -> None:
    run_id = str(uuid.uuid4())
    program = f"""
from pathlib import Path
from orchestrator.process import *
from orchestrator.clock import Stop
script = "echo $$ > first; setsid sh -c 'echo $$ >> pids; exec sleep 60' & cat first >> pids; exec sleep 60"
run(["/bin/sh", "-c", script], cwd=Path({str(lab.folder)!r}), env={{"PATH": {PATH!r}}}, run_id={run_id!r},
    output=Path("out"), errors=None, limits=Limits(60), stop=Stop())
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-c", program], env=env, cwd=lab.folder) as daemon:
        assert eventually(lambda: lab.pids.exists() and len(lab.pids.read_text().split()) == 2)
        daemon.kill()
    assert len(lab.left()) == 2
    assert sweep(str(uuid.uuid4())) == 0
    assert sweep(run_id) == 2
    assert lab.left() == []


def test_no_run_leaves_a_thread_or_a_descriptor(lab: Lab) -> None:
    lab.sh("true")  # the spawner's thread stays
    threads, descriptors = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        lab.sh("sleep 60 & cat; echo x; echo y >&2", stdin=b"z", on_line=lambda line: None)
    assert threading.active_count() == threads
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


def test_a_child_whose_end_somebody_else_took_is_over_and_no_success(lab: Lab) -> None:
    def take() -> None:
        [child] = [one for one in psutil.Process().children() if "echo up; sleep 60" in one.cmdline()]
        child.kill()
        os.waitpid(child.pid, 0)

    ended = lab.sh("echo up; sleep 60", on_line=lambda line: take())
    assert (ended.code, ended.cause) == (-signal.SIGKILL, Cause.EXITED)


def test_a_sweep_leaves_the_status_of_our_own_children_to_who_waits_for_it() -> None:
    child = subprocess.Popen(["sleep", "60"], env={**os.environ, RUN_ID: "mine-1"})
    assert sweep("mine-") == 1
    assert child.wait(10) == -signal.SIGKILL
