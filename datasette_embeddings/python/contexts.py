"""A context of one or several collections, for Python programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from datasette_embeddings.context.budget import Count, checked_tokens, counter_of
from datasette_embeddings.context.building import (
    MOST_OTHERS,
    BestChunks,
    best_chunks,
    build,
)
from datasette_embeddings.context.passages import Context
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.python.arguments import checked_content, search_options
from datasette_embeddings.python.database import Database

#: A collection by its database and name
NamedCollection: TypeAlias = tuple[Database, str]


def context_of(
    question: object,
    first: NamedCollection,
    others: Sequence[NamedCollection],
    *,
    tokens: int,
    filters: Mapping[str, Any],
) -> Context:
    """The context of *first* and *others*; *filters* are about the *first* alone."""
    if not isinstance(question, str):
        raise InvalidInputError(
            f"Expected a question, a text; found {quoted(question)}"
        )
    checked_content(question)
    checked_tokens(tokens)
    if len(others) > MOST_OTHERS:
        raise InvalidInputError(
            f"Expected at most {MOST_OTHERS} other collections, found {len(others)}"
        )
    places = [first, *others]
    paths = [str(database.connections.path) for database, _name in places]
    is_of_one = len(set(paths)) == 1
    found, counters = list[BestChunks](), list[Count | None]()
    for path, (database, name) in zip(paths, places, strict=True):
        own = {} if found else filters
        with database.stored(name) as stored:
            options = search_options(
                stored,
                **{"limit": 1, "offset": 0, "where": None, "params": None, **own},
            )
            model = database.model(stored)
            counters.append(counter_of(model))
            found.append(
                best_chunks(
                    stored,
                    question,
                    model=model,
                    tokens=tokens,
                    options=options,
                    database=None if is_of_one else path,
                )
            )
    return build(question, found, tokens=tokens, count=counters[0])
