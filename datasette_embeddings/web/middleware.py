"""Around every view: methods, the body, the limit on requests, errors and CORS."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.utils import MultiParams, add_cors_headers
from datasette.utils.asgi import NotFound, Request, Response

from datasette_embeddings import errors
from datasette_embeddings.databases import explained
from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, quoted
from datasette_embeddings.web import http_errors
from datasette_embeddings.web.server import config_of

#: What answers a request, given the body of a POST
View: TypeAlias = Callable[..., Awaitable["Response"]]
#: Of an answer in JSON
Body: TypeAlias = dict[str, Any]
Result = TypeVar("Result")

READS = ("GET", "HEAD")
# The parameter of Datasette's shapes: the answer itself, and the list in it
SHAPE, SHAPES = "_shape", ("objects", "array")
# What takes a POST: the embedding API, the search page, that of labels, contexts
POST_PATHS = re.compile(
    r"/-/embeddings/(embed\.json|v1/embeddings)$"
    r"|/[^/.]+/-/embeddings/[^/.]+((/labels)?(\.json)?|/context\.json)$"
)
FOREIGN_POST = (
    "Refused: a POST must come from a page of this Datasette or from no browser, and "
    "with cookies it must be JSON (Content-Type: application/json)"
)
logger = logging.getLogger("datasette_embeddings")


def json_view(*methods: str, limited: bool = False) -> Callable[[View], View]:
    """A view that answers with JSON, and errors with one shape of JSON.

    It takes *methods*, or GET and HEAD if none are named.  Of *limited* views,
    ``max_searches`` run at a time and ``max_waiting`` wait.
    """
    return partial(_guarded, methods or READS, limited, _json_error)


def page_view(*methods: str, limited: bool = False) -> Callable[[View], View]:
    """:func:`json_view` for pages: errors are shown on Datasette's page of errors."""
    return partial(_guarded, methods or READS, limited, _error_page)


def _guarded(
    methods: tuple[str, ...], is_limited: bool, error_response: View, view: View
) -> View:
    async def handle(datasette: Datasette, request: Request) -> Response:
        try:
            if request.method == "OPTIONS":
                headers = {"Allow": ", ".join((*methods, "OPTIONS"))}
                headers |= cors_headers(datasette, request)
                return Response("", headers=headers)
            if request.method not in methods:
                raise http_errors.MethodNotAllowedError(methods, request.method)
            arguments: list[Any] = [datasette, request]
            if request.method == "POST":
                if not is_own_post(request):
                    raise http_errors.ForbiddenError(FOREIGN_POST)
                limit = config_of(datasette).max_body_bytes
                arguments.append(await read_body(request, limit))
            if not is_limited:
                return await view(*arguments)
            return await limited(datasette, view, *arguments)
        except Exception as error:
            expected = _expected(request, error)
            return await error_response(datasette, request, expected)

    handle.__doc__ = view.__doc__
    return handle


def _expected(request: Request, error: Exception) -> EmbeddingsError:
    """*error* for the visitor; one that is not expected is described only in the log.

    Unexpected errors do not reach Datasette, which prints them with all variables if
    rich is installed: that takes time in proportion to what a visitor sent.
    """
    if isinstance(error, EmbeddingsError):
        return error
    if isinstance(error, sqlite3.DatabaseError):
        name = request.url_vars.get("database", "A database")
        return explained(error, Path(name))
    logger.error("A request failed", exc_info=error)
    return EmbeddingsError("Something went wrong in the server; its log says what")


async def read_body(request: Request, limit: int) -> bytes:
    """The body of *request*; one of more than *limit* bytes is not read to its end."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    body, more = bytearray(), True
    while more and size <= limit:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidInputError("The client disconnected before the body ended")
        body += message.get("body", b"")
        size, more = len(body), message.get("more_body", False)
    if size > limit:
        raise http_errors.PayloadTooLargeError(
            f"Expected a body of at most {limit:,} bytes; it has more"
        )
    return bytes(body)


class Limiter:
    """Lets *at_once* requests run, and *waiting* more wait for their turn."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self.at_once, self.most_waiting = at_once, waiting
        self.slots, self.waiting = asyncio.Semaphore(at_once), 0


_limiters: WeakKeyDictionary[Datasette, Limiter] = WeakKeyDictionary()


async def limited(
    datasette: Datasette, work: Callable[..., Awaitable[Result]], *arguments: object
) -> Result:
    """What *work* returns, one of the ``max_searches`` that run at a time.

    :raises ServerBusyError: if ``max_waiting`` wait already.
    """
    if datasette not in _limiters:
        config = config_of(datasette)
        _limiters[datasette] = Limiter(config.max_searches, config.max_waiting)
    limiter = _limiters[datasette]
    if limiter.slots.locked() and limiter.waiting >= limiter.most_waiting:
        raise errors.ServerBusyError(limiter.at_once, limiter.most_waiting)
    limiter.waiting += 1
    try:
        await limiter.slots.acquire()
    finally:
        limiter.waiting -= 1
    try:
        return await work(*arguments)
    finally:
        limiter.slots.release()


# Responses


def shaped(
    datasette: Datasette, request: Request, args: MultiParams, body: Body, rows: str
) -> Response:
    """*body*, or with ``_shape=array`` the list ``body[rows]``, as JSON."""
    shape = args.get(SHAPE) or SHAPES[0]
    if shape not in SHAPES:
        raise InvalidInputError(
            f"{SHAPE}: expected one of {', '.join(SHAPES)}, found {quoted(shape)}"
        )
    found = body if shape == SHAPES[0] else body[rows]
    return Response.json(found, headers=cors_headers(datasette, request))


def cors_headers(datasette: Datasette, request: Request) -> dict[str, str]:
    """The headers that let other sites read the response to a GET, with ``--cors``."""
    headers: dict[str, str] = {}
    if datasette.cors and request.method in (*READS, "OPTIONS"):
        add_cors_headers(headers)
    return headers


async def _json_error(
    datasette: Datasette, request: Request, error: EmbeddingsError
) -> Response:
    """An error in the shape of Datasette 1.0, on both versions."""
    message, status = str(error), http_errors.status_of(error)
    # A request may have several faults; the message joins them
    faults = list(getattr(error, "faults", ())) or [message]
    body = {"ok": False, "error": message, "errors": faults, "status": status}
    headers = {**cors_headers(datasette, request), **http_errors.headers_of(error)}
    return Response.json(body, status=status, headers=headers)


async def _error_page(
    datasette: Datasette, request: Request, error: EmbeddingsError
) -> Response:
    if isinstance(error, http_errors.NotFoundError):
        # Datasette redirects some of these to the right path
        raise NotFound(str(error)) from error
    status = http_errors.status_of(error)
    html = await datasette.render_template(
        [f"{status}.html", "error.html"],
        {"ok": False, "error": str(error), "status": status, "title": None},
        request=request,
    )
    headers = {**cors_headers(datasette, request), **http_errors.headers_of(error)}
    return Response.html(html, status=status, headers=headers)


# Requests from other sites


def is_json_post(scope: Mapping[str, Any]) -> bool:
    """Whether this is JSON for one of our paths, which no form can send."""
    is_ours = POST_PATHS.search(scope["path"]) is not None
    return is_ours and _is_json(Request(scope, None).headers)


def is_own_post(request: Request) -> bool:
    """Whether no browser sent this POST from a page of another site.

    With cookies it is JSON as well.  1.0 checks the first itself, 0.65 the second.
    """
    headers = request.headers
    has_cookies = "cookie" in headers
    if has_cookies and not _is_json(headers):
        return False
    if "authorization" in headers and not has_cookies:
        # No browser adds a token by itself
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    with suppress(ValueError):
        return bool(urlsplit(origin).netloc == headers.get("host"))
    return False


def _is_json(headers: Mapping[str, str]) -> bool:
    content_type = headers.get("content-type", "")
    return content_type.lower().partition(";")[0].strip() == "application/json"
