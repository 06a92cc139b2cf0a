"""What splitting long texts finds, and what it costs.

    python benchmarks/long_texts.py CORPUS.json QUESTIONS.json

CORPUS.json is a list of objects with ``path``, ``title`` and ``body``, QUESTIONS.json
one of objects with ``q`` and ``relevant``, a list of paths.

Measured, with the bundled model, for pages that are cut, split, and split with the
title before each chunk: the time of embedding, and the mean reciprocal rank (MRR) of
the first right answer among the best 100, by meaning alone and together with words.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from measuring import seconds

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.documents import AUTO_CHUNKS, Chunking
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import StoredCollection, collection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasette_embeddings.models.base import EmbeddingModel

COLLECTION = "pages"
DEPTH = 100
FORMS = {
    "cut": None,
    "paragraphs": Chunking(AUTO_CHUNKS, titled=False),
    "paragraphs, each after the title (the default)": Chunking(AUTO_CHUNKS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("questions", type=Path)
    arguments = parser.parse_args()
    pages = json.loads(arguments.corpus.read_text("utf-8"))
    questions = json.loads(arguments.questions.read_text("utf-8"))
    model = load_model(DEFAULT_MODEL)
    print("| pages are | items | seconds | MRR by meaning | MRR by both |")
    print("|---|---|---|---|---|")
    for name, chunking in FORMS.items():
        conn = database(pages)
        source = table_source(
            conn,
            "pages",
            content_columns=("title", "body"),
            rules=Source(chunking=chunking),
        )
        took = seconds(partial(ingest, conn, COLLECTION, source, model))
        found = collection(conn, COLLECTION)
        by_meaning = mrr(found, questions, model, Options(DEPTH, mode="meaning"))
        by_both = mrr(found, questions, model, Options(DEPTH, mode="both"))
        row = name, found.count_items(), f"{took:.0f}", by_meaning, by_both
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        conn.close()


def database(pages: Sequence[dict[str, Any]]) -> sqlite3.Connection:
    """A database in memory with the table ``pages``."""
    conn = sqlite3.connect(":memory:")
    conn.execute("create table pages (path text primary key, title text, body text)")
    with conn:
        conn.executemany("insert into pages values (:path, :title, :body)", pages)
    return conn


def mrr(
    found: StoredCollection,
    questions: Sequence[dict[str, Any]],
    model: EmbeddingModel,
    options: Options,
) -> str:
    """The mean reciprocal rank of the first right answer to each question."""

    def reciprocal_rank(question: dict[str, Any]) -> float:
        matches = search_text(found, question["q"], model=model, options=options)
        ids = [match.document_id for match in matches]
        ranks = [rank for rank, e in enumerate(ids, 1) if e in question["relevant"]]
        return 1 / ranks[0] if ranks else 0.0

    return f"{mean(map(reciprocal_rank, questions)):.3f}"


if __name__ == "__main__":
    main()
