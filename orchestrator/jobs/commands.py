"""The operator's own commands in a worktree, and the tear-down of one that goes.

Guaranteed: a command has the variables, caches and ports of its worktree, a temporary folder of its own, and the walls.
A worktree in which commands began is torn down before it is taken away or made anew: once where nothing cuts that
off, again where something did. A tear-down that fails is logged and stops nothing.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

from orchestrator import process
from orchestrator.clock import Stop
from orchestrator.errors import Stopped
from orchestrator.git.worktree import Worktree
from orchestrator.instance import instance_id
from orchestrator.log import get
from orchestrator.sandbox import Walls
from orchestrator.settings import Settings
from orchestrator.surroundings import Surroundings


def run_command(
    command: str,
    tree: Worktree,
    told: dict[str, str],
    settings: Settings,
    run_id: str,
    output: Path,
    seconds: float,
    stop: Stop,
) -> process.Ended:
    """Run one command to its end in the worktree, which is `told` these variables."""
    around = Surroundings(tree.path)
    with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as scratch:
        ended = process.shell(
            command,
            cwd=tree.path,
            env=process.clean_env(os.environ, **around.environment(told, settings.passed), TMPDIR=scratch),
            run_id=run_id,
            output=output,
            limits=process.Limits(total=seconds),
            stop=stop,
            sandbox=tree.mirror.sandbox,
            # A command may change its worktree, whose `.git` borrows objects of mirrors.
            walls=Walls((tree.path, around.caches, Path(scratch)), tree.borrows, network=settings.command_network),
        )
    if ended.killed:
        get().warning("command_left_processes", command=command, ended=ended.killed)
    return ended


def new_run(settings: Settings) -> str:
    """A run's id, by which whoever starts this daemon again finds its processes."""
    return f"{instance_id(settings.state_file)}-{uuid.uuid4().hex}"


def new_log(folder: Path, name: str) -> Path:
    """A file in `folder/logs` for the next output, never one that exists."""
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    number = 1
    while (path := logs / f"{name}-{number}.log").exists():
        number += 1
    path.touch(mode=0o600)
    return path


def tear_down(tree: Worktree, settings: Settings, stop: Stop) -> None:
    """Run `TEARDOWN_COMMANDS` where other commands ran, all of them, also after one that fails. Raises Stopped."""
    around = Surroundings(tree.path)
    told = around.to_tear_down
    if told is None:
        return
    commands = settings.teardown_commands
    if commands and not tree.path.is_dir():
        get().warning("not_torn_down", worktree=tree.name, reason="the worktree is gone", commands=list(commands))
        commands = ()
    for command in commands:
        log = new_log(tree.mirror.base, f"{tree.name}-teardown")
        try:
            ended = run_command(command, tree, told, settings, new_run(settings), log, settings.command_timeout, stop)
        except (OSError, ValueError) as error:
            get().warning("teardown_failed", worktree=tree.name, command=command, reason=str(error))
            continue
        if stop.is_set():
            raise Stopped(stop.reason)
        if ended.cause is not process.Cause.EXITED or ended.code != 0:
            how = f"{ended.cause.value}, exit status {ended.code}"
            get().warning("teardown_failed", worktree=tree.name, command=command, reason=how, log=str(log))
    around.torn_down()
