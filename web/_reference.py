"""The OpenAPI 3.1 document of what the endpoints declare, and a page that shows it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import msgspec

from web._endpoint import Endpoint, Moment, Route

_REF = "#/components/schemas/{name}"
_FAILED = {"$ref": "#/components/responses/Failed"}


class Failure(msgspec.Struct):
    """``code`` is for programs, ``message`` for people."""

    code: str
    message: str


class Failed(msgspec.Struct):
    """Every error of the API."""

    error: Failure


def _hook(kind: type) -> dict[str, Any]:
    if kind is Moment:
        return {"type": "string", "description": "ISO 8601, or an integer of s, ms or µs"}
    raise TypeError(f"{kind} has no JSON schema")


def openapi(endpoints: Sequence[Endpoint], routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of all of them."""
    answers = [endpoint.answer for endpoint in endpoints]
    # One call for all, so that two types of one name are told apart.
    schemas, components = msgspec.json.schema_components([*answers, Failed], schema_hook=_hook, ref_template=_REF)
    paths: dict[str, Any] = {}
    for endpoint, schema in zip(endpoints, schemas, strict=False):
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = {
            "summary": endpoint.summary,
            "parameters": _parameters(endpoint),
            "responses": {"200": _json("Found", schema), "default": _FAILED},
        }
    for route in routes:
        paths[route.path] = {"get": {"summary": route.summary, "responses": {"200": {"description": "docs/charts.md"}}}}
        if names := [part[1:-1].partition(":")[0] for part in route.path.split("/") if part.startswith("{")]:
            paths[route.path]["get"]["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowtape", "version": "1", "description": "Times are µs since the epoch, UTC."},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Failed": _json("An error", schemas[-1])},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _json(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([endpoint.query], schema_hook=_hook)
    query = components[endpoint.query.__name__]
    return [
        {
            "name": name, "in": "query", "required": name in query.get("required", ()),
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in query["properties"].items()
    ]  # fmt: skip


def pages(document: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    """Path → content and type: the document itself, and the page."""
    return {
        "/api/openapi.json": (msgspec.json.encode(document), "application/json"),
        "/reference.html": (_page(document).encode(), "text/html"),
    }


def _page(document: dict[str, Any]) -> str:
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            rows = "".join(map(_row, operation.get("parameters", ())))
            table = f"<table><tr><th>parameter<th>type<th>meaning</tr>{rows}</table>" if rows else ""
            parts.append(
                f"<section><h2><span>{method.upper()}</span> <code>{html.escape(path)}</code></h2>"
                f"<p>{html.escape(operation['summary'])}</p>{table}{_fields(operation, document)}</section>"
            )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>flowtape API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="reference.css"></head><body><h1>flowtape API</h1>'
        '<p>As a document: <a href="api/openapi.json">OpenAPI 3.1</a>. Times are µs since the epoch, UTC; in '
        "parameters ISO 8601 serves too. Errors: <code>{&quot;error&quot;: {&quot;code&quot;, &quot;message&quot;}}"
        "</code>.</p>" + "".join(parts) + "</body></html>"
    )


def _row(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    kind = _kind(schema)
    if "default" in schema and schema["default"] not in ("", None):
        kind += f" = {schema['default']}"
    name = html.escape(parameter["name"]) + ("" if parameter["required"] else " ?")
    return f"<tr><td><code>{name}</code><td>{html.escape(kind)}<td>{html.escape(parameter.get('description', ''))}</tr>"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"] if value is not None)
    if "anyOf" in schema:
        return " | ".join(filter(None, map(_kind, (each for each in schema["anyOf"] if each != {"type": "null"}))))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        (inner, *_) = schema.get("prefixItems") or [schema.get("items") or {}]
        return f"{_kind(inner)}[]"
    return str(schema.get("type", ""))


def _fields(operation: dict[str, Any], document: dict[str, Any]) -> str:
    """The answer's fields, and those of the rows in it."""
    content = operation["responses"]["200"].get("content")
    schema = content["application/json"]["schema"] if content else {}
    told, seen = "", set[str]()
    waiting = [schema]
    while waiting:
        name = str(waiting.pop(0).get("$ref", "")).rpartition("/")[2]
        if not name or name in seen:
            continue
        seen.add(name)
        fields = document["components"]["schemas"][name].get("properties", {})
        words = ", ".join(f"{field} <i>{html.escape(_kind(kind))}</i>" for field, kind in fields.items())
        told += f"<p class=fields><b>{name}</b> {words}</p>"
        for kind in fields.values():
            waiting += [each for each in (kind, kind.get("items") or {}, *kind.get("anyOf", ())) if "$ref" in each]
    return told
