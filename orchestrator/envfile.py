"""What is wrong with a `.env` file that python-dotenv would let pass in silence."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from orchestrator.errors import Misconfigured


def values(file: Path) -> dict[str, str]:
    """The file's settings as written, names in capitals; none when there is no file."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8") as stream:
        return {b.key.upper(): b.value or "" for b in parse_stream(stream) if b.key}


@dataclass(frozen=True)
class Problem:
    """A sentence about one line; `key`: the setting in capitals whose value cannot be right because of it."""

    sentence: str
    key: str = ""


def problems(file: Path, known: Collection[str], passing: Collection[str] = ()) -> Iterator[Problem]:
    """Each trouble: an unknown name, a line of another form, a variable that is not set.

    Known are the names of `known` in capitals, and those of `passing` as they are.
    Misconfigured when the file cannot be read at all.
    """
    if not file.exists():
        return
    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}.") from error
    seen = set(os.environ)
    for binding in bindings:
        # A binding's text begins with the blank lines before it.
        skipped = len(binding.original.string) - len(binding.original.string.lstrip("\r\n"))
        where = f"{file}, line {binding.original.line + skipped}"
        if binding.error or (binding.key and binding.value is None):
            yield Problem(f"{where}: not of the form NAME=value.")
        elif binding.key and binding.key.upper() not in known and binding.key not in passing:
            near = difflib.get_close_matches(binding.key.upper(), known, n=1)
            meant = f" Did you mean {near[0]}?" if near else " `.env.example` lists the settings."
            yield Problem(f"{where}: there is no setting {binding.key}.{meant}")
        elif binding.key:
            for atom in parse_variables(binding.value or ""):
                if isinstance(atom, Variable) and atom.default is None and atom.name not in seen:
                    unset = f"{where}: {binding.key} uses ${{{atom.name}}}, which is not set."
                    yield Problem(unset, binding.key.upper())
            seen.add(binding.key)
