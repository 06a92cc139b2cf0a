"""The JSON doors: an answer as the API promises it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasette_embeddings import compat
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.routes import answers

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.store import Collection


async def all_collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings.json``"""
    databases = compat.all_databases(datasette)
    try:
        found = await answers.listed(datasette, request, databases)
    except answers.Unavailable as problem:
        return _error(datasette, request, problem)
    return compat.json_response(datasette, request, _list_body(found))


async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings.json``"""
    try:
        database = await answers.requested_database(datasette, request)
        found = await answers.listed(datasette, request, [database])
    except (answers.Absent, answers.Unavailable) as problem:
        return _error(datasette, request, problem)
    body = {**_list_body(found), "database": database.name}
    return compat.json_response(datasette, request, body)


async def search(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}.json``"""
    if request.method not in ("GET", "HEAD"):
        message = f"Expected GET, found {request.method}"
        return compat.error_response(datasette, request, message, status=405)
    try:
        answer = await answers.answer(datasette, request)
    except (answers.Absent, answers.Unavailable) as problem:
        return _error(datasette, request, problem)
    if answer.problem is not None:
        return _error(datasette, request, answer.problem)
    return compat.json_response(datasette, request, search_body(answer))


def search_body(answer: answers.Answer) -> dict[str, Any]:
    """*answer* as the API promises it."""
    query: dict[str, str] = {}
    if answer.text is not None:
        query["text"] = answer.text
    if answer.like is not None:
        query["like"] = answer.like
    return {
        "ok": True,
        "database": answer.place.database.name,
        "collection": _collection_body(answer.place.collection, answer.place.count),
        "query": query,
        "matches": [_match_body(found) for found in answer.found],
        "next": None,
        "next_url": None,
        "scanned": answer.is_scanned,
        "left_out": answer.left_out,
        "took_ms": round(answer.took_ms, 1),
    }


def _match_body(found: answers.Found) -> dict[str, Any]:
    match = found.match
    return {
        "id": match.id,
        "score": match.score,
        "title": match.title,
        "content": match.content,
        "url": found.row_path,
        "image_url": None,
        "metadata": match.metadata,
        "document_id": match.document_id,
        "start": match.start,
        "end": match.end,
    }


def _list_body(found: Sequence[answers.Listed]) -> dict[str, Any]:
    collections = [
        {
            "database": each.database,
            **_collection_body(each.collection, each.count),
            "url": each.path,
        }
        for each in found
    ]
    return {"ok": True, "collections": collections}


def _collection_body(collection: Collection, count: int) -> dict[str, Any]:
    return {
        "name": collection.name,
        "model": collection.model_id,
        "count": count,
        "dimensions": collection.dimensions,
    }


def _error(
    datasette: Datasette, request: Request, problem: EmbeddingsError
) -> Response:
    status = answers.status_of(problem)
    return compat.error_response(datasette, request, str(problem), status=status)
