"""What is installed from a wheel works without the checkout, and `make` explains what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from orchestrator import __version__

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (
    "prompts/implement.md",
    "prompts/review.md",
    "systemd/orchestrator.service",
    "systemd/com.orchestrator.daemon.plist",
)


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GITHUB_"))}
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def good(*argv: str | Path, cwd: Path) -> str:
    done = run(*argv, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    good(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_of_the_workshop(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"orchestrator/shipped/{name}" for name in SHIPPED} <= set(names)
    tops = {name.split("/")[0] for name in names}
    assert tops == {"orchestrator", f"orchestrator-{__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_an_installed_wheel_finds_everything_it_needs(wheel: Path, tmp_path: Path) -> None:
    good(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    # The dependencies come from this environment: as a plain path, so that an editable install there stays unseen.
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    good(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel,
         cwd=tmp_path)  # fmt: skip
    command = tmp_path / "venv" / "bin" / "orchestrator"
    assert good(command, "--version", cwd=tmp_path) == f"orchestrator, version {__version__}"
    assert good(python, "-m", "orchestrator", "--version", cwd=tmp_path) == f"orchestrator, version {__version__}"
    script = "import sys; from orchestrator.shipped import shipped; print(*map(shipped, sys.argv[1:]), sep='\\n')"
    for name, path in zip(SHIPPED, good(python, "-c", script, *SHIPPED, cwd=tmp_path).splitlines(), strict=True):
        assert Path(path).is_relative_to(tmp_path)
        assert Path(path).read_bytes() == (ROOT / name).read_bytes()
    missing = run(command, "status", cwd=tmp_path)
    assert (missing.returncode, missing.stderr.split()[0]) == (2, "GITHUB_REPO")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('[ "$1" = --version ] && echo "Python 3.9.2"; exit 1', "Python 3.9.2 is too old: this needs Python 3.10"),
        ('[ "$1" = -c ]', "cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"),
        (None, "was not found: install Python 3.10 or newer"),
    ],
)
def test_make_says_in_one_sentence_what_is_wrong_with_python(tmp_path: Path, script: str | None, said: str) -> None:
    python = tmp_path / "python3"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    done = run("make", "--no-print-directory", "demo", f"PYTHON={python}", f"VENV={tmp_path}/venv", cwd=ROOT)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "venv").exists()
