"""The commands. Each imports what it needs when it runs, so that `--help` is quick.

Exit codes: 0 good, 1 some work failed, 2 bad usage or settings, 3 a needed thing is missing or in use.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import __version__
from orchestrator.errors import Misconfigured, Missing

if TYPE_CHECKING:
    from orchestrator import salvaged
    from orchestrator.glance import Glance
    from orchestrator.record import Job
    from orchestrator.state import Saved


class _Told(click.ClickException):
    """A sentence on stderr and exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        from orchestrator.printable import printable
        from orchestrator.redactor import OURS

        click.echo(printable(OURS.text(self.format_message()), keep="\n"), err=True)


class _Lacking(_Told):
    """A sentence on stderr and exit code 3."""

    exit_code = 3


class _Commands(click.Group):
    """The one place that turns trouble of the operator's kind into an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Misconfigured as trouble:
            raise _Told(str(trouble)) from trouble
        except Missing as trouble:
            raise _Lacking(str(trouble)) from trouble


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="orchestrator")
def main() -> None:
    """Turns GitHub issues, pull requests and /merge comments into finished work.

    Settings come from the environment and from .env in the current folder.
    """


@main.command()
@click.option("--once", is_flag=True, help="Poll once, wait for the jobs that this starts, and exit.")
@click.option("--verbose", is_flag=True, help="Also log what is done in detail.")
def run(once: bool, verbose: bool) -> None:
    """Run the daemon."""
    from orchestrator import credentials, log, settings
    from orchestrator.redactor import OURS

    os.umask(0o077)  # what it writes quotes anything; children make their files the same way
    found = settings.load()
    token = credentials.github_token(found)
    OURS.know((token, *found.secrets), os.environ)
    log.configure(found.log_format, verbose)
    log.catch_all()

    from orchestrator import serve

    code = serve.main(found, token, once)
    log.let_go()
    sys.exit(code)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="The whole state as one JSON document.")
def status(as_json: bool) -> None:
    """Show what needs you, runs, waits, is done."""
    import json
    import shutil

    from orchestrator import status as page
    from orchestrator.redactor import OURS

    settings, saved = _memory()
    limits = settings.limits
    if as_json:
        click.echo(json.dumps(OURS.every(page.document(saved, time.time(), limits, settings.sandbox)), indent=2))
    else:
        width = max(60, min(120, shutil.get_terminal_size().columns))
        click.echo(OURS.text(page.text(saved, time.time(), limits, width, settings.sandbox)))


@main.command()
@click.option("--no-probe", is_flag=True, help="Do not let the agent take a real turn.")
@click.option("--fix-labels", is_flag=True, help="Make missing labels without asking.")
def doctor(no_probe: bool, fix_labels: bool) -> None:
    """Check what a run needs; say how to mend it."""
    import io

    from orchestrator import doctor as ward
    from orchestrator import log

    log.configure(stream=io.StringIO())  # what there is to say is a finding
    if fix_labels:
        labels = ward.Labels.MAKE
    else:
        labels = ward.Labels.ASK if sys.stdin.isatty() and sys.stdout.isatty() else ward.Labels.TELL
    sys.exit(ward.main(labels, probe=not no_probe))


@main.command()
@click.argument("item", metavar="N")
def retry(item: str) -> None:
    """Wake an item that is parked or waits.

    N is its number, or owner/repo#number where several repositories are watched.
    """
    from orchestrator import state
    from orchestrator.record import Status

    settings, saved = _memory()
    jobs = _jobs(saved, item)
    asleep = [job for job in jobs if job.status in (Status.PARKED, Status.WAITING)]
    if not asleep:
        click.echo(f"Nothing to wake: {', '.join(f'{job.key} is {job.status.value}' for job in jobs)}.")
    for job in asleep:
        click.echo(state.ask(settings.state_file, "retry", job.key))


@main.command()
@click.argument("item", metavar="N")
def clear(item: str) -> None:
    """Forget an item, so that it can start afresh.

    N is its number, or owner/repo#number where several repositories are watched.
    """
    from orchestrator import state

    settings, saved = _memory()
    for job in _jobs(saved, item):
        click.echo(state.ask(settings.state_file, "clear", job.key))


@main.command()
@click.argument("item", metavar="N")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends or Ctrl+C.")
@click.option("--raw", is_flag=True, help="The stream as the agent wrote it.")
def logs(item: str, follow: bool, raw: bool) -> None:
    """Show the newest agent run of an item.

    N is its number, or owner/repo#number where several repositories are watched.
    """
    from orchestrator import state, transcript
    from orchestrator.clock import Stop
    from orchestrator.record import Status
    from orchestrator.redactor import OURS

    settings, saved = _memory()
    recorded = [job for job in _jobs(saved, item) if job.log]
    if not recorded:
        raise Missing(f"No run of {item} has been recorded yet; see `orchestrator status`.")
    newest = max(recorded, key=lambda job: (job.status is Status.RUNNING, job.updated_at))

    def runs() -> bool:
        now = state.read(settings.state_file)
        return follow and now.holder is not None and newest.run_id in _running(now)

    reader = transcript.Reader()
    if not raw:
        click.echo(transcript.header(newest), err=True)
    quiet = True
    try:
        for line in transcript.lines(Path(newest.log), runs, Stop().wait):
            shown = None if raw else reader.readable(line)
            if shown:
                click.echo(OURS.text(shown).encode("utf-8", "backslashreplace"))
                quiet = False
            elif raw:
                click.echo(OURS.octets(line), nl=False)
    except KeyboardInterrupt:
        return
    except FileNotFoundError as error:
        raise Missing(f"The log {newest.log} is gone.") from error
    if quiet and not raw:
        click.echo(transcript.silence(Path(newest.log), newest.run_id in _running(saved)), err=True)


@main.group()
def salvage() -> None:
    """Show and get back work that was saved.

    Commits and files that an agent left are saved in the daemon's own clone before its worktree goes.
    """


@salvage.command("list")
@click.argument("item", metavar="[N]", required=False)
def salvage_list(item: str | None) -> None:
    """Show what was saved, of item N or of all.

    N is its number, or owner/repo#number where several repositories are watched.
    """
    from orchestrator import salvaged

    click.echo(salvaged.table(_saved_work(item)))


@salvage.command("show")
@click.argument("what")
def salvage_show(what: str) -> None:
    """Show its commits and what they change."""
    from orchestrator import salvaged

    click.echo(salvaged.text(salvaged.pick(_saved_work(), what)))


@salvage.command("restore")
@click.argument("what")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="A folder that is not there yet.")
def salvage_restore(what: str, folder: Path) -> None:
    """Write its files into a new folder."""
    from orchestrator import salvaged
    from orchestrator.printable import printable

    pointers = salvaged.restore(salvaged.pick(_saved_work(), what), folder)
    click.echo(f"{what}: its files are in {folder.absolute()}.")
    if pointers:
        one = printable(pointers[0])
        click.echo(
            f"In {len(pointers)} of them, {one} for one, stands the pointer of a Git LFS object that is not here; in a "
            "clone with this commit `git lfs pull` brings those that GitHub has."
        )


@main.command()
@click.option("--keep", is_flag=True, help="Leave everything running to be played with, until Ctrl+C.")
@click.option("--agent", type=click.Choice(["standin", "claude"]), default="standin", show_default=True)
def demo(keep: bool, agent: str) -> None:
    """Show the whole story on a local GitHub.

    No account is needed. The agent is a scripted stand-in unless --agent claude asks for the real one.
    """
    from orchestrator import demo as story

    sys.exit(story.main(keep, agent))


def _saved_work(item: str | None = None) -> list[salvaged.Saved]:
    from orchestrator import salvaged, settings

    found = settings.load()
    return salvaged.find(found.worktree_base, found.repos, item)


def _memory() -> tuple[Glance, Saved]:
    from orchestrator import glance, state
    from orchestrator.redactor import OURS

    found = glance.load()
    OURS.know(found.secrets, os.environ)
    return found, state.read(found.state_file)


def _jobs(saved: Saved, item: str) -> list[Job]:
    from orchestrator import items

    try:
        return items.find(saved.jobs, item)
    except LookupError as error:
        raise _Told(str(error.args[0])) from error


def _running(saved: Saved) -> set[str]:
    from orchestrator.record import Status

    return {job.run_id for job in saved.jobs if job.status is Status.RUNNING}
