"""A state file that cannot be used: what is damaged is set aside and said, everything else is left alone."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import state
from orchestrator.errors import Misconfigured, Missing
from orchestrator.state import RepoMemory, State
from orchestrator.statefile import Damaged
from tests.memory import KEY, job, read, rewrite, wrote


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "truncated": lambda good: good[: len(good) // 2],
    "garbage": lambda good: b"\x00\xff" * 100,
    "too deep": lambda good: b"[" * 100_000,
    "one flipped character": lambda good: good.replace(b'"attempt": 1', b'"attempt": 2'),
    "without a checksum": lambda good: good.replace(b'"checksum"', b'"checksun"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside_and_the_generation_before_is_used(path: Path, damage: str) -> None:
    wrote(path, job(title="old"), job(title="new"))
    bad = DAMAGE[damage](path.read_bytes())
    path.write_bytes(bad)
    memory = State.open(path)
    assert memory.jobs[KEY].title == "old"
    assert not memory.rebuilt_for("acme/app")
    kept = path.with_name("state.json.unreadable-1")
    assert kept.read_bytes() == bad
    assert "previous generation" in memory.warning
    assert str(kept) in memory.warning
    memory.put(job(title="newest"))
    memory.close()
    assert read(path).jobs[KEY].title == "newest"
    assert read(path).warning == ""


def test_a_second_damaged_file_does_not_replace_the_first_one_that_was_kept(path: Path) -> None:
    for number in (1, 2):
        wrote(path, job(), job(2))
        path.write_text(f"bad {number}")
        read(path)
    assert [path.with_name(f"state.json.unreadable-{n}").read_text() for n in (1, 2)] == ["bad 1", "bad 2"]


def test_where_both_generations_are_damaged_the_memory_is_rebuilt_and_says_so(path: Path) -> None:
    wrote(path, job(), job(2))
    path.write_text("bad")
    path.with_name("state.json.prev").write_text("worse")
    memory = read(path)
    assert memory.rebuilt_for("acme/app")
    assert memory.jobs == {}
    assert "rebuilt from GitHub" in memory.warning
    assert path.with_name("state.json.unreadable-1").read_text() == "bad"


def test_a_file_that_was_deleted_does_not_make_a_fresh_start(path: Path) -> None:
    wrote(path, job(title="old"), job(title="new"))
    path.unlink()
    memory = read(path)
    assert memory.jobs[KEY].title == "old"
    assert memory.warning


def test_a_loss_is_known_at_every_start_until_the_repository_was_looked_at_again(path: Path) -> None:
    wrote(path, job())
    path.write_text("bad")
    assert read(path).rebuilt_for("acme/app")
    again = State.open(path)
    assert (again.warning, again.rebuilt_for("acme/app"), again.rebuilt_for("acme/tool")) == ("", True, True)
    again.put_repo(RepoMemory(name="acme/app", cursor=1.0))
    assert (again.rebuilt_for("acme/app"), again.rebuilt_for("acme/tool")) == (False, True)
    again.close()
    later = read(path)
    assert (later.rebuilt_for("acme/app"), later.rebuilt_for("acme/tool")) == (False, True)


def test_a_crash_between_setting_aside_and_starting_empty_hides_no_loss(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    wrote(path, job())
    path.write_text("bad")
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(Missing, match="No space left"):
            State.open(path)
    assert path.read_text() == "bad"
    assert read(path).rebuilt_for("acme/app")


ODD: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["state.json", "state.json.prev"])
def test_what_is_no_regular_file_is_refused_and_left_untouched(path: Path, kind: str, name: str) -> None:
    odd = path.with_name(name)
    ODD[kind](odd)
    before = odd.lstat()
    with pytest.raises(Misconfigured, match=rf"{name} is (a folder|no regular file); it was left untouched"):
        State.open(path)
    after = odd.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert {file.name for file in path.parent.iterdir()} <= {name, "state.json.lock"}
    if odd == path:
        assert not path.with_name("state.json.lock").exists()
        with pytest.raises(Misconfigured, match="left untouched"):
            state.read(path)


CLOSED: dict[str, tuple[str, str]] = {
    "the disk fails": ("/proc/self/mem", "Input/output error"),  # a regular file whose first byte cannot be read
    "a link to itself": ("state.json", "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("kind", CLOSED)
def test_what_the_system_does_not_let_us_read_is_left_untouched(path: Path, kind: str) -> None:
    target, says = CLOSED[kind]
    path.symlink_to(target)
    for reading in (State.open, state.read):
        with pytest.raises(Missing, match=rf"state\.json cannot be read: {says}; .*`ls -ld ") as caught:
            reading(path)
        assert not isinstance(caught.value, Damaged)
    assert str(path.readlink()) == target
    assert not list(path.parent.glob("*unreadable*"))


def test_nothing_is_set_aside_while_the_generation_before_cannot_be_judged(path: Path) -> None:
    path.write_text("bad")
    path.with_name("state.json.prev").symlink_to("/proc/self/mem")
    with pytest.raises(Missing, match=r"state\.json\.prev cannot be read"):
        State.open(path)
    assert path.read_text() == "bad"
    assert not list(path.parent.glob("*unreadable*"))


def foreign(document: object) -> Callable[[bytes], bytes]:
    return lambda good: json.dumps(document).encode()


NOT_OURS: dict[str, Callable[[bytes], bytes]] = {
    "an object": foreign({"name": "package", "version": "1.0.0"}),
    "a state of another program": foreign({"format": "other-state", "version": 1, "checksum": "", "body": {}}),
    "a list": foreign([1, 2]),
    "a word": foreign("hello"),
    "a newer version": lambda good: good.replace(b'"version": 1', b'"version": 2'),
    "no version": lambda good: good.replace(b'"version": 1', b'"version": null'),
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_a_file_of_another_program_or_a_newer_version_is_refused_and_left_untouched(path: Path, kind: str) -> None:
    wrote(path, job(), job(2))
    content = NOT_OURS[kind](path.read_bytes())
    path.write_bytes(content)
    previous = path.with_name("state.json.prev").read_bytes()
    with pytest.raises(Misconfigured, match=r"state\.json .*left untouched"):
        State.open(path)
    with pytest.raises(Misconfigured, match="left untouched"):
        state.read(path)
    assert path.read_bytes() == content
    assert path.with_name("state.json.prev").read_bytes() == previous
    assert not list(path.parent.glob("*unreadable*"))
    path.unlink()
    assert read(path).warning


@pytest.mark.parametrize("field", ["kind", "status"])
def test_a_word_of_a_newer_version_is_refused_and_left_untouched(path: Path, field: str) -> None:
    wrote(path, job())
    content = rewrite(path, lambda body: body["jobs"][KEY].update({field: "dreaming"}))
    with pytest.raises(Misconfigured, match=r"dreaming.*left untouched"):
        State.open(path)
    assert path.read_bytes() == content
