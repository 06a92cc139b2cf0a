"""How near the bundled int8 model is to the fp32 weights that it was made from.

    python benchmarks/model_recall.py CORPUS.json [--limit N]

CORPUS.json is a list of objects with ``path``, ``title`` and ``body``; titles should be
distinct, and not part of the body.

Measured: the vectors of every body and title by the bundled model.  Against: those by
sentence-transformers with the fp32 weights.  Cosine: of the two vectors of one body.
Recall: how many of a body's ten nearest others are the same ones.  MRR: the mean of
1 / rank at which a title finds its body.

Must hold: least cosine 0.998, recall 0.97.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hub_cache import model_folder
from measuring import print_line
from sentence_transformers import SentenceTransformer

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datasette_embeddings.vectors import Vectors

NEIGHBOURS = 10


def main() -> None:
    bodies, titles = read_corpus()
    ours = load_model(DEFAULT_MODEL)
    peer = SentenceTransformer(str(model_folder()), device="cpu")
    our_bodies, peer_bodies = ours.embed_passages(bodies), peer.encode(bodies)
    our_titles, peer_titles = ours.embed_passages(titles), peer.encode(titles)

    work = f"{len(bodies)} pages, int8 and fp32"
    cosines = np.einsum("ij,ij->i", our_bodies, peer_bodies)  # (n,)
    least = float(cosines.min())
    figures = [f"cosine least {least:.5f}, mean {cosines.mean():.5f}"]
    print_line(work, figures, least, at_least=0.998)

    recall = shared_share(neighbours(our_bodies), neighbours(peer_bodies))
    figures = [f"recall@{NEIGHBOURS} {recall:.4f}"]
    print_line(work, figures, recall, at_least=0.97)

    our_mrr = mean_reciprocal_rank(our_titles, our_bodies)
    peer_mrr = mean_reciprocal_rank(peer_titles, peer_bodies)
    figures = [f"MRR title to body: ours {our_mrr:.4f}, fp32 {peer_mrr:.4f}"]
    print_line(work, figures, our_mrr)


def read_corpus() -> tuple[list[str], list[str]]:
    """Bodies and titles."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N pages")
    arguments = parser.parse_args()
    pages = json.loads(arguments.corpus.read_text("utf-8"))[: arguments.limit]
    return [page["body"] for page in pages], [page["title"] for page in pages]


def neighbours(vectors: Vectors) -> NDArray[np.intp]:
    """The rows of the nearest others of each row, (n, 10)."""
    scores = vectors @ vectors.T  # (n, n)
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :NEIGHBOURS]


def shared_share(found: NDArray[np.intp], expected: NDArray[np.intp]) -> float:
    """How much of each row of *expected* is in that of *found*, on average, 0 to 1."""
    shared = [np.intersect1d(*pair).size for pair in zip(found, expected, strict=True)]
    return float(np.mean(shared)) / NEIGHBOURS


def mean_reciprocal_rank(questions: Vectors, answers: Vectors) -> float:
    """How early each of *questions* finds the answer in its own row, 0 to 1."""
    scores = questions @ answers.T  # (n, n)
    ranks = (scores > scores.diagonal()[:, None]).sum(axis=1) + 1  # (n,)
    return float((1 / ranks).mean())


if __name__ == "__main__":
    main()
