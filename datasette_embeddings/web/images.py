"""The images of items, served so that a browser runs nothing in them."""

from __future__ import annotations

import hashlib
from functools import partial

from datasette.app import Datasette
from datasette.utils import tilde_decode
from datasette.utils.asgi import Request, Response

from datasette_embeddings import images
from datasette_embeddings.errors import quoted
from datasette_embeddings.search.matches import item_image
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.http_errors import NotAnImageError, NotFoundError
from datasette_embeddings.web.middleware import cors_headers, page_view
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.urls import Address

# Seconds for which an image that every visitor may see is cached
MAX_AGE_S = 3_600
# In a database that does not change while it is served
IMMUTABLE_MAX_AGE_S = 86_400
# A browser shows the image and runs nothing in it
SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


@page_view()
async def image(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/image/{item}``"""
    target = await resolve_target(datasette, request)
    Address.of(request).check_names(())
    item_id = tilde_decode(request.url_vars["item"])
    content, etag = await target.read(partial(_content_and_etag, item_id))
    if content is None:
        raise NotFoundError(
            f"The item {quoted(item_id)} has no image here of at most "
            f"{images.MAX_BYTES:,} bytes"
        )
    media_type = images.media_type(content)
    if media_type is None:
        raise NotAnImageError(
            f"Expected an image ({', '.join(images.EXTENSIONS)}) for the item "
            f"{quoted(item_id)}, found other content"
        )
    headers = {
        **SAFETY,
        **cors_headers(datasette, request),
        "Cache-Control": _caching(datasette, request, target),
        "ETag": etag,
    }
    known = request.headers.get("if-none-match", "").replace("W/", "")
    if not {etag, "*"}.isdisjoint(each.strip() for each in known.split(",")):
        return Response(b"", status=304, headers=headers, content_type=media_type)
    headers["Content-Length"] = str(len(content))
    return Response(content, headers=headers, content_type=media_type)


def _content_and_etag(
    item_id: str, collection: StoredCollection
) -> tuple[bytes | None, str]:
    content = item_image(collection, item_id)
    return content, f'"{hashlib.sha256(content or b"").hexdigest()[:32]}"'


def _caching(datasette: Datasette, request: Request, target: Target) -> str:
    """Public caching of what every visitor may see; none for a signed-in actor."""
    if request.actor is not None:
        return "private, max-age=0, must-revalidate"
    immutable = is_immutable(datasette, target.database.name)
    return f"public, max-age={IMMUTABLE_MAX_AGE_S if immutable else MAX_AGE_S}"
