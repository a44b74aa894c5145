"""Does one exchange with the local GitHub look as GitHub publishes it?

`check` compares request and response with GitHub's OpenAPI description and GraphQL schema, and answers with one
sentence per difference. What GitHub does everywhere without listing it is allowed: 304 on GET; 401, 403, 404, 429, 451
and 5xx anywhere, 410 for issues; `/repositories/{id}/...` for `/repos/{owner}/{repo}/...`.

Validators are compiled per operation with only the components that it reaches: all of GitHub's take over a gigabyte.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

import jsonschema_rs

from tests import openapi_index, programs
from tests.graphql_conformance import check_graphql

ANYWHERE = frozenset({401, 403, 404, 429, 451})
# GitHub says so of creating alone that issues may be switched off.
MAY_BE_OFF = re.compile(r"\w+ /repos/\{owner\}/\{repo\}/issues\b.*")
# GitHub answers null for a deleted fork, a deleted account and a missing description, though it does not publish that.
NULL_ANYWAY = re.compile(r"head/repo|labels/\d+/description|actor|user")


class Exchange(Protocol):
    """What is read of a journal entry; keys of `headers` are lower-case, `path` carries no query."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> Any: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def answer(self) -> Any: ...
    @property
    def git(self) -> bool: ...


@functools.cache
def _is_published_here() -> bool:
    """Without npm nothing is compared; the tests of the comparison are then among those that are not run."""
    return not any(map(programs.why_not, (programs.OPENAPI, programs.GRAPHQL)))


def check(exchange: Exchange) -> list[str]:
    """One sentence per difference from what GitHub publishes; none: the exchange conforms, as far as can be told."""
    if exchange.git or not _is_published_here():
        return []
    where = f"{exchange.method} {exchange.path}"
    if exchange.path == "/graphql":
        found = check_graphql(exchange.method, exchange.body, exchange.status, exchange.answer)
        return [f"{where}: {problem}" for problem in found]
    match = _match(exchange.method, exchange.path)
    if match is None:
        return [f"{where}: GitHub has no such operation"]
    operation, arguments = match
    problems = [
        *_path_problems(operation, arguments),
        *_query_problems(operation, exchange.query),
        *_body_problems(operation, exchange),
        *_response_problems(operation, exchange),
    ]
    return [f"{where}: {problem}" for problem in problems]


@functools.cache
def _spec(key: str) -> Any:
    return json.loads(openapi_index.load().operations[key])


@functools.cache
def _validator(key: str, *steps: str) -> jsonschema_rs.Draft202012Validator:
    """Of the schema that lies at `steps` in the operation's description."""
    schema = functools.reduce(lambda part, step: part[step], steps, _spec(key))
    components = {"schemas": openapi_index.reachable(schema)}
    return jsonschema_rs.Draft202012Validator({"allOf": [schema], "components": components}, validate_formats=True)


@functools.cache
def _match(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    path = re.sub(r"^/repositories/\d+(?=/|$)", "/repos/owner/repo", path)
    for pattern, template in _router(method):
        if found := pattern.fullmatch(path):
            names = re.findall(r"\{(.+?)\}", template)
            return f"{method} {template}", dict(zip(names, map(unquote, found.groups()), strict=True))
    return None


@functools.cache
def _router(method: str) -> list[tuple[re.Pattern[str], str]]:
    """Literal segments win over parameters; a longer template wins over a parameter that may hold slashes."""
    index = openapi_index.load()
    templates = [key.removeprefix(f"{method} ") for key in index.operations if key.startswith(f"{method} ")]
    templates.sort(key=lambda template: [*(("{" in part, part) for part in template.split("/")), (True, "~")])
    return [(_pattern(template, index.spanning.get(f"{method} {template}", ())), template) for template in templates]


def _pattern(template: str, spanning: tuple[str, ...]) -> re.Pattern[str]:
    def piece(part: str) -> str:
        if not part.startswith("{"):
            return re.escape(part)
        return "(.+)" if part[1:-1] in spanning else "([^/]+)"

    return re.compile("".join(piece(part) for part in re.split(r"(\{.+?\})", template)))


def _path_problems(operation: str, arguments: Mapping[str, str]) -> Iterator[str]:
    for name, value in arguments.items():
        if not _readable(_validator(operation, "path", name, "schema"), value):
            yield f"path parameter {name} does not take {value!r}"


def _query_problems(operation: str, query: Mapping[str, str]) -> Iterator[str]:
    known = _spec(operation)["query"]
    for name, value in query.items():
        if name not in known:
            yield f"unknown query parameter {name!r}"
        elif not _readable(_validator(operation, "query", name, "schema"), value):
            yield f"query parameter {name} does not take {value!r}"
    for name, parameter in known.items():
        if parameter["required"] and name not in query:
            yield f"query parameter {name} is required"


def _readable(validator: jsonschema_rs.Draft202012Validator, text: str) -> bool:
    """Whether some reading of a text parameter fits its schema."""
    readings: list[Any] = [text, text.split(",")]
    if re.fullmatch(r"-?\d+", text):
        readings.append(int(text))
    if text in ("true", "false"):
        readings.append(text == "true")
    return any(validator.is_valid(reading) for reading in readings)


def _body_problems(operation: str, exchange: Exchange) -> Iterator[str]:
    body = _spec(operation)["body"]
    if exchange.body is None:
        # The faulty request itself may be what a test is about: then GitHub's refusal is the right answer.
        if body and body["required"] and exchange.status < 400:
            yield "the request needs a body"
    elif not body:
        yield "the operation takes no request body"
    else:
        yield from _differences("request", _validator(operation, "body", "schema"), exchange.body)


def _response_problems(operation: str, exchange: Exchange) -> Iterator[str]:
    if exchange.status == 0:  # the connection was dropped
        return
    responses = _spec(operation)["responses"]
    status = str(exchange.status)
    if status not in responses:
        unlisted = exchange.status in ANYWHERE or exchange.status >= 500
        unlisted = unlisted or (exchange.status == 410 and MAY_BE_OFF.fullmatch(operation) is not None)
        if not unlisted and not (exchange.status == 304 and exchange.method == "GET"):
            yield f"status {status} is not documented (known: {', '.join(sorted(responses))})"
        return
    if exchange.status == 304:
        return
    if "json" not in exchange.headers.get("content-type", "json"):
        return
    if responses[status] is None:
        # A refusal carries GitHub's sentence also where the description names no body (422 of a deleted ref).
        if exchange.answer is not None and exchange.status < 400:
            yield f"status {status} carries no body"
    else:
        yield from _differences("response", _validator(operation, "responses", status), exchange.answer)


def _differences(side: str, validator: jsonschema_rs.Draft202012Validator, value: Any) -> Iterator[str]:
    for error in _innermost(validator.iter_errors(value)):
        at = "/".join(str(step) for step in error.instance_path)
        if side == "response" and error.instance is None and NULL_ANYWAY.fullmatch(at.lstrip("0123456789/")):
            continue
        yield f"{side} at /{at}: {error.message[:300]}"


def _innermost(errors: Iterable[jsonschema_rs.ValidationError]) -> Iterator[jsonschema_rs.ValidationError]:
    """Errors as they are, but for "none of the alternatives fits": there those of the nearest alternative."""
    for error in errors:
        branches: list[list[jsonschema_rs.ValidationError]] = getattr(error.kind, "context", [])
        if branches:
            nearest = min(branches, key=len)
            yield from _innermost(nearest)
        else:
            yield error
