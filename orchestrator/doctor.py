"""Everything a run needs, measured now; each line that is not good ends with what mends it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from orchestrator import settings as configuration
from orchestrator import state
from orchestrator.agents.base import Outcome
from orchestrator.agents.claude import Claude
from orchestrator.clock import Stop, SystemClock
from orchestrator.errors import Misconfigured, Missing, Retry, Stopped
from orchestrator.git.run import OLDEST
from orchestrator.github.api import Api
from orchestrator.github.transport import Answer, ApiError, Moved, Transport, Unknown
from orchestrator.model import IN_PROGRESS, NEEDS_HUMAN
from orchestrator.printable import printable
from orchestrator.settings import Settings

DISK = 2 * 1024**3  # bytes
SKEW = 60.0  # seconds
PATIENCE = 20.0  # seconds that a check may wait for GitHub's limits

LABELS = {
    IN_PROGRESS: ("fbca04", "The daemon works on it"),
    NEEDS_HUMAN: ("d93f0b", "The daemon stopped and says why"),
}


class Level(str, Enum):
    """`WARN` does not stop a run; `FAIL` does."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


class Mend(Enum):
    """What to do about missing labels."""

    YES = "make them"
    ASK = "ask first"
    NO = "say the command"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` is the command or the act that makes it good."""

    level: Level
    name: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        told = f"{self.text.rstrip('.')}. {self.mend}" if self.mend else self.text
        return f"{self.level.value}  {self.name:<11} {printable(told)}"


def main(mend: Mend, probe: bool, env_file: Path = Path(".env")) -> int:
    """Print every finding as it is made. 0: good; 2: the settings are wrong; 3: something else is missing."""
    try:
        settings = configuration.load(env_file)
    except Misconfigured as trouble:
        for problem in str(trouble).splitlines():
            click.echo(Finding(Level.FAIL, "settings", problem, "Mend it in .env or in the environment."))
        click.echo(git_version())
        return 2
    worst = Level.PASS
    for finding in examine(settings, env_file, mend, probe):
        click.echo(finding)
        worst = max(worst, finding.level, key=list(Level).index)
    return 3 if worst is Level.FAIL else 0


def examine(settings: Settings, env_file: Path, mend: Mend, probe: bool) -> Iterator[Finding]:
    """Every check, the cheap ones first."""
    yield from _settings(settings, env_file)
    yield git_version()
    yield from _folder(settings.worktree_base)
    yield _state(settings.state_file)
    agent = Claude(settings.claude_command, configuration.agent_environ(settings))
    yield from _agent(settings.claude_command, agent, probe)
    try:
        token = configuration.github_token(settings)
    except Missing as trouble:
        yield Finding(Level.FAIL, "token", str(trouble))
        return
    stop = Stop()
    transport = Transport(settings.github_api_url, token, _Impatient(), stop)
    try:
        yield from _github(settings, transport, mend)
    finally:
        transport.close()


class _Impatient(SystemClock):
    """Waits briefly only: a rate limit that lasts an hour is a finding, not a reason to hang."""

    def wait(self, seconds: float, stop: Stop) -> bool:
        if seconds > PATIENCE:
            stop.set(f"GitHub limits this token for another {seconds / 60:.0f} min")
        return super().wait(seconds, stop)


def _settings(settings: Settings, env_file: Path) -> Iterator[Finding]:
    yield Finding(Level.PASS, "settings", f"watching {', '.join(settings.repos)}")
    if env_file.is_file() and stat.S_IMODE(env_file.stat().st_mode) & 0o077 and settings.secrets:
        yield Finding(Level.WARN, "settings", f"others can read {env_file}", f"Close it with `chmod 600 {env_file}`.")


def git_version() -> Finding:
    """Whether git is there and new enough."""
    wanted = ".".join(map(str, OLDEST))
    try:
        done = subprocess.run(["git", "version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(Level.FAIL, "git", f"it does not run ({error})", f"Install git {wanted} or newer.")
    found = re.search(r"(\d+)\.(\d+)", done.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        return Finding(Level.FAIL, "git", f"{done.stdout.strip()} is too old", f"Install git {wanted} or newer.")
    return Finding(Level.PASS, "git", done.stdout.strip())


def _folder(base: Path) -> Iterator[Finding]:
    there = next(p for p in (base, *base.parents) if p.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".orchestrator-doctor-", dir=there):
            yield Finding(Level.PASS, "worktrees", f"{base} can be written")
    except OSError as error:
        yield Finding(
            Level.FAIL,
            "worktrees",
            f"{base} cannot be written ({error.strerror})",
            f"Set WORKTREE_BASE to another folder, or `chown {os.getuid()} {there}`.",
        )
    free = shutil.disk_usage(there).free
    room = f"{free / 1024**3:.1f} GiB free at {there}"
    if free < DISK:
        yield Finding(Level.FAIL, "disk", f"only {room}", f"Free some space; see `du -sh {base}`.")
    else:
        yield Finding(Level.PASS, "disk", room)


def _state(path: Path) -> Finding:
    try:
        saved = state.read(path)
    except (Misconfigured, Missing) as trouble:
        return Finding(Level.FAIL, "state", str(trouble))
    who = f"; the daemon with pid {saved.holder.pid} works on it" if saved.holder else ""
    return Finding(Level.PASS, "state", f"{len(saved.jobs)} items in {path}{who}")


def _agent(command: str, agent: Claude, probe: bool) -> Iterator[Finding]:
    try:
        yield Finding(Level.PASS, "agent", agent.version())
    except (Missing, Misconfigured) as trouble:
        yield Finding(Level.FAIL, "agent", str(trouble))
        return
    if not probe:
        return
    result = agent.probe()
    if result.outcome is Outcome.DONE:
        yield Finding(Level.PASS, "agent login", f"a real turn took {result.seconds:.0f} s, ${result.cost_usd:.2f}")
    elif result.outcome is Outcome.AUTH:
        yield Finding(Level.FAIL, "agent login", result.detail)  # its sentence says how to log in
    else:
        yield Finding(Level.FAIL, "agent login", result.detail, f"Try it by hand: `{command} -p hello`.")


def _github(settings: Settings, transport: Transport, mend: Mend) -> Iterator[Finding]:
    try:
        me = transport.get("/user")
        yield Finding(Level.PASS, "token", f"it is {me.data['login']}'s")
    except ApiError as error:
        yield Finding(Level.FAIL, "token", str(error), "Set a valid GITHUB_TOKEN, or run `gh auth login`.")
        return
    except (Retry, Stopped, Moved, KeyError, TypeError) as error:
        where = f"{settings.github_api_url} does not answer as GitHub does ({str(error)[:160]})"
        yield Finding(Level.FAIL, "github", where, f"Try `curl -sS {settings.github_api_url}/meta`.")
        return
    yield from _scopes(me)
    yield _clock(me.date, time.time())
    for name in settings.repos:
        try:
            yield from _repo(settings, Api(transport, name), mend)
        except (ApiError, Retry, Stopped, Moved, Unknown) as error:
            yield Finding(Level.FAIL, name, str(error), _way_in(name))


def _scopes(me: Answer) -> Iterator[Finding]:
    """Classic tokens list their scopes; others are judged by what the repository grants them."""
    word = me.headers.get("x-oauth-scopes")
    if not word:
        return
    scopes = {scope.strip() for scope in word.split(",")}
    if "repo" in scopes:
        yield Finding(Level.PASS, "scopes", word)
    else:
        level = Level.WARN if "public_repo" in scopes else Level.FAIL
        yield Finding(
            level, "scopes", f"the token has {word}, not repo", "Run `gh auth refresh --scopes repo,workflow`."
        )
    if "workflow" not in scopes:
        yield Finding(
            Level.WARN,
            "scopes",
            "without workflow, GitHub refuses changes under .github/workflows",
            "Run `gh auth refresh --scopes repo,workflow`.",
        )


def _clock(theirs: float, ours: float) -> Finding:
    if not theirs:
        return Finding(Level.WARN, "clock", "GitHub named no time", "Check the proxy between here and GitHub.")
    off = ours - theirs
    if abs(off) > SKEW:
        far = f"this machine is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} GitHub"
        return Finding(Level.FAIL, "clock", far, "Turn time synchronisation on: `sudo timedatectl set-ntp true`.")
    return Finding(Level.PASS, "clock", f"within {SKEW:.0f} s of GitHub's")


def _repo(settings: Settings, api: Api, mend: Mend) -> Iterator[Finding]:
    data = api.transport.get(f"/repos/{api.name}").data
    if data.get("archived") or data.get("has_issues") is False:
        what = "is archived" if data.get("archived") else "has its issues switched off"
        yield Finding(Level.FAIL, api.name, what, f"Change it at {data.get('html_url')}/settings.")
    if not (data.get("permissions") or {}).get("push"):
        yield Finding(Level.FAIL, api.name, "can be read, but the token may not push", _way_in(api.name))
        return
    yield Finding(Level.PASS, api.name, "can be read and pushed to")
    branch = settings.base_branch or str(data["default_branch"])
    if api.branch_sha(branch) is None:
        yield Finding(
            Level.FAIL, api.name, f"has no branch {branch}", "Push a first commit to it, or set BASE_BRANCH to another."
        )
    if settings.auto_merge_enabled and data.get("allow_squash_merge") is False:
        yield Finding(
            Level.FAIL,
            api.name,
            "does not allow squash merging",
            "Allow it in its settings, or AUTO_MERGE_ENABLED=false.",
        )
    yield _labels(settings, api, mend)


def _labels(settings: Settings, api: Api, mend: Mend) -> Finding:
    wanted = {settings.ready_label: ("0e8a16", "The daemon shall implement it"), **LABELS}
    if settings.review_prs == "label":
        wanted[settings.review_label] = ("1d76db", "The daemon shall review it")
    there = {name.lower() for name in api.label_names()}
    missing = [name for name in wanted if name.lower() not in there]
    if not missing:
        return Finding(Level.PASS, api.name, f"has the labels {', '.join(wanted)}")
    lacks = f"lacks the labels {', '.join(missing)}"
    if mend is Mend.NO or (mend is Mend.ASK and not click.confirm(f"{api.name} {lacks}. Make them?", default=True)):
        return Finding(Level.FAIL, api.name, lacks, "Make them with `orchestrator doctor --fix-labels`.")
    for name in missing:
        api.create_label(name, *wanted[name])
    return Finding(Level.PASS, api.name, f"has the labels {', '.join(wanted)}; made just now: {', '.join(missing)}")


def _way_in(name: str) -> str:
    return f"Give the token's account write access to {name}, or use another token: see `gh auth status`."
