"""A limit of time for a whole request, where httpx2 limits each read alone."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Events after which a connection is read from
CONNECTED = ("connect_tcp.complete", "start_tls.complete")


class Deadline(threading.local):
    """When the request of this thread is over, however slowly it is answered.

    An endpoint that sends a header letter by letter, or interim answers without end,
    never exceeds the time of a single read.
    """

    at = math.inf

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Within, reads fail *seconds* after the beginning."""
        self.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self.at = math.inf

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Limit the reads of a new connection; httpcore2's extension ``trace``."""
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
