"""Reads a GraphQL request as far as the twin answers it: which fields are asked for, under which names.

Named fragments and directives are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r'\.\.\.|"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|\w+|[{}()\[\]:$!=]|(?P<other>[^\s,])')
_COMMENT = re.compile(r"#[^\n]*")


class Unreadable(Exception):
    """The text is no request, or one with more than is read here."""


@dataclass(frozen=True)
class Field:
    """`name` as the schema has it, `key` as the answer shall have it; `on`: for this type alone."""

    name: str
    key: str
    arguments: Mapping[str, Any]
    fields: tuple[Field, ...]
    on: str = ""  # the type of the fragment that it stands in


@dataclass(frozen=True)
class Operation:
    """`kind`: query or mutation."""

    kind: str
    fields: tuple[Field, ...]


def read(text: str, variables: Mapping[str, Any]) -> Operation:
    """The one operation of a request. Unreadable."""
    reader = _Reader(text, variables)
    try:
        return reader.operation()
    except IndexError as error:
        raise Unreadable("the request ends too early") from error


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._tokens: list[str] = []
        for found in _TOKEN.finditer(_COMMENT.sub("", text)):
            if found["other"]:
                raise Unreadable(f"unexpected {found[0]!r}")
            self._tokens.append(found[0])

    def operation(self) -> Operation:
        kind = "query" if self._tokens[0] == "{" else self._take()
        if kind not in ("query", "mutation"):
            raise Unreadable(f"a {kind} is not read")
        while self._tokens[0] != "{":
            if self._take() == "(":
                while self._take() != ")":
                    pass
        fields = self._selection()
        if self._tokens:
            raise Unreadable(f"unexpected {self._tokens[0]!r} after the operation")
        return Operation(kind, fields)

    def _take(self, wanted: str | None = None) -> str:
        token = self._tokens.pop(0)
        if wanted not in (None, token):
            raise Unreadable(f"expected {wanted!r}, found {token!r}")
        return token

    def _next_is(self, token: str) -> bool:
        if self._tokens[0] != token:
            return False
        self._take()
        return True

    def _selection(self, on: str = "") -> tuple[Field, ...]:
        self._take("{")
        fields: list[Field] = []
        while not self._next_is("}"):
            if self._next_is("..."):
                fields += self._selection(self._take() if self._next_is("on") else on)
            else:
                fields.append(self._field(on))
        return tuple(fields)

    def _field(self, on: str) -> Field:
        key = name = self._take()
        if self._next_is(":"):
            name = self._take()
        arguments = self._arguments(")") if self._next_is("(") else {}
        return Field(name, key, arguments, self._selection() if self._tokens[0] == "{" else (), on)

    def _arguments(self, end: str) -> dict[str, Any]:
        found = {}
        while not self._next_is(end):
            name = self._take()
            self._take(":")
            found[name] = self._value()
        return found

    def _value(self) -> Any:
        token = self._take()
        if token == "$":
            return self._variables.get(self._take())
        if token == "{":
            return self._arguments("}")
        if token == "[":
            items = []
            while not self._next_is("]"):
                items.append(self._value())
            return items
        if token[0] in '"-' or token.isdigit() or token in ("true", "false", "null"):
            return json.loads(token)
        return token
