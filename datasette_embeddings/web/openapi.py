"""``openapi.yml`` as this server serves it: schemas of requests, limits and models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.models.names import BUNDLED_ALIASES
from datasette_embeddings.serving.allowed_models import allowed_model_ids
from datasette_embeddings.validation import json_schema
from datasette_embeddings.web.compat import is_allowed
from datasette_embeddings.web.context import NAMES as CONTEXT_NAMES
from datasette_embeddings.web.context import ContextRequest
from datasette_embeddings.web.embed_api import EmbedRequest
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.labels import NAMES as LABEL_NAMES
from datasette_embeddings.web.labels import LabelsRequest
from datasette_embeddings.web.map_json import MATCH_NAMES
from datasette_embeddings.web.middleware import cors_headers, json_view
from datasette_embeddings.web.search_request import NAMES as SEARCH_NAMES
from datasette_embeddings.web.search_request import QUERIES, SearchRequest
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

DOCUMENT = Path(__file__).with_suffix(".yml")
# A search by words alone compares no vectors
WORDS_WITH_COSINE = {
    "required": ["mode", "min_cosine"],
    "properties": {"mode": {"const": "words"}, "min_cosine": {"type": "number"}},
}


@json_view()
async def document(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/openapi.json``"""
    if not await is_allowed(datasette, request.actor, "view-instance"):
        # It names the models of the configuration
        raise ForbiddenError("You may not see this Datasette")
    Address.of(request).check_names(())
    config = config_of(datasette)
    size = min(DEFAULT_LIMIT, config.max_size)
    models = sorted({*allowed_model_ids(config), *BUNDLED_ALIASES})
    limits: dict[str, dict[str, Any]] = {
        "Size": {"maximum": config.max_size, "default": size},
        "QueryText": {"maxLength": config.max_query_length},
        "Text": {"maxLength": config.max_text_length},
        "Texts": {"maxItems": config.max_inputs},
        "Inputs": {"maxItems": config.max_inputs},
        "AllowedModel": {"enum": models},
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
    return Response.json(body, headers=cors_headers(datasette, request))


@cache
def _written() -> dict[str, Any]:
    """The document without what differs between servers."""
    import yaml

    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    search, embed = json_schema(SearchRequest), json_schema(EmbedRequest)
    labels = {**json_schema(LabelsRequest), "required": ["labels"]}
    labels["properties"]["labels"] = labels["properties"]["labels"]["anyOf"][0]
    for requested in (search, labels):
        # One thing to search for, and not null
        requested["oneOf"] = [
            {"required": [name], "properties": {name: schema["anyOf"][0]}}
            for name, schema in requested["properties"].items()
            if name in QUERIES
        ]
    search["oneOf"][QUERIES.index("text")]["not"] = WORDS_WITH_COSINE
    pages_names = {name: SEARCH_NAMES[name] for name in ("_size", "_next")}
    label_names = {name: LABEL_NAMES[name] for name in ("q", "like", "_template")}
    context = json_schema(ContextRequest)
    embed_names = {name: name for name in embed["properties"] if name != "input"}
    for path, schema, names in (
        ("/{database}/-/embeddings/{collection}.json", search, SEARCH_NAMES),
        ("/{database}/-/embeddings/{collection}/context.json", context, CONTEXT_NAMES),
        ("/{database}/-/embeddings/{collection}/clusters.json", search, pages_names),
        ("/{database}/-/embeddings/{collection}/pairs.json", search, pages_names),
        (
            "/{database}/-/embeddings/{collection}/map/matches.json",
            search,
            {name: SEARCH_NAMES[name] for name in MATCH_NAMES},
        ),
        ("/{database}/-/embeddings/{collection}/labels.json", labels, label_names),
        ("/{database}/-/embeddings/{collection}/duplicates.json", search, pages_names),
        ("/{database}/-/embeddings/{collection}/outliers.json", search, pages_names),
        ("/-/embeddings/embed.json", embed, embed_names),
    ):
        get = document["paths"][path]["get"]
        get["parameters"] = [*_parameters(schema, names), *get["parameters"]]
    schemas = _closed(document["components"]["schemas"])
    schemas |= {"SearchRequest": search, "EmbedRequest": embed, "LabelsRequest": labels}
    schemas["ContextRequest"] = context
    return {**document, "components": {**document["components"], "schemas": schemas}}


def _parameters(schema: dict[str, Any], names: Mapping[str, str]) -> list[Any]:
    """The parameters of a query string, called *names*, that set fields of *schema*."""
    return [
        {
            "name": name,
            "in": "query",
            "description": schema["properties"][field].get("description", ""),
            "allowEmptyValue": name.startswith("_"),
            "schema": schema["properties"][field]["anyOf"][0],
            **({"required": True} if field in schema.get("required", ()) else {}),
        }
        for name, field in names.items()
    ]


def _closed(part: Any) -> Any:  # noqa: ANN401 - any JSON
    """*part* of the schemas, whose objects have all their properties and no others."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: _closed(each) for key, each in part.items()}
    if "properties" not in found:
        return found
    closed = {"type": "object", "additionalProperties": False}
    return {**closed, "required": [*found["properties"]], **found}
