"""What every request passes on its way in, and every answer on its way out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from findling.config import ServeOptions
from findling.errors import ConfigError
from findling.serve.access import Access, Headers
from findling.serve.gate import Gate
from findling.serve.limits import Bodies, Rates
from findling.serve.metrics import Metrics
from findling.serve.problems import Problems
from findling.serve.tracing import Tracer

_ORIGIN = re.compile(r"https?://[^/\s?#@]+|\*")


class Application(Starlette):
    """Starlette without the layers that it adds by itself: `Access` and `Problems` do what they do."""

    def build_middleware_stack(self) -> ASGIApp:
        """The routes inside the middleware that was asked for."""
        app: ASGIApp = self.router
        for layer, arguments, named in reversed(self.user_middleware):
            app = layer(app, *arguments, **named)
        return app


def layers(
    options: ServeOptions,
    metrics: Metrics,
    tracer: Tracer | None,
    image_hosts: Iterable[str],
    shared: Path | None,
) -> list[Middleware]:
    """The middleware of the service, outermost first; `shared` is the directory that workers share."""
    rates = Rates(options.rate, shared and shared / "rates") if options.rate else None
    return [
        Middleware(
            Access,
            metrics=metrics,
            tracer=tracer,
            headers=security_headers(image_hosts),
            log=options.access_log,
            log_queries=options.log_queries,
        ),
        *_cors(options.cors),
        Middleware(Gate, options=options, rates=rates),
        Middleware(Bodies),
        Middleware(Problems),
    ]


def _cors(origins: list[str]) -> list[Middleware]:
    """Lets pages of other origins read answers; none may, unless it is named."""
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"serve.cors names {origin!r}", todo='write origins: "https://www.example.org"')
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "traceparent", "x-request-id"],
            expose_headers=["retry-after", "traceparent", "x-request-id"],
        )
    ]


def security_headers(image_hosts: Iterable[str]) -> Headers:
    """What tells browsers to do with an answer only what it is for.

    No Strict-Transport-Security: whoever puts TLS in front knows whether it is there to stay.
    """
    pictures = " ".join(f"https://{host}" for host in sorted(image_hosts))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"img-src 'self' data: blob: {pictures}"
    )
    unused = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
    return [
        (b"content-security-policy", policy.strip().encode()),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", ", ".join(f"{name}=()" for name in unused).encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    ]
