"""Which files steer tools or people: patterns as in `.gitignore`, held against git itself."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from orchestrator.decide.protected import protected
from orchestrator.settings import PROTECTED

PATTERNS = ["a", "/a", "a/b", "*.md", "**/a", "a/**", "a/**/b", "?", "[ab]", "[!ab]x", "[^ab]x", "b*/c", "/*.md"]
PATTERNS += ["\\!a", "a*", "doc/*.txt", "[a-c].md", "x\\*y", "doc/", "b/c/", "***", "[]x]", "a/*", "*/b"]
PATHS = ["a", "a/b", "b/a", "a/b/c", "c/a/b", "x.md", "d/x.md", "b", "ax", "cx", "bb/c", "b/c/d", "!a", "doc/a.txt"]
PATHS += ["doc/d/a.txt", "a/x/b", "a/x/y/b", "b.md", "x*y", "xzy", "]", "x", "d/doc/e"]


def test_git_says_the_same(tmp_path: Path) -> None:
    rnd = random.Random(11)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    ignored = ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"]
    for _ in range(60):
        patterns = rnd.sample(PATTERNS, rnd.randint(1, 3))
        (tmp_path / ".gitignore").write_text("\n".join(patterns) + "\n")
        said = subprocess.run(ignored, input="\0".join(PATHS).encode(), capture_output=True).stdout
        assert protected(PATHS, patterns) == tuple(sorted(said.decode().split("\0")[:-1])), patterns


@pytest.mark.parametrize(
    "path",
    [
        *(".github/workflows/ci.yml", ".GitHub/x", "sub/.claude/settings.json", "deep/er/claude.MD", ".claude"),
        *("docs/CODEOWNERS", "lib/.gitattributes", "pkg/tests/conftest.py", "pkg/package.json", ".cla\u200bude/x"),
        *("Makefile", ".env", ".husky/pre-commit", ".gitmodules", "crates/a/build.rs", ".circleci/config.yml"),
    ],
)
def test_what_steers_is_protected_at_any_depth_and_in_any_case(path: str) -> None:
    assert protected([path, "src/app.py"], PROTECTED) == (path,)


def test_the_last_pattern_that_fits_decides() -> None:
    patterns = (".github/", "!.github/ISSUE_TEMPLATE/", "secret.md")
    paths = [".github/workflows/a.yml", ".github/ISSUE_TEMPLATE/bug.md", ".github/ISSUE_TEMPLATE/secret.md"]
    assert protected(paths, patterns) == (".github/ISSUE_TEMPLATE/secret.md", ".github/workflows/a.yml")


def test_a_pattern_that_means_nothing_means_its_letters() -> None:
    assert protected(["[z-a]", "z", "b"], ["[z-a]"]) == ("[z-a]",)
    assert protected(["a", "b"], []) == ()
