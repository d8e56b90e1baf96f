"""JPEGs on a web server of this machine, and vectors made of them from their addresses on."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from findling.encoders.base import Encoder
from findling.fetch import Fetcher, FetchOptions, PictureLoader


def jpegs(pictures: Sequence[Image.Image], count: int) -> list[bytes]:
    """So many files, no two alike."""
    files = []
    for number in range(count):
        content = io.BytesIO()
        picture = pictures[number % len(pictures)]
        picture.save(content, "JPEG", quality=90, comment=str(number).encode())
        files.append(content.getvalue())
    return files


@contextmanager
def served(files: list[bytes]) -> Iterator[list[str]]:
    """Their addresses, while a process of its own answers there."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(files, theirs), daemon=True)
    process.start()
    try:
        port = ours.recv()
        yield [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(len(files))]
    finally:
        process.terminate()
        process.join()


def end_to_end(encoder: Encoder, urls: list[str], batch: int, waited: list[float]) -> Callable[[], float]:
    """Pictures a second from addresses to vectors, nothing had before; notes the share of time waited."""
    options = FetchOptions.read({"allow_hosts": ["127.0.0.1"], "per_minute": 0, "robots": False})

    def rate() -> float:
        with tempfile.TemporaryDirectory() as cache, Fetcher(options, Path(cache)) as fetcher:
            began = time.perf_counter()
            done = 0
            with PictureLoader(fetcher, at_least=encoder.spec.jpeg_side) as loader:
                for loaded in loader.stream(urls, batch):
                    done += len(encoder.embed_images([each.image for each in loaded if each.image]))
                spent = time.perf_counter() - began
            if done != len(urls):
                sys.exit(f"{len(urls) - done} of {len(urls)} pictures failed: {fetcher.failures}")
            waited.append(loader.waited / (loader.waited + loader.worked))
        return done / spent

    return rate


def one_at_a_time(directory: Path, urls: list[str]) -> Callable[[], float]:
    """Pictures a second where each call fetches a picture, loads torch's model anew and embeds it."""

    def rate() -> float:
        began = time.perf_counter()
        for url in urls:
            _row(directory, url)
        return len(urls) / (time.perf_counter() - began)

    return rate


def _row(directory: Path, url: str) -> list[float]:
    """What a function of rows does that keeps nothing from one call to the next."""
    import torch
    from transformers import CLIPImageProcessor, CLIPModel

    with urllib.request.urlopen(url) as answer:
        picture = Image.open(io.BytesIO(answer.read())).convert("RGB")
    model = CLIPModel.from_pretrained(directory).eval()
    prepare = CLIPImageProcessor.from_pretrained(directory)
    with torch.inference_mode():
        output = model.get_image_features(**prepare([picture], return_tensors="pt"))
    vector = getattr(output, "pooler_output", output)[0].float().numpy()
    return [float(number) for number in vector / np.linalg.norm(vector)]


def _serve(files: list[bytes], ready: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Answers(files), "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class _Answers(asyncio.Protocol):
    """Just enough of HTTP/1.1: a file for each request, on a connection that stays open."""

    def __init__(self, files: list[bytes]) -> None:
        self._files = files
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            asked, _, self._asked = self._asked.partition(b"\r\n\r\n")
            file = self._files[int(asked.split(b" ", 2)[1][1:].removesuffix(b".jpg"))]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % len(file) + file)
