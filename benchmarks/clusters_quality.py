"""How well clusters agree with known topics, and their names with the topics' names.

    datasette embeddings demo demo.db
    datasette embeddings embed til.db til --table til --column title --column body
    python benchmarks/clusters_quality.py demo.db stdlib module
    python benchmarks/clusters_quality.py til.db til topic

The last argument is the column of the collection's table with the topic of each row.

Measured: the clusters of ``datasette embeddings clusters``, in a copy of the database
in memory.  Against: BERTopic (``pip install bertopic``) with its defaults, UMAP and
HDBSCAN, and with k-means in place of HDBSCAN, given the same texts and vectors; without
it, ours alone are printed.  ARI, NMI: adjusted Rand index and normalized mutual
information with the topics, 0 for chance and 1 for equality; all documents in no
cluster count as one.  Named: the part of the clusters of which one of the four words is
part of the name of their most frequent topic.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from datasette_embeddings.analysis.documents import document_vectors
from datasette_embeddings.clusters.building import build
from datasette_embeddings.clusters.names import words_of_clusters
from datasette_embeddings.clusters.texts import read_texts
from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.cluster_facts import HDBSCAN, ClusterSettings
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection, collection
from datasette_embeddings.vectors import Vectors

WORDS, SEED = 4, 0
# Characters of each text for the peer, which reads all of them
LENGTH = 1_000_000
NONE = -1


@dataclass(frozen=True)
class Corpus:
    """Documents with their topics, texts and vectors, in the same order."""

    ids: list[str]
    topics: list[str]
    texts: list[str]
    vectors: Vectors  # (n, d)


@dataclass(frozen=True)
class Result:
    """The cluster of each document, and the words of each cluster."""

    labels: Sequence[int]
    words: Mapping[int, Sequence[str]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("collection")
    parser.add_argument("column")
    given = parser.parse_args()
    conn = sqlite3.connect(":memory:")
    sqlite3.connect(given.database).backup(conn)
    found = collection(conn, given.collection)
    corpus = read_corpus(found, given.column)
    count = len(set(corpus.topics))
    print(f"{len(corpus.ids):,} documents, {count} topics in {given.column}")
    settings = {
        "ours": ClusterSettings(seed=SEED),
        f"ours, {count} clusters": ClusterSettings(count=count, seed=SEED),
        "ours, HDBSCAN": ClusterSettings(HDBSCAN, seed=SEED),
    }
    for name, each in settings.items():
        show(name, ours(found, each, corpus), corpus.topics)
    if find_spec("bertopic") is None:
        print("BERTopic is not installed: pip install bertopic")
        return
    for name, result in peers(corpus, count):
        show(name, result, corpus.topics)
        # As many of ours as the peer finds by itself
        found_count = len(result.words.keys() - {NONE})
        if f"ours, {found_count} clusters" not in settings:
            each = settings[f"ours, {found_count} clusters"] = ClusterSettings(
                count=found_count, seed=SEED
            )
            show(
                f"ours, {found_count} clusters",
                ours(found, each, corpus),
                corpus.topics,
            )


def read_corpus(found: StoredCollection, column: str) -> Corpus:
    source = found.source
    if not isinstance(source, TableSource):
        raise SystemExit("Expected a collection of a table")
    key = quote(source.key_columns[0])
    sql = f"select {key}, {quote(column)} from {quote(source.table)}"
    topics = {str(item_id): str(topic) for item_id, topic in found.conn.execute(sql)}
    with document_vectors(found) as documents:
        ids = list(documents.ids)
        vectors = np.concatenate([block for _start, block in documents.blocks()])
    read = read_texts(found, ids, length=LENGTH)
    texts = [f"{read[each].title}\n{read[each].body}" for each in ids]
    return Corpus(ids, [topics[each] for each in ids], texts, vectors)


def ours(found: StoredCollection, settings: ClusterSettings, corpus: Corpus) -> Result:
    build(found, settings, namer=words_of_clusters)
    changed = collection(found.conn, found.name)
    clusters = Clusters(changed)
    of = clusters.of(corpus.ids)
    labels = [of[each][0] or NONE for each in corpus.ids]
    return Result(labels, {each.number: each.words for each in clusters.all()})


def peers(corpus: Corpus, count: int) -> Iterator[tuple[str, Result]]:
    """BERTopic's clusters with its defaults, then with *count* of them."""
    from bertopic import BERTopic
    from umap import UMAP

    english = CountVectorizer(stop_words="english")
    for name, model in {
        "BERTopic": {},
        "BERTopic, English stop words": {"vectorizer_model": english},
        f"BERTopic, k-means, {count} clusters": {
            "hdbscan_model": KMeans(count, random_state=SEED),
            "vectorizer_model": english,
        },
    }.items():
        # Its own UMAP, with a seed
        umap = UMAP(
            n_neighbors=15,
            n_components=5,
            min_dist=0.0,
            metric="cosine",
            random_state=SEED,
        )
        topic_model = BERTopic(umap_model=umap, **model)
        labels, _probabilities = topic_model.fit_transform(
            corpus.texts, embeddings=corpus.vectors
        )
        words = {
            number: [word for word, _weight in found[:WORDS]]
            for number, found in topic_model.get_topics().items()
        }
        yield name, Result([int(each) for each in labels], words)


def show(name: str, result: Result, topics: Sequence[str]) -> None:
    members = defaultdict(Counter)
    for label, topic in zip(result.labels, topics, strict=True):
        members[label][topic] += 1
    outside = members.pop(NONE, Counter()).total() / len(topics)
    named = [
        names_topic(result.words.get(label, ()), counts.most_common(1)[0][0])
        for label, counts in members.items()
    ]
    ari = adjusted_rand_score(topics, result.labels)
    nmi = normalized_mutual_info_score(topics, result.labels)
    print(
        f"{name:38} {len(members):4} clusters, {outside:4.0%} in none, ARI {ari:.3f}, "
        f"NMI {nmi:.3f}, named {sum(named)} = {np.mean(named):.2f}",
        flush=True,
    )


def names_topic(words: Sequence[str], topic: str) -> bool:
    """Whether one of *words* is part of the name of *topic*, in either number."""
    parts = {each.rstrip("s") for each in re.findall(r"[a-z0-9]{2,}", topic.lower())}
    return bool(parts & {word.lower().rstrip("s") for word in words})


if __name__ == "__main__":
    main()
