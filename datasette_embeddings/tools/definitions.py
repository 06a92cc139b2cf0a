"""The tools: their names, what a model is told of them, and their arguments."""

from __future__ import annotations

from dataclasses import dataclass

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.validation import Checked, Count, Text

#: Matches of a tool, unless it asks for another number
DEFAULT_TOKENS = 2_000


@dataclass(frozen=True, kw_only=True)
class CollectionsArguments(Checked):
    """What `collections` takes: nothing."""


@dataclass(frozen=True, kw_only=True)
class SearchArguments(Checked):
    """What `search` takes."""

    query: Text
    """What to look for, in words or as a question."""
    collection: Text
    """The collection to search, by its name in `collections`."""
    limit: Count = DEFAULT_LIMIT
    """How many matches at most."""


@dataclass(frozen=True, kw_only=True)
class SimilarArguments(Checked):
    """What `similar` takes."""

    id: Text
    """The id of an item, as a match gives it."""
    collection: Text
    """The collection that has the item."""
    limit: Count = DEFAULT_LIMIT
    """How many matches at most."""


@dataclass(frozen=True, kw_only=True)
class ContextArguments(Checked):
    """What `context` takes."""

    question: Text
    """The question that the passages should answer."""
    collection: Text
    """The collection to read."""
    tokens: Count = DEFAULT_TOKENS
    """How many tokens the passages may take."""


@dataclass(frozen=True)
class Tool:
    """Something that a language model may call."""

    name: str
    description: str
    arguments: type[Checked]


TOOLS = (
    Tool(
        "collections",
        "List the collections that can be searched: what each is about and has.",
        CollectionsArguments,
    ),
    Tool(
        "search",
        "Find the items of a collection that fit a query best, by meaning and words.",
        SearchArguments,
    ),
    Tool(
        "similar",
        "Find the items of a collection that are most like one of its items.",
        SimilarArguments,
    ),
    Tool(
        "context",
        "Read the passages of a collection that answer a question best, with numbered "
        "sources. Cite them as [1].",
        ContextArguments,
    ),
)
