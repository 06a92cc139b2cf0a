"""Where a vector is between two ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from datasette_embeddings import vectors
from datasette_embeddings.analysis.axes import Axis, End
from datasette_embeddings.sql.calls import sql_function
from datasette_embeddings.sql.context import AxisKey, Context
from datasette_embeddings.vectors import Vector, Vectors

Position: TypeAlias = Callable[..., "float | None"]
# Axes that a connection remembers: a query asks for the same once a row
REMEMBERED = 16


@sql_function("embed_axis(vector, low, high)")
def embed_axis(
    context: Context, vector: Vector, low: str | bytes, high: str | bytes
) -> float | None:
    """Where a vector is between two ends: -1 at the low end, 1 at the high end.

    An end is at most 50 texts, separated by commas or line breaks, or a JSON array of
    texts, or a vector as a BLOB. Its texts are embedded as queries by the default
    model, and averaged. At 0 is what is as close to one end as to the other. NULL for a
    zero vector.
    """
    model_id = context.policy.default_model
    return _axis(context, (low, high), model_id).position(vector)


@sql_function("embed_axis(vector, low, high, model)")
def embed_axis_with(
    context: Context, vector: Vector, low: str | bytes, high: str | bytes, model_id: str
) -> float | None:
    """The same with ends that the named model embeds."""
    return _axis(context, (low, high, model_id), model_id).position(vector)


def fast_position(context: Context, exact: Position, *, longest: int) -> Position:
    """The position of a BLOB at the speed of C, where the axis is remembered.

    *exact* computes it for other values, for BLOBs of another length than the axis or
    of more than *longest* bytes, and where C gives 0, 1, -1 or no number, as for zero
    vectors.
    """
    import simsimd

    cosine: Any = simsimd.cosine
    remembered = context.axes

    def position(vector: Any, *ends: Any) -> float | None:  # noqa: ANN401 - what SQL gives
        axis = remembered.get(ends)
        if axis is None:
            return exact(vector, *ends)
        try:
            if len(vector) > longest:
                return exact(vector, *ends)
            found: float = 1.0 - cosine(memoryview(vector).cast("f"), axis.direction)
        except (TypeError, ValueError):
            return exact(vector, *ends)
        if found and -1.0 < found < 1.0:
            return found * axis.scale
        return exact(vector, *ends)

    return position


def _axis(context: Context, key: AxisKey, model_id: str) -> Axis:
    """The axis of *key*, whose texts are embedded once for all rows of a query."""
    known = context.axes.get(key)
    if known is not None:
        return known
    low, high = key[:2]
    axis = Axis.between(
        _end_vectors(context, model_id, "low", low),
        _end_vectors(context, model_id, "high", high),
    )
    if len(context.axes) >= REMEMBERED:
        context.axes.clear()
    context.axes[key] = axis
    return axis


def _end_vectors(
    context: Context, model_id: str, name: str, end: str | bytes
) -> Vectors:
    if isinstance(end, bytes):
        return vectors.decode(end)[None]
    texts = End.of(name, end).texts
    return np.stack(context.query_vectors(context.model(model_id), texts))
