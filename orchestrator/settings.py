"""Every setting: name, type, bounds, default and one sentence.

The environment wins over `.env`. What is wrong is told at once and together, one sentence per line, as
`Misconfigured`; no value of a secret appears in a message or a repr.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orchestrator import copying, envfile, place
from orchestrator.errors import Misconfigured, Missing
from orchestrator.model import IN_PROGRESS, NEEDS_HUMAN
from orchestrator.redactor import unsaid

_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_]|-(?=[A-Za-z0-9_])){0,38}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_BRANCH = re.compile(r"(?!-)[^\x00-\x20\x7f~^:?*\[\\]+")
# Agents' and editors' instructions and hooks, CI, ownership, what changes how git reads the tree, our own settings,
# and what decides what a test run runs.
PROTECTED = (
    *(".github/", ".gitlab/", ".circleci/", ".claude/", ".cursor/", ".husky/", ".githooks/", ".gitlab-ci.yml"),
    *("CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", ".mcp.json", "CODEOWNERS", ".gitattributes", ".gitmodules"),
    *(".env", ".pre-commit-config.yaml", "conftest.py", "pytest.ini", "tox.ini", "noxfile.py", "setup.py", "setup.cfg"),
    *("pyproject.toml", "package.json", ".npmrc", "Makefile", "Jenkinsfile", "build.rs", ".cargo/"),
)
EXAMPLE = "owner/name"  # what `.env.example` holds in the place of a repository
_FOLDER = re.compile(r"[^\x00-\x1f\x7f*?\[\]\\,]+")
_CREDENTIALS = re.compile(r"(?:ANTHROPIC|CLAUDE|GITHUB|GH|ORCHESTRATOR)_.*")
_STEERING = re.compile(
    r"(?:GIT|LD|DYLD|BASH)_.*|PATH|HOME|TMPDIR|ENV|IFS|SHELL|SHELLOPTS|BASHOPTS|PYTHON(?:HOME|STARTUP|DONTWRITEBYTECODE)"
)
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")

# python-dotenv would tell of an unreadable line a second time, in other words.
logging.getLogger("dotenv").addHandler(logging.NullHandler())


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(c, str) and c.strip() and "\0" not in c for c in found):
        raise ValueError('must be a JSON array of non-empty strings, for example ["make test"]')
    return tuple(found)


def _path(value: object) -> object:
    if not str(value).strip() or "\0" in str(value):
        raise ValueError("must name a path")
    try:
        return Path(str(value)).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"must name a path; nobody's home is known for {str(value)!r}") from error


def _path_or_none(value: object) -> object:
    return _path(value) if value is not None and str(value).strip() else None


def _base(value: object, info: ValidationInfo) -> object:
    if value != "" or "state_file" not in info.data:
        return _path(value or ".")
    return place.default(info.data["state_file"])


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
AbsolutePath = Annotated[Path, BeforeValidator(_path)]
_DAY = 86400.0


class Settings(BaseSettings):
    """The checked settings. Paths are absolute, times are seconds; use `load`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=True, allow_inf_nan=False
    )

    github_repo: str = Field(description="The repository to watch as `owner/name`, or several separated by commas.")
    github_token: SecretStr = Field(
        SecretStr(""),
        description="The token the daemon works with; empty: the answer of `gh auth token`. The agent never sees it.",
    )
    github_api_url: str = Field(
        "https://api.github.com",
        description="GitHub's REST API; for GitHub Enterprise Server `https://HOST/api/v3`.",
    )
    poll_interval: float = Field(60, ge=0.01, le=_DAY, description="Seconds between two polls; fractions are allowed.")
    state_file: AbsolutePath = Field(
        Path(".orchestrator-state.json"), description="The daemon's memory, one JSON file."
    )
    worktree_base: Annotated[Path, BeforeValidator(_base)] = Field(
        "",
        validate_default=True,
        description="The folder for worktrees, logs and the daemon's own bare clones; empty: one for each state file, "
        "in `~/.local/state/orchestrator`.",
    )
    sparse_paths: str = Field(
        "",
        description="Folders that a worktree for an issue holds, separated by commas, for huge repositories: these and "
        "the files beside each on the way to it; empty: everything, as for reviews and merges always.",
    )
    submodules: Literal["auto", "off"] = Field(
        "auto",
        description="Whether worktrees hold the files of submodules: auto: of all that can be fetched; off: none.",
    )
    base_branch: str = Field(
        "", description="The branch that work starts from and goes back to; empty: the repository's default branch."
    )
    ready_label: str = Field("ready", description="The label that asks for an issue to be implemented.")
    max_concurrent: int = Field(2, ge=1, le=64, description="How many agents may run at a time; merges do not count.")
    setup_commands: Words = Field(
        (), description="Commands that prepare a new worktree before the agent starts, as a JSON array."
    )
    copy_files: Annotated[Path | None, BeforeValidator(_path_or_none)] = Field(
        None,
        description="A folder whose files, such as `.env`, are copied into each new worktree before commands run "
        "there, but for reviews and forks; empty: none.",
    )
    teardown_commands: Words = Field(
        (),
        description="Commands that run in a worktree before it is taken away, if other commands have run there, as a "
        "JSON array.",
    )
    pass_env: Words = Field(
        (),
        description="Names of variables, in the environment or in `.env`, that agents and commands are given too, as a "
        "JSON array.",
    )
    max_turns: int = Field(50, ge=1, le=10_000, description="The most turns one agent run may take.")
    auto_merge_enabled: bool = Field(True, description="Whether the merge command is obeyed at all.")
    merge_comment_trigger: str = Field(
        "/merge", description="The comment that asks for a merge: a line that holds this and nothing else."
    )
    merge_method: Literal["squash", "merge", "rebase"] = Field(
        "squash", description="How a pull request is merged; there is no fallback to another way."
    )
    require_approval: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto: what GitHub demands, and nobody who may write asks for changes; always: also an approval of "
        "exactly this head; never: only what GitHub demands.",
    )
    hold_label: str = Field("hold", description="The label that stops every merge of a pull request.")
    allow_fork_merge: bool = Field(
        False, description="Whether a fork's code may be merged, and so run here, when its commit is named."
    )
    delete_branch: bool = Field(
        True, description="Whether the head branch is deleted after its merge, where that is safe."
    )
    pre_merge_commands: Words = Field(
        (), description="Commands that must exit with 0 on the merge result before it lands, as a JSON array."
    )
    claude_command: str = Field("claude", description="How to call Claude Code; may hold arguments.")
    review_prs: Literal["all", "label", "off"] = Field(
        "all", description="Which pull requests are reviewed: all, those with `REVIEW_LABEL`, or none."
    )
    review_label: str = Field("review", description="The label that asks for a review when `REVIEW_PRS=label`.")
    review_debounce: float = Field(
        60, ge=0, le=_DAY, description="Seconds a pull request's head must rest before it is reviewed."
    )
    ci_settle: float = Field(
        60, ge=0, le=_DAY, description='Seconds between the two readings that make "there is no CI" true.'
    )
    ci_timeout: float = Field(3600, ge=0, le=7 * _DAY, description="Seconds a merge waits for checks to finish.")
    command_timeout: float = Field(
        600, ge=0.01, le=_DAY, description="Seconds each setup, pre-merge or teardown command may take."
    )
    run_timeout: float = Field(3600, ge=0.01, le=_DAY, description="Seconds one agent run may take in all.")
    stall_timeout: float = Field(
        600, ge=0.01, le=_DAY, description="Seconds an agent may go without an event before it is ended."
    )
    run_budget_usd: float = Field(5, ge=0.01, le=10_000, description="The most one agent run may cost, in US dollars.")
    disk_floor_gb: float = Field(
        2, ge=0, le=100_000, description="Gigabytes that must be free before a worktree is made; below it, work waits."
    )
    keep_days: float = Field(
        7, ge=0.01, le=3650, description="Days that logs, saved work and worktrees of ended items are kept."
    )
    sandbox: Literal["auto", "bwrap", "seatbelt", "off"] = Field(
        "auto",
        description="What holds agents and commands: bwrap (Linux), seatbelt (macOS), auto: the one that works here, "
        "and no start where none does; off: nothing, they can read and write whatever the daemon's account can.",
    )
    command_network: bool = Field(
        False,
        description="Whether commands have the network; the agent has its model's host only.",
    )
    agent_allow_hosts: Words = Field(
        (),
        description='Hosts that the agent may reach besides its model, as a JSON array such as `["pypi.org"]`; '
        "`host:port` for a port other than 443.",
    )
    toolchain_paths: Words = Field(
        (), description="Folders that agents and commands may read besides the system and PATH, as a JSON array."
    )
    protected_paths: Words = Field(
        PROTECTED,
        description="Files that steer tools or people, as a JSON array of `.gitignore` patterns: a change there makes "
        "the PR a draft, and its merge needs the commit's name.",
    )
    trusted_bots: Words = Field(
        (), description="Numeric ids of bot accounts that may label and command as people may, as a JSON array."
    )
    allow_triage: bool = Field(
        False, description="Whether somebody with the triage role, who may not push, may label issues for work."
    )
    max_runs_per_actor_day: int = Field(
        20, ge=1, le=100_000, description="The most agent runs that one person may cause within 24 hours."
    )
    daily_budget_usd: float = Field(
        50, ge=0.01, le=1_000_000, description="The most that all agent runs may cost within 24 hours, in US dollars."
    )
    max_diff_kb: int = Field(
        4096, ge=1, le=1_000_000, description="The largest change that becomes a pull request, in kilobytes of diff."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="How log lines look; auto: readable on a terminal, JSON otherwise."
    )
    anthropic_api_key: SecretStr = Field(
        SecretStr(""), description="Handed to the agent only; empty: the login that Claude Code has stored."
    )
    claude_code_oauth_token: SecretStr = Field(
        SecretStr(""), description="Handed to the agent only: a subscription's token from `claude setup-token`."
    )

    _in_file: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def repos(self) -> tuple[str, ...]:
        """The watched repositories, each `owner/name`, in the order given."""
        return tuple(self.github_repo.split(","))

    @property
    def sparse_folders(self) -> tuple[str, ...]:
        """The folders of `sparse_paths`; none: everything."""
        return tuple(filter(None, self.sparse_paths.split(",")))

    @property
    def toolchains(self) -> tuple[Path, ...]:
        """The folders of `toolchain_paths`, absolute."""
        return tuple(Path(path).expanduser().absolute() for path in self.toolchain_paths)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret values that are set; none of them may reach a log."""
        own = (v.get_secret_value() for _, v in self if isinstance(v, SecretStr) and v.get_secret_value())
        return (*own, *unsaid(self.passed))

    @property
    def passed(self) -> dict[str, str]:
        """The variables of `pass_env` that are set."""
        given = {**self._in_file, **os.environ}
        return {name: given[name] for name in self.pass_env if name in given}

    @field_validator("github_repo")
    @classmethod
    def _repos_are_names(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        for name in names:
            owner, _, rest = name.partition("/")
            if (
                not _OWNER.fullmatch(owner)
                or not _NAME.fullmatch(rest)
                or rest in (".", "..")
                or rest.lower().endswith(".git")
            ):
                raise ValueError(f"must be owner/name, or several separated by commas; {name!r} is not{_hint(name)}")
        if EXAMPLE in names:
            raise ValueError(f"still holds the example {EXAMPLE}; put the name of your repository there")
        twice = sorted({n for n in names if [m.lower() for m in names].count(n.lower()) > 1})
        if twice:
            raise ValueError(f"names a repository twice: {', '.join(twice)}")
        return ",".join(names)

    @field_validator("github_token", "anthropic_api_key", "claude_code_oauth_token")
    @classmethod
    def _secrets_are_one_word(cls, value: SecretStr) -> SecretStr:
        word = value.get_secret_value().strip()
        if not word.isascii() or not word.isprintable() or " " in word:
            raise ValueError("holds a space or a character that no token has; paste it again")
        return SecretStr(word)

    @field_validator("github_api_url")
    @classmethod
    def _url_is_safe(cls, value: str) -> str:
        parts = urlsplit(value.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"must be an address like https://api.github.com, not {value!r}")
        if parts.username or parts.password:
            raise ValueError("must not hold a name or password; the token belongs into GITHUB_TOKEN")
        if parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname):
            raise ValueError("must begin with https://, or the token would travel in the open")
        return value.strip().rstrip("/")

    @field_validator("ready_label", "review_label")
    @classmethod
    def _labels_can_be_searched(cls, value: str) -> str:
        if not value.strip() or len(value) > 50 or "," in value or not value.isprintable():
            raise ValueError("must be a label's name: 1 to 50 characters without a comma")
        if value.strip().lower() in (IN_PROGRESS, NEEDS_HUMAN):
            raise ValueError(f"must not be {value.strip()}, which the daemon sets itself")
        return value.strip()

    @field_validator("trusted_bots")
    @classmethod
    def _bots_are_numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for bot in value:
            if not re.fullmatch(r"[1-9][0-9]{0,18}", bot):
                raise ValueError(f'must hold numeric ids such as "49699333"; {bot!r} is none')
        return value

    @field_validator("copy_files")
    @classmethod
    def _files_can_be_copied(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None:
            if why := copying.trouble(value):
                raise ValueError(why)
            base = info.data.get("worktree_base")
            if base is not None and value.resolve() in base.resolve().parents:
                raise ValueError(f"names {value}, which holds the worktrees; name a folder for just these files")
        return value

    @field_validator("pass_env")
    @classmethod
    def _variables_may_pass(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"must hold names of variables such as DATABASE_URL; {name!r} is none")
            if _CREDENTIALS.fullmatch(name.upper()) or name.lower() in cls.model_fields:
                raise ValueError(f"must not name {name}: what is the daemon's own stays with it")
            if _STEERING.fullmatch(name):
                raise ValueError(f"must not name {name}: it would change what is run, or what the daemon sets itself")
        return value

    @field_validator("merge_comment_trigger")
    @classmethod
    def _trigger_is_a_line(cls, value: str) -> str:
        if not value.strip() or not value.strip().isprintable():
            raise ValueError("must be one non-empty line, for example /merge")
        return value.strip()

    @field_validator("base_branch")
    @classmethod
    def _branch_is_a_name(cls, value: str) -> str:
        if value and (not _BRANCH.fullmatch(value) or ".." in value or value.startswith("refs/")):
            raise ValueError(f"must be a branch's name such as main, not {value!r}")
        return value

    @field_validator("sparse_paths")
    @classmethod
    def _parts_are_folders(cls, value: str) -> str:
        names = [name.strip().removesuffix("/") for name in value.split(",")] if value.strip() else []
        for name in names:
            if not _FOLDER.fullmatch(name) or any(part in ("", ".", "..", ".git") for part in name.split("/")):
                raise ValueError(f"must be folders such as apps/web,libs, without patterns; {name!r} is none")
        return ",".join(names)

    @field_validator("claude_command")
    @classmethod
    def _command_has_words(cls, value: str) -> str:
        try:
            words = shlex.split(value)
        except ValueError:
            words = []
        if not words:
            raise ValueError(f"must be a command such as claude, not {value!r}")
        return value


def load(env_file: Path = Path(".env")) -> Settings:
    """Read the environment and `env_file`. Misconfigured: every problem, one sentence per line.

    Missing where there is no current folder, which the paths are relative to, or no home, which agents need too.
    """
    try:
        Path.cwd(), Path.home()
    except OSError as error:
        raise Missing(f"The current folder cannot be used: {error.strerror}. Go into one that exists.") from error
    except RuntimeError as error:
        raise Missing("This account has no home: HOME is not set. Set it to a folder of the account's own.") from error
    names = [name.upper() for name in Settings.model_fields]
    passing = _passing(env_file)
    found_in_file = list(envfile.problems(env_file, names, passing))
    problems = [problem.sentence for problem in found_in_file]
    environ = {k.upper(): v for k, v in os.environ.items()}
    explained = {problem.key for problem in found_in_file} - environ.keys()
    try:
        settings = Settings(_env_file=env_file)  # type: ignore[call-arg]  # a word of pydantic-settings, not a field
    except ValidationError as error:
        given = {**envfile.values(env_file), **environ}
        for found in error.errors(include_input=False, include_url=False):
            name, own = str(found["loc"][0]), str(found.get("ctx", {}).get("error", ""))
            if name.upper() not in explained:
                problems.append(_sentence(name, found["type"], own, given))
    if problems:
        raise Misconfigured("\n".join(problems))
    in_file = dotenv_values(env_file) if passing and env_file.is_file() else {}
    settings._in_file.update((name, value) for name in passing if (value := in_file.get(name)) is not None)
    return settings


def _passing(env_file: Path) -> tuple[str, ...]:
    """The names in `PASS_ENV`, which lines of the file may set too; none where that is not as it must be."""
    try:
        given = {**envfile.values(env_file), **{name.upper(): value for name, value in os.environ.items()}}
        return tuple(map(str, json.loads(given.get("PASS_ENV", "[]"))))
    except (OSError, ValueError, TypeError):
        return ()


def table() -> str:
    """The settings as a Markdown table, as the README shows them."""
    rows = ["| setting | default | what it is |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = as_written(field)
        rows.append(f"| `{name.upper()}` | {f'`{default}`' if default else ''} | {field.description} |")
    return "\n".join(rows)


def example() -> str:
    """The text of `.env.example`: each setting with its sentence and its default."""
    blocks = ["# Copy to .env and set GITHUB_REPO; everything else may stay as it is or go.\n"]
    for name, field in Settings.model_fields.items():
        sentence = textwrap.fill(field.description or "", 100, initial_indent="# ", subsequent_indent="# ")
        value = EXAMPLE if field.is_required() else as_written(field)
        quoted = f"'{value}'" if " " in value else value  # so that a shell can read the file too
        blocks.append(f"{sentence}\n{name.upper()}={quoted}\n")
    return "\n".join(blocks)


def as_written(field: FieldInfo) -> str:
    """A default as a `.env` file has it."""
    value = field.default
    if field.is_required() or value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, (bool, tuple)):
        return json.dumps(value)
    return f"./{value}" if isinstance(value, Path) else str(value)


def _hint(name: str) -> str:
    found = re.fullmatch(r"(?:https?://|ssh://git@|git@)[^/:]+[/:]([^/]+/[^/]+?)(?:\.git)?/?", name)
    return f" (did you mean {found[1]}?)" if found else ""


def _sentence(name: str, kind: str, own: str, given: Mapping[str, str]) -> str:
    key = name.upper()
    field = Settings.model_fields[name]
    if kind == "missing":
        return f"{key} is not set: name the repository to watch as owner/name, in .env or in the environment."
    if own:
        return f"{key} {own}."
    return f"{key} must be {_expected(field)}, not {given.get(key, '')!r}."


def _expected(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if kind is bool:
        return "true or false"
    low, high = bounds(field)
    return f"{'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}"


def bounds(field: FieldInfo) -> tuple[float, ...]:
    """The least and the most of a number."""
    return tuple(next(getattr(m, a) for m in field.metadata if hasattr(m, a)) for a in ("ge", "le"))
