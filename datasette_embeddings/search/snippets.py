"""The part of a content that a result shows, with the words of the query marked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

# Characters of a content that are searched for the words of a query
SEARCHED_CHARACTERS = 100_000
# Beginnings of an excerpt that are compared
MOST_STARTS = 200
# Words of two letters say little
WORD = re.compile(r"\w{3,}")
# What English puts on some words; nothing first
ENDS = ("", "s", "es", "ed", "ing")
# Words of most English sentences, which say nothing of where the answer is
COMMON = frozenset(
    re.findall(
        r"\w+",
        """
        and are but can did does for from get had has have her him his how its not our
        out she than that the their them then there they this was what when where which
        who why will with would you your
        """,
    )
)


@dataclass(frozen=True)
class Piece:
    """A part of an excerpt, and whether it is a word of the query."""

    text: str
    is_word: bool = False


def excerpt(content: str, query: str | None, length: int) -> list[Piece]:
    """About *length* characters of *content*, where most words of *query* are.

    On one line, cut at words, "…" where something is left out.
    """
    text = " ".join(content[:SEARCHED_CHARACTERS].split())
    forms = _forms(query)
    start = _best_start(text, forms, length) if forms else 0
    cut = _cut(text, start, length)
    return list(_marked(cut, forms)) if forms else [Piece(cut)]


def shortened(text: str, length: int) -> str:
    """The beginning of *text* on one line, cut at a word."""
    return _cut(" ".join(text[: length * 10].split()), 0, length)


def _forms(query: str | None) -> dict[str, str]:
    """The words of *query* that are looked for, by each form that they may have."""
    found = (word[0].lower() for word in WORD.finditer(query or ""))
    words = {word: None for word in found if word not in COMMON}
    forms: dict[str, str] = {}
    for end in ENDS:
        for word in words:
            forms.setdefault(word + end, word)
    return forms


def _found(text: str, forms: Mapping[str, str]) -> Iterator[tuple[re.Match[str], str]]:
    """Where *text* has one of *forms*, and of which word.

    Each word of *text* is looked up; a pattern would try all forms at each place.
    """
    for match in WORD.finditer(text):
        word = forms.get(match[0].lower())
        if word is not None:
            yield match, word


def _best_start(text: str, forms: Mapping[str, str], length: int) -> int:
    """Where the excerpt with the most different words begins, the first of several."""
    found = [
        (match.start(), word)
        for match, word in islice(_found(text, forms), MOST_STARTS)
    ]

    def different(start: int) -> int:
        return len({word for at, word in found if start <= at < start + length})

    # A few words in front of the first that is marked
    starts = (max(0, at - length // 5) for at, _word in found)
    return max((0, *starts), key=different)


def _cut(text: str, start: int, length: int) -> str:
    if start:
        start = text.find(" ", start) + 1 or start
    end = start + length
    cut = text[start:end]
    if end < len(text):
        cut = f"{cut.rpartition(' ')[0] or cut} …"
    return f"… {cut}" if start else cut


def _marked(text: str, forms: Mapping[str, str]) -> Iterator[Piece]:
    end = 0
    for match, _word in _found(text, forms):
        if match.start() > end:
            yield Piece(text[end : match.start()])
        yield Piece(match[0], is_word=True)
        end = match.end()
    if end < len(text):
        yield Piece(text[end:])
