"""From the matches of a question to a context: the passages that fit, and their text.

The matches come from one collection or several.  Those of collections that can be
compared are ordered by their scores, others by turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice

from datasette_embeddings.context.budget import Count, Tokens, checked_tokens
from datasette_embeddings.context.joining import Piece, place_of
from datasette_embeddings.context.ordering import OF_WORDS, shares_of_words
from datasette_embeddings.context.passages import Context, Passage
from datasette_embeddings.context.selecting import Selection
from datasette_embeddings.context.texts import (
    BETWEEN,
    NO_TEXT,
    NOT_CLOSE,
    NOTHING_FITS,
    NOTHING_FOUND,
    block,
)
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.answers import Answer, answer_text
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.store.collections import StoredCollection

# How many chunks are read for a context: documents may be long
FEWEST_CHUNKS, MOST_CHUNKS = 50, 200
# Of short passages, that many tokens with the source
SHORT_PASSAGE = 20
#: The most other collections that a context has passages of
MOST_OTHERS = 4


@dataclass(frozen=True, kw_only=True)
class BestChunks:
    """What one collection gives for a question: its best chunks, best first."""

    collection: str
    #: The database of it; None where all collections are of one
    database: str | None = None
    matches: Sequence[Match]
    close: bool | None = None
    corrected: str | None = None
    #: What scores can be compared by: those of one model and mode
    scale: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        collection: StoredCollection,
        answer: Answer,
        *,
        database: str | None = None,
    ) -> BestChunks:
        """The chunks that *answer* has found in *collection*."""
        return cls(
            collection=collection.name,
            database=database,
            matches=answer.matches,
            close=answer.close,
            corrected=answer.corrected,
            scale=(answer.mode, collection.model_id),
        )


def chunk_count(tokens: int) -> int:
    """How many of the best chunks to search for, for a context of so many *tokens*."""
    return max(FEWEST_CHUNKS, min(MOST_CHUNKS, tokens // SHORT_PASSAGE))


def chunk_options(tokens: int, options: Options = Options()) -> Options:
    """*options* for what a context of so many *tokens* is made of."""
    return replace(options, all_chunks=True, limit=chunk_count(tokens))


def best_chunks(
    collection: StoredCollection,
    question: str,
    *,
    model: EmbeddingModel | None,
    tokens: int,
    options: Options = Options(),
    database: str | None = None,
) -> BestChunks:
    """The best chunks of *collection* for *question*, of those that pass *options*.

    :raises InvalidInputError: if *question* is blank.
    """
    options = chunk_options(tokens, options)
    answer = answer_text(collection, question, model=model, options=options)
    return BestChunks.of(collection, answer, database=database)


def build(
    question: str, found: Sequence[BestChunks], *, tokens: int, count: Count | None
) -> Context:
    """The context of *found* for *question*, of at most *tokens* tokens.

    *count* is the ``count_tokens`` of a model; without it, 4 characters are a token.
    A passage is left out if its text is not known, if its row has changed since it was
    embedded, or if another one has the same text.

    :raises InvalidInputError: if *tokens* is out of range.
    """
    counter = Tokens(count)
    most = checked_tokens(tokens)
    pieces = list(_different(_merged(question, found, counter.longest(most))))
    close = _close(found)
    chosen: Sequence[Piece] = ()
    if pieces:
        note = NOT_CLOSE if close is False else None
        chosen, text = _fitting(pieces, note, most, counter)
    else:
        text = NO_TEXT if any(each.matches for each in found) else NOTHING_FOUND
    if counter.whole(text) > most:
        text = ""
    return Context(
        question=question,
        passages=tuple(
            _passage(piece, number, found, counter)
            for number, piece in enumerate(chosen, 1)
        ),
        text=text,
        budget=most,
        tokens=counter.whole(text) if text else 0,
        counted_by=counter.counted_by,
        close=close,
        corrected=next((each.corrected for each in found if each.corrected), None),
    )


def _fitting(
    pieces: Sequence[Piece], note: str | None, most: int, tokens: Tokens
) -> tuple[Sequence[Piece], str]:
    """The best of *pieces*, and the text of *note* and them, of at most *most* tokens.

    If not one piece fits, the text says so.
    """
    of_note = tokens.part(note + BETWEEN) if note else 0
    room = most - tokens.of_none
    while room > 0:
        chosen = Selection(pieces, room - of_note, tokens).pieces
        if not chosen:
            break
        blocks = [block(each, number) for number, each in enumerate(chosen, 1)]
        text = BETWEEN.join([note, *blocks] if note else blocks)
        # A tokenizer may read a text in another way than its parts
        over = tokens.whole(text) - most
        if over <= 0:
            return chosen, text
        room -= max(over, room // 50)
    return (), NOTHING_FITS


def _passage(
    piece: Piece, number: int, found: Sequence[BestChunks], tokens: Tokens
) -> Passage:
    origin, match = found[piece.collection], piece.match
    is_part = piece.is_cut or match.start is not None
    return Passage(
        number=number,
        collection=origin.collection,
        database=origin.database,
        id=match.document_id,
        title=match.title,
        headings=match.headings,
        url=match.url,
        start=piece.start if is_part else None,
        end=piece.end if is_part else None,
        score=piece.score,
        text=piece.text,
        tokens=tokens.part(block(piece, number)),
        truncated=piece.is_cut,
    )


def _close(found: Sequence[BestChunks]) -> bool | None:
    """Whether one of *found* is close to the question; None if that is not known."""
    known = {each.close for each in found}
    if True in known:
        return True
    return False if known == {False} else None


def _merged(
    question: str, found: Sequence[BestChunks], longest: int
) -> Iterator[Piece]:
    """The matches of all of *found* as pieces, best for *question* first.

    Those of collections where nothing is close come last.  Scores decide if all are of
    one scale; else each collection has its turn.  No text is longer than *longest*.
    """
    is_comparable = len({each.scale for each in found}) < 2
    readable = [[*filter(_has_text, each.matches)] for each in found]
    texts = [match.content or "" for matches in readable for match in matches]
    shares = iter(shares_of_words(question, texts))
    places = list[tuple[tuple[float, ...], int, Match]]()
    for number, matches in enumerate(readable):
        is_far = found[number].close is False
        scored = zip(
            _scores(matches, islice(shares, len(matches))), matches, strict=True
        )
        best_first = sorted(scored, key=lambda pair: -pair[0])
        for turn, (score, match) in enumerate(best_first):
            order = -score if is_comparable else turn
            places.append(((is_far, order, number, turn), number, match))
    places.sort(key=lambda place: place[0])
    for rank, (_order, number, match) in enumerate(places):
        yield _piece(rank, number, match, longest)


def _scores(found: Sequence[Match], shares: Iterable[float]) -> list[float]:
    """What orders *found*: their scores, and the *shares* of the question's words."""
    # As they were ordered, even where another model did that
    scores = accumulate((match.score for match in found), min)
    if any(match.rerank_score is not None for match in found):
        return [*scores]
    pairs = zip(scores, shares, strict=True)
    return [score + OF_WORDS * share for score, share in pairs]


def _has_text(match: Match) -> bool:
    """Whether its text is known, and that which its score is about."""
    is_gone = match.stale or match.row_is_missing
    return not is_gone and bool(match.content and match.content.strip())


def _piece(rank: int, number: int, match: Match, longest: int) -> Piece:
    # One character more than fits, so that a word that goes on is not taken for one
    text = (match.content or "").rstrip()[: longest + 1]
    place, start = place_of(match), match.start or 0
    return Piece(
        rank=rank,
        collection=number,
        match=match,
        score=match.score,
        text=text,
        first=place,
        last=place or 0,
        start=start,
        end=start + len(text),
    )


def _different(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """*pieces* without those whose text is that of one before, white space aside."""
    known = set[str]()
    for piece in pieces:
        text = " ".join(piece.text.split())
        if text not in known:
            known.add(text)
            yield piece
