"""Maps that a test writes itself."""

from __future__ import annotations

import json

import numpy as np

from datasette_embeddings.maps.tiles import assign_tiles
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import encode

VERSION = 8_321_000_000_000_000_321


def give_map(conn, name, places, *, version=VERSION):
    """Put documents at *places*, x and y by id, on the map of the collection *name*."""
    coordinates = Coordinates(collection(conn, name))
    coordinates.prepare()
    x, y = np.array([*places.values()], dtype=float).reshape(-1, 2).T
    edges = [float(each) for each in (x.min(), x.max(), y.min(), y.max())]
    facts = MapFacts("pca", 0, len(places), 0, version, *edges)
    tiles = assign_tiles([*places], x, y, facts.square).tolist()
    points = zip(places, x.tolist(), y.tolist(), tiles, strict=True)
    with transaction(conn):
        coordinates.clear()
        coordinates.write((*each, "state") for each in points)
        coordinates.store_facts(facts, [1])
    return collection(conn, name)


def stored_items(conn, name, metadata):
    """A collection of items with *metadata*, an object by id, and one vector."""
    found = create_collection(conn, name, "some-model", None)
    conn.executemany(
        "insert into embeddings (collection_id, id, embedding, metadata, updated) "
        "values (?, ?, ?, ?, 1)",
        [
            (found.id, each, encode(np.array([1, 0], np.float32)), json.dumps(values))
            for each, values in metadata.items()
        ],
    )
    conn.commit()
    return collection(conn, name)


def many_places(count, *, seed=0):
    """*count* places around five others, by the ids i0, i1 and so on."""
    random = np.random.default_rng(seed)
    middles = random.uniform(-10, 10, (5, 2))
    places = middles[random.integers(0, 5, count)] + random.normal(size=(count, 2))
    return {f"i{number}": tuple(each) for number, each in enumerate(places.tolist())}
