"""Verbs that judge: eval."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    del app
