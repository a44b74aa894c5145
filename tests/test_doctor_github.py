"""`doctor` asks GitHub: the token, the clock, the repositories and their labels."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import doctor
from orchestrator.doctor import Labels
from tests.gitremote import Remote, mirror_of
from tests.needs import needs
from tests.test_filters import encrypted
from tests.ward import GitHub, bad, good_settings, mend, report


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        yield server


@pytest.fixture
def wished(github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good `.env`."""
    return good_settings(github, tmp_path, monkeypatch)


def test_a_refused_token_fails_with_the_place_where_it_is(
    wished: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.answers["GET", "/user"] = (401, {}, {"message": "Bad credentials"})
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        "FAIL  token       GitHub refuses the token (401 Bad credentials). Mend: `${EDITOR:-nano} .env`"
    ]
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_canary9876543210")
    assert [mend(line) for line in bad(report("--no-probe")[1])] == ["unset GITHUB_TOKEN"]


@pytest.mark.parametrize(
    ("gh", "said", "command"),
    [
        (None, "`gh` is not installed", "${EDITOR:-nano} .env"),
        ("exit 1", "`gh` has none for 127.0.0.1", "gh auth login --hostname 127.0.0.1"),
        ("echo ghp_canary_stored", "Bad credentials", "gh auth login --hostname 127.0.0.1"),
    ],
)
def test_without_a_token_in_the_settings_it_is_the_one_of_gh(
    wished: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch, gh: str | None, said: str, command: str
) -> None:
    programs = wished.parent / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    if gh:
        (programs / "gh").write_text(f"#!/bin/sh\n{gh}\n")
        (programs / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    wished.write_text("".join(x for x in wished.read_text().splitlines(True) if not x.startswith("GITHUB_TOKEN")))
    github.answers["GET", "/user"] = (401, {}, {"message": "Bad credentials"})
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert said in line
    assert mend(line) == command


@pytest.mark.parametrize("answer", [["hello"], {"name": "robot"}, {"login": "robot"}, {"login": "x", "id": "y"}, None])
def test_something_else_than_github_fails(wished: Path, github: GitHub, answer: Any) -> None:
    github.answers["GET", "/user"] = (200, {}, answer)
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        f"FAIL  github      {github.url} does not answer as GitHub does. Mend: `${{EDITOR:-nano}} .env`"
    ]


def test_the_usual_address_is_not_to_be_changed(wished: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor asks api.github.com through a proxy where nobody listens."""
    monkeypatch.setenv("GITHUB_API_URL", "https://api.github.com")
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"http://127.0.0.1:{server.getsockname()[1]}"
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, gone)
    (line,) = bad(report("--no-probe")[1])
    assert mend(line) == "curl -sS https://api.github.com/meta"


def test_a_rate_limit_of_an_hour_is_told_instead_of_waited_for(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (403, {"Retry-After": "3000"}, {"message": "secondary rate limit"})
    began = time.monotonic()
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert line.startswith("FAIL  github      GitHub limits this token for another 50 min")
    assert mend(line) == "orchestrator doctor"
    assert time.monotonic() - began < 10


def test_a_classic_token_that_may_do_more_than_is_needed_is_noticed(wished: Path, github: GitHub) -> None:
    scopes = "admin:org, delete_repo, gist, read:org, repo, workflow, write:packages"
    github.answers["GET", "/user"] = (200, {"X-OAuth-Scopes": scopes}, {"login": "robot", "id": 1})
    code, lines = report("--no-probe")
    assert code == 0
    assert bad(lines) == [
        "WARN  scopes      the token may do what is never needed (admin:org, delete_repo, write:packages); a "
        "fine-grained one for these repositories would be enough. Mend: `${EDITOR:-nano} .env`"
    ]


def test_a_token_of_an_administrator_is_noticed(wished: Path, github: GitHub) -> None:
    status, headers, repository = github.answers["GET", "/repos/octo/demo"]
    both = {**repository, "permissions": {"push": True, "admin": True}}
    github.answers["GET", "/repos/octo/demo"] = (status, headers, both)
    code, lines = report("--no-probe")
    assert code == 0
    [line] = bad(lines)
    assert line.startswith("WARN  octo/demo   robot is an administrator")
    assert mend(line) == "${EDITOR:-nano} .env"


@pytest.mark.parametrize(("scopes", "level"), [("public_repo, workflow", "WARN"), ("gist, workflow", "FAIL")])
def test_a_classic_token_without_the_scope_is_noticed(wished: Path, github: GitHub, scopes: str, level: str) -> None:
    github.answers["GET", "/user"] = (200, {"X-OAuth-Scopes": scopes}, {"login": "robot", "id": 1})
    code, lines = report("--no-probe")
    assert code == (3 if level == "FAIL" else 0)
    assert bad(lines) == [f"{level}  scopes      the token has {scopes}, not repo. Mend: `${{EDITOR:-nano}} .env`"]


def test_a_token_without_workflow_is_a_warning(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (200, {"X-OAuth-Scopes": "repo"}, {"login": "robot", "id": 1})
    code, lines = report("--no-probe")
    assert code == 0
    assert "without the scope workflow, GitHub refuses changes under .github/workflows" in bad(lines)[0]


def test_a_fine_grained_token_is_judged_by_the_repository(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/user"] = (200, {}, {"login": "robot", "id": 1})
    assert bad(report("--no-probe")[1]) == []
    github.change("/repos/octo/demo", permissions={"push": False, "pull": True})
    code, lines = report("--no-probe")
    assert code == 3
    assert "it can be read, but robot may not push with this token" in bad(lines)[0]
    assert mend(bad(lines)[0]) == (
        "gh api --hostname 127.0.0.1 -X PUT repos/octo/demo/collaborators/robot -f permission=push"
    )


@pytest.mark.parametrize("skew", [-90.0, 90.0])
def test_a_clock_that_is_off_fails(wished: Path, github: GitHub, skew: float) -> None:
    github.skew = skew
    code, lines = report("--no-probe")
    assert code == 3
    assert ("ahead of" if skew < 0 else "behind") in bad(lines)[0]
    assert "timedatectl" in bad(lines)[0]


@pytest.mark.parametrize(
    ("fields", "setting", "said", "command"),
    [
        ({"archived": True}, "", "it is archived", "gh repo unarchive 127.0.0.1/octo/demo --yes"),
        (
            {"has_pull_requests": False},
            "",
            "its pull requests are switched off",
            "gh api --hostname 127.0.0.1 -X PATCH repos/octo/demo -F has_pull_requests=true",
        ),
        ({"disabled": True}, "", "GitHub has switched it off", "gh repo view 127.0.0.1/octo/demo --web"),
        ({"default_branch": "trunk"}, "", "no commit on trunk", "git push https://127.0.0.1/octo/demo.git HEAD:trunk"),
        ({}, "BASE_BRANCH=trunk", "it has no branch trunk, named by BASE_BRANCH", "${EDITOR:-nano} .env"),
        (
            {"allow_squash_merge": False},
            "",
            "it does not allow MERGE_METHOD=squash",
            "gh repo edit 127.0.0.1/octo/demo --enable-squash-merge",
        ),
        (
            {"allow_merge_commit": False},
            "MERGE_METHOD=merge",
            "it does not allow MERGE_METHOD=merge",
            "gh repo edit 127.0.0.1/octo/demo --enable-merge-commit",
        ),
    ],
)
def test_a_repository_that_cannot_be_worked_on_fails(
    wished: Path, github: GitHub, fields: dict[str, Any], setting: str, said: str, command: str
) -> None:
    github.change("/repos/octo/demo", **fields)
    with wished.open("a") as env:
        env.write(f"{setting}\n")
    code, lines = report("--no-probe")
    assert code == 3
    (line,) = bad(lines)
    assert said in line
    assert mend(line) == command


def test_a_repository_that_is_not_there_fails_and_the_others_are_still_checked(wished: Path, github: GitHub) -> None:
    wished.write_text(wished.read_text().replace("octo/demo", "octo/gone,octo/demo"))
    code, lines = report("--no-probe")
    assert code == 3
    assert [line[:15] for line in bad(lines)] == ["FAIL  octo/gone"]
    assert "there is no such repository at 127.0.0.1, or this token may not see it" in bad(lines)[0]
    assert any(line.startswith("PASS  octo/demo") for line in lines)


def test_missing_labels_are_told_with_the_command_and_made_by_it(wished: Path, github: GitHub) -> None:
    github.answers["GET", "/repos/octo/demo/labels"] = (200, {}, [{"name": "ready"}])
    code, lines = report("--no-probe")
    assert code == 3
    assert bad(lines) == [
        "FAIL  octo/demo   it lacks the labels in-progress, needs-human. Mend: `orchestrator doctor --fix-labels`"
    ]
    assert not any(method == "POST" for method, _, _ in github.asked)
    code, lines = report("--no-probe", "--fix-labels")
    assert (code, bad(lines)) == (0, [])
    made = [body["name"] for method, _, body in github.asked if method == "POST"]
    assert made == ["in-progress", "needs-human"]


def test_on_a_terminal_missing_labels_are_offered(
    wished: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.answers["GET", "/repos/octo/demo/labels"] = (200, {}, [])
    asked: list[str] = []

    def confirm(question: str, default: bool) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("click.confirm", confirm)
    assert doctor.main(Labels.ASK, probe=False) == 3
    assert asked == ["octo/demo lacks the labels ready, in-progress, needs-human. Make them?"]
    assert not any(method == "POST" for method, _, _ in github.asked)


def test_the_review_label_is_wanted_only_where_it_is_used(wished: Path, github: GitHub) -> None:
    with wished.open("a") as env:
        env.write("REVIEW_PRS=label\nREVIEW_LABEL=look\n")
    assert "lacks the labels look." in bad(report("--no-probe")[1])[0]


def of_filters(lines: list[str]) -> list[str]:
    return [line for line in lines if ".gitattributes" in line]


def watched(wished: Path, files: dict[str, bytes]) -> Path:
    """The mirror that a daemon left, of a repository with these files."""
    remote = Remote(wished.parent / "demo.git")
    remote.commit(files)
    return mirror_of(remote, wished.parent / "base/octo/demo").path


@pytest.fixture
def based(wished: Path) -> Path:
    wished.write_text(f"{wished.read_text()}WORKTREE_BASE={wished.parent / 'base'}\n")
    return wished


@pytest.mark.parametrize("installed", [True, False])
def test_case_05_filters_and_what_they_mean_are_told(
    based: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    lines = b"# *.x filter=not-this\n*.ipynb filter=nbstripout\n*.c -filter\n*.d\tdiff=x\tfilter=x\x1b[1m\n"
    mirror = watched(based, {".gitattributes": b"*.bin filter=lfs -text\n", "a/b/.GitAttributes": lines})
    before = sorted(mirror.rglob("*"))
    asked = len(github.asked)
    programs = based.parent / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(programs))
    if installed:
        (programs / "git-lfs").touch(0o755)
    code, said = report("--no-probe")
    assert code == 0
    lfs, strips, odd = of_filters(said)
    begin = "PASS" if installed else "WARN"
    assert lfs.startswith(f"{begin}  octo/demo   .gitattributes names the filter lfs (Git LFS")
    assert bad(said) == ([] if installed else [lfs])
    assert ("objects on GitHub before a push" in lfs) is installed
    assert installed or mend(lfs).endswith(" install git-lfs")
    assert "names the filter nbstripout, which is not run here: a pull request that writes such a file" in strips
    assert "stays a draft" in strips
    assert "\x1b" not in odd
    assert sorted(mirror.rglob("*")) == before
    told = github.asked[asked:]
    shutil.rmtree(based.parent / "base")
    assert of_filters(report("--no-probe")[1]) == []
    assert github.asked[asked + len(told) :] == told


@needs("git-crypt")
def test_case_05_a_filter_is_known_to_encrypt_by_what_it_left(based: Path, tmp_path: Path) -> None:
    stored = encrypted(tmp_path / "crypt", "")
    watched(based, {".gitattributes": b"secrets/** filter=plain\n", "secrets/prod.yml": stored})
    [line] = of_filters(report("--no-probe")[1])
    assert "names the filter plain, which encrypts or hides files and is not run here" in line
    assert line.endswith("work that writes one is never pushed")


def test_case_05_of_many_filters_the_rest_is_counted(based: Path) -> None:
    watched(based, {".gitattributes": "".join(f"{n} filter=f{n}{'x' * 99}\n" for n in range(9)).encode()})
    *five, rest = of_filters(report("--no-probe")[1])
    assert len(five) == 5
    assert all("x" * 50 in line and "x" * 60 not in line for line in five)
    assert rest.endswith("names 4 more filters that are not run here")


@pytest.mark.parametrize("ill", ["config", "objects", "HEAD", ""])
def test_a_mirror_that_is_ill_is_the_daemons_to_mend(based: Path, ill: str) -> None:
    mirror = watched(based, {".gitattributes": b"*.ipynb filter=nbstripout\n"})
    if (mirror / ill).is_dir():
        shutil.rmtree(mirror / ill)
    else:
        (mirror / ill).write_bytes(b"\0")
    code, said = report("--no-probe")
    assert (code, bad(said)) == (0, [])
    assert ill == "config" or of_filters(said) == []
