"""What a request asks of an axis: its ends, a place on it, and how much to answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from datasette.utils import MultiParams

from datasette_embeddings.analysis.axes import End, texts_of
from datasette_embeddings.config import DEFAULT_LIMIT, Config
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.web.search_request import number_of

# The ends of the first axis, and of the second
ENDS = (("low", "high"), ("low2", "high2"))
PLACES = ("at", "at2")
#: Everything that does not begin with "_"
FIELDS = (
    *PLACES,
    *(f"{end}{kind}" for pair in ENDS for end in pair for kind in ("", "_item")),
)
SIZE, POINTS = "_size", "_points"
#: Points of a map that an answer has at most
MOST_POINTS = 5_000
# No document is farther: the ends would have to mean the same
FARTHEST = 10_000.0


@dataclass(frozen=True)
class AxisRequest:
    """One axis or two, each between two ends."""

    axes: tuple[tuple[End, End], ...]
    #: A place on each axis, whose nearest documents are asked for; none: ()
    at: tuple[float, ...] = ()
    #: How many documents of each end, and how many near a place
    size: int = DEFAULT_LIMIT
    #: How many documents of a fair sample
    points: int = 0


def is_asked(args: MultiParams) -> bool:
    """Whether the query string *args* names any end."""
    return any(_values(args, name) for pair in ENDS for name in _names(*pair))


def from_args(args: MultiParams, config: Config) -> AxisRequest:
    """The axes of a query string.

    Texts of an end have at most ``max_query_length`` characters together.
    """
    first, second = ENDS
    axes = [_axis(args, config, *first)]
    if any(_values(args, name) for name in _names(*second)):
        axes.append(_axis(args, config, *second))
    # The form sends empty fields
    places = [_place(args, name) for name in PLACES[: len(axes)]]
    at = tuple(place or 0.0 for place in places)
    size = args.get(SIZE) or str(min(DEFAULT_LIMIT, config.max_size))
    return AxisRequest(
        tuple(axes),
        at if places != [None] * len(axes) else (),
        _number(SIZE, str(config.max_size) if size == "max" else size, config.max_size),
        _number(POINTS, args.get(POINTS) or "0", MOST_POINTS, least=0),
    )


def field(args: MultiParams, name: str) -> str:
    """The texts of the end *name* as a field of one line, to be read again."""
    values = _values(args, name)
    try:
        texts = [text.strip() for value in values for text in texts_of(value)]
    except InvalidInputError:
        return values[0]
    texts = [text for text in texts if text]
    if any(text.startswith("[") or "," in text for text in texts):
        return json.dumps(texts, ensure_ascii=False)
    return ", ".join(texts)


def _names(*ends: str) -> list[str]:
    return [name for end in ends for name in (end, f"{end}_item")]


def _values(args: MultiParams, name: str) -> list[str]:
    return [value for value in args.getlist(name) if value]


def _axis(args: MultiParams, config: Config, *ends: str) -> tuple[End, End]:
    low, high = (_end(args, config, name) for name in ends)
    return low, high


def _end(args: MultiParams, config: Config, name: str) -> End:
    values, most = _values(args, name), config.max_query_length
    length = sum(map(len, values))
    if length > most:
        raise InvalidInputError(
            f"{name}: expected texts of at most {most:,} characters together, found "
            f"{length:,}"
        )
    texts = [text for value in values for text in texts_of(value)]
    return End.of(name, texts, _values(args, f"{name}_item"))


def _place(args: MultiParams, name: str) -> float | None:
    text = args.get(name)
    if not text:
        return None
    try:
        place = float(text)
    except ValueError:
        place = math.nan
    if not abs(place) <= FARTHEST:
        raise InvalidInputError(f"{name}: expected a position, found {quoted(text)}")
    return place


def _number(name: str, text: str, most: int, *, least: int = 1) -> int:
    try:
        number = number_of(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise InvalidInputError(
            f"{name}: expected a whole number from {least} to {most:,}, found "
            f"{quoted(text)}"
        )
    return number
