"""The service as a value: routes, middleware and a lifespan around the live collections."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from findling.config import ServeOptions
from findling.errors import NotFound, QueryError
from findling.records import Answer, Query
from findling.serve import admin, middleware, openapi, problems, requests, shown
from findling.serve.batcher import Batcher
from findling.serve.cache import Cache, key_of
from findling.serve.kept import Kept
from findling.serve.live import Collection, Watcher, find
from findling.serve.metrics import Metrics
from findling.serve.tracing import Tracer
from findling.serve.visit import visit

PAGE = Path(__file__).parent / "page"
_EXAMPLES = 6


@dataclass
class Service:
    """What requests share: the collections, the threads that search, and the numbers."""

    collections: list[Collection]
    threads: int = 2
    metrics: Metrics = field(default_factory=Metrics)
    cache: Cache = field(default_factory=lambda: Cache([]))

    def __post_init__(self) -> None:
        self.searches = Batcher(self.threads, self._waits)

    def _waits(self, more: int) -> None:
        self.metrics.wait(more)


@dataclass(frozen=True)
class _Endpoint:
    """What answers at a route, as ASGI calls it."""

    service: Service
    answer: Callable[[Service, Request], Awaitable[Response]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(self.service, Request(scope, receive, send))
        await response(scope, receive, send)


def create(
    collections: Sequence[Collection], options: ServeOptions | None = None, shared: Path | None = None
) -> Starlette:
    """The ASGI application over some collections; the first answers the short form.

    `options` are those of the first collection, unless given; `shared` is a directory in which worker
    processes count together.
    """
    service = Service(list(collections))
    options = options or service.collections[0].settings.serve
    service.cache = Cache.of(options)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        # A worker takes no connection before it can answer: whoever finds one worker ready finds all so.
        for collection in service.collections:
            await asyncio.to_thread(collection.refresh)
        watcher.start()
        yield
        await asyncio.to_thread(watcher.stop)
        if tracer:
            await asyncio.to_thread(tracer.close)
        await asyncio.to_thread(service.searches.close)
        await service.cache.close()

    def route(path: str, answer: Any, methods: Sequence[str] = ("GET",)) -> Route:
        return Route(path, _Endpoint(service, answer), methods=list(methods))

    one = "/collections/{collection}"
    document = f"{one}/documents/{{id:path}}"
    routes: list[Route | Mount] = [
        route(f"{one}/search", _get_search),  # they are tried in order
        route(f"{one}/search", _post_search, ["POST"]),
        route("/search", _short),
        route("/collections", _collections),
        route(f"{document}/similar", _similar),
        route(f"{document}/picture", _picture),
        route(document, _document),
        route("/admin/collections/{collection}/reload", _reload, ["POST"]),
        route("/admin/collections/{collection}/rollback", _rollback, ["POST"]),
        route("/livez", _livez),
        route("/readyz", _readyz),
        route("/metrics", _metrics),
        route("/openapi.json", _openapi),
        route("/", _page),
        Mount("/page", StaticFiles(directory=PAGE)),
        route("/favicon.ico", _icon),
    ]
    service.metrics = Metrics([one.path for one in routes], shared and shared / "board")
    watcher = Watcher(service.collections, service.metrics.reloads)
    tracer = Tracer.of(options.otel)
    hosts = {host for c in service.collections for host in c.settings.serve.image_hosts}
    app = middleware.Application(
        routes=routes,
        middleware=middleware.layers(options, service.metrics, tracer, hosts, shared),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would redirect to whatever name the request calls this service
    return app


async def _short(service: Service, request: Request) -> Response:
    """GET /search?query=&show=: a JSON list of documents."""
    given = requests.parameters_of(request)
    if "query" not in given:
        raise QueryError("query is missing", todo="ask for /search?query=WORDS&show=10")
    asked = {"q": given.pop("query"), "k": given.pop("show", "10"), **given}
    _, documents, _ = await _answered(
        service, service.collections[0], requests.from_parameters(asked), request
    )
    return _json(b"[" + b",".join(documents) + b"]")


async def _get_search(service: Service, request: Request) -> Response:
    collection = find(service.collections, request.path_params["collection"])
    query = requests.from_parameters(requests.parameters_of(request))
    return await _search(service, collection, query, request)


async def _post_search(service: Service, request: Request) -> Response:
    collection = find(service.collections, request.path_params["collection"])
    return await _search(service, collection, await requests.from_body(request), request)


async def _similar(service: Service, request: Request) -> Response:
    collection = find(service.collections, request.path_params["collection"])
    given = {"mode": "semantic", **requests.parameters_of(request)}
    query = requests.from_parameters(given, like=request.path_params["id"])
    return await _search(service, collection, query, request)


async def _search(service: Service, collection: Collection, query: Query, request: Request) -> Response:
    started = time.perf_counter()
    kept, documents, cache = await _answered(service, collection, query, request)
    return _json(kept.to_json(documents, (time.perf_counter() - started) * 1000, cache))


async def _answered(
    service: Service, collection: Collection, query: Query, request: Request
) -> tuple[Kept, list[bytes], str]:
    """An answer from the cache or a search, its documents from the snapshot, and what the cache said."""
    mine = visit()
    mine.query = query.q
    searcher = collection.searcher  # one snapshot for the whole of a request, whatever is published meanwhile
    fresh: list[Answer] = []

    async def searched() -> Answer:
        return await service.searches.search(searcher, query, mine.stages, lambda: _until_gone(request))

    async def search() -> bytes:
        mine.stages.lap("cache")
        answer = await searched()
        fresh.append(answer)
        content = Kept.of(answer).to_bytes()
        if not answer.degraded:
            await service.cache.keep(key, content)
        return content

    key = key_of(searcher.manifest, query) if service.cache.levels else b""
    content, mine.cache = await service.cache.found(key, search)
    kept = Kept.from_bytes(content)
    if kept is None:  # somebody else wrote there
        kept, mine.cache = Kept.of(await searched()), "off"
    if fresh:
        return kept, [hit.document for hit in fresh[0].hits], mine.cache
    documents = searcher.store.get_many
    if searcher.manifest.store == "arrow":
        return kept, documents(kept.rows), mine.cache
    return kept, await service.searches.run(documents, kept.rows), mine.cache


async def _until_gone(request: Request) -> None:
    """Return when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _document(service: Service, request: Request) -> Response:
    collection = find(service.collections, request.path_params["collection"])
    return _json(collection.searcher.document(request.path_params["id"]))


async def _picture(service: Service, request: Request) -> Response:
    """A document's picture, where it lies in a folder that the build may read."""
    collection = find(service.collections, request.path_params["collection"])
    searcher = collection.searcher
    document = msgspec.json.decode(searcher.document(request.path_params["id"]))
    reference = document.get(searcher.manifest.picture or "")
    found = (
        await asyncio.to_thread(shown.response, collection.settings, str(reference)) if reference else None
    )
    if found is None:
        raise NotFound(f"document {request.path_params['id']!r} has no picture here")
    return found


async def _collections(service: Service, request: Request) -> Response:
    del request
    return _json(msgspec.json.encode({"collections": [_told(c) for c in service.collections if c.ready]}))


def _told(collection: Collection) -> dict[str, Any]:
    manifest = collection.searcher.manifest
    modes = [
        *(["hybrid"] if manifest.fields and manifest.lexical else []),
        *(["semantic"] if manifest.fields else []),
        *(["lexical"] if manifest.lexical else []),
    ]
    return {
        "name": collection.name,
        "documents": manifest.documents,
        "snapshot": manifest.id,
        "created": manifest.created,
        "title": manifest.title,
        "columns": manifest.columns,
        "facets": manifest.facets,
        "fields": list(manifest.fields),
        "modalities": {name: field.spec.modalities for name, field in manifest.fields.items()},
        "modes": modes,
        "picture": manifest.picture,
        "examples": collection.settings.serve.examples[:_EXAMPLES],
        "image_hosts": collection.settings.serve.image_hosts,
    }


async def _reload(service: Service, request: Request) -> Response:
    return await _administer(service, request, admin.reload)


async def _rollback(service: Service, request: Request) -> Response:
    return await _administer(service, request, admin.rollback)


async def _administer(
    service: Service, request: Request, act: Callable[[Collection], dict[str, Any]]
) -> Response:
    """Have this worker act at once, and then the others look."""
    collection = find(service.collections, request.path_params["collection"])
    try:
        done = await asyncio.to_thread(act, collection)
    finally:
        service.metrics.ask_reload()
    return _json(msgspec.json.encode(done))


async def _page(service: Service, request: Request) -> Response:
    del service, request
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


async def _icon(service: Service, request: Request) -> Response:
    del service, request
    return RedirectResponse("/page/icon.svg", 308)


async def _livez(service: Service, request: Request) -> Response:
    del service, request
    return PlainTextResponse("alive\n")


async def _readyz(service: Service, request: Request) -> Response:
    """Ready once every collection has a snapshot that passed its probes."""
    del request
    waiting = [c.name for c in service.collections if not c.ready]
    if waiting:
        return problems.problem(503, "not-ready", "Not ready", f"still opening: {', '.join(waiting)}")
    return PlainTextResponse("ready\n")


async def _metrics(service: Service, request: Request) -> Response:
    del request
    text = service.metrics.text(c.searcher.manifest for c in service.collections if c.ready)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def _openapi(service: Service, request: Request) -> Response:
    del service, request
    return _json(openapi.document())


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")
