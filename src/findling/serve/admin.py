"""What whoever runs the service may have it do: look for a new snapshot, or go back to the one before."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from findling.catalog import Catalog
from findling.errors import FindlingError
from findling.serve.live import Collection


def reload(collection: Collection) -> dict[str, Any]:
    """Move to the snapshot that CURRENT names, also to one that was refused before."""
    try:
        moved = collection.refresh(force=True)
    except FindlingError as error:
        # It is not the request that is wrong, nor this service: the old snapshot answers as before.
        error.status = HTTPStatus.CONFLICT
        raise
    return {"collection": collection.name, "snapshot": collection.searcher.manifest.id, "moved": moved}


def rollback(collection: Collection) -> dict[str, Any]:
    """Publish the snapshot before the current one, and move to it."""
    try:
        Catalog.of(collection.settings).rollback()
    except FindlingError as error:
        error.status = HTTPStatus.CONFLICT
        raise
    return reload(collection)
