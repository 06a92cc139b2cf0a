"""The ranking by words and meaning: the formula, and that the best are always found."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest

from datasette_embeddings.chunking import Chunk
from datasette_embeddings.documents import Document
from datasette_embeddings.index import matrix
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.search import ranking, shares, words
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.query import Query
from datasette_embeddings.search.text_search import rank
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.documents import (
    EmbeddedDocument,
    items_of,
    write_documents,
)
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import normalize

VOCABULARY = [
    *("river", "bank", "boat", "water", "money", "loan", "credit", "sail", "wind"),
    *("harbor", "north"),
]
DIMENSIONS = 8


def make_collection(seed, count=300, *, in_chunks=False):
    """Documents of a few common words, with vectors that have nothing to do with it."""
    chance = random.Random(seed)
    numbers = np.random.default_rng(seed)
    conn = sqlite3.connect(":memory:")
    found = create_collection(conn, "texts", "model", None)
    documents = []
    for number in range(count):
        # Some words are common, some rare
        picked = [VOCABULARY[int(chance.paretovariate(0.7)) % 11] for _ in range(12)]
        title = " ".join(picked[: chance.randint(1, 3)])
        text = " ".join(picked)
        document = Document(f"{number % 7}/{number}", text, title=title)
        chunks = None
        if in_chunks and number % 3:
            middle = len(text) // 2
            chunks = [
                Chunk(0, 0, middle, text[:middle]),
                Chunk(1, middle, len(text), text[middle:]),
            ]
        items = items_of(document, chunks)
        vectors = normalize(numbers.standard_normal((len(items), DIMENSIONS)))
        documents.append(EmbeddedDocument(document, chunks, items, vectors))
    with conn:
        write_documents(found, documents, store_content=False)
    return collection(conn, "texts"), documents


def names_of(search, values):
    """The value of each document, by its id."""
    documents = search.documents(values.numbers, None)
    numbers = values.numbers.tolist()
    return {name: values.values[numbers.index(n)] for name, n in documents.items()}


def shares_of(search, query, **options):
    """The share of each document that has words of *query*, by its id."""
    return names_of(search, search.matches(query, **options).shares.of_all)


def expected(found, documents, query, vector, options):
    """The score of every item by the formula, best first, without any shortcut."""
    search = WordSearch(found)
    shares = shares_of(search, query)
    titled = names_of(search, search.titled(query.text))
    average = indexes.index(found).average_cosine(normalize(vector))
    scored = []
    for each in documents:
        document_id = each.document.id
        if options.keep is not None and not options.keep(document_id):
            continue
        cosines = each.vectors @ normalize(vector)
        share = shares.get(document_id, 0.0)
        exact = 0.2 * titled.get(document_id, 0.0)
        rows = list(zip([item.id for item in each.items], cosines, strict=True))
        if not options.all_chunks:
            rows = [max(rows, key=lambda row: row[1])]
        for item_id, cosine in rows:
            near = 0.7 * cosine + 0.3 * cosines.mean()
            meaning = (near - average) / (1 - average)
            by_words = share + 0.3 * min(share, 1 - share)
            score = (3 / 4 * meaning + 1 / 4 * by_words + exact) / 1.2
            scored.append((item_id, max(0.0, score)))
    scored.sort(key=lambda row: (-round(row[1], 5), row[0]))
    return scored[options.offset : options.offset + options.limit]


@pytest.mark.parametrize("in_chunks", [False, True], ids=["whole", "chunks"])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_are_those_of_the_formula_over_all_items(seed, in_chunks, monkeypatch):
    # So few that common words are read of some documents only
    monkeypatch.setattr(words, "BATCH", 10)
    monkeypatch.setattr(shares, "MOST_RARE", 30)
    found, documents = make_collection(seed, in_chunks=in_chunks)
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    index = indexes.index(found)
    for _ in range(40):
        typed = " ".join(chance.sample(VOCABULARY, chance.randint(1, 4)))
        query = Query.read(typed)
        vector = numbers.standard_normal(DIMENSIONS).astype(np.float32)
        ids = [each.document.id for each in documents]
        among = chance.choice([None, frozenset(chance.sample(ids, 40)), frozenset()])
        options = Options(
            limit=chance.choice([1, 3, 10, 400]),
            offset=chance.choice([0, 0, 2]),
            prefix=chance.choice(["", "", "3/"]),
            # A filter names the items of a document too
            among=among and among | {f"{e}#{n}" for e in among for n in (0, 1)},
            all_chunks=chance.choice([False, True]),
        )
        hits = rank(found, query, vector, options=options, index=index).hits
        best = expected(found, documents, query, vector, options)
        assert [hit.score for hit in hits] == pytest.approx(
            [score for _id, score in best], abs=1e-5
        )
        ties = {round(score, 4) for _id, score in best}
        if len(ties) == len(best):
            assert [hit.id for hit in hits] == [item_id for item_id, _score in best]


def test_a_share_is_bm25_of_the_best_that_there_could_be():
    conn = sqlite3.connect(":memory:")
    found = create_collection(conn, "texts", "model", None)
    texts = {"1": "river " * 2_000, "2": "river and bank", "3": "money", "4": "loan"}
    documents = [Document(key, text, title=text[:5]) for key, text in texts.items()]
    vectors = np.eye(4, dtype=np.float32)
    embedded = [
        EmbeddedDocument(each, None, [each], vectors[at : at + 1])
        for at, each in enumerate(documents)
    ]
    with conn:
        write_documents(found, embedded, store_content=False)
    search = WordSearch(collection(conn, "texts"))
    found = shares_of(search, Query.read("river bank"))
    # Only one has both words; one has the other word a thousand times
    assert found.keys() == {"1", "2"}
    assert 0 < found["1"] < found["2"] < 1


def test_the_commonest_words_are_left_out_where_there_are_too_many(monkeypatch):
    monkeypatch.setattr(shares, "MOST_SCORED", 60)
    found, _documents = make_collection(1)
    search = WordSearch(found)
    common, rare = "bank", "money"
    with_both = shares_of(search, Query.read(f"{common} {rare}"))
    assert 0 < len(with_both) <= 60
    # The share is still one of both words
    alone = shares_of(search, Query.read(rare))
    assert max(with_both.values()) < max(alone.values())
    # With nothing else to go by, titles count
    titles = shares_of(search, Query.read(common))
    assert 0 < len(titles) <= 60
    assert 0 < max(titles.values()) <= 1


@pytest.mark.parametrize("limit", [1, 5, 40])
def test_common_words_of_few_documents_are_read_and_the_ranking_is_the_same(
    limit, monkeypatch
):
    found, _documents = make_collection(3)
    index, numbers = indexes.index(found), np.random.default_rng(3)
    options = Options(limit=limit)
    for typed in ("bank river", "bank money north", "harbor bank", "river"):
        query = Query.read(typed)
        vector = numbers.standard_normal(DIMENSIONS).astype(np.float32)
        whole = rank(found, query, vector, options=options, index=index)
        with monkeypatch.context() as bounded:
            bounded.setattr(shares, "MOST_RARE", 20)
            bounded.setattr(ranking, "MOST_READ", 150)
            part = rank(found, query, vector, options=options, index=index)
        assert [hit.id for hit in part.hits] == [hit.id for hit in whole.hits]
        scores = [hit.score for hit in whole.hits]
        assert [hit.score for hit in part.hits] == pytest.approx(scores, abs=2e-6)


def indexed_texts(texts):
    """A collection of *texts*, each with its number as id and no title."""
    conn = sqlite3.connect(":memory:")
    found = create_collection(conn, "texts", "model", None)
    vector = np.ones((1, DIMENSIONS), np.float32)
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    with conn:
        embedded = [EmbeddedDocument(e, None, [e], vector) for e in documents]
        write_documents(found, embedded, store_content=False)
    return collection(conn, "texts")


def found_by_words(found, typed, **options):
    """The ids and scores of a search by words."""
    query = Query.read(typed)
    given = Options(mode="words", **options)
    hits = rank(found, query, None, options=given, index=None).hits
    return {hit.id: hit.score for hit in hits}


def test_a_word_of_neighboring_documents_is_not_taken_for_a_common_one():
    # A fifth of the texts, all in a row
    found = indexed_texts(["river"] * 2_500 + ["money"] * 10_000)
    assert len(found_by_words(found, "river", limit=3_000)) == 2_500


def test_a_word_of_most_documents_is_found_where_no_title_has_it(monkeypatch):
    monkeypatch.setattr(shares, "MOST_SCORED", 60)
    found = indexed_texts(["river"] * 100 + ["money"] * 150)
    scores = found_by_words(found, "river", limit=300)
    assert len(scores) == 60
    assert all(0 < score <= 1 for score in scores.values())


def test_a_rare_word_is_found_wherever_it_stands_beside_one_of_most_documents(
    monkeypatch,
):
    monkeypatch.setattr(shares, "MOST_RARE", 20)
    # Enough for half of the documents, but not for all of them
    monkeypatch.setattr(shares, "MOST_SCORED", 70)
    found = indexed_texts(["river"] * 90 + ["river zebra"] * 10)
    rare = [str(number) for number in range(90, 100)]
    assert [*found_by_words(found, "zebra river", limit=12)][:10] == rare
    assert [*found_by_words(found, "zebra river", limit=12, prefix="9")][:10] == rare


def test_common_words_are_found_where_documents_with_rare_ones_were_deleted(
    monkeypatch,
):
    monkeypatch.setattr(shares, "MOST_RARE", 20)
    texts = ["river zebra"] * 10 + ["river"] * 25 + ["money"] * 60
    found = indexed_texts(texts)
    # As llm does: the words index stays as it is
    found.conn.execute("delete from embeddings where cast(id as integer) < 10")
    assert len(found_by_words(found, "zebra river", limit=5)) == 5


def test_words_that_were_counted_before_the_documents_rank_all_the_same():
    found = indexed_texts(["river"])
    of_river = shares.Shares.of(found, {'"river"': 1}, 0)
    assert len(of_river.of_all) == 1


def test_the_words_of_a_phrase_are_not_corrected():
    found = indexed_texts(["river bank", "money"])
    assert WordSearch(found).matches(Query.read("rivr")).corrected == "river"
    assert WordSearch(found).matches(Query.read('"rivr bank"')).corrected is None


def test_items_that_a_caller_leaves_out_stay_out():
    found = indexed_texts(["river bank", "river", "river boat"])
    left = found_by_words(found, "river -boat", without=frozenset({"0"}))
    assert left.keys() == {"1"}


def test_only_some_parts_of_a_long_identifier_are_looked_for(monkeypatch):
    monkeypatch.setattr(words, "MOST_TERMS", 2)
    found = indexed_texts(["river", "bank", "boat"])
    assert found_by_words(found, "river_bank_boat").keys() == {"0", "1"}


def test_a_quotation_mark_without_an_end_is_read_once():
    # Each letter as the last of the phrase would take hours
    assert len(Query.read('"' + "a" * 1_000_000).words) == 1


@pytest.mark.parametrize("all_chunks", [False, True])
def test_other_chunks_of_a_document_do_not_pass_the_prefix_of_one(all_chunks):
    found, documents = make_collection(2, 30, in_chunks=True)
    document = documents[1]
    options = Options(prefix=document.items[1].id, all_chunks=all_chunks)
    query, index = Query.read(document.document.content), indexes.index(found)
    vector = document.vectors[0]
    hits = rank(found, query, vector, options=options, index=index).hits
    assert [hit.id for hit in hits] == [document.items[1].id]


def test_an_identifier_is_found_as_one_word_in_any_case_and_by_its_parts():
    conn = sqlite3.connect(":memory:")
    found = create_collection(conn, "texts", "model", None)
    texts = ["a youtube video", "the YouTube API", "get_close_matches", "close matches"]
    documents = [Document(str(n), text) for n, text in enumerate(texts)]
    embedded = [
        EmbeddedDocument(each, None, [each], np.eye(4, dtype=np.float32)[at : at + 1])
        for at, each in enumerate(documents)
    ]
    with conn:
        write_documents(found, embedded, store_content=False)
    search = WordSearch(collection(conn, "texts"))

    def ids(typed):
        return sorted(shares_of(search, Query.read(typed), as_typed=True))

    assert ids("YouTube") == ids("youtube") == ["0", "1"]
    assert ids("closeMatches") == ids("close_matches") == ["2", "3"]
    # As a whole in none: each part counts
    assert ids("YouTube_matches") == ["1", "2", "3"]


def test_a_document_in_chunks_whose_words_are_not_indexed_is_found_once():
    found, documents = make_collection(1, in_chunks=True)
    with found.conn:
        Words(found).delete([each.document.id for each in documents if each.chunks])
    vector = np.ones(DIMENSIONS, np.float32)
    index = indexes.index(found)
    options = Options(limit=400)
    hits = rank(found, Query.read("bank"), vector, options=options, index=index).hits
    assert sorted(hit.document_id for hit in hits) == sorted(
        each.document.id for each in documents
    )
    best = expected(found, documents, Query.read("bank"), vector, options)
    assert [hit.score for hit in hits] == pytest.approx(
        [score for _id, score in best], abs=1e-5
    )


@pytest.mark.parametrize("offset", [0, 100, 300])
@pytest.mark.parametrize("most_read", [1, 50])
def test_the_coarse_copy_of_a_matrix_changes_no_page(offset, most_read, monkeypatch):
    found, _documents = make_collection(4, count=1_000)
    exact = indexes.index(found)
    monkeypatch.setattr(matrix, "LARGE_ROWS", 100)
    coarse = indexes.index(found)
    assert coarse.coarse is not None
    # Fewer than the error of the copy leaves in question
    monkeypatch.setattr(ranking, "MOST_READ", most_read)
    numbers, options = np.random.default_rng(4), Options(limit=20, offset=offset)
    # Some words, which are rare here, and none
    for typed in ("bank river", "money", "qqqq"):
        query = Query.read(typed)
        vector = numbers.standard_normal(DIMENSIONS).astype(np.float32)
        expected, hits = (
            rank(found, query, vector, options=options, index=index).hits
            for index in (exact, coarse)
        )
        assert [hit.id for hit in hits] == [hit.id for hit in expected]
        assert [hit.score for hit in hits] == [hit.score for hit in expected]
