"""``register()``, which adds the functions to SQL on a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

from datasette_embeddings.sql import arithmetic, axes, calls
from datasette_embeddings.sql import contexts as contexts  # its functions, too
from datasette_embeddings.sql import searches as searches
from datasette_embeddings.sql.calls import FUNCTIONS, Reader, SqlFunction
from datasette_embeddings.sql.context import Clock, Context, Policy, load_local


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
    by_name = calls.readers(policy)
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
        kind: Any = function.call
        methods = {
            "step": calls.guarded(context, name, kind.step, [_itself, *reads]),
            "finalize": calls.guarded(context, name, kind.finalize, [_itself]),
        }
        aggregate: Any = type(name, (kind,), methods)
        context.conn.create_aggregate(name, len(reads), aggregate)
        return
    call: Any = function.call
    if function.needs_context:
        call = context.clock.timed(partial(call, context))
    call = calls.guarded(context, name, call, reads)
    if function.call is arithmetic.embed_cosine:
        # Called once a row: straight to C for two BLOBs
        call = arithmetic.fast_cosine(call, longest=calls.LONGEST_VECTOR)
    if function.name == "embed_axis":
        call = axes.fast_position(context, call, longest=calls.LONGEST_VECTOR)
    context.conn.create_function(
        name, len(reads), call, deterministic=function.deterministic
    )


def _itself(aggregate: Any) -> Any:  # noqa: ANN401 - any aggregate
    return aggregate
