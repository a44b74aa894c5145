"""Stories in repositories that keep large files in Git LFS."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from orchestrator.twin import Fault, pushes, status
from tests.boxed import walled
from tests.conftest import MakeHouse
from tests.gitremote import Remote
from tests.house import House
from tests.merging import LANDED, ask
from tests.needs import needs
from tests.story import expect_pull, expect_work, outcomes, ready
from tests.submodule_graph import Link, commit
from tests.test_filters import house_of

needs_lfs = needs("git-lfs")
WALLS = ["off", pytest.param("bwrap", marks=walled)]
TRACKED = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
OLD = b"\0old content\r\n" * 1000


def pointer(content: bytes) -> str:
    oid = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"


def stored(house: House) -> dict[str, bytes]:
    """What the server has."""
    folder = house.github.large_files(house.repo)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def tracked(house: House, **more: str) -> None:
    """`model.bin` is in Git LFS."""
    folder = house.github.large_files(house.repo)
    (folder / hashlib.sha256(OLD).hexdigest()).write_bytes(OLD)
    files = {".gitattributes": TRACKED, "model.bin": pointer(OLD), "sub/copy.bin": pointer(OLD), **more}
    house.alice.pushes(house.repo, "main", files)


@pytest.fixture
def without_lfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH with all programs but this one."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            if program.name != "git-lfs":
                (programs / program.name).unlink(missing_ok=True)
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))


@needs_lfs
@pytest.mark.parametrize("sandbox", WALLS)
def test_case_04_contents_are_in_worktrees_pointers_in_commits_and_objects_on_the_server(
    make_house: MakeHouse, sandbox: str
) -> None:
    house = house_of(
        make_house,
        sandbox,
        'test -z "$(git status --porcelain)" && grep -q "old content" model.bin && git lfs version >/dev/null && '
        "printf new >> model.bin && printf fresh > new.bin && printf mine > own.bin && git add own.bin && "
        "git commit -qm mine -- own.bin && git checkout -q -- sub/copy.bin && chmod +x new.bin && echo x > ok",
        pre_merge_commands=("grep -q fresh new.bin", "grep -q mine own.bin", 'test -z "$(git status --porcelain)"'),
    )
    tracked(house)
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert not pull.draft, pull.body
    assert house.repo.file(pull.head_ref, "ok") == "x\n"
    wanted = {"model.bin": OLD + b"new", "new.bin": b"fresh", "own.bin": b"mine", "sub/copy.bin": OLD}
    for path, content in wanted.items():
        assert house.repo.file(pull.head_ref, path) == pointer(content)
        assert stored(house)[hashlib.sha256(content).hexdigest()] == content
    assert house.repo.git("ls-tree", pull.head_ref, "new.bin").startswith("100755")
    first = [e.path for e in house.github.journal.exchanges if "/info/lfs/" in e.path or e.method == "PUSH"]
    assert first.index("refs/heads/feature/issue-1") == len(first) - 1
    house.ci.passes(pull, "build")
    ask(house, pull)
    assert pull.merged, house.said(pull)
    expect_pull(house, issue)
    house.expect(*LANDED)


@needs_lfs
def test_case_04_a_submodule_has_its_contents_too(make_house: MakeHouse) -> None:
    house = make_house(setup_commands=("grep -q 'old content' lib/model.bin", 'test -z "$(git -C lib status -s)"'))
    lib = house.github.repo("acme/lib", files={".gitattributes": TRACKED, "model.bin": pointer(OLD)})
    house.github.user("robot", lib, permission="read")
    (house.github.large_files(lib) / hashlib.sha256(OLD).hexdigest()).write_bytes(OLD)
    commit(Remote(house.repo.thing.bare.path), [Link("lib", "../lib.git", str(lib.sha("main")))], ref="refs/heads/main")
    with house.repo.looking() as world:
        pushes.sync(world, house.repo.thing, house.alice.thing)
    issue = ready(house)
    house.quiet()
    assert len(house.repo.pulls) == 1, outcomes(issue)
    expect_pull(house, issue)


@pytest.mark.usefixtures("without_lfs")
def test_case_04_without_git_lfs_nothing_is_pushed_over_a_pointer(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "printf fresh > new.bin; printf x >> model.bin; echo x > ok")
    tracked(house)
    issue = ready(house)
    house.quiet()
    assert house.repo.pulls == []
    [said] = outcomes(issue)
    assert "`model.bin`, `new.bin` in Git LFS (the filter `lfs`), but git-lfs is not installed" in said
    assert "The worktree was kept" in said
    expect_work(house, issue)


@pytest.mark.usefixtures("without_lfs")
def test_case_04_content_that_a_command_puts_in_place_is_no_change(make_house: MakeHouse, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(OLD)
    house = make_house(pre_merge_commands=(f"cp {tmp_path}/content model.bin",))
    tracked(house)
    house.alice.pushes(house.repo, "topic", {"x": "1\n"})
    pull = house.alice.opens_pr(house.repo, "topic")
    house.quiet()
    house.ci.passes(pull, "build")
    ask(house, pull)
    assert pull.merged, house.said(pull)
    house.expect(*LANDED)


@needs_lfs
def test_case_04_a_server_that_takes_no_object_stops_the_push(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "printf fresh > new.bin")
    tracked(house)
    house.github.faults.add(
        Fault("POST *objects/batch", status(507, {"message": "Over its data quota"}), nth=2, times=9)
    )
    issue = ready(house)
    house.quiet()
    assert house.repo.git("for-each-ref", "--format=%(refname)", "refs/heads").split() == ["refs/heads/main"]
    [said] = outcomes(issue)
    assert "The Git LFS server answered 507: Over its data quota" in said
    expect_work(house, issue)


@needs_lfs
def test_case_04_a_server_that_is_away_for_a_moment_costs_no_work(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "printf fresh > new.bin")
    tracked(house)
    for match in ("POST *objects/batch", "GET *info/lfs*", "PUT *info/lfs*", "POST *lfs*verify"):
        house.github.faults.add(Fault(match, status(503)))
    issue = ready(house)
    house.quiet()
    assert len(house.repo.pulls) == 1, outcomes(issue)
    assert stored(house)[hashlib.sha256(b"fresh").hexdigest()] == b"fresh"
    expect_pull(house, issue)


@needs_lfs
def test_case_04_another_host_that_the_repository_names_is_not_called(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "printf fresh > new.bin")
    tracked(house, **{".lfsconfig": "[lfs]\n\turl = https://elsewhere.example/lfs\n"})
    issue = ready(house)
    house.quiet()
    [said] = outcomes(issue)
    assert "its `.lfsconfig` names another server" in said
    assert not [e for e in house.github.journal.exchanges if "/info/lfs/" in e.path]
    expect_work(house, issue)


@needs_lfs
def test_case_04_a_secret_in_a_large_file_stops_the_push(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "npm-canary-0123456789"
    monkeypatch.setenv("NPM_TOKEN", canary)
    house = house_of(make_house, "off", f"head -c 3000000 /dev/zero > a.bin; printf {canary} >> a.bin")
    tracked(house)
    issue = ready(house)
    house.quiet()
    [said] = outcomes(issue)
    assert "holds a token" in said
    assert list(stored(house)) == [hashlib.sha256(OLD).hexdigest()]
    expect_work(house, issue)
