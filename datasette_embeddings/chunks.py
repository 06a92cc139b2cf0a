"""What is embedded: a document, and the hash that tells whether it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """The content of one source row; *content* has no prompt in front."""

    id: str
    content: str
    metadata: Mapping[str, object] | None = None

    @property
    def is_empty(self) -> bool:
        return not self.content.strip()

    @property
    def content_hash(self) -> bytes:
        """16 bytes: the MD5 of the text in UTF-8, which is what llm compares too."""
        return hashlib.md5(self.content.encode("utf-8"), usedforsecurity=False).digest()
