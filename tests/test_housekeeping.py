"""What ended items leave goes by its age; what is live, young or somebody else's stays; nothing stops the rest."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator import housekeeping, log
from orchestrator.errors import Stopped
from orchestrator.git.mirror import Mirror
from orchestrator.git.run import end_all
from orchestrator.git.salvage import ROOT, kept
from orchestrator.git.worktree import Worktree
from orchestrator.housekeeping import Collected
from tests.gitremote import Remote, mirror_of, run_git
from tests.merging import appears
from tests.worktree.looking import swept

DAYS = 7.0
DAY = 86_400.0


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"a.txt": b"a\n", ".gitignore": b"*.log\n"})
    folder = tmp_path / "acme" / "app"
    folder.mkdir(parents=True)
    return mirror_of(remote, folder)


def tree(mirror: Mirror, name: str, text: str = "half\n") -> Worktree:
    made = Worktree(mirror, mirror.base / name)
    made.create(str(mirror.sha("refs/remotes/origin/main")), f"feature/{name}")
    if text:
        (made.path / "new.txt").write_text(text)
    return made


def collect(mirror: Mirror, *live: str, after: float = DAYS + 1, started: float = 0.0) -> Collected:
    """The housekeeping of a daemon so many days from now."""
    return housekeeping.collect(mirror.base, mirror, live, time.time() + after * DAY, DAYS, started)


def names(mirror: Mirror) -> set[str]:
    return {path.name for path in mirror.base.iterdir()} - {"mirror.git", "mirror.git.lock"}


def test_an_old_worktree_is_saved_and_goes_and_its_work_stays_as_long_again(mirror: Mirror) -> None:
    tree(mirror, "issue-7")
    tree(mirror, "pr-review-8", text="")
    done = collect(mirror)
    assert (done.gone, done.trouble) == (["issue-7", "pr-review-8"], [])
    assert names(mirror) == set()
    assert len(run_git("worktree", "list", cwd=mirror.path).splitlines()) == 1  # the mirror itself
    [one] = kept(mirror)
    assert (one.name, one.why) == ("issue-7", "its item was over and nobody had used it for days")
    assert run_git("show", f"{one.commit}:new.txt", cwd=mirror.path) == "half"
    assert collect(mirror, after=DAYS - 1).gone == []
    assert collect(mirror).gone == ["issue-7/1"]
    assert kept(mirror) == []
    assert collect(mirror) == Collected()


def test_work_that_was_saved_long_before_its_worktree_goes_is_saved_anew(mirror: Mirror) -> None:
    tree(mirror, "issue-7").save("issue-7", "long ago")
    assert collect(mirror).gone == ["issue-7/1", "issue-7"]
    [one] = kept(mirror)
    assert one.why != "long ago"


def test_work_that_was_saved_some_days_before_its_worktree_goes_is_dated_anew(mirror: Mirror) -> None:
    old = tree(mirror, "issue-7")
    sha = old.save("issue-7")
    then = f"{time.time() - 2 * DAY:.0f}"
    tag = f"object {sha}\ntype commit\ntag issue-7/1\ntagger A <a@b> {then} +0000\n\nold\n".encode()
    run_git("update-ref", f"{ROOT}/issue-7/1", run_git("mktag", cwd=mirror.path, stdin=tag), cwd=mirror.path)
    assert [(one.at, one.why) for one in kept(mirror)] == [(float(then), "old")]
    assert old.retire(time.time() + 1, "it was over")
    [one] = kept(mirror)
    assert (one.commit, one.why) == (sha, "it was over")
    assert abs(one.at - time.time()) < 60


@pytest.mark.parametrize("after", [DAYS - 1, DAYS + 1], ids=["young", "live"])
def test_what_is_young_or_live_stays(mirror: Mirror, after: float) -> None:
    tree(mirror, "issue-7").save("issue-7")
    (mirror.base / "issue-7.kept-1").mkdir()
    logs = mirror.base / "logs"
    logs.mkdir()
    (logs / "issue-7-1.log").touch()
    live = ["issue-7"] if after > DAYS else []
    assert collect(mirror, *live, after=after) == Collected()
    assert names(mirror) == {"issue-7", "issue-7.kept-1", "logs"}
    assert [one.number for one in kept(mirror)] == [1]


def newest(*folders: Path) -> float:
    """When the last change in them was."""
    return max(path.lstat().st_ctime for folder in folders for path in (folder, *folder.rglob("*")))


def test_a_change_deep_in_an_old_worktree_keeps_it(mirror: Mirror) -> None:
    old = tree(mirror, "issue-7")
    deep = old.path / "a" / "b" / "noise.log"
    deep.parent.mkdir(parents=True)
    deep.touch()
    before = newest(old.path, mirror.path / "trees")
    while deep.stat().st_ctime <= before:  # file systems date by ticks of some milliseconds
        deep.write_text("a person works here\n")
    os.utime(deep, (1, 1))  # as whoever unpacks an archive does
    assert not old.retire(before, "x")
    assert deep.read_text() == "a person works here\n"
    assert old.retire(time.time() + 1, "x")


def test_a_worktree_that_a_job_takes_up_meanwhile_stays(mirror: Mirror) -> None:
    old = tree(mirror, "issue-7")
    before = newest(old.path, mirror.path / "trees")
    with ThreadPoolExecutor(1) as pool:
        with mirror.lock:
            looking = pool.submit(old.retire, before, "x")
            old.create(str(mirror.sha("refs/remotes/origin/main")), "feature/issue-7")
        assert not looking.result(30)
    assert old.usable()


def test_what_git_cannot_read_is_set_aside_and_goes_later_still(mirror: Mirror) -> None:
    old = tree(mirror, "issue-7")
    (old.path / "nested").mkdir()
    run_git("init", "--quiet", cwd=old.path / "nested")
    assert collect(mirror).gone == ["issue-7"]
    aside = mirror.base / "issue-7.kept-1"
    assert (aside / "new.txt").read_text() == "half\n"
    assert collect(mirror, after=DAYS - 1).gone == []
    assert collect(mirror).gone == ["issue-7.kept-1", "issue-7/1"]


def test_a_registration_without_a_folder_and_a_folder_without_one_go_too(mirror: Mirror) -> None:
    gone, lost = tree(mirror, "issue-7"), tree(mirror, "issue-8")
    shutil.rmtree(gone.path)
    shutil.rmtree(mirror.path / "trees" / "issue-8")
    assert collect(mirror).gone == ["issue-7", "issue-8"]
    assert not lost.path.exists()
    assert list((mirror.path / "trees").glob("*")) == []
    assert [one.name for one in kept(mirror)] == ["issue-8"]


def test_files_that_are_not_the_daemons_stay(mirror: Mirror) -> None:
    (mirror.base / "my notes").mkdir()
    (mirror.base / "issue-list").mkdir()
    (mirror.base / "runs.jsonl").touch()
    logs = mirror.base / "logs"
    logs.mkdir()
    (logs / "README").touch()
    assert collect(mirror) == Collected()


LOGS = ("issue-7-1.log", "issue-7-1.log.stderr", "issue-7-setup-1.2.log", "pr-review-7-2.log", "merge-7-1.1.log")


@pytest.mark.parametrize("live", ["issue-7", "pr-review-7", "merge-7"])
def test_logs_of_items_that_are_over_go(mirror: Mirror, live: str) -> None:
    logs = mirror.base / "logs"
    logs.mkdir()
    for name in (*LOGS, "issue-71-1.log"):
        (logs / name).touch()
    assert sorted(collect(mirror, live).gone) == sorted(n for n in (*LOGS, "issue-71-1.log") if f"{live}-" not in n)
    assert all(f"{live}-" in path.name for path in logs.iterdir())


def test_sessions_and_damaged_mirrors_go_by_their_age(mirror: Mirror) -> None:
    for name in ("issue-7", "issue-8"):
        (mirror.base / "sessions" / name).mkdir(parents=True)
        (mirror.base / "sessions" / name / "talk.jsonl").write_text("{}\n")
    (mirror.base / "mirror.git.damaged-1").mkdir()
    assert collect(mirror, after=DAYS - 1).gone == []
    assert collect(mirror, "issue-8").gone == ["issue-7", "mirror.git.damaged-1"]
    assert names(mirror) == {"sessions"}
    assert (mirror.base / "sessions" / "issue-8" / "talk.jsonl").exists()


def test_the_mirror_is_packed_when_nothing_is_live_and_enough_has_piled_up(mirror: Mirror) -> None:
    """Each piece of work that is let in is a pack of its own."""
    folder = mirror.path / "objects" / "pack"
    for number in range(52):
        blob = mirror.call("hash-object", "-w", "--stdin", stdin=b"%d" % number).text
        mirror.call("pack-objects", "--quiet", str(folder / "pack"), stdin=f"{blob}\n".encode())
    before = len(list(folder.glob("*.pack")))
    collect(mirror, "issue-7")
    assert len(list(folder.glob("*.pack"))) == before
    assert collect(mirror).trouble == []
    assert len(list(folder.glob("*.pack"))) < 5


def test_heads_that_were_fetched_for_items_that_are_over_go_and_bases_stay(mirror: Mirror) -> None:
    main = str(mirror.sha("refs/remotes/origin/main"))
    seen = ("pull/7/head", "pull/8/head", "origin/feature/issue-9", "origin/feature/issue-10", "origin/release-7")
    for ref in seen:
        run_git("update-ref", f"refs/remotes/{ref}", main, cwd=mirror.path)
    assert collect(mirror, after=DAYS - 1) == Collected()
    done = collect(mirror, "merge-8", "issue-9")
    assert done.gone == ["refs/remotes/pull/7/head"]
    left = run_git("for-each-ref", "--format=%(refname)", cwd=mirror.path).split()
    assert left == [
        *(f"refs/remotes/origin/{name}" for name in ("feature/issue-10", "feature/issue-9", "main", "release-7")),
        "refs/remotes/pull/8/head",
    ]


def test_what_cannot_be_deleted_is_told_and_stops_nothing_else(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("json")
    for number in (6, 7, 8):
        tree(mirror, f"issue-{number}", text=f"work {number}\n")
    (mirror.base / "issue-5.kept-1").mkdir()
    real = shutil.rmtree

    def stuck(path: str | Path, *more: object, **words: object) -> None:
        if "issue-7" in str(path) and "mirror.git" not in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        real(path)

    with monkeypatch.context() as disk:
        disk.setattr(shutil, "rmtree", stuck)
        done = collect(mirror)
    assert done.gone == ["issue-5.kept-1", "issue-6", "issue-8"]
    assert done.trouble[0].startswith("issue-7: [Errno 5] Input/output error")
    assert sorted(one.name for one in kept(mirror)) == ["issue-6", "issue-7", "issue-8"]
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in told if line["level"] == "warning"] == ["not_collected"] * len(done.trouble)
    assert {line["repo"] for line in told} == {"acme/app"}
    # It is out of the way of a new worktree of this name at once, and goes when it can.
    tree(mirror, "issue-7").remove()
    collect(mirror)
    swept(mirror)


def test_what_a_killed_daemon_was_deleting_goes_at_the_next_start(mirror: Mirror) -> None:
    (mirror.base / ".trash-merge-2-0").mkdir()
    assert collect(mirror, after=0).gone == []
    assert collect(mirror, after=0, started=time.time() + 1).gone == [".trash-merge-2-0"]


def test_trash_that_cannot_be_deleted_stops_neither_a_start_nor_a_new_worktree(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tree(mirror, "issue-7")

    def stuck(path: str | Path, *more: object, **words: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as disk:
        disk.setattr(shutil, "rmtree", stuck)
        old.create(str(mirror.sha("refs/remotes/origin/main")), "feature/issue-7")
        assert list(mirror.base.glob(".trash-*")) != []
        Mirror(mirror.path, mirror.access, mirror.identity).ensure()
    assert old.usable()


def test_a_mirror_that_git_cannot_read_keeps_logs_from_growing_no_longer(mirror: Mirror) -> None:
    (mirror.base / "logs").mkdir()
    (mirror.base / "logs" / "issue-7-1.log").touch()
    (mirror.path / "HEAD").write_text("nonsense")
    done = collect(mirror)
    assert done.gone == ["issue-7-1.log"]
    assert [what.split(":")[0] for what in done.trouble] == ["saved work", "heads of the remote", "packing"]


def test_a_stop_of_the_daemon_ends_it_and_takes_nothing(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(mirror, "issue-7")
    programs, at_work = tmp_path / "programs", tmp_path / "at-work"
    programs.mkdir()
    waits = f'[ "$5" != orchestrator-all ] || {{ touch {at_work}; exec sleep 60; }}'
    slow = f'#!/bin/sh\n{waits}\nexec {shutil.which("git")} "$@"\n'
    (programs / "git").write_text(slow)
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(collect, mirror)
        appears(at_work)
        end_all()
        with pytest.raises(Stopped):
            working.result(30)
    assert (mirror.base / "issue-7" / "new.txt").exists()


def test_worktrees_without_an_item_are_told(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    tree(mirror, "issue-7")
    tree(mirror, "issue-8")
    collect(mirror, "issue-8", after=1)
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["worktrees"], line["live"]) == ("worktrees_left", ["issue-7"], 1)


def test_a_repository_that_was_never_polled_has_nothing_to_collect(tmp_path: Path, mirror: Mirror) -> None:
    nowhere = Mirror(tmp_path / "no" / "app" / "mirror.git", mirror.access, mirror.identity)
    assert housekeeping.collect(nowhere.base, nowhere, (), time.time(), DAYS, 0.0) == Collected()
    assert not nowhere.base.exists()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of our own."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_scratch_folders_of_killed_daemons_go_after_a_day(scratch: Path) -> None:
    agent, index = Path(tempfile.mkdtemp(prefix="orchestrator-")), Path(tempfile.mkdtemp(prefix="orchestrator-index-"))
    (agent / "deep").mkdir()
    (agent / "deep" / "file").touch()
    (index / "index").touch()
    assert housekeeping.sweep_scratch(time.time() + 0.9 * DAY) == Collected()
    done = housekeeping.sweep_scratch(time.time() + 1.1 * DAY)
    assert sorted(done.gone) == sorted([agent.name, index.name])
    assert list(scratch.iterdir()) == []


def test_scratch_folders_that_are_in_use_or_not_ours_stay(scratch: Path) -> None:
    used, worked_in = (Path(tempfile.mkdtemp(prefix="orchestrator-")) for _ in range(2))
    Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    (scratch / "orchestrator-projects-of-mine").mkdir(mode=0o700)
    (scratch / "orchestrator-abcd1234").mkdir(mode=0o755)
    (scratch / "orchestrator-abcd1235").touch()
    (scratch / "orchestrator-abcd1236").symlink_to(scratch)
    waits = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(waits, stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(used)}) as one,
        subprocess.Popen(waits, stdin=subprocess.PIPE, cwd=worked_in) as other,
    ):
        before = set(scratch.iterdir())
        assert housekeeping.sweep_scratch(time.time() + 2 * DAY) == Collected()
        assert set(scratch.iterdir()) == before
        for process in (one, other):
            process.communicate(b"\n")
    assert set(housekeeping.sweep_scratch(time.time() + 2 * DAY).gone) == {used.name, worked_in.name}
