"""`orchestrator demo`: the whole story on a local GitHub, with the real daemon as a process of its own.

Needs git and nothing else; leaves nothing behind. The agent is a scripted stand-in unless the real one is
asked for, and the narration says so.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from orchestrator.errors import Missing
from orchestrator.git.run import version as git_version
from orchestrator.process import clean_env
from orchestrator.sandbox import choose
from orchestrator.twin import Twin

PATIENCE = {"standin": 50.0, "claude": 900.0}  # seconds for the whole story

REPO = "acme/greetings"
TITLE = "Add a greet function with a test"
BODY = "Please add `greet(name)` in `greet.py`: it returns `Hello, NAME!`. Add a test for it."
FILES = {
    "README.md": "# Greetings\n\nA small sample project.\n",
    "check.sh": 'set -e\nfor test in test_*.py; do [ -e "$test" ] || continue; python3 "$test"; done\necho checked\n',
}


class _Story:
    """The narration: one line for each thing that happened, with the seconds since the start."""

    def __init__(self, patience: float, daemon: subprocess.Popen[bytes]) -> None:
        self._start = time.monotonic()
        self._patience = patience
        self._daemon = daemon

    def tell(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._start:5.1f} s  {text}")

    def await_(self, twin: Twin, happened: Callable[[], bool], what: str) -> None:
        """Until it happened, looked at after every exchange of the local GitHub. Missing when time ran out."""
        while not twin.journal.wait_for(happened, 1.0):
            if self._daemon.poll() is not None:
                code = self._daemon.returncode
                raise Missing(f"The daemon ended with exit status {code} while the demo waited for {what}.")
            stuck = [c.body for i in twin.repos[REPO].issues if "needs-human" in i.labels for c in i.comments]
            if stuck:
                raise Missing(f"The daemon gave up before {what}:\n{stuck[-1]}\n")
            if time.monotonic() - self._start > self._patience:
                raise Missing(f"Waited for {what} in vain; the demo took longer than {self._patience:g} s.")


def main(keep: bool, agent: str) -> int:
    """Run the story; 0 when the issue became a merged pull request. `keep`: leave it running to be played with.

    Missing without git.
    """
    git_version()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: everything is ended and removed
    with tempfile.TemporaryDirectory(prefix="orchestrator-demo-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "daemon.log"
        with Twin(Path(folder) / "github", page=100) as twin:
            token, environ = _set_up(twin, Path(folder), agent)
            with _daemon(environ, Path(folder), log) as daemon:
                story = _Story(PATIENCE[agent], daemon)
                try:
                    _tell(twin, story, agent)
                except Missing as error:
                    click.echo(f"{error} The daemon's last words:\n{_end_of(log)}", err=True)
                    return 1
                if keep:
                    _play(twin, token, log)
    click.echo("Everything was stopped and removed. Set it up for a real repository: see the README.")
    return 0


def _set_up(twin: Twin, folder: Path, agent: str) -> tuple[str, dict[str, str]]:
    """A sample repository with a maintainer and the daemon's account; the token and the daemon's environment."""
    repo = twin.repo(REPO, files=FILES)
    twin.user("you", repo, permission="admin")
    token = twin.token(twin.user("robot", repo, permission="write"))
    script = Path(__file__).parent / "agents" / "standin.py"
    standin = shlex.join([sys.executable, str(script)])
    wanted = {
        "GITHUB_REPO": REPO,
        "GITHUB_API_URL": twin.url,
        "GITHUB_TOKEN": token,
        "POLL_INTERVAL": "0.5",
        "REVIEW_DEBOUNCE": "0",
        "CI_SETTLE": "1",
        "WORKTREE_BASE": str(folder / "worktrees"),
        "STATE_FILE": str(folder / "state.json"),
        "PRE_MERGE_COMMANDS": '["sh check.sh"]',
        "LOG_FORMAT": "console",
        "SANDBOX": _sandbox(),
        "TOOLCHAIN_PATHS": json.dumps([str(script.parent)]),
        "XDG_STATE_HOME": str(folder / "state"),
        "CLAUDE_COMMAND": standin if agent == "standin" else os.environ.get("CLAUDE_COMMAND", "claude"),
    }
    own = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL")
    environ = clean_env(os.environ, *own, "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR", "PYTHONPATH")
    return token, {**environ, **wanted}


def _sandbox() -> str:
    """The one that works here; the scripted agent and the sample's own check need none, so that its lack is told."""
    try:
        return choose("auto", ()).name
    except Missing as trouble:
        click.echo(f"Without a sandbox, which a real repository needs: {trouble}")
        return "off"


@contextmanager
def _daemon(environ: dict[str, str], folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon as a process in a folder without a `.env`, ended with the block."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run"], cwd=folder, env=environ, stdout=out, stderr=out
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _tell(twin: Twin, story: _Story, agent: str) -> None:
    repo, you = twin.repos[REPO], twin.users["you"]
    if agent == "standin":
        story.tell("A local GitHub runs. The agent is a scripted stand-in: no model is asked and nothing is spent.")
    else:
        story.tell("A local GitHub runs. The agent is the real Claude Code; it spends real money or quota.")
    issue = you.opens_issue(repo, TITLE, BODY)
    you.labels(issue, "ready")
    story.tell(f'@you labelled issue #{issue.number} "{TITLE}" with `ready`: {issue.url}')
    story.await_(twin, lambda: "in-progress" in issue.labels, "the daemon to take the issue")
    story.tell("The daemon saw it: 👀 on the issue, `ready` became `in-progress`, an agent works in its own worktree.")
    story.await_(twin, lambda: bool(repo.pulls), "the pull request")
    pull = repo.pulls[0]
    opened = int(time.time())
    story.tell(f"Pull request #{pull.number} was opened from `{pull.head_ref}`: {pull.url}")
    story.await_(twin, lambda: bool(pull.reviews), "the review")
    review = pull.reviews[0]
    story.tell(f"It was reviewed at {review.commit_id[:10]}: {len(review.comments)} remark(s) on lines of the diff.")
    # GitHub tells whole seconds: a command in the second of a push cannot be shown to be the later one.
    story.await_(twin, lambda: int(time.time()) > opened, "the next second")
    you.comments(pull, "/merge")
    story.tell("@you commented `/merge`: the merge with the live base is built and `sh check.sh` runs on it.")
    story.await_(twin, lambda: pull.merged, "the merge")
    story.await_(twin, lambda: pull.head_ref not in repo.branches and not issue.open, "the tidying up")
    story.tell(f"Merged as {(pull.merge_sha or '')[:10]}; the branch was deleted and issue #{issue.number} closed.")
    story.tell("git log of main:")
    for line in repo.log("main"):
        click.echo(f"           {line}")


def _play(twin: Twin, token: str, log: Path) -> None:
    """Leave everything running until Ctrl+C."""
    you = twin.token(twin.users["you"])
    call = f"curl -s -H 'Authorization: Bearer {you}'"
    at = f"{twin.url}/repos/{REPO}"
    click.echo(f"\nThe local GitHub stays at {twin.url}; the daemon's log is {log}. Label an issue yourself:")
    click.echo(f'  {call} -X POST {at}/issues -d \'{{"title": "Say hello", "body": "A hello file, please."}}\'')
    click.echo(f'  {call} -X POST {at}/issues/NUMBER/labels -d \'{{"labels": ["ready"]}}\'')
    click.echo(f'  {call} -X POST {at}/issues/NUMBER/comments -d \'{{"body": "/merge"}}\'')
    click.echo("Ctrl+C ends it.")
    never = threading.Event()
    try:
        while not never.wait(1.0):  # a signal that reached another thread wakes this one by no other way
            pass
    except KeyboardInterrupt:
        click.echo("")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
