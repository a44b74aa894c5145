"""The locked versions for this Python; `python -m tests.locked` says what is installed instead of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.programs import PROGRAMS

ROOT = Path(__file__).resolve().parent.parent
UNLOCKED = {"orchestrator", "pip", "setuptools"}  # ourselves, and what every new environment has


def locked(file: str = "requirements-dev.txt") -> dict[str, str]:
    """The version of each package."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.removesuffix("\\")) for line in lines if "==" in line]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in here}


def others() -> Iterator[str]:
    """One line for each package whose version is not the locked one, and for each program from npm."""
    known = locked()
    installed = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
    for name in sorted(installed.keys() - UNLOCKED):
        if installed[name] != known.get(name):
            yield f"{name} {installed[name]} (locked: {known.get(name, 'not at all')})"
    for program in PROGRAMS:
        if program.version != program.pinned:
            yield f"{program.package} {program.version} (pinned in tests/programs.py: {program.pinned})"


if __name__ == "__main__":
    lines = list(others())
    sys.stdout.write("\n".join(["Not as locked:", *lines] if lines else ["All as locked."]) + "\n")
