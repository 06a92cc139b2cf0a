"""Axes: a line between two ends, such as concrete and abstract words.

An end is the direction of the mean of its vectors, each of length 1. With the two ends
*low* and *high*, the position of a vector *x* of length 1 is

    (x . high - x . low) / (1 - high . low)

the difference of its cosines with the ends, scaled so that the ends are at -1 and 1.
At 0 is what is as close to one as to the other. This is the projection onto the line
between the ends ("semantic projection", Grand, Blank, Pereira and Fedorenko 2022,
Nature Human Behaviour 6). Its order is that of the cosine with the difference of the
ends ("SemAxis", An, Kwak and Ahn 2018, ACL), which differs by a factor only.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    quoted,
)
from datasette_embeddings.store.chunks import chunk_ids
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector, Vectors, normalize

#: Texts and items of one end
MOST_OF_AN_END = 50
# Characters of its texts together, as many as a search takes
LONGEST_END = 1_000_000
# What is between two texts of an end, unless they are a JSON array
BETWEEN_TEXTS = re.compile(r"[,\n]")
# Shorter than this is no direction: the rounding of float32, or of a batch
SHORTEST = 1e-3

#: The query vectors of texts, (n, d)
Embed: TypeAlias = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True)
class End:
    """What an end of an axis is made of: texts, and ids of items or documents."""

    texts: tuple[str, ...] = ()
    items: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, name: str, texts: str | Iterable[str] = (), items: Iterable[str] = ()
    ) -> End:
        """The end called *name* in errors, each text and item once.

        A str is read by :func:`texts_of`.

        :raises InvalidInputError: if it has none, more than 50, or more than 1,000,000
            characters of text.
        """
        if isinstance(texts, str):
            _check_length(name, len(texts))
        each_text = texts_of(texts) if isinstance(texts, str) else texts
        stripped = (text.strip() for text in each_text)
        end = cls(
            tuple(dict.fromkeys(text for text in stripped if text)),
            tuple(dict.fromkeys(items)),
        )
        found = len(end.texts) + len(end.items)
        if not 1 <= found <= MOST_OF_AN_END:
            raise InvalidInputError(
                f"Expected 1 to {MOST_OF_AN_END} texts or items for {name}, "
                f"found {found:,}"
            )
        _check_length(name, sum(map(len, end.texts)))
        return end


def _check_length(name: str, found: int) -> None:
    if found > LONGEST_END:
        raise InvalidInputError(
            f"Expected texts of at most {LONGEST_END:,} characters together for "
            f"{name}, found {found:,}"
        )


def texts_of(value: str) -> list[str]:
    """The texts in *value*: between commas or line breaks, or those of a JSON array.

    It is a JSON array if it begins with ``[``.
    """
    if not value.lstrip().startswith("["):
        return BETWEEN_TEXTS.split(value)
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(e, str) for e in found):
        raise InvalidInputError(
            f"Expected a JSON array of texts after '[', found {quoted(value)}"
        )
    return found


@dataclass(frozen=True)
class Axis:
    """A line between two ends."""

    #: The difference of the ends, of length 1: (d,)
    direction: Vector
    #: The position of a vector whose cosine with the direction is 1
    scale: float

    @classmethod
    def between(cls, low: Vectors, high: Vectors) -> Axis:
        """The axis from the vectors of one end, (n, d), to those of the other.

        :raises InvalidInputError: if the vectors of an end cancel each other out, or
            both ends mean the same.
        :raises DimensionMismatchError: if they are not of the same length.
        """
        if low.shape[1] != high.shape[1]:
            raise DimensionMismatchError(low.shape[1], high.shape[1])
        difference = _direction(high, "high") - _direction(low, "low")
        length = float(np.linalg.norm(difference))
        if length < SHORTEST:
            raise InvalidInputError(
                "Expected two ends that differ, found two that mean the same"
            )
        direction = (difference / length).astype(np.float32)
        return cls(direction, 2 / length)

    @property
    def cosine(self) -> float:
        """The cosine of the two ends: the lower, the more they differ."""
        return 1 - 2 / self.scale**2

    def position(self, vector: Vector) -> float | None:
        """Where *vector*, of any length, is on the axis; None if it is zero."""
        if len(vector) != len(self.direction):
            raise DimensionMismatchError(len(self.direction), len(vector))
        wide = vector.astype(np.float64)
        length = math.sqrt(wide @ wide)
        if not length or not math.isfinite(length):
            return None
        return float(wide @ self.direction) / length * self.scale


def axis_of(collection: StoredCollection, low: End, high: End, embed: Embed) -> Axis:
    """The axis between two ends; *embed* is called for each end that has texts.

    :raises UnknownItemError: if the collection has no such item.
    """
    low_vectors, high_vectors = (
        end_vectors(collection, end, embed(end.texts) if end.texts else None)
        for end in (low, high)
    )
    return Axis.between(low_vectors, high_vectors)


def end_vectors(
    collection: StoredCollection, end: End, of_texts: Vectors | None
) -> Vectors:
    """The vectors of *end*, (n, d), from those of its texts and the stored ones."""
    vectors = [] if of_texts is None else [*of_texts]
    vectors += [_document_vector(collection, each) for each in end.items]
    for each in vectors:
        if len(each) != len(vectors[0]):
            raise DimensionMismatchError(len(vectors[0]), len(each))
    return np.stack(vectors)


def _document_vector(collection: StoredCollection, item_id: str) -> Vector:
    """The vector of an item, or the mean of the chunks of a document, (d,)."""
    ids = chunk_ids(collection, item_id) or [item_id]
    vectors = [collection.vector(each) for each in ids]
    usable = [each for each in vectors if len(each) == len(vectors[0])]
    mean: Vector = normalize(np.stack(usable)).mean(axis=0)
    return mean


def _direction(vectors: Vectors, name: str) -> Vector:
    """The direction of the mean of *vectors*, (n, d), each at length 1."""
    mean = normalize(vectors).mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < SHORTEST:
        raise InvalidInputError(
            f"Expected a direction for the {name} end, but its vectors cancel each "
            "other out or are zero"
        )
    direction: Vector = mean / length
    return direction
