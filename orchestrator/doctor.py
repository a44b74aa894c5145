"""Everything a run needs, measured now; each line that is not good ends with the command that mends it."""

from __future__ import annotations

import functools
import os
import platform
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from orchestrator import credentials, doctor_checkout, doctor_github, place, state
from orchestrator import settings as configuration
from orchestrator.agents.base import Outcome
from orchestrator.agents.claude import INSTALL, Claude
from orchestrator.clock import Stop
from orchestrator.diagnosis import Fail, Good, Level, Warn
from orchestrator.doctor_github import Labels as Labels
from orchestrator.errors import Misconfigured, Missing
from orchestrator.git.run import version
from orchestrator.pauses import GIGABYTE
from orchestrator.sandbox import OPEN, Sandbox, choose
from orchestrator.settings import Settings
from orchestrator.statefile import Damaged, look

NOBODY = "nobody/nothing"  # stands in for a repository that is not named rightly; never asked for

_INSTALLERS = ("apt-get", "dnf", "zypper")


@dataclass(frozen=True)
class _Read:
    """The settings as far as they are right; those named in `wrong` have their defaults here."""

    settings: Settings
    wrong: frozenset[str]
    problems: tuple[str, ...]


def main(labels: Labels, probe: bool, env_file: Path = Path(".env")) -> int:
    """Print every finding as it is made. 0: good; 2: the settings are wrong; 3: something else is missing."""
    read = _read(env_file)
    worst = Level.PASS
    for finding in examine(read, env_file, labels, probe):
        click.echo(finding)
        worst = max(worst, finding.level, key=list(Level).index)
    return 2 if read.problems else 3 if worst is Level.FAIL else 0


def examine(read: _Read, env_file: Path, labels: Labels, probe: bool) -> Iterator[Good]:
    """Every check for which the settings suffice, the cheap ones first."""
    settings, change = read.settings, functools.partial(_change, env_file)
    yield from _settings(read, env_file, change)
    yield git_version()
    if "worktree_base" not in read.wrong:
        yield from _folder(settings.worktree_base, settings.disk_floor_gb, change)
        yield from _apart(settings.worktree_base, settings.state_file, change)
        yield from _places(settings)
    if "state_file" not in read.wrong:
        yield _state(settings.state_file, change)
    known = {n: None if n in read.wrong else getattr(settings, n) for n in ("state_file", "worktree_base")}
    yield from doctor_checkout.examine(**known)
    sandbox = OPEN
    if not read.wrong & {"sandbox", "toolchain_paths"}:
        finding, sandbox = _sandbox(settings, change)
        yield finding
    if "claude_command" not in read.wrong:
        # A turn costs money, and its outcome may depend on what is wrong.
        yield from _agent(settings, sandbox, change, probe and not read.problems)
    yield from doctor_github.examine(settings, read.wrong, change, labels)


def _read(env_file: Path) -> _Read:
    problems: list[str] = []
    try:
        configuration.load(env_file)
    except Misconfigured as trouble:
        problems += str(trouble).splitlines()
    settings, wrong = _usable(env_file)
    return _Read(settings, wrong, tuple(problems))


def _usable(env_file: Path) -> tuple[Settings, frozenset[str]]:
    """The settings with defaults in the place of the wrong ones, and the names of these."""
    try:
        return Settings(_env_file=env_file), frozenset()  # type: ignore[call-arg]  # see settings.load
    except ValidationError as error:
        wrong = frozenset(str(found["loc"][0]) for found in error.errors(include_input=False))
        stand_in: dict[str, Any] = {name: Settings.model_fields[name].default for name in wrong}
        if "github_repo" in wrong:
            stand_in["github_repo"] = NOBODY
        return Settings(**{"_env_file": env_file, **stand_in}), wrong
    except (OSError, UnicodeDecodeError):
        return Settings.model_construct(), frozenset(Settings.model_fields)


def _change(env_file: Path, name: str) -> str:
    """The command to change a setting where it is set: the environment wins over the file."""
    given = next((key for key in os.environ if key.upper() == name), None)
    return f"unset {given}" if given else f"${{EDITOR:-nano}} {shlex.quote(str(env_file))}"


def _settings(read: _Read, env_file: Path, change: Callable[[str], str]) -> Iterator[Good]:
    for problem in read.problems:
        yield Fail("settings", problem, change(problem.split()[0]))
    if not read.problems:
        yield Good("settings", f"watching {', '.join(read.settings.repos)}")
    if env_file.is_file() and stat.S_IMODE(env_file.stat().st_mode) & 0o077 and read.settings.secrets:
        yield Warn("settings", f"others can read {env_file}", f"chmod 600 {shlex.quote(str(env_file))}")


def git_version() -> Good:
    """Whether git is there and new enough."""
    try:
        return Good("git", version())
    except Missing as trouble:
        return Fail("git", str(trouble), _install_git())


def _install_git() -> str:
    if platform.system() == "Darwin":
        return "brew install git"
    return f"sudo {next(filter(shutil.which, _INSTALLERS), _INSTALLERS[0])} install git"


def _folder(base: Path, floor: float, change: Callable[[str], str]) -> Iterator[Good]:
    there = next(p for p in (base, *base.parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".orchestrator-doctor-", dir=there):
            yield Good("worktrees", f"{base} can be written")
    except OSError as error:
        why = f"{base} cannot be written ({error.strerror}); name another folder as WORKTREE_BASE"
        yield Fail("worktrees", why, change("WORKTREE_BASE"))
    free = shutil.disk_usage(there).free
    room = f"{free / GIGABYTE:.1f} GB free at {there}"
    if free < floor * GIGABYTE:
        yield Fail("disk", f"only {room}; make room", f"du -sh {shlex.quote(str(there))}")
    else:
        yield Good("disk", room)


def _apart(base: Path, state_file: Path, change: Callable[[str], str]) -> Iterator[Good]:
    if trouble := place.trouble(base):
        move = place.moving(base, state_file)
        yield Warn(
            "worktrees",
            f"{trouble}; {'stop the daemon and move it' if move else place.outside(base)}",
            move or change("WORKTREE_BASE"),
        )


def _places(settings: Settings) -> Iterator[Good]:
    """What earlier runs made for each repository can still be written."""
    for name in settings.repos:
        folder = settings.worktree_base / name
        try:
            if folder.exists():
                tempfile.TemporaryDirectory(prefix=".orchestrator-doctor-", dir=folder).cleanup()
        except OSError as error:
            yield Fail(
                "worktrees", f"{folder} cannot be written ({error.strerror})", f"ls -ld {shlex.quote(str(folder))}"
            )


def _state(path: Path, change: Callable[[str], str]) -> Good:
    try:
        saved = state.read(path)
    except Misconfigured as trouble:
        return Fail("state", str(trouble), change("STATE_FILE"))
    except Damaged as trouble:
        return Fail("state", f"{path} is damaged ({trouble.why}); a start goes on without it", "orchestrator run")
    except Missing as trouble:
        return Fail("state", str(trouble).split("; ")[0], look(path))
    who = f"; the daemon with pid {saved.holder.pid} works on it" if saved.holder else ""
    return Good("state", f"{len(saved.jobs)} items in {path}{who}")


def _sandbox(settings: Settings, change: Callable[[str], str]) -> tuple[Good, Sandbox]:
    try:
        found = choose(settings.sandbox, settings.toolchains)
    except Misconfigured as trouble:
        return Fail("sandbox", str(trouble), change("TOOLCHAIN_PATHS")), OPEN
    except Missing as trouble:
        what, _, mend = str(trouble).rpartition(": ")
        return Fail("sandbox", what, mend.strip("`")), OPEN
    if found is OPEN:
        said = "off: agents and commands can read and write whatever you can"
        return Warn("sandbox", said, change("SANDBOX")), OPEN
    return Good("sandbox", found.name), found


def _agent(settings: Settings, sandbox: Sandbox, change: Callable[[str], str], probe: bool) -> Iterator[Good]:
    command = settings.claude_command
    agent = Claude(command, credentials.agent_environ(settings), sandbox, settings.agent_allow_hosts)
    usual = command == Settings.model_fields["claude_command"].default
    try:
        yield Good("agent", agent.check())
    except Missing as trouble:
        what = str(trouble).split("; ")[0]
        if usual:
            yield Fail("agent", what, INSTALL)
        else:
            yield Fail("agent", f"{what}; CLAUDE_COMMAND must start Claude Code", change("CLAUDE_COMMAND"))
        return
    if not probe:
        return
    result = agent.probe(Stop())
    keys = [n for n in ("anthropic_api_key", "claude_code_oauth_token") if getattr(settings, n).get_secret_value()]
    if result.outcome is Outcome.DONE:
        yield Good("agent login", f"a real turn took {result.seconds:.0f} s, ${result.cost_usd:.2f}")
    elif result.outcome is Outcome.AUTH and keys:
        yield Fail("agent login", f"{keys[0].upper()} is set, but {result.detail}", change(keys[0].upper()))
    elif result.outcome is Outcome.AUTH:
        yield Fail("agent login", result.detail, f"{command} auth login")
    else:
        yield Fail("agent login", result.detail, f"{command} -p hello")
