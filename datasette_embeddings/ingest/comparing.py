"""Which rows of a source are new or changed, and which items belong to others."""

from __future__ import annotations

from datasette_embeddings.sources.definitions import Source, UnreadableSource
from datasette_embeddings.store.attaching import attached_source
from datasette_embeddings.store.collection_sources import CollectionSource, SourceState
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.diff import Ownership
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.staging import Staging


def compare(
    staging: Staging,
    collection: Collection | None,
    source: Source,
) -> Ownership:
    """Tell of each staged row of *source* what it is to *collection*.

    Where documents are now split in another way, all of them have changed.
    """
    ownership = _ownership(collection, source)
    piped = None
    if ownership.is_pipe and collection is not None:
        piped = attached_source(collection, source)
    staging.compare(
        collection,
        ownership,
        is_chunked=source.chunking is not None,
        everything_changed=piped is not None and _is_rechunked(piped, source),
    )
    return ownership


def _ownership(
    collection: Collection | None,
    source: Source,
) -> Ownership:
    is_pipe = source.is_standard_input
    if collection is None:
        return Ownership(is_pipe=is_pipe)
    owner = owner_sql(collection)
    of_images = tuple(each.id for each in collection.sources if each.source.images)
    if is_pipe:
        return Ownership(owner, of_images=of_images, is_pipe=True)
    attached = attached_source(collection, source)
    # In a dry run the sources that it would replace are not marked as replaced
    others = [
        each
        for each in collection.sources
        if each.prefix == source.id_prefix
        and each != attached
        and each.state is not SourceState.PIPED
    ]
    known = others if attached is None else [attached, *others]
    return Ownership(
        owner,
        source_id=None if attached is None else attached.id,
        replaced=tuple(each.id for each in others),
        rechunked=tuple(each.id for each in known if _is_rechunked(each, source)),
        of_images=of_images,
        clears_metadata=not source.metadata_columns
        and attached is not None
        and bool(attached.source.metadata_columns),
    )


def _is_rechunked(known: CollectionSource, source: Source) -> bool:
    is_known = not isinstance(known.source, UnreadableSource)
    return is_known and known.source.chunking != source.chunking
