"""Conditions on the rows of a source table → the items that stand for them."""

from __future__ import annotations

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import Selection, selected_ids
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.chunks import chunks_of_documents


def selected_items(collection: Collection, selection: Selection) -> frozenset[str]:
    """The items of *collection* whose source rows *selection* takes, and some ids more.

    Rows that are not embedded have ids too.

    :raises InvalidInputError: if the collection has no source table, or SQLite no
        answer.
    """
    documents = selected_ids(collection.conn, source_table(collection), selection)
    return frozenset(documents | chunks_of_documents(collection, documents))


def source_table(collection: Collection) -> TableSource:
    """The table whose rows *collection* holds.

    :raises InvalidInputError: if its rows come from elsewhere.
    """
    if not isinstance(collection.source, TableSource):
        raise InvalidInputError(
            "Filters and facets need a source table, and the collection "
            f"{collection.name!r} was not made from one"
        )
    return collection.source
