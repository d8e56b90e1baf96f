"""Fetching pictures: from the web politely, from folders and archives, each failure with its reason."""

from findling.fetch.fetcher import Fetched, Fetcher
from findling.fetch.loader import Loaded, PictureLoader
from findling.fetch.options import FetchOptions

__all__ = ["FetchOptions", "Fetched", "Fetcher", "Loaded", "PictureLoader"]
