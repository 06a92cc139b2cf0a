"""What is embedded: documents and their ids, rows that failed, how texts are split.

An item id is the text of the only key column, as llm stores it, or Datasette's row path
for several.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias
from urllib.parse import quote

from datasette_embeddings.errors import InvalidInputError, SourceError

#: A text, or the bytes of an image
Content: TypeAlias = str | bytes
#: The ways to split a text; :mod:`datasette_embeddings.chunking` has their boundaries
METHODS = ("fixed", "sentences", "paragraphs", "markdown")
#: Split only texts that are too long, and split none: they are cut
AUTO_CHUNKS, NO_CHUNKS = "auto", "none"
#: The methods of this package: any other is the chunker of a plugin
OWN_METHODS = (*METHODS, AUTO_CHUNKS)
#: Images get no captions
NO_CAPTIONS = "none"
#: The most characters of a title that stand in front of a chunk
TITLE_CHARACTERS = 200


@dataclass(frozen=True)
class Document:
    """The content of one source row, or of one chunk of it; without a prompt."""

    id: str
    content: Content
    metadata: Mapping[str, object] | None = None
    #: What names it in results; found by its words, but embedded only with a chunk
    title: str | None = field(default=None, compare=False)
    #: A text about an image, stored and found by its words
    caption: str | None = field(default=None, compare=False)
    #: The content hash, if it was computed before
    known_hash: bytes | None = field(default=None, compare=False, repr=False)

    @cached_property
    def content_hash(self) -> bytes:
        """16 bytes: the MD5 of the text in UTF-8 or of the bytes, as llm computes it.

        :raises UnicodeEncodeError: for a text with lone surrogates.
        """
        if self.known_hash is not None:
            return self.known_hash
        content = self.content
        encoded = content.encode() if isinstance(content, str) else content
        return hashlib.md5(encoded, usedforsecurity=False).digest()


@dataclass(frozen=True)
class Failure:
    """A source row that cannot be embedded, and why.

    *id* is the item id; for a row whose id cannot be read, the number of the row.
    """

    id: str
    error: str
    #: Whether *id* is an item id
    is_item: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class LeftOut:
    """A file, or a whole folder, that is not embedded, and need not be.

    *kind* is that of the file, or why it is left out whatever it is.
    """

    kind: str
    #: An item that stays if it exists: the file could be read before
    id: str | None = None


@dataclass(frozen=True)
class Chunking:
    """How documents are split.

    *method* is one of :data:`METHODS`, the name of a plugin's chunker, or ``auto``: a
    text of at most *size* tokens stays whole, a longer one is split into paragraphs.
    *size* is the maximum number of tokens of a chunk; None stands for as many as the
    model reads.  *overlap* is the maximum number of tokens that a chunk repeats of the
    one before.
    """

    method: str
    size: int | None = None
    overlap: int = 0
    #: The model reads the title of the document before each chunk
    titled: bool = True

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise InvalidInputError(
                f"Expected a chunk size of at least 1 token, found {self.size}"
            )
        if self.overlap < 0 or self.overlap >= (self.size or self.overlap + 1):
            raise InvalidInputError(
                "Expected an overlap from 0 to less than the chunk size, "
                f"found {self.overlap}"
            )

    def checked_size(self, largest: int | None) -> int:
        """The size for a model that reads *largest* tokens; None if that is unknown."""
        size = largest if self.size is None else self.size
        if size is None:
            raise InvalidInputError(
                "Expected a chunk size, such as --chunk-size 400, because this model "
                "does not report how many tokens it reads"
            )
        if largest is not None and size > largest:
            raise InvalidInputError(
                f"Expected a chunk size of at most {largest} tokens, which is what the "
                f"model reads; found {size}"
            )
        if self.overlap >= size:
            raise InvalidInputError(
                f"Expected an overlap of less than the {size} tokens of a chunk, "
                f"found {self.overlap}"
            )
        return size


#: How new sources are split
AUTO = Chunking(AUTO_CHUNKS)


def title_before_chunks(title: str | None) -> str | None:
    """The part of *title* that stands in front of a chunk, as SQLite's ``substr``."""
    return (title or "").partition("\0")[0][:TITLE_CHARACTERS] or None


def item_id_of(key: Sequence[object]) -> str:
    """The item id of a row with this *key*: its value, or a row path for several.

    :raises SourceError: for a NULL, a list or an object in the key.
    """
    texts = []
    for value in key:
        if value is None:
            raise SourceError("A row has NULL for its id; every row needs one")
        if isinstance(value, list | dict):
            found = json.dumps(value)[:60]
            raise SourceError(
                f"A row has {found} for its id; expected a text or number"
            )
        if isinstance(value, bytes):
            texts.append(value.decode("utf-8", "replace"))
        else:
            texts.append(json.dumps(value) if isinstance(value, bool) else str(value))
    return texts[0] if len(texts) == 1 else ",".join(map(tilde_encode, texts))


def key_values(item_id: str, count: int) -> list[str] | None:
    """The values of the *count* key columns that :func:`item_id_of` joined.

    None for an id that is not a row path of *count* columns.
    """
    if count == 1:
        return [item_id]
    parts = item_id.split(",")
    try:
        return [tilde_decode(part) for part in parts] if len(parts) == count else None
    except ValueError:
        return None


def tilde_encode(text: str) -> str:
    """*text* as Datasette writes it in a URL: ``a/b.c`` becomes ``a~2Fb~2Ec``."""
    percent = quote(text, safe=" ").replace(".", "%2E").replace("~", "%7E")
    return percent.replace(" ", "+").replace("%", "~")


def tilde_decode(text: str) -> str:
    """What :func:`tilde_encode` encoded."""
    first, *rest = text.replace("+", " ").split("~")
    pieces = [first.encode("utf-8")]
    for part in rest:
        pieces += [bytes([int(part[:2], 16)]), part[2:].encode("utf-8")]
    return b"".join(pieces).decode("utf-8")
