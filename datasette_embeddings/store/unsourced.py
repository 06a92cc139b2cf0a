"""Whether a collection holds items that no source brought.

Who may see it depends on that, so a server asks with each request.  Reading all items
takes 0.14 s for 100,000, so an answer is remembered until the database changes.
"""

from __future__ import annotations

from typing import TypeAlias

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import NO_OWNER, owner_sql

#: What changes with every commit to a database
State: TypeAlias = tuple[object, ...]

# By file and collection id: what the answer depends on, and the answer
_known: dict[tuple[str, int], tuple[State, bool]] = {}


def has_unsourced_items(collection: Collection, state: State | None = None) -> bool:
    """Whether any item of *collection* was brought by none of its sources.

    *state* is that of the database before this call; without it, all items are read.
    """
    owner = owner_sql(collection)
    if owner == NO_OWNER:
        return True
    path = collection.conn.execute("pragma database_list").fetchone()[2]
    # Databases in memory have no path to know them by
    if state is None or not path:
        return _is_there(collection, owner)
    key, state = (path, collection.id), (collection.name, owner, *state)
    known = _known.get(key)
    if known is None or known[0] != state:
        known = _known[key] = state, _is_there(collection, owner)
    return known[1]


def _is_there(collection: Collection, owner: str) -> bool:
    row = collection.conn.execute(
        f"""
        select 1
        from embeddings
        where collection_id = ?
        and {owner} is null
        limit 1
        """,
        [collection.id],
    ).fetchone()
    return row is not None
