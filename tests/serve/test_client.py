"""The HTTP client, against a real service."""

from __future__ import annotations

import pytest

import small
from findling.client import Client, ServiceError
from findling.errors import FindlingError


@pytest.fixture(scope="module")
def client(service) -> Client:  # type: ignore[no-untyped-def] # the class lives in a conftest
    return Client(service.base)


def test_what_the_service_knows(client: Client) -> None:
    assert client.collections()[0]["documents"] == len(small.BOOKS)
    assert client.document("small", "sea/wolf")["title"] == "The Sea-Wolf"
    assert client.search("small", "white whale", k=1)["hits"][0]["id"] == "moby"
    assert "moby" not in [hit["id"] for hit in client.similar("small", "moby")["hits"]]


def test_a_refusal_says_what_the_service_said(client: Client) -> None:
    with pytest.raises(ServiceError, match="k is 0") as refused:
        client.search("small", "x", k=0)
    assert refused.value.status == 400
    with pytest.raises(ServiceError, match="picture cannot be decoded"):
        client.search("small", image=b"none")


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(ServiceError, match="does not answer"):
        Client("http://127.0.0.1:9", timeout=2).collections()
    with pytest.raises(FindlingError, match="no address"):
        Client("file:///etc/passwd")
