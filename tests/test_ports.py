"""Every worktree has ports for itself, for as long as it is there."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import ports
from orchestrator.errors import Retry
from orchestrator.ports import SIZE, lease


@pytest.fixture(autouse=True)
def _book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def made(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [folder / name for name in names]


def test_worktrees_that_come_and_go_never_share_a_block(tmp_path: Path) -> None:
    chance = random.Random(14)
    for _ in range(200):
        [tree] = made(tmp_path, f"base-{chance.randrange(2)}/issue-{chance.randrange(12)}")
        if chance.random() < 0.4:
            shutil.rmtree(tree)
        live = {tree: lease(tree, tmp_path) for tree in tmp_path.glob("base-*/*")}
        assert len({*live.values()}) == len(live)
        assert live == {tree: lease(tree, tmp_path) for tree in live}
        assert all(first % SIZE == 0 for first in live.values())
    assert len(list((tmp_path / "state/orchestrator/ports").iterdir())) <= 24


def test_a_block_that_was_given_back_is_given_out_again(tmp_path: Path) -> None:
    one, two = made(tmp_path, "one", "two")
    first = lease(one, tmp_path)
    assert lease(two, tmp_path) != first
    one.rmdir()
    [three] = made(tmp_path, "three")
    assert lease(three, tmp_path) == first


def test_daemons_that_lease_at_the_same_time_share_no_block(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from orchestrator.ports import lease\n"
    script += "for name in sys.argv[2:]: print(lease(Path(name), Path(sys.argv[1])))"
    trees = [made(tmp_path, *(f"{daemon}/{number}" for number in range(8))) for daemon in range(4)]
    daemons = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), *map(str, own)], stdout=subprocess.PIPE, text=True
        )
        for own in trees
    ]
    found = [number for daemon in daemons for number in daemon.communicate(timeout=60)[0].split()]
    assert len({*found}) == len(found) == 32


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_block_in_which_somebody_listens_is_passed_over(tmp_path: Path, address: str) -> None:
    one, two = made(tmp_path, "one", "two")
    first = lease(one, tmp_path)
    one.rmdir()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, first + 7))
        listener.listen()
        assert lease(two, tmp_path) != first
        assert lease(two, tmp_path) == lease(two, tmp_path)


@pytest.mark.parametrize("system", ["32768\t60999\n", "1024\t65535\n", "15000\t25000\n"])
def test_what_the_system_gives_to_outgoing_connections_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    (tmp_path / "range").write_text(system)
    monkeypatch.setattr(ports, "_EPHEMERAL", tmp_path / "range")
    low, high = map(int, system.split())
    blocks = ports._blocks()
    inside = [low <= first + SIZE - 1 and first <= high for first in blocks]
    assert inside == sorted(inside)
    assert sorted(blocks) == sorted({*blocks}) == list(range(10_000, 32_760, SIZE))


def test_when_all_blocks_are_taken_it_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_BEGINNINGS", ports._BEGINNINGS[:1])
    one, two = made(tmp_path, "one", "two")
    lease(one, tmp_path)
    with pytest.raises(Retry, match=r"each block of 20 ports belongs to a worktree .*state/orchestrator/ports"):
        lease(two, tmp_path)


def test_without_a_home_to_write_to_the_leases_lie_with_the_worktrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    one, two = made(tmp_path, "one", "two")
    assert lease(one, tmp_path) == lease(one, tmp_path) != lease(two, tmp_path)
    assert {link.readlink() for link in (tmp_path / ".ports").iterdir()} == {one, two}
