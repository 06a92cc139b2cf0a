"""Our tables: the only package that reads or writes them."""

from __future__ import annotations

from datasette_embeddings.store.catalog import (
    Collection,
    Source,
    collection,
    collections,
    count_items,
    create_collection,
    delete_collection,
    find_collection,
    finish_sync,
    model_ids,
    rename_collection,
)
from datasette_embeddings.store.embeddings import (
    StoredItem,
    delete_items,
    item_ids,
    snapshot,
    stored_hashes,
    stored_items,
    stored_vector,
    usual_vector_length,
    vector_rows,
    write_embeddings,
    write_vectors,
)
from datasette_embeddings.store.schema import RAW_TABLES, has_collections, transaction

__all__ = [
    "RAW_TABLES",
    "Collection",
    "Source",
    "StoredItem",
    "collection",
    "collections",
    "count_items",
    "create_collection",
    "delete_collection",
    "delete_items",
    "find_collection",
    "finish_sync",
    "has_collections",
    "item_ids",
    "model_ids",
    "rename_collection",
    "snapshot",
    "stored_hashes",
    "stored_items",
    "stored_vector",
    "transaction",
    "usual_vector_length",
    "vector_rows",
    "write_embeddings",
    "write_vectors",
]
