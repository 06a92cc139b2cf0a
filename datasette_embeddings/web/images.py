"""The image that an item stands for, served so that nothing in it can do harm."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import TYPE_CHECKING

from datasette_embeddings import images
from datasette_embeddings.errors import quoted
from datasette_embeddings.search.matches import item_image
from datasette_embeddings.web import resolve
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.http_errors import NotAnImageError, NotFoundError
from datasette_embeddings.web.middleware import READS, cors_headers, page_view
from datasette_embeddings.web.resolve import Target, readable
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    import sqlite3

    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

# How long whoever needs no permission may keep an image without asking again
MAX_AGE_S = 3_600
# In a database that nobody changes while it is served
IMMUTABLE_MAX_AGE_S = 86_400
# Whatever a browser may take it for, it is shown and nothing else
SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
LONGEST_FILE_NAME = 100


@page_view(*READS)
async def image(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/image/{item}``"""
    from datasette import Response

    target = await resolve.resolve_target(datasette, request)
    Address.of(request).check_names(())
    item_id = resolve.decoded(request.url_vars["item"])
    async with readable(target.database):
        content, etag = await target.database.execute_fn(
            partial(_image_and_etag, target, item_id)
        )
    media_type = images.media_type(content)
    if media_type is None:
        raise NotAnImageError(
            f"What is stored for {quoted(item_id)} is no image that is served: "
            f"expected {', '.join(images.EXTENSIONS)}"
        )
    headers = {
        **SAFETY,
        **cors_headers(datasette, request),
        "Cache-Control": _caching(datasette, request, target),
        "ETag": etag,
    }
    if _has_it_already(request, etag):
        return Response(b"", status=304, headers=headers, content_type=media_type)
    headers["Content-Length"] = str(len(content))
    headers["Content-Disposition"] = _disposition(item_id, media_type)
    body = b"" if request.method == "HEAD" else content
    return Response(body, headers=headers, content_type=media_type)


def _image_and_etag(
    target: Target, item_id: str, conn: sqlite3.Connection
) -> tuple[bytes, str]:
    content = item_image(target.collection.bound_to(conn), item_id)
    if content is None:
        raise NotFoundError(
            f"The item {quoted(item_id)} has no image here of at most "
            f"{images.MAX_BYTES:,} bytes"
        )
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _caching(datasette: Datasette, request: Request, target: Target) -> str:
    """Who may keep it: everybody what a stranger was shown, else only who asked."""
    if request.actor is not None:
        return "private, max-age=0, must-revalidate"
    immutable = is_immutable(datasette, target.database.name)
    return f"public, max-age={IMMUTABLE_MAX_AGE_S if immutable else MAX_AGE_S}"


def _has_it_already(request: Request, etag: str) -> bool:
    asked = request.headers.get("if-none-match", "")
    known = {each.strip().removeprefix("W/") for each in asked.split(",")}
    return not known.isdisjoint({etag, "*"})


def _disposition(item_id: str, media_type: str) -> str:
    """A name to save it under, of letters that no file system minds."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", item_id)[:LONGEST_FILE_NAME].strip("-")
    extension = images.EXTENSIONS[media_type]
    name = name.removesuffix(f"-{extension[1:]}")
    return f'inline; filename="{name or "image"}{extension}"'
