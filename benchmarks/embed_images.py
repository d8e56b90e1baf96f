"""CLIP ViT-B/32 over pictures of a cover's size: ours against the transformers library with torch.

The pictures' tower has its full size and random weights, which take the same time as trained ones; the texts'
tower is a stub. All use the same weights, pictures and cores, and begin with decoded pictures. torch gets the
settings that were the fastest of several, in float32 and in bfloat16, and once its network alone, with
pictures that were prepared before the clock ran.

Then from addresses to vectors: 2,000 JPEGs (128 with --quick) of a web server on the same cores are fetched,
decoded and embedded, with a cache that is empty at first. A function of rows that keeps nothing between calls
fetches a picture, loads torch's model and embeds it, each time; that is measured on few pictures. Both are in
the setting, since they begin elsewhere than the others.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from _bench import arguments, installed, report, run_alternating
from _served import end_to_end, jpegs, one_at_a_time, served
from findling.encoders.base import Encoder, open_encoder
from findling.encoders.texts import unit
from findling.pictures import open_picture

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[Image.Image]], Vectors]
# The first was the fastest when all were tried; --quick takes it alone, with a batch per core.
TORCH_BATCH = [8, 16, 4]
SERVED, ROWS = "ours, from addresses", "torch, one picture at a time and a model load per call"
WIDTH, LAYERS, SIDE, PATCH, DIM, TEXT_WIDTH = 768, 12, 224, 32, 512, 64


def write_checkpoint(out: Path) -> None:
    """ViT-B/32 with random weights in the Hugging Face layout, its texts' tower one small layer."""
    ids = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    ids |= {"<|startoftext|>": 256, "<|endoftext|>": 257}
    tokenizer = Tokenizer(models.BPE(ids, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 256), ("<|endoftext|>", 257)],
    )
    tokenizer.save(str(out / "tokenizer.json"))
    text = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": len(ids),
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 257,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // 64,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    config = {"model_type": "clip", "projection_dim": DIM, "text_config": text, "vision_config": vision}
    (out / "config.json").write_text(json.dumps(config))
    crop = {"height": SIDE, "width": SIDE}
    prepared = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIDE},
        "crop_size": crop,
    }
    (out / "preprocessor_config.json").write_text(json.dumps(prepared))
    save_file(random_weights(text, vision), out / "model.safetensors", metadata={"format": "pt"})


def random_weights(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(32)
    arrays: dict[str, NDArray[np.float32]] = {"logit_scale": np.array(4.6, np.float32)}

    def add(name: str, *shape: int) -> None:
        arrays[name] = draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))

    def norm(name: str, width: int) -> None:
        arrays[f"{name}.weight"] = np.ones(width, np.float32)
        arrays[f"{name}.bias"] = np.zeros(width, np.float32)

    add("text_model.embeddings.token_embedding.weight", text["vocab_size"], TEXT_WIDTH)
    add("text_model.embeddings.position_embedding.weight", 77, TEXT_WIDTH)
    norm("text_model.final_layer_norm", TEXT_WIDTH)
    add("text_projection.weight", DIM, TEXT_WIDTH)
    add("vision_model.embeddings.class_embedding", WIDTH)
    add("vision_model.embeddings.patch_embedding.weight", WIDTH, 3, PATCH, PATCH)
    add("vision_model.embeddings.position_embedding.weight", (SIDE // PATCH) ** 2 + 1, WIDTH)
    norm("vision_model.pre_layrnorm", WIDTH)
    norm("vision_model.post_layernorm", WIDTH)
    add("visual_projection.weight", DIM, WIDTH)
    for tower, shape in (("text", text), ("vision", vision)):
        width, wide = shape["hidden_size"], shape["intermediate_size"]
        for number in range(shape["num_hidden_layers"]):
            at = f"{tower}_model.encoder.layers.{number}"
            norm(f"{at}.layer_norm1", width)
            norm(f"{at}.layer_norm2", width)
            for name, out, given in (
                *((f"self_attn.{part}_proj", width, width) for part in ("q", "k", "v", "out")),
                ("mlp.fc1", wide, width),
                ("mlp.fc2", width, wide),
            ):
                add(f"{at}.{name}.weight", out, given)
                arrays[f"{at}.{name}.bias"] = np.zeros(out, np.float32)
    return arrays


def draw_pictures(count: int) -> list[Image.Image]:
    """Pictures of 240 by 360 pixels; what they show takes no time."""
    draw = np.random.default_rng(5)
    rough = draw.integers(0, 256, (count, 12, 8, 3)).astype(np.uint8)
    return [Image.fromarray(each).resize((240, 360), Image.Resampling.BICUBIC) for each in rough]


class Peer:
    """transformers' CLIPModel with torch in batches: on all cores together, or a batch on each core."""

    def __init__(self, directory: Path, cores: int, batch: int, *, together: bool, bfloat16: bool) -> None:
        from transformers import CLIPImageProcessor, CLIPModel

        self.name = (
            f"{'bfloat16' if bfloat16 else 'float32'}, batch {batch}"
            f"{', cores together' if together else ', a batch per core'}"
        )
        self._threads, self._workers = (cores, 1) if together else (1, cores)
        self._batch = batch
        self._bfloat16 = bfloat16
        self._model = CLIPModel.from_pretrained(directory).eval()
        self._prepare = CLIPImageProcessor.from_pretrained(directory)

    def prepared(self, pictures: Sequence[Image.Image]) -> list[Any]:
        """Batches of pixels."""
        return [self._pixels(part) for part in self._parts(pictures)]

    def embed(self, pictures: Sequence[Image.Image]) -> Vectors:
        """Preparation and network."""
        return self._share(lambda part: self._vectors(self._pixels(part)), self._parts(pictures))

    def network(self, batches: list[Any]) -> Vectors:
        """The network alone, for batches of pixels."""
        return self._share(self._vectors, batches)

    def _parts(self, pictures: Sequence[Image.Image]) -> list[Any]:
        return [pictures[start : start + self._batch] for start in range(0, len(pictures), self._batch)]

    def _pixels(self, pictures: Sequence[Image.Image]) -> Any:
        return self._prepare(list(pictures), return_tensors="pt")["pixel_values"]

    def _vectors(self, pixels: Any) -> Vectors:
        import torch

        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            output = self._model.get_image_features(pixel_values=pixels)
            return unit(getattr(output, "pooler_output", output).float().numpy())

    def _share(self, work: Callable[[Any], Vectors], parts: list[Any]) -> Vectors:
        import torch

        torch.set_num_threads(self._threads)
        with ThreadPoolExecutor(self._workers) as pool:
            return np.concatenate(list(pool.map(work, parts)))


def timed(work: Callable[[], Vectors]) -> Callable[[], float]:
    """Pictures a second of one pass."""

    def rate() -> float:
        began = time.perf_counter()
        vectors = work()
        return len(vectors) / (time.perf_counter() - began)

    return rate


def main() -> None:
    given = arguments(__doc__ or "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pictures = draw_pictures(32 if given.quick else 128)
    setting: dict[str, Any] = {
        "model": "CLIP ViT-B/32, random weights",
        "pictures": f"{len(pictures)} of 240x360, decoded",
        "versions": installed("onnxruntime", "torch", "transformers", "pillow"),
    }
    files = jpegs(pictures, 128 if given.quick else 2000)
    waited: list[float] = []
    with tempfile.TemporaryDirectory() as home, served(files) as urls:
        directory = Path(home) / "model"
        directory.mkdir()
        write_checkpoint(directory)
        ours, exact = (
            open_encoder(str(directory), {"threads": cores, "precision": precision}, Path(home) / "cache")
            for precision in ("int8", "float32")
        )
        began = time.perf_counter()
        ours.embed_images(pictures[: 8 * cores])
        setting["first conversion and load, s"] = round(time.perf_counter() - began, 1)
        runs: dict[str, Callable[[], float]] = {"ours": timed(lambda: ours.embed_images(pictures))}
        from_addresses = {**runs, SERVED: end_to_end(ours, urls, 8 * cores, waited)}
        peer = add_torch(runs, directory, cores, pictures, quick=given.quick)
        if peer is None:
            setting["not installed"] = "torch or transformers"
        else:
            wanted = peer.embed(pictures[:8])
            found = (ours.embed_images(pictures[:8]) * wanted).sum(axis=1)
            setting["least cosine to torch"] = round(float(found.min()), 5)
            few = urls[: 1 if given.quick else 5]
            from_addresses[ROWS] = one_at_a_time(directory, few)
            setting[ROWS] = f"on {len(few)} of the pictures; more would take as long each"
        if not given.quick:
            exact.embed_images(pictures[:8])
            runs["ours float32"] = timed(lambda: exact.embed_images(pictures))
            setting["large JPEGs"] = reduced(exact)
        rates = run_alternating(runs, 3 if given.quick else 5)
        whole = run_alternating(from_addresses, 3)
    if "ours float32" in rates:
        setting["ours float32, pictures/s"] = round(float(np.median(rates.pop("ours float32"))), 1)
    alone, served_rates = whole.pop("ours"), whole.pop(SERVED)
    setting[SERVED] = {
        "pictures": len(files),
        "pictures/s": round(float(np.median(served_rates)), 1),
        "to the encoder alone": round(float(np.median(np.divide(served_rates, alone))), 3),
        "share of time waited": round(float(np.median(waited)), 3),
    }
    for name, theirs in whole.items():
        setting[name] = {
            "pictures/s": round(float(np.median(theirs)), 2),
            "ours from addresses to it": round(float(np.median(np.divide(served_rates, theirs))), 1),
            "measured": setting[name],
        }
    report("embed_images", "pictures/s", rates.pop("ours"), rates, setting, as_json=given.json)


def reduced(encoder: Encoder) -> dict[str, Any]:
    """Decoding JPEGs of 2048 by 3072 pixels whole and at a reduced scale, and what that does to vectors."""
    draw = np.random.default_rng(8)
    files = []
    for picture in draw_pictures(8):
        large = np.asarray(picture.resize((2048, 3072), Image.Resampling.BICUBIC)).astype(np.int16)
        large += draw.normal(0, 8, (*large.shape[:2], 1)).astype(np.int16)
        files += jpegs([Image.fromarray(large.clip(0, 255).astype(np.uint8))], 1)
    opened = {}
    spent = {}
    for name, side in (("whole", None), ("reduced", encoder.spec.jpeg_side)):
        began = time.process_time()
        opened[name] = [open_picture(file, side) for file in files]
        spent[name] = round(1000 * (time.process_time() - began) / len(files), 1)
    cosines = (encoder.embed_images(opened["whole"]) * encoder.embed_images(opened["reduced"])).sum(axis=1)
    size = "x".join(map(str, opened["reduced"][0].size))
    return {"decoded to": size, "ms": spent, "least cosine": round(float(cosines.min()), 6)}


def fastest(directory: Path, cores: int, pictures: list[Image.Image], *, bfloat16: bool, quick: bool) -> Peer:
    """torch with its best settings; --quick takes the one that was best when all were tried."""
    if quick:
        return Peer(directory, cores, TORCH_BATCH[0], together=False, bfloat16=bfloat16)
    settings = [(batch, together) for batch in TORCH_BATCH for together in (False, True)]
    peers = [
        Peer(directory, cores, batch, together=together, bfloat16=bfloat16) for batch, together in settings
    ]
    for peer in peers:
        peer.embed(pictures[:16])
    return max(peers, key=lambda peer: timed(lambda: peer.embed(pictures))())


def add_torch(
    runs: dict[str, Callable[[], float]],
    directory: Path,
    cores: int,
    pictures: list[Image.Image],
    *,
    quick: bool,
) -> Peer | None:
    """Adds the peers to `runs`; None where torch is not installed."""
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        return None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    exact, half = (
        fastest(directory, cores, pictures, bfloat16=bfloat16, quick=quick) for bfloat16 in (False, True)
    )
    pixels = exact.prepared(pictures)
    runs[f"transformers with torch, {exact.name}"] = timed(lambda: exact.embed(pictures))
    runs[f"torch, network alone, {exact.name}"] = timed(lambda: exact.network(pixels))
    runs[f"transformers with torch, {half.name}"] = timed(lambda: half.embed(pictures))
    return exact


if __name__ == "__main__":
    sys.exit(main())
