"""The search on screen as SQL, JSON and curl, to be copied and changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.web import filters
from datasette_embeddings.web.compat import may_execute_sql, sql_path
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_response import SearchResponse
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request


@dataclass(frozen=True)
class Example:
    """One way to ask the same; *path* is where it is answered."""

    title: str
    text: str
    path: str | None = None


async def examples(
    datasette: Datasette, request: Request, address: Address, answer: SearchResponse
) -> list[Example]:
    """*answer*'s search in other words: SQL for those who may run it, JSON, curl.

    An image is nothing that an address or SQL on a page could hold.
    """
    database = answer.target.database.name
    bare_url = datasette.absolute_url(request, f"{answer.target.path}.json")
    if answer.question.image is not None:
        return [Example("curl", _curl_with_image(bare_url, answer.question))]
    found = []
    if await may_execute_sql(datasette, request.actor, database):
        sql, values = search_sql(answer)
        query = urlencode({"sql": sql, **values})
        found.append(Example("SQL", sql, f"{sql_path(datasette, database)}?{query}"))
    path = address.with_args({}, f"{answer.target.path}.json")
    url = datasette.absolute_url(request, path)
    body = json.dumps(_body(answer.question), ensure_ascii=False)
    curl = (
        f"curl {shlex.quote(bare_url)} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    )
    return [*found, Example("JSON", url, path), Example("curl", curl)]


def _curl_with_image(url: str, question: SearchRequest) -> str:
    """The file is read by the shell, which puts it where printf has ``%s``."""
    others = json.dumps(_body(question), ensure_ascii=False).removeprefix("{")
    escaped = others.replace("\\", "\\\\").replace("%", "%%")
    body = shlex.quote('{"image": "%s", ' + escaped)
    return (
        f"printf {body} \\\n"
        "  \"$(base64 < picture.jpg | tr -d '\\n')\" |\n"
        f"  curl {shlex.quote(url)} \\\n"
        "  -H 'Content-Type: application/json' -d @-"
    )


def _body(question: SearchRequest) -> dict[str, object]:
    """*question* as the body of a POST."""
    names: dict[str, list[str]] = {}
    for name, value in question.filters:
        names.setdefault(name, []).append(value)
    given: dict[str, object] = {
        "text": question.text,
        "like": question.like,
        "size": question.size,
        "next": str(question.offset) if question.offset else None,
        "min_score": question.min_score,
        "prefix": question.prefix or None,
        "chunks": "all" if question.all_chunks else None,
        "filters": {name: _json_value(name, values) for name, values in names.items()}
        or None,
        "facet": question.facet,
    }
    return {name: value for name, value in given.items() if value is not None}


def _json_value(name: str, values: list[str]) -> object:
    if len(values) == 1 and not name.endswith(("__in", "__notin")):
        return values[0]
    if len(values) == 1 and not values[0].startswith("["):
        return [value.strip() for value in values[0].split(",")]
    return json.loads(values[0]) if len(values) == 1 else values


def search_sql(answer: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """A query that finds what *answer* did, best first, and its values."""
    question, collection = answer.question, answer.target.collection
    is_narrowed = question.filters or question.prefix or question.min_score is not None
    if is_narrowed and not collection.has_chunks and question.text is not None:
        return _narrowed_sql(answer)
    name = _literal(collection.name)
    limit = question.offset + question.size
    if question.like is not None:
        call = f"embed_similar({name}, :like, {limit})"
        values = {"like": question.like}
    else:
        call = f"embed_search({name}, :q, {limit})"
        values = {"q": question.text or ""}
    id_key = "document_id" if collection.has_chunks else "id"
    columns, join = _source_join(answer, f"json_extract(found.value, '$.{id_key}')")
    sql = (
        f"select\n  {columns},\n  json_extract(found.value, '$.score') as score\n"
        f"from json_each({call}) as found\n{join}"
        "order by score desc"
    )
    return sql, values


def _narrowed_sql(answer: SearchResponse) -> tuple[str, Mapping[str, object]]:
    """Conditions come before the ranking, or fewer items than wanted would be left."""
    question, collection = answer.question, answer.target.collection
    source = collection.source
    columns, join = _source_join(answer, "embeddings.id")
    values: dict[str, object] = {"q": question.text}
    conditions = [
        "embeddings.collection_id = "
        f"(select id from collections where name = {_literal(collection.name)})"
    ]
    if question.filters and isinstance(source, TableSource):
        chosen = filters.selection(source.table, answer.columns, question.filters)
        key = quote(source.key_columns[0])
        conditions.append(
            f"embeddings.id in (\n    select cast({key} as text)\n"
            f"    from {quote(source.table)}\n    where {chosen.where}\n  )"
        )
        values.update(chosen.values)
    if question.prefix:
        conditions.append("substr(embeddings.id, 1, length(:prefix)) = :prefix")
        values["prefix"] = question.prefix
    if question.min_score is not None:
        conditions.append("score >= cast(:min_score as real)")
        values["min_score"] = question.min_score
    where = "\n  and ".join(conditions)
    query = f"embed_query({_literal(collection.model_id)}, :q)"
    sql = (
        f"select\n  {columns},\n"
        f"  embed_cosine(embeddings.embedding, {query}) as score\n"
        f"from embeddings\n{join}where {where}\n"
        f"order by score desc\nlimit {question.offset + question.size}"
    )
    return sql, values


def _source_join(answer: SearchResponse, item_id: str) -> tuple[str, str]:
    """What to select beside the score, and the join that brings it."""
    source = answer.target.collection.source
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
    """*text* as SQL writes it, which has no way to write a NUL."""
    return "'" + text.replace("'", "''").replace("\0", "' || char(0) || '") + "'"
