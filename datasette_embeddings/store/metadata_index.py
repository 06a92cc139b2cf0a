"""An index of some keys of a collection's metadata, where the owner asks for one.

It is a table with a row for each item and a column for each key, and an index on each
column.  Triggers on ``embeddings`` write it in the transaction that writes the items,
whichever program that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from datasette_embeddings.databases import declared_columns, quote
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.store import schema
from datasette_embeddings.store.collections import StoredCollection

#: Characters of a key that a column can have
LONGEST_KEY = 200
# A key that a path of SQLite's JSON functions can have in quotation marks
PLAIN_KEY = re.compile(r"[ !#-\[\]-~]+")
#: The column with the item's id; those of the keys follow it
ITEM = "_item"
#: Stands for no key
NO_INDEX = "none"
# Each makes every write of an item a little slower
MOST_INDEXED_KEYS = 20


def value_sql(key: str, metadata: str = "embeddings.metadata") -> str:
    """SQL for the value of *key* in the column *metadata*; NULL where that is no JSON.

    A text that reads as a number is one, as in metadata from CSV; a list is JSON.
    """
    text = key.replace("'", "''")
    value = f"(select value from json_each({metadata}) where key = '{text}')"
    if PLAIN_KEY.fullmatch(key):
        value = f"json_extract({metadata}, '$.\"{text}\"')"
    return f"""
        case when {is_json_sql(metadata)} then
          case when typeof({value}) = 'text'
          and {value} glob '[-0-9]*'
          and cast(cast({value} as numeric) as text) = {value}
          then cast({value} as numeric) else {value} end
        end
    """


def is_json_sql(metadata: str) -> str:
    """SQL for whether the column *metadata* is JSON."""
    return f"typeof({metadata}) = 'text' and json_valid({metadata})"


class MetadataIndex:
    """The index of the metadata of a collection, used through its connection."""

    def __init__(self, collection: StoredCollection) -> None:
        self.id, self.conn = int(collection.id), collection.conn
        self.table = schema.metadata_table(self.id)

    def keys(self) -> list[str]:
        """The keys that it has; none if it is stale."""
        return [] if self.is_stale() else self.indexed()

    def is_stale(self) -> bool:
        """Whether its triggers are not those that keep it in step with the items."""
        keys = self.indexed()
        found = self.conn.execute(
            "select name, sql from sqlite_master where type = 'trigger' "
            "and substr(name, 1, length(?)) = ?",
            [f"{self.table}_"] * 2,
        )
        return dict(found.fetchall()) != (self._triggers(keys) if keys else {})

    def count_wrong(self) -> int:
        """How many of its rows are not those of the items, or are missing."""
        keys = self.indexed()
        if not keys:
            return 0
        indexed = f"select {self._names(keys)} from {self.table}"
        stored = self._rows_sql(keys)
        (count,) = self.conn.execute(
            f"""
            select count(distinct {ITEM})
            from (
              select * from ({indexed} except {stored})
              union all
              select * from ({stored} except {indexed})
            )
            """
        ).fetchone()
        return int(count)

    def create(self, keys: Sequence[str]) -> None:
        """Index *keys*, and no others; part of a transaction.

        :raises InvalidInputError: for a key that no column can have.
        """
        keys = checked_keys(keys)
        self.drop()
        if not keys:
            return
        columns = [f"{ITEM} text primary key", *map(quote, keys)]
        self.conn.execute(f"create table {self.table} ({', '.join(columns)})")
        self.conn.execute(f"insert into {self.table} {self._rows_sql(keys)}")
        for number, key in enumerate(keys):
            self.conn.execute(
                f"create index {self.table}_{number} on {self.table} ({quote(key)})"
            )
        for sql in self._triggers(keys).values():
            self.conn.execute(sql)

    def drop(self) -> None:
        """Delete the index; part of a transaction."""
        # A trigger without its table would make every write of an item fail
        for name in self._triggers([]):
            self.conn.execute(f"drop trigger if exists {name}")
        self.conn.execute(f"drop table if exists {self.table}")

    def indexed(self) -> list[str]:
        """The keys that its table has, whether or not it is stale."""
        columns = declared_columns(self.conn, self.table)
        return [each.name for each in columns if each.name != ITEM]

    def _rows_sql(self, keys: Sequence[str]) -> str:
        values = map(value_sql, keys)
        return f"""
            select {", ".join(["embeddings.id", *values])}
            from embeddings
            where embeddings.collection_id = {self.id}
            and typeof(embeddings.id) = 'text'
        """

    def _names(self, keys: Sequence[str]) -> str:
        return ", ".join([ITEM, *map(quote, keys)])

    def _triggers(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The SQL of each trigger by its name, as SQLite stores it."""
        values = ", ".join(["new.id", *(value_sql(e, "new.metadata") for e in keys)])
        is_new, is_old = (f"{e}.collection_id = {self.id}" for e in ("new", "old"))
        delete = f"delete from {self.table} where {ITEM} ="
        delete_old = f"{delete} old.id and {is_old};"
        # Not "insert or replace": the conflict clause of the statement would rule
        write = f"""
            {delete} new.id and {is_new};
            insert into {self.table} ({self._names(keys)})
            select {values}
            where {is_new}
            and typeof(new.id) = 'text';
        """
        found = {
            "inserted": f"after insert on embeddings when {is_new} begin {write} end",
            "deleted": f"after delete on embeddings when {is_old} "
            f"begin {delete_old} end",
            "updated": "after update of collection_id, id, metadata on embeddings "
            f"when {is_new} or {is_old} begin {delete_old} {write} end",
        }
        return {
            f"{self.table}_{name}": f"CREATE TRIGGER {self.table}_{name} {sql}"
            for name, sql in found.items()
        }


def checked_keys(keys: Sequence[str]) -> list[str]:
    """*keys* without repetitions, if columns can have these names."""
    if len(keys) > MOST_INDEXED_KEYS:
        raise InvalidInputError(
            f"Expected at most {MOST_INDEXED_KEYS} keys of metadata to index, found "
            f"{len(keys):,}"
        )
    found: dict[str, str] = {}
    for key in keys:
        is_taken = key.lower() in ("id", ITEM)
        if not key or is_taken or len(key) > LONGEST_KEY or "\0" in key:
            raise InvalidInputError(
                f"Expected the key of metadata to index, found {quoted(key)}"
            )
        # SQL compares names without case
        found.setdefault(key.lower(), key)
    return [*found.values()]


def index_metadata(collection: StoredCollection, keys: Sequence[str]) -> None:
    """Index *keys* of the metadata of *collection*, and no others; "none" is no key.

    :raises InvalidInputError: for a key that no column can have.
    """
    keys = [] if [*keys] == [NO_INDEX] else checked_keys(keys)
    index = MetadataIndex(collection)
    if keys != index.keys() or index.is_stale():
        with schema.transaction(collection.conn):
            index.create(keys)


def repair_index(collection: StoredCollection) -> None:
    """Make the index again if it does not have the metadata of the items."""
    index = MetadataIndex(collection)
    if index.count_wrong() or index.is_stale():
        with schema.transaction(collection.conn):
            index.create(index.indexed())
