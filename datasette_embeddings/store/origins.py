"""Which source brought which item: a row of ``_embedding_origins`` says so.

It is written in the transaction that writes the item, and is valid while the item has
the same content hash and ``updated``: llm, and any other program that writes to
``embeddings``, changes one of the two.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.collection_sources import (
    OLD_SOURCE_ID,
    CollectionSource,
)
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import (
    CHUNKS,
    ORIGINS,
    PARAMETERS,
    columns_of,
    valid_sql,
)

NO_OWNER = "null"


def owner_sql(collection: Collection) -> str:
    """SQL for the id of the source that brought a row of ``embeddings``, or null.

    0.2a0 stored only the one source of a collection.  It is taken as the origin of
    every item with its prefix that is no newer than its last complete run, unless 0.2a0
    stored that others brought items too.
    """
    ids = [each.id for each in collection.sources]
    columns = columns_of(collection.conn, "embeddings")
    if not ids or not {"content_hash", "updated"} <= set(columns):
        return NO_OWNER
    if ids == [OLD_SOURCE_ID]:
        return NO_OWNER if collection.is_mixed else _old_owner(collection)
    if not columns_of(collection.conn, ORIGINS):
        return NO_OWNER
    return f"""
        (
          select source_id
          from _embedding_origins as origin
          where origin.collection_id = embeddings.collection_id
          and origin.id = embeddings.id
          and origin.content_hash is embeddings.content_hash
          and origin.updated is embeddings.updated
          and source_id in ({listed(ids)})
        )
    """


def _old_owner(collection: Collection) -> str:
    if not collection.current_sources:
        return NO_OWNER
    (source,) = collection.current_sources
    # As a BLOB, because SQL cannot write every character of a text
    prefix = f"cast(x'{source.prefix.encode().hex()}' as text)"
    return f"""
        case
          when substr(embeddings.id, 1, length({prefix})) = {prefix}
          and embeddings.updated <= {int(source.synced or 0)}
            then {OLD_SOURCE_ID}
        end
    """


def listed(ids: Iterable[int]) -> str:
    """*ids* as SQL lists them."""
    return ", ".join(str(int(each)) for each in ids)


def write_origins(
    collection: Collection,
    source_id: int | None,
    items: Iterable[tuple[str, str | None]],
) -> None:
    """Store that *source_id* brought *items*, pairs of id and metadata just written.

    None is for items of no source, as is an item that keeps other metadata.
    """
    given: dict[bool, list[str]] = {False: [], True: []}
    for item_id, metadata in items:
        given[metadata is not None].append(item_id)
    for has_metadata, ids in given.items():
        for start in range(0, len(ids), PARAMETERS):
            some = ids[start : start + PARAMETERS]
            condition = f"collection_id = ? and id in ({', '.join('?' * len(some))})"
            collection.conn.execute(
                f"delete from _embedding_origins where {condition}",
                [collection.id, *some],
            )
            if source_id is None:
                continue
            collection.conn.execute(
                f"""
                insert into _embedding_origins
                  (collection_id, id, source_id, content_hash, updated)
                select collection_id, id, {int(source_id)}, content_hash, updated
                from embeddings
                where {condition}
                {"" if has_metadata else "and metadata is null"}
                """,
                [collection.id, *some],
            )


def drop_lost_origins(conn: sqlite3.Connection) -> None:
    """Delete the origins of deleted items."""
    conn.execute(
        """
        delete from _embedding_origins
        where not exists (
          select 1
          from embeddings
          where embeddings.collection_id = _embedding_origins.collection_id
          and embeddings.id = _embedding_origins.id
        )
        """
    )


def count_items_of_sources(collection: Collection) -> dict[int | None, int]:
    """How many items each source brought, by its id; None for items of no source."""
    rows = collection.conn.execute(
        f"""
        select {owner_sql(collection)} as owner, count(*)
        from embeddings
        where collection_id = ?
        group by owner
        """,
        [collection.id],
    )
    return dict(rows.fetchall())


def items_with_source(collection: Collection, item_ids: Sequence[str]) -> set[str]:
    """Those of *item_ids* that a source of *collection* brought."""
    owner = owner_sql(collection)
    found = set[str]()
    for start in range(0, len(item_ids), PARAMETERS):
        some = item_ids[start : start + PARAMETERS]
        rows = collection.conn.execute(
            f"""
            select id
            from embeddings
            where collection_id = ?
            and id in ({", ".join("?" * len(some))})
            and {owner} is not null
            """,
            [collection.id, *some],
        )
        found.update(row[0] for row in rows)
    return found


def sources_of(
    collection: Collection, document_ids: Iterable[str]
) -> dict[str, Source]:
    """The current source of each of *document_ids* that has the prefix of one.

    Where several prefixes fit, it is the source that brought the document, or the one
    with the longest prefix if none of them did.
    """
    fitting = {each: _sources_for(collection, each) for each in document_ids}
    unclear = [each for each, some in fitting.items() if len(some) > 1]
    owners = _owners(collection, unclear) if unclear else {}
    found = dict[str, Source]()
    for document_id, some in fitting.items():
        if some:
            owner = owners.get(document_id)
            own = next((each for each in some if each.id == owner), some[0])
            found[document_id] = own.source
    return found


def _sources_for(collection: Collection, document_id: str) -> list[CollectionSource]:
    """The current sources whose prefix *document_id* has, longest prefix first."""
    return sorted(
        (s for s in collection.current_sources if document_id.startswith(s.prefix)),
        key=lambda source: len(source.prefix),
        reverse=True,
    )


def _owners(collection: Collection, document_ids: Sequence[str]) -> dict[str, int]:
    """The id of the source that brought each of *document_ids*, whole or in chunks."""
    owner = owner_sql(collection)
    queries = [f"select id, {owner} from embeddings where collection_id = ? and id"]
    if collection.has_chunks:
        queries.append(
            f"""
            select document_id, {owner}
            from {CHUNKS} join embeddings using (collection_id, id)
            where {valid_sql(CHUNKS)}
            and collection_id = ?
            and document_id
            """
        )
    found = dict[str, int]()
    for start in range(0, len(document_ids), PARAMETERS):
        some = document_ids[start : start + PARAMETERS]
        for query in queries:
            rows = collection.conn.execute(
                f"{query} in ({', '.join('?' * len(some))})", [collection.id, *some]
            )
            found.update((row[0], row[1]) for row in rows if row[1] is not None)
    return found
