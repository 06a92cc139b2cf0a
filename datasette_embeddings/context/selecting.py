"""Which pieces of documents a context has: the best that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasette_embeddings.context.budget import Tokens
from datasette_embeddings.context.joining import Piece, joined
from datasette_embeddings.context.texts import (
    BETWEEN,
    LEFT_OUT,
    block,
    shown,
    source_line,
)

#: The share of the tokens that one document has at most while others wait, and how
#: many it may have in any case: some chunks of most models
DOCUMENT_SHARE, DOCUMENT_TOKENS = 0.5, 1_000
# No piece with its source has fewer tokens
SMALLEST_PIECE = 5
#: Counting tokens takes time: so much work is done, or so much for each token of room,
#: and of what ranks below then, nothing is chosen.  See Tokens.work
LEAST_WORK, WORK_OF_TOKEN = 1_000_000, 50
# Fewer tokens of a piece that is cut, with its source, are not worth reading
USEFUL_TOKENS = 50


class Selection:
    """The best of *pieces* that have *room* tokens together, joined; best first."""

    def __init__(self, pieces: Sequence[Piece], room: int, tokens: Tokens) -> None:
        self._tokens, self._room = tokens, room
        self._after_cut = tokens.part(LEFT_OUT + BETWEEN)
        #: What was chosen, each joined with its neighbours
        self.pieces = list[Piece]()
        self._useful = min(USEFUL_TOKENS, room // 2)
        others_wait = len({each.document for each in pieces}) > 1
        share = max(int(room * DOCUMENT_SHARE), DOCUMENT_TOKENS)
        self._share = min(share, room) if others_wait else room
        waiting = self._chosen_of(pieces)
        # There is room left: a document may now have more than its share
        self._share = room
        self._chosen_of(waiting)
        self.pieces.sort(key=lambda each: each.rank)

    def _chosen_of(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Add what fits of *pieces*, and return those that wait for more."""
        most = self._tokens.work + max(LEAST_WORK, self._room * WORK_OF_TOKEN)
        return [
            each for each in pieces if self._tokens.work <= most and not self._add(each)
        ]

    def _add(self, piece: Piece) -> bool:
        """Add *piece* as far as it fits; return False if it waits for more."""
        fewest = min(self._useful, self._tokens.fewest(piece.text))
        if max(SMALLEST_PIECE, fewest) > self._room - _sum(self.pieces):
            # Neither it nor a useful part of it fits
            return True
        # What it had while others waited
        cut = [each for each in self.pieces if each.is_cut and each.rank == piece.rank]
        kept = [each for each in self.pieces if each not in cut]
        own = [each for each in kept if each.document == piece.document]
        left, of_share = self._room - _sum(kept), self._share - _sum(own)
        room = min(left, of_share)
        if self._join(piece, kept, own, room):
            return True
        # A larger share would give it no more.  Else what is cut now is replaced later,
        # so it must not be joined
        is_final = left <= of_share
        if room < self._useful or (own and not is_final):
            return is_final
        before, most = source_line(piece, piece.rank + 1), room - self._after_cut
        text = self._tokens.beginning(piece.text, before, most, shown)
        least = self._useful - self._after_cut
        if text and self._tokens.part(before + shown(text)) >= least:
            self._join(piece.beginning(text), kept, own, room)
        return is_final

    def _join(
        self, piece: Piece, kept: list[Piece], own: list[Piece], room: int
    ) -> bool:
        """Choose *piece*, joined with its neighbours in *own*, if it has *room*."""
        whole, replaced = joined(piece, [each for each in own if not each.is_cut])
        # Where it grows, what is new of it is counted, or it would be counted each time
        size = _sum(replaced) + self._tokens.part(_added(whole, replaced))
        if not replaced or size - _sum(replaced) > room:
            size = self._tokens.part(block(whole, whole.rank + 1) + BETWEEN)
        if size - _sum(replaced) > room:
            return False
        rest = [each for each in kept if each not in replaced]
        self.pieces = [*rest, replace(whole, tokens=size)]
        return True


def _added(whole: Piece, parts: Sequence[Piece]) -> str:
    """The text of *whole* that is not in *parts*, at its beginning or end or both."""
    if not parts:
        return ""
    text = whole.text
    first = min(parts, key=lambda each: each.start)
    last = max(parts, key=lambda each: each.end)
    start = len(first.text) if first.start == whole.start else 0
    end = len(last.text) if last.end == whole.end else 0
    return text[start : len(text) - end]


def _sum(pieces: Sequence[Piece]) -> int:
    return sum(each.tokens for each in pieces)
