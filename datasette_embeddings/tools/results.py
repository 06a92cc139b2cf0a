"""What a model reads as the result of a tool: the same small JSON in all hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from datasette_embeddings.context.passages import Context, Passage
from datasette_embeddings.search.matches import Match, has_images
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store.cluster_names import names_of
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.tools.definitions import LONGEST_NAME

#: Characters of a match's text, and those of "… " and " …" around it
SNIPPET_LENGTH, AROUND = 300, 4
LONGEST_TITLE = 200
#: Collections in one result
MOST_LISTED = 100
# The clusters that say what a collection is about, and characters of the name of each
MOST_ABOUT, LONGEST_ABOUT = 5, 60
NOTHING_CLOSE = (
    "Nothing here is about this: the matches are the nearest there are, and probably "
    "no answer."
)
NOTHING_FOUND = "Nothing was found."


def by_words_note(reason: str) -> str:
    """What a model is told where its query was not embedded, for that *reason*."""
    return f"Found by words alone, not by meaning: {reason}."


def collection_facts(collection: StoredCollection) -> dict[str, Any]:
    """What a model is told of *collection*: ``name``, ``count`` of items and ``about``.

    The latter are the names of its largest clusters, if it has any; ``images`` is true
    if its items are images.
    """
    facts = Clusters(collection).facts
    sizes = {} if facts is None else dict(enumerate(facts.sizes, 1))
    largest = sorted(sizes, key=lambda number: (-sizes[number], number))[:MOST_ABOUT]
    names = names_of(collection, largest)
    about = [shortened(names[each], LONGEST_ABOUT) for each in largest if each in names]
    return _known(
        {
            "name": collection.name,
            "count": collection.count_items(),
            "about": "; ".join(about) or None,
            "images": has_images(collection) or None,
        }
    )


def collections_result(
    rows: Sequence[Mapping[str, object]], *, note: str | None = None
) -> dict[str, Any]:
    """The collections that a model may read, each with what is known of it.

    A row has what ``described()`` takes; of more than MOST_LISTED, the first are given.
    """
    names = ("database", "name", "count", "title", "about", "images")
    listed = [
        _known({name: row.get(name) for name in names})
        for row in rows
        if _whole(str(row["name"]))
    ]
    more = len(rows) - len(listed[:MOST_LISTED])
    if not rows:
        note = note or "There are no collections here."
    return _known(
        {"collections": listed[:MOST_LISTED], "more": more or None, "note": note}
    )


def match_result(match: Match, *, query: str | None = None) -> dict[str, Any]:
    """*match* as a model reads it; the snippet is where most words of *query* are."""
    pieces = match.excerpt(query, SNIPPET_LENGTH - AROUND)
    return _known(
        {
            "id": _whole(match.document_id),
            "title": match.title and shortened(match.title, LONGEST_TITLE),
            "url": _whole(match.url),
            "score": round(match.score, 3),
            "snippet": "".join(piece.text for piece in pieces) or None,
            "cluster_name": match.cluster_name
            and shortened(match.cluster_name, LONGEST_TITLE),
            "image": match.has_image or None,
            "stale": match.stale or None,
        }
    )


def matches_result(
    matches: Sequence[Mapping[str, object]],
    close: bool | None = None,
    *,
    corrected: str | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """The *matches*, each of :func:`match_result`, and what a model must know of them.

    *close* and *corrected* are those of the answer; *note* says what it lacks.
    """
    notes = [note, NOTHING_CLOSE if close is False and matches else None]
    if not matches:
        notes.append(NOTHING_FOUND)
    return _known(
        {
            "matches": list(matches),
            "close": close,
            "corrected": corrected,
            "note": " ".join(each for each in notes if each) or None,
        }
    )


def context_result(context: Context, *, note: str | None = None) -> dict[str, Any]:
    """The text of *context*, and the facts of its passages without their texts."""
    return _known(
        {
            "text": context.text,
            "sources": [_source(each) for each in context.passages],
            "close": context.close,
            "corrected": context.corrected,
            "tokens": context.tokens,
            "note": note,
        }
    )


def as_text(result: Mapping[str, Any]) -> str:
    """*result* as JSON in UTF-8, for a host that takes only texts."""
    text = json.dumps(result, ensure_ascii=False)
    # Metadata in JSON may hold half of a surrogate pair, which UTF-8 does not have
    return text.encode("utf-8", "replace").decode("utf-8")


def _source(passage: Passage) -> dict[str, Any]:
    return _known(
        {
            "number": passage.number,
            "collection": passage.collection,
            "id": _whole(passage.id),
            "title": passage.title and shortened(passage.title, LONGEST_TITLE),
            "url": _whole(passage.url),
            "start": passage.start,
            "end": passage.end,
            "score": round(passage.score, 3),
            "truncated": passage.truncated or None,
        }
    )


def _whole(text: str | None) -> str | None:
    """*text*, or None if it is too long to be sent back: a part would be another."""
    return text if text and len(text) <= LONGEST_NAME else None


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* without those that are not known."""
    return {name: value for name, value in values.items() if value is not None}
