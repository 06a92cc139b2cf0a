"""Whether a collection holds items that no source brought.

Who may see it depends on that, so a server checks with each request.  Reading 100,000
items takes 0.2 s, so the result is cached, and afterwards only added rows are read.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TypeAlias

from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.origins import NO_OWNER, owner_sql

Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class _Checked:
    """What was found when the last row of ``embeddings`` was *last*."""

    #: The name of the collection and the ids of its sources
    facts: tuple[object, ...]
    last: Row | None
    #: The rowid of an item that no source brought
    unsourced: int | None


# By file and collection id
_checked: dict[tuple[str, int], _Checked] = {}


def has_unsourced_items(conn: sqlite3.Connection, collection: Collection) -> bool:
    """Whether any item of *collection* was brought by none of its sources."""
    owner = owner_sql(conn, collection)
    if owner == NO_OWNER or owner.isdigit():
        return owner == NO_OWNER
    path = conn.execute("pragma database_list").fetchone()[2]
    facts = (collection.name, *(each.id for each in collection.sources))
    known = _checked.get((path, collection.id))
    # A database in memory has no path to know it by
    if not path or known is None or known.facts != facts:
        known = _Checked(facts, None, None)
    if known.unsourced is not None:
        is_still = f"{IN_COLLECTION} and rowid = ?"
        if _unsourced(conn, collection, owner, is_still, known.unsourced) is not None:
            return True
        known = _Checked(facts, None, None)
    after = _unchanged_up_to(conn, known)
    last = _row(conn, "order by rowid desc limit 1")
    added = f"{IN_COLLECTION} and rowid > ?" if after else f"{ANYWHERE} and 0 = ?"
    unsourced = _unsourced(conn, collection, owner, added, after)
    _checked[path, collection.id] = _Checked(facts, last, unsourced)
    return unsourced is not None


# "+" keeps SQLite from going through the whole collection by its index
IN_COLLECTION, ANYWHERE = "+collection_id = ?", "collection_id = ?"


def _unchanged_up_to(conn: sqlite3.Connection, known: _Checked) -> int:
    """The rowid up to which no row was written since *known*, or 0.

    SQLite gives an inserted or replaced row the highest rowid.  While the last row of
    *known* exists, rows below it can only have been deleted.
    """
    if known.last is None:
        return 0
    rowid = known.last[0]
    assert isinstance(rowid, int)
    return rowid if _row(conn, "where rowid = ?", rowid) == known.last else 0


def _row(conn: sqlite3.Connection, which: str, *values: object) -> Row | None:
    row: Row | None = conn.execute(
        f"""
        select rowid, collection_id, id, content_hash, updated
        from embeddings
        {which}
        """,
        values,
    ).fetchone()
    return row


def _unsourced(
    conn: sqlite3.Connection,
    collection: Collection,
    owner: str,
    where: str,
    value: object,
) -> int | None:
    """The rowid of an item without a source, among those that *where* selects."""
    row = conn.execute(
        f"select rowid from embeddings where {where} and {owner} is null limit 1",
        [collection.id, value],
    ).fetchone()
    return None if row is None else int(row[0])
