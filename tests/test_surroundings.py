"""Agents and commands meet the same, whatever holds them, and nothing that another worktree's can write to."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from orchestrator import copying, housekeeping, settings
from orchestrator.clock import Stop
from orchestrator.errors import Misconfigured, Refused
from orchestrator.git import salvage
from orchestrator.jobs.commands import tear_down
from orchestrator.record import Status
from orchestrator.settings import Settings
from orchestrator.surroundings import Surroundings
from orchestrator.twin import PullHandle
from tests.boxed import walled
from tests.conftest import MakeHouse
from tests.house import House, stub
from tests.merging import DELETED, LANDED, STOPPED, announced, appears, ask, green, refusal
from tests.story import expect_pull, expect_work, poll, ready

BOTH = pytest.mark.parametrize("sandbox", ["off", pytest.param("bwrap", marks=walled)])
TOOLS = (str(Path(__file__).parent), sys.prefix, sys.base_prefix)
TOLD = "env | grep ^ORCHESTRATOR_ | grep -v RUN_ID | sort"
PROBE = r"""
import json, locale, os, platform, resource, socket, sys, tempfile
from pathlib import Path
name = platform.node()
scratch = Path(tempfile.gettempdir())
umask = os.umask(0)
print(json.dumps({
    "host": name,
    "resolves": sorted({a[4][0] for a in socket.getaddrinfo(name, 1)}) != [],
    "encoding": [locale.getpreferredencoding(), sys.getfilesystemencoding()],
    "locale": {n: v for n, v in os.environ.items() if n in ("LANG", "LANGUAGE") or n.startswith("LC_")},
    "scratch": [scratch == Path(os.environ["TMPDIR"]), sorted(os.listdir(scratch)), os.access(scratch, os.W_OK)],
    "around": sorted(n.name for p in Path.cwd().parents for n in p.glob("*") if n.name in
                     (".git", "pytest.ini", "pyproject.toml", "package.json", "setup.cfg", "tox.ini", ".editorconfig")),
    "umask": umask,
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "stack": resource.getrlimit(resource.RLIMIT_STACK),
    "path": os.environ["PATH"],
    "home": os.environ["HOME"],
    "stdin": sys.stdin.read(),
    "names": sorted(n for n in os.environ if not n.lower().endswith("_proxy") and n != "CLAUDE_CONFIG_DIR"),
}))
"""
BASHS_OWN = ("_", "SHLVL")
AGENTS_OWN = ("DISABLE_AUTOUPDATER", "API_TIMEOUT_MS", "BASH_DEFAULT_TIMEOUT_MS", "BASH_MAX_TIMEOUT_MS")


def a_house(make_house: MakeHouse, sandbox: str, **settings: Any) -> House:
    return make_house(sandbox=sandbox, toolchain_paths=TOOLS, **settings)


def configured(**given: Any) -> Settings:
    return Settings(**given)


def output(house: House, name: str) -> str:
    """What the first command of the newest log with this name said."""
    [*_, newest] = sorted((house.folder / "worktrees/acme/app/logs").glob(f"{name}-*.1.log"))
    return newest.read_text()


def told(text: str) -> dict[str, str]:
    lines = [line.partition("=") for line in text.splitlines()]
    return {name.removeprefix("ORCHESTRATOR_"): value for name, _, value in lines}


def implemented(house: House, script: str) -> PullHandle:
    """The pull request of an agent that runs this in a shell."""
    issue = ready(house)
    house.start(claude_command=stub("runs", script))
    house.quiet()
    expect_pull(house, issue)
    [pull] = [pull for pull in house.repo.pulls if pull.open]
    return pull


@BOTH
def test_case_35_agents_and_commands_are_told_where_they_are(make_house: MakeHouse, sandbox: str) -> None:
    house = a_house(make_house, sandbox, setup_commands=(TOLD,), pre_merge_commands=(TOLD,))
    base = house.repo.sha("main")
    pull = implemented(house, f"{TOLD} > told.txt")
    agent = told(str(house.repo.file(pull.head_ref, "told.txt")))
    ports = agent.pop("PORT_BASE")
    assert agent == {
        "REPO": "acme/app",
        "ITEM": "1",
        "BASE": "main",
        "HEAD": base,
        "BRANCH": "feature/issue-1",
    }
    assert told(output(house, "issue-1-setup")) == {**agent, "PORT_BASE": ports}
    house.ci.passes(pull, "build")
    ask(house, pull)
    announced(house, pull)
    command = told(output(house, "merge-2"))
    assert int(command.pop("PORT_BASE")) >= 10_000
    assert command == {**agent, "ITEM": "2", "HEAD": pull.head_sha}
    house.expect(*LANDED)


@walled
def test_an_agent_and_a_command_meet_the_same_under_both_settings_of_the_sandbox(
    make_house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "POSIX")
    (tmp_path / "probe.py").write_text(PROBE)
    probe = f"{shlex.quote(sys.executable)} -S {tmp_path / 'probe.py'}"
    met: dict[str, dict[str, Any]] = {}
    for sandbox in ("off", "bwrap"):
        house = make_house(
            sandbox=sandbox,
            toolchain_paths=(*TOOLS, str(tmp_path / "probe.py")),
            setup_commands=(probe,),
        )
        pull = implemented(house, f"{probe} > met.json")
        met[f"command {sandbox}"] = json.loads(output(house, "issue-1-setup"))
        met[f"agent {sandbox}"] = json.loads(str(house.repo.file(pull.head_ref, "met.json")))
        house.stop()
    for who in ("command", "agent"):
        assert met[f"{who} bwrap"] == met[f"{who} off"]
    for found in met.values():
        found["names"] = [
            n for n in found["names"] if n not in (*AGENTS_OWN, *BASHS_OWN) and not n.startswith("CLAUDE_")
        ]
    assert met["agent off"] == met["command off"]
    assert met["agent off"]["host"] == socket.gethostname()
    assert met["agent off"]["resolves"]
    assert met["agent off"]["locale"] == {"LANG": "C.UTF-8"}
    assert met["agent off"]["scratch"] == [True, [], True]
    assert met["agent off"]["around"] == []


@BOTH
def test_byte_code_is_not_written_and_what_was_compiled_before_is_used(make_house: MakeHouse, sandbox: str) -> None:
    python = shlex.quote(sys.executable)
    imports = f"echo 'x = 1' > mod.py && {python} -c 'import mod, json; print(json.__spec__.cached)' > told.txt"
    none = 'test -f mod.py && test -z "$(find . -name __pycache__)"'
    house = a_house(make_house, sandbox, setup_commands=(imports, none))
    pull = implemented(house, f"{python} -c 'import mod' && {none} && cp told.txt agent.txt")
    assert str(house.repo.file(pull.head_ref, "agent.txt")).strip() == json.__spec__.cached


@BOTH
def test_a_temporary_folder_is_a_runs_own_and_goes_with_it(make_house: MakeHouse, sandbox: str) -> None:
    look = "{ echo $TMPDIR && ls -A $TMPDIR && mktemp; }"
    house = a_house(make_house, sandbox, setup_commands=(look, f"{look} > second.txt"))
    pull = implemented(house, f"{look} > agent.txt && cp second.txt told.txt")
    said = [
        output(house, "issue-1-setup"),
        *(str(house.repo.file(pull.head_ref, f)) for f in ("told.txt", "agent.txt")),
    ]
    folders = {text.split()[0] for text in said}
    assert len(folders) == 3
    assert all(len(text.split()) == 2 and text.split()[1].startswith(text.split()[0]) for text in said)
    assert not any(Path(folder).exists() for folder in folders)


@BOTH
def test_commands_run_in_bash_without_any_file_of_settings(
    make_house: MakeHouse, sandbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rc = tmp_path / "rc"
    rc.write_text("echo read >&2\n")
    monkeypatch.setenv("BASH_ENV", str(rc))
    monkeypatch.setenv("ENV", str(rc))
    words = 'a=(one two); [[ ${a[1]} == two ]] && echo "$- $(shopt -po pipefail) $(shopt -q login_shell; echo $?)"'
    house = a_house(make_house, sandbox, pre_merge_commands=(words, "false | true", "exit 3"))
    pull = green(house)
    ask(house, pull)
    assert "exit status 3" in refusal(house, pull)
    assert output(house, "merge-1") == "hBc set +o pipefail 1\n"
    house.expect(*STOPPED)


def test_commands_run_in_sh_where_there_is_no_bash(
    make_house: MakeHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("git", "sh", "env", "grep", "mkdir", "mv", "rm"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    house = make_house(pre_merge_commands=("env | grep BASH", "test -n x"))
    monkeypatch.setenv("PATH", str(tmp_path))
    pull = green(house)
    ask(house, pull)
    assert "Command 1 of 2, `env | grep BASH`, ended with exit status 1" in refusal(house, pull)
    house.expect(*STOPPED)


# Files that the owner brings


@BOTH
def test_what_the_owner_brings_is_there_before_the_commands_with_its_modes(
    make_house: MakeHouse, sandbox: str, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    (secrets / "config").mkdir(parents=True)
    (secrets / ".env").write_text("API_TOKEN=abc123def456ghi\n")
    (secrets / "config/run").write_text("#!/bin/sh\necho ran\n")
    (secrets / "config/run").chmod(0o755)
    (secrets / "link").symlink_to("config/run")
    seen = "grep -q ghi .env && test $(stat -c %a .env) = 644 && config/run && ./link && test -L link"
    (secrets / ".env").chmod(0o644)
    house = a_house(
        make_house, sandbox, copy_files=secrets, setup_commands=(seen,), pre_merge_commands=(seen,), review_prs="all"
    )
    house.alice.pushes(house.repo, "main", {".gitignore": ".env\nconfig\nlink\n"})
    pull = implemented(house, "./link > ran.txt && echo changed >> .env")
    assert house.repo.file(pull.head_ref, "ran.txt") == "ran\n"
    assert house.repo.file(pull.head_ref, ".env") is None
    assert house.repo.git("show", "--name-only", "--format=", pull.head_ref).split() == ["ran.txt"]
    assert (secrets / ".env").read_text() == "API_TOKEN=abc123def456ghi\n"
    house.ci.passes(pull, "build")
    ask(house, pull)
    announced(house, pull)
    house.expect("POST issues/2/reactions", "POST pulls/2/reviews", *LANDED)


def test_nothing_is_brought_for_a_fork_or_for_a_review(make_house: MakeHouse, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / ".env").write_text("API_TOKEN=abc123def456ghi\n")
    record = tmp_path / "ran"
    house = make_house(
        copy_files=secrets,
        allow_fork_merge=True,
        review_prs="all",
        pre_merge_commands=(f"ls -A >> {record}",),
        claude_command=stub("--record", str(tmp_path / "runs"), "success"),
    )
    pull = house.mallory.opens_fork_pr(house.repo, {"fork.txt": "fork\n"})
    house.clock.advance(120)
    house.ci.passes(pull, "build")
    house.until(lambda: len(pull.reviews) == 1)
    house.quiet()
    house.alice.comments(pull, f"/merge {pull.head_sha}")
    house.quiet()
    assert pull.merged, house.said(pull)
    assert record.read_text().split() == [".git", "README.md", "fork.txt"]
    [run] = map(json.loads, (tmp_path / "runs").read_text().splitlines())
    assert "ORCHESTRATOR_ITEM" in run["env"]
    house.expect("POST issues/*/reactions", "POST pulls/*/reviews", *(w for w in LANDED if w != DELETED))


def test_a_file_that_the_repository_has_is_not_replaced_but_told(make_house: MakeHouse, tmp_path: Path) -> None:
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought/README.md").write_text("mine\n")
    house = make_house(copy_files=tmp_path / "brought", pre_merge_commands=("true",))
    issue, pull = ready(house), green(house)
    ask(house, pull)
    assert house.job("implement", issue.number).status is Status.PARKED
    for said in (refusal(house, pull), "\n".join(house.said(issue))):
        assert "`COPY_FILES` brings `README.md`, and the repository has it too" in said
    expect_work(house, issue)
    house.expect(*STOPPED)


def test_what_was_brought_is_in_no_commit_however_it_got_there(make_house: MakeHouse, tmp_path: Path) -> None:
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought/local.json").write_text('{"name": "nobody knows"}\n')
    house = make_house(copy_files=tmp_path / "brought")
    forced = "git add -f local.json && git commit -qm one && git rm -q --cached local.json && git commit -qm two"
    house.alice.pushes(house.repo, "main", {".gitignore": "local.json\n"})
    issue = ready(house)
    house.start(claude_command=stub("runs", f"{forced} && touch work.txt"))
    house.quiet()
    assert house.repo.pulls == []
    said = "\n".join(house.said(issue))
    assert "The change holds `local.json`, which `COPY_FILES` brought into the worktree" in said
    expect_work(house, issue)


def test_a_credential_in_a_brought_file_reaches_no_log_and_no_commit_also_after_a_restart(
    make_house: MakeHouse, tmp_path: Path
) -> None:
    secret, key = "s3cr3t-of-the-owner", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
    (tmp_path / "brought").mkdir()
    pem = f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"
    (tmp_path / "brought/keys.pem").write_text(pem)
    (tmp_path / "brought/.env").write_text(f"export STRIPE_KEY='{secret}'\nPOSTGRES_PASSWORD=postgres\n")
    says = "cat .env keys.pem; exit 1"
    house = make_house(copy_files=tmp_path / "brought", pre_merge_commands=(says,), claude_command=stub("hang"))
    house.alice.pushes(house.repo, "main", {".gitignore": ".env\nkeys.pem\n"})
    pull = green(house)
    ask(house, pull)
    said = refusal(house, pull) + output(house, "merge-1")
    assert secret not in said
    assert key not in said
    assert "POSTGRES_PASSWORD=postgres" in said
    house.expect(*STOPPED)
    for stolen, where in ((secret, "a.txt"), (key, "b.txt")):
        issue = ready(house, f"Write {where}")
        house.stop()
        house.start(claude_command=stub("runs", f"echo 'x {stolen}' > {where}"))
        house.quiet()
        assert any("holds a token, key or password" in text for text in house.said(issue)), house.said(issue)
        expect_work(house, issue)


FOLDERS = {
    "nowhere": "must name a folder",
    "file": "must name a folder",
    "empty": "holds no files",
    "checkout/inner": "lies in the checkout",
    "into-checkout": "lies in the checkout",
    "outer": "holds the checkout",
    "absolute": "where the link there leads out",
    "upwards": "where the link there leads out",
    "and-back": "where the link there leads out",
    "pipe": "is no plain file",
    "home": "holds the account's home",
    "base": "holds the worktrees",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_copied_is_told_at_the_start(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("empty", "checkout/.git", "checkout/inner", "outer/x/.git", "home", "base/worktrees"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "into-checkout").symlink_to("checkout/inner")
    links = {"absolute": str(tmp_path / "absolute/file"), "upwards": "../file", "and-back": "../and-back/file"}
    for folder, target in links.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").touch()
        (tmp_path / folder / "there").symlink_to(target)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/there")
    (tmp_path / "base/file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ValidationError) as wrong:
        configured(github_repo="acme/app", worktree_base=tmp_path / "base/worktrees", copy_files=tmp_path / name)
    assert FOLDERS[name] in str(wrong.value)


@pytest.mark.parametrize("there", ["way -> ../outside", "way", "way/out"], ids=["a link", "a file", "the same file"])
def test_no_copy_goes_through_what_the_repository_has(tmp_path: Path, there: str) -> None:
    for name in ("brought/way", "tree", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "brought/way/out").write_text("mine\n")
    name, _, target = there.partition(" -> ")
    (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "tree" / name).symlink_to(target or "nowhere")
    if not target:
        (tmp_path / "tree" / name).unlink()
        (tmp_path / "tree" / name).write_text("theirs\n")
    with pytest.raises(Refused, match=r"the repository has it too"):
        copying.wanted(tmp_path / "brought", tmp_path / "tree")
    assert list((tmp_path / "outside").iterdir()) == []
    assert target or (tmp_path / "tree" / name).read_text() == "theirs\n"


# Variables that the owner lets pass


@BOTH
def test_variables_that_are_named_pass_to_agents_and_commands_and_reach_no_text(
    make_house: MakeHouse, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = {"DATABASE_URL": "postgres://me:pw-17@db/app", "FLAVOUR": "development", "DEPLOY_KEY": "only-letters"}
    for name, value in {**passed, "LEFT_OUT": "left-out-0123456789"}.items():
        monkeypatch.setenv(name, value)
    tests = " && ".join(f'test "${name}" = "{value}"' for name, value in passed.items())
    says = f"{tests} && test -z $LEFT_OUT"
    shows = "echo $DATABASE_URL $FLAVOUR $DEPLOY_KEY; exit 1"
    house = a_house(
        make_house, sandbox, pass_env=(*passed, "UNSET_ONE"), setup_commands=(says,), pre_merge_commands=(shows,)
    )
    pull = implemented(house, f"{says} && test -z ${{UNSET_ONE+x}} && touch ran")
    house.ci.passes(pull, "build")
    ask(house, pull)
    for said in (refusal(house, pull), output(house, "merge-2")):
        assert "[secret] development [secret]" in said
        assert "pw-17" not in said
    house.expect(*STOPPED)


def test_lines_of_the_env_file_may_set_what_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'GITHUB_REPO=acme/app\nPASS_ENV=\'["MY_URL", "my_url", "BOTH"]\'\nMY_URL=one\nmy_url=a-${MY_URL}\nBOTH=f\n'
    )
    monkeypatch.setenv("BOTH", "environment")
    assert settings.load(file).passed == {"MY_URL": "one", "my_url": "a-one", "BOTH": "environment"}
    file.write_text(file.read_text() + "My_Url=x\n")
    with pytest.raises(Misconfigured, match=r"line 6: there is no setting My_Url"):
        settings.load(file)


OWN = "GITHUB_TOKEN GH_TOKEN GH_HOST ANTHROPIC_API_KEY CLAUDE_CODE_OAUTH_TOKEN claude_config_dir ORCHESTRATOR_ITEM"
STEERING = (
    "GIT_DIR GIT_CONFIG_COUNT LD_PRELOAD DYLD_INSERT_LIBRARIES BASH_ENV ENV PATH HOME TMPDIR SHELLOPTS PYTHONHOME"
)
NO_NAMES = "A-B 1A A=1 A*"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "what is the daemon's own stays with it") for name in (*OWN.split(), "STATE_FILE", "state_file")),
        *((name, "it would change what is run") for name in STEERING.split()),
        *((name, "must hold names of variables") for name in NO_NAMES.split()),
    ],
)
def test_what_is_the_daemons_own_or_steers_programs_never_passes(name: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        configured(github_repo="acme/app", pass_env=("FINE", name))


# What a worktree leaves


def marks(house: House, name: str) -> str:
    """A command that notes that it ran, and where."""
    return f"echo {name} $ORCHESTRATOR_ITEM $PWD $(ls made) >> {house.folder / 'ran'}"


def ran(house: House) -> list[str]:
    file = house.folder / "ran"
    return (
        [" ".join((*line.split()[:2], *line.split()[3:])) for line in file.read_text().splitlines()]
        if file.exists()
        else []
    )


def test_a_worktree_is_torn_down_before_it_goes_and_a_failure_changes_nothing(house: House) -> None:
    house.options["setup_commands"] = ("touch made",)
    house.options["pre_merge_commands"] = ("touch made",)
    house.options["teardown_commands"] = ("exit 7", marks(house, "down"))
    with capture_logs() as lines:
        pull = implemented(house, "touch work.txt")
        assert ran(house) == ["down 1 made"]
        house.ci.passes(pull, "build")
        ask(house, pull)
    announced(house, pull)
    assert ran(house) == ["down 1 made", "down 2 made"]
    failed = [line for line in lines if line["event"] == "teardown_failed"]
    assert [(line["worktree"], line["reason"]) for line in failed] == [
        ("issue-1", "exited, exit status 7"),
        ("merge-2", "exited, exit status 7"),
    ]
    assert all(Path(line["log"]).exists() for line in failed)
    assert not (house.folder / "worktrees/acme/app/surroundings/issue-1").exists()
    house.expect(*LANDED)


def test_nothing_is_torn_down_where_no_command_ran(house: House) -> None:
    house.options["teardown_commands"] = (marks(house, "down"),)
    implemented(house, "touch work.txt")
    assert ran(house) == []


def test_a_cancelled_worktree_is_torn_down(house: House) -> None:
    house.options["setup_commands"] = (f"touch made; touch {house.folder}/up; sleep 60",)
    house.options["teardown_commands"] = (marks(house, "down"),)
    issue = ready(house)
    house.start()
    appears(house.folder / "up")
    house.alice.closes(issue)
    poll(house)
    house.quiet()
    assert ran(house) == ["down 1 made"]
    expect_work(house, issue)


def test_a_worktree_that_is_kept_is_torn_down_when_the_next_attempt_takes_its_place(house: House) -> None:
    house.options["setup_commands"] = (f"touch made; test -e {house.folder}/twice",)
    house.options["teardown_commands"] = (marks(house, "down"),)
    issue = ready(house)
    house.quiet()
    assert house.job("implement", issue.number).status is Status.PARKED
    assert ran(house) == []
    (house.folder / "twice").mkdir()
    house.alice.labels(issue, "ready")
    house.quiet()
    assert ran(house) == ["down 1 made", "down 1 made"]
    expect_pull(house, issue)


def test_after_a_crash_the_next_start_tears_down(house: House) -> None:
    """What the daemon was killed in comes again: here the tear-down itself, which a stop cuts off."""
    house.options["setup_commands"] = ("touch made",)
    house.options["teardown_commands"] = (f"{marks(house, 'down')}; touch {house.folder}/up; sleep 60",)
    issue = ready(house)
    house.start()
    appears(house.folder / "up")
    house.stop()
    house.options["teardown_commands"] = (marks(house, "again"),)
    house.quiet()
    assert ran(house) == ["down 1 made", "again 1 made"]
    expect_pull(house, issue)


@BOTH
def test_housekeeping_tears_down_what_it_retires_and_not_what_somebody_uses(
    make_house: MakeHouse, sandbox: str, lines: list[Any]
) -> None:
    house = a_house(
        make_house, sandbox, setup_commands=("touch made; exit 1",), teardown_commands=("rm made && exit 9",)
    )
    issue = ready(house)
    house.quiet()
    assert house.daemon is not None
    place = house.daemon.watches["acme/app"].place
    assert place is not None
    kept = place.folder / "issue-1"
    old = time.time() + 8 * 86_400

    def collect(now: float) -> None:
        checked = Settings(**house.options)
        down = partial(tear_down, settings=checked, stop=Stop())
        found = housekeeping.collect(place.folder, place.mirror, [], now, 7, 0, lambda tree: down(tree))
        assert found.trouble == []

    collect(time.time())
    assert (kept / "made").exists()
    assert Surroundings(kept).to_tear_down is not None
    collect(old)
    assert not kept.exists()
    assert not Surroundings(kept).folder.exists()
    assert [line["reason"] for line in lines if line["event"] == "teardown_failed"] == ["exited, exit status 9"]
    [saved] = salvage.kept(place.mirror, "issue-1")
    assert "made" in place.mirror.call("ls-tree", "--name-only", saved.commit).text.split()
    expect_work(house, issue)
