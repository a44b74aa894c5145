"""The table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.goals import GOALS
from bench.measure import Row, Spread

HEADS = ("scenario", "what", "ours", "floor", "figure", "goal", "")


def verdict(row: Row) -> str:
    """`met`, `missed`, or nothing where nothing is wanted."""
    goal = GOALS[row.goal]
    if not goal.is_wish:
        return ""
    return "met" if goal.met(row.figure) else "MISSED"


def cells(name: str, row: Row) -> tuple[str, ...]:
    """One row as text; `name` is the scenario's."""
    number = f"{GOALS[row.goal].scenario} {name}"
    ours, floor = amount(row.ours, row.unit), amount(row.floor, row.unit)
    return (number, row.what, ours, floor, row.shown, GOALS[row.goal].words, verdict(row))


def amount(found: Spread | None, unit: str) -> str:
    """A median with its unit, in three digits; a dash for none."""
    return "-" if found is None else f"{_digits(found.median)} {unit}".strip()


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: Sequence[tuple[str, Row]]) -> str:
    """All rows in columns as wide as they need to be."""
    lines = [HEADS, *(cells(name, row) for name, row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths).rstrip())
    return "\n".join(text)


def summary(rows: Sequence[tuple[str, Row]]) -> str:
    """How many goals are met, in one line."""
    words = [verdict(row) for _, row in rows]
    return f"{words.count('met')} goals met, {words.count('MISSED')} missed"
