"""The vectors of documents that are analysed, one for each."""

from __future__ import annotations

import numpy as np

from datasette_embeddings.analysis.documents import document_states, document_vectors
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection, current
from datasette_embeddings.vectors import encode

TEXTS = {"cats": "Cats purr. " * 40, "dogs": "Dogs bark.", "tax": "Pay your tax."}


def embedded(conn, model, *, chunks=False):
    found = create_collection(conn, "notes", model.settings, None)
    chunking = Chunking("fixed", 20) if chunks else None
    documents = [Document(each, text) for each, text in TEXTS.items()]
    embed_items(found, model, documents, chunking=chunking)
    return current(found)


def read(found, **options):
    with document_vectors(found, **options) as documents:
        blocks = [block for _start, block in documents.blocks()]
        return documents, np.concatenate(blocks) if blocks else np.empty((0, 0))


def test_a_whole_document_has_the_vector_of_its_item(conn, model):
    found = embedded(conn, model)
    documents, vectors = read(found)
    assert sorted(documents.ids) == sorted(TEXTS)
    for item_id, vector in zip(documents.ids, vectors, strict=True):
        np.testing.assert_allclose(vector, found.vector(item_id), atol=1e-6)


def test_a_document_in_chunks_has_the_mean_of_their_directions(conn, model):
    found = embedded(conn, model, chunks=True)
    documents, vectors = read(found)
    assert sorted(documents.ids) == sorted(TEXTS)
    rows = conn.execute("select embedding from embeddings where id like 'cats#%'")
    chunks = np.array([np.frombuffer(blob, "<f4") for (blob,) in rows])
    assert len(chunks) > 1
    mean = chunks.sum(axis=0)
    mean /= np.linalg.norm(mean)
    np.testing.assert_allclose(vectors[documents.ids.index("cats")], mean, atol=1e-6)


def test_some_documents_only(conn, model):
    for chunks in (False, True):
        found = embedded(conn, model, chunks=chunks)
        documents, vectors = read(found, only={"cats", "missing"})
        assert documents.ids == ["cats"]
        assert vectors.shape == (1, 384)


def test_a_state_changes_with_the_vector(conn, model):
    found = embedded(conn, model, chunks=True)
    before = document_states(found)
    documents, _vectors = read(found)
    assert dict(zip(documents.ids, documents.states, strict=True)) == before
    embed_items(found, model, [Document("dogs", "Dogs sleep.")], chunking=None)
    after = document_states(current(found))
    assert {each for each in TEXTS if after[each] != before[each]} == {"dogs"}


def test_vectors_that_cannot_be_compared_are_left_out(conn, model):
    embedded(conn, model)
    odd = {"dogs": encode(np.zeros(384, "<f4")), "tax": encode(np.ones(3, "<f4"))}
    for item_id, blob in odd.items():
        conn.execute(
            "update embeddings set embedding = ? where id = ?", [blob, item_id]
        )
    documents, vectors = read(collection(conn, "notes"))
    assert (documents.ids, len(vectors)) == (["cats"], 1)


def test_an_item_with_the_id_of_a_document_in_chunks_counts_once(conn, model):
    found = embedded(conn, model, chunks=True)
    conn.execute(
        "insert into embeddings (collection_id, id, embedding, updated) "
        "select collection_id, 'cats', embedding, 1 from embeddings where id = 'dogs'"
    )
    documents, _vectors = read(found)
    assert sorted(documents.ids) == sorted(TEXTS)
    states = document_states(found)
    assert states == dict(zip(documents.ids, documents.states, strict=True))


def test_an_empty_collection_has_no_documents(conn, model):
    found = create_collection(conn, "notes", model.settings, None)
    assert read(found)[0].ids == []
    assert document_states(found) == {}
