"""The search on screen in SQL and curl, to copy and change."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from datasette.utils.asgi import Request

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.web.compat import run_sql_path
from datasette_embeddings.web.search_results import SearchResponse
from datasette_embeddings.web.urls import Address


async def code_samples(
    request: Request, address: Address, response: SearchResponse
) -> list[dict[str, str]]:
    """The search of *response* in SQL, if the visitor may run SQL, and with curl.

    Each sample has a title, a text and the path that answers it. A search with
    conditions or another order has none in SQL, whose functions take neither; one by an
    image has none at all: neither an address nor SQL can hold the image.
    """
    datasette, asked = response.target.datasette, response.request
    is_list = asked.text is None and asked.like is None
    is_scoped = bool(asked.cluster or asked.area)
    if is_list and not (is_scoped and response.total is not None):
        return []
    samples = []
    options = asked.min_score, asked.min_cosine, asked.order
    is_other = asked.as_typed or any(each is not None for each in options)
    if not (asked.filters or asked.prefix or is_scoped or is_other):
        database, (sql, values) = response.target.database.name, _sql(response)
        page = await run_sql_path(datasette, request.actor, database, sql, values)
        if page is not None:
            samples.append({"title": "SQL", "text": sql, "path": page})
    path = address.with_args({}, f"{response.target.path}.json")
    url = datasette.absolute_url(request, path)
    curl = f"curl {shlex.quote(url)}"
    return [*samples, {"title": "curl", "text": curl, "path": path}]


def _sql(response: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """A query that finds the matches of *response*, best first, and its parameters."""
    request, collection = response.request, response.target.collection
    limit = request.next + request.size
    mode = "" if request.mode == "both" else f", '{request.mode}'"
    call = f"embed_search(:collection, :q, {limit}{mode})"
    values = {"q": request.text or ""}
    if request.like is not None:
        call = f"embed_similar(:collection, :like, {limit})"
        values = {"like": request.like}
    id_key = "document_id" if collection.has_chunks else "id"
    item_id = f"json_extract(found.value, '$.{id_key}')"
    columns, join = f"{item_id} as id", ""
    source = collection.source
    if (
        isinstance(source, TableSource)
        and len(source.key_columns) == 1
        and not source.id_prefix
    ):
        table, key = quote(source.table), source.key_columns[0]
        # A title may be the key itself
        shown = dict.fromkeys([key, source.title_column])
        columns = ",\n  ".join(f"{table}.{quote(name)}" for name in shown if name)
        join = f"join {table} on {table}.{quote(key)} = {item_id}\n"
    sql = (
        f"select\n  {columns},\n  json_extract(found.value, '$.score') as score\n"
        f"from json_each({call}) as found\n{join}"
        "order by score desc"
    )
    return sql, {"collection": collection.name, **values}
