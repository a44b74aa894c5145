"""Row F72 of the fault matrix: a place where the state file cannot be kept is refused, and stays as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator import state, statefile
from orchestrator.errors import Misconfigured
from orchestrator.state import State
from orchestrator.statefile import refuse_closed, refuse_share
from tests.memory import job, read, script, wrote

# Without its capabilities root is as bound by the permissions of a folder as everybody else.
READ_ONLY = """
import ctypes, struct, sys
from pathlib import Path
from orchestrator.errors import Missing
from orchestrator.state import State
from orchestrator.statefile import refuse_closed

if sys.platform == "linux":
    assert ctypes.CDLL(None).capset(struct.pack("Ii", 0x20080522, 0), bytes(24)) == 0
path = Path(sys.argv[1])
try:
    (State.open if sys.argv[2] == "fresh" else refuse_closed)(path)
except Missing as trouble:
    assert "set STATE_FILE to a" in str(trouble).replace("Set", "set") and str(path.parent) in str(trouble), trouble
else:
    raise AssertionError("it was not refused")
"""


@pytest.mark.parametrize("kind", ["fresh", "used"])
def test_F72_a_folder_that_is_read_only_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    if kind == "used":
        wrote(folder / "state.json", job())
    before = sorted(folder.iterdir())
    folder.chmod(0o500)
    try:
        script(READ_ONLY, folder / "state.json", kind)
        assert sorted(folder.iterdir()) == before
    finally:
        folder.chmod(0o700)
    refuse_closed(folder / "state.json")


LOCAL = "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n"
SHARES = {
    "nfs": "50 27 0:40 / /data rw,relatime shared:9 master:2 - nfs4 host:/export rw,vers=4.2",
    "cifs": "50 27 0:40 /sub /data rw - cifs //host/share rw",
    "sshfs": "50 27 0:40 / /data rw,nosuid - fuse.sshfs me@host:/home/me rw,user_id=1000",
    "9p": "50 27 0:40 / /data rw - 9p drvfs rw,aname=drvfs",
}


@pytest.mark.parametrize("kind", SHARES)
def test_F72_a_network_share_is_refused(kind: str) -> None:
    mounts = f"{LOCAL}{SHARES[kind]}\n"
    for path in ("/data/state.json", "/data/deep/er/state.json"):
        with pytest.raises(Misconfigured, match=rf"^{path} is on a network share \(.*{kind}.* at /data\).*STATE_FILE"):
            refuse_share(Path(path), mounts)
    for path in ("/database/state.json", "/state.json", "/srv/data/state.json"):
        refuse_share(Path(path), mounts)
    on_top = f"{mounts}51 50 0:41 / /data/local rw - xfs /dev/vdb rw\n52 27 0:42 / /srv rw - ext4 /dev/vdc rw\n"
    refuse_share(Path("/data/local/state.json"), on_top)
    refuse_share(Path("/data/state.json"), f"{mounts}53 50 0:43 / /data rw - ext4 /dev/vdd rw\n")


def test_F72_a_share_is_known_by_an_odd_name_and_behind_a_link(tmp_path: Path) -> None:
    share = tmp_path / "my share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    mounts = LOCAL + f"50 27 0:40 / {share} rw - nfs host:/x rw\n".replace("my share", "my\\040share")
    for folder in ("my share", "link", "link/new/folder"):
        with pytest.raises(Misconfigured, match="network share"):
            refuse_share(tmp_path / folder / "state.json", mounts)
    refuse_share(tmp_path / "state.json", mounts)


def test_F72_a_root_that_is_a_share_is_the_machines_own() -> None:
    refuse_share(Path("/srv/state.json"), "1 0 0:1 / / rw - 9p none rw\n")


def test_F72_a_start_on_a_share_is_refused_before_anything_is_made_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"{LOCAL}50 27 0:40 / {tmp_path} rw - nfs host:/x rw\n"
    monkeypatch.setattr(statefile, "_mounts", lambda: mounts)
    for reading in (State.open, state.read):
        with pytest.raises(Misconfigured, match="network share"):
            reading(tmp_path / "state.json")
    assert list(tmp_path.iterdir()) == []


def test_F72_this_machines_own_mounts_are_understood(tmp_path: Path) -> None:
    assert read(tmp_path / "state.json").warning == ""
    if sys.platform == "linux":
        assert " / " in statefile._mounts()
