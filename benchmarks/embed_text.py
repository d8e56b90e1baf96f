"""MiniLM over real titles: ours against sentence-transformers with torch, and ONNX Runtime in fp32.

All use the same weights, titles and cores. Each peer has its best settings: sentence-transformers sorts by
length itself and gets the batch size that was the fastest of several; ONNX Runtime gets the graph in its own
fused operators, our tokenizer, and our batches of equal length, which spare it all padding.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _bench import arguments, installed, report, run_alternating
from findling.encoders import hub
from findling.encoders.base import open_encoder
from findling.encoders.texts import Tokenizer, equal_lengths, unit

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
# The first was the fastest when all were tried; --quick takes it alone, with a batch per core.
TORCH_BATCH = [16, 32, 64]
ONNX_TOKENS = [1024, 512, 4096]


def read_titles(count: int) -> list[str]:
    """`count` distinct titles drawn from the collection with a fixed seed."""
    import gzip

    home = os.environ.get("FINDLING_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(home) / "titles" / "titles.tsv.gz"
    if not path.is_file():
        sys.exit(f"no titles at {path}: set FINDLING_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        column = next(lines).rstrip("\n").split("\t").index("title")
        titles = [line.rstrip("\n").split("\t")[column] for line in lines]
    return random.Random(7).sample(titles, count)


def open_ours(cores: int, cache: Path) -> Embed:
    encoder = open_encoder("minilm", {"threads": cores}, cache)
    return lambda texts: encoder.embed_texts(list(texts))


def open_torch(files: hub.Files, cores: int, batch: int, *, together: bool) -> Embed:
    """One model on all cores `together`, or a model for each core with its share of the texts."""
    import torch
    from sentence_transformers import SentenceTransformer

    home = str(files.paths[hub.CONFIG].parent)
    parts = 1 if together else cores
    models = [SentenceTransformer(home, device="cpu", local_files_only=True) for _ in range(parts)]

    def share(part: int, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = models[part].encode(
            list(texts[part::parts]), batch_size=batch, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    def embed(texts: Sequence[str]) -> Vectors:
        torch.set_num_threads(cores // parts)
        vectors = np.empty((len(texts), 384), np.float32)
        with ThreadPoolExecutor(parts) as pool:
            for part, found in enumerate(pool.map(share, range(parts), [texts] * parts)):
                vectors[part::parts] = found
        return vectors

    return embed


def open_onnx(files: hub.Files, cores: int, tokens_in_batch: int, *, together: bool) -> Embed:
    """Each batch on all cores `together`, or a batch on each core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores if together else 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(fused_graph(files), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer(files.paths[hub.TOKENIZER], 256, special=True)

    def embed(texts: Sequence[str]) -> Vectors:
        tokens = tokenizer(texts)
        vectors = np.empty((len(texts), 384), np.float32)

        def run(rows: NDArray[np.intp]) -> None:
            (states,) = session.run(None, {"ids": np.array([tokens[row] for row in rows], np.int32)})
            vectors[rows] = unit(states.mean(axis=1))

        with ThreadPoolExecutor(1 if together else cores) as pool:
            list(pool.map(run, equal_lengths([len(ids) for ids in tokens], tokens_in_batch)))
        return vectors

    return embed


def fused_graph(files: hub.Files) -> bytes:
    """MiniLM as an ONNX model of ONNX Runtime's fused operators, which its own optimizer would arrive at."""
    from onnx import TensorProto, helper, numpy_helper

    arrays = hub.read_arrays(files.paths[hub.WEIGHTS])
    config = hub.read_json(files.paths[hub.CONFIG])
    epsilon = float(config["layer_norm_eps"])
    weights: dict[str, Any] = {}
    nodes: list[Any] = []

    def give(name: str, array: NDArray[Any]) -> str:
        weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def norm(name: str) -> list[str]:
        return [give(f"{name}.{part}", arrays[f"{name}.{part}"]) for part in ("weight", "bias")]

    def product(inputs: str, name: str, output: str) -> str:
        return node("MatMul", [inputs, give(f"{name}.weight", arrays[f"{name}.weight"].T)], output)

    fused = "com.microsoft"
    words = give("words", arrays["embeddings.word_embeddings.weight"])
    kind = arrays["embeddings.token_type_embeddings.weight"][0]
    places = give("places", arrays["embeddings.position_embeddings.weight"] + kind)
    length = node("Shape", ["ids"], "length", start=1, end=2)
    here = node("Slice", [places, give("zero", np.zeros(1, np.int64)), length], "here")
    x = node("Add", [node("Gather", [words, "ids"], "word"), here], "sum")
    x = node("LayerNormalization", [x, *norm("embeddings.LayerNorm")], "embedded", epsilon=epsilon)
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        parts = [f"{at}attention.self.{name}" for name in ("query", "key", "value")]
        qkv = give(f"{at}qkv", np.concatenate([arrays[f"{part}.weight"] for part in parts]).T)
        bias = give(f"{at}qkv.bias", np.concatenate([arrays[f"{part}.bias"] for part in parts]))
        heads = config["num_attention_heads"]
        mixed = node("Attention", [x, qkv, bias], f"{at}mixed", fused, num_heads=heads)
        for step, (before, up) in enumerate(((mixed, None), (None, f"{at}intermediate.dense"))):
            name = f"{at}output" if step else f"{at}attention.output"
            inner = before or x
            if up is not None:
                inner = product(x, up, f"{at}up")
                inner = node(
                    "BiasGelu", [inner, give(f"{up}.bias", arrays[f"{up}.bias"])], f"{at}gelu", fused
                )
            out = product(inner, f"{name}.dense", f"{name}.product")
            given = [out, x, *norm(f"{name}.LayerNorm"), give(f"{name}.bias", arrays[f"{name}.dense.bias"])]
            x = node("SkipLayerNormalization", given, f"{name}.normed", fused, epsilon=epsilon)
    graph = helper.make_graph(
        nodes,
        "minilm",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["texts", "tokens"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["texts", "tokens", 384])],
        list(weights.values()),
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(fused, 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()


def fastest(opened: dict[str, Embed], titles: Sequence[str]) -> tuple[str, Embed]:
    """Of one peer's settings, that which embeds a few titles fastest."""

    def seconds(embed: Embed) -> float:
        embed(titles[:64])
        start = time.perf_counter()
        embed(titles)
        return time.perf_counter() - start

    taken = {setting: seconds(embed) for setting, embed in opened.items()}
    best = min(taken, key=lambda setting: taken[setting])
    return best, opened[best]


def settings(
    open_peer: Callable[..., Embed], files: hub.Files, cores: int, sizes: list[int]
) -> dict[str, Embed]:
    """One peer opened with each size of batch, in both ways of using the cores."""
    return {
        f"batch {size}, {'cores together' if together else 'a batch per core'}": open_peer(
            files, cores, size, together=together
        )
        for size in sizes
        for together in ((True, False) if len(sizes) > 1 else (False,))
    }


def main() -> None:
    chosen = arguments(__doc__ or "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    titles = read_titles(1_000 if chosen.quick else 8_000)
    files = hub.find("minilm", None, None)
    setting: dict[str, Any] = {
        "titles": len(titles),
        "libraries": installed("ctranslate2", "torch", "sentence-transformers", "onnxruntime", "onnx"),
    }
    embeds: dict[str, Embed] = {}
    with tempfile.TemporaryDirectory() as cache:
        embeds["ours"] = open_ours(cores, Path(cache))
        missing = {}
        trial = titles[:256]
        for name, open_peer, sizes in (
            ("onnxruntime-fp32", open_onnx, ONNX_TOKENS),
            ("sentence-transformers-torch", open_torch, TORCH_BATCH),
        ):
            try:
                ways = settings(open_peer, files, cores, sizes[:1] if chosen.quick else sizes)
            except ImportError as error:
                missing[name] = f"not installed: {error.name}"
            else:
                setting[name], embeds[name] = fastest(ways, trial)
        setting |= {"missing": missing} if missing else {}
        ours = embeds["ours"](trial)
        setting["mean_cosine_of_ours_to"] = {
            name: round(float((embed(trial) * ours).sum(axis=1).mean()), 5)
            for name, embed in embeds.items()
            if name != "ours"
        }

        def timed(embed: Embed) -> Callable[[], float]:
            def run() -> float:
                start = time.perf_counter()
                embed(titles)
                return len(titles) / (time.perf_counter() - start)

            return run

        rates = run_alternating(
            {name: timed(embed) for name, embed in embeds.items()}, 2 if chosen.quick else 5
        )
    mine = rates.pop("ours")
    report("embed_text", "titles/s", mine, rates, setting, as_json=chosen.json)


if __name__ == "__main__":
    main()
