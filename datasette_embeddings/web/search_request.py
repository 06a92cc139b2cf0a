"""What a request searches for: the same fields in a query string and a JSON body."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from datasette.utils import MultiParams, value_as_boolean

from datasette_embeddings import validation
from datasette_embeddings.config import DEFAULT_LIMIT, Config, Mode
from datasette_embeddings.errors import InvalidInputError, InvalidVectorError, quoted
from datasette_embeddings.search import scope
from datasette_embeddings.search.nearest import checked_query
from datasette_embeddings.validation import (
    AnyText,
    Checked,
    Expected,
    Flag,
    Text,
    validated,
    whole_number,
)
from datasette_embeddings.vectors import Vector, vector_of_numbers
from datasette_embeddings.web.filters import Filter, from_json
from datasette_embeddings.web.urls import is_special

# What can be searched for
QUERIES = ("text", "like", "vector", "image")
QUERY, LIKE = "q", "like"
#: Names in a query string, and the fields that they set; other names are columns
NAMES = {
    QUERY: "text",
    LIKE: "like",
    "_mode": "mode",
    "_as_typed": "as_typed",
    "_typing": "typing",
    "_size": "size",
    "_next": "next",
    "_min_score": "min_score",
    "_min_cosine": "min_cosine",
    "_prefix": "prefix",
    "_chunks": "chunks",
    "_cluster": "cluster",
    "_area": "area",
    "_facet": "facet",
    "_sort": "sort",
    "_sort_desc": "sort_desc",
}
FIELD_NAMES = {field_name: name for name, field_name in NAMES.items()}
# More than any model has: others are not worth reading
MOST_DIMENSIONS = 65_536


def number_of(text: object) -> int:
    """The whole number that *text* is in decimal digits.

    :raises ValueError: if it is anything else.
    """
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()):
        raise ValueError
    # Python reads at most 4,300 digits
    return int(text[:20])


def image_bytes(encoded: object) -> bytes:
    """The bytes of an image in base64, also behind ``data:image/png;base64,``.

    :raises ValueError: if they are not.
    """
    if not isinstance(encoded, str):
        raise ValueError
    text = encoded.partition(",")[2] if encoded.startswith("data:") else encoded
    if not text:
        raise ValueError
    return base64.b64decode(text, validate=True)


def _vector(numbers: object) -> Vector:
    if not isinstance(numbers, list) or len(numbers) > MOST_DIMENSIONS:
        raise ValueError
    try:
        return vector_of_numbers(numbers)
    except InvalidVectorError as error:
        raise InvalidInputError(f"vector: {error}") from error


QueryText: TypeAlias = Annotated[
    str, Expected("a text in UTF-8", component="QueryText", min_length=0)
]
Numbers: TypeAlias = Annotated[
    Any, Expected("a list of 1 to 65,536 numbers", read=_vector, component="Vector")
]
Image: TypeAlias = Annotated[
    bytes, Expected("an image in base64", read=image_bytes, component="Image")
]
Size: TypeAlias = Annotated[
    int,
    Expected("a whole number of at least 1", read=whole_number, component="Size", ge=1),
]
Next: TypeAlias = Annotated[
    int,
    Expected(
        "what an answer gave as next", read=number_of, component="Next", lt=10**18
    ),
]
Score: TypeAlias = Annotated[
    float,
    Expected(
        "a score from -1 to 1", component="Score", ge=-1, le=1, allow_inf_nan=False
    ),
]
Cosine: TypeAlias = Annotated[
    float,
    Expected(
        "a cosine from -1 to 1", component="Score", ge=-1, le=1, allow_inf_nan=False
    ),
]
ClusterFilter: TypeAlias = Annotated[
    tuple[Any, ...],
    Expected("clusters", read=scope.read_clusters, component="ClusterFilter"),
]
AreaFilter: TypeAlias = Annotated[
    tuple[Any, ...], Expected("an area", read=scope.read_area, component="AreaFilter")
]
Filters: TypeAlias = Annotated[
    tuple[Filter, ...],
    Expected("columns and values", read=from_json, component="Filters"),
]


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Checked):
    """One of `text`, `like`, `vector` and `image`, and options."""

    text: QueryText | None = None
    """What to search for."""
    like: AnyText | None = None
    """The id of an item whose nearest items to find; needs no model."""
    vector: Numbers | None = field(default=None, compare=False)
    """A vector to compare with."""
    image: Image | None = None
    """An image to search by."""
    mode: Annotated[Mode, Expected()] = "both"
    """What a text is searched by: words and meaning together, or one of them."""
    as_typed: Flag = False
    """Search for the words as they are typed, without corrected spelling."""
    typing: Flag = False
    """The visitor is still typing: the last word of the text may be a beginning."""
    size: Size = DEFAULT_LIMIT
    """How many matches at most."""
    next: Next = 0
    """The `next` of the previous answer."""
    min_score: Score | None = None
    """The lowest score of a match."""
    min_cosine: Cosine | None = None
    """The lowest cosine of a match; an error in a search by words alone."""
    prefix: AnyText = ""
    """Only items whose ids begin with it."""
    chunks: Annotated[Literal["best", "all"], Expected()] = "best"
    """In a chunked collection, the best chunk of each document or all chunks."""
    filters: Filters = ()
    """Conditions on columns of the source table, or on the metadata of items."""
    cluster: ClusterFilter = ()
    """Only items of these clusters: 3, several as "3,5", or none."""
    area: AreaFilter = ()
    """Only items in this area of the map: the corners x1, y1, x2, y2 and so on."""
    facet: Text | None = None
    """A column, or a key of the metadata, whose values to count."""
    sort: Text | None = None
    """A column, or a key of the metadata, by which the matches are shown."""
    sort_desc: Text | None = None
    """The same from its end; instead of the other."""

    @property
    def order(self) -> str | None:
        """The column by which the matches are shown, from either end."""
        return self.sort or self.sort_desc

    def to_json(self) -> Mapping[str, object]:
        """The request as an answer repeats it; without vectors and images."""
        given = {
            "text": self.text,
            "like": self.like,
            "mode": None if self.mode == "both" else self.mode,
            "as_typed": self.as_typed or None,
            "typing": self.typing or None,
            "min_score": self.min_score,
            "min_cosine": self.min_cosine,
            "prefix": self.prefix or None,
            "filters": [list(pair) for pair in self.filters] or None,
            "cluster": [each or scope.NO_CLUSTER for each in self.cluster] or None,
            "area": [number for corner in self.area for number in corner] or None,
            "sort": self.sort,
            "sort_desc": self.sort_desc,
        }
        return {name: value for name, value in given.items() if value is not None}


def from_args(
    args: MultiParams, config: Config, *, body: bytes | None = None
) -> SearchRequest:
    """The search of a query string, and of a *body* that holds an image."""
    given: dict[str, object] = {
        field_name: args[name]
        for name, field_name in NAMES.items()
        # The form sends empty fields; an empty text is a fault
        if args.get(name) or (name in args and name in (QUERY, LIKE))
    }
    if QUERY in args and LIKE in args:
        raise InvalidInputError("Expected either q or like, found both")
    for name in ("_cluster", "_area"):
        if name in args and NAMES[name] in given:
            given[NAMES[name]] = ",".join(args.getlist(name))
    facets = args.getlist("_facet")
    if len(facets) > 1:
        raise InvalidInputError(f"Expected one _facet, found {len(facets)}")
    if body is not None:
        image = validation.json_object(body)
        is_image = image.keys() == {"image"} and image["image"] is not None
        if not is_image or given.keys() & set(QUERIES):
            raise InvalidInputError(
                'Expected {"image": base64} for a body, and neither q nor like in the '
                "address"
            )
        given |= image
    if size := given.get("size"):
        with suppress(ValueError):
            given["size"] = config.max_size if size == "max" else number_of(size)
    for name in ("min_score", "min_cosine"):
        with suppress(ValueError):
            given[name] = float(args.get(FIELD_NAMES[name]) or "")
    for name in ("as_typed", "typing"):
        with suppress(ValueError):
            given[name] = value_as_boolean(args.get(FIELD_NAMES[name]) or "")
    request = checked(given, config, FIELD_NAMES)
    return replace(request, filters=filters_of(args))


def from_body(body: bytes, config: Config) -> SearchRequest:
    """The search of a JSON body."""
    given = validation.json_object(body)
    queries = [name for name in QUERIES if given.get(name) is not None]
    if len(queries) != 1:
        found = ", ".join(queries) or "none"
        raise InvalidInputError(f"Expected one of {', '.join(QUERIES)}; found {found}")
    return checked(given, config)


def filters_of(args: MultiParams) -> tuple[Filter, ...]:
    """The filters of a query string, as Datasette tells them from other names."""
    return tuple(
        (name, value)
        for name in args
        if name not in (QUERY, LIKE) and not is_special(name)
        for value in args.getlist(name)
    )


def checked(
    given: Mapping[str, object],
    config: Config,
    names: Mapping[str, str] = MappingProxyType({}),
) -> SearchRequest:
    """The search of the fields *given*, which *names* have in the request."""
    request = validated(SearchRequest, given, names=names)
    if given.get("size") is None:
        request = replace(request, size=min(DEFAULT_LIMIT, config.max_size))
    if request.sort is not None and request.sort_desc is not None:
        shown = [names.get(name, name) for name in ("sort", "sort_desc")]
        raise InvalidInputError(f"Expected either {' or '.join(shown)}, found both")
    if request.text is not None:
        checked_query(request.text, max_length=config.max_query_length)
    if request.size > config.max_size:
        raise InvalidInputError(
            f"{names.get('size', 'size')}: expected at most {config.max_size:,}, "
            f"found {quoted(request.size)}"
        )
    return request
