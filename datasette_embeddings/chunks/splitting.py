"""A document's text → chunks of a size that a model reads whole.

Sizes are in tokens of the model: whoever calls says where each token of the text
stands, and nothing is tokenised twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from datasette_embeddings.chunks.boundaries import LADDERS, Cut, Span
from datasette_embeddings.errors import InvalidInput

METHODS = tuple(LADDERS)
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

    :raises InvalidInput: for another method, a size below 1, an overlap that leaves no
        room for anything new.
    """

    method: str
    size: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidInput(
                f"Expected a chunking method, one of {', '.join(METHODS)}; "
                f"found {self.method!r}"
            )
        if self.size is not None and self.size < 1:
            raise InvalidInput(
                f"Expected a chunk size of at least 1 token, found {self.size}"
            )
        if self.overlap < 0 or (self.size is not None and self.overlap >= self.size):
            raise InvalidInput(
                "Expected an overlap from 0 to less than the chunk size, "
                f"found {self.overlap}"
            )

    def checked_size(self, largest: int | None) -> int:
        """The size in tokens, where a model reads *largest*; None if nobody can tell.

        :raises InvalidInput: if that is less than was asked for, or than the overlap.
        """
        size = largest if self.size is None else self.size
        if size is None:
            raise InvalidInput(
                "Expected a chunk size: nobody tells how many tokens this model reads, "
                "so give --chunk-size, such as 400"
            )
        if largest is not None and size > largest:
            raise InvalidInput(
                f"Expected a chunk size of at most {largest} tokens, which is what the "
                f"model reads; found {size}"
            )
        if self.overlap >= size:
            raise InvalidInput(
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
    """The chunks of *text*, of at most *size* tokens, none of white space only."""
    splitter = _Splitter(text, tokens, size, chunking.overlap)
    chunks: list[Chunk] = []
    for section, cuts in _sections(text, chunking.method):
        for start, end in splitter.chunks(section, cuts):
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
