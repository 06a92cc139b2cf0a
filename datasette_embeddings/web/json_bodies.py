"""The JSON bodies of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.web.filters import Facet
from datasette_embeddings.web.middleware import cors_headers, json_response
from datasette_embeddings.web.resolve import Listed
from datasette_embeddings.web.search_response import Found, SearchResponse

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils import MultiParams
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.store.collections import Collection

# Of Datasette's shapes: the answer itself, and the list in it
SHAPES = ("objects", "array")
NAMES = ("_shape", "_nl")


def shaped(
    datasette: Datasette,
    request: Request,
    args: MultiParams,
    body: dict[str, Any],
    rows: str,
) -> Response:
    """*body*, or with ``_shape=array`` the list ``body[rows]``.

    :raises InvalidInputError: for another shape.
    """
    from datasette import Response

    shape = args.get("_shape") or SHAPES[0]
    if shape not in SHAPES:
        raise InvalidInputError(
            f"_shape: expected one of {', '.join(SHAPES)}, found {quoted(shape)}"
        )
    is_lines = args.get("_nl") not in (None, "", "off", "0")
    if shape == "objects":
        if is_lines:
            raise InvalidInputError("_nl: expected _shape=array with it")
        return json_response(datasette, request, body)
    if not is_lines:
        return json_response(datasette, request, body[rows])
    return Response(
        "\n".join(json.dumps(each) for each in body[rows]),
        headers=cors_headers(datasette, request),
        content_type="application/x-ndjson; charset=utf-8",
    )


def search_body(answer: SearchResponse, next_url: str | None) -> dict[str, Any]:
    """*answer* as the API promises it."""
    body: dict[str, Any] = {
        "ok": True,
        "database": answer.target.database.name,
        "collection": _collection_body(answer.target.collection, answer.count),
        "query": answer.question.to_json(),
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
