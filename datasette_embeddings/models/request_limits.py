"""Limits of requests to an endpoint: headers that may be sent, bytes, and time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datasette_embeddings import distribution

if TYPE_CHECKING:
    import httpx2

# The client adds others, some of them from environment variables for OpenAI, which are
# nothing to another host
SENT_HEADERS = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "host"}
)
# Events of httpcore2 after which data is read from a connection
CONNECTED = ("connect_tcp.complete", "start_tls.complete")


class RequestLimits(threading.local):
    """The limits of the request that this thread sends, however often it is repeated.

    :meth:`begin` and :meth:`read` are event hooks of httpx2.  Its own timeout is for
    each read, so an endpoint that sends byte by byte would never exceed it.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._max_bytes = 0
        self._timeout_s = self._all_end_at = self._ends_at = math.inf
        self._tries = 0

    def expect(self, max_bytes: int, timeout_s: float, *, is_urgent: bool) -> None:
        """Set the limits of the next request: of each try, or if urgent, of all."""
        self._max_bytes, self._timeout_s, self._tries = max_bytes, timeout_s, 0
        self._all_end_at = time.monotonic() + timeout_s if is_urgent else math.inf

    def tried(self) -> str:
        """How often the request was sent, for the end of a message."""
        return f" (sent {self._tries} times)" if self._tries > 1 else ""

    def begin(self, request: httpx2.Request) -> None:
        """Start a try: set its headers and its end."""
        headers = request.headers
        for name in set(headers) - SENT_HEADERS:
            del headers[name]
        headers["User-Agent"] = f"{distribution.NAME}/{distribution.version()}"
        # Vectors do not become smaller, and a small answer may become huge
        headers["Accept-Encoding"] = "identity"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        elif not request.url.username:
            headers.pop("Authorization", None)
        self._ends_at = min(time.monotonic() + self._timeout_s, self._all_end_at)
        self._time_left()
        self._tries += 1
        request.extensions["trace"] = self._trace

    def read(self, response: httpx2.Response) -> None:
        """Read an answer, and at most one byte more than it may have."""
        import httpx2

        body = bytearray()
        for part in response.stream:  # type: ignore[union-attr]  # it is synchronous
            body += part
            if len(body) > self._max_bytes:
                break
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx2.ByteStream(bytes(body[: self._max_bytes + 1]))
        # A compressed answer was not asked for, and is not decompressed
        response.headers.pop("Content-Encoding", None)
        if self._all_end_at < math.inf:
            # A caller waits, for less time than an endpoint may ask for
            for name in ("Retry-After", "Retry-After-Ms"):
                response.headers.pop(name, None)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Limit the reads of a new connection; the extension ``trace`` of httpcore2."""
        if not event.endswith(CONNECTED):
            return
        stream = info["return_value"]
        read = stream.read

        def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
            left = self._time_left()
            data: bytes = read(max_bytes, min(timeout or left, left))
            return data

        stream.read = read_in_time

    def _time_left(self) -> float:
        import httpx2

        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise httpx2.ReadTimeout("The whole answer took too long")
        return left
