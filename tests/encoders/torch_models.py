"""Small models with random weights in the layouts of sentence-transformers and of TensorFlow's SavedModel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from encoders.reference import small_model
from findling import encoders

_PLACE = "sentence_transformers.models"


def small_sentence(directory: Path, *, pooling: str = "mean", dense: int | None = None) -> Path:
    """A BERT that is pooled, perhaps by another matrix (`dense` numbers long), as the library lays it out."""
    small_model(directory)
    dim = json.loads((directory / "config.json").read_text())["hidden_size"]
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    (directory / "1_Pooling").mkdir(exist_ok=True)
    told = {"word_embedding_dimension": dim}
    told |= {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(told))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"})
    )
    if dense is not None:
        modules.append(("Dense", "2_Dense"))
        (directory / "2_Dense").mkdir(exist_ok=True)
        told = {"in_features": dim, "out_features": dense, "bias": False}
        (directory / "2_Dense" / "config.json").write_text(
            json.dumps({**told, "activation_function": "torch.nn.modules.linear.Identity"})
        )
        draw = np.random.default_rng(4)
        matrix = draw.normal(size=(dense, dim)).astype(np.float32)
        save_file({"linear.weight": matrix}, directory / "2_Dense" / "model.safetensors")
    write_modules(directory, modules)
    return directory


def write_modules(directory: Path, modules: list[tuple[str, str]]) -> None:
    told = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_PLACE}.{kind}"}
        for number, (kind, path) in enumerate(modules)
    ]
    (directory / "modules.json").write_text(json.dumps(told))


def small_sentence_clip(directory: Path) -> Path:
    """tiny-clip, which findling carries, as sentence-transformers lays out a CLIP."""
    shutil.copytree(Path(encoders.__file__).parent / "tiny_clip", directory)
    write_modules(directory, [("CLIPModel", "")])
    special = {f"{name}_token": "<|endoftext|>" for name in ("eos", "pad", "unk")}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|startoftext|>", **special}
    (directory / "tokenizer_config.json").write_text(json.dumps(told))
    return directory


_SAVED = '''
import sys
import tensorflow as tf

class Module(tf.Module):
    """The mean of hashed words' vectors, as NNLM computes it; not of length 1."""

    def __init__(self):
        super().__init__()
        draw = tf.random.stateless_normal((512, 24), seed=(3, 4))
        self.table = tf.Variable(draw)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        words = tf.strings.split(tf.strings.join(["^ ", texts]))
        rows = words.with_values(tf.strings.to_hash_bucket_fast(words.values, 512))
        return tf.reduce_mean(tf.gather(self.table, rows), axis=1)

module = Module()
directory, kind = sys.argv[1:]
if kind == "signature":
    plain = tf.Module()
    plain.inner = module
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def default(text):
        return {"default": module(text)}
    tf.saved_model.save(plain, directory, signatures={"default": default})
elif kind == "numbers":
    plain = tf.Module()
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def doubled(x):
        return 2 * x
    tf.saved_model.save(plain, directory, signatures={"serving_default": doubled})
else:
    tf.saved_model.save(module, directory)
'''


def small_saved_model(directory: Path, kind: str = "callable") -> Path:
    """A text module as TensorFlow saves it, made in a process of its own: importing TensorFlow is slow."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", _SAVED, str(directory), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory
