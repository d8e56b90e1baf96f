"""The published design that the service is measured beside, rebuilt; gunicorn runs `_seed:application()`.

Flask with threads; the query's vector from sentence-transformers on torch, the neighbours from Annoy, the
titles from a key-value store (a SQLite table, a connection for each thread), a JSON list as the answer.
SEED_HOME names the directory with model, trees.ann and titles.db; SEED_SEARCH_K is Annoy's search_k.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Any


def application() -> Any:
    """The WSGI application, its model loaded."""
    import torch
    from annoy import AnnoyIndex
    from flask import Flask, jsonify, request
    from sentence_transformers import SentenceTransformer

    home = Path(os.environ["SEED_HOME"])
    torch.set_num_threads(1)  # requests are many at once: a core each serves more of them than all for one
    model = SentenceTransformer(os.environ["SEED_MODEL"], device="cpu", local_files_only=True)
    index = AnnoyIndex(384, "angular")
    index.load(str(home / "trees.ann"))
    search_k = int(os.environ.get("SEED_SEARCH_K", "-1"))
    own = threading.local()

    def titles(rows: list[int]) -> list[str]:
        if not hasattr(own, "store"):
            own.store = sqlite3.connect(f"file:{home / 'titles.db'}?mode=ro", uri=True)
        found = own.store.execute(
            f"SELECT row, title FROM titles WHERE row IN ({','.join('?' * len(rows))})", rows
        )
        by_row = dict(found.fetchall())
        return [by_row[row] for row in rows]

    app = Flask(__name__)

    @app.get("/search")
    def search() -> Any:
        query, show = request.args["query"], int(request.args.get("show", 10))
        vector = model.encode([query], normalize_embeddings=True, show_progress_bar=False)[0]
        rows = index.get_nns_by_vector(vector, show, search_k)
        return jsonify([{"id": row, "title": title} for row, title in zip(rows, titles(rows), strict=True)])

    return app
