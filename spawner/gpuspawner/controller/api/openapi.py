"""The OpenAPI document, made of the routes and their models: there is no second copy to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gpuspawner.controller.identity import MANAGE, READ, RESERVE

from .basics import Error
from .routes import Route

_REF = "#/components/schemas/{model}"
_ERRORS = {
    "400": "It is malformed; the message names the key and the fix.",
    "401": "Nobody is logged in, or the token is not known.",
    "403": "A scope is missing, or others decide on this.",
    "404": "It does not exist, or not for you.",
    "409": "It cannot be done as things are now.",
    "429": "Too much of this is asked at once, or you asked again before this was looked at. Try again.",
    "502": "The hub gave no usable answer; whether it was done is not known.",
    "503": "The state of the cards is not known, or ledger, policy or hub are away. Try again.",
}
_CREDENTIALS: list[dict[str, list[str]]] = [{"token": []}, {"cookie": []}]


def build_document(routes: Sequence[Route], server: str = ".") -> dict[str, Any]:
    """The whole document.

    Args:
        routes: The table.
        server: Where the API is; relative to the document unless given.
    """
    names, schemas = _collect_schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gpuspawner",
            "version": _own_version(),
            "description": "GPUs of this hub: cards, the line, sessions, reservations, usage.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"A token of the hub. Scopes: {READ}, {MANAGE}, {RESERVE}.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "service-gpu",
                    "description": "A login in the browser; requests of scripts need `?_xsrf=` as well.",
                },
            },
        },
        "security": _CREDENTIALS,
    }


def _own_version() -> str:
    try:
        return version("gpuspawner")
    except PackageNotFoundError:
        return "0"


def _collect_schemas(
    routes: Iterable[Route],
) -> tuple[dict[tuple[type[BaseModel], JsonSchemaMode], str], dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Error, "serialization"): None}
    for route in routes:
        if route.body:
            wanted[route.body, "validation"] = None
        if route.answer:
            wanted[route.answer, "serialization"] = None
    found, definitions = models_json_schema(list(wanted), ref_template=_REF)
    names = {key: schema["$ref"] for key, schema in found.items()}
    return names, definitions["$defs"]  # type: ignore[return-value]


def _operation(route: Route, names: dict[tuple[type[BaseModel], JsonSchemaMode], str]) -> dict[str, Any]:
    schema = {"$ref": names[route.answer, "serialization"]} if route.answer else _other(route)
    media = route.media.partition(";")[0]
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"Scope: `{route.scope}`.",
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {
            str(route.status): {"description": "Done.", "content": {media: {"schema": schema}}},
            **{status: _error(text, names) for status, text in _ERRORS.items() if _can(route, status)},
        },
    }
    if route.body:
        operation["requestBody"] = {
            "required": route.body_needed,
            "content": {"application/json": {"schema": {"$ref": names[route.body, "validation"]}}},
        }
    return operation


def _can(route: Route, status: str) -> bool:
    return {"409": route.conflicts, "429": route.slow}.get(status, True)


def _other(route: Route) -> dict[str, Any]:
    return {"type": "object"} if route.media == "application/json" else {"type": "string"}


def _error(text: str, names: dict[tuple[type[BaseModel], JsonSchemaMode], str]) -> dict[str, Any]:
    schema = {"$ref": names[Error, "serialization"]}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 200}}
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": about.get("description", ""),
            "schema": {key: value for key, value in about.items() if key not in ("description", "title")},
        }
        for name, about in schema["properties"].items()
    ]
