"""Which rows of a source are new or changed, and which items belong to others."""

from __future__ import annotations

import sqlite3

from datasette_embeddings import sources, store


def compare(
    conn: sqlite3.Connection,
    staging: store.Staging,
    collection: store.Collection | None,
    source: sources.ReadableSource,
) -> store.Ownership:
    """Tell of each staged row of *source* what it is to *collection*.

    Where documents are now split in another way, all of them have changed.
    """
    ownership = _ownership(conn, collection, source)
    piped = None
    if ownership.is_pipe and collection is not None:
        piped = store.attached_source(collection, source)
    staging.compare(
        collection,
        ownership,
        is_chunked=source.chunking is not None,
        everything_changed=piped is not None and _is_rechunked(piped, source),
    )
    return ownership


def _ownership(
    conn: sqlite3.Connection,
    collection: store.Collection | None,
    source: sources.ReadableSource,
) -> store.Ownership:
    is_pipe = sources.is_standard_input(source)
    if collection is None:
        return store.Ownership(is_pipe=is_pipe)
    owner = store.owner_sql(conn, collection)
    of_images = tuple(
        each.id for each in collection.sources if getattr(each.source, "images", False)
    )
    if is_pipe:
        return store.Ownership(owner, of_images=of_images, is_pipe=True)
    attached = store.attached_source(collection, source)
    # In a dry run the sources that it would replace are not marked as replaced
    others = [
        each
        for each in collection.sources
        if each.prefix == source.id_prefix
        and each != attached
        and each.state is not store.SourceState.PIPED
    ]
    known = others if attached is None else [attached, *others]
    return store.Ownership(
        owner,
        source_id=None if attached is None else attached.id,
        replaced=tuple(each.id for each in others),
        rechunked=tuple(each.id for each in known if _is_rechunked(each, source)),
        of_images=of_images,
        clears_metadata=not source.metadata_columns
        and attached is not None
        and bool(getattr(attached.source, "metadata_columns", ())),
    )


def _is_rechunked(
    known: store.CollectionSource, source: sources.ReadableSource
) -> bool:
    return (
        isinstance(known.source, sources.SourceRules)
        and known.source.chunking != source.chunking
    )
