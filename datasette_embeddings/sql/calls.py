"""How SQL calls a function: arguments read, time watched, errors reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.sql.arguments import Reader
from datasette_embeddings.sql.context import Context, SqlValue


def guarded(
    context: Context, name: str, call: Callable[..., Any], reads: Sequence[Reader]
) -> Callable[..., SqlValue]:
    """*call* with its arguments read by *reads*, and its errors reported.

    Every function and aggregate is called through this, so that no argument reaches
    one unchecked.
    """
    read_and_call = _reading(call, reads)

    def guarded(*values: SqlValue) -> SqlValue:
        try:
            return read_and_call(*values)
        except EmbeddingsError as error:
            problem = context.fail(name, error)
        raise problem

    return guarded


def _reading(
    call: Callable[..., Any], reads: Sequence[Reader]
) -> Callable[..., SqlValue]:
    """*call* with its arguments read by *reads*; None if one of them is None."""
    # Functions of one and two arguments are called for each row: the general form would
    # take 0.3 µs longer
    if len(reads) == 1:
        [read] = reads
        return lambda value: None if value is None else call(read(value))
    if len(reads) == 2:
        first, second = reads
        return lambda a, b: (
            None if a is None or b is None else call(first(a), second(b))
        )

    def general(*values: SqlValue) -> Any:  # noqa: ANN401 - what *call* gives
        if None in values:
            return None
        return call(*(read(value) for read, value in zip(reads, values, strict=True)))

    return general


def timed(context: Context, call: Callable[..., SqlValue]) -> Callable[..., SqlValue]:
    """*call*, which may take long, run only while the statement has time left."""

    def timed(*arguments: Any) -> SqlValue:  # noqa: ANN401 - what *call* takes
        if context.clock.interrupt_if_over():
            return None
        with context.clock.inside():
            result = call(*arguments)
        context.clock.interrupt_if_over()
        return result

    return timed


def guarded_aggregate(
    context: Context,
    name: str,
    aggregate: Any,  # noqa: ANN401 - a class with step() and finalize()
    read: Reader,
) -> type[Any]:
    """*aggregate* with its vectors read by *read*, and its errors reported."""

    def itself(instance: Any) -> Any:  # noqa: ANN401 - of the aggregate
        return instance

    methods = {
        "step": guarded(context, name, aggregate.step, [itself, read]),
        "finalize": guarded(context, name, aggregate.finalize, [itself]),
    }
    return type(aggregate.__name__, (aggregate,), methods)
