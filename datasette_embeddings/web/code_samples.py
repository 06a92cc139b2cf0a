"""The search on screen in SQL and curl, to copy and change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class CodeSample:
    """The search on screen as code; *path* is where it is answered."""

    title: str
    text: str
    path: str


async def code_samples(
    datasette: Datasette, request: Request, address: Address, response: SearchResponse
) -> list[CodeSample]:
    """The search of *response* in SQL, for those who may run it, and with curl.

    A search by an image has none: neither an address nor SQL can hold the image.
    """
    if response.request.image is not None or not response.request.is_asked:
        return []
    samples = []
    database = response.target.database.name
    if await is_allowed(datasette, request.actor, "execute-sql", database):
        sql, values = search_sql(response)
        query = urlencode({"sql": sql, **values})
        path = f"{sql_path(datasette, database)}?{query}"
        samples.append(CodeSample("SQL", sql, path))
    path = address.with_args({}, f"{response.target.path}.json")
    url = datasette.absolute_url(request, path)
    return [*samples, CodeSample("curl", f"curl {shlex.quote(url)}", path)]


def search_sql(response: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """A query that finds the matches of *response*, best first, and its parameters."""
    request, collection = response.request, response.target.collection
    is_narrowed = request.filters or request.prefix or request.min_score is not None
    if is_narrowed and not collection.has_chunks and request.text is not None:
        return _narrowed_sql(response)
    name = _literal(collection.name)
    limit = request.next + request.size
    if request.like is not None:
        call = f"embed_similar({name}, :like, {limit})"
        values = {"like": request.like}
    else:
        call = f"embed_search({name}, :q, {limit})"
        values = {"q": request.text or ""}
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
