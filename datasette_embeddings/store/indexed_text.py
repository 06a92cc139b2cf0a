"""The text of a document as its words are indexed."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from datasette_embeddings.documents import Document

# Words that spelling may correct to.  Shorter ones have too many neighbors
VOCABULARY = re.compile(r"(?<![^\W_])[^\W\d_]{4,24}(?![^\W_])")
# camelCase and HTTPServer: unicode61 divides only snake_case
CAMEL_CASE = re.compile(r"\b\w*(?:[a-z][A-Z]|[A-Z]{2}[a-z]{2})\w*")
CAMEL_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SEPARATOR = "\x00"
PADDING = " "
# Deflate without header and checksum
RAW = -zlib.MAX_WBITS


@dataclass(frozen=True)
class IndexedText:
    """The texts of one document as FTS5 has them."""

    title: str
    body: str

    @classmethod
    def of(cls, document: Document) -> IndexedText:
        """The words of *document*: its title or id, and the rest of its content."""
        title = document.title or document.id
        content = document.content
        if not isinstance(content, str):
            content = document.caption or ""
        texts = title, content.removeprefix(title)
        # NUL ends a text for FTS5, and separates the two here
        return cls(*(_with_parts(each.replace(SEPARATOR, " ")) for each in texts))

    def packed(self) -> bytes:
        """Both texts, compressed without a header: most documents are short."""
        deflate = zlib.compressobj(level=9, wbits=RAW)
        text = f"{self.title}{SEPARATOR}{self.body}".encode()
        return deflate.compress(text) + deflate.flush()

    @classmethod
    def unpacked(cls, blob: object) -> IndexedText:
        """What :meth:`packed` made, or nothing if another program wrote *blob*."""
        try:
            text = zlib.decompress(blob, wbits=RAW).decode()  # type: ignore[arg-type]
        except (zlib.error, TypeError, UnicodeDecodeError):
            text = ""
        title, _separator, body = text.partition(SEPARATOR)
        return cls(title, body)

    @classmethod
    def beginning(cls, blob: object, length: int) -> IndexedText:
        """The first *length* characters of both texts, without the parts of camelCase.

        No more than that is decompressed, or little more.
        """
        inflate = zlib.decompressobj(wbits=RAW)
        try:
            # A character has at most four bytes
            found = inflate.decompress(blob, 16 * length + 1)  # type: ignore[arg-type]
        except (zlib.error, TypeError):
            found = b""
        title, _separator, body = found.decode("utf-8", "ignore").partition(SEPARATOR)
        return cls(_beginning(title, length), _beginning(body, length))

    def vocabulary(self) -> set[str]:
        return set(VOCABULARY.findall(f"{self.title} {self.body}".lower()))


def _with_parts(text: str) -> str:
    """*text* and the parts of its identifiers in camelCase."""
    # With spaces, so that the last letters begin trigrams too
    return " ".join([text, *camel_parts(text), PADDING])


def _beginning(text: str, length: int) -> str:
    """The first *length* characters of *text* before :func:`_with_parts`."""
    # The parts of a text with their spaces are no longer than twice the text
    if len(text) <= 3 * length + 2:
        parts = camel_parts(text)
        text = text.removesuffix(" ".join(["", *parts, PADDING]))
    return text[:length]


def camel_parts(text: str) -> list[str]:
    """The parts of the words in camelCase: ``close`` and ``Matches``."""
    words = CAMEL_CASE.findall(text)
    return [part for word in words for part in CAMEL_PART.findall(word)]


def reversed_title(title: str) -> str:
    """The words of *title* backwards: an index finds the titles that end with a text.

    A space stands in front of the first word too.
    """
    words = re.sub(r"[\W_]+", " ", title.lower()).strip()
    return f" {words}"[::-1]
