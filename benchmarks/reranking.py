"""The best 50 matches, ordered again by a cross-encoder, in milliseconds.

    python benchmarks/reranking.py

Measured: the scores of 50 pairs of a query and a text, by both runtimes.  The model has
the architecture of cross-encoder/ms-marco-MiniLM-L6-v2, which takes 90 MB to fetch, and
random weights: they take as long.  The texts are docstrings of the standard library,
cut or joined to some number of words.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from measuring import duration, median_seconds
from transformers import BertConfig, BertForSequenceClassification

from datasette_embeddings.cli.demo import stdlib_entries
from datasette_embeddings.config import ModelConfig
from datasette_embeddings.models.cross_encoder import CrossEncoder, load_reranker
from datasette_embeddings.models.onnx import BUNDLED_FOLDER, INPUTS
from datasette_embeddings.models.onnx_export import write_onnx
from datasette_embeddings.search.reranking import CANDIDATES

QUERY = "how do I walk through all files below a folder"
WORDS = (20, 50, 100, 200)
TURNS = 3
MAX_TOKENS = 512


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        runtimes = {
            name: load_reranker(folder, {folder: ModelConfig(runtime=name)})
            for name in ("onnx", "sentence-transformers")
        }
        for words in WORDS:
            texts = texts_of(words)
            times = median_seconds(
                TURNS,
                {
                    name: partial(all_scores, each, texts)
                    for name, each in runtimes.items()
                },
            )
            figures = "  ".join(
                f"{name} {duration(each)}" for name, each in times.items()
            )
            # Without what other programs of a busy machine take
            start = time.process_time()
            all_scores(runtimes["onnx"], texts)
            figures += f"  onnx, of all cores {duration(time.process_time() - start)}"
            print(f"{CANDIDATES} pairs, texts of {words} words: {figures}")


def write_model(folder: Path) -> None:
    """A cross-encoder as the hub has it, but with random weights."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1_536,
        num_labels=1,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BUNDLED_FOLDER / name, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "model_max_length": MAX_TOKENS}))
    path = folder / "onnx" / "model.onnx"
    write_onnx(model, path, INPUTS, "logits", max_tokens=MAX_TOKENS)


def texts_of(words: int) -> list[str]:
    """As many texts as a reranker reads, each of so many *words*."""
    known = " ".join(entry.doc for entry in stdlib_entries()).split()
    starts = range(0, len(known), len(known) // CANDIDATES)[:CANDIDATES]
    return [" ".join(known[start : start + words]) for start in starts]


def all_scores(model: CrossEncoder, texts: list[str]) -> None:
    assert sum(map(len, model.scores(QUERY, texts))) == len(texts)


if __name__ == "__main__":
    main()
