"""The service's HTTP shapes and refusals, asked from outside over a real socket."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from running import Reply, Running, children, command, serving

import small
from findling import build, config
from findling.serve import auth, limits, openapi

SEARCH = "/collections/small/search"


def test_the_short_form_is_a_list_of_documents(service: Running) -> None:
    reply = service.call("/search?query=white+whale&show=2")
    assert reply.status == 200
    assert [document["id"] for document in reply.json()][:1] == ["moby"]
    assert len(reply.json()) == 2
    assert len(service.call("/search?query=captain").json()) == len(small.BOOKS) - 1


def test_an_answer_has_the_promised_shape(service: Running) -> None:
    answer = service.call(f"{SEARCH}?q=white+whale&k=3&facets=authors,subjects").json()
    assert {"hits", "facets", "offset", "k", "snapshot", "cache", "degraded", "took_ms"} == set(answer)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert {"id", "rank", "score", "scores", "document"} <= set(answer["hits"][0])
    assert answer["hits"][0]["document"]["authors"] == ["Herman Melville"]
    assert {"value": "Jane Austen", "count": 2} in answer["facets"]["authors"]


def test_get_and_post_agree(service: Running) -> None:
    got = service.call(f"{SEARCH}?q=desert&k=2&mode=lexical&where={quote('year > 1900')}").json()
    posted = service.call(SEARCH, {"q": "desert", "k": 2, "mode": "lexical", "where": "year > 1900"}).json()
    assert got["hits"] == posted["hits"]
    assert [hit["id"] for hit in got["hits"]] == ["dune"]


@pytest.mark.parametrize("identity", ["moby", "sea/wolf", "naïve 🐉"])
def test_documents_by_id_and_what_is_like_them(service: Running, identity: str) -> None:
    path = f"/collections/small/documents/{quote(identity)}"
    assert service.call(path).json()["id"] == identity
    similar = service.call(f"{path}/similar?k=3").json()
    assert len(similar["hits"]) == 3
    assert identity not in [hit["id"] for hit in similar["hits"]]


def test_what_there_is_to_search(service: Running) -> None:
    [told] = service.call("/collections").json()["collections"]
    assert (told["name"], told["documents"]) == ("small", len(small.BOOKS))
    assert told["modes"] == ["hybrid", "semantic", "lexical"]
    assert told["examples"] == ["a whale"]


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/", "/page/page.js", "/favicon.ico"]
)
def test_what_surrounds_the_search_is_there(service: Running, path: str) -> None:
    assert service.call(path).status == 200


def test_every_answer_carries_the_security_headers(service: Running) -> None:
    for path in ("/", SEARCH + "?q=x", "/nope"):
        headers = service.call(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_metrics_count_by_route_and_status(service: Running) -> None:
    for _ in range(20):
        service.call("/search?query=counted")
    text = service.call("/metrics").body.decode()
    assert 'findling_requests_total{route="/search",status="200"}' in text
    assert 'findling_documents{collection="small"' in text


def test_the_openapi_document_names_every_route(service: Running) -> None:
    document = service.call("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path in document["paths"]:
        filled = path.replace("{collection}", "small").replace("{id}", "moby")
        query = {"/search": "?query=x", SEARCH: "?q=x"}.get(filled, "")
        if path.startswith("/admin/"):
            continue  # done on a service of its own
        assert service.call(filled + query).status == (404 if path.endswith("/picture") else 200)
    assert document == json.loads(openapi.document())


REFUSED: dict[str, Any] = {
    "k 0": {"q": "x", "k": 0},
    "k -1": {"q": "x", "k": -1},
    "k huge": {"q": "x", "k": 10**9},
    "k beyond 64 bits": {"q": "x", "k": 10**30},
    "k text": {"q": "x", "k": "many"},
    "k null": {"q": "x", "k": None},
    "no query": {},
    "empty query": {"q": ""},
    "long query": {"q": "x" * 10_000},
    "bad mode": {"q": "x", "mode": "psychic"},
    "bad where": {"q": "x", "where": "title ==== 1"},
    "deep where": {"q": "x", "where": "(" * 5000 + "year = 1" + ")" * 5000},
    "deep offset": {"q": "x", "k": 10, "offset": 10**7},
    "unknown key": {"q": "x", "quack": 1},
    "bad image": {"image": "!!!"},
    "no image": {"image": base64.b64encode(b"not a picture").decode()},
    "unknown like": {"like": "no such id"},
    "unknown facet": {"q": "x", "facets": ["colour"]},
    "short vector": {"vector": [1.0]},
    "a list": [1, 2],
    "a string": "x",
    "null": None,
    "half a character": {"q": "\ud800"},
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_asked_is_a_problem(service: Running, body: Any) -> None:
    reply = service.call(SEARCH, json.dumps(body).encode())
    assert 400 <= reply.status < 500
    assert reply.type == "application/problem+json"
    problem = reply.json()
    assert {"type", "title", "status", "detail", "code"} == set(problem)
    assert problem["status"] == reply.status
    assert "\n" not in problem["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (SEARCH, b"{", 400),
        (SEARCH, b"\xff\xfe", 400),
        (SEARCH, b"[" * 100_000, 400),
        ("/collections/nope/search?q=x", None, 404),
        ("/nope", None, 404),
        ("/page/../app.py", None, 404),
        ("/page/%2e%2e/app.py", None, 404),
        ("/collections/small/documents/nope", None, 404),
        ("/collections/small/documents/moby/picture", None, 404),
        ("/search?query=a&show=x", None, 400),
        ("/search?query=a&show=0", None, 400),
        ("/search", None, 400),
        ("/search?q=a", None, 400),
    ],
)
def test_wrong_requests_are_problems(service: Running, path: str, body: bytes | None, status: int) -> None:
    reply = service.call(path, body)
    assert (reply.status, reply.type) == (status, "application/problem+json")


def test_a_wrong_method_is_a_problem(service: Running) -> None:
    reply = service.call("/collections", method="DELETE")
    assert (reply.status, reply.type) == (405, "application/problem+json")
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_body_over_the_limit_is_refused(service: Running) -> None:
    body = b'{"q": "' + b"x" * limits.MAX_BODY + b'"}'
    with contextlib.suppress(OSError):  # the service may close the connection before all of it is sent
        assert service.call(SEARCH, body).status == 413
    assert service.call("/livez").status == 200


@pytest.mark.parametrize("text", ["naïve \u0000 \U0001f409 \" AND ( [ ~ * ' ; --", "﷽" * 1000])
def test_odd_characters_are_only_words(service: Running, text: str) -> None:
    for mode in ("hybrid", "semantic", "lexical"):
        assert service.call(SEARCH, {"q": text, "mode": mode}).status == 200


def test_a_picture_below_the_configuration_is_served_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    home = tmp_path / "home"
    (home / "covers").mkdir()
    Image.new("RGB", (4, 6), "red").save(home / "covers" / "a.jpg")
    books = [
        {"id": "good", "title": "good", "cover": "covers/a.jpg"},
        {"id": "outside", "title": "outside", "cover": "../secret.jpg"},
        {"id": "absolute", "title": "absolute", "cover": str(tmp_path / "secret.jpg")},
        {"id": "source", "title": "source", "cover": "books.jsonl"},
        {"id": "remote", "title": "remote", "cover": "http://127.0.0.1/a.jpg"},
        {"id": "none", "title": "none", "cover": None},
    ]
    text = """
collection = "small"
source = { kind = "table", path = "books.jsonl", id = "id" }
document = { title = "title", picture = "cover" }
lexical = { input = ["title"] }
serve = { image_hosts = ["covers.example.org"] }
"""
    build.build(config.load(small.write(home, books, text)))
    with serving(home) as running:
        good = running.call("/collections/small/documents/good/picture")
        assert (good.status, good.type) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(good.body)).size == (4, 6)
        for identity in ("outside", "absolute", "source", "remote", "none"):
            assert running.call(f"/collections/small/documents/{identity}/picture").status == 404
        assert "https://covers.example.org" in running.call("/").headers["content-security-policy"]


@pytest.mark.parametrize("source", ["table", "folder", "archive", "glob"])
def test_pictures_of_a_source_elsewhere_are_shown(tmp_path: Path, source: str) -> None:
    home, photos = tmp_path / "home", tmp_path / "photos"
    home.mkdir()
    photos.mkdir()
    Image.new("RGB", (4, 6), "red").save(photos / "a.jpg")
    Image.new("RGB", (4, 6), "blue").save(tmp_path / "beside.jpg")
    (photos / "links").mkdir()
    (photos / "links" / "b.jpg").symlink_to(tmp_path / "beside.jpg")
    (photos / "list.csv").write_text("id,image\na.jpg,a.jpg\nbeside,../beside.jpg\n")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed:
        packed.write(photos / "a.jpg", "a.jpg")
    kinds = {
        "table": 'table = "../photos/list.csv", id = "id"',
        "folder": 'path = "../photos"',
        "archive": 'path = "../photos.zip"',
        "glob": f'path = "{photos}/*.j*"',
    }
    text = f"""
collection = "small"
source = {{ kind = "images", {kinds[source]} }}
document = {{ title = "title", picture = "image" }}
lexical = {{ input = ["title"] }}
"""
    (home / "findling.toml").write_text(text)
    build.build(config.load(home))
    with serving(home) as running:
        here = "photos/a.jpg" if source == "archive" else "a.jpg"
        good = running.call(f"/collections/small/documents/{here}/picture")
        assert (good.status, good.type) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(good.body)).size == (4, 6)
        for identity in ("beside", "links/b.jpg"):
            assert running.call(f"/collections/small/documents/{identity}/picture").status == 404
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
            packed.write(tmp_path / "beside.jpg", "a.jpg")
        (tmp_path / "other.zip").replace(tmp_path / "photos.zip")
        again = running.call(f"/collections/small/documents/{here}/picture").body
        assert again == ((tmp_path / "beside.jpg") if source == "archive" else photos / "a.jpg").read_bytes()


def test_a_new_snapshot_goes_live_without_a_restart(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(small_home, home)
    with serving(home) as running:
        before = running.call(f"{SEARCH}?q=whale").json()
        small.write(home, [*small.BOOKS, {**small.BOOKS[0], "id": "new", "title": "A white whale again"}])
        report = build.build(config.load(home))
        running.until(lambda: running.call(f"{SEARCH}?q=whale").json()["snapshot"] == report.snapshot)
        assert report.snapshot != before["snapshot"]
        assert running.call("/collections/small/documents/new").status == 200


def test_a_damaged_snapshot_never_goes_live(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(small_home, home)
    with serving(home) as running:
        before = running.call(f"{SEARCH}?q=whale").json()["snapshot"]
        small.write(home, small.BOOKS[:-2])
        report = build.build(config.load(home), only=("extract", "embed", "index"))
        assert report.snapshot is not None
        documents = home / "data" / "small" / "snapshots" / report.snapshot / "documents.arrow"
        content = bytearray(documents.read_bytes())
        content[len(content) // 2] ^= 1
        documents.write_bytes(content)
        (home / "data" / "small" / "CURRENT").write_text(report.snapshot + "\n")
        assert running.process.stderr is not None
        for line in running.process.stderr:
            if "documents.arrow" in line:
                break
        assert running.call(f"{SEARCH}?q=whale").json()["snapshot"] == before


def failed(home: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        command("serve", "-c", str(home), *words), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


def test_no_worker_is_asked_before_it_can_answer(small_home: Path) -> None:
    with serving(small_home, "--workers", "3") as running:
        # Connections are spread over the workers as they please; none may say that it is still opening.
        assert {running.call("/search?query=whale").status for _ in range(60)} == {200}


def test_a_killed_worker_is_replaced(small_home: Path) -> None:
    with serving(small_home) as running:
        [worker] = children(running.process.pid)
        os.kill(worker, signal.SIGKILL)
        running.until(lambda: children(running.process.pid) not in ([], [worker]))
        running.until(running.ready)
        assert running.call("/search?query=whale").status == 200


def test_a_hangup_reads_everything_anew_and_drops_nobody(small_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(small_home, home)
    with serving(home, "--workers", "2") as running:
        before = set(children(running.process.pid))
        key, line = auth.new_key("search")
        with (home / "findling.toml").open("a") as file:  # its last table is [serve]
            file.write(f'keys = ["{line}"]\n')
        running.process.send_signal(signal.SIGHUP)
        seen: list[int] = []

        def moved() -> bool:
            seen.append(running.call("/search?query=whale").status)
            return len(now := set(children(running.process.pid))) == 2 and not now & before

        running.until(moved)
        running.until(lambda: running.call("/search?query=whale").status == 401)
        assert set(seen) <= {200, 401}
        assert running.call("/search?query=whale", headers={"Authorization": f"Bearer {key}"}).status == 200


def test_a_taken_port_is_one_clear_line(small_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = failed(small_home, "--port", str(port))
    assert status == 1
    assert said.startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert said.count("\n") == 1


def test_nothing_published_is_one_clear_line(tmp_path: Path) -> None:
    small.write(tmp_path)
    status, said = failed(tmp_path, "--port", "0")
    assert status == 2
    assert "nothing published" in said
    assert said.count("\n") == 1


def picture(colour: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(content, "PNG")
    return content.getvalue()


def send(service: Running, *fields: tuple[str, bytes] | tuple[str, bytes, str]) -> Reply:
    """Search by a form whose fields have a name, a value, and where they are files a file name."""
    body = b""
    for name, value, *file in fields:
        named = "".join(f'; filename="{each}"' for each in file)
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    return service.call(SEARCH, body + b"--b--\r\n", kind="multipart/form-data; boundary=b")


def test_a_picture_is_taken_as_base64_and_as_a_form(service: Running) -> None:
    posted = service.call(SEARCH, {"image": base64.b64encode(picture("red")).decode(), "mode": "semantic"})
    assert posted.status == 200
    assert len(posted.json()["hits"]) > 0
    form = send(service, ("mode", b"semantic"), ("image", picture("red"), "a.png"))
    assert form.status == 200
    assert form.json()["hits"] == posted.json()["hits"]


def test_a_form_takes_weights_and_further_terms_as_json(service: Running) -> None:
    also = [{"q": "whale", "weight": -0.5}]
    asked = {"image": base64.b64encode(picture("red")).decode(), "also": also, "mode": "semantic"}
    form = send(
        service,
        ("image", picture("red"), "a.png"),
        ("also", json.dumps(also).encode()),
        ("weights", b'{"text": 2}'),
        ("mode", b"semantic"),
    )
    assert form.status == 200
    assert form.json()["hits"] == service.call(SEARCH, asked).json()["hits"]
    for wrong in (b"[{", b'[{"quack": 1}]', b"[" * 10_000, b"[" + b"0," * 100_001 + b"0]", b"\xff"):
        assert send(service, ("q", b"x"), ("also", wrong)).status == 400


def test_a_file_that_nobody_chose_is_none(service: Running) -> None:
    """Browsers send an empty part without a file's name for an input that was left open."""
    form = send(service, ("q", b"whale"), ("image", b"", ""))
    assert form.status == 200
    assert form.json()["hits"] == service.call(SEARCH, {"q": "whale"}).json()["hits"]
    assert "no bytes" in send(service, ("q", b"whale"), ("image", b"", "a.png")).json()["detail"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "without data: before"),
        ("iVBORw0K\nGgo=", "without line ends"),
        ("iVBORw0KGgo=", "picture cannot be decoded"),
    ],
)
def test_base64_that_is_none_is_told(service: Running, image: str, said: str) -> None:
    reply = service.call(SEARCH, {"image": image})
    assert reply.status == 400
    assert said in reply.json()["detail"]


def test_what_is_sent_otherwise_learns_how(service: Running) -> None:
    two = send(service, ("image", picture("red"), "a.png"), ("image", picture("blue"), "b.png"))
    assert "more than one file; send one, and further pictures as base64 in also" in two.json()["detail"]
    for kind in ("image/png", "application/json"):
        bare = service.call(SEARCH, picture("red"), kind=kind)
        assert bare.status == 400
        assert "multipart/form-data" in bare.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"\xff" * 100, b"--x\r\nContent-Disposition: form-data\r\n\r\n"]
)
def test_a_form_that_is_none_is_refused(service: Running, body: bytes) -> None:
    reply = service.call(SEARCH, body, kind="multipart/form-data; boundary=x")
    assert (reply.status, reply.type) == (400, "application/problem+json")


def test_further_terms_are_taken_over_http(service: Running) -> None:
    body = {"q": "whale", "mode": "semantic", "also": [{"like": "emma", "weight": -1}], "k": 10}
    assert service.call(SEARCH, body).json()["hits"][-1]["id"] == "emma"
    assert service.call(SEARCH, {"q": "x", "also": [{"quack": 1}]}).status == 400
