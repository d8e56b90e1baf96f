"""Requests to queries: what may be asked over HTTP, and what is refused before any work is done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from findling.errors import QueryError
from findling.records import Mode, Query, Term, Way
from findling.serve.limits import MAX_BODY


class TermBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A further thing that hits shall be like, or with a weight below 0 unlike."""

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: list[float] | None = None
    weight: float = 1.0

    def term(self) -> Term:
        """The term it asks for."""
        return Term(self.q, self.image, self.like, _numbers(self.vector), self.weight)


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /collections/{c}/search; `image` is base64."""

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: list[float] | None = None
    also: list[TermBody] = []
    field: str | None = None
    k: int = 10
    offset: int = 0
    mode: Mode = "hybrid"
    query: Way | None = None
    where: str | dict[str, Any] | None = None
    facets: list[str] = []
    min_score: float | None = None
    typos: bool = True
    weights: dict[str, float] = {}
    explain: bool = False
    highlight: bool = True

    def asked(self) -> Query:
        """The query it asks for."""
        return Query(
            q=self.q,
            image=self.image,
            like=self.like,
            vector=_numbers(self.vector),
            also=tuple(term.term() for term in self.also),
            field=self.field,
            k=self.k,
            offset=self.offset,
            mode=self.mode,
            query=self.query,
            where=self.where,
            facets=tuple(self.facets),
            min_score=self.min_score,
            typos=self.typos,
            weights=self.weights,
            explain=self.explain,
            highlight=self.highlight,
        )


_LISTS = ("facets",)
_JSON = ("also", "vector", "weights")
MAX_VALUES = 100_000
"""Values in a body, however deep: in 32 MB there is room for ten million, and they would take gigabytes."""


def _numbers(vector: list[float] | None) -> NDArray[np.float32] | None:
    if vector is None:
        return None
    with np.errstate(over="ignore"):
        numbers = np.asarray(vector, np.float32)
    if not np.isfinite(numbers).all():
        raise QueryError("vector holds numbers that are not finite")
    return numbers


def parameters_of(request: Request) -> dict[str, str]:
    """The parameters in a request's URL; of those that share a name, the last."""
    text: str = request.scope["query_string"].decode("latin-1")
    # Most escapes are spaces, and others take a loop in Python.
    text = text.replace("+", " ").replace("%20", " ")
    pairs = (part.partition("=") for part in text.split("&") if part)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def from_parameters(parameters: Mapping[str, str | bytes], **fixed: Any) -> Query:
    """A query out of a URL's parameters or a form's fields, of which those that are no plain value hold JSON.

    Raises QueryError naming one that is unknown or wrong.
    """
    given: dict[str, Any] = {name: _value(name, value) for name, value in parameters.items()}
    return _told(lambda: msgspec.convert({**given, **fixed}, SearchBody, strict=False)).asked()


async def from_body(request: Request) -> Query:
    """A query out of a body of JSON or of a form with a picture file.

    Raises QueryError where it is not what is allowed; how large it may be, the middleware says.
    """
    content = await request.body()
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return from_parameters(await _form(request, content))
    _check_values(content)
    if not content.lstrip().startswith(b"{"):
        raise QueryError(
            "the body is no JSON object",
            todo='send {"q": "words"}, or a form (multipart/form-data) with the picture as its file "image"',
        )
    return _told(lambda: msgspec.json.decode(content, type=SearchBody)).asked()


def _check_values(content: bytes) -> None:
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_VALUES:
        raise QueryError("the body has too many values", todo=f"at most {MAX_VALUES:,} are taken")


def _value(name: str, value: str | bytes) -> Any:
    """What a parameter stands for, as JSON would have it."""
    if isinstance(value, bytes):
        return value
    if name in _JSON:
        _check_values(value.encode("utf-8", "replace"))
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise QueryError(f"{name} is no JSON: {error}", todo="send it as in a body of JSON") from None
    return value.split(",") if name in _LISTS else value


async def _form(request: Request, content: bytes) -> dict[str, str | bytes]:
    """A form's fields by name, files as their bytes."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield content

    parser = MultiPartParser(request.headers, once(), max_files=1, max_fields=32, max_part_size=MAX_BODY)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        if str(error).startswith("Too many files"):
            raise QueryError(
                "the form has more than one file", todo="send one, and further pictures as base64 in also"
            ) from None
        raise QueryError(f"the form cannot be read: {error}", todo="send multipart/form-data") from None
    async with _closing(form):
        fields = {n: await v.read() if isinstance(v, UploadFile) else v for n, v in form.items()}
        left_open = {n for n, v in form.items() if isinstance(v, UploadFile) and not (v.filename or v.size)}
        return {n: v for n, v in fields.items() if n not in left_open}  # browsers send files nobody chose


@contextlib.asynccontextmanager
async def _closing(form: FormData) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await form.close()


def _told(convert: Any) -> SearchBody:
    try:
        body: SearchBody = convert()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).replace("`", "'").replace("$.", "")
        todo = f"allowed are {', '.join(SearchBody.__struct_fields__)}"
        if "base64" in what:
            todo = "send the file's bytes in base64 alone, without line ends and without data: before them"
        raise QueryError(f"the request cannot be read: {what}", todo=todo) from None
    return body
