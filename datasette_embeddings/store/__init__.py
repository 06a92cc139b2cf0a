"""Our tables: the only package that reads or writes them."""

from __future__ import annotations

from datasette_embeddings.store.catalog import (
    Collection,
    collection,
    collections,
    count_items,
    find_collection,
    model_ids,
    source_tables,
)
from datasette_embeddings.store.changes import (
    check_exists,
    create_collection,
    delete_collection,
    finish_sync,
    rename_collection,
)
from datasette_embeddings.store.embeddings import (
    StoredItem,
    delete_items,
    item_ids,
    snapshot,
    store_contents,
    stored_hashes,
    stored_items,
    stored_vector,
    usual_vector_length,
    vector_rows,
    write_embeddings,
    write_vectors,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    RAW_TABLES,
    columns_of,
    has_collections,
    transaction,
)

__all__ = [
    "OUR_COLLECTIONS",
    "RAW_TABLES",
    "Collection",
    "StoredItem",
    "check_exists",
    "collection",
    "collections",
    "columns_of",
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
    "source_tables",
    "store_contents",
    "stored_hashes",
    "stored_items",
    "stored_vector",
    "transaction",
    "usual_vector_length",
    "vector_rows",
    "write_embeddings",
    "write_vectors",
]
