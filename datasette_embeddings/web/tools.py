"""The tools, for a language model that calls them through Datasette as its actor."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from datasette.app import Datasette

from datasette_embeddings.databases import explained
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInputError,
    UnknownItemError,
    listed,
    quoted,
)
from datasette_embeddings.search.matches import Match
from datasette_embeddings.tools.definitions import (
    COLLECTIONS,
    CONTEXT,
    SEARCH,
    SIMILAR,
    Bounds,
    CollectionsArguments,
    ContextArguments,
    SearchArguments,
    SimilarArguments,
    Tool,
    arguments,
)
from datasette_embeddings.tools.results import (
    as_text,
    by_words_note,
    collection_facts,
    collections_result,
    context_result,
    match_result,
    matches_result,
)
from datasette_embeddings.web.compat import Actor
from datasette_embeddings.web.context import ContextRequest, run_context
from datasette_embeddings.web.http_errors import NotFoundError, SearchUnavailableError
from datasette_embeddings.web.middleware import limited
from datasette_embeddings.web.permissions import served_databases
from datasette_embeddings.web.resolve import Absolute, Target, visible_targets
from datasette_embeddings.web.search_request import checked
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.server import config_of

Result: TypeAlias = dict[str, Any]

# Of the names of the tools, beside those of other plugins
PREFIX = "embeddings_"
LIST_FIRST = f"Call {PREFIX}{COLLECTIONS.name} to see the collections there are."
FAILED = "Something went wrong in the server; its log says what"
NO_MODEL = (
    "The model of this collection is not available on this server. "
    f"{PREFIX}{SIMILAR.name} needs none, and {PREFIX}{SEARCH.name} finds by words "
    "alone where a collection has them."
)
BY_WORDS = by_words_note("the model of this collection is not available on this server")
logger = logging.getLogger("datasette_embeddings")


def name_of(tool: Tool) -> str:
    """The name of *tool* among those of other plugins."""
    return PREFIX + tool.name


def description_of(tool: Tool) -> str:
    """The description of *tool*; who may see which collection is not known yet."""
    return (
        tool.description if tool is COLLECTIONS else f"{tool.description} {LIST_FIRST}"
    )


def bounds_of(datasette: Datasette) -> Bounds:
    """The most that the settings of *datasette* let a tool be asked for."""
    config = config_of(datasette)
    return Bounds(limit=config.max_size, query=config.max_query_length)


async def call_tool(
    datasette: Datasette,
    actor: Actor,
    tool: Tool,
    given: dict[str, Any],
    *,
    bounds: Bounds,
    absolute: Absolute = str,
) -> Result:
    """What *tool* answers *actor*, for the arguments *given*, within *bounds*.

    *absolute* makes the addresses of its result. The call takes its turn with the
    searches of visitors.

    :raises EmbeddingsError: if it cannot be answered, with what to do about it.
    """
    asked = arguments(tool, given, bounds=bounds)
    call = _CALLS[tool.name]
    try:
        found = await limited(datasette, call, datasette, actor, asked, absolute)
        # Without half surrogate pairs, which no host could send
        return dict(json.loads(as_text(found)))
    except NotFoundError as error:
        raise NotFoundError(f"{error}. {LIST_FIRST}") from error
    except UnknownItemError as error:
        advice = f"Call {PREFIX}{SEARCH.name}: each of its matches has an id."
        raise InvalidInputError(f"{error}. {advice}") from error
    except SearchUnavailableError as error:
        raise SearchUnavailableError(NO_MODEL) from error
    except EmbeddingsError:
        raise
    except sqlite3.DatabaseError as error:
        raise explained(error, Path(str(asked.database or "A database"))) from error
    except Exception as error:
        logger.error("A tool failed", exc_info=error)
        raise EmbeddingsError(FAILED) from error


async def _collections(
    datasette: Datasette, actor: Actor, asked: CollectionsArguments, absolute: Absolute
) -> Result:
    targets = await _targets(datasette, actor, asked.database)
    if asked.database is not None and not targets:
        raise NotFoundError(f"No collections in the database {quoted(asked.database)}")
    rows = [
        {"database": target.database.name, **await target.read(collection_facts)}
        for target in targets
    ]
    return collections_result(rows)


async def _search(
    datasette: Datasette, actor: Actor, asked: SearchArguments, absolute: Absolute
) -> Result:
    target = await _target(datasette, actor, asked.database, asked.collection)
    given: dict[str, object] = {"text": asked.query, "size": asked.limit}
    config, names, note = config_of(datasette), {"text": "query", "size": "limit"}, None
    try:
        response = await run_search(target, checked(given, config, names))
    except SearchUnavailableError:
        if not target.collection.has_words:
            raise
        given, note = given | {"mode": "words"}, BY_WORDS
        response = await run_search(target, checked(given, config, names))
    return matches_result(
        await _matches(target, response.matches, asked.query, absolute),
        response.close,
        corrected=response.corrected,
        note=note,
    )


async def _similar(
    datasette: Datasette, actor: Actor, asked: SimilarArguments, absolute: Absolute
) -> Result:
    target = await _target(datasette, actor, asked.database, asked.collection)
    given = {"like": asked.id, "size": asked.limit}
    names = {"like": "id", "size": "limit"}
    response = await run_search(target, checked(given, config_of(datasette), names))
    return matches_result(await _matches(target, response.matches, None, absolute))


async def _context(
    datasette: Datasette, actor: Actor, asked: ContextArguments, absolute: Absolute
) -> Result:
    target = await _target(datasette, actor, asked.database, asked.collection)
    request = ContextRequest(question=asked.question, tokens=asked.tokens)
    return context_result(await run_context([target], request, absolute))


async def _matches(
    target: Target, found: Sequence[Match], query: str | None, absolute: Absolute
) -> list[Result]:
    linked = [target.linked(each, absolute) for each in found]
    # Other requests would wait for the snippets of long texts
    written = partial(match_result, query=query)
    return await asyncio.to_thread(lambda: [*map(written, linked)])


async def _targets(
    datasette: Datasette, actor: Actor, database: str | None, name: str | None = None
) -> list[Target]:
    """What *actor* may see of *database*, or of all; only collections of *name*."""
    return [
        target
        for each in served_databases(datasette)
        if database in (None, each.name)
        for target in await visible_targets(datasette, actor, each, name)
    ]


async def _target(
    datasette: Datasette, actor: Actor, database: str | None, name: str
) -> Target:
    """The collection called *name* that *actor* may see, of *database* or of one."""
    found = await _targets(datasette, actor, database, name)
    if len(found) > 1:
        names = listed([each.database.name for each in found])
        raise InvalidInputError(
            f"database: expected one of {names}, which each have a collection "
            f"{quoted(name)}; found none"
        )
    if found:
        return found[0]
    place = "" if database is None else f" in the database {quoted(database)}"
    raise NotFoundError(f"No collection {quoted(name)}{place}")


_CALLS: dict[str, Callable[..., Awaitable[Result]]] = {
    COLLECTIONS.name: _collections,
    SEARCH.name: _search,
    SIMILAR.name: _similar,
    CONTEXT.name: _context,
}
