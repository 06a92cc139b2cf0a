"""The words of a query, as they are looked for in the words index of a collection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from datasette_embeddings.index.documents import ByNumber, Numbers
from datasette_embeddings.index.matrix import Keep
from datasette_embeddings.search.query import WORD, Query
from datasette_embeddings.search.shares import Counts, Shares
from datasette_embeddings.search.spelling import nearest_word
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.indexed_text import camel_parts, reversed_title
from datasette_embeddings.store.schema import rows_in, words_table
from datasette_embeddings.store.words_check import is_current_sql

# What is looked for, at most: a word has as many trigrams as letters, and an identifier
# may have a thousand parts
MOST_TERMS = 256
# Words that are corrected in one query: each reads a part of the vocabulary
MOST_FIXES = 8
# Documents with words that are read at a time, best first
BATCH = 50
# Titles that end with the query
MOST_TITLES = 1_000
# Letters that FTS5's trigram tokenizer takes together, and trigrams for fewer letters
TRIGRAM = 3
# A word as spelling corrects it
LETTERS = re.compile(r"[^\W_]+")
MOST_TRIGRAMS = 20


@dataclass(frozen=True)
class WordMatches:
    """What documents have of the words of a query."""

    shares: Shares
    #: The query as it was understood, where words were corrected
    corrected: str | None


class WordSearch:
    """The words index of *collection*, as a search reads it."""

    def __init__(self, collection: StoredCollection) -> None:
        self.collection, self.conn = collection, collection.conn
        self.table = words_table(collection.id)
        self.counts = Counts(collection)
        self.is_trigram = collection.words == "trigram"

    def matches(
        self, query: Query, *, as_typed: bool = False, is_typing: bool = False
    ) -> WordMatches:
        """The documents that have words of *query*, and how well they match.

        Words that no document has are corrected, unless they are to be taken
        *as_typed* or stand in a phrase.  While the visitor *is_typing*, the last word
        is a beginning.
        """
        last = query.words[-1] if is_typing and query.is_unfinished else None
        in_phrases = WORD.findall(" ".join(query.phrases).lower())
        counts: dict[str, int] = {}
        fixes: dict[str, str] = {}
        terms = (
            (word, term, plain)
            for word in query.words
            for term, plain in self._terms(word, is_beginning=word == last)
        )
        for word, term, plain in islice(terms, MOST_TERMS):
            counts[term] = self.counts.of(term)
            is_kept = as_typed or self.is_trigram or word.lower() in in_phrases
            is_kept = is_kept or len(fixes) >= MOST_FIXES
            if counts[term] or is_kept:
                continue
            nearest = nearest_word(self.collection, plain.lower())
            if nearest is not None:
                del counts[term]
                fixes[plain.lower()] = nearest
                counts[quoted(nearest)] = self.counts.of(quoted(nearest))
        corrected = None
        if fixes:
            corrected = LETTERS.sub(
                lambda word: fixes.get(word[0].lower(), word[0]), query.typed
            )
        shares = Shares.of(self.collection, counts, self.counts.total)
        return WordMatches(shares, corrected)

    def _terms(self, word: str, *, is_beginning: bool) -> list[tuple[str, str]]:
        """*word* as FTS5 looks for it, each with the word that it is for.

        An identifier is looked for as one word; if no document has it, as a phrase of
        its parts; and if none has that either, each part is.
        """
        if self.is_trigram:
            pieces = [word[at : at + TRIGRAM] for at in range(len(word) - TRIGRAM + 1)]
            found = dict.fromkeys(pieces or self._trigrams(word))
            return [(quoted(each), each) for each in found]
        if is_beginning:
            return [(f"{quoted(word)} *", word)]
        pieces = [each for each in word.split("_") if each]
        parts = [part for each in pieces for part in camel_parts(each) or [each]]
        if len(parts) < 2 or self.counts.of(quoted(word)):
            return [(quoted(word), word)]
        phrase = quoted(" ".join(parts))
        if self.counts.of(phrase):
            return [(phrase, word)]
        return [(quoted(each), each) for each in parts]

    def _trigrams(self, start: str) -> list[str]:
        """Trigrams that begin with *start*, which is shorter than one."""
        rows = self.conn.execute(
            f"""
            select term
            from {self.table}_terms
            where term >= ?
            and term < ?
            limit {MOST_TRIGRAMS}
            """,
            [start, start + chr(0x10FFFF)],
        )
        return [term for (term,) in rows]

    def best_first(self, shares: ByNumber) -> Iterator[ByNumber]:
        """*shares*, those of some documents at a time, best first."""
        order = np.argsort(-shares.values, kind="stable")
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            yield ByNumber(shares.numbers[some], shares.values[some])

    def documents(self, numbers: Numbers, keep: Keep | None) -> dict[str, int]:
        """Those of *numbers* that are documents by now and pass, each with its own."""
        sql = f"""
            select document_id, id
            from _embedding_words
            where {is_current_sql(self.collection)}
            and id in
        """
        found = dict(map(tuple, rows_in(self.conn, sql, [], numbers.tolist())))
        existing = existing_documents(self.collection, [*found])
        return {e: found[e] for e in existing if keep is None or keep(e)}

    def titled(self, name: str) -> ByNumber:
        """The documents whose title equals *name* (1) or ends with it (0.5)."""
        ending = reversed_title(name)
        rows = self.conn.execute(
            f"""
            select id, reversed_title
            from _embedding_words
            where collection_id = ?
            and reversed_title >= ?
            and reversed_title < ?
            order by reversed_title
            limit {MOST_TITLES}
            """,
            [self.collection.id, ending, ending + chr(0x10FFFF)],
        )
        found = sorted(map(tuple, rows if ending.strip() else ()))
        numbers = np.array([number for number, _title in found], np.int64)
        ends = np.array([1.0 if title == ending else 0.5 for _number, title in found])
        return ByNumber(numbers, ends)

    def having(self, query: Query) -> set[str] | None:
        """The documents that have all phrases of *query*; None if it has none."""
        terms = [quoted(each) for each in query.phrases]
        return self._matching(" AND ".join(terms)) if terms else None

    def excluded(self, query: Query) -> set[str]:
        """The documents that have one of the words that *query* excludes."""
        terms = [quoted(each) for each in query.without]
        return self._matching(" OR ".join(terms)) if terms else set()

    def _matching(self, expression: str) -> set[str]:
        rows = self.conn.execute(
            f"""
            select document_id
            from {self.table}
            join _embedding_words on _embedding_words.id = {self.table}.rowid
            where {self.table} match ?
            and {is_current_sql(self.collection)}
            """,
            [expression],
        )
        return {document_id for (document_id,) in rows}


def quoted(text: str) -> str:
    """*text* as a string of FTS5's query language, where no character is special."""
    return '"' + text.replace('"', '""').replace("\x00", " ") + '"'
