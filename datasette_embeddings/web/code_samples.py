"""The search on screen in SQL and curl, to copy and change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.web import filters
from datasette_embeddings.web.compat import is_allowed, sql_path
from datasette_embeddings.web.search_response import SearchResponse
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request


async def run_sql_path(
    datasette: Datasette,
    request: Request,
    database: str,
    sql: str,
    values: Mapping[str, object],
) -> str | None:
    """The page that runs *sql*; None if the visitor may not run SQL."""
    if not await is_allowed(datasette, request.actor, "execute-sql", database):
        return None
    query = urlencode({"sql": sql, **values})
    return f"{sql_path(datasette, database)}?{query}"


async def code_samples(
    datasette: Datasette, request: Request, address: Address, response: SearchResponse
) -> list[dict[str, str]]:
    """The search of *response* in SQL, if the visitor may run SQL, and with curl.

    Each sample has a title, a text and the path that answers it.

    A search by an image has none: neither an address nor SQL can hold the image.
    """
    if response.request.image is not None or not response.request.is_asked:
        return []
    samples = []
    database, (sql, values) = response.target.database.name, _sql(response)
    page = await run_sql_path(datasette, request, database, sql, values)
    if page is not None:
        samples.append({"title": "SQL", "text": sql, "path": page})
    path = address.with_args({}, f"{response.target.path}.json")
    url = datasette.absolute_url(request, path)
    curl = f"curl {shlex.quote(url)}"
    return [*samples, {"title": "curl", "text": curl, "path": path}]


def _sql(response: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """A query that finds the matches of *response*, best first, and its parameters."""
    request, collection = response.request, response.target.collection
    is_narrowed = request.filters or request.prefix or request.min_score is not None
    if is_narrowed and not collection.has_chunks and request.text is not None:
        return _narrowed_sql(response)
    name = _literal(collection.name)
    limit = request.next + request.size
    call, values = f"embed_search({name}, :q, {limit})", {"q": request.text or ""}
    if request.like is not None:
        call = f"embed_similar({name}, :like, {limit})"
        values = {"like": request.like}
    id_key = "document_id" if collection.has_chunks else "id"
    columns, join = _source_join(response, f"json_extract(found.value, '$.{id_key}')")
    sql = (
        f"select\n  {columns},\n  json_extract(found.value, '$.score') as score\n"
        f"from json_each({call}) as found\n{join}"
        "order by score desc"
    )
    return sql, values


def _narrowed_sql(response: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """With conditions, which apply before the ranking, or too few items remain."""
    request, collection = response.request, response.target.collection
    source = collection.source
    columns, join = _source_join(response, "embeddings.id")
    values: dict[str, object] = {"q": request.text}
    conditions = [
        "embeddings.collection_id = "
        f"(select id from collections where name = {_literal(collection.name)})"
    ]
    if request.filters and isinstance(source, TableSource):
        chosen = filters.selection(source.table, response.columns, request.filters)
        key = quote(source.key_columns[0])
        conditions.append(
            f"embeddings.id in (\n    select cast({key} as text)\n"
            f"    from {quote(source.table)}\n    where {chosen.where}\n  )"
        )
        values.update(chosen.values)
    if request.prefix:
        conditions.append("substr(embeddings.id, 1, length(:prefix)) = :prefix")
        values["prefix"] = request.prefix
    if request.min_score is not None:
        conditions.append("score >= cast(:min_score as real)")
        values["min_score"] = request.min_score
    where = "\n  and ".join(conditions)
    query = f"embed_query({_literal(collection.model_id)}, :q)"
    sql = (
        f"select\n  {columns},\n"
        f"  embed_cosine(embeddings.embedding, {query}) as score\n"
        f"from embeddings\n{join}where {where}\n"
        f"order by score desc\nlimit {request.next + request.size}"
    )
    return sql, values


def _source_join(response: SearchResponse, item_id: str) -> tuple[str, str]:
    """The columns to select beside the score, and the join with their table."""
    source = response.target.collection.source
    if (
        not isinstance(source, TableSource)
        or len(source.key_columns) != 1
        or source.id_prefix
    ):
        return f"{item_id} as id", ""
    table, key = quote(source.table), quote(source.key_columns[0])
    # A title may be the key itself
    shown = dict.fromkeys([source.key_columns[0], source.title_column])
    columns = ",\n  ".join(f"{table}.{quote(name)}" for name in shown if name)
    return columns, f"join {table} on {table}.{key} = {item_id}\n"


def _literal(text: str) -> str:
    """*text* as an SQL literal, in which a NUL cannot be written."""
    return "'" + text.replace("'", "''").replace("\0", "' || char(0) || '") + "'"
