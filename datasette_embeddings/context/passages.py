"""Passages with their sources, and the context that is made of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of a document, and where it is from."""

    #: Its number in the context, from 1
    number: int
    #: The collection, as a reader may look it up again
    collection: str
    #: The database of it; None where all passages are from one
    database: str | None = None
    #: The id of the document
    id: str
    #: That of its document, joined with the *headings*
    title: str | None
    headings: tuple[str, ...] = ()
    #: Its address on the owner's site, or of the page of its row; None if it has none
    url: str | None = None
    #: Where its text is in the document, in characters; None for a whole document
    start: int | None = None
    end: int | None = None
    #: The best score of what it is made of, 0 to 1
    score: float
    text: str
    #: How many tokens its text takes with its line of source
    tokens: int
    #: Whether its end was left out, to fit
    truncated: bool = False


@dataclass(frozen=True, kw_only=True)
class Context:
    """The passages for a question, best first, and the text that a model reads."""

    question: str
    passages: tuple[Passage, ...]
    #: The passages with numbered sources; a model cites them as [1]
    text: str
    #: The most tokens that the text may have, and how many it has
    budget: int
    tokens: int
    #: What counted them: "tokenizer" or "characters", of which 4 count as one
    counted_by: str
    #: Whether a passage is close to the question; None where that is not known
    close: bool | None
    #: The question with other spelling, by which words were looked for
    corrected: str | None = None

    def __str__(self) -> str:
        return self.text


def context_json(context: Context) -> dict[str, object]:
    """*context* as every interface writes it in JSON."""
    return {
        "question": context.question,
        "close": context.close,
        "corrected": context.corrected,
        "tokens": {
            "budget": context.budget,
            "used": context.tokens,
            "counted_by": context.counted_by,
        },
        "passages": [_passage_json(each) for each in context.passages],
        "text": context.text,
    }


def _passage_json(passage: Passage) -> dict[str, object]:
    place: dict[str, object] = {"number": passage.number}
    if passage.database is not None:
        place["database"] = passage.database
    return place | {
        "collection": passage.collection,
        "id": passage.id,
        "title": passage.title,
        "headings": list(passage.headings),
        "url": passage.url,
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
        "text": passage.text,
        "tokens": passage.tokens,
        "truncated": passage.truncated,
    }
