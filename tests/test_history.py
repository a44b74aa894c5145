"""The history of runs: every line that was told of is there, whatever crashed or filled up in between."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import history, log
from orchestrator.redactor import OURS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owner" / "name" / "runs.jsonl"


def entries(path: Path) -> list[object]:
    return [entry["n"] for entry in history.read(path)]


def test_lines_come_back_in_their_order_and_are_nobody_elses(path: Path) -> None:
    assert entries(path) == []
    before = os.umask(0)
    try:
        history.append(path, {"n": 1, "title": "grüße \ud83d\n"})
    finally:
        os.umask(before)
    history.append(path, {"n": 2})
    assert list(history.read(path)) == [{"n": 1, "title": "grüße \ud83d\n"}, {"n": 2}]
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes().splitlines()) == 2


def test_a_line_that_a_crash_cut_off_at_any_byte_spoils_no_other(path: Path) -> None:
    history.append(path, {"n": 1})
    whole = path.stat().st_size
    history.append(path, {"n": 2})
    content = path.read_bytes()
    for size in range(whole, len(content)):
        path.write_bytes(content[:size])
        history.append(path, {"n": 3})
        assert entries(path) in ([1, 3], [1, 2, 3]), size


@pytest.mark.parametrize("odd", [b"\xff\xfe\n", b"[1]\n", b"7\n", b"\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_entry_is_left_out(path: Path, odd: bytes) -> None:
    history.append(path, {"n": 1})
    with path.open("ab") as file:
        file.write(odd)
    history.append(path, {"n": 2})
    assert entries(path) == [1, 2]


def test_many_threads_write_whole_lines(path: Path) -> None:
    numbers = list(range(80))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: history.append(path, {"n": n, "x": "y" * 9000}), numbers))
    assert {*entries(path)} == {*numbers}
    assert len(path.read_bytes().splitlines()) == len(numbers)


def test_a_line_is_on_the_disk_when_the_call_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(path.read_bytes()))
    history.append(path, {"n": 1})
    assert synced == [b'{"n": 1}\n']


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [f"{line['event']}: {line['trouble']}" for line in lines]


def test_a_full_disk_stops_nothing_and_is_told_once_each_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("json")
    real_write = os.write

    def part(fd: int, data: bytes) -> int:
        return real_write(fd, data[:5])

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, broken in (("write", part), ("fsync", full)):
        with monkeypatch.context() as disk:
            disk.setattr(os, name, broken)
            history.append(path, {"n": 1})
            history.append(path, {"n": 2})
        assert len(warnings(capsys)) == 1
        history.append(path, {"n": 3})
        assert warnings(capsys) == []
    assert [n for n in entries(path) if n == 3] == [3, 3]


@pytest.mark.parametrize("place", ["a file/runs.jsonl", "a folder"])
def test_a_place_that_cannot_be_written_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    log.configure("json")
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    for _ in range(2):
        history.append(tmp_path / place, {"n": 1})
    [said] = warnings(capsys)
    assert said.startswith("history_lost: ")


def test_no_secret_gets_into_a_line(tmp_path: Path) -> None:
    OURS.know(["canary-0123456789"], {})
    history.append(tmp_path / "runs.jsonl", {"detail": "it said canary-0123456789", "turns": 3})
    OURS.know((), {})
    assert list(history.read(tmp_path / "runs.jsonl")) == [{"detail": "it said [secret]", "turns": 3}]
