"""Where a search page leads: its filters, facets and other pages, and its tidy URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.web import filters, search_request
from datasette_embeddings.web.filters import Filter
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_response import SearchResponse
from datasette_embeddings.web.urls import Address, is_special, joined

if TYPE_CHECKING:
    from datasette.utils import MultiParams

# Fields of the form that are left out of the URL when nobody filled them in
OPTIONAL = ("_min_score", "_prefix", "_facet")
# What the form keeps of "more like this", for as long as nobody types a text
KEPT_LIKE = "_like"
FILTER_FIELDS = ("_filter_column", "_filter_op", "_filter_value")
# What only the form sends
FORM_NAMES = (KEPT_LIKE, *FILTER_FIELDS)
# Conditions that a page names, each with a link that takes it away
SHOWN_FILTERS = 20


@dataclass(frozen=True)
class Link:
    """A filter or a value of a facet on the page, and where it leads."""

    label: str
    path: str
    count: int = 0
    is_selected: bool = False


def filter_links(address: Address) -> list[Link]:
    """The first filters of *address*, also those that will turn out to be wrong."""
    shown = search_request.filters_of(address.args)[:SHOWN_FILTERS]
    return [Link(_in_words(pair), address.without_filter(pair)) for pair in shown]


def _in_words(pair: Filter) -> str:
    try:
        return filters.in_words(pair) or "=".join(pair)
    except (ValueError, RecursionError):
        return "=".join(pair)


def facet_links(address: Address, answer: SearchResponse) -> Sequence[Link]:
    """The values of the facet of *answer*, each a filter to set or to take away."""
    if answer.facet is None:
        return []
    column = answer.facet.column
    # A column whose name the page uses itself is reached by its comparison
    name = f"{column}__exact" if _is_reserved(column) else column
    links = []
    for each in answer.facet.values:
        pair = (name, str(each.value))
        is_selected = pair in answer.question.filters
        path = (
            address.without_filter(pair) if is_selected else address.with_filter(pair)
        )
        links.append(Link(str(each.value), path, each.count, is_selected))
    return links


def _is_reserved(column: str) -> bool:
    return (
        column in (search_request.QUERY, search_request.LIKE)
        or "__" in column
        or is_special(column)
    )


def next_path(address: Address, offset: int | None) -> str | None:
    """The page that begins at *offset*; None where there is none."""
    return None if offset is None else address.with_args({"_next": str(offset)})


def previous_path(address: Address, question: SearchRequest) -> str | None:
    """The page before that of *question*; None where there is none."""
    if not question.next:
        return None
    before = max(0, question.next - question.size)
    return address.with_args({"_next": str(before) if before else None})


def tidy_path(address: Address) -> str | None:
    """The URL to share where the form has sent fields for a filter, or empty ones."""
    from datasette.utils import filters_should_redirect

    args = address.args
    added = [
        (name, value)
        for name, value in filters_should_redirect(args)
        if value is not None
    ]
    left_out = {name for name in OPTIONAL if args.get(name) == ""}
    left_out.update(name for name in FORM_NAMES if name in args)
    if not left_out:
        return None
    # An empty box of the form asks nothing; in a URL written by hand it is a fault
    kept = [
        pair
        for pair in address.pairs
        if pair[0] not in left_out and pair != (search_request.QUERY, "")
    ]
    return joined(address.path, [*_kept_like(args), *kept, *added])


def _kept_like(args: MultiParams) -> list[tuple[str, str]]:
    like = args.get(KEPT_LIKE)
    is_asked = args.get(search_request.QUERY) or search_request.LIKE in args
    return [] if like is None or is_asked else [(search_request.LIKE, like)]
