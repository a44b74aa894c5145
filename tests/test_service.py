"""The service manager hears of the daemon, and both units are well-formed."""

from __future__ import annotations

import contextlib
import os
import plistlib
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import service
from orchestrator.clock import Stop
from tests.needs import needs

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "systemd" / "orchestrator.service"
PLIST = ROOT / "systemd" / "com.orchestrator.daemon.plist"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """The path of a socket may not be longer than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="o-") as folder:
        yield Path(folder)


def test_a_notification_is_one_datagram(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_folder / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_folder / "notify"))
        service.notify("READY=1\nSTATUS=watching 2 repositories")
        assert manager.recv(4096) == b"READY=1\nSTATUS=watching 2 repositories"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.uname().sysname != "Linux", reason="abstract sockets: Linux")
def test_an_abstract_socket_is_reached_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"orchestrator-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        service.notify("WATCHDOG=1")
        assert manager.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    service.notify("READY=1")


def test_a_manager_that_reads_nothing_blocks_nobody(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_folder / "notify"))
        for _ in range(2000):
            service.notify("WATCHDOG=1")


def test_the_watchdog_time_is_ours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for word, seconds in (("600000000", 600.0), ("", None), ("0", None), ("soon", None)):
        monkeypatch.setenv("WATCHDOG_USEC", word)
        assert service.watchdog_seconds() == seconds
    monkeypatch.setenv("WATCHDOG_USEC", "600000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert service.watchdog_seconds() == 600.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert service.watchdog_seconds() is None


def test_a_long_wait_of_the_loop_feeds_the_watchdog_and_that_of_a_job_does_not(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "90000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_folder / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_folder / "notify"))
        clock = service.WatchedClock()
        began = time.monotonic()
        assert clock.wait(0.2, Stop()) is False
        assert time.monotonic() - began >= 0.2
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(manager.recv(100))
        assert len(heard) >= 2  # about every 30 ms
        assert set(heard) == {b"WATCHDOG=1"}

        def job() -> None:
            clock.wait(0.1, Stop())

        clock.start(job, "job").join()
        with pytest.raises(BlockingIOError):
            manager.recv(100)


def test_a_stop_ends_a_watched_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    clock, stop = service.WatchedClock(), Stop()
    stop.set("enough")
    assert clock.wait(3600, stop) is True


@needs("systemd-analyze")
@pytest.mark.parametrize("breakage", ["", "Typ=notify", "ExecStart=relative"])
def test_systemd_accepts_the_unit_and_would_refuse_a_broken_one(short_folder: Path, breakage: str) -> None:
    copy = short_folder / "orchestrator.service"
    copy.write_text(UNIT.read_text().replace("Type=notify", breakage or "Type=notify"))
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(copy)],
        env={"HOME": str(short_folder), "XDG_RUNTIME_DIR": str(short_folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0 and done.stderr == "") is (breakage == ""), done.stderr


def unit(key: str) -> str:
    """The one value of this key in the unit."""
    (value,) = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]
    return value


def test_the_unit_says_what_the_daemon_relies_on() -> None:
    lines = {line for line in UNIT.read_text().splitlines() if not line.startswith("#")}
    assert {"Type=notify", "KillMode=mixed", "TimeoutStopSec=60", "UMask=0077", "Restart=on-failure"} <= lines
    names = {line.split("=")[0] for line in lines}
    # Agents build sandboxes of their own; these would stop them.
    assert not names & {"RestrictNamespaces", "SystemCallFilter", "PrivateUsers", "ProtectHome", "ProtectSystem"}


def starts(folder: Path, **environ: str) -> int:
    """The exit code of what the unit starts, in this folder."""
    done = subprocess.run(
        shlex.split(unit("ExecStart")),
        cwd=folder,
        env={"HOME": str(folder), **environ},
        capture_output=True,
        timeout=30,
    )
    return done.returncode


def install(folder: Path, script: str) -> Path:
    """A folder with a program `orchestrator` that is this shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orchestrator").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "orchestrator").chmod(0o755)
    return folder


def real(folder: Path) -> Path:
    """A folder with the real program."""
    return install(folder, f'PYTHONPATH={ROOT} exec {sys.executable} -m orchestrator "$@"')


def test_what_only_a_person_mends_is_not_started_again_and_what_may_heal_is(tmp_path: Path) -> None:
    final = {int(code) for code in unit("RestartPreventExitStatus").split()}
    programs = str(real(tmp_path / "bin"))
    assert starts(tmp_path, PATH=str(tmp_path)) in final  # no program
    assert starts(tmp_path, PATH=programs, GITHUB_REPO="octo") == 2
    nobody = "http://127.0.0.1:9"  # as without a network
    offline = starts(tmp_path, PATH=programs, GITHUB_REPO="octo/demo", GITHUB_TOKEN="x", GITHUB_API_URL=nobody)
    assert offline == 3
    # systemd's own codes for a folder or a program that is missing; 1 and 3 are none of them.
    assert final == {2, 126, 127, 200, 203}
    assert (unit("RestartSec"), unit("StartLimitIntervalSec")) == ("30", "0")  # no hot loop, and no end of trying


def launched(home: Path) -> tuple[int, str, str]:
    """What launchd would start, in this home: its exit code, what it said, and the log."""
    (home / "Library/Logs").mkdir(parents=True, exist_ok=True)
    agent = plistlib.loads(PLIST.read_bytes())
    with subprocess.Popen(
        agent["ProgramArguments"], env={"HOME": str(home), "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True
    ) as child:
        said, _ = child.communicate(timeout=30)
    return child.returncode, said.replace(str(child.pid), "PID"), (home / "Library/Logs/orchestrator.log").read_text()


def test_the_launchd_agent_starts_the_daemon_in_its_folder(tmp_path: Path) -> None:
    agent = plistlib.loads(PLIST.read_bytes())
    assert agent["Label"] == "com.orchestrator.daemon"
    assert (agent["KeepAlive"], agent["ExitTimeOut"], agent["Umask"]) == ({"SuccessfulExit": False}, 60, 0o077)
    assert agent["ThrottleInterval"] == 60
    (tmp_path / "orchestrator").mkdir()
    install(tmp_path / ".local/bin", 'echo "$PWD $1 $$"\necho trouble with $1 >&2\nexit 3')
    # The same pid: launchd's SIGTERM reaches the daemon itself.
    assert launched(tmp_path) == (3, f"{tmp_path}/orchestrator run PID\n", "trouble with status\ntrouble with run\n")


def test_launchd_is_told_to_leave_alone_what_only_a_person_mends(tmp_path: Path) -> None:
    code, _, log = launched(tmp_path)
    assert (code, "orchestrator" in log) == (0, True)  # no folder
    (tmp_path / "orchestrator").mkdir()
    code, _, log = launched(tmp_path)
    assert (code, "not found" in log) == (0, True)  # no program
    real(tmp_path / ".local/bin")
    (tmp_path / "orchestrator/.env").write_text("GITHUB_REPO=octo\n")
    code, _, log = launched(tmp_path)
    assert (code, log.splitlines()[-1]) == (
        0, "GITHUB_REPO must be owner/name, or several separated by commas; 'octo' is not."
    )  # fmt: skip
    (tmp_path / "orchestrator/.env").write_text("GITHUB_REPO=octo/demo\n")
    code, _, log = launched(tmp_path)
    assert (code, "There is no GitHub token" in log.splitlines()[-1]) == (3, True)
