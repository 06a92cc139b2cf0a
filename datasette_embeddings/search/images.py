"""The image that an item stands for, and whether there is one."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import image_of_row
from datasette_embeddings.store import images
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.images import stored_image
from datasette_embeddings.store.origins import sources_of


def item_image(collection: Collection, item_id: str) -> bytes | None:
    """The bytes of an item's image, stored or in its source row; None without one.

    :raises UnknownItemError: if the collection has no such item.
    """
    image = stored_image(collection, item_id)
    source = sources_of(collection, [item_id]).get(item_id)
    if image is None and isinstance(source, TableSource):
        # The table or the column may be gone
        with suppress(sqlite3.OperationalError):
            image = image_of_row(collection.conn, source, item_id)
    return image


def has_item_image(collection: Collection, item_id: str) -> bool:
    """Whether :func:`item_image` would give one; it is not read for that."""
    return matches(collection, [Hit(item_id, 1.0)])[0].has_image


def has_images(collection: Collection) -> bool:
    """Whether *collection* is one of images, as far as can be told at a glance."""
    is_declared = any(
        getattr(each.source, "images", False) for each in collection.current_sources
    )
    return is_declared or images.has_images(collection)
