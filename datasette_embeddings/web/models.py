"""The models that a visitor may use, as clients of OpenAI's list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings.config import PLUGIN_NAME
from datasette_embeddings.serving.allowed_models import allowed_model_ids
from datasette_embeddings.web.embed_api import check_may_embed
from datasette_embeddings.web.middleware import READS, json_response, json_view
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response


@json_view(*READS)
async def openai_models(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/v1/models``"""
    await check_may_embed(datasette, request.actor)
    Address.of(request).check_names(())
    offered = allowed_model_ids(config_of(datasette))
    models = [
        # OpenAI's clients require the last two; the creation time is unknown
        {"id": model_id, "object": "model", "created": 0, "owned_by": PLUGIN_NAME}
        for model_id in offered
    ]
    body = {"ok": True, "object": "list", "data": models}
    return json_response(datasette, request, body)
