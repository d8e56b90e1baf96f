"""Requests to queries: what may be asked over HTTP, and what is refused before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request

from findling.errors import QueryError
from findling.records import Mode, Query

MAX_BODY = 32_000_000


class SearchBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /collections/{c}/search; `image` is base64."""

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: list[float] | None = None
    field: str | None = None
    k: int = 10
    offset: int = 0
    mode: Mode = "hybrid"
    where: str | dict[str, Any] | None = None
    facets: list[str] = []
    weights: dict[str, float] = {}
    explain: bool = False
    highlight: bool = True

    def query(self) -> Query:
        """The query it asks for."""
        vector = None
        if self.vector is not None:
            vector = np.asarray(self.vector, np.float32)
            if not np.isfinite(vector).all():
                raise QueryError("vector holds numbers that are not finite")
        return Query(
            q=self.q,
            image=self.image,
            like=self.like,
            vector=vector,
            field=self.field,
            k=self.k,
            offset=self.offset,
            mode=self.mode,
            where=self.where,
            facets=tuple(self.facets),
            weights=self.weights,
            explain=self.explain,
            highlight=self.highlight,
        )


_LISTS = ("facets",)


def from_parameters(parameters: Mapping[str, str], **fixed: Any) -> Query:
    """A query out of a URL's parameters; raises QueryError naming one that is unknown or wrong."""
    given: dict[str, Any] = {
        name: value.split(",") if name in _LISTS else value for name, value in parameters.items()
    }
    return _told(lambda: msgspec.convert({**given, **fixed}, SearchBody, strict=False)).query()


async def from_body(request: Request) -> Query:
    """A query out of a JSON body; raises QueryError where it is too large or not what is allowed."""
    content = await read_body(request)
    return _told(lambda: msgspec.json.decode(content, type=SearchBody)).query()


async def read_body(request: Request) -> bytes:
    """The body, refused as soon as it is larger than allowed."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            error = QueryError("the body is too large", todo=f"at most {MAX_BODY} bytes are taken")
            error.status = 413
            raise error
    return bytes(content)


def _told(convert: Any) -> SearchBody:
    try:
        body: SearchBody = convert()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error).replace("`", "'").replace("$.", "")
        raise QueryError(
            f"the request cannot be read: {what}",
            todo=f"allowed are {', '.join(SearchBody.__struct_fields__)}",
        ) from None
    return body
