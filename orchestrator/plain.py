"""`plain.json`, by which `glance` knows values that are good without a doubt; made from the settings."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from orchestrator.settings import Settings, as_written, bounds


def text() -> str:
    """Of each setting its default as written, its kind, and what it may be; a setting to a line."""
    checked = {name for v in Settings.__pydantic_decorators__.field_validators.values() for name in v.info.fields}
    rows = {name.upper(): _row(field, name in checked) for name, field in Settings.model_fields.items()}
    return "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()) + "\n}\n"


def _row(field: FieldInfo, is_checked: bool) -> dict[str, Any]:
    kind: Any = field.annotation
    named = "checked" if is_checked and kind is not SecretStr else getattr(kind, "__name__", "Literal")
    row = {"default": None if field.is_required() else as_written(field), "kind": named}
    if kind in (int, float):
        row["low"], row["high"] = bounds(field)
    return {**row, "among": get_args(kind)} if get_origin(kind) is Literal else row
