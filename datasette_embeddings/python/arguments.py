"""The arguments of the verbs, as the rest of the package takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from datasette_embeddings.analysis.axes import End
from datasette_embeddings.config import MODES
from datasette_embeddings.documents import NO_CHUNKS, Chunking, Content, Document
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.models.base import check_utf8
from datasette_embeddings.search.nearest import Options, checked_limit
from datasette_embeddings.search.scope import Scope, read_clusters
from datasette_embeddings.search.selecting import items_where
from datasette_embeddings.store.collections import StoredCollection

#: An item id; a number stands for its text, as a primary key does
Id: TypeAlias = str | int
#: Id, content and perhaps metadata, or a mapping with these names and ``title``
Entry: TypeAlias = (
    "tuple[Id, Content | None] "
    "| tuple[Id, Content | None, Mapping[str, object] | None] "
    "| Mapping[str, Any]"
)
#: A cluster, several, or "none" for what is in no cluster
Cluster: TypeAlias = "int | str | Sequence[int | str]"
ENTRY_NAMES = ("id", "content", "metadata", "title")
# Characters; a model reads only the beginning
LONGEST_QUERY = 1_000_000
LARGEST_OFFSET = 10**9


def id_text(item_id: object) -> str:
    """*item_id* as text."""
    if isinstance(item_id, bool) or not isinstance(item_id, str | int):
        raise InvalidInputError(
            f"Expected an id, a text or a whole number; found {quoted(item_id)}"
        )
    try:
        text = str(item_id)
    except ValueError as error:  # of a number of thousands of digits
        raise InvalidInputError(f"Expected an id, a text: {error}") from error
    check_utf8([text])
    return text


def checked_name(name: object) -> str:
    """*name*, if it is a text as names of collections are."""
    if not isinstance(name, str):
        raise InvalidInputError(
            f"Expected the name of a collection, a text; found {quoted(name)}"
        )
    check_utf8([name])
    return name


def checked_many(values: object, what: str) -> Iterable[Any]:
    """*values*, if there may be several of them."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidInputError(f"Expected {what}, found {quoted(values)}")
    return values


def axis_end(name: str, texts: str | Iterable[str], items: Iterable[Id]) -> End:
    """The end of an axis called *name*, its arguments checked."""
    if not isinstance(texts, str):
        texts = [*checked_many(texts, f"the texts of {name}, a list or a text")]
        for each in texts:
            if not isinstance(each, str):
                raise InvalidInputError(
                    f"Expected texts for {name}, found {quoted(each)}"
                )
    check_utf8([texts] if isinstance(texts, str) else texts)
    ids = checked_many(items, f"a list of ids for {name}_items")
    return End.of(name, texts, [id_text(each) for each in ids])


def document_of(
    item_id: Id,
    content: Any,  # noqa: ANN401 - checked when it is embedded
    metadata: Mapping[str, object] | None = None,
    title: str | None = None,
) -> Document:
    """A document of these parts; the title becomes one of its metadata."""
    if title is not None:
        metadata = {**(metadata or {}), "title": title}
    return Document(id_text(item_id), content, metadata)


def document_of_entry(entry: object) -> Document:
    """The document of an entry of ``embed_many``."""
    if isinstance(entry, Mapping):
        if {"id", "content"} <= entry.keys() <= set(ENTRY_NAMES):
            title = entry.get("title")
            content, metadata = entry["content"], entry.get("metadata")
            return document_of(entry["id"], content, metadata, title)
    elif isinstance(entry, tuple | list) and len(entry) in (2, 3):
        return document_of(*entry)
    raise InvalidInputError(
        "Expected (id, content), (id, content, metadata) or a mapping of id, content, "
        f"metadata and title; found {quoted(entry)}"
    )


def chunking_of(chunk: str) -> Chunking | None:
    """The way to split a text; None for whole texts."""
    return None if chunk == NO_CHUNKS else Chunking(chunk)


def checked_content(query: Content) -> Content:
    """*query*, if it is a text or bytes to search for."""
    is_short = not isinstance(query, str) or len(query) <= LONGEST_QUERY
    if not isinstance(query, str | bytes) or not is_short:
        raise InvalidInputError(
            f"Expected a text of at most {LONGEST_QUERY:,} characters, or the bytes of "
            f"an image, to search for; found {quoted(query)}"
        )
    return query


def search_options(
    collection: StoredCollection,
    *,
    limit: int,
    offset: int,
    where: str | None,
    params: Mapping[str, object] | None,
    cluster: Cluster | None = None,
    **others: Any,  # noqa: ANN401 - the other fields of Options
) -> Options:
    """The options of a search, checked.

    *where* and *cluster* are looked up in *collection*.
    """
    if not isinstance(offset, int) or not 0 <= offset <= LARGEST_OFFSET:
        raise InvalidInputError(
            f"Expected an offset, a whole number from 0; found {quoted(offset)}"
        )
    mode = others.get("mode", MODES[0])
    if mode not in MODES:
        raise InvalidInputError(
            f"Expected a mode, one of {', '.join(MODES)}; found {quoted(mode)}"
        )
    if not isinstance(others.get("prefix", ""), str):
        raise InvalidInputError(
            f"Expected a prefix, a text; found {quoted(others['prefix'])}"
        )
    for name in ("min_score", "min_cosine"):
        if not isinstance(others.get(name), int | float | None):
            raise InvalidInputError(
                f"Expected {name}, a number; found {quoted(others[name])}"
            )
    if params is not None and where is None:
        raise InvalidInputError("Expected where with params, found params alone")
    among = None if where is None else items_where(collection, where, params)
    if cluster is not None:
        own = Scope(read_clusters(cluster)).items(collection)
        among = own if among is None else among & own
    return Options(limit=checked_limit(limit), offset=offset, among=among, **others)
