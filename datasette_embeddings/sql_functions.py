"""The SQL functions: one table of them, and ``register()``, which adds them."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from datasette_embeddings import search, store, vectors
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.errors import (
    DimensionMismatch,
    EmbeddingsError,
    InvalidInput,
    InvalidVector,
)
from datasette_embeddings.models.cache import passage_vector, query_vector
from datasette_embeddings.models.registry import load_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datasette_embeddings.index import Score
    from datasette_embeddings.models.base import EmbeddingModel

logger = logging.getLogger("datasette_embeddings")

SqlValue: TypeAlias = str | bytes | int | float | None


@dataclass(frozen=True)
class Policy:
    """What SQL on one connection may use.

    *load* turns a model id into a model or raises; *immutable* tells that the file is
    opened as one that nobody changes.
    """

    load: Callable[[str], EmbeddingModel] = load_model
    default_model: str = DEFAULT_MODEL
    immutable: bool = False


@dataclass(frozen=True)
class Context:
    """One connection and what it is allowed."""

    conn: sqlite3.Connection
    policy: Policy


def register(conn: sqlite3.Connection, policy: Policy = Policy()) -> None:
    """Make every function of :data:`FUNCTIONS` available to SQL on *conn*."""
    context = Context(conn, policy)
    for function in FUNCTIONS:
        for name in (function.name, *function.aliases):
            if function.is_aggregate:
                conn.create_aggregate(name, len(function.arguments), function.call)  # type: ignore[arg-type]  # typeshed forgets None
                continue
            call = function.call
            if function.needs_context:
                call = partial(call, context)
            conn.create_function(
                name,
                len(function.arguments),
                _logged(name, call),
                deterministic=function.deterministic,
            )


def _logged(name: str, call: Callable[..., object]) -> Callable[..., SqlValue]:
    """*call*, with the reason in the log where it fails: SQLite cannot carry it."""

    def logged(*arguments: SqlValue) -> SqlValue:
        try:
            return call(*arguments)  # type: ignore[return-value]  # FUNCTIONS keeps it
        except EmbeddingsError as error:
            logger.warning("%s(): %s", name, error)
            raise

    return logged


def embed(context: Context, *arguments: SqlValue) -> bytes | None:
    if arguments[-1] is None:
        return None
    model, text = _model_and_text(context, arguments)
    return vectors.encode(passage_vector(model, text))


def embed_query(context: Context, *arguments: SqlValue) -> bytes | None:
    if arguments[-1] is None:
        return None
    model, text = _model_and_text(context, arguments)
    return vectors.encode(query_vector(model, text))


def _model_and_text(
    context: Context, arguments: Sequence[SqlValue]
) -> tuple[EmbeddingModel, str]:
    content = arguments[-1]
    if isinstance(content, bytes):
        raise InvalidInput("Expected TEXT to embed, found a BLOB")
    model_id = arguments[0] if len(arguments) == 2 else context.policy.default_model
    return context.policy.load(str(model_id)), str(content)


def embed_decode(vector: SqlValue) -> str | None:
    if vector is None:
        return None
    return vectors.to_json(vectors.encode(_vector(vector)))


def embed_encode(text: SqlValue) -> bytes | None:
    return None if text is None else vectors.encode(vectors.from_json(str(text)))


def embed_cosine(a: SqlValue, b: SqlValue) -> float | None:
    if type(a) is bytes and type(b) is bytes:
        return vectors.cosine_score_of_blobs(a, b)
    if a is None or b is None:
        return None
    return vectors.cosine_score(_vector(a), _vector(b))


def _vector(value: SqlValue) -> vectors.Vector:
    if not isinstance(value, str | bytes):
        raise InvalidVector(f"Expected a vector as BLOB or JSON array, found {value!r}")
    return vectors.parse(value)


def embed_search(
    context: Context, collection: SqlValue, text: SqlValue, limit: SqlValue
) -> str | None:
    if collection is None or text is None or limit is None:
        return None
    found = store.collection(context.conn, str(collection))
    query = search.checked_query(str(text))
    vector = query_vector(context.policy.load(found.model_id), query)
    options = _options(context, limit)
    return _scores_json(
        search.nearest_to_vector(context.conn, found, vector, options=options)
    )


def _options(context: Context, limit: SqlValue) -> search.Options:
    return search.Options(
        limit=search.checked_limit(limit), immutable=context.policy.immutable
    )


def _scores_json(scores: Sequence[Score]) -> str:
    return json.dumps([{"id": found.id, "score": found.score} for found in scores])


class Average:
    """The aggregate embed_average(): the mean of the vectors that are not NULL."""

    def __init__(self) -> None:
        # float64: the sum of many float32 numbers would lose digits
        self._total: NDArray[np.float64] | None = None  # (d,)
        self._count = 0

    def step(self, value: SqlValue) -> None:
        _logged("embed_average", self._add)(value)

    def _add(self, value: SqlValue) -> None:
        import numpy as np

        if value is None:
            return
        vector = _vector(value).astype(np.float64)
        if self._total is None:
            self._total = np.zeros_like(vector)
        if len(vector) != len(self._total):
            raise DimensionMismatch(len(self._total), len(vector))
        self._total += vector
        self._count += 1

    def finalize(self) -> bytes | None:
        if self._total is None:
            return None
        return vectors.encode((self._total / self._count).astype(vectors.FLOAT32))


@dataclass(frozen=True)
class SqlFunction:
    """A function as SQL sees it, and an example that the docs show with its result."""

    name: str
    arguments: tuple[str, ...]
    call: Callable[..., object]
    doc: str
    example: str
    aliases: tuple[str, ...] = ()
    needs_context: bool = False
    deterministic: bool = True
    is_aggregate: bool = False


FUNCTIONS = (
    SqlFunction(
        "embed",
        ("content",),
        embed,
        "The passage vector of a text, by the default model, as a BLOB.",
        "select embed_cosine(embed('a cat'), embed('a kitten'))",
        needs_context=True,
    ),
    SqlFunction(
        "embed",
        ("model", "content"),
        embed,
        "The passage vector of a text, by the model that is named, as a BLOB.",
        "select length(embed('all-MiniLM-L6-v2', 'a cat'))",
        aliases=("llm_embed",),
        needs_context=True,
    ),
    SqlFunction(
        "embed_query",
        ("text",),
        embed_query,
        "The query vector of a text: with the prompt that the model wants for one.",
        "select length(embed_query('pets'))",
        needs_context=True,
    ),
    SqlFunction(
        "embed_query",
        ("model", "text"),
        embed_query,
        "The query vector of a text, by the model that is named.",
        "select length(embed_query('all-MiniLM-L6-v2', 'pets'))",
        needs_context=True,
    ),
    SqlFunction(
        "embed_decode",
        ("vector",),
        embed_decode,
        "A vector as a JSON array, written as llm writes it.",
        "select embed_decode(x'0000803f000000c0')",
        aliases=("llm_embed_decode",),
    ),
    SqlFunction(
        "embed_encode",
        ("json",),
        embed_encode,
        "A JSON array as a vector: a BLOB of little-endian float32.",
        "select hex(embed_encode('[1, -2]'))",
    ),
    SqlFunction(
        "embed_cosine",
        ("a", "b"),
        embed_cosine,
        "Cosine similarity, -1 to 1, higher is closer; NULL for a zero vector.",
        "select embed_cosine('[1, 0]', '[1, 1]')",
        aliases=("llm_embed_cosine",),
    ),
    SqlFunction(
        "embed_search",
        ("collection", "text", "limit"),
        embed_search,
        "The items of a collection closest to a text: JSON for json_each().",
        "select embed_search('stdlib', 'guess the kind of a file from its name', 1)",
        needs_context=True,
        deterministic=False,
    ),
    SqlFunction(
        "embed_average",
        ("vector",),
        Average,
        "Aggregate: the mean of the vectors that are not NULL, as a BLOB.",
        "select embed_decode(embed_average(value)) from json_each('[[1,0],[0,1]]')",
        aliases=("llm_embed_average",),
        is_aggregate=True,
    ),
)
