"""What a reader gets of a commit whose links lead out."""

from __future__ import annotations

import os

import pytest

from orchestrator.git.mirror import Mirror
from orchestrator.git.plain import without_ways_out
from orchestrator.git.worktree import Worktree
from tests.gitremote import FILE, LINK, Remote
from tests.worktree.looking import dirty, files

OUT = {
    "passwd": "/etc/passwd",
    "login": "../sessions/x",
    "sub/deep/er/up": "../../../../x",
    "sub/two": "../inside/step/../..",
    "over": "login/x",
    "odd\n\tna\udcffme": "..",
    ":x": "../:x",
}
INSIDE = {"inside/step": "..", "sub/in": "../a.txt", "x": "y", "y": "x", "gone": "nowhere", "sub/deep/b": "../b.txt"}


@pytest.fixture
def head(remote: Remote, mirror: Mirror) -> str:
    links = {path: os.fsencode(target) for path, target in {**OUT, **INSIDE}.items()}
    modes = {**dict.fromkeys(links, LINK), "run.sh": "100755"}
    sha = remote.commit({**links, "run.sh": b"true\n", "sub/deep/c.txt": b"c\n"}, modes=modes)
    mirror.fetch("refs/heads/main")
    return sha


def modes(mirror: Mirror, sha: str) -> dict[str, str]:
    entries = mirror.call("ls-tree", "-r", "-z", "--full-tree", sha).paths
    return {path: about.partition(" ")[0] for about, _, path in (entry.partition("\t") for entry in entries)}


def test_A35_a_link_that_leads_out_is_a_file_for_a_reader(mirror: Mirror, head: str) -> None:
    tree = Worktree(mirror, mirror.base / "pr-review-1")
    tree.create(without_ways_out(mirror, head), None)
    for path, target in OUT.items():
        assert not (tree.path / path).is_symlink(), path
        assert os.fsdecode((tree.path / path).read_bytes()) == target
    for path, target in INSIDE.items():
        assert str((tree.path / path).readlink()) == target
    assert not dirty(tree)


def test_a_reader_gets_everything_else_as_it_is(mirror: Mirror, head: str) -> None:
    plain = without_ways_out(mirror, head)
    assert plain != head
    assert files(mirror, plain) == files(mirror, head)
    assert modes(mirror, plain) == {**modes(mirror, head), **dict.fromkeys(OUT, FILE)}
    assert mirror.call("rev-parse", f"{plain}^").text == head
    raw = mirror.call("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", head, plain).paths[::2]
    assert [entry.split(" ")[2] == entry.split(" ")[3] for entry in raw] == [True] * len(OUT), "the content is the same"


@pytest.mark.parametrize("links", [{}, INSIDE])
def test_a_commit_without_a_way_out_is_checked_out_itself(
    remote: Remote, mirror: Mirror, links: dict[str, str]
) -> None:
    sha = remote.commit({"new": b"", **{k: v.encode() for k, v in links.items()}}, modes=dict.fromkeys(links, LINK))
    mirror.fetch("refs/heads/main")
    assert without_ways_out(mirror, sha) == sha
