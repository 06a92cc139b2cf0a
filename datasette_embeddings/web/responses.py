"""What goes back to a client, alike on both versions."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datasette_embeddings.serving.sql_errors import collected_reasons, reasons

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

# What of ours takes a POST: of that, and the search page
POST_PATHS = re.compile(
    r"/-/embeddings/(embed\.json|v1/embeddings)$|/[^/.]+/-/embeddings/[^/.]+(\.json)?$"
)
# Methods whose answers other sites may read, where Datasette lets them
SHARED_METHODS = ("GET", "HEAD", "OPTIONS")
# Where Datasette, before us or behind, does not answer in JSON
MESSAGES = {
    401: "The token is not valid here",
    403: "Refused: a POST must come from a page of this Datasette or from no browser, "
    "and with cookies it must be JSON (Content-Type: application/json)",
    404: "Not found",
    405: "This method is not allowed here",
    413: "The body of the request is too large",
    500: "Something went wrong in the server; its log says what",
}


def is_json_path(path: str) -> bool:
    """Whether *path* is one of this plugin that answers in JSON, also with a base_url.

    No pattern: one would look at a hostile path again from each target in it.
    """
    if "/-/embeddings/v1/" in path:
        return True
    is_ours = "/-/embeddings/" in path or path.endswith("/-/embeddings.json")
    return is_ours and path.endswith(".json")


def request_wrapper(app: Any) -> Any:  # noqa: ANN401 - an ASGI application
    """*app*, with reasons kept for each request and errors of our API in one shape."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        with collected_reasons():
            if scope["type"] == "http" and is_json_path(scope["path"]):
                await _with_json_errors(app, scope, receive, send)
            else:
                await app(scope, receive, send)

    return wrapped


async def _with_json_errors(app: Any, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
    errors = _JsonErrors(scope, send)
    try:
        await app(scope, receive, errors)
    except Exception as problem:
        if errors.has_answered:
            raise
        if _is_untold_404(problem):
            await errors.answer(404)
            return
        await errors.answer(500)
        raise


def _is_untold_404(problem: Exception) -> bool:
    """Whether Datasette failed to say that there is no such path.

    It does where rich is installed, which has no traceback to print then.
    """
    frames = traceback.extract_tb(problem.__traceback__)
    return any(frame.name == "handle_404" for frame in frames)


class _JsonErrors:
    """A ``send`` that puts an error of Datasette's own into the one shape of errors."""

    def __init__(self, scope: Mapping[str, Any], send: Any) -> None:  # noqa: ANN401
        self._scope = scope
        self._send = send
        self._start: dict[str, Any] | None = None
        self._body = b""
        self.has_answered = False

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and self._is_error(message):
            self._start = message
        elif self._start is None:
            self.has_answered = True
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    def _is_error(self, start: Mapping[str, Any]) -> bool:
        """Whether *start* begins an error, or leads to the HTML of one.

        A "%" in a path is read as one of "~" by Datasette, which no name of ours needs.
        """
        path = self._scope.get("raw_path") or b""
        return start["status"] >= 400 or (start["status"] == 302 and b"%" in path)

    async def _finish(self, start: Mapping[str, Any]) -> None:
        status = 404 if start["status"] == 302 else start["status"]
        await self.answer(status, start["headers"], self._body)

    async def answer(
        self, status: int, headers: Iterable[Sequence[bytes]] = (), body: bytes = b""
    ) -> None:
        """Send an error with what is left of *headers* and the reason in *body*."""
        replaced = [b"content-type", b"content-length", b"location"]
        if self._scope["method"] not in SHARED_METHODS:
            replaced.append(b"access-control-allow-origin")
        kept = [pair for pair in headers if pair[0].lower() not in replaced]
        kept.append([b"content-type", b"application/json; charset=utf-8"])
        start = {"type": "http.response.start", "status": status, "headers": kept}
        self.has_answered = True
        await self._send(start)
        body = _with_four_keys(body, status)
        await self._send({"type": "http.response.body", "body": body})


def _with_four_keys(body: bytes, status: int) -> bytes:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict) and "errors" in found:
        return body
    told = found.get("error") if isinstance(found, dict) else None
    message = str(told or MESSAGES.get(status, "The request cannot be answered"))
    return json.dumps(error_body(message, status)).encode()


def reasons_html() -> str | None:
    """Why SQL functions failed in this request, as a message on a page."""
    lines = [f'<p class="message-error">{escape(reason)}</p>' for reason in reasons()]
    return "".join(lines) or None


def json_response(
    datasette: Datasette,
    request: Request,
    body: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """*body* as JSON, readable for other sites where Datasette lets them."""
    from datasette import Response

    sent = {**cors_headers(datasette, request), **(headers or {})}
    return Response.json(body, status=status, headers=sent)


def cors_headers(datasette: Datasette, request: Request) -> dict[str, str]:
    """What lets other sites read the answer to a GET, where Datasette lets them."""
    from datasette.utils import add_cors_headers

    headers: dict[str, str] = {}
    if datasette.cors and request.method in SHARED_METHODS:
        add_cors_headers(headers)
    return headers


def error_body(message: str, status: int) -> dict[str, object]:
    """An error as 1.0 shapes it."""
    return {"ok": False, "error": message, "errors": [message], "status": status}


def error_response(
    datasette: Datasette,
    request: Request,
    message: str,
    *,
    status: int,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """:func:`error_body` on both versions."""
    body = error_body(message, status)
    return json_response(datasette, request, body, status=status, headers=headers)


def is_json_post(scope: Mapping[str, Any]) -> bool:
    """Whether this is JSON for one of ours, which no form of another site can send."""
    headers = dict(scope.get("headers") or ())
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    return bool(POST_PATHS.search(scope["path"]) and _is_json(content_type))


def is_own_post(request: Request) -> bool:
    """Whether no browser sent this POST from a page of another site.

    With cookies it is JSON as well.  1.0 checks the first itself, 0.65 the second.
    """
    headers = request.headers
    has_cookies = "cookie" in headers
    if has_cookies and not _is_json(headers.get("content-type", "")):
        return False
    if "authorization" in headers and not has_cookies:
        # No browser adds a token by itself
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or _host_of(origin) == headers.get("host")


def _host_of(origin: str) -> str:
    """The host and port in *origin*, "" where it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_json(content_type: str) -> bool:
    return content_type.lower().partition(";")[0].strip() == "application/json"
