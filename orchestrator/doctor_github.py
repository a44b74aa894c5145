"""The part of `doctor` that asks GitHub: the token, the clock, and every repository with its labels."""

from __future__ import annotations

import platform
import shlex
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import click

from orchestrator import credentials
from orchestrator.clock import Stop, SystemClock
from orchestrator.diagnosis import Fail, Good, Warn
from orchestrator.errors import Misconfigured, Missing, Retry, Stopped
from orchestrator.git import filters, lfs
from orchestrator.git.access import Access
from orchestrator.git.mirror import Mirror, tracking
from orchestrator.git.run import GitError, Identity
from orchestrator.github.api import Api, NotGithub, NotTaken, sign_in
from orchestrator.github.scopes import needless, scopes
from orchestrator.github.shut import MOVED, Shut, same
from orchestrator.github.transport import Answer, ApiError, Moved, Transport, Unknown
from orchestrator.model import IN_PROGRESS, NEEDS_HUMAN
from orchestrator.sandbox.bubblewrap import install
from orchestrator.settings import Settings
from orchestrator.statefile import load

SKEW = 60.0  # seconds
_FILTERS = 5  # told one by one
PATIENCE = 20.0  # seconds that a check may wait for GitHub's limits

LABELS = {
    IN_PROGRESS: ("fbca04", "The daemon works on it"),
    NEEDS_HUMAN: ("d93f0b", "The daemon stopped and says why"),
}
# The merge method as GitHub's repository and as `gh repo edit` name it.
_METHODS = {"squash": "squash_merge", "merge": "merge_commit", "rebase": "rebase_merge"}
_ABOUT_REPOSITORIES = frozenset(
    {"github_repo", "base_branch", "merge_method", "ready_label", "review_prs", "review_label"}
)


class Labels(Enum):
    """What to do about missing labels."""

    MAKE = "make them"
    ASK = "ask first"
    TELL = "say the command"


def examine(settings: Settings, wrong: frozenset[str], change: Callable[[str], str], labels: Labels) -> Iterator[Good]:
    """Every check for which the settings suffice. `change`: the command to change a setting."""
    if wrong & {"github_token", "github_api_url"}:
        return
    host = credentials.gh_host(settings.github_api_url)
    try:
        token = credentials.github_token(settings)
    except Missing:
        if shutil.which("gh"):
            login = f"gh auth login --hostname {host}"
            yield Fail("token", f"there is none: GITHUB_TOKEN is empty, and `gh` has none for {host}", login)
        else:
            none = "there is none: GITHUB_TOKEN is empty, and `gh` is not installed"
            yield Fail("token", none, change("GITHUB_TOKEN"))
        return
    transport = Transport(settings.github_api_url, token, _Impatient(), Stop())
    try:
        yield from _Ward(settings, change, labels, host, transport, token).findings(bool(wrong & _ABOUT_REPOSITORIES))
    finally:
        transport.close()


class _Impatient(SystemClock):
    """Waits briefly only: a rate limit that lasts an hour is a finding, not a reason to hang."""

    def wait(self, seconds: float, stop: Stop) -> bool:
        if seconds > PATIENCE:
            stop.set(f"GitHub limits this token for another {seconds / 60:.0f} min; look again after that")
        return super().wait(seconds, stop)


def _is_nobody_there(error: BaseException | None) -> bool:
    """Whether it came from a name that nobody has or a port where nobody listens."""
    while error is not None and not isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        error = error.__cause__ or error.__context__
    return error is not None


@dataclass(frozen=True)
class _Ward:
    settings: Settings
    change: Callable[[str], str]
    labels: Labels
    host: str  # as `gh` knows it
    transport: Transport
    token: str = field(repr=False)

    def findings(self, token_only: bool) -> Iterator[Good]:
        try:
            me, answer = sign_in(self.transport)
        except NotTaken as error:
            yield Fail("token", error.what, self._other_token(f"gh auth login --hostname {self.host}"))
            return
        except NotGithub as error:
            yield Fail("github", error.what, self._other_address())
            return
        except (Retry, Stopped) as error:
            mend = self._other_address() if _is_nobody_there(error) else self._look()
            yield self._unreachable("github", error, mend)
            return
        yield Good("token", f"it is {me.login}'s")
        yield from self._scopes(answer)
        yield self._clock(answer.date, time.time())
        ids: dict[int, str] = {}
        for name in () if token_only else self.settings.repos:
            try:
                yield from self._repo(Api(self.transport, name), me.login, ids)
            except ApiError as error:
                yield self._refused(name, error)
            except Moved:
                yield self._moved(name)
            except Shut as error:
                yield Fail(name, str(error), self._other_token(self._refresh()))
            except (Retry, Stopped, Unknown) as error:
                yield self._unreachable(name, error, self._look())

    def _moved(self, name: str) -> Good:
        try:
            known = load(self.settings.state_file)
        except (Missing, Misconfigured):
            known = None
        if known is None or name not in known.repos:
            return Fail(name, MOVED, self.change("GITHUB_REPO"))
        followed = "it moved to another name, under which the daemon goes on with it; write that into GITHUB_REPO"
        return Warn(name, followed, self.change("GITHUB_REPO"))

    def _look(self) -> str:
        return f"curl -sS {shlex.quote(self.settings.github_api_url)}/meta"

    def _other_address(self) -> str:
        """An address that somebody set may be wrong; the usual one is right, and can only be tried by hand."""
        usual = self.settings.github_api_url == Settings.model_fields["github_api_url"].default
        return self._look() if usual else self.change("GITHUB_API_URL")

    def _other_token(self, stored: str) -> str:
        """The command that brings another token; `stored`: for the one that `gh` keeps."""
        return self.change("GITHUB_TOKEN") if self.settings.github_token.get_secret_value() else stored

    def _unreachable(self, name: str, error: Exception, mend: str) -> Fail:
        if isinstance(error, Stopped):
            return Fail(name, str(error), "orchestrator doctor")
        return Fail(name, f"{self.settings.github_api_url} does not work: {error}", mend)

    def _refused(self, name: str, error: ApiError) -> Fail:
        if error.status == 404:
            unseen = f"there is no such repository at {self.host}, or this token may not see it"
            return Fail(name, unseen, self.change("GITHUB_REPO"))
        return Fail(name, str(error), self._other_token(self._refresh()))

    def _refresh(self) -> str:
        return f"gh auth refresh --hostname {self.host} --scopes repo,workflow"

    def _scopes(self, me: Answer) -> Iterator[Good]:
        """Classic tokens list their scopes; others are judged by what the repository grants them."""
        given = scopes(me)
        if not given:
            return
        word = ", ".join(sorted(given))
        mend = self._other_token(self._refresh())
        if "repo" in given:
            yield Good("scopes", word)
        else:
            trouble = Warn if "public_repo" in given else Fail
            yield trouble("scopes", f"the token has {word}, not repo", mend)
        if "workflow" not in given:
            without = "without the scope workflow, GitHub refuses changes under .github/workflows"
            yield Warn("scopes", without, mend)
        if more := needless(given):
            much = (
                f"the token may do what is never needed ({', '.join(more)}); a fine-grained one for these repositories"
            )
            yield Warn("scopes", f"{much} would be enough", self._other_token(f"gh auth login --hostname {self.host}"))

    def _clock(self, theirs: float, ours: float) -> Good:
        if not theirs:
            return Warn("clock", "GitHub named no time; a proxy may have taken it out", f"{self._look()} -I")
        off = ours - theirs
        if abs(off) <= SKEW:
            return Good("clock", f"within {SKEW:.0f} s of GitHub's")
        mac = platform.system() == "Darwin"
        far = f"this machine is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} GitHub"
        return Fail("clock", far, "sudo sntp -sS time.apple.com" if mac else "sudo timedatectl set-ntp true")

    def _repo(self, api: Api, login: str, ids: dict[int, str]) -> Iterator[Good]:
        """`ids`: what was looked at before, by its id."""
        data = api.transport.get(f"/repos/{api.name}").data
        at = f"{self.host}/{api.name}"
        other = ids.setdefault(int(data["id"]), api.name)
        if other != api.name:
            yield Fail(api.name, same(other), self.change("GITHUB_REPO"))
            return
        if data.get("archived"):
            yield Fail(api.name, "it is archived", f"gh repo unarchive {at} --yes")
        if data.get("disabled"):
            yield Fail(api.name, "GitHub has switched it off; its owner has to settle that", f"gh repo view {at} --web")
        if data.get("has_issues") is False:
            off = "its issues are switched off, so there are reviews and merges alone"
            yield Warn(api.name, off, f"gh repo edit {at} --enable-issues")
        if data.get("has_pull_requests") is False:
            on = f"gh api --hostname {self.host} -X PATCH repos/{api.name} -F has_pull_requests=true"
            yield Fail(api.name, "its pull requests are switched off", on)
        if not (data.get("permissions") or {}).get("push"):
            grant = f"repos/{api.name}/collaborators/{login} -f permission=push"
            only = f"it can be read, but {login} may not push with this token; an administrator can allow it"
            yield Fail(api.name, only, f"gh api --hostname {self.host} -X PUT {grant}")
            return
        yield self._by_git(api.name, str(data["clone_url"]))
        if data["permissions"].get("admin"):
            past = (
                f"{login} is an administrator, whom GitHub may let past the rules of branches; a bot with write will do"
            )
            yield Warn(api.name, past, self._other_token(f"gh auth login --hostname {self.host}"))
        yield from self._branch(api, data)
        yield from self._filters(api.name, self.settings.base_branch or str(data["default_branch"]))
        method = _METHODS[self.settings.merge_method]
        if self.settings.auto_merge_enabled and data.get(f"allow_{method}") is False:
            forbidden = f"it does not allow MERGE_METHOD={self.settings.merge_method}"
            yield Fail(api.name, forbidden, f"gh repo edit {at} --enable-{method.replace('_', '-')}")
        yield self._labels(api)

    def _by_git(self, name: str, url: str) -> Good:
        """Its git host is another one than that of the API, and may be of another mind."""
        try:
            access = Access(url, self.token)
            Mirror(self.settings.worktree_base / name / "mirror.git", access, Identity("", "")).remote_sha(
                "refs/heads/x"
            )
        except (GitError, Missing, Misconfigured, Retry) as error:
            return Fail(name, f"git does not get at it: {error}", f"git ls-remote {shlex.quote(url)}")
        return Good(name, "it can be read and pushed to")

    def _filters(self, name: str, branch: str) -> Iterator[Good]:
        """What the repository's filters mean here, by the mirror as the daemon left it; nothing without a mirror."""
        try:
            mirror = Mirror.reader(self.settings.worktree_base / name / "mirror.git")
            commit = mirror.sha(tracking(f"refs/heads/{branch}"))
            found = filters.used(mirror, commit) if commit else []
        except (OSError, GitError, Retry):
            return  # what ails a mirror, the daemon mends
        for one in found[:_FILTERS]:
            yield filter_used(name, one)
        if (more := len(found) - _FILTERS) > 0:
            yield Good(name, f".gitattributes names {more} more filters that are not run here")

    def _branch(self, api: Api, data: dict[str, Any]) -> Iterator[Good]:
        branch = self.settings.base_branch or str(data["default_branch"])
        if api.branch_sha(branch) is not None:
            return
        if self.settings.base_branch:
            yield Fail(api.name, f"it has no branch {branch}, named by BASE_BRANCH", self.change("BASE_BRANCH"))
        else:
            push = f"git push https://{self.host}/{api.name}.git HEAD:{shlex.quote(branch)}"
            yield Fail(api.name, f"it has no commit on {branch} yet; push one from your checkout", push)

    def _labels(self, api: Api) -> Good:
        settings = self.settings
        wanted = {settings.ready_label: ("0e8a16", "The daemon shall implement it"), **LABELS}
        if settings.review_prs == "label":
            wanted[settings.review_label] = ("1d76db", "The daemon shall review it")
        there = {name.lower() for name in api.label_names()}
        missing = [name for name in wanted if name.lower() not in there]
        if not missing:
            return Good(api.name, f"it has the labels {', '.join(wanted)}")
        lacks = f"lacks the labels {', '.join(missing)}"
        asked = self.labels is Labels.ASK and click.confirm(f"{api.name} {lacks}. Make them?", default=True)
        if self.labels is Labels.TELL or (self.labels is Labels.ASK and not asked):
            return Fail(api.name, f"it {lacks}", "orchestrator doctor --fix-labels")
        for name in missing:
            api.create_label(name, *wanted[name])
        return Good(api.name, f"it has the labels {', '.join(wanted)}; made just now: {', '.join(missing)}")


def filter_used(name: str, one: filters.Filter) -> Good:
    """What this filter means for the daemon's work in the repository `name`."""
    said = f".gitattributes names the filter {one.name[:60]}"
    if one.hides:
        what = (
            f"{said}, which encrypts or hides files and is not run here: agents and commands see these files as they "
            "are stored, and work that writes one is never pushed"
        )
        return Good(name, what)
    if one.name != lfs.NAME:
        draft = "a pull request that writes such a file stays a draft, and says so"
        return Good(name, f"{said}, which is not run here: {draft}")
    if shutil.which("git-lfs"):
        done = "contents are in worktrees, pointers in commits, and objects on GitHub before a push"
        return Good(name, f"{said} (Git LFS, and git-lfs is installed): {done}")
    what = "agents and commands see pointers in the place of contents, and work that writes such a file is not pushed"
    get = "brew install git-lfs" if platform.system() == "Darwin" else f"sudo {install('git-lfs')}"
    return Warn(name, f"{said} (Git LFS), but git-lfs is not installed: {what}", get)
