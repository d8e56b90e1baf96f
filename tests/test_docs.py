"""The guide keeps up with the code: links lead somewhere, and what can be said to findling is described."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
import typer.main
from typer.core import TyperGroup

from findling import config, registry
from findling.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / "examples").rglob("*.md")])
GUIDE = "\n".join(
    path.read_text(encoding="utf-8") for path in [REPOSITORY / "README.md", *DOCS.rglob("*.md")]
)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in ("".join(found) for found in LINK.findall(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} links to {link}"
        assert target.is_relative_to(REPOSITORY), f"{named(page)} links outside the repository: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{named(page)} links to {link}"


def test_every_page_is_reached_from_the_guide() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    lost = [
        page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index
    ]
    assert not lost, "name these in docs/README.md"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_toml_blocks_can_be_read(page: Path) -> None:
    for block in re.findall(
        r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        tomllib.loads(block)


def verbs() -> list[str]:
    """The command line's verbs, as it knows them itself."""
    group = typer.main.get_command(app())
    return sorted(group.commands)  # type: ignore[attr-defined]


def test_every_verb_is_described() -> None:
    missing = [verb for verb in verbs() if not re.search(rf"\bfindling {verb}\b", GUIDE)]
    assert not missing, "describe these in docs/"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of findling in the pages' indented blocks, without comments, by its page."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
        for line in re.findall(r"^ {4}findling (.*)$", text, re.MULTILINE):
            if "…" not in line and " VERB" not in line:
                told = shlex.split(line, comments=True)
                yield named(page), list(itertools.takewhile(lambda word: word not in {">", "&&"}, told))


@pytest.mark.parametrize(("page", "words"), list(commands()), ids=lambda value: str(value)[:60])
def test_every_command_is_one_that_findling_knows(page: str, words: list[str]) -> None:
    del page
    command = typer.main.get_command(app())
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    with command.make_context("findling", list(words)) as context:
        assert context.args == []


def settings(struct: type[msgspec.Struct] = config.Settings) -> Iterator[str]:
    """The keys of findling.toml, those of its tables too."""
    for key, kind in get_type_hints(struct).items():
        yield key
        for inner in (kind, *get_args(kind)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                yield from settings(inner)


def backend_settings(kind: str) -> Iterator[str]:
    """The keys that backends of a kind add, by the options class beside each."""
    for name in registry.names(kind):
        backend = registry.load(kind, name)
        module = sys.modules[backend.__module__]
        options = getattr(module, f"{backend.__name__}Options", None) or getattr(module, "Options", None)
        assert options is not None, f"{module.__name__} has no options class"
        yield from options.__struct_fields__


def test_every_setting_is_described() -> None:
    described = set(re.findall(r"`\[?(?:[\w.]+\.)?(\w+)\]?`", GUIDE)) | set(toml_keys())
    backends = [key for kind in ("source", "encoder", "engine") for key in backend_settings(kind)]
    known = {*settings(), *backends}
    # `base` is where the file was found, `options` an encoder's further keys; neither can be written.
    missing = sorted(known - {"base", "options"} - described)
    assert not missing, "describe these in docs/"


def toml_keys() -> Iterator[str]:
    """The keys that the guide's toml blocks show."""

    def walk(table: dict[str, Any]) -> Iterator[str]:
        for key, value in table.items():
            yield key
            if isinstance(value, dict):
                yield from walk(value)

    for block in re.findall(r"^```toml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL):
        yield from walk(tomllib.loads(block))


def test_every_extra_is_described() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    assert [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in page] == []


def test_every_make_target_in_the_guide_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    told = set(re.findall(r"(?:^ {4}|`)make (?:[A-Z]+=\S+ )*([a-z-]+)", pages, re.MULTILINE))
    assert told <= targets
