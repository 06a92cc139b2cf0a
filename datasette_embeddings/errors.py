"""The exceptions of this package.

Every message says what was expected, what was found and what to do about it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from itertools import islice
from typing import Any

from datasette_embeddings.distribution import install_command

# Characters of an error message that SQL or a visitor can cause
LONGEST_MESSAGE = 300


class _Quoting(reprlib.Repr):
    """``repr()`` of the beginning of a long value, never of the whole."""

    def repr_bytes(self, value: bytes, _level: int) -> str:
        return f"a BLOB of {len(value):,} bytes"

    def repr_dict(self, value: dict[Any, Any], level: int) -> str:
        # reprlib would sort all the keys
        return super().repr_dict(dict(islice(value.items(), self.maxdict + 1)), level)


_quoting = _Quoting()
_quoting.maxstring = _quoting.maxother = 100
_quoting.maxlist = _quoting.maxdict = _quoting.maxtuple = 3
_quoting.maxlevel = 2


def quoted(value: object) -> str:
    """*value* quoted for a message, with at most 100 characters of a text."""
    return _quoting.repr(value)


def listed(names: Sequence[str]) -> str:
    """The first ten of *names* for a message, and how many more there are."""
    first = ", ".join(map(quoted, names[:10]))
    return first if len(names) <= 10 else f"{first} and {len(names) - 10:,} more"


def shortened(message: str) -> str:
    """*message* in at most LONGEST_MESSAGE characters."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[: LONGEST_MESSAGE - 1]}…"


class EmbeddingsError(Exception):
    """The base class of every exception that this package raises."""

    #: Details for the owner, one a line; ``-v`` prints them and a server logs them
    reasons: Sequence[str] = ()


class DatabaseError(EmbeddingsError):
    """A database file cannot be opened, read or written."""


class SchemaError(EmbeddingsError):
    """A table has the name of one of the tables of this package, and other columns."""

    def __init__(
        self, table: str, expected: Sequence[str], found: Sequence[str]
    ) -> None:
        advice = "Rename that table, or use another database file"
        if {"collection_id", "embedding"} <= set(found):
            advice = (
                "A version of llm from before November 2023 made it. A newer one "
                "updates it, for example with: llm similar COLLECTION ID -d THIS.db"
            )
        elif {"id", "embedding"} <= set(found):
            advice = (
                "Copy its vectors into another database file with: datasette "
                f"embeddings import NEW.db {table} --from THIS.db"
            )
        super().__init__(
            f"The table {table!r} has the columns {', '.join(found)}; expected those "
            f"that llm and this plugin write: {', '.join(expected)}. {advice}"
        )


class UnknownCollectionError(EmbeddingsError):
    """No collection of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        existing = f"it has {listed(known)}" if known else "it has none"
        super().__init__(
            f"No collection {quoted(name)} in this database: {existing}. "
            "Make one with: datasette embeddings embed"
        )


class UnknownItemError(EmbeddingsError):
    """No item of that id in a collection."""

    def __init__(self, collection: str, item_id: str) -> None:
        super().__init__(
            f"No item {quoted(item_id)} in the collection {quoted(collection)}; "
            "an item id is the primary key of its row, or the path of its file"
        )
        self.item_id = item_id


class UnknownModelError(EmbeddingsError):
    """No runtime can serve a model id; *reasons* has a line for each runtime."""

    def __init__(
        self, model_id: str, way_out: str, reasons: Sequence[str] = ()
    ) -> None:
        super().__init__(f"The model {quoted(model_id)} is not available. {way_out}")
        self.way_out = way_out
        self.reasons = tuple(reasons)


class ModelError(EmbeddingsError):
    """The files of a model are missing, invalid or unsupported."""


class ModelMismatchError(EmbeddingsError):
    """A collection holds vectors of another model than the one requested."""

    def __init__(self, collection: str, expected: str, found: str) -> None:
        super().__init__(
            f"The collection {quoted(collection)} holds vectors of {quoted(expected)}, "
            f"not of {quoted(found)}; vectors of two models cannot be compared. Leave "
            "out the model, choose another collection name, or run embed --rebuild"
        )


class ModelSettingsMismatchError(EmbeddingsError):
    """A collection's vectors were made with other settings of its model."""

    def __init__(
        self, collection: str, setting: str, expected: object, found: object
    ) -> None:
        super().__init__(
            f"The vectors of the collection {quoted(collection)} were made with the "
            f"{setting} {quoted(expected)}, and the model now has {quoted(found)}; "
            "such vectors cannot be compared. Rebuild the collection with embed "
            "--rebuild, or restore the old settings of the model"
        )


class InvalidVectorError(EmbeddingsError):
    """A value is not a vector."""


class DimensionMismatchError(InvalidVectorError):
    """Two vectors differ in their number of dimensions."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"Expected a vector of {expected} dimensions, found {found}")


class NoSimilaritiesError(EmbeddingsError):
    """The similarities of a collection are needed, and are not stored."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"The similarities of the collection {quoted(collection)} are not stored. "
            "The command that stores them: datasette embeddings similarities"
        )


class InvalidInputError(EmbeddingsError):
    """An argument is invalid; *faults* lists everything that is wrong with it."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class NoClustersError(InvalidInputError):
    """The clusters of a collection are needed, and are not stored."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"The collection {quoted(collection)} has no clusters; the command that "
            "finds them: datasette embeddings clusters"
        )


class NoMapError(InvalidInputError):
    """The map of a collection is needed, and is not stored."""

    def __init__(
        self,
        collection: str,
        way_out: str = "the command that makes it: datasette embeddings map",
    ) -> None:
        super().__init__(f"The collection {quoted(collection)} has no map; {way_out}")


class SourceError(EmbeddingsError):
    """A table, query or file cannot be read."""


class SourceUnavailableError(EmbeddingsError):
    """The rows of a stored source cannot be read again."""


class MissingLibraryError(EmbeddingsError):
    """An optional dependency is needed, and is not installed."""

    def __init__(self, library: str, purpose: str) -> None:
        super().__init__(
            f"The library {library!r}, which {purpose} needs, is not installed. "
            f"Install it with: {install_command(library)}"
        )


class ServerBusyError(EmbeddingsError):
    """A server already works on as many requests as its owner allows."""

    def __init__(self, at_once: int, waiting: int) -> None:
        super().__init__(
            f"This server answers {at_once} searches at once and lets {waiting} wait; "
            "try again in a moment"
        )


class ConfigError(EmbeddingsError):
    """Settings of the plugin are invalid; *problems* lists all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        lines = "".join(f"\n- {problem}" for problem in problems)
        super().__init__(f"The configuration of datasette-embeddings:{lines}")
        self.problems = problems
