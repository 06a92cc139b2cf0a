"""The images of items, served so that a browser runs nothing in them."""

from __future__ import annotations

from functools import partial

from datasette.app import Datasette
from datasette.utils import tilde_decode
from datasette.utils.asgi import Request, Response

from datasette_embeddings import images
from datasette_embeddings.errors import quoted
from datasette_embeddings.search.matches import item_image
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web.caching import cached, etag_of
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.http_errors import NotAnImageError, NotFoundError
from datasette_embeddings.web.middleware import page_view
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
    return cached(
        datasette,
        request,
        content,
        media_type,
        public=_caching(datasette, target),
        headers=SAFETY,
        etag=etag,
    )


def _content_and_etag(
    item_id: str, collection: StoredCollection
) -> tuple[bytes | None, str]:
    content = item_image(collection, item_id)
    return content, etag_of(content or b"")


def _caching(datasette: Datasette, target: Target) -> str:
    immutable = is_immutable(datasette, target.database.name)
    return f"max-age={IMMUTABLE_MAX_AGE_S if immutable else MAX_AGE_S}"
