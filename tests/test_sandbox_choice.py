"""Which sandbox is taken, and what the operator is told where none works; the macOS profile as text."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.egress import Gate
from orchestrator.errors import Misconfigured, Missing
from orchestrator.sandbox import OPEN, Walls, choose, seatbelt
from orchestrator.sandbox.choice import refusal
from tests.boxed import Box, box, bwrap, walled

__all__ = ["box", "bwrap"]


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_off_is_the_owners_word(tmp_path: Path) -> None:
    assert choose("off", [tmp_path]) is OPEN
    walls = Walls(gate=Gate(tmp_path / "socket", ()))
    assert OPEN.wrap(["a", "b"], tmp_path, {"C": "d"}, walls) == (["a", "b"], {"C": "d"})


@walled
def test_auto_takes_what_works() -> None:
    assert choose("auto", []).name == "bwrap"


@walled
def test_a_home_as_a_toolchain_is_the_operators_mistake(box: Box) -> None:
    with pytest.raises(Misconfigured, match="TOOLCHAIN_PATHS"):
        choose("auto", [box.home])


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt-get", "apt-get install"), ("dnf", "dnf install"), ("apk", "apk add"), ("pacman", "pacman -S")],
)
def test_a_machine_without_bubblewrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: str, command: str
) -> None:
    program(tmp_path / "bin", manager, "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Missing, match=rf"SANDBOX=off .* `{command} bubblewrap`$"):
        choose("bwrap", [])


def test_a_machine_without_prlimit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "bwrap", "echo bubblewrap 0.8.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(Missing, match=r"install util-linux`$"):
        choose("bwrap", [])


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")
@pytest.mark.parametrize("kind", ["auto", "bwrap"])
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "setting up uid map: Permission denied"),
        ("exit 3", "exit code 3"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "can be seen"),
    ],
)
def test_a_bubblewrap_that_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, script: str, told: str
) -> None:
    program(tmp_path / "bin", "bwrap", f'[ "$1" = --version ] && echo bubblewrap 0.8.0 && exit; {script}')
    program(tmp_path / "bin", "prlimit", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").touch()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(os, "geteuid", lambda: 65534)  # what is put around for root must not run without walls
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(Missing, match=told):
        choose(kind, [])


@walled
def test_a_hole_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.which("bwrap")
    skip = 'for word; do shift; [ "$word" = --unshare-net ] || set -- "$@" "$word"; done'
    program(tmp_path / "bin", "bwrap", f'{skip}; exec {real} "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(Missing, match="the network can be seen"):
        choose("auto", [])


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({".dockerenv": ""}, "systempaths=unconfined ..."),
        ({"run/.containerenv": ""}, "systempaths=unconfined ..."),
        (
            {"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            {
                "proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0\n",
                "proc/sys/kernel/unprivileged_userns_clone": "1\n",
            },
            "sudo sysctl -w user.max_user_namespaces=15000",
        ),
        ({}, "sudo sysctl -w user.max_user_namespaces=15000"),
    ],
)
def test_the_refusal_ends_with_the_command_that_mends_it(tmp_path: Path, files: dict[str, str], command: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    said = refusal("bwrap", "No permissions", tmp_path)
    assert said.endswith(f"{command}`")
    assert "(No permissions)" in said
    assert "SANDBOX=off" in said


@pytest.mark.skipif(sys.platform == "darwin", reason="there it works")
def test_seatbelt_is_for_macos() -> None:
    with pytest.raises(Missing, match="SANDBOX=bwrap"):
        choose("seatbelt", [])


def test_a_system_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "sunos5")
    with pytest.raises(Missing, match="SANDBOX=off"):
        choose("auto", [])


def test_the_profile_denies_what_it_does_not_name(tmp_path: Path) -> None:
    work, own = tmp_path / "work", tmp_path / "work" / ".git"
    text = seatbelt.profile(Walls(write=(work,), read=(own,)), [Path("/tools")], None)
    rules = text.splitlines()
    assert rules[:2] == ["(version 1)", "(deny default)"]
    assert rules.index(f'(allow file-write* (subpath "{work}"))') < rules.index(f'(deny file-write* (subpath "{own}"))')
    assert '(deny file-write* (subpath "/tools"))' in rules
    assert "network" not in text.replace("network-", "")
    assert not re.search(r"\(allow network", text)
    assert text.count("(") == text.count(")")


def test_the_profile_opens_the_gate_and_nothing_else(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", (("127.0.0.1", 8080),), (("127.0.0.1", 8080),))
    text = seatbelt.profile(Walls(gate=gate), [], 5555)
    assert [rule for rule in text.splitlines() if "network" in rule] == [
        f'(allow network-outbound (remote unix-socket (path-literal "{gate.socket}")))',
        '(allow network-bind network-inbound (local ip "localhost:5555"))',
        '(allow network-outbound (remote ip "localhost:5555"))',
        '(allow network-outbound (remote ip "localhost:8080"))',
    ]
    assert "(allow network*)" in seatbelt.profile(Walls(network=True), [], None)


def test_the_profile_follows_links_and_quotes_names(tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" \\ name) (allow default'
    odd.mkdir()
    link = tmp_path / "link"
    link.symlink_to(odd)
    text = seatbelt.profile(Walls(write=(link,)), [], None)
    assert f'(subpath "{link}")' in text
    assert '/a \\"quoted\\" \\\\ name) (allow default"))' in text
    with pytest.raises(ValueError, match="cannot be named"):
        seatbelt.profile(Walls(read=(tmp_path / "new\nline",)), [], None)


def test_seatbelts_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sandbox-exec", "")
    monkeypatch.setattr(seatbelt, "PROGRAM", tmp_path / "sandbox-exec")
    gate = Gate(tmp_path / "gate", ())
    scratch = tmp_path / "scratch"
    env = {"PATH": "/usr/bin:/bin", "HOME": "/Users/x", "TMPDIR": str(scratch), "HTTPS_PROXY": "http://secret"}
    argv, variables = seatbelt.Seatbelt().wrap(["sh", "-c", "x"], tmp_path, env, Walls(write=(scratch,), gate=gate))
    assert argv[:2] == [str(tmp_path / "sandbox-exec"), "-p"]
    assert argv[-5:-2] == [
        'ulimit -c 0; ulimit -f "$0"; exec "$@"',
        str((4 << 30) // 512),
        shutil.which("sh", path=env["PATH"]),
    ]
    proxy = variables.pop("HTTPS_PROXY")
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", proxy)
    assert f'(remote ip "localhost:{proxy.rpartition(":")[2]}")' in argv[2]
    others = {name: value for name, value in variables.items() if not name.lower().endswith("_proxy")}
    assert others == {"PATH": "/usr/bin:/bin", "HOME": str(scratch), "TMPDIR": str(scratch)}
