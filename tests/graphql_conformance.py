"""Does a GraphQL request with its answer fit GitHub's published schema?"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values

from tests import programs


def check_graphql(method: str, body: Any, status: int, answer: Any) -> Iterator[str]:
    """One sentence per difference; errors in an answer are GitHub's business and only need a message each."""
    if method != "POST":
        yield "GraphQL is asked by POST"
    elif not isinstance(body, dict) or not isinstance(body.get("query"), str):
        yield "a GraphQL request is an object with a query"
    else:
        yield from (
            f"unknown request property {name!r}" for name in body.keys() - {"query", "variables", "operationName"}
        )
        mistakes = _mistakes(body["query"]) or tuple(_bad_variables(body["query"], body.get("variables") or {}))
        yield from mistakes
        if status == 200 and not mistakes:
            yield from _answer_problems(body, answer)
        elif status not in (0, 200, 401, 403, 429) and status < 500:
            yield f"GraphQL does not answer with status {status}"


@functools.cache
def _schema() -> GraphQLSchema:
    return build_schema(
        programs.graphql_schema().read_text(), assume_valid=True, assume_valid_sdl=True, no_location=True
    )


@functools.cache
def _document(query: str) -> DocumentNode:
    return parse(query)


@functools.cache
def _mistakes(query: str) -> tuple[str, ...]:
    try:
        document = _document(query)
    except GraphQLError as error:
        return (error.message,)
    return tuple(error.message for error in validate(_schema(), document))


def _bad_variables(query: str, variables: dict[str, Any]) -> Iterator[str]:
    operation = _operation(query)
    names = {one.variable.name.value for one in operation.variable_definitions or ()}
    yield from (f"unused variable ${name}" for name in variables.keys() - names)
    result = get_variable_values(_schema(), operation.variable_definitions or (), variables)
    if isinstance(result, list):
        yield from (error.message for error in result)


def _operation(query: str) -> OperationDefinitionNode:
    return next(one for one in _document(query).definitions if isinstance(one, OperationDefinitionNode))


def _answer_problems(body: Mapping[str, Any], answer: Any) -> Iterator[str]:
    if not isinstance(answer, dict) or not {"data", "errors"} & answer.keys():
        yield "a GraphQL answer is an object with data or errors"
        return
    if "errors" in answer:
        if not all(isinstance(error, dict) and isinstance(error.get("message"), str) for error in answer["errors"]):
            yield "every GraphQL error has a message"
        return
    # The query is run over its own answer: what comes out otherwise than it went in does not fit the query.
    result = execute_sync(
        _schema(),
        _document(body["query"]),
        root_value=answer["data"],
        variable_values=body.get("variables"),
        operation_name=body.get("operationName"),
        field_resolver=_given,
        type_resolver=_type_of,
    )
    for error in result.errors or ():
        yield f"response at {'/'.join(str(step) for step in error.path or ())}: {error.message}"
    if not result.errors:
        yield from (
            f"response at {extra}: the query does not ask for it" for extra in _extra(answer["data"], result.data)
        )


def _extra(given: Any, asked: Any, path: str = "data") -> Iterator[str]:
    if isinstance(given, dict):
        for key, value in given.items():
            if key in asked:
                yield from _extra(value, asked[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}"
    elif isinstance(given, list):
        for number, pair in enumerate(zip(given, asked, strict=True)):
            yield from _extra(*pair, f"{path}/{number}")


def _given(source: Any, info: GraphQLResolveInfo[Any], **_arguments: Any) -> Any:
    key = info.path.key
    if not isinstance(source, Mapping) or key not in source:
        raise GraphQLError("missing in the response")
    return source[key]


def _type_of(value: Any, info: GraphQLResolveInfo[Any], abstract: GraphQLAbstractType) -> str:
    """The answer's own `__typename`, else the first fragment whose fields it holds."""
    named = value.get("__typename")
    if named is not None:
        return str(named)
    for node in info.field_nodes:
        for fragment in node.selection_set.selections if node.selection_set else ():
            if isinstance(fragment, InlineFragmentNode) and fragment.type_condition:
                fields = [one for one in fragment.selection_set.selections if isinstance(one, FieldNode)]
                if all((one.alias or one.name).value in value for one in fields):
                    return fragment.type_condition.name.value
    return info.schema.get_possible_types(abstract)[0].name
