"""Programs that a machine may lack: a test that needs one is not run there, and the end of the run says so.

A test, or a module as its `pytestmark`, is marked `needs("git-lfs")`; a new program gets a line in `PACKAGES`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from orchestrator.sandbox.bubblewrap import install

PACKAGES = {
    "bwrap": "bubblewrap",
    "git-crypt": "git-crypt",
    "git-lfs": "git-lfs",
    "npm": "npm",
    "systemd-analyze": "systemd",
}
OF_LINUX = {"bwrap", "systemd-analyze"}


def why_not(program: str) -> str:
    """Why this machine does not have it; nothing where it does."""
    assert program in PACKAGES, program
    if program in OF_LINUX and sys.platform != "linux":
        return f"{program} is for Linux"
    return "" if shutil.which(program) else f"{program} is not installed"


def needs(program: str) -> pytest.MarkDecorator:
    """The mark of a test that this program is needed for."""
    why = why_not(program)
    return pytest.mark.skipif(bool(why), reason=why or "it is there")


def left_out(reasons: Iterable[str]) -> Iterator[str]:
    """Lines for the end of a run: how many tests were not run for each reason, and one command that mends it."""
    count = Counter(reasons)
    for reason, times in count.most_common():
        yield f"{times} not run: {reason}"
    if packages := [package for program, package in PACKAGES.items() if f"{program} is not installed" in count]:
        yield f"To run them: {_command(' '.join(packages))}"


def _command(packages: str) -> str:
    if sys.platform == "darwin":
        return f"brew install {packages}"
    return install(packages) if os.geteuid() == 0 else f"sudo {install(packages)}"
