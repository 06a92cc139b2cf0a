"""A source row as it is embedded, and the hash that tells whether it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

#: A text, or the bytes of an image
Content: TypeAlias = str | bytes


@dataclass(frozen=True)
class Document:
    """The content of one source row; a text has no prompt in front."""

    id: str
    content: Content
    metadata: Mapping[str, object] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it, or in a text only white space."""
        content = self.content
        return not (content.strip() if isinstance(content, str) else content)

    @property
    def content_hash(self) -> bytes:
        """16 bytes: the MD5 of the text in UTF-8 or of the bytes, as llm compares."""
        content = self.content
        encoded = content.encode("utf-8") if isinstance(content, str) else content
        return hashlib.md5(encoded, usedforsecurity=False).digest()


@dataclass(frozen=True)
class Failure:
    """A source row that cannot be embedded, and why.

    *id* is the item id, or the number of the row where it has none that can be read.
    """

    id: str
    error: str
    #: Whether *id* is an item id
    is_item: bool = field(default=True, compare=False)
