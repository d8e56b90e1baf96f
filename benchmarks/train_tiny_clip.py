"""Trains tiny-clip: a small two-tower model from pictures that findling draws, and captions of them.

Nothing but this repository goes in: drawn scenes and covers, and captions in varied words (_captions.py). Out
come the files of a CLIP checkpoint in the Hugging Face layout, in half precision, written aside and renamed.
One combination of motif, colour and background in eight is never trained on; the evaluation at the end asks
for those only. About half an hour on one core; the same seed gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from safetensors.numpy import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from _captions import Caption, caption, held_out
from _drawn import LISTS, MARGIN, SIDE, Pixels, Pool, draw_pool, drawn_covers, numbers, say, squeezed
from findling.demo.scenes import Scene

PATCH, WIDTH, LAYERS = 8, 128, 4
TEXT_WIDTH, TEXT_LAYERS, TOKENS, VOCABULARY, DIM = 128, 2, 32, 2000, 128
BATCH = 64


def train_tokenizer(pool: Pool, seed: int) -> tokenizers.Tokenizer:
    """Byte-level BPE over the captions' words: what is written in them is one token a word."""
    rng = random.Random(f"words/{seed}")
    made = tokenizers.Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    captions = (caption(scene, rng).text for _ in range(6) for scene in pool.scenes)
    made.train_from_iterator(captions, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    return made


def new_model(vocabulary: int) -> CLIPModel:
    """An untrained model of tiny-clip's shape."""
    text = {
        "vocab_size": vocabulary,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": TEXT_WIDTH // 32,
        "max_position_embeddings": TOKENS,
        "hidden_act": "gelu",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = {
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // 32,
        "hidden_act": "gelu",
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))


def prepare_eyes(model: CLIPModel, pictures: Pixels, draw: np.random.Generator) -> None:
    """Starts the pictures' tower from whitened patches and from positions in two dimensions.

    Most of what differs between patches is their brightness; scaled to equal variance, edges count from the
    first step, and motifs are learned in half the steps.
    """
    grid = SIDE // PATCH
    patches = pictures.reshape(-1, grid, PATCH, grid, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)
    flat = (patches.reshape(-1, 3 * PATCH * PATCH).astype(np.float64) - 127.5) / 63.75
    variance, directions = np.linalg.eigh(np.cov(flat.T))
    most = np.argsort(-variance)[:WIDTH]
    whitened = (directions[:, most] / np.sqrt(variance[most] + 1e-3)).T
    turned = np.linalg.qr(draw.standard_normal((WIDTH, WIDTH)))[0] @ whitened
    waves = 100.0 ** -(np.arange(WIDTH // 4) / (WIDTH // 4))
    places = np.zeros((grid * grid + 1, WIDTH))
    for place in range(grid * grid):
        angles = [along * waves for along in (place % grid, place // grid)]
        places[place + 1] = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)])
    embeddings = model.vision_model.embeddings
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(torch.from_numpy(turned.reshape(WIDTH, 3, PATCH, PATCH)))
        embeddings.position_embedding.weight.copy_(torch.from_numpy(0.5 * places))


def token_ids(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """(n, longest) int64 token ids, padded with the end token."""
    encoded = [each.ids[:TOKENS] for each in tokenizer.encode_batch_fast(list(texts))]
    longest = max(map(len, encoded))
    return torch.tensor([ids + [1] * (longest - len(ids)) for ids in encoded])


def pixels(pictures: Pixels) -> torch.Tensor:
    """(n, 3, side, side) float32 around 0 from (n, side, side, 3) uint8."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().sub_(127.5).div_(63.75)


def features(model: CLIPModel, images: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Unit vectors of pictures and texts, and what the pictures' tower made before its projection."""
    seen = model.vision_model(pixel_values=images).pooler_output
    read = model.text_model(input_ids=ids).pooler_output
    return (
        functional.normalize(model.visual_projection(seen).float(), dim=-1),
        functional.normalize(model.text_projection(read).float(), dim=-1),
        seen,
    )


def fits(captions: Sequence[Caption], scenes: Sequence[Scene]) -> torch.Tensor:
    """(texts, pictures) float32: 1 where the text is true of the picture."""
    shown = np.array([numbers(scene) for scene in scenes])
    allowed = np.ones((len(captions), len(scenes)), bool)
    for part, (names, place) in enumerate(
        zip(LISTS, ("motifs", "colours", "backgrounds", "skies"), strict=True)
    ):
        table = np.array([[name in getattr(each, place) for name in names] for each in captions])
        allowed &= table[:, shown[:, part]]
    return torch.from_numpy(allowed.astype(np.float32))


def train(pool: Pool, tokenizer: tokenizers.Tokenizer, steps: int, seed: int) -> CLIPModel:
    """The trained model: captions against pictures, and pictures' parts named outright to learn faster."""
    torch.manual_seed(seed)
    rng, draw = random.Random(f"train/{seed}"), np.random.default_rng(seed)
    model = new_model(tokenizer.get_vocab_size())
    sample = draw.choice(len(pool.whole), min(2000, len(pool.whole)), replace=False)
    prepare_eyes(model, pool.whole[sample], draw)
    heads = nn.ModuleList(nn.Linear(WIDTH, len(names)) for names in LISTS)
    every = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(every, lr=1.0, weight_decay=0.05, betas=(0.9, 0.98))
    warm = max(1, steps // 40)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            1.2e-3
            * min(1.0, (step + 1) / warm)
            * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
        ),
    )
    began = time.process_time()
    order: list[int] = []
    for step in range(steps):
        while len(order) < BATCH:
            order.extend(draw.permutation(len(pool.scenes)).tolist())
        chosen, order = order[:BATCH], order[BATCH:]
        images = pool.whole[chosen].copy()
        for place, number in enumerate(chosen):
            if rng.random() < 0.6:
                x, y = rng.randint(0, MARGIN), rng.randint(0, MARGIN)
                images[place] = pool.wide[number, y : y + SIDE, x : x + SIDE]
            if rng.random() < 0.5:
                images[place] = images[place, :, ::-1]
        bright = torch.from_numpy(draw.uniform(0.9, 1.1, (BATCH, 1, 1, 1)).astype(np.float32))
        scenes = [pool.scenes[number] for number in chosen]
        captions = [caption(scene, rng) for scene in scenes]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen, read, pooled = features(
                model, pixels(images) * bright, token_ids(tokenizer, [each.text for each in captions])
            )
            named = [head(pooled) for head in heads]
        scores = model.logit_scale.exp().clamp(max=60) * read @ seen.T
        right = fits(captions, scenes)
        loss = (
            -0.5
            * (
                (functional.log_softmax(scores, 1) * right).sum(1) / right.sum(1)
                + (functional.log_softmax(scores, 0) * right).sum(0) / right.sum(0)
            ).mean()
        )
        shown = torch.tensor([numbers(scene) for scene in scenes])
        for part, logits in enumerate(named):
            weight = 0.8 if part == 0 else 0.2
            loss = loss + weight * functional.cross_entropy(logits.float(), shown[:, part])
        loss.backward()
        nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
        if step % 100 == 0 or step == steps - 1:
            right_share = [
                (logits.argmax(1) == shown[:, part]).float().mean().item()
                for part, logits in enumerate(named)
            ]
            say(
                f"step {step}/{steps}: loss {loss.item():.3f}, motif, colour, background, sky "
                f"{' '.join(f'{share:.2f}' for share in right_share)}, {time.process_time() - began:.0f} s"
            )
    return model.eval()


def evaluate(model: CLIPModel, tokenizer: tokenizers.Tokenizer, count: int, seed: int) -> dict[str, float]:
    """recall@10 and its like over covers of held-out combinations, asked for in captions never seen."""
    rng = random.Random(f"ask/{seed}")
    scenes: list[Scene] = []
    pictures = []
    for scene, picture in drawn_covers(f"evaluate/{seed}"):
        if held_out(scene):
            scenes.append(scene)
            pictures.append(squeezed(picture, SIDE))
            if len(scenes) == count:
                break
    asked = [caption(scene, rng, full=True) for scene in scenes]
    plain = [f"a {scene.colour} {scene.motif}" for scene in scenes]

    def ranks(texts: list[str]) -> torch.Tensor:
        with torch.inference_mode():
            seen, read, _ = features(model, pixels(np.stack(pictures)), token_ids(tokenizer, texts))
        scores = read @ seen.T
        return (scores > scores.diag()[:, None]).sum(1)

    found, drawn = ranks([each.text for each in asked]), ranks([scene.caption for scene in scenes])
    with torch.inference_mode():
        seen, read, _ = features(model, pixels(np.stack(pictures)), token_ids(tokenizer, plain))
    best = (read @ seen.T).argmax(1).tolist()
    pairs = [(scenes[number], scene) for number, scene in zip(best, scenes, strict=True)]
    return {
        "covers": count,
        "recall_at_1": (found < 1).float().mean().item(),
        "recall_at_10": (found < 10).float().mean().item(),
        "recall_at_10_of_scene_captions": (drawn < 10).float().mean().item(),
        "first_hit_has_the_motif": float(np.mean([a.motif == b.motif for a, b in pairs])),
        "first_hit_has_the_colour": float(np.mean([a.colour == b.colour for a, b in pairs])),
    }


def write(model: CLIPModel, tokenizer: tokenizers.Tokenizer, out: Path) -> None:
    """The checkpoint's files, aside and then renamed to `out`, whose old content goes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tiny-clip-", dir=out.parent) as parent:
        aside = Path(parent) / "model"
        aside.mkdir()
        arrays = {
            # not ascontiguousarray, which makes a scalar an array that transformers refuses
            name: np.array(array.detach().numpy(), np.float16, order="C")
            for name, array in model.state_dict().items()
            if not name.endswith("position_ids")
        }
        save_file(arrays, aside / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save(str(aside / "tokenizer.json"))
        config: dict[str, Any] = {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": DIM,
            "text_config": _kept(model.config.text_config, "vocab_size max_position_embeddings bos_token_id"),
            "vision_config": _kept(model.config.vision_config, "image_size patch_size"),
        }
        config["text_config"]["eos_token_id"] = 1
        preprocessing = {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"height": SIDE, "width": SIDE},
            "resample": 3,
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.25] * 3,
        }
        for name, content in (("config.json", config), ("preprocessor_config.json", preprocessing)):
            (aside / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        for path in aside.iterdir():
            path.chmod(0o644)
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)


def _kept(config: Any, more: str) -> dict[str, Any]:
    names = "hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_act layer_norm_eps"
    return {name: getattr(config, name) for name in (*names.split(), *more.split())}


def main() -> None:
    """Draws, trains, evaluates and writes; prints the evaluation as JSON."""
    package = Path(__file__).resolve().parent.parent / "src" / "findling" / "encoders" / "tiny_clip"
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=package)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tiny-clip-pool")
    parser.add_argument("--covers", type=int, default=9000)
    parser.add_argument("--scenes", type=int, default=12000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    began = time.process_time()
    pool = draw_pool(given.covers, given.scenes, given.seed, given.cache)
    tokenizer = train_tokenizer(pool, given.seed)
    say(f"{len(pool.scenes)} pictures, {tokenizer.get_vocab_size()} tokens")
    model = train(pool, tokenizer, given.steps, given.seed)
    with torch.inference_mode():
        for parameter in model.parameters():  # what is evaluated is what is written
            parameter.copy_(parameter.half().float())
    result = evaluate(model, tokenizer, 500, given.seed)
    write(model, tokenizer, given.out)
    pins = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(given.out.iterdir())}
    print(
        json.dumps(
            {
                "evaluation": result,
                "sha256 for presets.py": pins,
                "cpu_seconds": round(time.process_time() - began),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
