"""The few settings that the short commands need, many times quicker than `settings.load` and never other than by it.

`plain.json`, which `plain.py` makes from the settings, tells which values are good without a doubt. Where every given
value is one of those, they are taken as they are. Anything else, also what is wrong, is left to `settings.load`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.decide.limits import Limits

PLAIN = Path(__file__).with_name("plain.json")

# Lines of a `.env` that every reader of such files takes the same way.
_LINE = re.compile(r"([A-Za-z_]+)=(?:'([^'\\$#\n]*)'|([^\s'\"`\\$#][^'`\\$#\n]*|))[ \t]*|#.*|[ \t]*")
_NUMBER = re.compile(r"(?:0|[1-9]\d{0,8})(\.\d{1,6})?", re.ASCII)
_REPOS = re.compile(r"[A-Za-z0-9]{1,39}/[A-Za-z0-9_-]{1,100}")
_SECRET = re.compile(r"[!-~]*")
_PATH = re.compile(r"[^~\0\s][^\0]*")


@dataclass(frozen=True)
class Glance:
    """As in `Settings`."""

    state_file: Path
    sandbox: str
    limits: Limits
    secrets: tuple[str, ...]


def load(env_file: Path = Path(".env")) -> Glance:
    """As `settings.load`, with the same errors."""
    rules: dict[str, dict[str, Any]] = json.loads(PLAIN.read_text(encoding="utf-8"))
    given = _given(env_file, rules)
    if given is None or not all(_is_plain(name, value, rules[name]) for name, value in given.items()):
        return _in_full(env_file)
    values = {name: rule["default"] for name, rule in rules.items()} | given
    return Glance(
        state_file=Path(values["STATE_FILE"]).absolute(),
        sandbox=values["SANDBOX"],
        limits=Limits(
            int(values["MAX_RUNS_PER_ACTOR_DAY"]), float(values["DAILY_BUDGET_USD"]), float(values["RUN_BUDGET_USD"])
        ),
        secrets=tuple(values[name] for name, rule in rules.items() if rule["kind"] == "SecretStr" and values[name]),
    )


def _in_full(env_file: Path) -> Glance:
    from orchestrator import settings
    from orchestrator.allowance import limits_of

    found = settings.load(env_file)
    return Glance(found.state_file, found.sandbox, limits_of(found), found.secrets)


def _given(env_file: Path, rules: Mapping[str, Any]) -> dict[str, str] | None:
    """What is set, by name; None where that is not plain, or no repository is named."""
    try:
        Path.cwd()
        text = env_file.read_bytes().decode("ascii") if env_file.exists() else ""
    except (OSError, ValueError):
        return None
    given: dict[str, str] = {}
    for line in text.replace("\r\n", "\n").split("\n"):
        found = _LINE.fullmatch(line)
        if found is None or "\r" in line or (found[1] and found[1] not in rules):
            return None
        if found[1]:
            given[found[1]] = found[3].rstrip() if found[2] is None else found[2]
    given.update({name.upper(): value for name, value in os.environ.items() if name.upper() in rules})
    return given if "GITHUB_REPO" in given else None


def _is_plain(name: str, value: str, rule: Mapping[str, Any]) -> bool:
    if value == rule["default"]:
        return True
    if name == "GITHUB_REPO":
        return bool(_REPOS.fullmatch(value)) and value != "owner/name"
    match rule["kind"]:
        case "Literal":
            return value in rule["among"]
        case "bool":
            return value in ("true", "false")
        case "int" | "float" as kind:
            found = _NUMBER.fullmatch(value)
            is_of_kind = found is not None and (kind == "float" or not found[1])
            return is_of_kind and rule["low"] <= float(value) <= rule["high"]
        case "SecretStr":
            return bool(_SECRET.fullmatch(value))
        case "Path":
            return bool(_PATH.fullmatch(value))
        case "tuple":
            return _are_words(value)
        case kind:
            return bool(kind == "str")


def _are_words(value: str) -> bool:
    try:
        found = json.loads(value)
    except ValueError:
        return False
    return isinstance(found, list) and all(isinstance(w, str) and w.strip() and "\0" not in w for w in found)
