"""What a child behind the walls may take of the machine, and that it ends with whoever started it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid

import psutil
import pytest

from orchestrator.egress import Egress
from orchestrator.process import Cause
from orchestrator.sandbox import Bubblewrap, Ration, Walls
from tests.boxed import Box, box, bwrap, walled
from tests.test_process import eventually

pytestmark = walled
__all__ = ["box", "bwrap"]


def test_too_many_processes_are_refused(box: Box) -> None:
    small = Bubblewrap(ration=Ration(processes=40))
    script = "i=0; while [ $i -lt 900 ]; do sleep 20 & i=$((i+1)); done; echo all"
    ended = box.run("/bin/sh", "-c", script, sandbox=small)
    assert "Cannot fork" in box.output.read_text() or "Resource temporarily" in box.output.read_text()
    assert ended.cause is Cause.EXITED


def test_an_agent_has_the_limits_of_a_command(box: Box) -> None:
    sandbox = Bubblewrap(ration=Ration(processes=345, memory=3 << 30, file=2 << 20))
    script = "ulimit -Sa; ulimit -Ha"
    box.run("bash", "-c", script, sandbox=sandbox)
    commands = box.output.read_text()
    with Egress(["https://api.model.test"], {}) as gate:
        box.run("bash", "-c", script, sandbox=sandbox, walls=Walls(write=(box.work,), gate=gate))
    assert box.output.read_text() == commands
    for most in ("-c) 0", f"-d) {3 << 20}", f"-f) {2 << 10}", "-u) 345"):
        assert commands.count(f"{most}\n") == 2


def test_a_large_file_is_cut(box: Box) -> None:
    small = Bubblewrap(ration=Ration(file=1 << 20))
    assert box.run("/bin/sh", "-c", "head -c 5000000 /dev/zero >large", sandbox=small).code != 0
    assert (box.work / "large").stat().st_size == 1 << 20


def test_a_greedy_process_gets_no_more_memory(box: Box) -> None:
    small = Bubblewrap(ration=Ration(memory=200 << 20))
    ended = box.run(sys.executable, "-I", "-S", "-c", "bytearray(400 << 20)", sandbox=small)
    assert ended.code == 1
    assert "MemoryError" in box.output.read_text()


def test_a_full_scratch_folder_is_told(box: Box) -> None:
    small = Bubblewrap(ration=Ration(scratch=1 << 20))
    for folder in ("/tmp", "/dev/shm", "$HOME"):
        assert box.run("/bin/sh", "-c", f"head -c 3000000 /dev/zero >{folder}/x", sandbox=small).code != 0
        assert "No space left" in box.output.read_text()


@pytest.mark.parametrize("processes", [None, 2048])
def test_a_stop_lets_the_program_end_in_order(box: Box, processes: int | None) -> None:
    script = "trap 'echo in order; exit 0' TERM; echo ready; while :; do sleep 0.05; done"

    def stop() -> None:
        if eventually(lambda: heard(box, "ready")):
            box.stop.set("test")

    threading.Thread(target=stop).start()
    sandbox = Bubblewrap(ration=Ration(processes=processes))
    assert box.run("/bin/sh", "-c", script, sandbox=sandbox).cause is Cause.STOPPED
    assert box.output.read_text().endswith("in order\n")


@pytest.mark.parametrize("processes", [None, 2048])
def test_nothing_outlives_a_parent_that_was_killed(box: Box, processes: int | None) -> None:
    mark = f"survivor-{uuid.uuid4()}"
    script = f"setsid sh -c 'sleep 60; : {mark}' & nohup sh -c 'sleep 60; : {mark}' & touch ready; sleep 60; : {mark}"
    sandbox = Bubblewrap(ration=Ration(processes=processes))
    argv, env = sandbox.wrap(["/bin/sh", "-c", script], box.work, box.env, box.walls)
    parent = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", parent, *argv], env=env) as process:
        assert eventually((box.work / "ready").exists)
        assert count(mark) >= 4
        process.send_signal(signal.SIGKILL)
    assert eventually(lambda: count(mark) == 0)


def heard(box: Box, word: str) -> bool:
    return box.output.exists() and word in box.output.read_text()


def count(mark: str) -> int:
    def marked(process: psutil.Process) -> bool:
        try:
            return mark in " ".join(process.cmdline())
        except psutil.Error:
            return False

    return sum(map(marked, psutil.process_iter()))
