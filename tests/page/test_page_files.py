"""The page's own files."""

from __future__ import annotations

import re

from stub import PAGE


def test_the_files_keep_to_the_strict_policy() -> None:
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    for path in PAGE.iterdir():
        text = path.read_text()
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            path.name
        )
        assert len(text.splitlines()) <= 300, path.name
    loaded = re.findall(r'(?:href|src)="page/([\w.]+)"', html)
    imported = [
        name for path in PAGE.glob("*.js") for name in re.findall(r'from "\./([\w.]+)"', path.read_text())
    ]
    assert {path.name for path in PAGE.iterdir()} == {"index.html", *loaded}
    assert set(imported) == {name for name in loaded if name.endswith(".js")} - {"page.js"}
