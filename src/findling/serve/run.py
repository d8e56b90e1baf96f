"""Worker processes around the application: one socket, one mapped snapshot, a model in each."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from findling import config, snapshot
from findling.catalog import Catalog
from findling.config import ServeOptions
from findling.errors import ConfigError, FindlingError
from findling.serve import gate
from findling.serve.live import Collection
from findling.serve.tracing import Tracer

_FILES = 16_384
_UNREAD_MILLISECONDS = 30_000
_STOP_SECONDS = 10  # for requests under way when the service is told to stop
_START_SECONDS = 30  # until a worker that does not answer its supervisor is taken for hung, and killed


@dataclass(frozen=True)
class Factory:
    """Makes the application in a worker process; plain data, so that it can be sent there."""

    paths: tuple[str, ...]
    host: str
    behind_proxy: bool
    shared: str

    def __call__(self) -> Starlette:
        """The application over the collections of these configurations."""
        from findling.serve.app import create

        _open_more_files()
        logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
        logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which of its builds it looked for
        models = config.models_cache()
        collections = [Collection(config.load(path), models) for path in self.paths]
        # Read in each worker, so that one that is started anew knows new keys.
        options = options_of(collections[0].settings.serve, self.host, self.behind_proxy)
        return create(collections, options, Path(self.shared))


def _open_more_files() -> None:
    """A connection is a file; the usual limit of 1,024 is fewer than a worker takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def options_of(options: ServeOptions, host: str | None, behind_proxy: bool) -> ServeOptions:
    """The service's options: those of the first configuration, and what the command line says."""
    return msgspec.structs.replace(
        options,
        host=options.host if host is None else host,
        behind_proxy=behind_proxy or options.behind_proxy,
    )


def run(
    paths: Sequence[Path],
    host: str,
    port: int,
    workers: int,
    told: Callable[[str, int], object],
    behind_proxy: bool = False,
) -> None:
    """Serve until told to stop; `told` hears the address and the number of processes once it is bound.

    Raises ConfigError where it would let in anyone, FindlingError where a snapshot is damaged or the port is
    taken.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from findling.serve.protocol import Guarded

    _check_doors(paths, host, behind_proxy)
    _check(paths)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    told(address, workers)
    shared = tempfile.mkdtemp(prefix="findling-")
    settings = uvicorn.Config(
        Factory(tuple(map(str, paths)), host, behind_proxy, shared),
        factory=True,
        http=Guarded,
        workers=workers,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        ws="none",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_worker_healthcheck=_START_SECONDS,
    )
    # A request is one thread's work: threads of the mathematics below would only fight over the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        Multiprocess(settings, sockets=[listening]).run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _check_doors(paths: Sequence[Path], host: str, behind_proxy: bool) -> None:
    """The service is guarded as its configuration says, and there is one word on it."""
    first, *others = [config.load(path).serve for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other.keys and other.keys != first.keys:
            raise ConfigError(
                f"{path} has keys of its own",
                todo=f"the service's keys are those of {paths[0]}: set them there",
            )
    gate.check(options_of(first, host, behind_proxy))
    if tracer := Tracer.of(first.otel):
        tracer.close()


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
        if hasattr(
            socket, "TCP_USER_TIMEOUT"
        ):  # whoever reads nothing is let go, also of the little that is left
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MILLISECONDS)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise FindlingError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            todo="is another service there? choose another with --port",
        ) from None
    listening.set_inheritable(True)
    return listening
