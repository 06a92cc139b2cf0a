"""The tools: their names, what a model is told of them, and their arguments.

Every program that offers them takes names, schemas and checks from here, so that a
model finds the same four tools in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from itertools import islice
from typing import Annotated, Any, TypeAlias

from datasette_embeddings import validation
from datasette_embeddings.config import (
    DEFAULT_LIMIT,
    DEFAULT_TOKENS,
    LEAST_TOKENS,
    MOST_VISITOR_TOKENS,
)
from datasette_embeddings.errors import InvalidInputError, listed, quoted
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.validation import Checked, Expected, Text, validated

#: The field that only a host with several databases has
DATABASE = "database"
NUMBERS = ("limit", "tokens")
# Characters of an id or of a name that a model may send
LONGEST_NAME = 1_000
LARGEST_SHOWN = 10**18
# Of the collections in a description: their number, and characters of each and of all
MOST_COLLECTIONS, LONGEST_LISTED_NAME, LONGEST_ABOUT = 20, 60, 120
LONGEST_LIST = 2_000
NOT_LISTED = "Call collections to see those there are."

Whole: TypeAlias = Annotated[
    int, Expected("a whole number of at least 1", read=validation.whole_number, ge=1)
]
Tokens: TypeAlias = Annotated[
    int,
    Expected(
        f"a whole number of at least {LEAST_TOKENS}",
        read=validation.whole_number,
        ge=LEAST_TOKENS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class CollectionsArguments(Checked):
    """What `collections` takes."""

    database: Text | None = None
    """Only the collections of this database."""


@dataclass(frozen=True, kw_only=True)
class SearchArguments(Checked):
    """What `search` takes."""

    query: Text
    """What to look for, in words or as a question."""
    collection: Text
    """The name of the collection to search, as collections gives it."""
    database: Text | None = None
    """The database that has the collection; needed if several have one of its name."""
    limit: Whole = DEFAULT_LIMIT
    """How many matches at most."""


@dataclass(frozen=True, kw_only=True)
class SimilarArguments(Checked):
    """What `similar` takes."""

    id: Text
    """The id of an item, as a match gives it."""
    collection: Text
    """The name of the collection that has the item."""
    database: Text | None = None
    """The database that has the collection; needed if several have one of its name."""
    limit: Whole = DEFAULT_LIMIT
    """How many matches at most."""


@dataclass(frozen=True, kw_only=True)
class ContextArguments(Checked):
    """What `context` takes."""

    question: Text
    """The question that the passages should answer, as a whole sentence."""
    collection: Text
    """The name of the collection to read, as collections gives it."""
    database: Text | None = None
    """The database that has the collection; needed if several have one of its name."""
    tokens: Tokens = DEFAULT_TOKENS
    """How many tokens the passages may have together."""


@dataclass(frozen=True)
class Tool:
    """Something that a language model may call."""

    name: str
    description: str
    arguments: type[Checked]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The most that a model may ask for; those of a server are in its settings."""

    limit: int = 100
    #: Characters of a query or of a question
    query: int = 2_000
    tokens: int = MOST_VISITOR_TOKENS

    def of(self, name: str) -> int:
        """The greatest value of the argument *name*, or the length of its text."""
        known = {"limit": self.limit, "tokens": self.tokens}
        texts = {"query": self.query, "question": self.query}
        return (known | texts).get(name, LONGEST_NAME)


COLLECTIONS = Tool(
    "collections",
    "List the collections that can be searched: the name, size and subjects of each.",
    CollectionsArguments,
)
SEARCH = Tool(
    "search",
    "Find the items of a collection that fit a query best, by meaning and by words. "
    "Each match has an id, a title, a score from 0 to 1 and a part of its text; "
    "close is false if none is about the query.",
    SearchArguments,
)
SIMILAR = Tool(
    "similar",
    "Find the items of a collection that are most like one of its items.",
    SimilarArguments,
)
CONTEXT = Tool(
    "context",
    "Read the passages of a collection that answer a question best, with numbered "
    "sources. Answer from them alone and cite them as [1].",
    ContextArguments,
)
TOOLS = (COLLECTIONS, SEARCH, SIMILAR, CONTEXT)


def input_schema(
    tool: Tool, *, bounds: Bounds = Bounds(), has_databases: bool = True
) -> dict[str, Any]:
    """The arguments of *tool* as plain JSON Schema, without ``$ref``.

    Only with *has_databases* can they name a database.
    """
    names = argument_names(tool, has_databases=has_databases)
    known = {each.name: each for each in fields(tool.arguments)}  # type: ignore[arg-type]  # a dataclass
    described_fields = validation.json_schema(tool.arguments)["properties"]
    properties: dict[str, Any] = {}
    for name in names:
        field = described_fields[name]
        plain = {**field["anyOf"][0], "description": field["description"]}
        most = "maximum" if plain["type"] == "integer" else "maxLength"
        plain[most] = bounds.of(name)
        if known[name].default not in (MISSING, None):
            plain["default"] = min(getattr(tool.arguments, name), bounds.of(name))
        properties[name] = plain
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in names if known[name].default is MISSING],
        "additionalProperties": False,
    }


@cache
def argument_names(tool: Tool, *, has_databases: bool = True) -> tuple[str, ...]:
    """The names of the arguments of *tool*, those that it needs first."""
    names = [each.name for each in fields(tool.arguments)]  # type: ignore[arg-type]  # a dataclass
    return tuple(name for name in names if has_databases or name != DATABASE)


def arguments(
    tool: Tool,
    given: Mapping[str, object],
    *,
    bounds: Bounds = Bounds(),
    has_databases: bool = True,
) -> Any:  # noqa: ANN401 - an instance of tool.arguments
    """*given*, what a model sent, as an instance of ``tool.arguments``.

    :raises InvalidInputError: with all faults, each with what was expected.
    """
    names = argument_names(tool, has_databases=has_databases)
    expected = ", ".join(names) or "none"
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"Expected an object with the arguments {expected}; found {quoted(given)}"
        )
    unknown = [str(name) for name in given if name not in names]
    faults = []
    if unknown:
        faults.append(f"unknown: {listed(unknown)}; expected only {expected}")
    within = {}
    for name in names:
        within[name], fault = _within(given.get(name), bounds.of(name))
        faults += [f"{name}: {fault}"] if fault else []
    for name in NUMBERS:
        if name in names and within[name] is None:
            within[name] = min(getattr(tool.arguments, name), bounds.of(name))
    try:
        checked = validated(tool.arguments, within)
    except InvalidInputError as error:
        faults = [*error.faults, *faults]
    if faults:
        raise InvalidInputError(*faults)
    return checked


def _within(value: object, most: int) -> tuple[object, str | None]:
    """*value* cut to *most* characters or to that number, and what was wrong with it.

    So no more than that is checked, and shown in an error.
    """
    if isinstance(value, str):
        if len(value) > most:
            fault = f"expected at most {most:,} characters, found {len(value):,}"
            return value[:most], fault
        return value, "expected a text, found only spaces" if value.isspace() else None
    if isinstance(value, int | float) and value > most:
        # Python writes no number of more than 4,300 digits
        found = f"{value:,}" if value < LARGEST_SHOWN else "more"
        return most, f"expected at most {most:,}, found {found}"
    if type(value) is int:
        return max(value, -LARGEST_SHOWN), None
    return value, None


def described(tool: Tool, collections: Sequence[Mapping[str, object]]) -> str:
    """The description of *tool* with the *collections* there are.

    Each of these has a ``name``, and may have a ``database``, a ``count`` of items, a
    ``title`` and ``about``, texts that say what it is about. The list is bounded. Names
    and texts are data of a database, so they are quoted, on one line and shortened.
    """
    if tool.name == COLLECTIONS.name:
        return tool.description
    if not collections:
        return f"{tool.description} There are no collections at the moment."
    entries: list[str] = []
    for entry in islice(_entries(collections), MOST_COLLECTIONS):
        if sum(map(len, entries)) + len(entry) > LONGEST_LIST:
            break
        entries.append(entry)
    more = len(collections) - len(entries)
    if not entries:
        return f"{tool.description} {NOT_LISTED}"
    text = f"{tool.description} The collections: {'; '.join(entries)}."
    return text if not more else f"{text} There are {more:,} more. {NOT_LISTED}"


def _entries(collections: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """A line for each collection whose name can be given whole."""
    for each in collections:
        name, database = str(each["name"]), each.get(DATABASE)
        if max(len(name), len(str(database))) > LONGEST_LISTED_NAME:
            # A name that is shortened could not be sent back
            continue
        count, about = each.get("count"), each.get("title") or each.get("about")
        facts = [
            *([f"in database {_quoted(str(database))}"] if database else ()),
            *([f"{count:,} items"] if isinstance(count, int) else ()),
            *([_quoted(shortened(str(about), LONGEST_ABOUT))] if about else ()),
        ]
        yield _quoted(name) + (f" ({', '.join(facts)})" if facts else "")


def _quoted(text: str) -> str:
    """*text* as a JSON string: on one line, without control characters."""
    # Half of a surrogate pair is written as \udXXX too
    return json.dumps(text, ensure_ascii=not text.isprintable())
