"""The OpenAPI document: a valid one, and what the service answers is what it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from running import Running

SEARCH = "/collections/small/search"
ASKED: dict[str, tuple[str, Any, int]] = {
    "short form": ("/search?query=whale&show=2", None, 200),
    "short form without words": ("/search", None, 400),
    "collections": ("/collections", None, 200),
    "search": (f"{SEARCH}?q=white+whale&k=3&facets=authors&explain=true", None, 200),
    "search by a body": (SEARCH, {"q": "whale", "where": {"op": ">", "column": "year", "value": 1900}}, 200),
    "nothing found": (f"{SEARCH}?q=whale&where=year+%3E+9000&facets=authors", None, 200),
    "a filter that is none": (f"{SEARCH}?q=whale&where=year+%3E", None, 400),
    "a body that is none": (SEARCH, {"q": 1}, 400),
    "no such collection": ("/collections/other/search?q=whale", None, 404),
    "a document": ("/collections/small/documents/moby", None, 200),
    "no such document": ("/collections/small/documents/none", None, 404),
    "alike": ("/collections/small/documents/moby/similar?k=2", None, 200),
    "administration": ("/admin/collections/small/reload", {}, 200),
}


@pytest.fixture(scope="module")
def document(service: Running) -> dict[str, Any]:
    found: dict[str, Any] = service.call("/openapi.json").json()
    return found


def test_is_valid(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize("asked", ASKED)
def test_answers_as_described(document: dict[str, Any], service: Running, asked: str) -> None:
    path, body, status = ASKED[asked]
    reply = service.call(path, body)
    assert reply.status == status, reply.body
    operation = _operation(document, "get" if body is None else "post", path.partition("?")[0])
    (content,) = operation["responses"][str(status)]["content"].items()
    assert reply.headers["content-type"].partition(";")[0] == content[0]
    schema = {**content[1]["schema"], "components": document["components"]}
    assert [error.message for error in Draft202012Validator(schema).iter_errors(reply.json())] == []


def test_every_search_that_it_describes_is_taken(document: dict[str, Any], service: Running) -> None:
    examples = {"string": "whale", "integer": "2", "number": "0.1", "boolean": "true"}
    fitting = {
        "like": "moby",
        "field": "text",
        "mode": "hybrid",
        "query": "full",
        "where": "year > 1",
        "facets": "authors",
    }
    operation = _operation(document, "get", SEARCH)
    told = [each for each in operation["parameters"] if each["in"] == "query"]
    assert len(told) > 8
    for each in told:
        value = fitting.get(each["name"], examples[each["schema"]["type"]])
        words = "" if each["name"] in ("q", "like") else "q=whale&"
        reply = service.call(f"{SEARCH}?{words}{each['name']}={value.replace(' ', '+').replace('>', '%3E')}")
        assert reply.status == 200, (each["name"], reply.body)


def _operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """What the document says of a route: the path without parameters before those with some."""
    for template in sorted(document["paths"], key=lambda name: name.count("{")):
        if (
            re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
            and method in document["paths"][template]
        ):
            found: dict[str, Any] = document["paths"][template][method]
            return found
    raise AssertionError(f"{method} {path} is not described")
