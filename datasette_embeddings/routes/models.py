"""The models that a visitor may use, as clients of OpenAI's list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasette_embeddings import compat, serving
from datasette_embeddings.config import PLUGIN_NAME
from datasette_embeddings.routes.addresses import Address
from datasette_embeddings.routes.embedding import check_may_embed
from datasette_embeddings.routes.guard import READS, json_view

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response


@json_view(*READS)
async def openai_models(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/v1/models``"""
    await check_may_embed(datasette, request.actor)
    Address.of(request).check_names(())
    offered = serving.offered_models(compat.checked_config(datasette))
    models = [
        # OpenAI's clients require the last two; the creation time is unknown
        {"id": model_id, "object": "model", "created": 0, "owned_by": PLUGIN_NAME}
        for model_id in offered
    ]
    body = {"ok": True, "object": "list", "data": models}
    return compat.json_response(datasette, request, body)
