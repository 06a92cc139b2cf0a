"""What the API is, for programs: ``openapi.yml`` with the limits of this server."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.models.names import BUNDLED_ALIASES
from datasette_embeddings.serving.allowed_models import allowed_model_ids
from datasette_embeddings.web import search_request
from datasette_embeddings.web.compat import may_view_instance
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.middleware import READS, json_response, json_view
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

DOCUMENT = Path(__file__).with_suffix(".yml")
VERSION = "1"


@json_view(*READS)
async def document(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/openapi.json``"""
    if not await may_view_instance(datasette, request.actor):
        # It names the models of the configuration
        raise ForbiddenError("You may not see this Datasette")
    Address.of(request).check_names(())
    config = config_of(datasette)
    schemas = _written()["components"]["schemas"]
    limits: dict[str, dict[str, Any]] = {
        "Size": {
            "maximum": config.max_size,
            "default": search_request.default_size(config),
        },
        "QueryText": {"maxLength": config.max_query_length},
        "Text": {"maxLength": config.max_text_length},
        "Texts": {"maxItems": config.max_inputs},
        "Inputs": {"maxItems": config.max_inputs},
        "OfferedModel": {
            "enum": sorted({*allowed_model_ids(config), *BUNDLED_ALIASES})
        },
    }
    body = {
        **_written(),
        "servers": [{"url": str(datasette.urls.instance()).rstrip("/") or "/"}],
        "components": {
            **_written()["components"],
            "schemas": {
                name: {**schema, **limits.get(name, {})}
                for name, schema in schemas.items()
            },
        },
    }
    return json_response(datasette, request, body)


@lru_cache(maxsize=1)
def _written() -> dict[str, Any]:
    import yaml

    written: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    return written
