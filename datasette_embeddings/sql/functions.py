"""The functions as SQL sees them, and ``register()``, which adds them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datasette_embeddings import vectors
from datasette_embeddings.sql import arithmetic, searches
from datasette_embeddings.sql.calls import (
    LONGEST_VECTOR,
    Reader,
    guarded,
    guarded_aggregate,
    readers,
)
from datasette_embeddings.sql.context import Clock, Context, Policy, load_local


@dataclass(frozen=True)
class SqlFunction:
    """A function in SQL, and an example that the docs show with its result."""

    #: Its name and arguments; the name of an argument says how its value is read
    signature: str
    call: Callable[..., Any]
    doc: str
    example: str
    aliases: tuple[str, ...] = ()
    deterministic: bool = True

    @property
    def name(self) -> str:
        return self.signature.partition("(")[0]

    @property
    def arguments(self) -> list[str]:
        return self.signature.partition("(")[2].rstrip(")").split(", ")

    @property
    def needs_context(self) -> bool:
        """Whether it takes the :class:`Context` of the connection as first argument."""
        return self.call.__module__ == searches.__name__


FUNCTIONS = (
    SqlFunction(
        "embed(content)",
        searches.embed,
        "The passage vector of a text or an image, by the default model, as a BLOB.",
        "select embed_cosine(embed('a cat'), embed('a kitten'))",
    ),
    SqlFunction(
        "embed(model, content)",
        searches.embed,
        "The passage vector of a text or an image, by the model that is named.",
        "select length(embed('all-MiniLM-L6-v2', 'a cat'))",
        aliases=("llm_embed",),
    ),
    SqlFunction(
        "embed_query(text)",
        searches.embed_query,
        "The query vector of a text: with the prompt that the model wants for one.",
        "select length(embed_query('pets'))",
    ),
    SqlFunction(
        "embed_query(model, text)",
        searches.embed_query,
        "The query vector of a text, by the model that is named.",
        "select length(embed_query('all-MiniLM-L6-v2', 'pets'))",
    ),
    SqlFunction(
        "embed_decode(vector)",
        vectors.to_json,
        "A vector as a JSON array, written as llm writes it.",
        "select embed_decode(x'0000803f000000c0')",
        aliases=("llm_embed_decode",),
    ),
    SqlFunction(
        "embed_encode(json)",
        vectors.encode,
        "A JSON array as a vector: a BLOB of little-endian float32.",
        "select hex(embed_encode('[1, -2]'))",
    ),
    SqlFunction(
        "embed_cosine(a, b)",
        arithmetic.embed_cosine,
        "Cosine similarity, -1 to 1, higher is closer; NULL for a zero vector.",
        "select embed_cosine('[1, 0]', '[1, 1]')",
        aliases=("llm_embed_cosine", "embeddings_cosine"),
    ),
    SqlFunction(
        "embed_dot(a, b)",
        arithmetic.embed_dot,
        "The dot product: higher is closer, for vectors of length 1 the cosine.",
        "select embed_dot('[1, 2]', '[3, 4]')",
    ),
    SqlFunction(
        "embed_l2(a, b)",
        arithmetic.embed_l2,
        "The Euclidean distance: lower is closer, 0 for the same vector.",
        "select embed_l2('[0, 0]', '[3, 4]')",
    ),
    SqlFunction(
        "embed_dimensions(vector)",
        len,
        "How many numbers a vector has.",
        "select embed_dimensions('[1, 2, 3]')",
    ),
    SqlFunction(
        "embed_normalize(vector)",
        arithmetic.embed_normalize,
        "The vector of length 1 in the same direction; a zero vector stays zero.",
        "select embed_decode(embed_normalize('[0, 5]'))",
    ),
    SqlFunction(
        "embed_add(a, b)",
        arithmetic.embed_add,
        "The sum of two vectors.",
        "select embed_decode(embed_add('[1, 2]', '[3, 4]'))",
    ),
    SqlFunction(
        "embed_subtract(a, b)",
        arithmetic.embed_subtract,
        "The first vector less the second.",
        "select embed_decode(embed_subtract('[1, 2]', '[3, 5]'))",
    ),
    SqlFunction(
        "embed_scale(vector, number)",
        arithmetic.embed_scale,
        "The vector with each number multiplied.",
        "select embed_decode(embed_scale('[1, 2]', 0.5))",
    ),
    SqlFunction(
        "embed_search(collection, text, limit)",
        searches.embed_search,
        "The items of a collection closest to a text: JSON for json_each().",
        "select embed_search('articles', 'pets', 2)",
        deterministic=False,
    ),
    SqlFunction(
        "embed_similar(collection, id, limit)",
        searches.embed_similar,
        "The items closest to one of the collection, itself left out: JSON, no model.",
        "select embed_similar('articles', 5, 2)",
        deterministic=False,
    ),
    SqlFunction(
        "embed_nearest(collection, vector, limit)",
        searches.embed_nearest,
        "The items of a collection closest to a vector: JSON for json_each().",
        "select embed_nearest('articles', embed('a cat'), 2)",
        deterministic=False,
    ),
    SqlFunction(
        "embed_average(vector)",
        arithmetic.Average,
        "Aggregate: the mean of the vectors that are not NULL, as a BLOB.",
        "select embed_decode(embed_average(value)) from json_each('[[1,0],[0,1]]')",
        aliases=("llm_embed_average",),
    ),
)


def register(conn: sqlite3.Connection, policy: Policy | None = None) -> None:
    """Add the functions of :data:`FUNCTIONS` to SQL on *conn*.

    A *policy* always takes effect. Without one, functions that are registered already
    stay as they are, so that no call lifts the limits of a server's connection.
    """
    if policy is None:
        # A call finds out, because a connection accepts no attribute and no weak
        # reference, and the id of a closed one is reused
        if _exists(conn, "embed_dimensions(null)"):
            return
        policy = Policy(load=partial(load_local, conn))
    context = Context(conn, policy, Clock(conn, policy.time_limit_s))
    by_name = readers(policy)
    for function in FUNCTIONS:
        reads = [by_name[argument] for argument in function.arguments]
        for name in (function.name, *function.aliases):
            _register(context, name, function, reads)
    # Python cannot remove a function that was registered before
    if policy.expose_errors or _exists(conn, "embed_error()"):
        conn.create_function("embed_error", 0, lambda: context.last_error)


def _exists(conn: sqlite3.Connection, call: str) -> bool:
    try:
        conn.execute(f"select {call}").close()
    except sqlite3.DatabaseError as error:
        # Any other error means that a function of that name exists
        return "no such function" not in str(error)
    return True


def _register(
    context: Context, name: str, function: SqlFunction, reads: Sequence[Reader]
) -> None:
    if isinstance(function.call, type):
        aggregate: Any = guarded_aggregate(context, name, function.call, *reads)
        context.conn.create_aggregate(name, len(reads), aggregate)
        return
    call: Any = function.call
    if function.needs_context:
        call = context.clock.timed(partial(call, context))
    call = guarded(context, name, call, reads)
    if function.call is arithmetic.embed_cosine:
        # Called once a row: straight to C for two BLOBs
        call = arithmetic.fast_cosine(call, longest=LONGEST_VECTOR)
    context.conn.create_function(
        name, len(reads), call, deterministic=function.deterministic
    )
