"""The security page promises nothing that no test holds."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_[\w*]+)`", PAGE)))
EXISTING = {
    name for file in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", NAMED)
def test_what_holds_a_promise_exists(name: str) -> None:
    assert fnmatch.filter(EXISTING, name)


def test_every_promise_names_what_holds_it() -> None:
    promises = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith(("| promise", "| ---"))]
    assert len(promises) >= 15
    assert [row for row in promises if "`test_" not in row] == []
