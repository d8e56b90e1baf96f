"""Worker processes around the application: one socket, one mapped snapshot, a model in each."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from findling import config, snapshot
from findling.catalog import Catalog
from findling.errors import ConfigError, FindlingError
from findling.serve.live import Collection

_STOP_SECONDS = 10  # for requests under way when the service is told to stop


@dataclass(frozen=True)
class Factory:
    """Makes the application in a worker process; plain data, so that it can be sent there."""

    paths: tuple[str, ...]
    board: str

    def __call__(self) -> Starlette:
        """The application over the collections of these configurations."""
        from findling.serve.app import create

        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
        models = config.models_cache()
        collections = [Collection(config.load(path), models) for path in self.paths]
        return create(collections, board=Path(self.board))


def run(
    paths: Sequence[Path], host: str, port: int, workers: int, told: Callable[[str, int], object]
) -> None:
    """Serve until told to stop; `told` hears the address and the number of processes once it is bound.

    Raises FindlingError where a snapshot is damaged or the port is taken.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    _check(paths)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    told(address, workers)
    board = tempfile.mkdtemp(prefix="findling-")
    settings = uvicorn.Config(
        Factory(tuple(map(str, paths)), board),
        factory=True,
        workers=workers,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    # A request is one thread's work: threads of the mathematics below would only fight over the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        Multiprocess(settings, sockets=[listening]).run()
    finally:
        shutil.rmtree(board, ignore_errors=True)


def _check(paths: Sequence[Path]) -> None:
    """Every collection has a whole published snapshot, and a name of its own."""
    names: dict[str, Path] = {}
    for path in paths:
        settings = config.load(path)
        if settings.collection in names:
            raise ConfigError(f"{path} and {names[settings.collection]} are both {settings.collection!r}")
        names[settings.collection] = path
        snapshot.check(Catalog.of(settings).local())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise FindlingError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            todo="is another service there? choose another with --port",
        ) from None
    listening.set_inheritable(True)
    return listening
