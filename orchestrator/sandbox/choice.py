"""Which sandbox works on this machine, found out by trying it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import Misconfigured, Missing
from orchestrator.sandbox.bubblewrap import Bubblewrap
from orchestrator.sandbox.seatbelt import Seatbelt
from orchestrator.sandbox.toolchains import existing
from orchestrator.sandbox.walls import OPEN, Sandbox, Walls, homes

_SECONDS = 20.0
_SOME = 20  # entries of the home that are looked for
_ATTEMPT = """
for path; do if [ -e "$path" ]; then echo "$path can be seen"; exit 90; fi; done
if [ -r /proc/net/dev ] && grep -v '^ *lo:' /proc/net/dev | grep -q :; then echo "the network can be seen"; exit 91; fi
if [ -w /usr ]; then echo "/usr can be written to"; exit 92; fi
"""


def choose(kind: str, toolchains: Sequence[Path]) -> Sandbox:
    """The sandbox for `kind`, one of auto, bwrap, seatbelt, off, after a child has proved its walls.

    `toolchains`: more folders that children may read. Missing, with the command that mends it, where none works;
    Misconfigured for a folder that would open a home.
    """
    if kind == "off":
        return OPEN
    if kind == "auto" and sys.platform not in ("linux", "darwin"):
        raise Missing(f"No sandbox is known for {sys.platform}; to run without any, set `SANDBOX=off`")
    sort = Seatbelt if kind == "seatbelt" or (kind == "auto" and sys.platform == "darwin") else Bubblewrap
    try:
        sandbox = sort(tuple(toolchains))
    except ValueError as error:
        raise Misconfigured(f"TOOLCHAIN_PATHS: {error}") from None
    prove(sandbox)
    return sandbox


def prove(sandbox: Sandbox) -> None:
    """Let a child look for what it must not find; Missing when it finds it, or does not start. Nothing for `Open`."""
    if sandbox is OPEN:
        return
    home = Path.home()
    with tempfile.TemporaryDirectory(prefix="orchestrator-", ignore_cleanup_errors=True) as folder:
        env = {"PATH": os.defpath, "HOME": str(home)}
        argv = ["/bin/sh", "-c", _ATTEMPT, "sh", *_private_files(home)]
        argv, env = sandbox.wrap(argv, Path(folder), env, Walls(read=(Path(folder),)))
        try:
            ended = subprocess.run(
                argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Missing(refusal(sandbox.name, str(error), Path("/"))) from error
    if ended.returncode:
        said = (ended.stdout + ended.stderr).decode("utf-8", "replace").strip().splitlines()
        raise Missing(refusal(sandbox.name, said[-1][:300] if said else f"exit code {ended.returncode}", Path("/")))


def _private_files(home: Path) -> list[str]:
    try:
        files = [entry for entry in itertools.islice(home.iterdir(), 200) if entry.is_file()]
    except OSError:
        return []
    return [str(path) for path in existing(files)[:_SOME] if home in homes()]


def refusal(name: str, said: str, root: Path) -> str:
    """The sentence for a sandbox that does not work here; it ends with the command that mends it, by what `root` shows.

    `root` is `/` but for tests.
    """
    begin = f"The {name} sandbox does not work here ({said}), and nothing else holds agents and commands"
    reason, command = _remedy(name, root)
    return f"{begin}: {reason}. SANDBOX=off runs them with all that this account can; else mend it: `{command}`"


def _remedy(name: str, root: Path) -> tuple[str, str]:
    if name == "seatbelt":
        return "sandbox-exec must be able to apply a profile, which it cannot inside another one", "SANDBOX=off"
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        given = " ".join(f"--security-opt {word}" for word in ("seccomp=unconfined", "apparmor=unconfined"))
        return (
            "this is a container, which must be given the right to make namespaces and to mount /proc",
            f"docker run {given} --security-opt systempaths=unconfined ...",
        )
    if _number(root / "proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "AppArmor forbids user namespaces to programs without a profile of their own",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    if _number(root / "proc/sys/kernel/unprivileged_userns_clone") == 0:
        return "the kernel forbids user namespaces", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    return "user namespaces must be allowed", "sudo sysctl -w user.max_user_namespaces=15000"


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
