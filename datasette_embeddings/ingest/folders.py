"""Whether a folder is one of texts or of pictures."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.sources.folders import has_pictures
from datasette_embeddings.store.collections import find_collection


def for_model(
    conn: sqlite3.Connection,
    name: str,
    source: FolderSource,
    model: EmbeddingModel,
    *,
    rebuild: bool,
) -> FolderSource:
    """*source* with its texts, or with its pictures if *model* takes images.

    The collection *name* keeps to what it was made from.  With *rebuild* each file is
    read by its kind, also in a source of an earlier release.
    """
    if rebuild:
        source = replace(source, by_kind=True)
    if source.is_bytes or not model.supports_images:
        return source
    existing = find_collection(conn, name)
    attached = None if existing is None else existing.attached(source)
    if attached is not None:
        has_images = attached.source.images
    else:
        has_images = source.by_kind and has_pictures(conn, source)
    return replace(source, images=True, chunking=None) if has_images else source
