"""A stand-in for the search service: the HTTP shapes that the page talks to, over books held in memory.

It is for the page's tests only. Its "search" counts shared words, likeness is shared subjects, and pictures
look alike where their colours do, so that answers are quick and always the same. It keeps no state between
requests; a test that wants a failure intercepts the request.
"""

from __future__ import annotations

import base64
import binascii
import colorsys
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = Path(__file__).parents[2] / "src" / "findling" / "serve" / "page"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
Row = dict[str, Any]

# title | authors | year | pages | subjects | language | description; "+" before the title: it has a picture
_BOOKS = """
+Moby-Dick; or, The Whale|Herman Melville|1851|635|Whaling, Sea stories, Obsession|eng|A captain who lost a leg drags his crew across the oceans to hunt one white whale.
+Twenty Thousand Leagues Under the Sea|Jules Verne|1870|420|Sea stories, Submarines|eng|A naturalist is carried off by the master of an electric submarine and sees what lies under the waves.
The Old Man and the Sea|Ernest Hemingway|1952|127|Fishing, Sea stories|eng|An old fisherman far from shore fights a great fish for three days, and then the sharks.
+In the Heart of the Sea|Nathaniel Philbrick|2000|302|Whaling, Shipwrecks|eng|How a whale sank the ship Essex, and what hunger then did to the men in its boats.
Frankenstein|Mary Wollstonecraft Shelley|1818|280|Science fiction, Monsters|eng|A student gives life to a creature, flees from it, and is followed to the ice of the north.
+Dracula|Bram Stoker|1897|418|Vampires, Horror|eng|Letters and diaries tell how a count from the mountains comes to London for blood.
Pride and Prejudice|Jane Austen|1813|432|Courtship, Sisters|eng|A quick-tongued second daughter and a proud gentleman misjudge one another at length.
Middlemarch|George Eliot|1871|880|Marriage, Provincial life|eng|Hopes large and small, and marriages good and bad, in a town of the Midlands.
+The Left Hand of Darkness|Ursula K. Le Guin|1969|304|Science fiction, Winter|eng|An envoy crosses a glacier with a friend he has misjudged, on a world whose people are neither men nor women.
Solaris|Stanisław Lem|1961|204|Science fiction, Oceans|pol|Scientists in orbit try to understand an ocean that thinks, and that sends them their dead.
+The Name of the Rose|Umberto Eco, William Weaver|1980|512|Monks, Murder, Libraries|ita|A learned friar looks into deaths in an abbey whose library is a maze.
Die Verwandlung|Franz Kafka|1915|70|Families, Alienation|deu|A salesman wakes up as a monstrous insect and becomes a burden to his family.
百年孤独 One Hundred Years of Solitude|Gabriel García Márquez|1967|417|Families, Magic realism|spa|Seven generations of one house in a town that the world forgets, with rain that lasts for years.
The Hound of the Baskervilles|Arthur Conan Doyle|1902|256|Detectives, Murder|eng|A detective must tell whether a family on the moor is hunted by a ghostly dog or by a man.
+Treasure Island|Robert Louis Stevenson|1883|292|Pirates, Sea stories|eng|A boy, a map, a ship, and a one-legged cook whom everyone likes too well.
Jane Eyre|Charlotte Brontë|1847|532|Governesses, Secrets|eng|A governess without means or family loves the master of a house that hides something upstairs.
Kindred|Octavia E. Butler|1979|264|Slavery, Time travel|eng|A writer is pulled back again and again to the plantation of an ancestor.
The Time Machine|H. G. Wells|1895|118|Science fiction, Time travel|eng|An inventor rides to a far future where one kind of people feeds on the other.
Wuthering Heights|Emily Brontë|1847|416|Revenge, Moors|eng|A foundling loves the daughter of the house, and takes revenge on two families for losing her.
+Alice's Adventures in Wonderland|Lewis Carroll|1865|192|Dreams, Nonsense|eng|A girl falls down a hole after a rabbit in a waistcoat, and finds good sense nowhere.
Things Fall Apart|Chinua Achebe|1958|209|Colonialism, Villages|eng|A strong man's world ends when missionaries and officers come to his village.
The Metamorphoses of a Very Long Title That Goes On and On Until No Cover Could Hold All of Its Words|||||eng|A book about too many words.
"""  # noqa: E501


def _books() -> Iterator[Row]:
    for number, line in enumerate(_BOOKS.strip().splitlines(), start=1):
        title, authors, year, pages, subjects, language, description = line.split("|")
        ident = f"OL{number}M"
        yield {
            "id": ident,
            "title": title.removeprefix("+"),
            "authors": authors.split(", ") if authors else [],
            "year": int(year) if year else None,
            "pages": int(pages) if pages else None,
            "subjects": subjects.split(", ") if subjects else [],
            "language": language,
            "description": description,
            "cover_url": f"covers/{ident}.svg" if title.startswith("+") else None,
            "home_page": f"https://example.org/works/{ident}",
        }
    places = ["Aachen", "Bergen", "Cádiz", "Delft", "Évora", "Fulda", "Ghent", "Huesca", "Izmir", "Jena"]
    places += ["Kraków", "Lyon", "Malmö", "Namur", "Oulu"]
    for number, place in enumerate(places * 3):
        kind = ("Walks", "Kitchens", "Bridges")[number // len(places)]
        yield {
            "id": f"G{number}",
            "title": f"{kind} of {place}",
            "authors": ["Ada Guide"],
            "year": 1990 + number % 20,
            "pages": 1200 + number,
            "subjects": ["Travel guides", "Reader's companions"],
            "language": "eng",
            "description": f"A pocket guide to the {kind.lower()} of {place}, with maps and opening hours.",
            "cover_url": None,
            "home_page": "javascript:alert(1)",
        }


def _titles() -> Iterator[Row]:
    for number, title in enumerate(
        (
            "List of whale species by length",
            "The whale that sank the Essex ship",
            "History of the lighthouse at Pharos",
        )
    ):
        yield {"id": f"t{number}", "title": title, "views": 1234 * (number + 1)}


DOCUMENTS: dict[str, list[Row]] = {"books": list(_books()), "titles": list(_titles())}
COLLECTIONS: list[Row] = [
    {
        "name": "books",
        "documents": len(DOCUMENTS["books"]),
        "snapshot": "20240501-1",
        "created": "2024-05-01T08:00:00Z",
        "title": "title",
        "columns": [column for column in DOCUMENTS["books"][0] if column != "id"],
        "facets": ["year", "subjects", "language"],
        "fields": ["text", "cover"],
        "modalities": {"text": ["text"], "cover": ["text", "image"]},
        "modes": ["hybrid", "semantic", "lexical"],
        "picture": "cover_url",
        "examples": [
            "a whale hunt that becomes an obsession",
            "a murder in a library of monks",
            "an ocean that thinks",
            "a pocket guide with maps",
        ],
        "image_hosts": [],
    },
    {
        "name": "titles",
        "documents": len(DOCUMENTS["titles"]),
        "snapshot": "20240501-2",
        "created": "2024-05-01T09:00:00Z",
        "title": "title",
        "columns": ["title", "views"],
        "facets": [],
        "fields": ["text"],
        "modalities": {"text": ["text"]},
        "modes": ["hybrid", "semantic", "lexical"],
        "picture": None,
        "examples": ["long whales"],
        "image_hosts": [],
    },
]
_WORD = re.compile(r"\w+")
_SMALL = set(_WORD.findall("a an and at by for from in into is it of on or that the to with"))
_CONDITION = re.compile(r"""^\(?(\w+) (=|contains) (?:'((?:[^']|'')*)'|([\w.]+))\)?$""")


class BadRequest(Exception):
    """What was asked for cannot be understood."""


def _problem(status: int, title: str, detail: str, code: str) -> JSONResponse:
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status, media_type="application/problem+json")


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in _WORD.findall(text.lower())} - _SMALL


def _passes(document: Row, where: str) -> bool:
    for part in where.split(" and ") if where else []:
        match = _CONDITION.match(part)
        if match is None:
            raise BadRequest(f"cannot read the filter at {part!r}")
        column, operator, text, literal = match.groups()
        wanted = text.replace("''", "'") if text is not None else int(literal)
        value = document.get(column)
        if not (wanted in (value or []) if operator == "contains" else value == wanted):
            return False
    return True


def _marks(document: Row, words: set[str]) -> dict[str, list[list[int]]]:
    found = {}
    for column in ("title", "description"):
        text = document.get(column) or ""
        spans = [list(m.span()) for m in _WORD.finditer(text) if m.group().lower().rstrip("s") in words]
        if spans:
            found[column] = spans
    return found


def hue_of(identity: str) -> int:
    """The colour of a document's picture, in degrees."""
    return zlib.crc32(identity.encode()) % 360


def _hue_in(image: str) -> float:
    """The colour in the corner of a picture, in degrees."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(image, validate=True))).convert("RGB")
    except (binascii.Error, UnidentifiedImageError):
        raise BadRequest("the picture cannot be decoded: not a picture") from None
    red, green, blue = (value / 255 for value in picture.resize((8, 8)).crop((0, 0, 1, 1)).tobytes())
    return colorsys.rgb_to_hls(red, green, blue)[0] * 360


def _alike(document: Row, hue: float | None) -> float:
    """How much a document's picture looks like a colour: 0 to 1, and 0 for one that has no picture."""
    if hue is None or not document.get("cover_url"):
        return 0.0
    apart = abs(hue_of(document["id"]) - hue) % 360
    return 1 - min(apart, 360 - apart) / 180


def _hue_asked(body: Row, liked: Row | None) -> float | None:
    """The colour that a request asks for, if it asks for one."""
    if body.get("image"):
        return _hue_in(body["image"])
    if body.get("field") != "cover" or liked is None:
        return None
    if not liked.get("cover_url"):
        raise BadRequest("no vector field can take this query")
    return float(hue_of(liked["id"]))


def search(collection: Row, body: Row) -> Row:
    """The answer to one search request, in the shape that the service documents."""
    documents = [one for one in DOCUMENTS[collection["name"]] if _passes(one, body.get("where") or "")]
    liked = next((one for one in DOCUMENTS[collection["name"]] if one["id"] == body.get("like")), None)
    hue = _hue_asked(body, liked)
    words = _words(body.get("q") or "")
    scored = []
    for one in documents:
        parts: dict[str, float] = {}
        if shared := len(words & _words(f"{one['title']} {one.get('description', '')}")):
            parts |= {"text": 0.9 * shared / len(words), "lexical": float(shared)}
        if liked is not None and hue is None:
            parts["text"] = float(len(set(one.get("subjects", [])) & set(liked.get("subjects", []))))
        parts["cover"] = _alike(one, hue)
        parts = {name: score for name, score in parts.items() if score}
        if parts and (liked is None or one is not liked):
            scored.append((sum(parts.values()), one, parts))
    scored.sort(key=lambda found: (-found[0], found[1]["id"]))
    k, offset = int(body.get("k", 10)), int(body.get("offset", 0))
    hits = [
        {
            "id": one["id"],
            "rank": rank,
            "score": score / (60 + rank),
            "scores": parts,
            "highlights": _marks(one, words),
            "document": one,
        }
        for rank, (score, one, parts) in enumerate(scored, start=1)
    ]
    facets = {}
    for column in body.get("facets") or []:
        found = (one[column] for _, one, _ in scored)
        values = (v for value in found for v in (value if isinstance(value, list) else [value]))
        counts = Counter(value for value in values if value is not None).most_common(20)
        facets[column] = [{"value": value, "count": count} for value, count in counts]
    return {
        "hits": hits[offset : offset + k],
        "facets": facets,
        "offset": offset,
        "k": k,
        "snapshot": collection["snapshot"],
        "cache": "miss",
        "degraded": False,
        "took_ms": 3.2,
    }


def make_app(names: tuple[str, ...] = ("books",)) -> ASGIApp:
    """The stand-in service over the named collections."""
    served = {one["name"]: one for one in COLLECTIONS if one["name"] in names}

    async def index(_: Request) -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")

    async def collections(_: Request) -> Response:
        return JSONResponse({"collections": list(served.values())})

    async def searching(request: Request) -> Response:
        collection = served.get(request.path_params["c"])
        if collection is None:
            return _problem(
                404, "No such collection", "There is no collection of that name.", "unknown-collection"
            )
        try:
            return JSONResponse(search(collection, await request.json()))
        except BadRequest as error:
            return _problem(400, "The request cannot be read", str(error), "bad-query")

    async def document(request: Request) -> Response:
        rows = DOCUMENTS.get(request.path_params["c"], [])
        found = next((one for one in rows if one["id"] == request.path_params["id"]), None)
        return (
            JSONResponse(found)
            if found
            else _problem(404, "No such document", "It is not here.", "unknown-id")
        )

    async def picture(request: Request) -> Response:
        turn = hue_of(request.path_params["id"])
        drawing = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="240" height="360">'
            f'<rect width="240" height="360" fill="hsl({turn} 40% 35%)"/>'
            f'<circle cx="120" cy="150" r="70" fill="hsl({turn + 40} 60% 70%)"/></svg>'
        )
        return Response(drawing, media_type="image/svg+xml")

    routes = [
        Route("/", index),
        Mount("/page", StaticFiles(directory=PAGE)),
        Route("/collections", collections),
        Route("/collections/{c}/search", searching, methods=["POST"]),
        Route("/collections/{c}/documents/{id}", document),
        Route("/collections/{c}/documents/{id}/picture", picture),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Strict)])


class _Strict:
    """Adds the content security policy that the page has to live with."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = f"{CSP}; require-trusted-types-for 'script'"
                extra = [
                    (b"content-security-policy", policy.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self.app(scope, receive, sending)
