"""Questions made from a column, and a collection in which they can be searched for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from datasette_embeddings.databases import declared_columns, open_database, quote
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.questions import LONGEST_QUESTION, Question
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.collections import collection as collection_named


def known_items(collection: StoredCollection, column: str) -> list[Question]:
    """A question for each text of *column*: which rows have it?

    :raises InvalidInputError: if the rows of *collection* have no such column.
    """
    source = _table_source(collection, column)
    keys = ", ".join(map(source.column_sql, source.key_columns))
    asked = source.column_sql(column)
    relevant: dict[str, set[str]] = {}
    rows = collection.conn.execute(
        f"""
        select {asked}, {keys}
        from main.{quote(source.table)}
        where typeof({asked}) = 'text'
        and length({asked}) <= {LONGEST_QUESTION}
        """
    )
    for text, *key in rows:
        try:
            document_id = source.id_prefix + item_id_of(key)
        except SourceError:
            # A row without a key is no item
            continue
        if text.strip():
            relevant.setdefault(text, set()).add(document_id)
    return [Question(text, frozenset(ids)) for text, ids in relevant.items()]


@contextmanager
def collection_without(
    collection: StoredCollection,
    column: str,
    model: EmbeddingModel,
    *,
    start: Callable[[int], None],
    progress: Callable[[int], None],
) -> Iterator[StoredCollection]:
    """*collection* without the content of *column*, embedded in a temporary database.

    It is *collection* itself where that does not contain the column.
    """
    source = _table_source(collection, column)
    if column not in (*source.content_columns, source.title_column):
        yield collection
        return
    rest = tuple(each for each in source.content_columns if each != column)
    if not rest or source.template is not None:
        found = "only that column" if not rest else "the template of its content"
        raise InvalidInputError(
            f"Expected other columns than {column!r} to search in, found {found} in "
            f"{collection.name!r}; write a file of questions instead"
        )
    title = None if source.title_column == column else source.title_column
    source = replace(source, content_columns=rest, title_column=title)
    options = IngestOptions(start=start, progress=progress, words=collection.words)
    with TemporaryDirectory(
        prefix="datasette-embeddings-", ignore_cleanup_errors=True
    ) as folder:
        path = Path(folder) / "known-items.db"
        try:
            with open_database(path, create=True) as conn:
                _copy(collection.conn, conn, source)
                ingest(conn, collection.name, source, model, options=options)
                yield collection_named(conn, collection.name)
        finally:
            # Windows deletes no file that is open
            indexes.close()


def _table_source(collection: StoredCollection, column: str) -> TableSource:
    source = collection.source
    if not isinstance(source, TableSource):
        raise InvalidInputError(
            f"Expected a collection of one table, found {collection.name!r} of "
            "another source; write a file of questions instead"
        )
    names = [each.name for each in declared_columns(collection.conn, source.table)]
    if column not in names:
        raise InvalidInputError(
            f"No column {column!r} in the table {source.table!r}: it has "
            f"{', '.join(map(repr, names))}"
        )
    return source


def _copy(
    conn: sqlite3.Connection, target: sqlite3.Connection, source: TableSource
) -> None:
    """Write the rows that *source* reads in *conn* to the database of *target*."""
    types = {each.name: each.type for each in declared_columns(conn, source.table)}
    with closing(conn.execute(source.sql)) as rows:
        names = [column[0] for column in rows.description]
        # The type decides which keys are equal; a rowid is declared nowhere
        declared = [f"{quote(n)} {quote(types.get(n, 'integer'))}" for n in names]
        table, keys = quote(source.table), map(quote, source.key_columns)
        target.execute(f"create table {table} ({', '.join(declared)})")
        target.execute(f"create index _known_items on {table} ({', '.join(keys)})")
        values = ", ".join("?" * len(names))
        target.executemany(f"insert into {table} values ({values})", rows)
    target.commit()
