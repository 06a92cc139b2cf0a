"""A document's text → chunks of a size that a model reads whole.

Sizes are in tokens of the model: whoever calls says where each token of the text
stands, and nothing is tokenised twice.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeAlias

from datasette_embeddings.chunks.boundaries import LADDERS, WORD_END, Cut, Span
from datasette_embeddings.errors import InvalidInputError

METHODS = tuple(LADDERS)
#: A chunk of fewer words joins a neighbour: by itself it says too little
FEWEST_WORDS = 5
# What begins with a letter or digit and ends at white space.  Scripts that are written
# without spaces (Thai, Khmer, Chinese, Japanese and their kin) count characters
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}][^\s{UNSPACED}]*")
#: Start and end in characters of each token of a text
TokenSpans: TypeAlias = Sequence[Span]


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: ``content[start:end]`` of it is *text*."""

    position: int
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Chunking:
    """How documents are split.

    *method* is one of :data:`METHODS`; *size* the most tokens of a chunk, as many as
    the model reads if None; *overlap* how many tokens at most begin a chunk that also
    end the one before.

    :raises InvalidInputError: for another method, a size below 1, an overlap that
        leaves no
        room for anything new.
    """

    method: str
    size: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidInputError(
                f"Expected a chunking method, one of {', '.join(METHODS)}; "
                f"found {self.method!r}"
            )
        if self.size is not None and self.size < 1:
            raise InvalidInputError(
                f"Expected a chunk size of at least 1 token, found {self.size}"
            )
        if self.overlap < 0 or (self.size is not None and self.overlap >= self.size):
            raise InvalidInputError(
                "Expected an overlap from 0 to less than the chunk size, "
                f"found {self.overlap}"
            )

    def checked_size(self, largest: int | None) -> int:
        """The size in tokens, where a model reads *largest*; None if nobody can tell.

        :raises InvalidInputError: if that is less than was asked for, or than the
            overlap.
        """
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


def chunk_id(document_id: str, position: int) -> str:
    """The item id of a chunk: ``guide#0`` is the first of ``guide``."""
    return f"{document_id}#{position}"


def split(
    text: str, chunking: Chunking, *, tokens: TokenSpans, size: int
) -> list[Chunk]:
    """The chunks of *text*, of at most *size* tokens, none of white space only.

    None has fewer than :data:`FEWEST_WORDS` words, unless *text* has, or *size* leaves
    no room for them.
    """
    splitter = _Splitter(text, tokens, size, chunking.overlap)
    spans = [
        span
        for section, cuts in _sections(text, chunking.method)
        for span in splitter.chunks(section, cuts)
    ]
    chunks: list[Chunk] = []
    for start, end in splitter.without_short(spans):
        passage = text[start:end]
        start += len(passage) - len(passage.lstrip())
        passage = passage.strip()
        if passage:
            chunks.append(Chunk(len(chunks), start, start + len(passage), passage))
    return chunks


def _sections(text: str, method: str) -> list[tuple[Span, Sequence[Cut]]]:
    """What no chunk may reach beyond, and how it is cut within.

    A part under a heading; where there are none, the whole text.
    """
    cuts = LADDERS[method]
    if method == "markdown":
        return [(section, cuts[1:]) for section in cuts[0](text)]
    return [((0, len(text)), cuts)]


class _Splitter:
    """One text with its tokens, which it counts between any two places."""

    def __init__(self, text: str, tokens: TokenSpans, size: int, overlap: int) -> None:
        self._text = text
        self._starts = [start for start, end in tokens if start < end]
        self._size = size
        self._overlap = overlap

    def count(self, start: int, end: int) -> int:
        """How many tokens begin from *start* to before *end*."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def chunks(self, span: Span, cuts: Sequence[Cut]) -> Iterator[Span]:
        """*span* in chunks of at most the size, cut as coarsely as that allows.

        What does not fit is cut in the next finer way, apart from its neighbours.
        """
        start, end = span
        fitting: list[Span] = []
        for low, high in cuts[0](self._text[start:end]):
            piece = start + low, start + high
            if self.count(*piece) <= self._size:
                fitting.append(piece)
            elif len(cuts) > 1:
                yield from self.packed(fitting)
                fitting = []
                yield from self.chunks(piece, cuts[1:])
            else:
                fitting += self._between_tokens(*piece)
        yield from self.packed(fitting)

    def _between_tokens(self, start: int, end: int) -> Iterator[Span]:
        """A word of too many tokens, cut where tokens begin."""
        # In pieces of the overlap, so that one can be in two chunks.  A little less
        # than fits: a part of a word may have more tokens by itself
        step = self._overlap or self._size - self._size // 10
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, end)
        cuts = [start, *self._starts[first + step : last : step], end]
        yield from pairwise(cuts)

    def packed(self, pieces: Sequence[Span]) -> Iterator[Span]:
        """Neighbouring *pieces* together, as many as fit the size."""
        taken: list[Span] = []
        for piece in pieces:
            if taken and self.count(taken[0][0], piece[1]) > self._size:
                yield taken[0][0], taken[-1][1]
                taken = self._carried(taken, piece)
            taken.append(piece)
        if taken:
            yield taken[0][0], taken[-1][1]

    def _carried(self, taken: list[Span], piece: Span) -> list[Span]:
        """The last of *taken* that begin the next chunk too, before *piece*."""
        for place, (start, _end) in enumerate(taken[1:], 1):
            fits = self.count(start, piece[1]) <= self._size
            if fits and self.count(start, piece[0]) <= self._overlap:
                return taken[place:]
        return []

    def without_short(self, spans: Sequence[Span]) -> list[Span]:
        """*spans* where those of too few words have joined a neighbour.

        The one before, or else the one behind.  Where neither has room for it, one of
        them gives it the words next to it.
        """
        kept: list[Span] = []
        waiting = list(reversed(spans))
        while waiting:
            start, end = waiting.pop()
            if self._has_words(start, end):
                kept.append((start, end))
            elif kept and self.count(kept[-1][0], end) <= self._size:
                kept[-1] = kept[-1][0], end
            elif waiting and self.count(start, waiting[-1][1]) <= self._size:
                waiting[-1] = start, waiting[-1][1]
            elif kept and (cut := self._cut(kept[-1][0], end, backwards=True)):
                kept[-1] = kept[-1][0], cut
                kept.append((cut, end))
            elif (
                waiting
                and (cut := self._cut(start, waiting[-1][1]))
                and all(cut < span[0] for span in waiting[-2:-1])
            ):
                kept.append((start, cut))
                waiting[-1] = cut, waiting[-1][1]
            else:
                kept.append((start, end))
        return kept

    def _has_words(self, start: int, end: int) -> bool:
        """Whether there are enough words from *start* to *end*."""
        words = WORD.finditer(self._text, start, end)
        return sum(1 for _ in islice(words, FEWEST_WORDS)) == FEWEST_WORDS

    def _cut(self, start: int, end: int, *, backwards: bool = False) -> int | None:
        """Where to cut what is from *start* to *end*: the first or last such place.

        Behind white space, so that both parts fit and have enough words; None if there
        is no such place.
        """
        words = [match.start() for match in WORD.finditer(self._text, start, end)]
        spaces = WORD_END.finditer(self._text, start, end)
        places = [match.end() for match in spaces]
        for cut in reversed(places) if backwards else places:
            count = bisect_left(words, cut)
            has_words = FEWEST_WORDS <= count <= len(words) - FEWEST_WORDS
            parts = (start, cut), (cut, end)
            if has_words and all(self.count(*part) <= self._size for part in parts):
                return cut
        return None
