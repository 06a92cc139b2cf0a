"""The map of a collection, made and kept up to date as documents come and go.

A method makes it of a fair sample of the documents; the others, and those that are new
or change later, are placed among these without moving them.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace

import numpy as np

from datasette_embeddings.analysis.documents import (
    DocumentVectors,
    document_states,
    document_vectors,
)
from datasette_embeddings.errors import InvalidInputError, MissingLibraryError
from datasette_embeddings.maps.pacmap import Points
from datasette_embeddings.maps.placement import place
from datasette_embeddings.maps.projections import (
    PCA,
    Components,
    check_method,
    flat,
    projected,
)
from datasette_embeddings.maps.stored_points import (
    PointsById,
    changes,
    stored_points,
    tiles_of,
)
from datasette_embeddings.maps.tiles import shuffled
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.facts import new_version
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.map_facts import MapFacts, MapSettings
from datasette_embeddings.store.schema import kept_in_memory, one_moment, transaction

# Documents that the method is given; if there are more, the rest is placed among these
MOST_FITTED = 20_000
# Documents on the map that new ones are compared with, at most
MOST_REFERENCES = 20_000
# A map of so few documents is made again when most of them are new
SMALL_MAP = 1_000
# A refresh starts again when another program changed the map, at most so often
ATTEMPTS = 3
MOST_SEEDS = 2**32

# What a refresh cannot do
REMAKE = "remake"


def build(
    collection: StoredCollection,
    settings: MapSettings,
    *,
    start: Callback = ignore,
    progress: Callback = ignore,
) -> MapFacts:
    """Store the coordinates of all documents, and keep them up to date from now on.

    *start* is called with the number of documents, *progress* with how many more have
    coordinates. A map that exists is replaced at the end, in one transaction.

    :raises InvalidInputError: if there is no such method, or no document with a vector.
    :raises MissingLibraryError: if the library of the method is not installed.
    """
    check_method(settings.method)
    if not 0 <= settings.seed < MOST_SEEDS:
        raise InvalidInputError(
            f"Expected a seed from 0 to {MOST_SEEDS - 1}, found {settings.seed}"
        )
    Coordinates(collection).prepare()
    collection = current(collection)
    with ExitStack() as stack:
        with one_moment(collection.conn):
            state = collection.snapshot()
            documents = stack.enter_context(document_vectors(collection))
        if not len(documents):
            name = collection.name
            raise InvalidInputError(f"{name!r} has no vectors to make a map of")
        start(len(documents))
        found = _points(documents, settings, progress)
    x, y = found.T.tolist()
    rows = zip(documents.ids, x, y, documents.states, strict=True)
    points: PointsById = {each: (one, two, own) for each, one, two, own in rows}
    facts = MapFacts(
        method=settings.method,
        seed=settings.seed,
        documents=len(points),
        placed=0,
        version=0,
        min_x=min(x),
        max_x=max(x),
        min_y=min(y),
        max_y=max(y),
    )
    with kept_in_memory(collection.conn, is_mapped=False), transaction(collection.conn):
        current(collection)
        Coordinates(collection).clear()
        facts = _write(collection, facts, points, state)
    # Another program may have changed documents meanwhile
    return refresh(collection) or facts


def refresh(collection: StoredCollection, *, checks: bool = False) -> MapFacts | None:
    """Place new and changed documents on the map, delete others; None without a map.

    The other points keep their coordinates. If nothing was written since, the map is
    looked at only if it *checks* what another program may have written there. A map
    that was made of none of the documents, or of few, is made again.
    """
    table = Coordinates(collection)
    if (settings := table.settings) is None:
        return None
    table.prepare()
    for attempt in range(ATTEMPTS):
        # The last attempt makes other programs wait
        is_last = attempt == ATTEMPTS - 1
        with transaction(collection.conn) if is_last else nullcontext():
            refreshed = _refreshed(collection, checks=checks)
        if refreshed == REMAKE:
            # Without its library, without documents, or with settings of another
            # program or a later release the map stays as it is
            with suppress(MissingLibraryError, InvalidInputError):
                return build(collection, settings)
            return table.facts
        if isinstance(refreshed, MapFacts):
            return refreshed
    return table.facts


def count_stale(collection: StoredCollection) -> int:
    """How many points are missing, out of date, of no document, or out of place.

    :raises SchemaError: if another program made a table of that name.
    """
    table = Coordinates(collection)
    if table.settings is None:
        return 0
    if (facts := table.facts) is None:
        return collection.count_items()
    points, odd = stored_points(table, facts)
    states = document_states(collection)
    changed, deleted = changes(points, states)
    if changed:
        with document_vectors(collection, only=changed) as documents:
            # Vectors that cannot be compared are on no map
            deleted |= points.keys() & (changed - set(documents.ids))
            changed = set(documents.ids)
    return len(changed | deleted | (odd & states.keys())) + len(odd - states.keys())


def remove(collection: StoredCollection) -> None:
    """Delete the map of *collection*, and stop keeping it up to date."""
    table = Coordinates(collection)
    table.prepare()
    collection = current(collection)
    with transaction(collection.conn):
        Coordinates(collection).clear()
        Coordinates(collection).store_facts(None)


def _points(
    documents: DocumentVectors, settings: MapSettings, progress: Callback
) -> Points:
    """The coordinates of *documents*, (n, 2)."""
    count, dimensions = len(documents), documents.file.dimensions
    points = np.full((count, 2), np.nan)
    if settings.method == PCA:
        components = Components(
            (block for _start, block in documents.blocks()), dimensions, 2
        )
        for start, block in documents.blocks():
            points[start : start + len(block)] = flat(components.of(block))
            progress(len(block))
        return points
    # In the order of the hash: the map does not depend on the order of rows
    fitted = shuffled(documents.ids)[:MOST_FITTED]
    order = np.argsort(fitted)
    vectors = np.empty((len(fitted), dimensions), np.float32)
    vectors[order] = documents.file.rows(fitted[order])
    found = projected(settings.method, vectors, settings.seed, progress)
    # A method may leave out what is near nothing
    is_placed = np.isfinite(found).all(axis=1)
    points[fitted[is_placed]] = found[is_placed]
    vectors, found = vectors[is_placed], found[is_placed]
    for start, block in documents.blocks():
        rows = np.arange(start, start + len(block))
        missing = np.isnan(points[rows, 0])
        if missing.any():
            points[rows[missing]] = place(block[missing], [vectors], found)
            progress(int(missing.sum()))
    return points


def _refreshed(collection: StoredCollection, *, checks: bool) -> MapFacts | str | None:
    """The facts of the map that is now up to date.

    It is ``REMAKE`` if the map has to be made again, and None if another program
    changed the map meanwhile.
    """
    table = Coordinates(collection)
    with ExitStack() as stack:
        with one_moment(collection.conn):
            if (facts := table.facts) is None:
                return REMAKE
            state = collection.snapshot()
            if table.state == list(state) and not checks:
                return facts
            points, _odd = stored_points(table, facts)
            changed, deleted = changes(points, document_states(collection))
            documents = None
            if changed:
                documents = stack.enter_context(document_vectors(collection))
        for each in changed | deleted:
            points.pop(each, None)
        placed = facts.placed
        if documents is not None and len(documents):
            new = changed & set(documents.ids)
            placed += len(new)
            is_small = len(documents) <= SMALL_MAP and placed > len(documents) / 2
            if not points or is_small:
                return REMAKE
            points.update(_placed(documents, points, new))
    facts = replace(facts, documents=len(points), placed=min(placed, len(points)))
    with kept_in_memory(collection.conn, is_mapped=False), transaction(collection.conn):
        current(collection)
        now = table.facts
        if now is None or now.version != facts.version:
            return None
        return _write(collection, facts, points, state)


def _placed(
    documents: DocumentVectors, points: PointsById, new: Collection[str]
) -> PointsById:
    """The points of *new* documents among those that have one."""
    ids = documents.ids
    positions = {each: row for row, each in enumerate(ids)}
    known = [each for each in points if each in positions]
    near = [known[row] for row in shuffled(known)[:MOST_REFERENCES].tolist()]
    near.sort(key=positions.__getitem__)
    references = documents.file.rows(np.array([positions[each] for each in near]))
    places = np.array([points[each][:2] for each in near])
    found: PointsById = {}
    for start, block in documents.blocks():
        own = ids[start : start + len(block)]
        rows = [row for row, each in enumerate(own) if each in new]
        if rows:
            for row, (x, y) in zip(
                rows, place(block[rows], [references], places).tolist(), strict=True
            ):
                found[own[row]] = x, y, documents.states[start + row]
    return found


def _write(
    collection: StoredCollection,
    facts: MapFacts,
    points: PointsById,
    state: tuple[float | None, ...],
) -> MapFacts:
    """Store *points* and *facts*, with another version; part of a transaction."""
    table = Coordinates(collection)
    table.delete_odd()
    tiles = tiles_of(points, facts)
    rows = {
        each: (each, x, y, tile, own)
        for (each, (x, y, own)), tile in zip(points.items(), tiles, strict=True)
    }
    stored = {row[0]: row for row in table.rows()}
    changed = [row for each, row in rows.items() if stored.get(each) != row]
    deleted = stored.keys() - rows.keys()
    if changed or deleted:
        facts = replace(facts, version=new_version())
    table.write(changed, deleted=deleted)
    # Within the same second a vector may change again
    table.store_facts(facts, None if is_recent(state) else state)
    return facts
