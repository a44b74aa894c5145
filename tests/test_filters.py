"""Stories in repositories whose files go through programs on their way into a commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.boxed import walled
from tests.conftest import MakeHouse
from tests.gitremote import run_git
from tests.house import STUB, House
from tests.merging import LANDED, ask
from tests.needs import needs
from tests.story import expect_pull, expect_work, outcomes, ready
from tests.test_attacks_secrets import acts

WALLS = ["off", pytest.param("bwrap", marks=walled)]
PASSWORD = b"password: correct horse\n"


def encrypted(folder: Path, name: str) -> bytes:
    """What real git-crypt, with the key of this name, makes of a password."""
    folder.mkdir()
    run_git("init", "-q", cwd=folder)
    key, tag = ([], "git-crypt") if not name else (["-k", name], f"git-crypt-{name}")
    subprocess.run(["git-crypt", "init", *key], cwd=folder, check=True, capture_output=True)
    (folder / ".gitattributes").write_text(f"* filter={tag} diff={tag}\n.gitattributes !filter !diff\n")
    (folder / "prod.yml").write_bytes(PASSWORD)
    run_git("add", ".", cwd=folder)
    env = {"cwd": folder, "check": True, "capture_output": True}
    stored = subprocess.run(["git", "cat-file", "blob", ":prod.yml"], **env).stdout  # type: ignore[call-overload]
    assert stored.startswith(b"\0GITCRYPT\0")
    return bytes(stored)


def house_of(make_house: MakeHouse, sandbox: str, agent: str, **settings: object) -> House:
    """A house whose agent runs this script."""
    return make_house(
        sandbox=sandbox,
        toolchain_paths=(str(STUB.parent), sys.prefix, sys.base_prefix),
        claude_command=acts(agent),
        **settings,
    )


@needs("git-crypt")
@pytest.mark.parametrize("sandbox", WALLS)
@pytest.mark.parametrize("key", ["", "staging"])
def test_case_05_what_git_crypt_would_encrypt_is_never_pushed(
    make_house: MakeHouse, tmp_path: Path, sandbox: str, key: str
) -> None:
    house = house_of(
        make_house, sandbox, "echo 'password: new' > secrets/prod.yml; echo 'password: 2' > secrets/new.yml; echo x > a"
    )
    tag = f"git-crypt-{key}" if key else "git-crypt"
    stored = encrypted(tmp_path / "crypt", key)
    attributes = f"secrets/** filter={tag} diff={tag}\n"
    house.alice.pushes(house.repo, "main", {".gitattributes": attributes, "secrets/prod.yml": stored})
    issue = ready(house)
    house.quiet()
    assert house.repo.pulls == []
    assert house.repo.git("for-each-ref", "--format=%(refname)", "refs/heads").split() == ["refs/heads/main"]
    [said] = outcomes(issue)
    assert f"`secrets/new.yml` (`{tag}`), `secrets/prod.yml` (`{tag}`)" in said
    assert "nothing was pushed" in said
    assert "The worktree was kept" in said
    assert "needs-human" in issue.labels
    kept = house.folder / "worktrees/acme/app/issue-1/secrets/prod.yml"
    assert kept.read_bytes() == b"password: new\n"
    expect_work(house, issue)


@needs("git-crypt")
def test_case_05_the_rest_of_such_a_repository_is_worked_on(make_house: MakeHouse, tmp_path: Path) -> None:
    house = house_of(make_house, "off", "git mv secrets/prod.yml secrets/live.yml; echo x > a")
    stored = encrypted(tmp_path / "crypt", "")
    house.alice.pushes(
        house.repo, "main", {".gitattributes": "secrets/** filter=git-crypt\n", "secrets/prod.yml": stored}
    )
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert not pull.draft
    assert house.repo.thing.bare.file(pull.head_ref, "secrets/live.yml") == stored
    house.ci.passes(pull, "build")
    ask(house, pull)
    assert pull.merged, house.said(pull)
    expect_pull(house, issue)
    house.expect(*LANDED)


@pytest.mark.parametrize("sandbox", WALLS)
def test_case_05_a_path_with_any_other_filter_becomes_a_draft_that_only_a_named_commit_lands(
    make_house: MakeHouse, sandbox: str
) -> None:
    house = house_of(make_house, sandbox, "echo '{}' > a.ipynb; git add -f a.ipynb; git commit -qm mine; echo x > b")
    house.alice.pushes(house.repo, "main", {".gitattributes": "*.ipynb filter=nbstripout\n"})
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert pull.draft
    assert pull.labels == ["needs-human"]
    assert pull.body
    assert "`a.ipynb` (`nbstripout`)" in pull.body
    assert f"mark this draft ready for review, then comment `/merge {pull.head_sha[:12]}`" in pull.body
    house.alice.readies(pull)
    house.clock.advance(5)
    ask(house, pull)
    assert "`a.ipynb` (`nbstripout`)" in house.said(pull)[-1]
    assert "the commit must be named" in house.said(pull)[-1]
    house.ci.passes(pull, "build")
    house.alice.comments(pull, f"/merge {pull.head_sha[:12]}")
    house.quiet()
    assert pull.merged
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels", *LANDED)


def test_case_05_both_reasons_to_look_first_are_told(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "echo '*.ipynb filter=nbstripout' > .gitattributes; echo '{}' > a.ipynb")
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert pull.draft
    assert pull.body
    assert "steer tools or people (`.gitattributes`). " in pull.body
    assert "`a.ipynb` (`nbstripout`)" in pull.body
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels")


def test_case_05_a_second_attempt_that_writes_such_a_path_is_told_on_the_pull_request(make_house: MakeHouse) -> None:
    house = house_of(make_house, "off", "echo x >> b")
    house.alice.pushes(house.repo, "main", {".gitattributes": "*.ipynb filter=nbstripout\n"})
    issue = ready(house)
    house.quiet()
    [pull] = house.repo.pulls
    assert not pull.draft
    house.stop()
    house.start(claude_command=acts("echo '{}' > a.ipynb"))
    house.alice.labels(issue, "ready")
    house.quiet()
    [told] = house.said(pull)
    assert "`a.ipynb` (`nbstripout`)" in told
    assert pull.labels == ["needs-human"]
    expect_pull(house, issue)
    house.expect(f"POST issues/{pull.number}/labels", f"POST issues/{pull.number}/comments")
