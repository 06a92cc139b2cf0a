"""Coordinates: where the documents of a collection are on its map, by tiles.

A tile is a square of the map. Tile 1 is the whole of it; tile *t* is divided into the
tiles *4t* to *4t + 3*, of which bit 0 says the right half and bit 1 the upper half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np

from datasette_embeddings.migrations import MAP_TABLES
from datasette_embeddings.store import schema
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.facts import read_facts, store_facts
from datasette_embeddings.store.map_areas import (
    FARTHEST,
    Numbers,
    Square,
    as_corners,
    is_within,
)
from datasette_embeddings.store.map_facts import (
    MapFacts,
    MapSettings,
    read_map_facts,
    read_settings,
)

#: Points in a tile, at most; those that do not fit are in the tiles it is divided into
TILE_POINTS = 4_096
#: How often the map is divided, at most
DEPTH = 12
#: The tile of points that are not drawn: their place is full of others
HIDDEN_TILE = 0
LAST_TILE = 2 * 4**DEPTH - 1
# Points that are compared with an area at a time
BLOCK_POINTS = 65_536

#: id, x, y, tile and state
CoordinateRow: TypeAlias = tuple[str, float, float, int, str | None]

# Not the state, which the index lacks that these rows are read from
_VALID = f"""
    typeof(id) = 'text' and typeof(tile) = 'integer'
    and typeof(x) = 'real' and typeof(y) = 'real'
    and abs(x) < {FARTHEST!r} and abs(y) < {FARTHEST!r}
"""
_VALID_ROWS = f"from embedding_coordinates where {_VALID} and collection_id = ?"
_ODD = f"from embedding_coordinates where not ({_VALID}) and collection_id = ?"


class Coordinates:
    """The stored coordinates of the documents of a collection."""

    def __init__(self, collection: StoredCollection) -> None:
        self.collection = collection
        self.conn = collection.conn

    @property
    def settings(self) -> MapSettings | None:
        """The map that the collection is to have; None for none."""
        return read_settings(self._stored())

    @property
    def facts(self) -> MapFacts | None:
        """What is stored about the map; None without one."""
        return read_map_facts(self._stored())

    @property
    def state(self) -> list[float] | None:
        """The state of the vectors that the coordinates are of."""
        state = self._stored().get("state")
        return state if isinstance(state, list) else None

    def store_facts(
        self, facts: MapFacts | None, state: Sequence[float | None] | None = None
    ) -> None:
        """Store *facts* and the state of the vectors; part of a transaction."""
        values = {} if facts is None else {**asdict(facts), "state": state}
        given = {name: value for name, value in values.items() if value is not None}
        store_facts(self.collection, "map", given)

    def prepare(self) -> None:
        """Create the table of coordinates, if it does not exist."""
        schema.create_tables(self.conn, ["embedding_coordinates"], MAP_TABLES)

    def of(self, ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """The coordinates of those of *ids* that are on the map."""
        sql = f"select id, x, y {_VALID_ROWS} and id in"
        if not self._has_table():
            return {}
        rows = schema.rows_in(self.conn, sql, [self.collection.id], ids)
        return {each: (x, y) for each, x, y in rows}

    def tile(self, number: int) -> list[tuple[str, float, float]]:
        """The id, x and y of each point in a tile, by id; none without the tile."""
        if not self._has_table():
            return []
        rows = self.conn.execute(
            f"select id, x, y {_VALID_ROWS} and tile = ? order by id limit ?",
            [self.collection.id, number, TILE_POINTS],
        )
        return [(each, x, y) for each, x, y in rows]

    def tiles(self) -> dict[int, int]:
        """How many points each tile has, by its number; those with none are missing.

        A tile that has points has a parent that is full.
        """
        if not self._has_table():
            return {}
        rows = self.conn.execute(
            f"""
            select tile, min(count(*), {TILE_POINTS})
            {_VALID_ROWS}
            and tile between 1 and {LAST_TILE}
            group by tile
            """,
            [self.collection.id],
        )
        return {tile: count for tile, count in rows}  # noqa: C416 - rows may be sqlite3.Row

    def rows(self) -> list[CoordinateRow]:
        """Every point, by id."""
        if not self._has_table():
            return []
        rows = self.conn.execute(
            f"select id, x, y, tile, cast(state as text) {_VALID_ROWS} order by id",
            [self.collection.id],
        )
        return [tuple(row) for row in rows]

    def within(self, polygon: Sequence[tuple[float, float]]) -> set[str]:
        """The ids of the documents in an area, given as the corners around it.

        What the line around it encloses an odd number of times is in the area; a point
        exactly on the line may count or not.

        :raises InvalidInputError: if it has too few corners or too many, or coordinates
            that are not numbers.
        """
        corners = as_corners(polygon)
        left, bottom = corners.min(axis=0).tolist()
        right, top = corners.max(axis=0).tolist()
        found: set[str] = set()
        inside, some = self._overlapping(corners, (left, bottom, right, top))
        for tile in inside:
            sql = f"select id {_VALID_ROWS} and tile = ?"
            rows: Any = self.conn.execute(sql, [self.collection.id, tile])
            found.update(row[0] for row in rows)
        for tile in some:
            rows = self.conn.execute(
                f"""
                select id, x, y
                {_VALID_ROWS}
                and tile = ? and x between ? and ? and y between ? and ?
                """,
                [self.collection.id, tile, left, right, bottom, top],
            )
            while block := rows.fetchmany(BLOCK_POINTS):
                ids, x, y = zip(*block, strict=True)
                is_in = is_within(np.array(x), np.array(y), corners)
                found.update(ids[row] for row in np.flatnonzero(is_in).tolist())
        return found

    def nearest(
        self, x: float, y: float, *, limit: int = 1
    ) -> list[tuple[str, float, float]]:
        """The points nearest to a place on the map: id, x, y, nearest first.

        Points that are not drawn are left out.
        """
        is_place = abs(x) + abs(y) < FARTHEST
        if (facts := self.facts) is None or not is_place or not self._has_table():
            return []
        square = facts.square
        middle = square.left + square.side / 2, square.bottom + square.side / 2
        # From here every point of the square is nearer than that
        most = abs(x - middle[0]) + abs(y - middle[1]) + 2 * square.side
        radius, seen = square.side / 2**6, dict[int, list[tuple[str, float, float]]]()
        while True:
            area = x - radius, y - radius, x + radius, y + radius
            for tile in self._tiles(square, area):
                if tile not in seen:
                    seen[tile] = self.tile(tile)
            points = [point for each in seen.values() for point in each]
            far = [
                ((px - x) ** 2 + (py - y) ** 2, px, py, id_) for id_, px, py in points
            ]
            near = sorted(each for each in far if each[0] <= radius**2)[:limit]
            if len(near) >= limit or radius > most:
                return [(id_, px, py) for _distance, px, py, id_ in near]
            radius *= 2

    def write(
        self, rows: Iterable[CoordinateRow], *, deleted: Iterable[str] = ()
    ) -> None:
        """Write *rows* and delete the points of *deleted*; part of a transaction."""
        key = int(self.collection.id)
        self.conn.executemany(
            f"delete from embedding_coordinates where collection_id = {key} and id = ?",
            [(each,) for each in deleted],
        )
        self.conn.executemany(
            "insert or replace into embedding_coordinates "
            f"(collection_id, id, x, y, tile, state) values ({key}, ?, ?, ?, ?, ?)",
            rows,
        )

    def clear(self) -> None:
        """Delete all coordinates of the collection; part of a transaction."""
        self.conn.execute(
            "delete from embedding_coordinates where collection_id = ?",
            [self.collection.id],
        )

    def odd_ids(self) -> set[str]:
        """The ids of rows with values of other types, as text."""
        if not self._has_table():
            return set()
        key = [self.collection.id]
        return {str(each) for (each,) in self.conn.execute(f"select id {_ODD}", key)}

    def delete_odd(self) -> None:
        """Delete the rows with values of other types; part of a transaction."""
        self.conn.execute(f"delete {_ODD}", [self.collection.id])

    def _stored(self) -> dict[str, Any]:
        return read_facts(self.collection, "map")

    def _has_table(self) -> bool:
        return bool(schema.read_columns(self.conn)["embedding_coordinates"])

    def _overlapping(
        self, corners: Numbers, area: tuple[float, float, float, float]
    ) -> tuple[list[int], list[int]]:
        """The tiles that are in an area with *corners*, and those that may be in part.

        No line of the area comes near a tile that is in it, so one point decides.
        """
        if (facts := self.facts) is None or not self._has_table():
            return [], []
        ends = np.roll(corners, -1, axis=0)
        lines = np.hstack([np.minimum(corners, ends), np.maximum(corners, ends)])
        inside, some = [], [HIDDEN_TILE]
        for tile in self._tiles(facts.square, area):
            square = facts.square.tile(tile)
            corner = np.array([square.left]), np.array([square.bottom])
            if any(square.overlaps(*line) for line in lines.tolist()):
                some.append(tile)
            elif is_within(*corner, corners)[0]:
                inside.append(tile)
        return inside, some

    def _tiles(
        self, whole: Square, area: tuple[float, float, float, float]
    ) -> Iterator[int]:
        """The tiles with points that have a part of a rectangle."""
        sql = f"select 1 {_VALID_ROWS} and tile = ? limit 1"
        tiles = [1]
        while tiles:
            tile = tiles.pop()
            has_points = self.conn.execute(sql, [self.collection.id, tile]).fetchone()
            if has_points and whole.tile(tile).overlaps(*area):
                yield tile
                if tile <= LAST_TILE // 4:
                    tiles.extend(range(4 * tile, 4 * tile + 4))
