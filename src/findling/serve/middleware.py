"""What every request passes on its way in, and every answer on its way out."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.middleware import Middleware

from findling.config import ServeOptions
from findling.serve.access import Access, Headers
from findling.serve.metrics import Metrics


def layers(options: ServeOptions, metrics: Metrics, image_hosts: Iterable[str]) -> list[Middleware]:
    """The middleware of the service, outermost first."""
    return [
        Middleware(
            Access,
            metrics=metrics,
            headers=security_headers(image_hosts),
            log=options.access_log,
            log_queries=options.log_queries,
        ),
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
