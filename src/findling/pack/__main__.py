"""What a Dockerfile runs: python -m findling.pack PACK.JSON OUT packs this Python as the file says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from findling.pack import local
from findling.progress import Silent


class Wanted(msgspec.Struct, frozen=True):
    """What goes in: extras, and encoders with their options."""

    extras: list[str]
    models: dict[str, dict[str, Any]]


if __name__ == "__main__":
    wanted = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Wanted)
    local.pack(sys.argv[2], wanted.extras, wanted.models, Silent())
