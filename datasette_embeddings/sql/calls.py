"""How SQL calls a function: its arguments are checked, and its errors reported.

A value may have the billion bytes that SQLite allows, so its length is checked before
anything is copied, and a message quotes only its beginning.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias, TypeVar

from datasette_embeddings import vectors
from datasette_embeddings.analysis.labels import checked_labels
from datasette_embeddings.config import MODES, MOST_VISITOR_TOKENS, Mode
from datasette_embeddings.context.budget import checked_tokens
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInputError,
    InvalidVectorError,
    quoted,
)
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.search.nearest import checked_limit
from datasette_embeddings.sql.context import Context, Policy, SqlValue

C = TypeVar("C", bound=Callable[..., Any])
Reader: TypeAlias = Callable[[SqlValue], Any]

# 65,536 dimensions as a BLOB, 10,000 and more as JSON: models have a few thousand
LONGEST_VECTOR = 262_144
# A model's id may be a path, and systems open no longer ones
LONGEST_NAME = 4_096
# A JSON array of 1,000 labels of 262 characters
LONGEST_LABELS = 262_144
# The primary key of a row may be any text
LONGEST_ID = 262_144
# The texts of an end of an axis, which a connection remembers
LONGEST_END = 100_000
# A JSON vector of a query is the same for every row: 16 of them are parsed once
from_json = lru_cache(maxsize=16)(vectors.from_json)


@dataclass(frozen=True)
class SqlFunction:
    """A function in SQL, or an aggregate where *call* is a class."""

    #: Its name and arguments; the name of an argument says how its value is read
    signature: str
    aliases: tuple[str, ...]
    deterministic: bool
    call: Callable[..., Any]

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0]

    @property
    def arguments(self) -> list[str]:
        return self.signature.partition("(")[2].rstrip(")").split(", ")

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.call) or ""

    @property
    def needs_context(self) -> bool:
        """Whether it takes the :class:`Context` of the connection as first argument."""
        return "context" in inspect.signature(self.call).parameters


FUNCTIONS: list[SqlFunction] = []


def sql_function(
    signature: str, *aliases: str, deterministic: bool = True
) -> Callable[[C], C]:
    """Add what is decorated to :data:`FUNCTIONS`."""

    def add(call: C) -> C:
        FUNCTIONS.append(SqlFunction(signature, aliases, deterministic, call))
        return call

    return add


def readers(policy: Policy) -> Mapping[str, Reader]:
    """What converts and checks an SQL value, by the name of the argument."""
    text = partial(text_of, "a text", policy.max_text_length)
    longest = min(LONGEST_END, policy.max_text_length)
    end = partial(end_of, partial(text_of, "the texts of an end", longest))
    return {
        "a": vector_of,
        "b": vector_of,
        "collection": partial(text_of, "the name of a collection", LONGEST_NAME),
        "content": partial(content_of, text),
        "high": end,
        "id": partial(text_of, "an item id", LONGEST_ID),
        "json": json_vector_of,
        "labels": labels_of,
        "limit": checked_limit,
        "low": end,
        "mode": mode_of,
        "model": partial(text_of, "the id of a model", LONGEST_NAME),
        "number": number_of,
        "question": text,
        "text": text,
        "tokens": tokens_of,
        "vector": vector_of,
    }


def vector_of(value: SqlValue) -> vectors.Vector:
    """The vector in *value*, a BLOB or a JSON array, no longer than any model's."""
    if not isinstance(value, bytes | str):
        raise InvalidVectorError(
            f"Expected a vector as BLOB or JSON array, found {quoted(value)}"
        )
    if len(value) > LONGEST_VECTOR:
        raise InvalidVectorError(
            f"Expected a vector in at most {LONGEST_VECTOR:,} bytes or characters, "
            f"found {len(value):,}"
        )
    return vectors.decode(value) if isinstance(value, bytes) else from_json(value)


def json_vector_of(value: SqlValue) -> vectors.Vector:
    if isinstance(value, str):
        return vector_of(value)
    raise InvalidVectorError(f"Expected a JSON array as TEXT, found {quoted(value)}")


def labels_of(value: SqlValue) -> tuple[str, ...]:
    """The labels in *value*, a JSON array of texts."""
    if not isinstance(value, str):
        raise InvalidInputError(
            f"Expected labels as a JSON array, found {quoted(value)}"
        )
    if len(value) > LONGEST_LABELS:
        raise InvalidInputError(
            f"Expected labels in at most {LONGEST_LABELS:,} characters, found "
            f"{len(value):,}"
        )
    return _labels_in(value)


# As of a vector: the labels are the same for every row
@lru_cache(maxsize=16)
def _labels_in(text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"Expected labels as a JSON array: {error}") from error
    return tuple(checked_labels(found))


def number_of(value: SqlValue) -> int | float:
    if not isinstance(value, int | float):
        raise InvalidInputError(f"Expected a number to scale by, found {quoted(value)}")
    return value


def tokens_of(value: SqlValue) -> int:
    """*value* as the tokens of a context, as many as a visitor may have."""
    return checked_tokens(value, MOST_VISITOR_TOKENS)


def mode_of(value: SqlValue) -> Mode:
    """*value* as what a search goes by."""
    for mode in MODES:
        if value == mode:
            return mode
    raise InvalidInputError(
        f"Expected a mode, one of {', '.join(MODES)}; found {quoted(value)}"
    )


def text_of(what: str, longest: int, value: SqlValue) -> str:
    """*value* as text; a number becomes its digits."""
    if isinstance(value, bytes):
        raise InvalidInputError(f"Expected {what} as TEXT, found {quoted(value)}")
    text = value if isinstance(value, str) else str(value)
    if len(text) > longest:
        raise InvalidInputError(
            f"Expected {what} of at most {longest:,} characters, found {len(text):,}"
        )
    return text


def content_of(text: Reader, value: SqlValue) -> str | bytes:
    """The bytes of an image file, or the *text* if *value* is not a BLOB."""
    if isinstance(value, bytes) and len(value) > MAX_BYTES:
        raise InvalidInputError(
            f"Expected TEXT or an image of at most {MAX_BYTES:,} bytes, found "
            f"{quoted(value)}"
        )
    content: str | bytes = value if isinstance(value, bytes) else text(value)
    return content


def end_of(text: Reader, value: SqlValue) -> str | bytes:
    """The *text* of an end of an axis, or a BLOB, which must be a vector."""
    if isinstance(value, bytes):
        vector_of(value)
        return value
    found: str = text(value)
    return found


def guarded(
    context: Context, name: str, call: Callable[..., Any], reads: Sequence[Reader]
) -> Callable[..., SqlValue]:
    """*call* with its arguments read by *reads*, and its errors reported.

    Functions and aggregates are called through this, so that no argument reaches one
    unchecked; ``embed_cosine`` of two BLOBs checks their length itself.  The result is
    None if an argument is None.
    """

    def guarded(*values: SqlValue) -> Any:  # noqa: ANN401 - what *call* returns
        if None in values:
            return None
        try:
            return call(
                *[read(value) for read, value in zip(reads, values, strict=True)]
            )
        except EmbeddingsError as error:
            short = context.report(name, error)
        # Outside, so that Datasette prints no second traceback
        raise short

    return guarded
