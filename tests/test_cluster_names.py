"""The words that name clusters without a model."""

from __future__ import annotations

import math

import pytest

from datasette_embeddings.clusters import names
from datasette_embeddings.clusters.names import best_words, words_of_clusters
from datasette_embeddings.clusters.texts import read_texts
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import current
from datasette_embeddings.store.indexed_text import IndexedText
from datasette_embeddings.store.words import Words


def notes(conn, model, documents, *, words="english", **options):
    """A collection of *documents*, each a text or a :class:`Document`."""
    found = create_collection(conn, "notes", model.settings, None)
    Words(found).create(words)
    found = current(found)
    texts = [
        each if isinstance(each, Document) else Document(str(number), each)
        for number, each in enumerate(documents)
    ]
    embed_items(found, model, texts, **options)
    return current(found)


def named(conn, model, *clusters, limit=4, **options):
    """The words of *clusters*, each a list of documents."""
    documents = [each for cluster in clusters for each in cluster]
    found = notes(conn, model, documents, **options)
    ids = iter(
        each.id if isinstance(each, Document) else str(number)
        for number, each in enumerate(documents)
    )
    members = {
        number: [next(ids) for _ in cluster]
        for number, cluster in enumerate(clusters, 1)
    }
    return list(words_of_clusters(found, members, limit=limit).values())


def counts(*texts):
    found = names.WordCounts()
    for text in texts:
        found.add(IndexedText("", text))
    return found


def test_words_are_weighed_by_class_based_tf_idf():
    """Computed by hand: A = (7 + 4) / 2 = 5.5 words a cluster.

    In the first cluster, ``planet`` has tf 3 and f 4, ``comet`` 2 and 2, ``ring`` 2
    and 3.
    """
    clusters = {
        1: counts("planet comet ring", "planet comet ring", "planet"),
        2: counts("planet lion", "ring lion", "", "", "", ""),
    }
    weights = {
        "planet": 3 * math.log(1 + 5.5 / 4),
        "comet": 2 * math.log(1 + 5.5 / 2),
        "ring": 2 * math.log(1 + 5.5 / 3),
    }
    assert [round(each, 3) for each in weights.values()] == [2.595, 2.644, 2.083]
    expected = sorted(weights, key=weights.get, reverse=True)
    assert best_words(clusters, kind="plain", limit=4)[1] == expected
    assert expected == ["comet", "planet", "ring"]


def test_the_words_of_a_title_count_more(conn, model):
    documents = [
        Document(str(each), "comet planet", title="Planet") for each in range(3)
    ]
    assert named(conn, model, documents, ["a lion", "the lion"]) == [
        ["planet", "comet"],
        ["lion"],
    ]


def test_a_long_listing_in_one_document_names_no_cluster(conn, model):
    found = named(conn, model, ["cats purr", "cats " + "debug " * 500], ["tax", "tax"])
    assert found == [["cats"], ["tax"]]


def test_a_name_has_no_stop_words_and_no_numbers(conn, model):
    text = "It was the best of these, and they don't use 2024 for parsers"
    assert named(conn, model, [text] * 2, ["tax", "tax"])[0] == ["parsers"]


def test_a_name_has_numbers_if_there_is_nothing_else(conn, model):
    assert named(conn, model, ["2024 17", "2024 17"], ["of 1999"] * 2) == [
        ["17", "2024"],
        ["1999"],
    ]


def test_stems_are_shown_as_the_word_that_is_most_frequent(conn, model):
    """The index has ``queri`` and ``embed``; nothing that is shown is a stem."""
    texts = ["queries of embeddings", "query embeddings", "queries embedding"]
    assert named(conn, model, texts, ["tax", "tax"])[0] == ["embeddings", "queries"]


@pytest.mark.parametrize("words", ["plain", "none"])
def test_of_two_forms_of_a_word_one_is_shown_in_other_languages_too(conn, model, words):
    texts = ["Katze Katzen schläft", "Katze Katzen schläft"]
    found = named(conn, model, texts, ["Steuer"] * 2, words=words, store=True)
    assert [each.lower() for each in found[0]] == ["katze", "schläft"]


def test_words_are_written_as_in_the_texts(conn, model):
    texts = ["Use SQLite on GitHub. Python runs", "SQLite, GitHub. a python", "Python"]
    found = named(conn, model, texts, ["tax", "tax"], limit=3)[0]
    assert sorted(found) == ["GitHub", "SQLite", "python"]


def test_the_parts_of_camel_case_are_no_words(conn, model):
    documents = [Document(str(e), "SQLite", title="SQLite") for e in range(2)]
    assert named(conn, model, documents, ["tax", "tax"])[0] == ["SQLite"]


@pytest.mark.parametrize(
    "text",
    [
        "<p class='wide'>Comets</p> &nbsp; <br/>",
        "[Comets](https://example.com/wide/path) and https://example.com/wide",
        "![Comets](wide.png)",
    ],
    ids=["HTML", "Markdown", "picture"],
)
def test_tags_and_addresses_are_no_words(conn, model, text):
    assert named(conn, model, [text] * 3, ["tax", "tax"])[0] == ["Comets"]


def test_words_that_every_cluster_has_name_none(conn, model):
    clusters = [[f"returns {word}", f"returns {word}"] for word in ("cat", "tax")]
    assert named(conn, model, *clusters) == [["cat"], ["tax"]]


def test_languages_without_spaces_have_words_of_two_characters(conn, model):
    texts = ["我们研究行星运动", "行星很远"]
    found = named(conn, model, texts, ["税务"] * 2, words="trigram")
    assert found == [["行星"], ["税务"]]


def test_documents_without_a_words_index_have_their_stored_texts(conn, model):
    texts = ["the comet", "a comet"]
    found = named(conn, model, texts, ["tax", "tax"], words="none", store=True)
    assert found == [["comet"], ["tax"]]


def test_documents_of_which_no_text_is_known_have_the_words_of_their_file(conn, model):
    files = [Document(f"2024/{each}.jpg", "x") for each in ("red-bicycle", "bicycle-2")]
    found = named(
        conn,
        model,
        files,
        [Document("1", "x"), Document("2", "x")],
        words="none",
        store=False,
    )
    assert found == [["bicycle"], []]


def test_a_document_in_chunks_has_the_words_of_all_of_it(conn, model):
    texts = ["Cats purr. " * 40 + "Comets.", "Comets and cats purr. " * 20]
    for words in ("english", "none"):
        found = named(
            conn,
            model,
            texts,
            ["tax", "tax"],
            words=words,
            chunking=Chunking("fixed", 20),
            store=True,
        )
        conn.execute("delete from collections")
        assert "cats" in [each.lower() for each in found[0]]


def test_texts_that_another_program_wrote_are_left_out(conn, model):
    found = notes(conn, model, ["comet"] * 4)
    for number, value in enumerate((b"x", "text", None, 12.5)):
        conn.execute(
            "update _embedding_words set text = ? where document_id = ?",
            [value, str(number)],
        )
    assert words_of_clusters(found, {1: ["0", "1", "2"], 2: ["3", "gone"]}) == {
        1: [],
        2: [],
    }


def test_words_of_a_content_that_was_replaced_are_not_read(conn, model):
    found = notes(conn, model, ["comet", "comet"], store=True)
    conn.execute("update embeddings set content = 'tax', content_hash = x'00'")
    assert words_of_clusters(found, {1: ["0", "1"]}) == {1: ["tax"]}


def test_no_more_is_read_of_large_clusters_and_of_many(conn, model, monkeypatch):
    found = notes(conn, model, [f"comet {each}" for each in range(12)])
    read = []

    def recorded(collection, ids, *, length):
        read.append(list(ids))
        return read_texts(collection, ids, length=length)

    monkeypatch.setattr(names, "read_texts", recorded)
    monkeypatch.setattr(names, "MOST_DOCUMENTS", 4)
    ids = [str(each) for each in range(12)]
    words_of_clusters(found, {1: ids})
    assert read.pop() == ["0", "3", "6", "9"]
    monkeypatch.setattr(names, "MOST_IN_ALL", 6)
    words_of_clusters(found, {1: ids[:6], 2: ids[6:]})
    assert [len(each) for each in read] == [3, 3]


def test_only_the_beginning_of_a_text_is_read(conn, model):
    text = "comet " * 20_000 + "lion"
    found = notes(conn, model, [text])
    assert read_texts(found, ["0"], length=9) == {"0": IndexedText("0", "comet com")}


def test_the_same_clusters_have_the_same_words(conn, model):
    found = notes(conn, model, [f"alpha beta gamma delta {each}" for each in range(6)])
    members = {1: ["0", "1", "2", "3", "4", "5"]}
    words = words_of_clusters(found, members)
    assert words == {1: ["alpha", "beta", "delta", "gamma"]}
    assert words_of_clusters(found, {1: members[1][::-1]}) == words


def test_no_clusters_have_no_words(conn, model):
    assert words_of_clusters(notes(conn, model, ["comet"]), {}) == {}
    assert words_of_clusters(notes(conn, model, []), {3: []}) == {3: []}
