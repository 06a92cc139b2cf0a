"""Texts a second of the runtime ``sentence-transformers``, and of the library itself.

    python benchmarks/library_speed.py CORPUS.json [--limit N] [--device cuda]

CORPUS.json is a list of objects with ``path``, ``title`` and ``body``; both titles and
bodies are embedded, so short and long texts are mixed.

Measured: ``embed_passages`` of a loaded model.  Against: ``encode_document`` of
the library's own object with the same weights, with the fastest of a few
batch sizes, which are tried first.

Must hold: at least 0.95 times as fast.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from hub_cache import model_folder
from measuring import OURS, median_seconds, print_line, seconds
from sentence_transformers import SentenceTransformer

from datasette_embeddings import load_model
from datasette_embeddings.config import ModelConfig

BATCH_SIZES = (16, 32, 64, 128, 256, 512)
PEER = "by hand"


def main() -> None:
    arguments = parsed_arguments()
    pages = json.loads(arguments.corpus.read_text("utf-8"))[: arguments.limit]
    texts = [page[name] for page in pages for name in ("title", "body")]
    folder = str(model_folder())
    ours = load_model(folder, {folder: ModelConfig(device=arguments.device)})
    library = SentenceTransformer(folder, device=arguments.device)

    def by_hand(size: int) -> np.ndarray:
        return library.encode_document(texts, batch_size=size, show_progress_bar=False)

    by_hand(BATCH_SIZES[0])
    tried = {size: seconds(lambda size=size: by_hand(size)) for size in BATCH_SIZES}
    best = min(tried, key=tried.__getitem__)
    works = {OURS: lambda: ours.embed_passages(texts), PEER: lambda: by_hand(best)}
    times = median_seconds(arguments.turns, works)
    figures = [
        f"{name} {len(texts) / took:,.0f} a second" for name, took in times.items()
    ]
    ratio = times[PEER] / times[OURS]
    work = f"{len(texts)} texts on {library.device}, by hand in batches of {best}"
    print_line(work, [*figures, f"{ratio:.2f}x as fast"], ratio, "x", at_least=0.95)
    furthest = float(np.abs(ours.embed_passages(texts) - by_hand(best)).max())
    print(f"largest difference of a number: {furthest:.1e}")


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N pages")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
