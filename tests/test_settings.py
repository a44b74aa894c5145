"""Every setting is typed and bounded, and every mistake is one sentence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator import credentials, place, settings
from orchestrator.errors import Misconfigured, Missing
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def trouble(text: str) -> list[str]:
    write(text)
    with pytest.raises(Misconfigured) as caught:
        settings.load()
    assert "pydantic" not in str(caught.value)
    assert "validation" not in str(caught.value)
    return str(caught.value).splitlines()


def test_the_defaults_are_those_of_the_public_contract(tmp_path: Path) -> None:
    write("GITHUB_REPO=octo/demo\n")
    found = settings.load()
    assert found.repos == ("octo/demo",)
    assert found.github_api_url == "https://api.github.com"
    assert (found.poll_interval, found.max_concurrent, found.max_turns) == (60, 2, 50)
    assert found.state_file == tmp_path / ".orchestrator-state.json"
    assert found.worktree_base == place.own(found.state_file)
    assert (found.ready_label, found.merge_comment_trigger, found.auto_merge_enabled) == ("ready", "/merge", True)
    assert (found.pre_merge_commands, found.setup_commands, found.claude_command) == ((), (), "claude")
    assert (found.review_prs, found.review_debounce, found.review_label) == ("all", 60, "review")
    assert (found.ci_settle, found.ci_timeout, found.command_timeout) == (60, 3600, 600)
    assert (found.run_timeout, found.stall_timeout, found.run_budget_usd) == (3600, 600, 5)
    assert (found.sandbox, found.log_format, found.base_branch) == ("auto", "auto", "")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("GITHUB_REPO=octo/demo\nMAX_TURNS=7\nPOLL_INTERVAL=0.5\n")
    monkeypatch.setenv("MAX_TURNS", "9")
    found = settings.load()
    assert (found.max_turns, found.poll_interval) == (9, 0.5)


def test_without_a_file_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPO", "octo/demo")
    assert settings.load().repos == ("octo/demo",)


def test_several_repositories_and_commands_are_read() -> None:
    write('GITHUB_REPO= octo/demo , Octo-Org/my.repo_2\nPRE_MERGE_COMMANDS=["make test", "echo \'a b\'"]\n')
    found = settings.load()
    assert found.repos == ("octo/demo", "Octo-Org/my.repo_2")
    assert found.pre_merge_commands == ("make test", "echo 'a b'")


def test_an_unknown_key_names_the_near_miss_and_its_line() -> None:
    assert trouble("GITHUB_REPO=octo/demo\n# pace\n\n\nPOLL_INTERVALL=3\n") == [
        ".env, line 5: there is no setting POLL_INTERVALL. Did you mean POLL_INTERVAL?"
    ]
    assert trouble("GITHUB_REPO=octo/demo\nCOFFEE=3\n") == [
        ".env, line 2: there is no setting COFFEE. `.env.example` lists the settings."
    ]


def test_all_problems_are_told_at_once() -> None:
    assert trouble("GITHUB_REPO=octo\nCOFFEE=1\nMAX_TURNS=many\nREVIEW_PRS=some\nGITHUB_TOKEN=${NOT_THERE}\n") == [
        ".env, line 2: there is no setting COFFEE. `.env.example` lists the settings.",
        ".env, line 5: GITHUB_TOKEN uses ${NOT_THERE}, which is not set.",
        "GITHUB_REPO must be owner/name, or several separated by commas; 'octo' is not.",
        "MAX_TURNS must be a whole number from 1 to 10000, not 'many'.",
        "REVIEW_PRS must be one of all, label, off, not 'some'.",
    ]


def test_a_missing_repository_is_told_how_to_name_it() -> None:
    assert trouble("MAX_TURNS=5\n") == [
        "GITHUB_REPO is not set: name the repository to watch as owner/name, in .env or in the environment."
    ]


@pytest.mark.parametrize("name", ["CI_SETTLE", "ci_settle", "GITHUB_REPO"])
def test_a_variable_that_is_not_set_is_told_once(name: str) -> None:
    assert trouble(f"GITHUB_REPO=octo/demo\n{name}=${{NOPE}}\n") == [
        f".env, line 2: {name} uses ${{NOPE}}, which is not set."
    ]


def test_a_variable_that_is_not_set_hides_no_other_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_SETTLE", "long")
    assert trouble("GITHUB_REPO=octo/demo\nCI_SETTLE=${NOPE}\n") == [
        ".env, line 2: CI_SETTLE uses ${NOPE}, which is not set.",
        "CI_SETTLE must be a number from 0 to 86400, not 'long'.",
    ]


def test_variables_that_are_set_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "octo")
    write("GITHUB_REPO=${WHO}/demo\nBASE_BRANCH=${NOWHERE:-trunk}\n")
    found = settings.load()
    assert (found.repos, found.base_branch) == (("octo/demo",), "trunk")


@pytest.mark.parametrize(
    "name",
    ["octo", "octo/", "/demo", "octo/demo/x", "-octo/demo", "octo-/demo", "oc--to/demo", "octo/de mo", "octo/..",
     "octo/demo.git", "o" * 40 + "/demo", "octo/" + "d" * 101, "octo/demo,", "öcto/demo", "octo/$(id)", ""],
)  # fmt: skip
def test_a_malformed_repository_is_refused(name: str) -> None:
    (sentence,) = trouble(f"GITHUB_REPO='{name}'\n")
    assert sentence.startswith("GITHUB_REPO must be owner/name")


def test_a_repository_named_twice_is_refused_whatever_the_case() -> None:
    assert trouble("GITHUB_REPO=octo/demo,Octo/Demo\n") == [
        "GITHUB_REPO names a repository twice: Octo/Demo, octo/demo."
    ]


@pytest.mark.parametrize("url", ["https://github.com/octo/demo", "git@github.com:octo/demo.git"])
def test_an_address_instead_of_a_name_gets_a_hint(url: str) -> None:
    assert trouble(f"GITHUB_REPO={url}\n")[0].endswith("(did you mean octo/demo?).")


@pytest.mark.parametrize("value", ["make test", "{}", "[1]", '[""]', '["a", " "]', "[", '"make"', "null"])
def test_commands_that_are_no_json_array_of_words_are_refused(value: str) -> None:
    assert trouble(f"GITHUB_REPO=octo/demo\nPRE_MERGE_COMMANDS={value}\n") == [
        'PRE_MERGE_COMMANDS must be a JSON array of non-empty strings, for example ["make test"].'
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("POLL_INTERVAL=0", "POLL_INTERVAL must be a number from 0.01 to 86400, not '0'."),
        ("POLL_INTERVAL=nan", "POLL_INTERVAL must be a number from 0.01 to 86400, not 'nan'."),
        ("CI_TIMEOUT=inf", "CI_TIMEOUT must be a number from 0 to 604800, not 'inf'."),
        ("REVIEW_DEBOUNCE=-1", "REVIEW_DEBOUNCE must be a number from 0 to 86400, not '-1'."),
        ("MAX_TURNS=0", "MAX_TURNS must be a whole number from 1 to 10000, not '0'."),
        ("MAX_CONCURRENT=1.5", "MAX_CONCURRENT must be a whole number from 1 to 64, not '1.5'."),
        ("RUN_BUDGET_USD=", "RUN_BUDGET_USD must be a number from 0.01 to 10000, not ''."),
        ("AUTO_MERGE_ENABLED=perhaps", "AUTO_MERGE_ENABLED must be true or false, not 'perhaps'."),
        ("SANDBOX=docker", "SANDBOX must be one of auto, bwrap, seatbelt, off, not 'docker'."),
        ("MERGE_COMMENT_TRIGGER=", "MERGE_COMMENT_TRIGGER must be one non-empty line, for example /merge."),
        ('MERGE_COMMENT_TRIGGER="/a\\n/b"', "MERGE_COMMENT_TRIGGER must be one non-empty line, for example /merge."),
        ("GITHUB_API_URL=ftp://x", "GITHUB_API_URL must be an address like https://api.github.com, not 'ftp://x'."),
        ("READY_LABEL=in-progress", "READY_LABEL must not be in-progress, which the daemon sets itself."),
        ("READY_LABEL=a,b", "READY_LABEL must be a label's name: 1 to 50 characters without a comma."),
        ("BASE_BRANCH=-x", "BASE_BRANCH must be a branch's name such as main, not '-x'."),
        ("CLAUDE_COMMAND=\"claude 'x\"", "CLAUDE_COMMAND must be a command such as claude, not \"claude 'x\"."),
        ("STATE_FILE=", "STATE_FILE must name a path."),
        ("WORKTREE_BASE=' '", "WORKTREE_BASE must name a path."),
        ("WORKTREE_BASE=~nobodyx/x", "WORKTREE_BASE must name a path; nobody's home is known for '~nobodyx/x'."),
        ("hello", ".env, line 2: not of the form NAME=value."),
        ("READY_LABEL='open", ".env, line 2: not of the form NAME=value."),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_sentence(line: str, expected: str) -> None:
    assert trouble(f"GITHUB_REPO=octo/demo\n{line}\n") == [expected]


@pytest.mark.parametrize("bot", ["helper[bot]", "0", "-7", "1.5", " 7", "\u0667", "7x"])
def test_a_bot_is_trusted_by_its_number_only(bot: str) -> None:
    assert trouble(f'GITHUB_REPO=octo/demo\nTRUSTED_BOTS=\'["5", "{bot}"]\'\n') == [
        f"TRUSTED_BOTS must hold numeric ids such as \"49699333\"; '{bot}' is none."
    ]
    write('GITHUB_REPO=octo/demo\nTRUSTED_BOTS=\'["5", "49699333"]\'\n')
    assert settings.load().trusted_bots == ("5", "49699333")


def test_the_token_travels_neither_in_the_open_nor_in_the_address() -> None:
    assert trouble("GITHUB_REPO=octo/demo\nGITHUB_API_URL=http://ghe.example/api\n") == [
        "GITHUB_API_URL must begin with https://, or the token would travel in the open."
    ]
    assert trouble("GITHUB_REPO=octo/demo\nGITHUB_API_URL=https://a:b@ghe.example\n") == [
        "GITHUB_API_URL must not hold a name or password; the token belongs into GITHUB_TOKEN."
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1/x", "http://[::1]:9"])
def test_plain_http_is_good_enough_for_this_machine(url: str) -> None:
    write(f"GITHUB_REPO=octo/demo\nGITHUB_API_URL={url}/\n")
    assert settings.load().github_api_url == url


def test_secrets_appear_in_no_message_and_no_repr() -> None:
    canary = "ghp_canary0123456789"
    said = "\n".join(trouble(f"GITHUB_REPO=octo\nGITHUB_TOKEN='{canary} x'\nANTHROPIC_API_KEY={canary}\n"))
    assert canary not in said
    write(f"GITHUB_REPO=octo/demo\nGITHUB_TOKEN={canary}\nANTHROPIC_API_KEY={canary}\n")
    found = settings.load()
    assert canary not in repr(found) + str(found)
    assert found.secrets == (canary, canary)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_told(content: bytes | None) -> None:
    if content is None:
        Path(".env").mkdir()
    else:
        Path(".env").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"^\.env cannot be read: .*\.$"):
        settings.load()


def fake_gh(folder: Path, script: str) -> None:
    gh = folder / "gh"
    gh.write_text(f"#!/bin/sh\n{script}\n")
    gh.chmod(0o755)


def test_the_token_is_the_setting_or_else_what_gh_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    fake_gh(tmp_path, 'echo "gho_$4"; test "$1 $2 $3" = "auth token --hostname"')
    write("GITHUB_REPO=octo/demo\nGITHUB_TOKEN=ghp_own\n")
    assert credentials.github_token(settings.load()) == "ghp_own"
    for url, host in (
        ("https://api.github.com", "github.com"),
        ("https://ghe.example/api/v3", "ghe.example"),
        ("https://api.tenant.ghe.com", "tenant.ghe.com"),
    ):
        write(f"GITHUB_REPO=octo/demo\nGITHUB_API_URL={url}\n")
        assert credentials.github_token(settings.load()) == f"gho_{host}"


def test_no_token_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("GITHUB_REPO=octo/demo\n")
    found = settings.load()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match=r"`gh` is not installed\. Set GITHUB_TOKEN"):
        credentials.github_token(found)
    fake_gh(tmp_path, "exit 1")
    with pytest.raises(Missing, match=r"log in with `gh auth login --hostname github\.com`"):
        credentials.github_token(found)


def test_agents_get_their_keys_and_never_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_canary0123456789")
    write("GITHUB_REPO=octo/demo\nANTHROPIC_API_KEY=sk-1\nCLAUDE_CODE_OAUTH_TOKEN=\n")
    environ = credentials.agent_environ(settings.load())
    assert environ["ANTHROPIC_API_KEY"] == "sk-1"
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in environ
    assert "ghp_canary0123456789" not in environ.values()
    assert environ["PATH"] == os.environ["PATH"]


def test_the_example_file_is_that_of_the_settings_and_means_the_defaults() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings.example(), "run `make settings`"
    write(settings.example().replace("owner/name", "octo/demo"))
    filled_in = settings.load()
    write("GITHUB_REPO=octo/demo\n")
    assert filled_in == settings.load()


@pytest.mark.parametrize("name", ["owner/name", "octo/demo,owner/name"])
def test_the_example_left_as_it_is_is_told_as_such(name: str) -> None:
    assert trouble(settings.example().replace("owner/name", name)) == [
        "GITHUB_REPO still holds the example owner/name; put the name of your repository there."
    ]


def test_the_example_file_is_read_by_a_shell_as_well(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f". {ROOT}/.env.example; echo $POLL_INTERVAL $REVIEW_PRS"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("60 all\n", "")


def test_every_setting_has_a_sentence_and_a_row() -> None:
    rows = settings.table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description.endswith(".")
        assert any(row.startswith(f"| `{name.upper()}` |") for row in rows)
