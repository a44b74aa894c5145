"""What the project is tested with is locked: one version of every package, with its hashes."""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import programs
from tests.locked import ROOT, locked, others

FILES = ("requirements.txt", "requirements-dev.txt")


class Installed(NamedTuple):
    name: str
    version: str


def pins(file: str) -> dict[str, list[str]]:
    """Each pinned requirement, such as `idna==3.10 ; python_version > "3"`, with its hashes."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / file).read_text(), flags=re.MULTILINE)
    entries = [entry.split("--hash=") for entry in text.replace("\\\n", "").splitlines()]
    return {pin.strip(): [one.strip() for one in hashes] for pin, *hashes in entries}


@pytest.mark.parametrize("file", FILES)
def test_every_line_is_one_version_with_its_hashes(file: str) -> None:
    for pin, hashes in pins(file).items():
        assert re.fullmatch(r"[a-z0-9.-]+==[^ *]+( ; .+)?", pin), pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), pin


def test_the_demo_runs_with_what_the_tests_run_with() -> None:
    run, dev = (pins(file) for file in FILES)
    assert run.items() < dev.items()


@pytest.mark.parametrize(("file", "extra"), [("requirements.txt", ""), ("requirements-dev.txt", "dev")])
def test_what_the_project_names_is_locked_within_its_bounds(file: str, extra: str) -> None:
    versions = locked(file)
    named = [Requirement(line) for line in metadata.requires("orchestrator") or ()]
    wanted = [one for one in named if one.marker is None or one.marker.evaluate({"extra": extra})]
    assert len(wanted) > 5
    wrong = [
        str(one)
        for one in wanted
        if (version := versions.get(canonicalize_name(one.name))) is None or not one.specifier.contains(version)
    ]
    assert wrong == [], "run `make lock`"


def test_what_is_not_as_locked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distributions", lambda: [Installed("PyTest", "0.1"), Installed("Some_Thing", "2")])
    monkeypatch.setattr(programs.Program, "version", "9.9")
    assert list(others()) == [
        f"pytest 0.1 (locked: {locked()['pytest']})",
        "some-thing 2 (locked: not at all)",
        *(f"{one.package} 9.9 (pinned in tests/programs.py: {one.pinned})" for one in programs.PROGRAMS),
    ]
