"""The table for Markdown, with what it was measured on and by which command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure import Row
from bench.table import HEADS, cells, summary

_MACHINE = ("machine", "python", "git", "file_system", "load_per_core")


def page(
    rows: Sequence[tuple[str, Row]], facts: Mapping[str, Any], date: str, command: str, sentences: Sequence[str]
) -> str:
    """One row per figure; `facts` of the machine, `sentences` about what makes the figures misleading."""
    machine = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in _MACHINE if name in facts)
    lines = [f"`{command}`, {date}: {machine}. {summary(rows)}.", *sentences, ""]
    lines += [_line(HEADS), _line(["---"] * len(HEADS)), *(_line(cells(name, row)) for name, row in rows), ""]
    return "\n".join(lines)


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"
