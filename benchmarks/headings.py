"""Whether the model should read the headings above a chunk, as it reads the title.

    python benchmarks/headings.py CORPUS.json QUESTIONS.json

Both files are those of ``long_texts.py``, whose pages are Markdown.  Measured, with the
bundled model, for long pages in paragraphs and for all pages cut at their headings:
MRR, nDCG@10 and recall@10 by meaning and by both, with the title alone before each
chunk, and with the title and the headings above it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from long_texts import COLLECTION, DEPTH, database
from measuring import seconds

from datasette_embeddings import load_model
from datasette_embeddings.chunking import Chunk
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.documents import AUTO_CHUNKS, Chunking
from datasette_embeddings.ingest import splitting
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.evaluation import Run, Summary, compare, evaluate
from datasette_embeddings.search.matches import HEADINGS_BETWEEN
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.questions import read_questions
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection

METHODS = (AUTO_CHUNKS, "markdown")
MODES = ("meaning", "both")
TITLE, HEADINGS = "title", "title and headings"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("questions", type=Path)
    arguments = parser.parse_args()
    pages = json.loads(arguments.corpus.read_text("utf-8"))
    model = load_model(DEFAULT_MODEL)
    print(
        "| --chunk | before each chunk | items | seconds | mode | MRR | nDCG@10 ",
        end="",
    )
    print("| recall@10 |\n|---|---|---|---|---|---|---|---|")
    for method in METHODS:
        runs = {mode: [] for mode in MODES}
        for front in (TITLE, HEADINGS):
            conn = database(pages)
            source = table_source(
                conn,
                "pages",
                content_columns=("title", "body"),
                rules=Source(chunking=Chunking(method)),
            )
            with headings_in_front(model, is_on=front == HEADINGS):
                took = seconds(partial(ingest, conn, COLLECTION, source, model))
            found = collection(conn, COLLECTION)
            questions = read_questions(conn, arguments.questions)
            for mode, done in runs.items():
                search = partial(ranking, found, model, Options(DEPTH, mode=mode))
                run = Run(front, mode, evaluate(questions, search))
                done.append(run)
                row = method, front, found.count_items(), f"{took:.0f}", mode
                print(f"| {' | '.join(map(str, row))} | {shown(run.summary())} |")
            conn.close()
        for mode, done in runs.items():
            found = compare(*done).sentence(lambda run: run.collection)
            print(f"{method}, {mode}: {found}")


def ranking(found, model: EmbeddingModel, options: Options, text: str) -> list[str]:
    matches = search_text(found, text, model=model, options=options)
    return [match.document_id for match in matches]


def shown(summary: Summary) -> str:
    names = "mrr", "ndcg_10", "recall_10"
    return " | ".join(f"{summary.means[name]:.3f}" for name in names)


@contextmanager
def headings_in_front(model: EmbeddingModel, *, is_on: bool) -> Iterator[None]:
    """Within the block, the model reads the headings above a chunk after the title.

    As many of them as fit beside the chunk, the innermost first, so that the chunks are
    the same as without.
    """
    titled, most = splitting._titled, model.max_tokens or 0

    def with_headings(chunk: Chunk, title: str) -> Chunk:
        names = [title, *(each for each in chunk.headings if each != title)]
        if chunk.text.lstrip("# ").startswith(names[-1]):
            # It begins with its own
            names.pop()
        for number in range(1, len(names) + 1):
            front = HEADINGS_BETWEEN.join([title, *names[number:]])
            found = replace(chunk, title=front)
            if number < len(names) and model.count_tokens([found.passage])[0] <= most:
                return found
        return titled(chunk, title)

    if is_on:
        splitting._titled = with_headings
    try:
        yield
    finally:
        splitting._titled = titled


if __name__ == "__main__":
    main()
