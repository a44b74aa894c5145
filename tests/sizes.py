"""How much of what is generated or crossed is tried: all of it where `HISTORIES` is set, as in CI; a part elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
ALL = "HISTORIES" in os.environ


def some(cases: Sequence[T], every: int) -> Sequence[T]:
    """All of the cases in CI, and elsewhere the first and each `every`-th after it."""
    return cases if ALL else cases[::every]


def seeds(few: int, many: int) -> range:
    """`many` seeds in CI, elsewhere `few`."""
    return range(many if ALL else few)
