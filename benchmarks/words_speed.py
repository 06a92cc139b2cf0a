"""Search by words and meaning over 100,000 documents, against SQLite's own FTS5.

    python benchmarks/words_speed.py

Documents of 200 words and questions of 2 to 8, drawn as often as words are in natural
language (Zipf); the vectors of documents that share a topic are near each other.
Measured over HTTP, one client, against a real ``datasette`` on 127.0.0.1: questions by
words and meaning, whose vectors are cached, so without the time of the model.  Against:
the same questions as ``select … match 'a OR b' order by rank limit 10`` on the same
index.  The recall is that of the ten best, against the ranking that scores every
document that has a word of the question.

Must hold: a median of 25 ms, a recall of 0.99.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
from itertools import islice
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
from commands import datasette_environment
from measuring import duration, print_line, seconds
from server_memory import Server

from datasette_embeddings import load_model
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.documents import Document
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.search import ranking, shares
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.text_search import query_of, rank
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.documents import EmbeddedDocument, write_documents
from datasette_embeddings.store.schema import transaction, words_table
from datasette_embeddings.vectors import normalize

DOCUMENTS, LENGTH, DIMENSIONS = 100_000, 200, 384
VOCABULARY, TITLE_WORDS, TOPICS = 120_000, 6, 300
WINDOW, QUESTIONS = 1_000, 120
UNBOUNDED = (100 * DOCUMENTS, 100 * DOCUMENTS)
SYLLABLES = [a + b for a in "bcdfghjklmnpqrstvwz" for b in "aeiou"]


def main() -> None:
    random = np.random.default_rng(0)
    vocabulary = words_of_syllables(random)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "texts.db"
        write_texts(path, vocabulary, random)
        questions = [
            " ".join(draw(vocabulary, random, int(random.integers(2, 9))))
            for _ in range(QUESTIONS)
        ]
        server = Server([path], datasette_environment(folder))
        with server.running() as (_process, url):
            ours = [answer_seconds(url, each) for each in questions]
        conn = sqlite3.connect(path)
        peer = [full_text_seconds(conn, each) for each in questions]
        recall = statistics.mean(recalls(conn, questions))
        conn.close()
    median, other = statistics.median(ours), statistics.median(peer)
    figures = [
        f"ours {duration(median)}, 95 of 100 {duration(np.percentile(ours, 95))}",
        f"FTS5 {duration(other)}",
        f"{median / other:.2f}x its time",
    ]
    print_line("words and meaning", figures, median * 1000, " ms", at_most=25)
    print_line("recall of the bounds", [f"{recall:.4f}"], recall, at_least=0.99)


def words_of_syllables(random: np.random.Generator) -> np.ndarray:
    """Different words, the commonest first and shortest."""
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        length = 2 + min(3, len(found) // 2_000)
        found["".join(random.choice(SYLLABLES, size=length))] = None
    return np.array(list(found))


def draw(vocabulary: np.ndarray, random: np.random.Generator, count: int) -> list[str]:
    weights = np.cumsum(1 / np.arange(1, len(vocabulary) + 1) ** 1.05)
    places = np.searchsorted(weights, random.random(count) * weights[-1])
    return [str(each) for each in vocabulary[places]]


def write_texts(
    path: Path, vocabulary: np.ndarray, random: np.random.Generator
) -> None:
    conn = sqlite3.connect(path)
    found = create_collection(conn, "texts", DEFAULT_MODEL, None)
    topics = random.standard_normal((TOPICS, DIMENSIONS))
    for start in range(0, DOCUMENTS, WINDOW):
        own = topics[random.integers(0, TOPICS, WINDOW)]
        noise = random.standard_normal((WINDOW, DIMENSIONS))
        vectors = normalize((own + 1.5 * noise).astype(np.float32))
        drawn = iter(draw(vocabulary, random, WINDOW * LENGTH))
        embedded = []
        for number in range(WINDOW):
            text = list(islice(drawn, LENGTH))
            title = " ".join(text[:TITLE_WORDS])
            document = Document(str(start + number), " ".join(text), title=title)
            own_vector = vectors[number : number + 1]
            embedded.append(EmbeddedDocument(document, None, [document], own_vector))
        with transaction(conn):
            write_documents(found, embedded, store_content=False)
    conn.close()


def answer_seconds(url: str, question: str) -> float:
    search = f"{url}/texts/-/embeddings/texts.json?q={quote(question)}"
    # The first time its vector is computed
    urlopen(f"{search}&_mode=meaning").read()
    return seconds(lambda: json.load(urlopen(search)))


def full_text_seconds(conn: sqlite3.Connection, question: str) -> float:
    table = words_table(collection(conn, "texts").id)
    sql = f"select rowid from {table} where {table} match ? order by rank limit 10"
    expression = " OR ".join(f'"{word}"' for word in question.split())
    return seconds(lambda: conn.execute(sql, [expression]).fetchall())


def recalls(conn: sqlite3.Connection, questions: list[str]) -> list[float]:
    """The part of the ten best that each question finds with the bounds."""
    found, model = collection(conn, "texts"), load_model(DEFAULT_MODEL)
    index, options = indexes.index(found), Options(limit=10)
    bounds, parts = (shares.MOST_RARE, ranking.MOST_READ), []
    for each in questions:
        query = query_of(found, each, options)
        vector = model.query_vector(query.text)
        best = []
        for shares.MOST_RARE, ranking.MOST_READ in (bounds, UNBOUNDED):
            hits = rank(found, query, vector, options=options, index=index).hits
            best.append({hit.id for hit in hits})
        parts.append(len(best[0] & best[1]) / len(best[1]))
    shares.MOST_RARE, ranking.MOST_READ = bounds
    return parts


if __name__ == "__main__":
    main()
