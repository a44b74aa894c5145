"""`SPARSE_PATHS`: the setting, and the whole way from a label to a pull request of a part of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.errors import Misconfigured
from tests.conftest import MakeHouse
from tests.story import expect_pull


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ()), ("apps/web", ("apps/web",)), (" apps/web/ , libs,a b/ü ", ("apps/web", "libs", "a b/ü"))],
)
def test_folders_are_read(env: Path, value: str, expected: tuple[str, ...]) -> None:
    env.write_text(f'GITHUB_REPO=octo/demo\nSPARSE_PATHS="{value}"\n')
    assert settings.load().sparse_folders == expected


@pytest.mark.parametrize("value", ["/apps", "../x", "apps/../x", "a/./b", "a//b", "a,,b", "apps/*", "a?", "[ab]", "."])
def test_what_is_no_folder_of_a_repository_is_refused_at_the_start(env: Path, value: str) -> None:
    env.write_text(f"GITHUB_REPO=octo/demo\nSPARSE_PATHS='{value}'\n")
    with pytest.raises(Misconfigured, match=r"^SPARSE_PATHS must be folders such as apps/web,libs, without patterns; "):
        settings.load()


def test_an_issue_is_worked_on_in_a_part_and_its_merge_is_tested_on_the_whole(make_house: MakeHouse) -> None:
    house = make_house(
        sparse_paths="apps/web",
        setup_commands=("test -f apps/web/page.txt && test ! -e docs",),
        pre_merge_commands=("test -f docs/guide.txt && test -f agent.txt",),
    )
    house.alice.pushes(house.repo, "main", {"apps/web/page.txt": "page\n", "docs/guide.txt": "guide\n"}, "More")
    issue = house.alice.opens_issue(house.repo, "Greet people", "Please.")
    house.alice.labels(issue, "ready")
    house.until(lambda: bool(house.repo.pulls))
    [pull] = house.repo.pulls
    assert house.repo.git("diff", "--name-only", "main", pull.head_ref).split() == ["agent.txt"]
    house.quiet()
    house.bob.comments(pull, "/merge")
    house.until(lambda: pull.merged)
    assert house.repo.file("main", "docs/guide.txt") == "guide\n"
    house.quiet()
    expect_pull(house, issue)
    house.expect("POST issues/comments/*/reactions", "POST issues/2/*", "PATCH issues/comments/*", "PUT pulls/2/merge")
    house.expect("DELETE git/refs/heads/*")
