"""Why SQL functions failed, kept for the page of the request in which they did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Why functions failed in the request that is being answered
_reasons: ContextVar[list[str] | None] = ContextVar("embeddings_reasons", default=None)


def report_reason(reason: str) -> None:
    """Keep why a function failed for the page that is being made, if any is."""
    reasons = _reasons.get()
    if reasons is not None and reason not in reasons:
        reasons.append(reason)


@contextmanager
def collected_reasons() -> Iterator[None]:
    """Within, :func:`reasons` tells why functions failed, to nobody else."""
    token = _reasons.set([])
    try:
        yield
    finally:
        _reasons.reset(token)


def reasons() -> list[str]:
    """Why functions failed in the request that is being answered."""
    return list(_reasons.get() or ())
