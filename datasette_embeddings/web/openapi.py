"""``openapi.yml`` as this server serves it: schemas of requests, limits and models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.models.names import BUNDLED_ALIASES
from datasette_embeddings.serving.allowed_models import allowed_model_ids
from datasette_embeddings.validation import json_schema
from datasette_embeddings.web.compat import is_allowed
from datasette_embeddings.web.embed_request import EmbedRequest
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.middleware import READS, json_response, json_view
from datasette_embeddings.web.search_request import SearchRequest, default_size
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

DOCUMENT = Path(__file__).with_suffix(".yml")


@json_view(*READS)
async def document(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/openapi.json``"""
    if not await is_allowed(datasette, request.actor, "view-instance"):
        # It names the models of the configuration
        raise ForbiddenError("You may not see this Datasette")
    Address.of(request).check_names(())
    config = config_of(datasette)
    limits: dict[str, dict[str, Any]] = {
        "Size": {"maximum": config.max_size, "default": default_size(config)},
        "QueryText": {"maxLength": config.max_query_length},
        "Text": {"maxLength": config.max_text_length},
        "Texts": {"maxItems": config.max_inputs},
        "Inputs": {"maxItems": config.max_inputs},
        "OfferedModel": {
            "enum": sorted({*allowed_model_ids(config), *BUNDLED_ALIASES})
        },
    }
    written = _written()
    schemas = {
        name: {**schema, **limits.get(name, {})}
        for name, schema in written["components"]["schemas"].items()
    }
    body = {
        **written,
        "servers": [{"url": str(datasette.urls.instance()).rstrip("/") or "/"}],
        "components": {**written["components"], "schemas": schemas},
    }
    return json_response(datasette, request, body)


@cache
def _written() -> dict[str, Any]:
    """The document without what differs between servers."""
    import yaml

    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    for cls in (SearchRequest, EmbedRequest):
        # What the file adds to a generated schema
        added = document["components"]["schemas"].get(cls.__name__, {})
        document["components"]["schemas"][cls.__name__] = {**json_schema(cls), **added}
    return document
