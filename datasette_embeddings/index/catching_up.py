"""Compact indexes that follow their collections, and the saved ones they begin with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.index.building import (
    blocks,
    index_of,
    read_compact,
    with_landmarks,
)
from datasette_embeddings.index.compact import CompactIndex, signs_of
from datasette_embeddings.index.documents import Documents, Numbers, places_of, small
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.compact_index import DAMAGED, SavedIndex
from datasette_embeddings.store.landmarks import (
    OF_VECTORS,
    OF_WORDS,
    Landmarks,
    first_new,
)
from datasette_embeddings.store.numbered import (
    count_words,
    items_of_words,
    numbered_vectors,
    numbers_of,
    odd_items,
)
from datasette_embeddings.store.schema import one_moment

# Above this part of new rows, all are read: the center may be another.  A run that
# saves an index reads them sooner, because nobody waits for it
MOST_NEW, MOST_ADDED = 0.5, 0.25
# Above this part of deleted rows, too: they take memory, and each search counts them
MOST_DELETED = 0.5
# A saved index may lack this part of the rows, or have as many that were deleted
MOST_UNSAVED = 0.01
# New rows stand beside the others, which need not be copied, up to this part
MOST_BESIDE = 0.05


def save_compact(collection: StoredCollection) -> None:
    """Save the compact index of *collection*, unless one lacks few rows.

    One without any rows is not saved: it would tell nothing.
    """
    with one_moment(collection.conn):
        index = _to_save(collection)
    if index is None:
        return
    if len(index.rowids):
        SavedIndex(collection).write(index.facts, index.block)
    else:
        SavedIndex(collection).delete()


def _to_save(collection: StoredCollection) -> CompactIndex | None:
    """The index as it should be saved; None if the saved one will do."""
    lock, facts = threading.RLock(), SavedIndex(collection).facts()
    index = None if facts is None else restored(collection, lock)
    if facts is None or index is None or index.facts.added > MOST_ADDED * facts.rows:
        return read_compact(collection, lock)
    first = first_new(collection, OF_VECTORS, facts.of_vectors)
    read_again = np.count_nonzero(index.rowids >= first)
    if read_again + index.surplus <= MOST_UNSAVED * facts.rows:
        return None
    return with_landmarks(index.without_deleted())


def restored(
    collection: StoredCollection, lock: threading.RLock
) -> CompactIndex | None:
    """The saved index of *collection* with what came since; None if it is of no use."""
    index = as_saved(collection, lock)
    return None if index is None else caught_up(index)


def as_saved(
    collection: StoredCollection, lock: threading.RLock
) -> CompactIndex | None:
    """The saved index of *collection*; None if there is none, or if it is damaged."""
    saved = SavedIndex(collection)
    facts = saved.facts()
    if facts is None:
        return None
    rowids, numbers = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    signs = np.empty((facts.rows, facts.bytes_of_signs), np.uint8)
    end = 0
    try:
        for block in saved.blocks(facts):
            rowids.append(small(block[0]))
            numbers.append(small(block[1]))
            some = slice(end, end + len(block[0]))
            signs[some] = block[2]
            end = some.stop
    except DAMAGED:
        return None
    rows = np.concatenate(rowids), np.concatenate(numbers), signs
    if not end == facts.rows == len(rows[1]) or (np.diff(rows[0]) <= 0).any():
        return None
    return index_of(collection, lock, facts, rows)


def caught_up(index: CompactIndex) -> CompactIndex | None:
    """*index* with what was committed since; None if most of it is another by now."""
    own = index.collection
    index = replace(index, count=own.count_items())
    first = first_new(own, OF_VECTORS, index.facts.of_vectors)
    end = int(np.searchsorted(index.rowids, first))
    most = MOST_NEW * end - index.facts.added
    numbers = current_numbers(
        own,
        index.rowids[:end],
        index.numbers if end == len(index.numbers) else index.numbers[:end],
        index.facts.of_words,
        first=first,
        most=most,
    )
    added = None if numbers is None else _added(index, first, most)
    if numbers is None or added is None:
        return None
    left_out = index.facts.left_out
    left_out = np.append(left_out[left_out < first], added.left_out)
    rows = end + len(added.rowids)
    surplus = rows + len(left_out) - index.count
    # Below 0, rows came with other rowids than SQLite gives by itself
    if not rows or not 0 <= surplus <= MOST_DELETED * rows:
        return None
    if end == len(index.rowids) and not len(added.rowids) and numbers is index.numbers:
        return index
    first_signs, *others = [*_cut(index.signs, end), added.signs]
    signs = [first_signs, np.concatenate(others)]
    if len(signs[1]) > MOST_BESIDE * end:
        signs = [np.concatenate(signs)]
    numbers = small(np.append(numbers, added.numbers))
    return with_landmarks(
        replace(
            index,
            facts=replace(
                index.facts,
                left_out=left_out,
                # Of those that were added before, some were read again
                added=max(0, index.facts.added - len(index.rowids) + end)
                + len(added.rowids),
            ),
            rowids=small(np.append(index.rowids[:end], added.rowids)),
            numbers=numbers,
            signs=signs,
            documents=Documents.of(numbers),
            deleted=np.append(index.deleted[:end], np.zeros(len(added.rowids), bool)),
        )
    )


class _Added(NamedTuple):
    """New rows, as those of an index."""

    rowids: NDArray[np.int64]
    numbers: Numbers
    signs: NDArray[np.uint8]
    left_out: NDArray[np.int64]


def _added(index: CompactIndex, first: int, most: float) -> _Added | None:
    """The rows from the rowid *first* on; None if they are more than *most*."""
    facts = index.facts
    none, signs = np.empty(0, np.int64), np.empty((0, facts.bytes_of_signs), np.uint8)
    odd = np.array(odd_items(index.collection, first), np.int64)
    parts = [_Added(none, none, signs, odd)]
    rows = numbered_vectors(index.collection, "rowid", first)
    for block in blocks(rows, facts.length):
        signs = signs_of(block.vectors, facts.center)
        parts.append(_Added(block.rowids, block.numbers, signs, block.left_out))
        most -= len(block.rowids) + len(block.left_out)
        if most < 0:
            return None
    return _Added(*map(np.concatenate, zip(*parts, strict=True)))


def current_numbers(
    collection: StoredCollection,
    rowids: Sequence[int] | NDArray[np.int64],
    numbers: Numbers,
    of_words: Landmarks,
    *,
    first: int,
    most: float,
) -> Numbers | None:
    """The numbers by now of rows with *rowids*, which ascend and are below *first*.

    *numbers* are those that they had.  None if those of more than *most* may be others.
    """
    rowids = np.asarray(rowids, np.int64)
    if not collection.has_words:
        return np.zeros(len(rowids), np.int64) if numbers.any() else numbers
    word = first_new(collection, OF_WORDS, of_words)
    changed = {*rowids[numbers >= word].tolist()}
    if len(changed) > most or count_words(collection, word) > most:
        return None
    changed |= {each for each in items_of_words(collection, word) if each < first}
    if not changed:
        return numbers
    others = np.array(sorted(changed), np.int64)
    found = numbers_of(collection, others.tolist())
    places, is_here = places_of(others, rowids)
    current: Numbers = numbers.copy()
    current[places[is_here]] = [found.get(each, 0) for each in others[is_here].tolist()]
    return current


def _cut(parts: Sequence[NDArray[np.uint8]], end: int) -> list[NDArray[np.uint8]]:
    """The first *end* rows of *parts*."""
    cut = []
    for part in parts:
        cut.append(part[:end])
        end -= len(cut[-1])
    return cut
