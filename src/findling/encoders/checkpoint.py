"""The files of one model: known by their hashes at once, read and converted when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from findling.encoders import hub, kept
from findling.encoders.base import EncoderSpec
from findling.encoders.presets import PRESETS, WEIGHTS, Preset
from findling.errors import EncoderError

Find = Callable[[str | None, str | None, Path | None], hub.Files]
Facts = Callable[[dict[str, str]], list[str]]
Convert = Callable[[hub.Files, Path], None]


class Checkpoint:
    """A model named by a preset, by a directory, or by both (then the files must be the preset's).

    `preset` is the preset where its files' hashes are all known: then nothing is read before vectors are
    wanted; else `sha256` has those of the files that were found. `cache` is where models are looked for and
    converted forms kept, and `find` looks for the files (`hub.find`). Raises ConfigError where neither is
    given, EncoderError for a directory without a model.
    """

    def __init__(
        self, preset: str | None, path: str | None, cache: Path | None, find: Find | None = None
    ) -> None:
        known: Preset | None = PRESETS[preset] if preset is not None else None
        self._look = partial(find or hub.find, preset, path, cache)
        self._cache = cache
        self.preset = known if known and not known.unpinned else None
        self.sha256 = self.preset.files if self.preset else self._look().sha256
        self._is_elsewhere = path is not None
        self._name = known.repo if known else Path(path or "").resolve().name
        self._revision = known.revision if known else "local"

    def spec(self, **more: Any) -> EncoderSpec:
        """The spec of an encoder of this model, with what the encoder says of itself."""
        return EncoderSpec(name=self._name, revision=self._revision, sha256=self.sha256[WEIGHTS], **more)

    def files(self) -> hub.Files:
        """The files; raises EncoderError where they are not there, or changed since this was opened."""
        found = self._look()
        if found.sha256[WEIGHTS] != self.sha256[WEIGHTS]:
            raise EncoderError(f"{found.paths[WEIGHTS]} changed since this encoder was opened")
        return found

    def converted(self, facts: Facts, convert: Convert, keep: ExitStack) -> Path:
        """A directory with what `convert` makes of the files, kept in the cache under what `facts` tells.

        `facts` gets the hashes of the files, and tells all that decides the result. Without a cache the
        directory lasts until `keep` closes. What is kept of pinned files needs those files no more.
        """
        if self._cache is not None and self.preset is not None and not self._is_elsewhere:
            there = kept.place(self._cache, facts(self.sha256))
            if kept.intact(there):
                return there
        files = self.files()
        target = kept.place(self._cache, facts(files.sha256)) if self._cache is not None else None
        return kept.or_made(target, lambda out: convert(files, out), keep)
