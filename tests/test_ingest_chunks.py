"""Chunked collections: what is stored, what is found, what changes with the source."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import (
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import collections, staging
from datasette_embeddings.store.collection_writes import (
    delete_collection,
    rename_collection,
)
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import columns_of
from datasette_embeddings.store.tables import RAW_TABLES

PARAGRAPHS = Source(chunking=Chunking("paragraphs", size=20))
GUIDE = "\n\n".join(
    [
        "Bread dough rises overnight with a wild yeast starter.",
        "A small telescope shows the rings of the planet Saturn.",
        "Patch the hole in the inner tube of a flat bicycle tyre.",
    ]
)


@pytest.fixture
def conn():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table docs (id text primary key, body text, year)")
    connection.executemany(
        "insert into docs values (?, ?, 2026)",
        [
            ("guide", GUIDE),
            ("short", "Young cats sleep most of the day."),
            ("none", ""),
        ],
    )
    connection.commit()
    yield connection
    connection.close()


def sync(conn, model, rules=PARAGRAPHS, **options):
    source = table_source(conn, "docs", content_columns=["body"], rules=rules)
    options.setdefault("prune", True)
    return ingest(conn, "docs", source, model, options=IngestOptions(**options))


def items(conn, columns="id"):
    rows = conn.execute(f"select {columns} from embeddings order by id")
    return [row[0] if len(row) == 1 else row for row in rows]


def chunk_rows(conn):
    return conn.execute(
        """
        select document_id, position, start, "end"
        from _embedding_chunks
        order by document_id, position
        """
    ).fetchall()


def found(conn, text, model, **options):
    collection = collections.collection(conn, "docs")
    return search_text(collection, text, model=model, options=Options(**options))


def test_each_chunk_is_an_item_whose_offsets_slice_the_document(conn, model):
    report = sync(conn, model)
    assert (report.new, report.empty, report.chunks) == (2, 1, 4)
    assert items(conn) == ["guide#0", "guide#1", "guide#2", "short#0"]
    passages = [GUIDE[start:end] for name, _, start, end in chunk_rows(conn)[:3]]
    assert passages == GUIDE.split("\n\n")


def test_an_unchanged_document_is_not_tokenised_again(conn, model, monkeypatch):
    sync(conn, model)

    def never(_texts):
        raise AssertionError

    monkeypatch.setattr(model, "token_spans", never)
    assert sync(conn, model) == Report(unchanged=2, empty=1, chunks=0, pruned=True)


def test_a_search_finds_the_best_chunk_of_each_document(conn, model):
    sync(conn, model)
    matches = found(conn, "planets in the sky", model)
    assert [match.document_id for match in matches] == ["guide", "short"]
    best = matches[0]
    assert (best.id, best.content) == ("guide#1", GUIDE.split("\n\n")[1])
    assert GUIDE[best.start : best.end] == best.content


def test_a_search_finds_all_chunks_on_request(conn, model):
    sync(conn, model)
    matches = found(conn, "planets in the sky", model, all_chunks=True)
    assert {match.id for match in matches} == set(items(conn))


def test_a_document_with_many_near_chunks_does_not_crowd_out_the_others(conn, model):
    conn.execute(
        "insert into docs values ('many', ?, 1)",
        ["\n\n".join(f"Saturn and its rings, page {n} of many." for n in range(60))],
    )
    sync(conn, model)
    matches = found(conn, "Saturn and its rings", model, limit=3)
    assert [match.document_id for match in matches] == ["many", "guide", "short"]


def test_what_is_like_a_document_is_another_document(conn, model):
    conn.execute("insert into docs values ('kittens', 'A kitten naps all day.', 1)")
    sync(conn, model)
    collection = collections.collection(conn, "docs")
    for item_id in ("short", "short#0"):
        matches = similar_items(collection, item_id)
        assert [match.document_id for match in matches] == ["kittens", "guide"]


def test_the_score_of_two_documents_is_that_of_their_best_chunks(conn, model):
    sync(conn, model)
    collection = collections.collection(conn, "docs")
    [match] = similar_items(collection, "guide")
    scores = [
        search_vector(collection, collection.vector(each))
        for each in ("guide#0", "guide#1", "guide#2")
    ]
    best = max(
        match.score for each in scores for match in each if match.id == "short#0"
    )
    assert match.score == pytest.approx(best, abs=1e-6)


def test_a_document_that_shrinks_leaves_no_chunk_behind(conn, model):
    sync(conn, model)
    conn.execute("update docs set body = 'One line is left.' where id = 'guide'")
    assert sync(conn, model).changed == 1
    assert items(conn) == ["guide#0", "short#0"]
    assert len(chunk_rows(conn)) == 2


def test_a_document_that_loses_its_content_or_its_row_loses_its_chunks(conn, model):
    sync(conn, model)
    conn.execute("update docs set body = '  ' where id = 'guide'")
    conn.execute("delete from docs where id = 'short'")
    assert sync(conn, model) == Report(empty=2, gone=1, pruned=True, chunks=0)
    assert (items(conn), chunk_rows(conn)) == ([], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [(Source(), PARAGRAPHS), (PARAGRAPHS, Source())],
    ids=["whole to chunks", "chunks to whole"],
)
def test_another_chunking_changes_every_document(conn, model, before, after):
    fresh = sqlite3.connect(":memory:")
    conn.backup(fresh)
    sync(fresh, model, after)
    sync(conn, model, before)
    report = sync(conn, model, after)
    assert (report.new, report.changed, report.gone) == (0, 2, 0)
    assert items(conn) == items(fresh)
    assert chunk_rows(conn) == chunk_rows(fresh)
    assert sync(conn, model, after).unchanged == 2
    fresh.close()


def test_passages_that_stay_are_not_embedded_again(conn, model, monkeypatch):
    sync(conn, model)
    embedded = []
    real = model.embed_passages

    def listen(texts, **options):
        embedded.extend(texts)
        return real(texts, **options)

    monkeypatch.setattr(model, "embed_passages", listen)
    conn.execute("update docs set body = 'New!' || char(10, 10) || body")
    conn.execute("delete from docs where id = 'none'")
    sync(conn, model)
    assert "A small telescope shows the rings of the planet Saturn." not in embedded


def test_metadata_is_kept_with_each_chunk(conn, model):
    rules = Source(chunking=Chunking("paragraphs", size=20), metadata_columns=("year",))
    sync(conn, model, rules)
    conn.execute("update docs set year = 1999 where id = 'guide'")
    before = items(conn, "id, embedding")
    assert sync(conn, model, rules).metadata == 1
    assert items(conn, "id, embedding") == before
    assert items(conn, "metadata") == ['{"year": 1999}'] * 3 + ['{"year": 2026}']


def test_content_is_stored_for_each_chunk_on_request(conn, model):
    sync(conn, model)
    assert set(items(conn, "content")) == {None}
    sync(conn, model, Source(chunking=PARAGRAPHS.chunking, store_content=True))
    assert items(conn, "content")[:3] == GUIDE.split("\n\n")


def test_a_passage_of_a_row_that_has_changed_since_is_not_shown(conn, model):
    sync(conn, model)
    conn.execute("update docs set body = 'other ' || body where id = 'guide'")
    [best, _] = found(conn, "planets in the sky", model)
    assert (best.id, best.content) == ("guide#1", None)


def test_a_chunk_larger_than_the_model_reads_is_refused(conn, model):
    rules = Source(chunking=Chunking("fixed", size=300))
    with pytest.raises(InvalidInputError, match=r"at most 254 tokens, .* found 300"):
        sync(conn, model, rules)
    assert collections.collections(conn) == []


def test_chunks_of_a_collection_that_llm_deleted_are_not_the_next_ones(conn, model):
    sync(conn, model)
    with conn:
        # What llm does, and SQLite gives the id again
        conn.execute("delete from embeddings")
        conn.execute("delete from collections")
        conn.execute("insert into collections values (1, 'new', ?)", [model.model_id])
        other = collections.collection(conn, "new")
        vectors = model.embed_passages(["planets"])
        documents = [Document("guide#1", "planets")]
        write_embeddings(other, documents, vectors, store_content=True)
    [match] = search_text(other, "planets", model=model)
    assert (match.id, match.document_id, match.start) == ("guide#1", "guide#1", None)


def test_a_collection_that_is_deleted_takes_everything_along(conn, model):
    conn.execute("insert into docs values ('blob', x'00', 1)")
    sync(conn, model)
    sync(conn, model, rebuild=True, limit=1)
    delete_collection(conn, "docs")
    for table in RAW_TABLES:
        if columns_of(conn, table):
            assert conn.execute(f"select * from {table}").fetchall() == [], table


def test_a_collection_that_is_renamed_takes_everything_along(conn, model):
    conn.execute("insert into docs values ('blob', x'00', 1)")
    sync(conn, model)
    renamed = rename_collection(conn, "docs", "guides")
    assert collections.collection(conn, "guides").has_chunks
    assert [each.id for each in renamed.failures()] == ["blob"]


@pytest.mark.parametrize(
    "names", [("a", "a#0"), ("a#0", "a")], ids=" first, then ".join
)
@pytest.mark.parametrize("window", [1, 100])
def test_a_document_may_be_called_like_a_chunk_of_another(
    conn, model, monkeypatch, names, window
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", window)
    conn.execute("delete from docs")
    for name in names:
        conn.execute("insert into docs values (?, ?, 1)", [name, f"This is {name}."])
    assert sync(conn, model).new == 2
    assert items(conn) == ["a#0", "a#0#0"]
    assert sync(conn, model).unchanged == 2
    assert sync(conn, model, Source()).changed == 2
    assert (items(conn), chunk_rows(conn)) == (["a", "a#0"], [])
    assert sync(conn, model, Source()).unchanged == 2
    assert sync(conn, model).changed == 2
    assert items(conn) == ["a#0", "a#0#0"]
    conn.execute("delete from docs where id = 'a#0'")
    assert sync(conn, model).gone == 1
    assert items(conn) == ["a#0"]
