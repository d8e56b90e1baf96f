"""The bundled demo: a small sample in Open Library's dump format, and a drawer of covers for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["AUTHORS", "EDITIONS", "SAMPLE", "WORKS"]

SAMPLE: Final = Path(__file__).with_name("sample")
"""The folder of the three dump files; plain text, about 0.8 MB together."""

EDITIONS: Final = SAMPLE / "editions.txt"
WORKS: Final = SAMPLE / "works.txt"
AUTHORS: Final = SAMPLE / "authors.txt"
