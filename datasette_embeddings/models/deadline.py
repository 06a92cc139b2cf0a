"""A time limit for a whole request; httpx2 only limits each single read."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Events after which data is read from a connection
CONNECTED = ("connect_tcp.complete", "start_tls.complete")


class Deadline(threading.local):
    """The time at which the request of this thread ends, however slow the answer is.

    An endpoint that sends a header byte by byte, or endless interim responses, never
    exceeds the timeout of a single read.
    """

    at = math.inf

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Let reads in the block fail *seconds* after its beginning."""
        self.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self.at = math.inf

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Limit the reads of a new connection, as httpcore2's extension ``trace``."""
        if not event.endswith(CONNECTED):
            return
        import httpx2

        stream = info["return_value"]
        read = stream.read

        def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
            left = self.at - time.monotonic()
            if left <= 0:
                raise httpx2.ReadTimeout("The whole answer took too long")
            found: bytes = read(max_bytes, min(timeout or left, left))
            return found

        stream.read = read_in_time
