"""Names of clusters without a model: the words that set each apart from the others.

Words are weighed by class-based TF-IDF as BERTopic publishes it (Grootendorst 2022,
https://arxiv.org/abs/2203.05794, equation 3)::

    W(x, c) = tf(x, c) * log(1 + A / f(x))

*x* is a word, *c* a cluster, ``tf(x, c)`` how often it is there, ``f(x)`` how often it
is in all clusters, and *A* the mean number of words of a cluster.  Three things differ
from counting every word alike.  A document counts each word of its text once, and one
of its title TITLE_COUNT times, so that a long listing does not name a cluster.  The
forms of a word that the words index takes as one count as one.  At most MOST_DOCUMENTS
documents of a cluster are read, and the beginning of each.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile

from datasette_embeddings.clusters.stop_words import STOP_WORDS
from datasette_embeddings.clusters.texts import read_texts
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.indexed_text import IndexedText
from datasette_embeddings.store.words import TOKENIZERS

# Documents of one cluster that are read, and of all; characters of title and of body
MOST_DOCUMENTS, MOST_IN_ALL, LENGTH = 300, 6_000, 1_500
# How much a word of the title counts; one of the text counts 1 besides
TITLE_COUNT = 3
# How much more often than elsewhere a document of the cluster has one of its words
LEAST_LIFT = 1.5
# A word of one document only is not about the cluster
LEAST_DOCUMENTS = 2
# The part of its uses in which a word is written small that makes it so in a name
LEAST_LOWER_CASE = 0.25
# Words that begin alike and end differently: at least so many letters, at most so many
LEAST_BEGINNING, MOST_ENDING = 4, 3
# What is no text: addresses, tags, entities, the ends of "doesn't" and "Python's"
NO_TEXT = re.compile(
    r"https?://\S+|\]\([^)\s]{1,300}\)|</?[A-Za-z][^<>]{0,300}>|&#?\w{1,8};"
    r"|(?<=\w)['\u2019](?:s|t|d|m|re|ve|ll)\b"
)
RUN = re.compile(r"[^\W_]+")
# Letters, which digits may follow; or digits.  Longer ones are no words of a language
WORD = re.compile(r"[^\W\d_]{2,24}\d{0,3}|\d{1,9}")
# Languages without spaces: two characters are most of their words
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{2,}")


@dataclass
class WordCounts:
    """The words of one cluster, in lower case."""

    #: How much each counts
    weights: Counter[str] = field(default_factory=Counter)
    #: How many documents have each
    documents: Counter[str] = field(default_factory=Counter)
    #: How often each is written with these capitals, but not with the one of a title
    written: Counter[str] = field(default_factory=Counter)
    #: How many documents were read
    read: int = 0

    def add(self, text: IndexedText) -> None:
        """Count the words of one document."""
        written, titled = _words(text.body), _words(text.title)
        self.written.update(written)
        self.written.update(each for each in titled if not each.istitle())
        title = {each.lower() for each in titled}
        body = {each.lower() for each in written}
        self.documents.update(title | body)
        self.weights.update(body)
        self.weights.update(dict.fromkeys(title, TITLE_COUNT))
        self.read += 1


@dataclass
class Stemmed:
    """The words of clusters, all forms of a word as one, by its stem."""

    weights: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)
    #: How much each form of a stem counts
    forms: Mapping[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )

    def add(self, counts: WordCounts, stems: Mapping[str, str]) -> None:
        """Count the words of a cluster that have a stem."""
        for word, weight in counts.weights.items():
            if (stem := stems.get(word)) is None:
                continue
            self.weights[stem] += weight
            self.forms[stem][word] += weight
            # A document may have several forms
            self.documents[stem] += counts.documents[word]

    def word(self, stem: str) -> str:
        """The form of *stem* that counts most."""
        forms = self.forms[stem]
        return max(forms, key=lambda each: (forms[each], each))


def words_of_clusters(
    collection: StoredCollection,
    members: Mapping[int, Sequence[str]],
    *,
    limit: int = 4,
) -> dict[int, list[str]]:
    """At most *limit* words for each cluster, best first, as they are written.

    *members* are the documents of each cluster.  There are no stop words among them, of
    several forms of a word only one, and numbers only where there is nothing else.  A
    cluster whose documents have no texts has no words.
    """
    counted = {}
    most = max(1, min(MOST_DOCUMENTS, MOST_IN_ALL // max(1, len(members))))
    for number, ids in members.items():
        counted[number] = counts = WordCounts()
        texts = read_texts(collection, _some(ids, most), length=LENGTH)
        for text in texts.values():
            counts.add(text)
    return best_words(counted, kind=collection.words, limit=limit)


def _some(ids: Sequence[str], most: int) -> list[str]:
    """At most *most* of *ids*, at equal distances."""
    count = min(most, len(ids))
    return [ids[number * len(ids) // count] for number in range(count)]


def _words(text: str) -> list[str]:
    words = RUN.findall(NO_TEXT.sub(" ", text))
    if not text.isascii():
        for run in HAN.findall(text):
            words += [run[start : start + 2] for start in range(len(run) - 1)]
    return words


def best_words(
    counted: Mapping[int, WordCounts], *, kind: str | None, limit: int
) -> dict[int, list[str]]:
    """The *limit* words of the greatest weight in each cluster, by its number.

    *kind* is that of the words index: it says which forms of a word are one.
    """
    words = set().union(*(each.weights for each in counted.values()))
    stems = _stems(sorted(filter(WORD.fullmatch, words)), kind)
    totals, read = Stemmed(), 0
    for counts in counted.values():
        totals.add(counts, stems)
        read += counts.read
    mean = totals.weights.total() / max(1, len(counted))
    found = {}
    for number, counts in counted.items():
        own = Stemmed()
        own.add(counts, stems)
        scores = {
            stem: weight * math.log(1 + mean / totals.weights[stem])
            for stem, weight in own.weights.items()
            if _is_typical(
                (own.documents[stem], counts.read), (totals.documents[stem], read)
            )
        }
        found[number] = _best(scores, own, counts, limit)
    return found


def _is_typical(own: tuple[int, int], totals: tuple[int, int]) -> bool:
    """Whether a word is more frequent in a cluster than elsewhere.

    *own* are how many documents of the cluster have it, and how many were read;
    *totals* those of all clusters.
    """
    others = max(1, totals[1] - own[1])
    elsewhere = (totals[0] - own[0]) / others
    is_rare = own[0] < min(LEAST_DOCUMENTS, own[1])
    return not is_rare and own[0] / own[1] >= LEAST_LIFT * elsewhere


def _best(
    scores: Mapping[str, float], own: Stemmed, counts: WordCounts, limit: int
) -> list[str]:
    """The words of the best stems as they are written, no two of them alike."""
    words = {own.word(stem): score for stem, score in scores.items()}
    useful = words.keys() - STOP_WORDS
    # Numbers only if there is nothing else
    useful = {each for each in useful if not each.isdigit()} or useful
    found: list[str] = []
    for word in sorted(useful, key=lambda each: (-words[each], each)):
        if len(found) == limit:
            break
        if not any(_is_near(word, each.lower()) for each in found):
            found.append(_as_written(word, counts.written))
    return found


def _as_written(word: str, written: Mapping[str, int]) -> str:
    """*word* with the capitals that it mostly has in texts."""
    # Only for the few words of a name: there is no index by lower case
    forms = {each: count for each, count in written.items() if each.lower() == word}
    if forms.get(word, 0) >= sum(forms.values()) * LEAST_LOWER_CASE:
        return word
    return max(forms, key=lambda each: (forms[each], each))


def _is_near(word: str, other: str) -> bool:
    """Whether one of two words is probably a form of the other one."""
    short, long = sorted((word, other), key=len)
    pairs = zip(short, long, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    most = len(long) - MOST_ENDING
    return common >= max(LEAST_BEGINNING, most) or len(short) == common >= max(3, most)


def _stems(words: Sequence[str], kind: str | None) -> dict[str, str]:
    """What the words index of *kind* has for each of *words*: itself, without one."""
    tokenizer = TOKENIZERS["english" if kind == "english" else "plain"]
    with closing(sqlite3.connect(":memory:")) as conn:
        try:
            conn.execute(
                f"create virtual table words using fts5 (word, tokenize='{tokenizer}')"
            )
            conn.execute("create virtual table terms using fts5vocab (words, instance)")
        except sqlite3.OperationalError:
            # This SQLite has no FTS5
            return {each: each for each in words}
        rows = enumerate(words)
        conn.executemany("insert into words (rowid, word) values (?, ?)", rows)
        terms = conn.execute("select doc, term from terms")
        stems = {words[number]: term for number, term in terms}
    return {each: stems.get(each, each) for each in words}
