"""GitHub's 13 MB OpenAPI file, converted once to JSON Schema 2020-12 and kept so that one operation is cheap to read.

The index holds every operation and every component as its own JSON text: a test process reads the file in
milliseconds and parses only what its requests use.
"""

from __future__ import annotations

import functools
import json
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import programs

KEPT = {"type", "format", "pattern", "items", "allOf", "anyOf", "oneOf", "not", "additionalProperties"}
KEPT |= {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"}
COMBINING = frozenset({"allOf", "anyOf", "oneOf"})
METHODS = frozenset({"get", "post", "put", "patch", "delete", "head"})
REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


@dataclass(frozen=True)
class Index:
    """`operations`: "GET /template" to JSON text; `spanning`: the path parameters that may hold slashes."""

    operations: dict[str, str]
    components: dict[str, str]
    spanning: dict[str, tuple[str, ...]]


@functools.cache
def load() -> Index:
    """Read the index, made anew when this recipe changed."""
    source = programs.openapi()
    recipe = zlib.crc32(Path(__file__).read_bytes())
    kept = source.with_name(f"index-{recipe:08x}.json")
    if not kept.exists():
        for old in source.parent.glob("index-*.json"):
            if old != kept:  # another process may just have finished it
                old.unlink(missing_ok=True)
        partial = kept.with_name(f"{os.getpid()}.partial")
        partial.write_text(json.dumps(_build(json.loads(source.read_text()))))
        partial.rename(kept)
    raw = json.loads(kept.read_text())
    spanning = {key: tuple(names) for key, names in raw["spanning"].items()}
    return Index(raw["operations"], raw["components"], spanning)


def reachable(schema: Any) -> dict[str, Any]:
    """The converted components that `schema` refers to, directly or through others."""
    components = load().components
    found: dict[str, Any] = {}
    waiting = REFERENCE.findall(json.dumps(schema))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = json.loads(components[name])
            waiting += REFERENCE.findall(components[name])
    return found


def convert(schema: Any) -> Any:
    """An OpenAPI 3.0 schema as JSON Schema: annotations go, `nullable` becomes a type.

    GitHub puts `nullable` beside enum, allOf or no type at all, where a strict reader of 3.0 refuses the null.
    """
    if isinstance(schema, list):
        return [convert(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"]}
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: convert(part) for name, part in value.items()}
        elif key in ("enum", "required"):
            out[key] = value
        elif key in KEPT:
            out[key] = convert(value)
    return _or_null(out) if schema.get("nullable") else out


def strict(schema: Any, *, closed: bool = True) -> Any:
    """A converted schema that refuses properties it does not name.

    The members of allOf, anyOf and oneOf stay open themselves: what counts as named is known only around them.
    """
    if isinstance(schema, list):
        return [strict(part, closed=closed) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    if "properties" in schema:
        out["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
    if "items" in schema:
        out["items"] = strict(schema["items"])
    for key in COMBINING & schema.keys():
        out[key] = strict(schema[key], closed=False)
    if closed and _names_properties(schema) and "additionalProperties" not in schema:
        out["unevaluatedProperties"] = False
    return out


def _names_properties(schema: dict[str, Any]) -> bool:
    parts = [part for key in COMBINING & schema.keys() for part in schema[key]]
    return "properties" in schema or "$ref" in schema or any(_names_properties(part) for part in parts)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" not in schema or COMBINING & schema.keys():
        return {"anyOf": [schema, {"type": "null"}]}
    out = {**schema, "type": [schema["type"], "null"]}
    if None not in out.get("enum", [None]):
        out["enum"] = [*out["enum"], None]
    return out


def _build(document: dict[str, Any]) -> dict[str, Any]:
    operations: dict[str, str] = {}
    spanning: dict[str, list[str]] = {}
    for template, methods in document["paths"].items():
        for method in METHODS & methods.keys():
            key = f"{method.upper()} {template}"
            operations[key] = json.dumps(_operation(document, methods[method]))
            parameters = _resolved(document, methods[method].get("parameters", []))
            if names := [one["name"] for one in parameters if one.get("x-multi-segment")]:
                spanning[key] = names
    schemas = document["components"]["schemas"]
    components = {name: json.dumps(convert(schema)) for name, schema in schemas.items()}
    return {"operations": operations, "components": components, "spanning": spanning}


def _operation(document: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"path": {}, "query": {}, "body": None, "responses": {}}
    for one in _resolved(document, described.get("parameters", [])):
        if one["in"] in ("path", "query"):
            parameter = {"schema": convert(one["schema"]), "required": one.get("required", False)}
            out[one["in"]][one["name"]] = parameter
    if body := described.get("requestBody"):
        schema = body["content"].get("application/json", {}).get("schema", {})
        out["body"] = {"schema": strict(convert(schema)), "required": body.get("required", False)}
    for status, response in described["responses"].items():
        content = _resolved(document, [response])[0].get("content", {})
        schema = content.get("application/json", {}).get("schema")
        out["responses"][status] = None if schema is None else convert(schema)
    return out


def _resolved(document: dict[str, Any], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parameters and responses with their references followed (only schemas keep theirs)."""
    out = []
    for part in parts:
        reference = part.get("$ref")
        if reference is None:
            out.append(part)
        else:
            _, _, kind, name = reference.split("/")
            out.append(document["components"][kind][name])
    return out
