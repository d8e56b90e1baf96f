"""A small HTTP client: the service's answers as plain Python values."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from findling.errors import FindlingError


class ServiceError(FindlingError):
    """The service refused a request, or could not be reached; `status` is HTTP's, 0 where there was none."""

    code, title, status = "service", "The service did not answer", 0


@dataclass(frozen=True)
class Client:
    """Talks to a service at `url`, for example http://127.0.0.1:8000, with a key where it asks for one."""

    url: str
    timeout: float = 30.0
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if urllib.parse.urlsplit(self.url).scheme not in {"http", "https"}:
            raise FindlingError(f"{self.url!r} is no address of a service", todo="write http://HOST:PORT")

    def collections(self) -> list[dict[str, Any]]:
        """What can be searched."""
        found: list[dict[str, Any]] = self._ask("/collections")["collections"]
        return found

    def search(
        self, collection: str, q: str = "", *, image: bytes | None = None, **asked: Any
    ) -> dict[str, Any]:
        """An answer; `asked` are further keys of the request: k, mode, where, like, facets …"""
        body = {"q": q, **asked}
        if image is not None:
            body["image"] = base64.b64encode(image).decode()
        answer: dict[str, Any] = self._ask(f"/collections/{_quoted(collection)}/search", body)
        return answer

    def document(self, collection: str, identity: str) -> dict[str, Any]:
        """A document by its id."""
        path = f"/collections/{_quoted(collection)}/documents/{_quoted(identity)}"
        document: dict[str, Any] = self._ask(path)
        return document

    def similar(self, collection: str, identity: str, k: int = 10) -> dict[str, Any]:
        """Documents like one."""
        path = f"/collections/{_quoted(collection)}/documents/{_quoted(identity)}/similar?k={k}"
        answer: dict[str, Any] = self._ask(path)
        return answer

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers)  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:  # noqa: S310 - checked above
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error.code, error.read()) from None
        except (OSError, ValueError) as error:
            raise ServiceError(f"{self.url} does not answer: {error}", todo="is it running?") from None


def _refused(status: int, body: bytes) -> ServiceError:
    try:
        said = str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        said = "it gave no reason"
    error = ServiceError(f"the service answered {status}: {said}")
    error.status = status
    return error


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")
