"""From one short text to its vector, with the model loaded and no text asked twice.

    python benchmarks/query_vector.py

Measured: ``embed_query()`` of the bundled model.  Against: ``encode()`` of
sentence-transformers with the fp32 weights of the same model, the same texts.

Must hold: at most 5 ms.
"""

from __future__ import annotations

import random
import statistics
from functools import partial

from hub_cache import model_folder
from measuring import OURS, print_line, print_speedup, seconds
from sentence_transformers import SentenceTransformer

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL

PEER = "sentence-transformers"
WORDS = (
    "backup",
    "database",
    "deploy",
    "image",
    "kitten",
    "laptop",
    "migrate",
    "query",
)
TURNS, TEXTS_A_TURN = 20, 10
AT_MOST_MS = 5.0


def main() -> None:
    ours = load_model(DEFAULT_MODEL)
    peer = SentenceTransformer(str(model_folder()), device="cpu")
    works = {OURS: ours.embed_query, PEER: peer.encode}
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS):
        texts = questions(turn)
        for name, work in works.items():
            # Threads of the other side may still spin, on cores that this one needs
            work("warm up")
            times[name] += [seconds(partial(work, text)) for text in texts]
    medians = {name: statistics.median(each) for name, each in times.items()}
    print_speedup("query vector", medians, PEER)
    found_ms = medians[OURS] * 1000
    figures = [f"ours {found_ms:.2f} ms"]
    print_line("query vector", figures, found_ms, " ms", at_most=AT_MOST_MS)


def questions(turn: int) -> list[str]:
    """Texts of three to eight words, others every *turn*."""
    chance = random.Random(turn)
    return [
        " ".join(chance.choices(WORDS, k=chance.randint(3, 8)))
        for _ in range(TEXTS_A_TURN)
    ]


if __name__ == "__main__":
    main()
