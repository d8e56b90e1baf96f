"""The OpenAPI 3.1 description of the service, its schemas made from the types themselves."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

import findling
from findling.records import MAX_K, MAX_QUERY_CHARACTERS, MAX_REACH
from findling.serve.requests import SearchBody

_KEY = {"type": "http", "scheme": "bearer", "description": "needed where the service has keys"}
_ADMIN = {
    "reload": "Move to the snapshot that CURRENT names",
    "rollback": "Publish the snapshot before the current one, and move to it",
}


class Problem(msgspec.Struct):
    """Problem details, RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class HitBody(msgspec.Struct):
    """One result; a higher score is better, and rank counts from 1."""

    id: str
    rank: int
    score: float
    scores: dict[str, float]
    document: dict[str, Any]
    highlights: dict[str, list[tuple[int, int]]] = {}


class FacetBody(msgspec.Struct):
    """How many documents hold a value."""

    value: str | int | float | bool | None
    count: int


class AnswerBody(msgspec.Struct):
    """The answer to a search, all of it from one snapshot."""

    hits: list[HitBody]
    facets: dict[str, list[FacetBody]]
    offset: int
    k: int
    snapshot: str
    cache: str
    degraded: bool
    took_ms: float


@functools.cache
def document() -> bytes:
    """The whole description, as JSON."""
    schemas, components = msgspec.json.schema_components(
        [SearchBody, AnswerBody, Problem], ref_template="#/components/schemas/{name}"
    )
    body, answer, problem = schemas
    components["SearchBody"]["properties"]["q"]["maxLength"] = MAX_QUERY_CHARACTERS
    components["SearchBody"]["properties"]["k"] |= {"minimum": 1, "maximum": MAX_K}
    components["SearchBody"]["properties"]["offset"] |= {"minimum": 0, "maximum": MAX_REACH}
    refused = {"content": {"application/problem+json": {"schema": problem}}, "description": "Refused"}
    errors = dict.fromkeys(("400", "401", "404", "408", "413", "421", "429", "503"), refused)
    administered = dict.fromkeys(("401", "403", "404", "409", "421", "429"), refused)

    def responses(schema: dict[str, Any]) -> dict[str, Any]:
        content = {"application/json": {"schema": schema}}
        return {"200": {"description": "Done", "content": content}, **errors}

    def parameter(
        name: str, where: str = "query", kind: str = "string", required: bool = False
    ) -> dict[str, Any]:
        return {"name": name, "in": where, "required": required or where == "path", "schema": {"type": kind}}

    collection = parameter("collection", "path")
    identity = parameter("id", "path")
    asked = [
        *(parameter(name) for name in ("q", "like", "field", "mode", "query", "where", "facets")),
        *(parameter(name, kind="integer") for name in ("k", "offset")),
        parameter("min_score", kind="number"),
        *(parameter(name, kind="boolean") for name in ("typos", "explain")),
    ]
    whole = {"type": "object"}
    text = {"200": {"description": "Done", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    paths: dict[str, Any] = {
        "/search": {
            "get": {
                "summary": "The short form: a list of documents",
                "parameters": [parameter("query", required=True), parameter("show", kind="integer")],
                "responses": responses({"type": "array", "items": whole}),
            }
        },
        "/collections": {"get": {"summary": "What can be searched", "responses": responses(whole)}},
        "/collections/{collection}/search": {
            "get": {"summary": "Search", "parameters": [collection, *asked], "responses": responses(answer)},
            "post": {
                "summary": "Search, with all that a body can say",
                "parameters": [collection],
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": responses(answer),
            },
        },
        "/collections/{collection}/documents/{id}": {
            "get": {
                "summary": "A document",
                "parameters": [collection, identity],
                "responses": responses(whole),
            }
        },
        "/collections/{collection}/documents/{id}/similar": {
            "get": {
                "summary": "Documents like this one",
                "parameters": [collection, identity, parameter("k", kind="integer")],
                "responses": responses(answer),
            }
        },
        "/collections/{collection}/documents/{id}/picture": {
            "get": {
                "summary": "A document's picture",
                "parameters": [collection, identity],
                "responses": {"200": {"description": "A picture"}, **errors},
            }
        },
        "/livez": {"get": {"summary": "Is the process there?", "responses": text}},
        "/readyz": {"get": {"summary": "Can it answer?", "responses": {**text, "503": refused}}},
        "/metrics": {"get": {"summary": "Numbers for Prometheus", "responses": text}},
    }
    for act, summary in _ADMIN.items():
        answers = {"200": responses(whole)["200"], **administered}
        told = {"summary": summary, "parameters": [collection], "responses": answers}
        paths[f"/admin/collections/{{collection}}/{act}"] = {"post": told}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "findling", "version": findling.__version__},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"key": _KEY}},
            "security": [{"key": []}, {}],
        }
    )
