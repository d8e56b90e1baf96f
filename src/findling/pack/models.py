"""The encoders' files as a packed environment carries them, with what they are converted to."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findling import config, registry
from findling.config import Settings
from findling.encoders import hub
from findling.encoders.base import open_encoder
from findling.errors import ConfigError

Models = Mapping[str, Mapping[str, Any]]
"""Encoders' names with their options."""


def of(settings: Settings) -> dict[str, dict[str, Any]]:
    """The encoders that a configuration names."""
    return {field.encoder: field.options for field in settings.vectors.values()}


def check(models: Models) -> None:
    """Raises ConfigError for an encoder that is unknown, or that is no preset and so cannot be carried."""
    for name in models:
        if "/" in name or name.startswith("."):
            raise ConfigError(
                f"encoder {name!r} is a directory, which a packed environment does not carry",
                todo="put it where all workers reach it under this path, or use an encoder with a name",
            )
        entry = registry.find("encoder", name)
        if entry.extra is not None:
            raise ConfigError(
                f"encoder {name!r} needs the extra {entry.extra!r}, which is not packed",
                todo="use a container image with it in place of a packed environment",
            )


def lay_out(models: Models, home: Path) -> None:
    """A model cache in `home` that holds these encoders; raises EncoderError where one is not to be had."""
    from PIL import Image

    for name, options in models.items():
        preset = registry.find("encoder", name).preset
        if preset is None:
            continue  # it has no files
        files = hub.find(preset, None, config.models_cache())
        (home / preset).mkdir(parents=True, exist_ok=True)
        for file, path in files.paths.items():
            shutil.copyfile(path, home / preset / file)
        encoder = open_encoder(name, dict(options), home)  # converts it, once for all workers
        encoder.embed_texts(["findling"])
        if "image" in encoder.spec.modalities:
            encoder.embed_images([Image.new("RGB", (32, 32))])


if __name__ == "__main__":  # what a Dockerfile runs: python -m findling.pack.models HOME NAME…
    lay_out({name: {} for name in sys.argv[2:]}, Path(sys.argv[1]))
