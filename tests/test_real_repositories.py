"""Whole stories on repositories as people have them: line ends, left-overs of a set-up, stashes, ignored files."""

from __future__ import annotations

import pytest

from tests.boxed import walled
from tests.conftest import MakeHouse
from tests.gitremote import run_git
from tests.house import STUB, House, stub
from tests.merging import LANDED, SAID, announced, opens
from tests.story import expect_pull, expect_work, outcomes, ready

SANDBOXES = pytest.mark.parametrize("sandbox", ["off", pytest.param("bwrap", marks=walled)])


def stores(house: House, files: dict[str, bytes]) -> None:
    """Alice pushes the files to `main` byte by byte, past every conversion."""
    bare = house.repo.thing.bare.path
    index = bare / "made-index"
    run_git("read-tree", "main", cwd=bare, index=index)
    for path, content in files.items():
        blob = run_git("hash-object", "-w", "--stdin", "--no-filters", cwd=bare, stdin=content)
        run_git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", cwd=bare, index=index)
    tree = run_git("write-tree", cwd=bare, index=index)
    commit = run_git("commit-tree", "-p", "main", "-m", "As people have it", tree, cwd=bare)
    house.alice.force_pushes(house.repo, "main", sha=commit)
    index.unlink()


def works(house: House, sandbox: str, script: str) -> None:
    """The agent of this house does what the script says."""
    house.options |= {"sandbox": sandbox, "toolchain_paths": (str(STUB.parent),)}
    house.start(claude_command=stub("runs", script))


def in_the_pull(house: House) -> list[str]:
    [pull] = house.repo.pulls
    return house.repo.git("diff", "--name-only", f"main...{pull.head_sha}").split()


def lands(house: House) -> None:
    [pull] = house.repo.pulls
    house.ci.passes(pull, "build")
    house.alice.comments(pull, "/merge")
    house.quiet()
    announced(house, pull)
    house.expect(*LANDED)


@SANDBOXES
@pytest.mark.parametrize("attributes", [b"*.bat text eol=crlf\n", b"* text\n"])
def test_case_01_files_that_the_checkout_converts_are_in_no_pull_request_and_stop_no_merge(
    make_house: MakeHouse, sandbox: str, attributes: bytes
) -> None:
    house = make_house(pre_merge_commands=("true",))
    stores(house, {".gitattributes": attributes, **{f"w{n}.bat": b"echo %d\r\n" % n for n in range(30)}})
    issue = ready(house)
    works(house, sandbox, "echo one more line >>README.md")
    house.quiet()
    assert in_the_pull(house) == ["README.md"]
    lands(house)
    expect_pull(house, issue)


@SANDBOXES
@pytest.mark.parametrize(
    "setup", ["mkdir app.egg-info && echo m >app.egg-info/PKG-INFO", "echo '{\"lock\":2}' >package-lock.json"]
)
def test_case_02_what_the_set_up_left_is_no_pull_request(make_house: MakeHouse, sandbox: str, setup: str) -> None:
    house = make_house(setup_commands=(setup,))
    stores(house, {"package-lock.json": b'{"lock":1}\n'})
    issue = ready(house)
    works(house, sandbox, "true")
    house.quiet()
    assert house.repo.pulls == []
    [said] = outcomes(issue)
    assert "The agent changed nothing" in said
    assert "The stub did its work." in said
    expect_work(house, issue)
    house.expect(SAID)


TESTS = """
from slug import slug
assert slug("A b") == "a-b"
"""
MAKEFILE = "test:\n\tPYTHONPATH=src python3 tests/test_slug.py\n"


@SANDBOXES
def test_first_D1_a_python_repository_without_a_gitignore_ends_with_a_merge(
    make_house: MakeHouse, sandbox: str
) -> None:
    house = make_house(pre_merge_commands=("make test",))
    source = b"def slug(text):\n    return text.lower().replace(' ', '-')\n"
    stores(house, {"src/slug.py": source, "tests/test_slug.py": TESTS.encode(), "Makefile": MAKEFILE.encode()})
    issue = ready(house)
    leaves = "make test; env -u PYTHONDONTWRITEBYTECODE make test; echo '# Slugs' >>README.md"
    works(house, sandbox, leaves)
    house.quiet()
    assert in_the_pull(house) == ["README.md"]
    assert "`src/__pycache__/`" in (house.repo.pulls[0].body or "")
    lands(house)
    expect_pull(house, issue)


@SANDBOXES
def test_first_D2_a_virtual_environment_of_the_set_up_is_left_alone(make_house: MakeHouse, sandbox: str) -> None:
    house = make_house(setup_commands=("python3 -m venv --without-pip .venv",))
    issue = ready(house)
    works(house, sandbox, "echo more >>README.md")
    house.quiet()
    assert in_the_pull(house) == ["README.md"]
    expect_pull(house, issue)


@SANDBOXES
def test_case_12_a_stash_is_its_own_worktrees(make_house: MakeHouse, sandbox: str) -> None:
    """Two agents put their work away at once, and take it out when both have."""
    house = make_house(max_concurrent=2)
    meets = house.folder / "meets"
    meets.mkdir()
    one, two = ready(house, "one"), ready(house, "two")
    both = f"touch {meets}/$ORCHESTRATOR_ITEM; until [ $(ls {meets} | wc -l) = 2 ]; do sleep 0.05; done"
    wait = both if sandbox == "off" else "true"  # behind the walls they cannot see each other
    stash = f"echo $ORCHESTRATOR_ITEM >mine.txt; git add mine.txt; git stash -q; {wait}; git stash pop -q"
    works(house, sandbox, stash)
    house.quiet()
    for issue in (one, two):
        assert house.repo.file(f"feature/issue-{issue.number}", "mine.txt") == f"{issue.number}\n"
    expect_pull(house, one, two)


@SANDBOXES
def test_case_12_what_is_left_in_a_stash_is_saved_and_told(make_house: MakeHouse, sandbox: str) -> None:
    house = make_house()
    issue = ready(house)
    works(house, sandbox, "echo work >>README.md; git stash -q")
    house.quiet()
    assert f"`orchestrator salvage list {issue.number}`" in outcomes(issue)[0]
    mirror = house.folder / "worktrees/acme/app/mirror.git"
    kept = run_git("for-each-ref", "--format=%(refname)", "refs/orchestrator/salvage", cwd=mirror)
    assert run_git("show", f"{kept}^{{commit}}:README.md", cwd=mirror).endswith("work")
    expect_work(house, issue)
    house.expect(SAID)


@SANDBOXES
@pytest.mark.parametrize("force", ["", "git add -f lib/index.js"])
def test_case_16_an_ignored_file_is_named_and_saved_or_taken_in(
    make_house: MakeHouse, sandbox: str, force: str
) -> None:
    house = make_house()
    stores(house, {".gitignore": b"lib/\n"})
    issue = ready(house)
    works(house, sandbox, f"mkdir lib && echo work >lib/index.js; {force or 'true'}")
    house.quiet()
    if force:
        assert in_the_pull(house) == ["lib/index.js"]
        expect_pull(house, issue)
        return
    [said] = outcomes(issue)
    assert "because `.gitignore` names it: `lib/`" in said
    mirror = house.folder / "worktrees/acme/app/mirror.git"
    assert run_git("show", "refs/orchestrator/salvage/issue-1/1^{commit}:lib/index.js", cwd=mirror) == "work"
    expect_work(house, issue)
    house.expect(SAID)


def test_case_08_a_pull_request_into_a_branch_below_the_name_of_one_that_is_gone(make_house: MakeHouse) -> None:
    house = make_house(pre_merge_commands=("true",))
    for base, gone in (("release", ""), ("release/1.0", "release"), ("release", "release/1.0")):
        if gone:
            house.alice.deletes_branch(house.repo, gone)
        house.alice.pushes(house.repo, base, {"base.txt": f"{base} after {gone}\n"})
        pull = opens(house, f"topic-{len(house.repo.pulls)}", base=base)
        house.ci.passes(pull, "build")
        house.alice.comments(pull, "/merge")
        house.quiet()
        announced(house, pull)
    house.expect(*LANDED)
