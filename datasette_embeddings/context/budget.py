"""How many tokens a text has, and its beginning that has at most so many."""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import TypeAlias

from datasette_embeddings.chunking import UNSPACED
from datasette_embeddings.config import LEAST_TOKENS, MOST_TOKENS
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.models.base import EmbeddingModel

#: The tokens of each text, as ``EmbeddingModel.count_tokens`` returns them
Count: TypeAlias = Callable[[Sequence[str]], Sequence[int]]
BY_TOKENIZER, BY_CHARACTERS = "tokenizer", "characters"
#: Characters of a token where no tokenizer counts
CHARACTERS = 4
#: A tokenizer takes a word that it does not know for one token, and white space for
#: none, however long they are. So many characters count as a token at least
MOST_CHARACTERS = 10
# Counting a token takes a tokenizer as long as so many characters
WORK = 3
# Where a text may be cut: beside white space, and in scripts without spaces anywhere
BETWEEN_WORDS = re.compile(rf"(?<=\S)(?=\s)|(?<=[{UNSPACED}])(?=\S)|(?=[{UNSPACED}])")


def checked_tokens(tokens: object, most: int = MOST_TOKENS) -> int:
    """*tokens*, if it is a whole number from 50 to *most*."""
    is_number = isinstance(tokens, int) and not isinstance(tokens, bool)
    if not is_number or not LEAST_TOKENS <= tokens <= most:  # type: ignore[operator]
        raise InvalidInputError(
            f"Expected tokens, a whole number from {LEAST_TOKENS} to {most:,}; "
            f"found {quoted(tokens)}"
        )
    return tokens  # type: ignore[return-value]


def counter_of(model: EmbeddingModel | None) -> Count | None:
    """What counts with the tokenizer of *model*; None if it is remote."""
    return None if model is None or model.is_remote else model.count_tokens


class Tokens:
    """Counts the tokens of texts, each text once.

    Without *count*, by characters.
    """

    def __init__(self, count: Count | None) -> None:
        self._count = count
        self._known: dict[str, int] = {}
        #: How much was counted: the characters of all texts and their tokens by WORK
        self.work = 0
        self._most_characters = CHARACTERS if count is None else MOST_CHARACTERS
        #: What every text has: special tokens, and a prompt
        self.of_none = 0 if count is None else self.whole("")

    @property
    def counted_by(self) -> str:
        """What counts them, as :class:`Context` says it."""
        return BY_CHARACTERS if self._count is None else BY_TOKENIZER

    def longest(self, tokens: int) -> int:
        """The most characters that a text of so many *tokens* can have."""
        return tokens * self._most_characters

    def fewest(self, text: str) -> float:
        """About how many tokens *text* has at least, without counting."""
        return len(text) / self._most_characters

    def whole(self, text: str) -> int:
        """The tokens of *text* by itself, with those that every text has."""
        if self._count is None:
            return math.ceil(len(text) / CHARACTERS)
        found = self._known.get(text)
        if found is None:
            [counted] = self._count([text])
            found = max(counted, math.ceil(len(text) / MOST_CHARACTERS))
            self._known[text] = found
            self.work += len(text) + WORK * counted
        return found

    def part(self, text: str) -> int:
        """The tokens that *text* adds to another one."""
        return self.whole(text) - self.of_none

    def beginning(
        self, text: str, before: str, most: int, shown: Callable[[str], str] = str
    ) -> str:
        """The longest beginning of *text* that has *most* tokens after *before*.

        As it is *shown*. Cut between words; empty if not even the first word fits.
        """
        near = text[: self.longest(max(0, most)) + 1]
        ends = [match.start() for match in BETWEEN_WORDS.finditer(near)]
        ends = [end for end in ends if end and not _joins(near, end)]
        if near == text:
            ends.append(len(text))
        end = _last_fitting(
            [0, *ends], most, lambda end: self.part(before + shown(text[:end]))
        )
        return text[:end].rstrip()


def _last_fitting(ends: Sequence[int], most: int, size: Callable[[int], int]) -> int:
    """The last of *ends* whose *size* is at most *most*; the first one, 0, fits.

    Each *size* takes time, and grows about as evenly as the ends: so every second try
    is where it would be *most* then, and the others halve what is left.
    """
    fitting, too_long = 0, len(ends)
    of_fitting, of_too_long = 0, 0
    tries = 0
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if not tries:
            middle = too_long - 1
        elif tries % 2 and of_too_long > of_fitting:
            share = (most - of_fitting) / (of_too_long - of_fitting)
            at = ends[fitting] + share * (ends[too_long] - ends[fitting])
            middle = min(max(bisect(ends, at), fitting + 1), too_long - 1)
        found, tries = size(ends[middle]), tries + 1
        if found <= most:
            fitting, of_fitting = middle, found
        else:
            too_long, of_too_long = middle, found
    return ends[fitting]


def _joins(text: str, end: int) -> bool:
    """Whether what follows *end* belongs to the character before it."""
    return unicodedata.category(text[end]) in ("Mn", "Mc", "Me")
