"""What the words index takes on disk, for each byte of the text that it indexes.

    python benchmarks/words_size.py CORPUS.json

Each kind of words index, with all that belongs to it: the FTS5 table, the texts that
words are deleted with, titles, and the vocabulary for spelling.  The size is that of
the compacted file, less that of the same collection without words.

Must hold: at most 1.2 times the text, for English words.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from measuring import print_line
from stand_in import StandIn

from datasette_embeddings.config import DEFAULT_WORDS, NO_WORDS, WORDS
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source

MOST = 1.2


def main(corpus: Path) -> None:
    pages = json.loads(corpus.read_text("utf-8"))
    rows = [(page["path"], page["title"], page["body"]) for page in pages]
    text = sum(len(each.encode()) for row in rows for each in row[1:])
    with tempfile.TemporaryDirectory() as folder:
        sizes = {kind: size(Path(folder) / f"{kind}.db", rows, kind) for kind in WORDS}
    for kind in WORDS:
        if kind == NO_WORDS:
            continue
        added = sizes[kind] - sizes[NO_WORDS]
        print_line(
            f"words: {kind}, {len(rows)} documents",
            [f"{added:,} bytes for {text:,} of text", f"{added / text:.2f}x"],
            added / text,
            "x",
            at_most=MOST if kind == DEFAULT_WORDS else None,
        )


def size(path: Path, rows: list[tuple[str, str, str]], kind: str) -> int:
    """The bytes of a database with a collection of *rows*."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("create table pages (path text primary key, title, body)")
        conn.executemany("insert into pages values (?, ?, ?)", rows)
        conn.commit()
        source = table_source(
            conn, "pages", content_columns=["title", "body"], title_column="title"
        )
        options = IngestOptions(words=kind)
        ingest(conn, "pages", source, StandIn("stand-in"), options=options)
        conn.execute("vacuum")
    return path.stat().st_size


if __name__ == "__main__":
    main(Path(sys.argv[1]))
