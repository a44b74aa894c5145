"""Which lines of a diff take an inline comment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.git.hunks import postable
from orchestrator.git.mirror import Mirror
from tests.gitremote import LINK, Remote, mirror_of

TEN = b"".join(b"%d\n" % n for n in range(1, 11))


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote.git")


def shown(
    remote: Remote, folder: Path, before: Mapping[str, bytes], after: Mapping[str, bytes | None]
) -> dict[str, list[int]]:
    """The lines that are postable when `after` is put on top of `before`; a target that is a link is made one."""
    base = remote.commit({"keep": b"", **before})
    head = remote.commit(after, ref="refs/pull/1/head", parent=base)
    mirror: Mirror = mirror_of(remote, folder / "work")
    mirror.fetch("refs/pull/1/head")
    return {path: sorted(lines) for path, lines in postable(mirror.diff(base, head)).lines.items()}


def test_added_and_context_lines_are_postable(remote: Remote, tmp_path: Path) -> None:
    after = TEN.replace(b"5\n", b"five\nmore\n").replace(b"7\n", b"")
    assert shown(remote, tmp_path, {"a": TEN}, {"a": after}) == {"a": [2, 3, 4, 5, 6, 7, 8, 9, 10]}


def test_two_hunks_leave_out_what_is_between_them(remote: Remote, tmp_path: Path) -> None:
    long = b"".join(b"%d\n" % n for n in range(1, 31))
    after = long.replace(b"\n2\n", b"\ntwo\n").replace(b"\n29\n", b"\ntwentynine\n")
    assert shown(remote, tmp_path, {"a": long}, {"a": after}) == {"a": [1, 2, 3, 4, 5, 26, 27, 28, 29, 30]}


@pytest.mark.parametrize(
    "path",
    [
        "with space.py",
        "b/x.py",
        "a/b/a/x b/y b/z.py",
        "tab\there.py",
        'quote".py',
        "back\\slash.py",
        "new\nline.py",
        "ünï/cødé 🎉.py",
        "octal\x01\x7f.py",
        '"quoted"',
        " lead and trail ",
        "+++ b/x",
        "diff --git a/x b/x",
    ],
)
def test_odd_names_are_read_back_exactly(remote: Remote, tmp_path: Path, path: str) -> None:
    assert shown(remote, tmp_path, {}, {path: b"1\n2\n"}) == {path: [1, 2]}


def test_a_name_that_is_not_utf_8_takes_no_harm(remote: Remote, tmp_path: Path) -> None:
    assert shown(remote, tmp_path, {}, {"caf\udce9": b"1\n", "b": b"1\n"}) == {"caf\ufffd": [1], "b": [1]}


def test_a_renamed_file_goes_by_its_new_name(remote: Remote, tmp_path: Path) -> None:
    after = {"old.txt": None, "new name.txt": TEN.replace(b"1\n", b"one\n", 1)}
    assert shown(remote, tmp_path, {"old.txt": TEN}, after) == {"new name.txt": [1, 2, 3, 4]}


def test_files_without_lines_of_their_own_are_left_out(remote: Remote, tmp_path: Path) -> None:
    before = {"pic": b"\0\1", "gone": TEN, "moved": TEN + b"x\n"}
    after = {"pic": b"\0\2", "gone": None, "moved": None, "here": TEN + b"x\n", "empty": b"", "a": b"1\n"}
    assert shown(remote, tmp_path, before, after) == {"a": [1]}


def test_a_change_of_mode_alone_has_no_lines(remote: Remote, tmp_path: Path) -> None:
    base = remote.commit({"run.sh": b"1\n"})
    head = remote.commit({"run.sh": b"1\n"}, ref="refs/pull/1/head", parent=base, modes={"run.sh": "100755"})
    mirror = mirror_of(remote, tmp_path / "work")
    mirror.fetch("refs/pull/1/head")
    diff = mirror.diff(base, head)
    assert b"new mode" in diff
    assert postable(diff).lines == {}


def test_a_file_that_becomes_a_link_counts_its_new_line(remote: Remote, tmp_path: Path) -> None:
    base = remote.commit({"x": TEN})
    head = remote.commit({"x": b"target"}, ref="refs/pull/1/head", parent=base, modes={"x": LINK})
    mirror = mirror_of(remote, tmp_path / "work")
    mirror.fetch("refs/pull/1/head")
    assert postable(mirror.diff(base, head)).lines == {"x": frozenset({1})}


def test_lines_that_look_like_headers_are_content(remote: Remote, tmp_path: Path) -> None:
    trap = b"-- a/x\n++ b/y\n@@ -1,9 +1,9 @@\ndiff --git a/q b/q\nBinary files a/q and b/q differ\n"
    trap += b"\\ No newline at end of file\n"
    after = {"t": trap, "u": b"1\n"}
    assert shown(remote, tmp_path, {"t": b"-- a/old\nrename to z\n"}, after) == {"t": [1, 2, 3, 4, 5, 6], "u": [1]}


def test_line_ends_do_not_change_the_count(remote: Remote, tmp_path: Path) -> None:
    after = {
        "dos": b"1\r\n2\r\n",
        "mac": b"1\r2\r3\n4\n",
        "odd": b"1\x0b2\x0c3\x1c4\xc2\x854\xe2\x80\xa85\n6",
        "bad": b"\xff\xfe\n\xe9\n",
    }
    expected = {"dos": [1, 2], "mac": [1, 2], "odd": [1, 2], "bad": [1, 2]}
    assert shown(remote, tmp_path, {}, after) == expected


def test_no_newline_at_the_end_on_either_side(remote: Remote, tmp_path: Path) -> None:
    before = {"a": b"1\n2", "b": b"1\n2\n", "c": b"1\n2"}
    after: dict[str, bytes | None] = {"a": b"1\n2\n", "b": b"1\n2", "c": b"1\n3"}
    assert shown(remote, tmp_path, before, after) == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


def test_has_answers_for_a_path_and_a_line() -> None:
    hunks = postable(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@ def f():\n 1\n+2\n")
    assert hunks.has("x", 2)
    assert not hunks.has("x", 3)
    assert not hunks.has("y", 2)


def test_an_empty_diff_has_nothing() -> None:
    assert postable(b"").lines == {}


def test_a_hunk_that_is_cut_off_takes_only_its_own_file() -> None:
    good = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+1\n"
    broken = b"diff --git a/y b/y\n--- a/y\n+++ b/y\n@@ -0,0 +1,9 @@\n+1\n"
    assert postable(broken + good).lines == {"y": frozenset(), "x": frozenset({1})}


PIECES = st.sampled_from(
    [
        b"diff --git a/x b/x\n",
        b'diff --git "a/\\303" "b/x"\n',
        b"--- a/x\n",
        b"+++ b/x\n",
        b'+++ "b/\\',
        b"+++ /dev/null\n",
        b"@@ -1 +1 @@\n",
        b"@@ -1,2 +9999999999999999999999,3 @@\n",
        b"@@ -0,0 +0,0 @@\n",
        b"@@ ",
        b"+a\n",
        b" a\n",
        b"-a\n",
        b"\\ No newline at end of file\n",
        b"Binary files a/x and b/x differ\n",
        b"GIT binary patch\n",
        b"rename to y\n",
        b"new file mode 100644\n",
        b"\n",
        b"\r",
        b"\0\xff",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=8), max_size=30))
def test_no_bytes_make_it_raise(pieces: list[bytes]) -> None:
    postable(b"".join(pieces))
