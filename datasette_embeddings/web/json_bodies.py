"""Answers in JSON, as the API promises them, and in Datasette's other shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.web.filters import Facet
from datasette_embeddings.web.middleware import cors_headers, json_response
from datasette_embeddings.web.resolve import Listed
from datasette_embeddings.web.search_request import asked_for
from datasette_embeddings.web.search_response import Found, SearchResponse

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils import MultiParams
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.store.collections import Collection

# As Datasette has them; objects is the first, and what an answer has anyway
SHAPES = ("objects", "arrays", "array", "arrayfirst", "object")
NAMES = ("_shape", "_nl")


def shaped(
    datasette: Datasette,
    request: Request,
    args: MultiParams,
    body: dict[str, Any],
    rows: str,
    *,
    key: str | None,
) -> Response:
    """*body* in the ``_shape`` that *args* ask for; ``body[rows]`` is the list.

    *key* tells its objects apart; None where nothing does.

    :raises InvalidInputError: for a shape that there is not.
    """
    shape = args.get("_shape") or SHAPES[0]
    if shape not in SHAPES:
        raise InvalidInputError(
            f"Expected a _shape of {', '.join(SHAPES)}; found {quoted(shape)}"
        )
    is_lines = args.get("_nl") not in (None, "", "off", "0")
    if is_lines and shape not in ("array", "arrayfirst"):
        raise InvalidInputError("Expected _shape=array or _shape=arrayfirst with _nl")
    found: list[dict[str, Any]] = body[rows]
    if is_lines:
        return _lines(datasette, request, _reshaped(found, shape, key))
    if shape == "objects":
        answer: object = body
    elif shape == "arrays":
        columns = list(found[0]) if found else []
        values = [list(each.values()) for each in found]
        answer = {**body, "columns": columns, rows: values}
    else:
        answer = _reshaped(found, shape, key)
    return json_response(datasette, request, answer)


def _reshaped(found: Sequence[Mapping[str, Any]], shape: str, key: str | None) -> Any:  # noqa: ANN401 - JSON
    if shape == "array":
        return found
    if key is None:
        raise InvalidInputError(
            f"Nothing tells these apart, as _shape={shape} would need"
        )
    if shape == "arrayfirst":
        return [each[key] for each in found]
    return {each[key]: each for each in found}


def _lines(datasette: Datasette, request: Request, found: Sequence[object]) -> Response:
    from datasette import Response

    return Response(
        "\n".join(json.dumps(each) for each in found),
        headers=cors_headers(datasette, request),
        content_type="application/x-ndjson; charset=utf-8",
    )


def search_body(answer: SearchResponse, next_url: str | None) -> dict[str, Any]:
    """*answer* as the API promises it."""
    body: dict[str, Any] = {
        "ok": True,
        "database": answer.target.database.name,
        "collection": _collection_body(answer.target.collection, answer.count),
        "query": asked_for(answer.question),
        "matches": [_match_body(found) for found in answer.found],
        "next": None if answer.next is None else str(answer.next),
        "next_url": next_url,
        "scanned": answer.is_scanned,
        "left_out": answer.left_out,
        "took_ms": round(answer.took_ms, 1),
    }
    if answer.facet is not None:
        body["facet_results"] = _facet_body(answer.facet)
    return body


def _match_body(found: Found) -> dict[str, Any]:
    match = found.match
    return {
        "id": match.id,
        "score": match.score,
        "title": match.title,
        "content": match.content,
        "url": found.row_path,
        "image_url": found.image_path,
        "metadata": match.metadata,
        "document_id": match.document_id,
        "start": match.start,
        "end": match.end,
        "stale": match.stale,
    }


def _facet_body(facet: Facet) -> dict[str, Any]:
    """As Datasette has the facets of a table, without the links of its page."""
    results = [{"value": each.value, "count": each.count} for each in facet.values]
    return {
        "results": {
            facet.column: {
                "name": facet.column,
                "type": "column",
                "results": results,
                "truncated": facet.is_truncated,
            }
        }
    }


def list_body(found: Sequence[Listed]) -> dict[str, Any]:
    """Collections as the API lists them."""
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
