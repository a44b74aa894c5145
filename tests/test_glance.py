"""The quick look at the settings finds what the full one finds, or leaves it to that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import glance, plain, settings
from orchestrator.allowance import limits_of
from orchestrator.errors import Misconfigured
from orchestrator.glance import Glance
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"github", "requests", "pydantic", "pydantic_settings", "asyncio", "psutil", "structlog", "dotenv"}
SHOW = (
    "import sys\n"
    "from orchestrator.cli import main\n"
    "main(['status'], standalone_mode=False)\n"
    f"print(sorted({HEAVY} & sys.modules.keys()))\n"
)
VALUES = (
    *(
        "",
        " ",
        "0",
        "1",
        "7",
        "-1",
        "007",
        "1.5",
        "2.",
        "1e3",
        "nan",
        "1_0",
        "99999999999",
        "true",
        "True",
        "yes",
        "off",
    ),
    *(
        "auto",
        "merge",
        "all",
        "ok",
        "two words",
        " padded ",
        "a/b",
        "A-b/c_d",
        "a-/b",
        "a/..",
        "a/b.git",
        "a/b,c/d",
        "a/B,A/b",
    ),
    *(
        "owner/name",
        "~",
        "~nobody-has-this/x",
        "./x",
        "/tmp/a b",
        "../x",
        "[]",
        '["a b"]',
        '[""]',
        '["5"]',
        "[1]",
        '{"a":1}',
    ),
    *(
        "https://api.github.com",
        "http://example.org",
        "in-progress",
        "caf\u00e9",
        "x#y",
        "x #y",
        "$HOME",
        "${NOT_SET}",
        "a'b",
    ),
    *('"quoted"', "'single'", '"open', "back\\slash", "tab\there", "ghp_0123456789abcdef"),
)


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def quick() -> Glance | str:
    try:
        return glance.load()
    except Misconfigured as trouble:
        return str(trouble)


def full() -> Glance | str:
    try:
        found = settings.load()
    except Misconfigured as trouble:
        return str(trouble)
    return Glance(found.state_file, found.sandbox, limits_of(found), found.secrets)


def test_the_table_is_that_of_the_settings() -> None:
    assert glance.PLAIN.read_text(encoding="utf-8") == plain.text(), "run `make settings`"


def one_of_each_kind() -> list[str]:
    rules = {name: {**rule, "default": None} for name, rule in json.loads(plain.text()).items()}
    return sorted({name if r["kind"] == "checked" else json.dumps(r): name for name, r in rules.items()}.values())


@pytest.mark.parametrize("name", one_of_each_kind())
def test_any_value_of_a_setting_is_taken_as_by_the_full_reading(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GITHUB_REPO", "octo/demo")
    for value in VALUES:
        monkeypatch.setenv(name, value)
        assert quick() == full(), repr(value)


@pytest.mark.parametrize("name", ["GITHUB_REPO", "STATE_FILE", "SANDBOX", "GITHUB_TOKEN", "HOLD_LABEL"])
def test_any_value_in_the_file_is_taken_as_by_the_full_reading(name: str) -> None:
    for value in VALUES:
        Path(".env").write_text(f"GITHUB_REPO=octo/demo\n{name}={value}\n", encoding="utf-8")
        assert quick() == full(), repr(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# GITHUB_REPO=octo/demo\n",
        "GITHUB_REPO=octo/demo",
        "\n  \nGITHUB_REPO=octo/demo  \n# SANDBOX=off\n",
        "GITHUB_REPO=octo/demo\r\nSANDBOX=off\r\n",
        "export GITHUB_REPO=octo/demo\n",
        " GITHUB_REPO = octo/demo\n",
        "github_repo=octo/demo\nsandbox=off\n",
        "GITHUB_REPO='octo/demo'\nSTATE_FILE='a b.json'  \n",
        "GITHUB_REPO='octo/demo' # here\nSTATE_FILE='a#b.json'\n",
        'GITHUB_REPO="octo/demo"\nSTATE_FILE="a\\nb.json"\n',
        "GITHUB_REPO=octo/demo\nSTATE_FILE=a # b\n",
        "GITHUB_REPO=octo/demo\nSTATE_FILE=' a b '\n",
        "GITHUB_REPO=octo/demo\r\nSTATE_FILE=a\r\n",
        "GITHUB_REPO=octo/demo\n# old\rSTATE_FILE=elsewhere\n",
        "GITHUB_REPO=octo/demo\nSTATE_FILE='a\rb'\n",
        "GITHUB_REPO=octo/demo\nSTATE_FILE='a\nb'\n",
        "GITHUB_REPO=octo/demo\nSANDBOX=off\nSANDBOX=auto\n",
        "GITHUB_REPO=octo/demo\nSANDBOXES=off\n",
        "GITHUB_REPO=octo/demo\nSANDBOX\n",
        "GITHUB_REPO=octo/demo\nSANDBOX: off\n",
        "GITHUB_REPO=octo/demo\x0bSANDBOX=off\n",
        "\ufeffGITHUB_REPO=octo/demo\n",
        "GITHUB_REPO=octo/demo\nRUN_BUDGET_USD=3\nDAILY_BUDGET_USD=9.5\nMAX_RUNS_PER_ACTOR_DAY=2\nGITHUB_TOKEN=ghp_1234\n",
    ],
)
def test_any_file_is_taken_as_by_the_full_reading(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8", newline="")
    assert quick() == full()


def test_the_environment_wins_whatever_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("GITHUB_REPO=octo/demo\nSANDBOX=off\nSTATE_FILE=a.json\n", encoding="utf-8")
    monkeypatch.setenv("sandbox", "bwrap")
    found = quick()
    assert isinstance(found, Glance)
    assert found == full()
    assert (found.sandbox, found.state_file) == ("bwrap", Path("a.json").absolute())


@pytest.mark.parametrize(
    "text",
    [
        settings.example().replace("owner/name", "octo/demo"),
        'GITHUB_REPO=octo/demo\nPRE_MERGE_COMMANDS=["make test"]\nGITHUB_TOKEN=ghp_0123456789\nMAX_CONCURRENT=3\n',
    ],
)
def test_status_loads_nothing_heavy(tmp_path: Path, text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
