"""Which of some labels fits a text, an item or a picture, with probabilities.

The probabilities of a vector are the softmax of its cosines with the labels, multiplied
by a scale, as in the zero-shot classification of CLIP (Radford et al. 2021, 3.1).  They
share out 1 among the labels: one of them is always the best, even if none fits.

The scale is that of the model where it is known.  A model of SigLIP was trained with a
sigmoid for each pair, whose bias is the same for every label and so changes no softmax.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.analysis.documents import document_vectors
from datasette_embeddings.databases import quote
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    quoted,
)
from datasette_embeddings.models.base import EmbeddingModel, check_utf8
from datasette_embeddings.store.chunks import chunk_ids
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector, Vectors, normalize, normalize_in_place

MOST_LABELS = 1_000
# Characters; a model reads only the beginning of a longer text
LONGEST_LABEL = 2_000
# Of probabilities and cosines; longer numbers take most of the time of writing JSON
DIGITS = 6
#: Where a template has the label
PLACE = "{}"
# Of models whose own is not known.  sentence-transformers trains with it, and of those
# that benchmarks/labels.py tries, its probabilities are nearest to the truth
TEXT_SCALE = 20.0


class Label(NamedTuple):
    """A label of a vector: its *probability* among the labels, and its *cosine*."""

    label: str
    probability: float
    cosine: float


def checked_labels(labels: object, *, longest: int = LONGEST_LABEL) -> list[str]:
    """*labels* in their order, each once, without space around them.

    :raises InvalidInputError: unless they are 2 to ``MOST_LABELS`` texts that are not
        blank, each of at most *longest* characters.
    """
    if not isinstance(labels, list | tuple):
        raise InvalidInputError(f"Expected a list of labels, found {quoted(labels)}")
    if len(labels) > MOST_LABELS:
        raise InvalidInputError(
            f"Expected at most {MOST_LABELS:,} labels, found {len(labels):,}"
        )
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise InvalidInputError(
                f"Expected labels that are texts, found {quoted(label)}"
            )
        if len(label) > longest:
            raise InvalidInputError(
                f"Expected labels of at most {longest:,} characters, found "
                f"{len(label):,}"
            )
    found = list(dict.fromkeys(label.strip() for label in labels))
    if len(found) < 2:
        raise InvalidInputError(
            "Expected at least two different labels, because the probability of one "
            f"alone is always 1; found {len(found)}"
        )
    check_utf8(found)
    return found


def checked_template(template: str | None) -> str:
    """*template*, a text with a place for the label; that place alone for None."""
    if template is None:
        return PLACE
    if not isinstance(template, str) or template.count(PLACE) != 1:
        raise InvalidInputError(
            f"Expected a template with one {PLACE} for the label, such as "
            f"'a photo of a {PLACE}'; found {quoted(template)}"
        )
    if len(template) > LONGEST_LABEL:
        raise InvalidInputError(
            f"Expected a template of at most {LONGEST_LABEL:,} characters, found "
            f"{len(template):,}"
        )
    return template


def prompts(labels: Sequence[str], template: str | None = None) -> list[str]:
    """The text of each of *labels* that the model reads."""
    form = checked_template(template)
    return [form.replace(PLACE, label) for label in labels]


def label_vectors(
    model: EmbeddingModel, labels: Sequence[str], template: str | None = None
) -> Vectors:
    """The vectors of *labels* as queries, of length 1: (m, d)."""
    return normalize(model.embed_queries(prompts(labels, template)))


def scale_of(model: EmbeddingModel) -> float:
    """What *model* multiplies cosines by before the softmax."""
    return TEXT_SCALE if model.logit_scale is None else model.logit_scale


def probabilities(cosines: Vectors, scale: float) -> NDArray[np.float64]:
    """The softmax of each row of *cosines* times *scale*: (n, m), each sums to 1."""
    logits = scale * cosines.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def labels_of(
    vector: Vector, labels: Sequence[str], vectors: Vectors, scale: float
) -> list[Label]:
    """*labels*, whose *vectors* are (m, d), for *vector*, the most probable first.

    :raises InvalidVectorError: if *vector* is of another length, or zero.
    """
    if len(vector) != vectors.shape[1]:
        raise DimensionMismatchError(vectors.shape[1], len(vector))
    rows = normalize(vector)[np.newaxis]
    if not rows.any():
        raise InvalidVectorError("Expected a vector with a direction, found zero")
    cosines = rows @ vectors.T
    shares = probabilities(cosines, scale)[0]
    # Of equal cosine, the one that was named first
    order = np.argsort(-cosines[0], kind="stable")
    columns = shares[order].round(DIGITS), cosines[0, order].astype(float).round(DIGITS)
    found = [labels[place] for place in order.tolist()]
    return list(map(Label, found, *(column.tolist() for column in columns)))


def best_labels(
    collection: StoredCollection, labels: Sequence[str], vectors: Vectors, scale: float
) -> Iterator[tuple[str, Label]]:
    """Each document of *collection*, by its id, with the best of *labels*.

    :raises DimensionMismatchError: if its vectors are longer or shorter than *vectors*.
    """
    with document_vectors(collection) as found:
        for start, block in found.blocks():
            if block.shape[1] != vectors.shape[1]:
                raise DimensionMismatchError(block.shape[1], vectors.shape[1])
            cosines = block @ vectors.T
            shares = probabilities(cosines, scale)
            best = shares.argmax(axis=1)
            for row, column in enumerate(best.tolist()):
                share, cosine = float(shares[row, column]), float(cosines[row, column])
                label = Label(labels[column], share, cosine)
                yield found.ids[start + row], label


def document_vector(collection: StoredCollection, document_id: str) -> Vector:
    """The vector of an item, or the mean of the chunks of a document: (d,).

    :raises UnknownItemError: if there is none of that id.
    """
    chunks = chunk_ids(collection, document_id)
    if not chunks:
        return collection.vector(document_id)
    found = [collection.vector(each) for each in chunks]
    usual = [each for each in found if each.shape == found[0].shape]
    vectors = np.array(usual, np.float32)
    normalize_in_place(vectors)
    mean: Vector = vectors.mean(axis=0)
    return mean


def column_labels(conn: sqlite3.Connection, table: str, column: str) -> list[str]:
    """The distinct values of a column as labels, in their order.

    :raises InvalidInputError: if there is no such column, or too many values.
    """
    columns = conn.execute("select name from pragma_table_info(?)", [table])
    # SQLite takes a name that is no column for a text
    if column not in [name for (name,) in columns]:
        raise InvalidInputError(
            f"Expected a table and one of its columns, found {quoted(table)} and "
            f"{quoted(column)}"
        )
    rows = conn.execute(
        f"""
        select distinct cast({quote(column)} as text)
        from {quote(table)}
        where typeof({quote(column)}) in ('text', 'integer', 'real')
        and trim({quote(column)}) <> ''
        order by 1
        limit {MOST_LABELS + 1}
        """
    )
    return checked_labels([value for (value,) in rows])
