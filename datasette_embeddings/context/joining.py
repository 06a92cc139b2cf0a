"""Pieces of documents, and neighbours among them joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasette_embeddings.chunking import CHUNK_ID
from datasette_embeddings.search.matches import Match

# Two chunks with more characters between them than white space explains, which a
# plugin's chunker may leave out, are not joined
MOST_BETWEEN = 20


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a document that ranks, or several that follow each other."""

    #: The place of its best part among all that rank, from 0
    rank: int
    #: The place of its collection among those that were searched
    collection: int
    #: What it begins with: the source of it is named by this
    match: Match
    score: float
    text: str
    #: Its first and last chunk, from 0; None if it is a whole document
    first: int | None = None
    last: int = 0
    #: In characters of the document
    start: int = 0
    end: int
    #: Its end was left out
    is_cut: bool = False
    #: With its source and what stands between two, once it is chosen
    tokens: int = 0

    @property
    def document(self) -> tuple[int, str]:
        """Which document it is of."""
        return self.collection, self.match.document_id

    def beginning(self, text: str) -> Piece:
        """What is left of it with *text*, its beginning."""
        if text == self.text:
            return self
        return replace(self, text=text, end=self.start + len(text), is_cut=True)


def place_of(match: Match) -> int | None:
    """The place of a chunk in its document, from 0; None for a whole document."""
    found = CHUNK_ID.search(match.id)
    is_chunk = match.start is not None and found is not None
    return int(found[0][1:]) if is_chunk and found else None


def joined(piece: Piece, others: Sequence[Piece]) -> tuple[Piece, list[Piece]]:
    """*piece* with those of *others* that it overlaps or follows, and which these are.

    *others* are of the same document, and none of them can be joined with another.
    """
    taken = list[Piece]()
    for other in others:
        before, after = sorted([piece, other], key=lambda each: each.first or 0)
        both = _joined(before, after)
        if both is not None:
            piece = both
            taken.append(other)
    return piece, taken


def _joined(before: Piece, after: Piece) -> Piece | None:
    """Both as one; None if they do not overlap or follow each other."""
    if before.first is None or after.first is None:
        return None
    gap = after.start - before.end
    is_next = after.first <= before.last + 1 and not before.is_cut
    if not is_next or gap > MOST_BETWEEN or after.start < before.start:
        return None
    if gap >= 0:
        text = before.text + _between(before, after, gap) + after.text
    else:
        overlap = before.text[after.start - before.start :]
        if not after.text.startswith(overlap[: len(after.text)]):
            # They are not of the same version of the document
            return None
        text = before.text + after.text[len(overlap) :]
    best = min(before, after, key=lambda each: each.rank)
    return replace(
        before,
        rank=best.rank,
        score=max(before.score, after.score),
        text=text,
        last=max(before.last, after.last),
        end=max(before.end, after.end),
        is_cut=after.is_cut and after.end >= before.end,
    )


def _between(before: Piece, after: Piece, gap: int) -> str:
    """The white space between two chunks, which is not stored, as far as it matters."""
    if gap == 0:
        return ""
    if gap > 1:
        return "\n\n"
    return "\n" if "\n" in before.text or "\n" in after.text else " "
