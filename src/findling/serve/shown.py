"""The pictures of documents, shown from files and archives that a build may read too."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path, PurePosixPath

from starlette.responses import FileResponse, Response

from findling import archives, storage
from findling.archives import Archive, MemberError
from findling.config import Settings
from findling.errors import SourceError, StorageError
from findling.pictures import MAX_BYTES

_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
_HEADERS = {"Cache-Control": "private, max-age=86400"}


def folders(settings: Settings) -> list[str]:
    """The configuration's, that of a source `images`, and those of `fetch.allow_paths`, links resolved."""
    source = settings.source if settings.source_kind == "images" else {}
    named = source.get("table") or source.get("path") or []
    own = [re.split(r"[*?\[]", path)[0] for path in ([named] if isinstance(named, str) else named)]
    found = []
    for path in ["", *own, *settings.fetch.get("allow_paths", [])]:
        url = storage.join(settings.base, path) if path else settings.base
        if storage.is_local(url):
            place = storage.local_path(url)
            found.append(os.path.realpath(place if place.is_dir() else place.parent))
    return found


def response(settings: Settings, reference: str) -> Response | None:
    """The picture that a document names by a path or as `archive!member`; None where it may not be shown."""
    member = archives.parts_of(reference)
    path = storage.join(settings.base, member[0] if member else reference)
    kind = _TYPES.get(PurePosixPath(member[1] if member else path).suffix.lower())
    if kind is None or "\0" in path or not storage.is_local(path):
        return None
    real = Path(os.path.realpath(storage.local_path(path)))
    if not any(real.is_relative_to(folder) for folder in folders(settings)) or not real.is_file():
        return None
    if member is None:
        return FileResponse(real, media_type=kind, headers=_HEADERS)
    try:
        archive = _opened(str(real), storage.version(str(real)))
        content = archive.read(archive.by_name[member[1]], MAX_BYTES)
    except (KeyError, MemberError, SourceError, StorageError):
        return None
    return Response(content, media_type=kind, headers=_HEADERS)


@functools.lru_cache(maxsize=8)
def _opened(path: str, version: str) -> Archive:
    """An archive, opened anew where it was replaced."""
    del version
    return Archive(path)
