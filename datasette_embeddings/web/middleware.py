"""Around every view: its methods, its body, its faults, and clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.serving.limiter import limiter_of
from datasette_embeddings.web.http_errors import (
    ClientDisconnectedError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    PayloadTooLargeError,
    RequestTimeoutError,
    headers_of,
    status_of,
)
from datasette_embeddings.web.responses import (
    MESSAGES,
    cors_headers,
    error_response,
    is_own_post,
)
from datasette_embeddings.web.server import checked_config

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

#: What answers a request, given the body of a POST
View: TypeAlias = Callable[..., Coroutine[Any, Any, "Response"]]
#: The same as Datasette calls it
Handler: TypeAlias = Callable[..., Awaitable["Response"]]

# A client that takes longer to send its body is not waited for
BODY_TIMEOUT_S = 30.0
READS = ("GET", "HEAD")


def queued(view: View) -> View:
    """*view*, of which only so many are answered at once; others wait for their turn.

    :raises ServerBusyError: if too many wait already.
    """

    async def in_turn(datasette: Datasette, request: Request, *body: bytes) -> Response:
        config = checked_config(datasette)
        async with limiter_of(config).slot():
            return await view(datasette, request, *body)

    return in_turn


def json_view(*methods: str) -> Callable[[View], Handler]:
    """A view that answers *methods* in JSON, and whose faults have one shape."""

    def decorate(view: View) -> Handler:
        async def guarded(datasette: Datasette, request: Request) -> Response:
            try:
                if request.method == "OPTIONS":
                    return _options(datasette, request, methods)
                return await _answered(view, datasette, request, methods)
            except EmbeddingsError as problem:
                return error_response(
                    datasette,
                    request,
                    str(problem),
                    status=status_of(problem),
                    headers=headers_of(problem),
                )

        guarded.__doc__ = view.__doc__
        return guarded

    return decorate


def page_view(*methods: str) -> Callable[[View], Handler]:
    """A view that answers *methods* with a page, and so its faults."""

    def decorate(view: View) -> Handler:
        async def guarded(datasette: Datasette, request: Request) -> Response:
            from datasette import NotFound, Response

            try:
                return await _answered(view, datasette, request, methods)
            except NotFoundError as problem:
                raise NotFound(str(problem)) from problem
            except (ClientDisconnectedError, MethodNotAllowedError) as problem:
                return Response.text(
                    str(problem), status=status_of(problem), headers=headers_of(problem)
                )
            except EmbeddingsError as problem:
                return await _error_page(datasette, request, problem)

        guarded.__doc__ = view.__doc__
        return guarded

    return decorate


async def _error_page(
    datasette: Datasette, request: Request, problem: EmbeddingsError
) -> Response:
    """Datasette's own page of an error.

    The error is not raised: Datasette would print it with all variables if rich is
    installed, which takes time in proportion to what a visitor sent.
    """
    from datasette import Response

    status = status_of(problem)
    html = await datasette.render_template(
        [f"{status}.html", "error.html"],
        {"ok": False, "error": str(problem), "status": status, "title": None},
        request=request,
    )
    headers = {**cors_headers(datasette, request), **headers_of(problem)}
    return Response.html(html, status=status, headers=headers)


async def _answered(
    view: View, datasette: Datasette, request: Request, methods: tuple[str, ...]
) -> Response:
    if request.method not in methods:
        raise MethodNotAllowedError(methods, request.method)
    if request.method == "POST":
        if not is_own_post(request):
            raise ForbiddenError(MESSAGES[403])
        limit = checked_config(datasette).max_body_bytes
        work = view(datasette, request, await body_of(request, limit))
    else:
        work = view(datasette, request)
    return await while_connected(request, work)


def _options(
    datasette: Datasette, request: Request, methods: tuple[str, ...]
) -> Response:
    from datasette import Response

    headers = cors_headers(datasette, request)
    headers["Allow"] = ", ".join((*methods, "OPTIONS"))
    return Response("", status=200, headers=headers)


async def body_of(request: Request, limit: int) -> bytes:
    """The body of *request*, of at most *limit* bytes.

    :raises PayloadTooLargeError: for a larger one, before all of it is read.
    :raises RequestTimeoutError: for one that takes longer than BODY_TIMEOUT_S.
    :raises ClientDisconnectedError: if it never ends.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise PayloadTooLargeError(limit)
    try:
        return await asyncio.wait_for(_read(request, limit), BODY_TIMEOUT_S)
    except asyncio.TimeoutError as error:
        raise RequestTimeoutError(
            f"Expected the body within {BODY_TIMEOUT_S:.0f} seconds"
        ) from error


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError(
                "The client left before it had sent everything"
            )
        body += message.get("body", b"")
        if len(body) > limit:
            raise PayloadTooLargeError(limit)
        more = message.get("more_body", False)
    return bytes(body)


async def while_connected(
    request: Request, work: Coroutine[Any, Any, Response]
) -> Response:
    """What *work* gives; it is cancelled when the client leaves.

    :raises ClientDisconnectedError: then.
    """
    answering = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnectedError("The client left before the answer")
        return answering.result()
    finally:
        for task in (answering, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, EmbeddingsError):
                await task


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
