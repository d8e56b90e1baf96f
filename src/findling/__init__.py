"""findling turns a raw dump into a live semantic search."""

__version__ = "0.1.0"
