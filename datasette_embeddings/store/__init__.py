"""Our tables: the only package that reads or writes them."""

from __future__ import annotations

from datasette_embeddings.store.catalog import (
    Collection,
    all_collections,
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
    mixed,
    remove_collection,
    rename_collection,
)
from datasette_embeddings.store.checks import (
    count_left_behind,
    count_lost_chunks,
    count_odd_vectors,
    count_orphans,
    remove_odd_vectors,
    remove_strays,
)
from datasette_embeddings.store.chunks import StoredChunk, chunk_ids, stored_chunks
from datasette_embeddings.store.documents import (
    EmbeddedDocument,
    apply_small_changes,
    items_of,
    write_documents,
)
from datasette_embeddings.store.embeddings import (
    StoredItem,
    item_ids,
    snapshot,
    stored_items,
    stored_vector,
    usual_vector_length,
    vector_rows,
    vectors_of_hashes,
    write_embeddings,
    write_vectors,
)
from datasette_embeddings.store.failures import (
    StoredFailure,
    failures,
    record_failures,
)
from datasette_embeddings.store.fitting import check_fits, check_name
from datasette_embeddings.store.gone import (
    delete_documents,
    delete_gone,
    gone_documents,
    has_metadata,
)
from datasette_embeddings.store.rebuilding import (
    begin_rebuild,
    finish_rebuild,
    unfinished,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    RAW_TABLES,
    columns_of,
    has_collections,
    transaction,
)
from datasette_embeddings.store.staging import Staging, staged

__all__ = [
    "OUR_COLLECTIONS",
    "RAW_TABLES",
    "Collection",
    "EmbeddedDocument",
    "Staging",
    "StoredChunk",
    "StoredFailure",
    "StoredItem",
    "all_collections",
    "apply_small_changes",
    "begin_rebuild",
    "check_exists",
    "check_fits",
    "check_name",
    "chunk_ids",
    "collection",
    "collections",
    "columns_of",
    "count_items",
    "count_left_behind",
    "count_lost_chunks",
    "count_odd_vectors",
    "count_orphans",
    "create_collection",
    "delete_collection",
    "delete_documents",
    "delete_gone",
    "failures",
    "find_collection",
    "finish_rebuild",
    "finish_sync",
    "gone_documents",
    "has_collections",
    "has_metadata",
    "item_ids",
    "items_of",
    "mixed",
    "model_ids",
    "record_failures",
    "remove_collection",
    "remove_odd_vectors",
    "remove_strays",
    "rename_collection",
    "snapshot",
    "source_tables",
    "staged",
    "stored_chunks",
    "stored_items",
    "stored_vector",
    "transaction",
    "unfinished",
    "usual_vector_length",
    "vector_rows",
    "vectors_of_hashes",
    "write_documents",
    "write_embeddings",
    "write_vectors",
]
