"""A collection as it is declared: in the configuration, or by a command's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from datasette_embeddings.config.readers import flag, number, settings, text

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SimilaritySettings:
    """How many others each document is to have, and how near they must be."""

    limit: int
    min_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """What goes into a collection; each field is named as its setting.

    One of *table*, *sql*, *input* and *files* says where rows come from.
    """

    table: str | None = None
    sql: str | None = None
    #: Other databases that *sql* reads: alias and path
    attach: Pairs = ()
    #: Path of a CSV, TSV, JSON or NDJSON file; "-" is the standard input
    input: str | None = None
    input_format: str | None = None
    #: Folder and glob
    files: Pairs = ()
    images: bool = False
    encodings: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    template: str | None = None
    strip_html: bool = False
    metadata: tuple[str, ...] = ()
    title: str | None = None
    prefix: str = ""
    chunk: str | None = None
    chunk_size: int | None = None
    chunk_overlap: int = 0
    model: str | None = None
    store: bool = False
    similarities: SimilaritySettings | None = None


def collections(value: object) -> Mapping[str, CollectionConfig]:
    """The collections that *value* declares, by name.

    :raises ValueError: saying what is wrong with the first that cannot be read.
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected collection names, each with its settings")
    declared = {str(name): _collection(str(name), each) for name, each in value.items()}
    return MappingProxyType(declared)


def _collection(name: str, value: object) -> CollectionConfig:
    given = settings(value, READERS, of=name, example="table: docs")
    return CollectionConfig(**given)  # type: ignore[arg-type]  # a reader a field


def _texts(value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(
        isinstance(each, str) for each in values
    ):
        raise ValueError("expected a name or a list of names")
    return tuple(values)


def _pairs(value: object) -> Pairs:
    if not isinstance(value, Mapping):
        raise ValueError("expected 'name: value' lines")
    return tuple((str(key), text(each)) for key, each in value.items())


def _similarities(value: object) -> SimilaritySettings:
    given: Mapping[str, Any] = value if isinstance(value, Mapping) else {"limit": value}
    limit, min_score = given.get("limit"), given.get("min_score")
    if set(given) <= {"limit", "min_score"} and type(limit) is int and limit >= 1:
        if min_score is None:
            return SimilaritySettings(limit)
        if type(min_score) in (int, float) and -1 <= min_score <= 1:
            return SimilaritySettings(limit, float(min_score))
    raise ValueError("expected a number of items, or 'limit: 10' and 'min_score: 0.5'")


READERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        "table": text,
        "sql": text,
        "attach": _pairs,
        "input": text,
        "input_format": text,
        "files": _pairs,
        "images": flag,
        "encodings": _texts,
        "id": _texts,
        "columns": _texts,
        "template": text,
        "strip_html": flag,
        "metadata": _texts,
        "title": text,
        "prefix": text,
        "chunk": text,
        "chunk_size": number,
        "chunk_overlap": number,
        "model": text,
        "store": flag,
        "similarities": _similarities,
    }
)
