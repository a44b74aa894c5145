"""What `doctor` says: one finding is one line, and trouble cannot be told without the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from orchestrator.printable import printable


class Level(str, Enum):
    """`WARN` does not stop a run; `FAIL` does."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Good:
    """A check that passed."""

    name: str
    text: str
    level: ClassVar[Level] = Level.PASS

    def __str__(self) -> str:
        return f"{self.level.value}  {self.name:<11} {printable(self.text)}"


@dataclass(frozen=True)
class Warn(Good):
    """A check that did not pass; `mend` is one command for a shell, shown last in the line."""

    mend: str
    level: ClassVar[Level] = Level.WARN

    def __post_init__(self) -> None:
        if not self.mend.strip():
            raise ValueError(f"no command mends {self.text!r}")

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}{'' if said.endswith(('.', '?', '!')) else '.'} Mend: `{printable(self.mend)}`"


@dataclass(frozen=True)
class Fail(Warn):
    """A check that did not pass and without which nothing runs."""

    level: ClassVar[Level] = Level.FAIL
