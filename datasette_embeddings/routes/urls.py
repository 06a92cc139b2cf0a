"""The URL of a request with something changed, blank values kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from datasette.utils.asgi import Request


def pairs_of(request: Request) -> list[tuple[str, str]]:
    """The names and values of the query string, in their order."""
    return parse_qsl(request.query_string, keep_blank_values=True)


def with_args(
    request: Request, changed: Mapping[str, str | None], path: str | None = None
) -> str:
    """The path of *request*, or *path*, with other values for the names in *changed*.

    None takes a name away.
    """
    kept = [pair for pair in pairs_of(request) if pair[0] not in changed]
    new = [(name, value) for name, value in changed.items() if value is not None]
    return joined(path or request.path, [*kept, *new])


def without_pair(request: Request, pair: tuple[str, str]) -> str:
    """The path of *request* without one filter, on its first page."""
    kept = [each for each in pairs_of(request) if each != pair and each[0] != "_next"]
    return joined(request.path, kept)


def joined(path: str, pairs: Sequence[tuple[str, str]]) -> str:
    """*path* with *pairs* for a query string."""
    return f"{path}?{urlencode(pairs)}" if pairs else path
