"""The README says what the program says of itself."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator import settings
from orchestrator.cli import main

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_settings_table_is_that_of_the_program() -> None:
    found = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, "the README has no section between <!-- settings --> and <!-- /settings -->"
    assert found[1] == settings.table(), "run `make settings`"


def test_every_command_is_named() -> None:
    text = README.read_text(encoding="utf-8")
    for name in main.commands:
        assert f"orchestrator {name}" in text or f"make {name}" in text, name
