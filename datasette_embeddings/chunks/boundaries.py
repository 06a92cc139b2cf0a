"""Where a text may be cut: pieces that lie side by side and cover all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

from datasette_embeddings.errors import MissingLibraryError

#: Start and end of a piece, in characters
Span: TypeAlias = tuple[int, int]

PARAGRAPH_END = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
LINE_END = re.compile(r"\n")
WORD_END = re.compile(r"\s+")


def paragraphs(text: str) -> list[Span]:
    """Pieces that end where a line is blank."""
    return _cut_after(text, PARAGRAPH_END)


def lines(text: str) -> list[Span]:
    """The lines of *text*."""
    return _cut_after(text, LINE_END)


def words(text: str) -> list[Span]:
    """Runs without white space, each with the white space behind it."""
    return _cut_after(text, WORD_END)


def sentences(text: str) -> list[Span]:
    """The sentences of *text*, in any of the languages that sentencex knows.

    :raises MissingLibraryError: if it is not installed.
    """
    try:
        from sentencex import get_sentence_boundaries
    except ImportError as error:
        raise MissingLibraryError("sentencex", "splitting into sentences") from error
    found = get_sentence_boundaries("en", text)
    return _side_by_side([each["start_index"] for each in found], len(text))


def sections(text: str) -> list[Span]:
    """Markdown: pieces that begin at a heading; one with nothing below joins the next.

    A line with a hash in a block of code is no heading.
    """
    from markdown_it import MarkdownIt

    starts = [0, *(match.end() for match in LINE_END.finditer(text)), len(text)]
    # A carriage return would count as a line of its own
    tokens = MarkdownIt("commonmark").parse(text.replace("\r", " "))
    found = [0]
    begins_bare = True
    for token in tokens:
        if token.level or token.map is None:
            continue
        if token.type == "heading_open":
            if not begins_bare:
                found.append(starts[token.map[0]])
            begins_bare = True
        elif token.type != "heading_close":
            begins_bare = False
    return _side_by_side(found, len(text))


def _cut_after(text: str, end: re.Pattern[str]) -> list[Span]:
    cuts = [0, *(match.end() for match in end.finditer(text))]
    return _side_by_side(cuts, len(text))


def _side_by_side(starts: Sequence[int], length: int) -> list[Span]:
    """The pieces that begin at *starts*, the first of which is the beginning."""
    cuts = [0, *starts[1:], length]
    return [span for span in pairwise(cuts) if span[0] < span[1]]


Cut: TypeAlias = Callable[[str], list[Span]]
#: The ways to cut for each method, coarse ones first; the next for what is too long
LADDERS: MappingProxyType[str, tuple[Cut, ...]] = MappingProxyType(
    {
        "fixed": (words,),
        "sentences": (sentences, words),
        "paragraphs": (paragraphs, lines, words),
        "markdown": (sections, paragraphs, lines, words),
    }
)
