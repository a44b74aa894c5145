"""The walls: what a child behind them cannot reach (twelve ways out), and what it can.

Each of these tests is harmless where the walls are missing, for root too: it acts on its own folder and processes only,
and of the machine it asks what could be done (`test -w`).
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.egress import Egress
from orchestrator.sandbox import Bubblewrap, Walls
from tests.boxed import CANARY, PATH, Box, Unprivileged, box, bwrap, walled

pytestmark = walled
__all__ = ["box", "bwrap"]


def test_probe_home_is_empty_and_the_real_one_absent(box: Box) -> None:
    files = [str(file) for file in box.home.rglob("*") if file.is_file()]
    assert box.sh(f"ls -A $HOME; cat {' '.join(files)} | grep {CANARY}; echo end").count(CANARY) == 0
    assert box.sh("ls -A $HOME") == ""


def test_probe_proc_shows_nothing_of_the_machine(box: Box) -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "TOKEN": CANARY}) as daemon:
        try:
            said = box.sh("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; ls /proc")
        finally:
            daemon.kill()
    assert CANARY not in said
    assert len([word for word in said.split() if word.isdigit()]) <= 6  # the sandbox's own


def test_probe_network_reaches_no_loopback_service(box: Box) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        assert "refused" in box.said("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo through")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_probe_dns_has_nobody_to_ask(box: Box) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        send = f"echo ask >/dev/udp/127.0.0.1/{server.getsockname()[1]}; cat /etc/resolv.conf; getent hosts example.com"
        assert box.run("bash", "-c", send).code != 0
        with pytest.raises(BlockingIOError):
            server.recv(10)


CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as end:
    try:
        end.connect(sys.argv[1].replace("@", chr(0)))
        print("through")
    except OSError as error:
        print(error)
"""


def test_probe_abstract_socket_is_in_another_world(box: Box) -> None:
    name = f"orchestrator-test-{uuid.uuid4()}"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(f"\0{name}")
        server.listen()
        assert "refused" in box.python(CONNECT, f"@{name}")


def test_probe_path_socket_is_hidden(box: Box) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(box.folder / "agent.sock"))
        server.listen()
        assert "No such file" in box.python(CONNECT, box.folder / "agent.sock")
    assert box.sh("ls -A /run") == ""


def test_probe_a_folder_to_be_read_in_one_to_be_written_is_kept(box: Box) -> None:
    git(box.work, "init", "--quiet")
    config = (box.work / ".git" / "config").read_bytes()
    walls = Walls(write=(box.work,), read=(box.work / ".git",))
    script = "echo x >>.git/config; touch .git/hooks/pre-commit; rm -rf .git; mv .git away; echo fine >file"
    box.sh(script, walls=walls)
    assert (box.work / ".git" / "config").read_bytes() == config
    assert not (box.work / ".git" / "hooks" / "pre-commit").exists()
    assert (box.work / "file").read_text() == "fine\n"


def test_probe_link_leads_nowhere(box: Box) -> None:
    secret = box.home / ".netrc"
    (box.work / "link").symlink_to(secret)
    assert CANARY not in box.sh("cat link; echo overwritten >link")
    assert secret.read_text() == CANARY
    for walls in (Walls((box.work,), (box.work / "link",)), Walls((box.work, box.work / "link"))):
        with pytest.raises(ValueError, match="leads out"):
            box.sh("true", walls=walls)


def test_probe_ptrace_finds_nobody(box: Box) -> None:
    script = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, int(sys.argv[1]), None, None), ctypes.get_errno())
print(open(f"/proc/{sys.argv[1]}/mem", "rb"))
"""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            said = box.python(script, bystander.pid)
        finally:
            bystander.kill()
    assert "-1 3\n" in said  # ESRCH
    assert "No such file" in said


def test_probe_signals_stay_inside(box: Box) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            assert "No such process" in box.sh(f"kill -9 {bystander.pid}")
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_probe_setuid_gives_nothing(box: Box) -> None:
    said = box.sh(
        "grep -E 'NoNewPrivs|CapEff|CapPrm|CapBnd' /proc/self/status; touch own; chown 12345 own && echo given"
    )
    assert "NoNewPrivs:\t1" in said
    assert said.count("0000000000000000") == 3
    assert "given" not in said


SYSTEM = "/ /usr /usr/local/bin /etc /etc/passwd /opt /run /dev /var /var/spool /srv /bin/sh /lib"


def test_probe_nothing_persists(box: Box) -> None:
    name = f"orchestrator-{uuid.uuid4()}"
    scratch = [f"{folder}/{name}" for folder in ("/tmp", "/var/tmp", "/dev/shm")]
    own = [f"$HOME/{file}" for file in (".bashrc", ".config/autostart/x.desktop", ".claude/settings.json")]
    attempt = "; ".join(f"mkdir -p $(dirname {path}); echo {CANARY} >{path}" for path in (*scratch, *own))
    try:
        assert box.sh(attempt) == ""
        assert CANARY not in box.sh(f"cat {' '.join((*scratch, *own))}; true")
        assert not [path for path in scratch if Path(path).exists()]
    finally:
        for path in filter(Path.exists, map(Path, scratch)):
            path.unlink()
    assert not (box.home / ".bashrc").exists()
    assert box.sh(f"for place in {SYSTEM}; do [ -w $place ] && echo $place; done; true") == ""


def test_the_kernels_settings_cannot_be_written_by_root_either(box: Box) -> None:
    ask = "for file in kernel/core_pattern kernel/pid_max vm/swappiness; do [ -w /proc/sys/$file ] && echo $file; done"
    assert box.sh(f"{ask}; find /proc/sys -writable 2>/dev/null; true") == ""


def test_secrets_of_the_system_are_absent(box: Box) -> None:
    said = box.sh("ls /etc/shadow /etc/ssh /etc/gitconfig /etc/ssl/private /etc/npmrc /etc/pip.conf /srv")
    assert said.count("No such file") == 7


def test_the_inner_of_two_folders_counts(box: Box) -> None:
    inner, innermost = box.work / "inner", box.work / "inner" / "innermost"
    innermost.mkdir(parents=True)
    box.sh("touch outer inner/a inner/innermost/b", walls=Walls(write=(innermost, box.work), read=(inner,)))
    assert [path.name for path in sorted(box.work.rglob("*")) if path.is_file()] == ["b", "outer"]


def test_for_the_same_folder_reading_counts(box: Box) -> None:
    assert "Read-only" in box.sh("touch file", walls=Walls(write=(box.work,), read=(box.work,)))


def test_what_does_not_exist_is_left_out(box: Box) -> None:
    assert box.sh("echo fine", walls=Walls((box.work, box.folder / "no"), (box.folder / "nothing",))) == "fine\n"


@pytest.mark.parametrize("path", ["/", "/usr/..", "home", "parent", "relative"])
def test_a_home_is_never_opened(box: Box, path: str) -> None:
    real = {"home": box.home, "parent": box.home.parent, "relative": Path("work")}.get(path, Path(path))
    for walls in (Walls(write=(real,)), Walls(read=(real,))):
        with pytest.raises(ValueError, match=r"home folder|not an absolute"):
            box.run("true", walls=walls, cwd=box.work)
    if real.is_absolute() and ".." not in real.parts:
        with pytest.raises(ValueError, match="home folder"):
            Bubblewrap([real])


def test_a_working_folder_behind_the_walls_is_told(box: Box) -> None:
    with pytest.raises(ValueError, match="behind the walls"):
        box.run("true", cwd=box.folder)


def test_exit_codes_and_signals_pass_through(box: Box) -> None:
    assert [box.run("/bin/sh", "-c", f"exit {code}").code for code in (0, 7, 255)] == [0, 7, 255]
    assert box.run("/bin/sh", "-c", "kill -9 $$").code == 128 + 9


def test_input_output_folder_and_variables_pass_through(box: Box) -> None:
    inner = box.work / "inner"
    inner.mkdir()
    script = "cat; pwd; echo $WORD; hostname; id -u"
    assert box.run("/bin/sh", "-c", script, stdin=b"in\n", cwd=inner, env={"WORD": "two words"}).code == 0
    assert box.output.read_text() == f"in\n{inner}\ntwo words\n{platform.node()}\n{os.getuid()}\n"


def test_variables_stand_in_no_command_line(box: Box) -> None:
    argv, _ = box.sandbox.wrap(["true"], box.work, {**box.env, "KEY": CANARY}, box.walls)
    assert CANARY not in " ".join(argv)


def test_a_program_that_is_not_there_is_told_as_ever(box: Box) -> None:
    for name in ("no-such-program", "./no-such-program", "/no/such/program"):
        with pytest.raises(FileNotFoundError) as trouble:
            box.run(name)
        assert trouble.value.filename == name


def test_the_operators_proxy_stays_outside(box: Box) -> None:
    proxies = {"HTTPS_PROXY": f"http://user:{CANARY}@proxy:1", "http_proxy": CANARY}
    assert CANARY not in box.sh("env", env=proxies)
    assert CANARY in box.sh("env", env=proxies, walls=Walls(write=(box.work,), network=True))


def test_the_proxy_takes_no_port_of_a_place_on_loopback(box: Box) -> None:
    for url, port in (("https://api.model.test", 3128), ("http://127.0.0.1:3128", 3129)):
        with Egress([url], {}) as gate:
            walls = Walls(write=(box.work,), gate=gate)
            assert box.sh("echo $HTTPS_PROXY", walls=walls) == f"http://127.0.0.1:{port}\n"


def test_the_whole_network_on_demand(box: Box) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        connect = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]} && echo through"
        walls = Walls(write=(box.work,), network=True)
        assert box.said("bash", "-c", connect, walls=walls) == "through\n"
        server.accept()[0].close()


def test_git_status_works_on_a_git_folder_that_is_read_only(box: Box) -> None:
    git(box.work, "init", "--quiet")
    (box.work / "file").write_text("x")
    walls = Walls(write=(box.work,), read=(box.work / ".git",))
    assert box.said("git", "-c", "safe.directory=*", "status", "--short", walls=walls) == "?? file\n"


def test_a_tool_of_a_virtual_environment_works(box: Box) -> None:
    bin_folder = Path(sys.executable).parent
    said = box.sh("python -c 'import structlog, sys; print(sys.prefix)'", env={"PATH": f"{bin_folder}:{PATH}"})
    assert said.strip() == sys.prefix


def test_tools_of_the_home_are_there_and_their_neighbours_are_not(box: Box) -> None:
    tools = {".pyenv/shims": "a", ".cargo/bin": "b", "bin": "c", ".local/bin": "d", ".ssh": "e", "notes": "f"}
    for folder, name in tools.items():
        tool(box.home / folder / name, f"echo {name} works")
    for secret in (".cargo/credentials.toml", ".local/share/keyrings/login", ".rustup/settings.toml"):
        (box.home / secret).parent.mkdir(parents=True, exist_ok=True)
        (box.home / secret).write_text(CANARY if "rustup" not in secret else "")
    path = ":".join(str(box.home / folder) for folder in tools)
    said = box.sh("for t in a b c d e f; do $t; done; ls -A ~ ~/.local ~/.cargo", env={"PATH": f"{path}:{PATH}"})
    assert [line for line in said.splitlines() if line.endswith("works")] == [f"{name} works" for name in "abcd"]
    assert not {"credentials.toml", "share", ".ssh", "notes", ".netrc"} & set(said.split())
    assert ".rustup" in said


def test_a_home_on_the_path_opens_nothing(box: Box) -> None:
    assert CANARY not in box.sh("cat ~/.netrc ~/.ssh/*", env={"PATH": f"{box.home}:{box.home.parent}:{PATH}:.:"})


def test_a_program_that_npm_installed_is_found_with_its_neighbours(box: Box) -> None:
    modules = box.home / ".npm-global" / "lib" / "node_modules"
    tool(modules / "agent-linux" / "agent", "echo native $1")
    tool(modules / "agent" / "bin" / "agent.sh", '"$(dirname "$(readlink -f "$0")")"/../../agent-linux/agent "$@"')
    (box.home / ".npm-global" / "bin").mkdir()
    (box.home / ".npm-global" / "bin" / "agent").symlink_to("../lib/node_modules/agent/bin/agent.sh")
    assert box.said(str(box.home / ".npm-global" / "bin" / "agent"), "word") == "native word\n"


def test_a_program_linked_to_a_place_of_its_own_is_found_alone(box: Box) -> None:
    tool(box.home / "private" / "agent-1.2", "echo here; ls $(dirname $(readlink -f $0))")
    (box.home / "private" / "key").write_text(CANARY)
    (box.home / ".local" / "bin").mkdir(parents=True)
    (box.home / ".local" / "bin" / "agent").symlink_to("../../private/agent-1.2")
    assert box.said(str(box.home / ".local" / "bin" / "agent")) == "here\nagent-1.2\n"


def test_more_folders_can_be_read_on_demand(box: Box) -> None:
    more = box.folder / "more"
    tool(more / "tool", "echo works; : >>$0")
    said = box.run(str(more / "tool"), sandbox=Bubblewrap([more]))
    assert said.code != 0
    assert box.output.read_text().startswith("works\n")
    assert "Read-only" in box.output.read_text()


def test_an_account_without_rights_has_the_same_walls(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's folders are closed to other accounts
        folder = Path(name)
        folder.chmod(0o777)
        script = "id -u; touch file; [ -w /usr ] || echo closed; cat /proc/self/status; ls /proc"
        walls = Walls(write=(folder,))
        box.run("/bin/sh", "-c", script, sandbox=Unprivileged(monkeypatch), cwd=folder, walls=walls)
        assert (folder / "file").stat().st_uid == (os.getuid() or 65534)
    said = box.output.read_text()
    assert said.startswith(f"{os.getuid() or 65534}\n")
    assert "closed" in said
    assert "CapEff:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "Pid:\t1\n" not in said


def test_nested_namespaces_work_for_an_account_without_rights(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "echo", "nested")
    ended = box.run(*inner, sandbox=Unprivileged(monkeypatch), cwd=Path("/tmp"), walls=Walls())
    assert (ended.code, box.output.read_text()) == (0, "nested\n")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, env={"PATH": PATH, "HOME": "/nonexistent"})


def tool(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
