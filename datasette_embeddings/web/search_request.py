"""What a request asks: the same words in a query string and in a JSON body."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from datasette_embeddings.config import DEFAULT_LIMIT, Config
from datasette_embeddings.errors import InvalidInputError, InvalidVectorError, quoted
from datasette_embeddings.search.nearest import checked_limit, checked_query
from datasette_embeddings.vectors import vector_of_numbers
from datasette_embeddings.web.bodies import (
    check_keys,
    image_bytes,
    json_object,
    number_or_none,
    text_or_none,
    whole_number,
)
from datasette_embeddings.web.filters import Filter, from_json
from datasette_embeddings.web.urls import is_special

if TYPE_CHECKING:
    from datasette.utils import MultiParams

    from datasette_embeddings.vectors import Vector

# What a body may hold; the first four are what can be searched for
ASKED = ("text", "like", "vector", "image")
BODY_KEYS = (
    *ASKED,
    *("size", "next", "min_score", "prefix", "chunks", "filters", "facet"),
)
# A query string's own names; all others are columns
QUERY, LIKE = "q", "like"
# More than any model has: others are not worth reading
MOST_DIMENSIONS = 65_536
NAMES = (
    *(QUERY, LIKE),
    *("_size", "_next", "_min_score", "_prefix", "_chunks", "_facet"),
)


@dataclass(frozen=True)
class SearchRequest:
    """What to search for, one of the first four, and among what."""

    text: str | None = None
    like: str | None = None
    vector: Vector | None = field(default=None, compare=False)
    image: bytes | None = None
    size: int = DEFAULT_LIMIT
    #: How many matches come before those that are asked for
    offset: int = 0
    min_score: float | None = None
    prefix: str = ""
    all_chunks: bool = False
    filters: tuple[Filter, ...] = ()
    facet: str | None = None

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to search for."""
        asked = (self.text, self.like, self.vector, self.image)
        return any(each is not None for each in asked)

    @property
    def needs_model(self) -> bool:
        """Whether what is searched for is no vector yet."""
        return self.text is not None or self.image is not None


def from_args(args: MultiParams, config: Config) -> SearchRequest:
    """The question of a query string.

    :raises InvalidInputError: for one that cannot be answered.
    """
    text, like = args.get(QUERY), args.get(LIKE)
    if text is not None and like is not None:
        raise InvalidInputError("Expected either q or like, found both")
    return SearchRequest(
        text=text if text is None else _checked_text(text, config),
        like=like,
        size=size_of(args, config),
        offset=checked_offset("_next", args.get("_next") or None),
        min_score=_score("_min_score", args.get("_min_score") or None),
        prefix=args.get("_prefix") or "",
        all_chunks=_all_chunks("_chunks", args.get("_chunks") or None),
        filters=filters_of(args),
        facet=_one("_facet", args.getlist("_facet")),
    )


def with_image(args: MultiParams, body: bytes, config: Config) -> SearchRequest:
    """The question of a query string that asks nothing yet: the image of a JSON body.

    :raises InvalidInputError: for one that cannot be answered.
    """
    asked = json_object(body)
    image = image_bytes(asked.pop("image", None))
    question = from_args(args, config)
    if image is None or asked or question.is_asked:
        raise InvalidInputError(
            'Expected {"image": base64} for a body, and neither q nor like in the '
            "address"
        )
    return replace(question, image=image)


def filters_of(args: MultiParams) -> tuple[Filter, ...]:
    """The filters of a query string, as Datasette tells them from other things."""
    return tuple(
        (name, value)
        for name in args
        if name not in (QUERY, LIKE) and not is_special(name)
        for value in args.getlist(name)
    )


def from_body(body: bytes, config: Config) -> SearchRequest:
    """The question of a JSON body.

    :raises InvalidInputError: for one that cannot be answered.
    """
    asked = json_object(body)
    check_keys(asked, BODY_KEYS)
    given = [name for name in ASKED if asked.get(name) is not None]
    if len(given) != 1:
        raise InvalidInputError(
            f"Expected one of {', '.join(ASKED)}; found {', '.join(given) or 'none'}"
        )
    text = text_or_none("text", asked.get("text"))
    size = whole_number("size", asked.get("size"))
    return SearchRequest(
        text=None if text is None else _checked_text(text, config),
        like=text_or_none("like", asked.get("like")),
        vector=_vector(asked.get("vector")),
        image=image_bytes(asked.get("image")),
        size=checked_limit(
            default_size(config) if size is None else size, max_limit=config.max_size
        ),
        offset=checked_offset("next", text_or_none("next", asked.get("next"))),
        min_score=_score(
            "min_score", number_or_none("min_score", asked.get("min_score"))
        ),
        prefix=text_or_none("prefix", asked.get("prefix")) or "",
        all_chunks=_all_chunks("chunks", asked.get("chunks")),
        filters=() if asked.get("filters") is None else from_json(asked["filters"]),
        facet=text_or_none("facet", asked.get("facet")),
    )


def size_of(args: MultiParams, config: Config) -> int:
    """The ``_size`` of a query string; "max" is the largest, as on Datasette's pages.

    :raises InvalidInputError: if it is no size.
    """
    size = args.get("_size")
    if size == "max":
        return config.max_size
    return checked_limit(size or default_size(config), max_limit=config.max_size)


def default_size(config: Config) -> int:
    """How many matches a request without a size gets."""
    return min(DEFAULT_LIMIT, config.max_size)


def _checked_text(text: str, config: Config) -> str:
    return checked_query(text, max_length=config.max_query_length)


def _vector(numbers: object) -> Vector | None:
    if numbers is None:
        return None
    if isinstance(numbers, list) and len(numbers) > MOST_DIMENSIONS:
        raise InvalidInputError(
            f"Expected a vector of at most {MOST_DIMENSIONS:,} dimensions, "
            f"found {len(numbers):,}"
        )
    try:
        return vector_of_numbers(numbers)
    except InvalidVectorError as error:
        raise InvalidInputError(str(error)) from error


def checked_offset(name: str, value: str | None) -> int:
    """How many matches to leave out; the token of a next page is that number."""
    if value is None:
        return 0
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise InvalidInputError(
            f"Expected for {name} what an answer gave as next, found {quoted(value)}"
        )
    return int(value)


def _score(name: str, value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        score = float(value)
    except (ValueError, OverflowError):
        score = math.nan
    if not -1 <= score <= 1:
        raise InvalidInputError(
            f"Expected for {name} a score from -1 to 1, found {quoted(value)}"
        )
    return score


def _all_chunks(name: str, value: object) -> bool:
    """Whether every chunk is asked for and not only each document's best."""
    if value not in (None, "best", "all"):
        raise InvalidInputError(
            f"Expected {name}=best or {name}=all, found {quoted(value)}"
        )
    return value == "all"


def _one(name: str, values: list[str]) -> str | None:
    if len(values) > 1:
        raise InvalidInputError(f"Expected one {name}, found {len(values)}")
    return (values[0] or None) if values else None


def asked_for(question: SearchRequest) -> Mapping[str, object]:
    """*question* as an answer repeats it; a vector or a picture is not."""
    given: dict[str, object] = {
        "text": question.text,
        "like": question.like,
        "min_score": question.min_score,
        "prefix": question.prefix or None,
        "filters": [list(pair) for pair in question.filters] or None,
    }
    return {name: value for name, value in given.items() if value is not None}
