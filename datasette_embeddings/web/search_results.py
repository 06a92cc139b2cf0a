"""The response to a search, as the page and the JSON API show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasette_embeddings.config import Mode
from datasette_embeddings.index.cache import Index
from datasette_embeddings.search.matches import Match
from datasette_embeddings.web.filters import Facet
from datasette_embeddings.web.resolve import Target
from datasette_embeddings.web.search_request import SearchRequest


@dataclass(frozen=True)
class SearchResponse:
    """The matches of *request* in *target*, a collection of *count* items."""

    target: Target
    request: SearchRequest
    count: int
    matches: Sequence[Match] = ()
    #: What the matches were ranked by; None if nothing was searched for
    mode: Mode | None = None
    #: The text with other spelling, by which words were looked for
    corrected: str | None = None
    #: Whether a match is close to the text; None where that is not known
    close: bool | None = None
    #: The text has phrases or excluded words, so that not every item fits
    is_narrowed: bool = False
    #: The offset of the next page, if there is one
    next: int | None = None
    facet: Facet | None = None
    #: How many documents a cluster or area has, where they are listed; else None
    total: int | None = None
    #: What was searched; None if nothing was searched for
    index: Index | None = None
    #: Items whose vectors cannot be compared with the others
    left_out: int = 0
    #: The cross-encoder that ordered the best matches
    reranked: str | None = None
    #: Why the one of the settings did not
    not_reranked: str | None = None
