"""The little of JSON Schema that our answers need: what an agent answers is never trusted to have the right shape."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}


def mismatch(value: Any, schema: dict[str, Any], where: str = "the answer") -> str | None:
    """The first thing about `value` that does not fit, as part of a sentence; None when it fits.

    Knows `type` (one or several), `enum`, `minimum`, `required`, `properties` and `items`. Unknown keys of an object
    are a mismatch where the schema says `additionalProperties: false`.
    """
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, _TYPES[name]) for name in types) or isinstance(value, bool):
        return f"{where} is not of type {' or '.join(types)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is none of {', '.join(schema['enum'])}"
    if isinstance(value, int) and value < schema.get("minimum", value):
        return f"{where} is below {schema['minimum']}"
    if isinstance(value, dict):
        return _object_mismatch(value, schema, where)
    if isinstance(value, list):
        parts = (mismatch(item, schema["items"], f"{where}[{place}]") for place, item in enumerate(value))
        return next((part for part in parts if part), None)
    return None


def _object_mismatch(value: dict[str, Any], schema: dict[str, Any], where: str) -> str | None:
    known = schema["properties"]
    if absent := [name for name in schema.get("required", ()) if name not in value]:
        return f"{where} lacks {', '.join(absent)}"
    if schema.get("additionalProperties") is False and not value.keys() <= known.keys():
        return f"{where} has more than {', '.join(known)}"
    parts = (mismatch(value[name], known[name], f"{where}.{name}") for name in known if name in value)
    return next((part for part in parts if part), None)
