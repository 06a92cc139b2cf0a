"""How well the documents of a collection match the words of a query.

BM25 of SQLite's FTS5, the title five times, is divided by the best that a document
could have for the query: the sum over its words of ``idf * (k1 + 1)``.  So 1 means that
a document has every word, often; and where words of the query stand nowhere, no
document gets much for the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from datasette_embeddings.search.query import WORD, Query
from datasette_embeddings.search.spelling import nearest_word
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.indexed_text import camel_parts, reversed_title
from datasette_embeddings.store.schema import rows_in
from datasette_embeddings.store.words import table_of
from datasette_embeddings.store.words_check import is_current_sql

#: What a word counts in a title
TITLE_WEIGHT = 5.0
#: FTS5's constant k1, plus 1: the most that a word counts, in units of its idf
MOST_OF_A_WORD = 2.2
# FTS5's idf of a word that more than half of the documents have
LEAST_IDF = 1e-6
# Documents that FTS5 scores in one search: of more, the commonest words are left out
MOST_CANDIDATES = 10_000
# Documents that are counted to see how many have a word: one more than are scored, so
# that a word is never left out by mistake.  Of more, the number follows from how far
# apart they are
COUNTED = MOST_CANDIDATES + 1
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
    """The documents that have words of a query."""

    #: By the number of the document in the words index, best first: 0 to 1
    shares: Mapping[int, float] = field(default_factory=dict)
    #: The query as it was understood, where words were corrected
    corrected: str | None = None
    #: All documents that are indexed
    total: int = 0


class WordSearch:
    """The words index of *collection*, as a search reads it."""

    def __init__(self, collection: Collection) -> None:
        self.collection, self.conn = collection, collection.conn
        self.table = table_of(collection.id)
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
            counts[term] = self._count(term)
            is_kept = as_typed or self.is_trigram or word.lower() in in_phrases
            is_kept = is_kept or len(fixes) >= MOST_FIXES
            if counts[term] or is_kept:
                continue
            nearest = nearest_word(self.collection, plain.lower())
            if nearest is not None:
                del counts[term]
                fixes[plain.lower()] = nearest
                counts[quoted(nearest)] = self._count(quoted(nearest))
        corrected = None
        if fixes:
            corrected = LETTERS.sub(
                lambda word: fixes.get(word[0].lower(), word[0]), query.typed
            )
        (total,) = self.conn.execute(
            f"select count(*) from {self.table}_docsize"
        ).fetchone()
        return WordMatches(self._shares(counts, total), corrected, total)

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
        if len(parts) < 2 or self._count(quoted(word)):
            return [(quoted(word), word)]
        phrase = quoted(" ".join(parts))
        if self._count(phrase):
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

    def _count(self, term: str) -> int:
        """How many documents have *term*; above :data:`COUNTED`, about how many."""
        count, last = self.conn.execute(
            f"""
            select count(*), max(rowid)
            from (
              select rowid
              from {self.table}
              where {self.table} match ?
              limit {COUNTED}
            )
            """,
            [term],
        ).fetchone()
        if count < COUNTED:
            return int(count)
        first, end = self._range()
        return int(count * (end - first + 1) / (last - first + 1))

    def _range(self) -> tuple[int, int]:
        """The lowest and the highest number of a document."""
        ends = [
            self.conn.execute(
                f"select rowid from {self.table} order by rowid {order} limit 1"
            ).fetchone()
            for order in ("asc", "desc")
        ]
        return ends[0][0], ends[1][0]

    def _shares(self, counts: Mapping[str, int], total: int) -> dict[int, float]:
        """Those of *total* documents that have some terms, by the share of the best."""
        if not any(counts.values()):
            return {}
        chosen, candidates = list[str](), 0
        for term, count in sorted(counts.items(), key=itemgetter(1)):
            candidates += count
            if count and candidates <= MOST_CANDIDATES:
                chosen.append(term)
        expression = " OR ".join(chosen)
        if not chosen:
            # All of them are common: a title says that a document is about one
            _count, term = min((count, term) for term, count in counts.items() if count)
            in_titles = self._count(f"title : {term}")
            expression = f"title : {term}" if in_titles else term
            counts = {**counts, term: in_titles or counts[term]}
        ideal = MOST_OF_A_WORD * sum(_idf(count, total) for count in counts.values())
        rows = self.conn.execute(
            f"""
            select rowid, bm25({self.table}, ?, 1.0)
            from {self.table}
            where {self.table} match ?
            limit {MOST_CANDIDATES}
            """,
            [TITLE_WEIGHT, expression],
        )
        scores = {number: -score for number, score in rows}
        # How many have a common word is not exact, and so is the best for it
        ideal = max(ideal, *scores.values())
        best = sorted(scores.items(), key=itemgetter(1), reverse=True)
        return {number: score / ideal for number, score in best}

    def batches(
        self, shares: Mapping[int, float], titled: Iterable[str]
    ) -> Iterator[tuple[float | None, dict[str, int]]]:
        """Documents with words and their numbers, and the greatest share of each batch.

        First those of *titled*, whatever their words (None), then those of *shares*.
        """
        yield None, self.numbers([*titled])
        numbers = list(shares)
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            yield shares[batch[0]], self.documents(batch)

    def documents(self, numbers: Sequence[int]) -> dict[str, int]:
        """The documents of *numbers*, each with its number."""
        sql = f"""
            select document_id, id
            from _embedding_words
            where {is_current_sql(self.collection)}
            and id in
        """
        return dict(map(tuple, rows_in(self.conn, sql, [], numbers)))

    def numbers(self, document_ids: Sequence[str]) -> dict[str, int]:
        """The number of each of *document_ids* that is indexed."""
        sql = f"""
            select document_id, id
            from _embedding_words
            where collection_id = ?
            and {is_current_sql(self.collection)}
            and document_id in
        """
        rows = rows_in(self.conn, sql, [self.collection.id], document_ids)
        return dict(map(tuple, rows))

    def titled(self, name: str) -> dict[str, bool]:
        """The documents whose title ends with *name*; True where it equals it."""
        ending = reversed_title(name)
        if not ending.strip():
            return {}
        rows = self.conn.execute(
            f"""
            select document_id, reversed_title
            from _embedding_words
            where collection_id = ?
            and reversed_title >= ?
            and reversed_title < ?
            order by reversed_title
            limit {MOST_TITLES}
            """,
            [self.collection.id, ending, ending + chr(0x10FFFF)],
        )
        return {document_id: title == ending for document_id, title in rows}

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


def _idf(count: int, total: int) -> float:
    """The weight of a word that *count* of *total* documents have, as FTS5 has it."""
    return max(math.log((max(total - count, 0) + 0.5) / (count + 0.5)), LEAST_IDF)
