"""Where a search page leads: its filters, facets and other pages, and its tidy URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.routes import filters, questions
from datasette_embeddings.routes.answers import Answer
from datasette_embeddings.routes.filters import Filter
from datasette_embeddings.routes.questions import Question
from datasette_embeddings.routes.urls import joined, pairs_of, with_args, without_pair

if TYPE_CHECKING:
    from datasette.utils.asgi import Request

# Fields of the form that are left out of the URL when nobody filled them in
OPTIONAL = ("_min_score", "_prefix", "_facet")
# What the form keeps of "more like this", for as long as nobody types a text
KEPT_LIKE = "_like"
FILTER_FIELDS = ("_filter_column", "_filter_op", "_filter_value")


@dataclass(frozen=True)
class Link:
    """A filter or a value of a facet on the page, and where it leads."""

    label: str
    path: str
    count: int = 0
    is_selected: bool = False
    #: What the form keeps of a filter
    pair: Filter = ("", "")


def filter_links(request: Request) -> list[Link]:
    """The filters of *request*, also those that will turn out to be wrong."""
    return [
        Link(_in_words(pair), without_pair(request, pair), pair=pair)
        for pair in questions.filters_of(request.args)
    ]


def _in_words(pair: Filter) -> str:
    try:
        return filters.in_words(pair) or "=".join(pair)
    except (ValueError, RecursionError):
        return "=".join(pair)


def facet_links(request: Request, answer: Answer) -> Sequence[Link]:
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
            without_pair(request, pair)
            if is_selected
            else joined(request.path, [*_first_page(request), pair])
        )
        links.append(Link(str(each.value), path, each.count, is_selected))
    return links


def _is_reserved(column: str) -> bool:
    return (
        column in (questions.QUERY, questions.LIKE)
        or "__" in column
        or questions.is_special(column)
    )


def _first_page(request: Request) -> list[tuple[str, str]]:
    return [pair for pair in pairs_of(request) if pair[0] != "_next"]


def next_path(request: Request, offset: int | None) -> str | None:
    """The page that begins at *offset*; None where there is none."""
    return None if offset is None else with_args(request, {"_next": str(offset)})


def previous_path(request: Request, question: Question) -> str | None:
    """The page before that of *question*; None where there is none."""
    if not question.offset:
        return None
    before = max(0, question.offset - question.size)
    return with_args(request, {"_next": str(before) if before else None})


def tidy_path(request: Request) -> str | None:
    """The URL to share where the form has sent fields for a filter, or empty ones."""
    from datasette.utils import filters_should_redirect

    has_fields = any(name in request.args for name in FILTER_FIELDS)
    empty = {name for name in OPTIONAL if request.args.get(name) == ""}
    if not has_fields and not empty and KEPT_LIKE not in request.args:
        return None
    changed = [(name, value) for name, value in filters_should_redirect(request.args)]
    # An empty box of the form asks nothing; in a URL written by hand it is a fault
    kept = [
        pair
        for pair in pairs_of(request)
        if pair[0] not in {*empty, *FILTER_FIELDS, KEPT_LIKE}
        and pair != (questions.QUERY, "")
    ]
    added = [(name, value) for name, value in changed if value is not None]
    return joined(request.path, [*_kept_like(request), *kept, *added])


def _kept_like(request: Request) -> list[tuple[str, str]]:
    like = request.args.get(KEPT_LIKE)
    is_asked = request.args.get(questions.QUERY) or questions.LIKE in request.args
    return [] if like is None or is_asked else [(questions.LIKE, like)]
