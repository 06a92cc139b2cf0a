"""The order of chunks for a context: how they rank, and which words they have.

A search knows the words of documents, not of their chunks, so the chunks of one
document rank by meaning alone.  A context has only some of these.  Its order adds to
the score of a chunk how much of the question's words it has:

    score + 0.2 · BM25 / the best BM25 of the chunks that rank

``benchmarks/context.py`` chose the numbers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from datasette_embeddings.chunking import UNSPACED

#: What the words of a chunk can add to its score
OF_WORDS = 0.2
# Words are equal if their first letters are: endings differ ("embed", "embedding")
LETTERS = 5
# How fast more of a word says less, and how far the length of a text counts, in BM25
SATURATION, BY_LENGTH = 1.2, 0.5
# The different words of a question, and the characters of it and of a chunk, that count
MOST_WORDS, MOST_CHARACTERS = 64, 5_000
# In scripts without spaces, each character is taken for a word
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


def shares_of_words(question: str, texts: Sequence[str]) -> list[float]:
    """How much of the words of *question* each of *texts* has, the best one 1.

    That is BM25, where a word counts the more, the fewer of *texts* have it.
    """
    words = {*islice(dict.fromkeys(_words(question)), MOST_WORDS)}
    counts = [Counter(filter(words.__contains__, _words(text))) for text in texts]
    having = Counter(word for each in counts for word in each)
    if not having:
        return [0.0] * len(texts)
    rarity = {
        word: math.log(1 + (len(texts) - number + 0.5) / (number + 0.5))
        for word, number in having.items()
    }
    lengths = [min(len(text), MOST_CHARACTERS) for text in texts]
    average = sum(lengths) / len(lengths)
    scores = []
    for length, found in zip(lengths, counts, strict=True):
        slowness = SATURATION * (1 - BY_LENGTH + BY_LENGTH * length / average)
        parts = (rarity[word] * n / (n + slowness) for word, n in found.items())
        scores.append(sum(parts))
    best = max(scores)
    return [score / best for score in scores]


def _words(text: str) -> list[str]:
    """The first letters of each word of *text*, as far as it is read."""
    found = WORD.findall(text[:MOST_CHARACTERS].casefold())
    return [word[:LETTERS] for word in found]
