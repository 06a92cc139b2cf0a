"""The part of a content that a result shows, with the words of the query marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

# Characters of a content that are searched for the words of a query
SEARCHED_CHARACTERS = 100_000
# Beginnings of an excerpt that are compared
MOST_STARTS = 200
SHORTEST_WORD = 3
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
    words = _pattern(query)
    start = 0 if words is None else _best_start(text, words, length)
    cut = _cut(text, start, length)
    return [Piece(cut)] if words is None else list(_marked(cut, words))


def shortened(text: str, length: int) -> str:
    """The beginning of *text* on one line, cut at a word."""
    return _cut(" ".join(text[: length * 10].split()), 0, length)


def _pattern(query: str | None) -> re.Pattern[str] | None:
    found = re.findall(r"\w+", (query or "").lower())
    words = [
        word for word in found if len(word) >= SHORTEST_WORD and word not in COMMON
    ]
    if not words:
        return None
    # Longer words first, and the ends that English puts on some
    choices = "|".join(map(re.escape, sorted(set(words), key=len, reverse=True)))
    return re.compile(rf"(?<!\w)({choices})(?:s|es|ed|ing)?(?!\w)", re.IGNORECASE)


def _best_start(text: str, words: re.Pattern[str], length: int) -> int:
    """Where the excerpt with the most different words begins, the first of several."""
    found = [
        (match.start(), match[1].lower())
        for match in islice(words.finditer(text), MOST_STARTS)
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


def _marked(text: str, words: re.Pattern[str]) -> Iterator[Piece]:
    end = 0
    for match in words.finditer(text):
        if match.start() > end:
            yield Piece(text[end : match.start()])
        yield Piece(match[0], is_word=True)
        end = match.end()
    if end < len(text):
        yield Piece(text[end:])
