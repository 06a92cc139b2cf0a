"""Words and meaning in one ranking, beside the usual ways to join them.

    datasette embeddings demo demo.db
    datasette embeddings embed til.db til --table til --column title --column body
    python benchmarks/ranking.py demo.db stdlib benchmarks/data/questions_stdlib.json
    python benchmarks/ranking.py til.db til benchmarks/data/questions_til.json

Measured: MRR to depth 100 with its 95 % interval.  Ours: the three modes of a search.
Against: SQLite's ``bm25`` as it is, reciprocal rank fusion (k = 60) and the sum of both
scores, each from its lowest (0) to its highest (1) among the 100 best.  The weights of
the ranking are then chosen on nine tenths of the questions and measured on the rest.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from datasette_embeddings import load_model
from datasette_embeddings.config import MODES
from datasette_embeddings.index.documents import ByNumber
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.evaluation import DEPTH, Run, evaluate, interval
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.query import Query
from datasette_embeddings.search.questions import read_questions
from datasette_embeddings.search.ranking import BENT
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.collections import StoredCollection, collection

RRF = 60
FOLDS, SEED = 10, 15
MEANING = tuple(np.arange(0.5, 0.95, 0.05))
EXACT = (0.0, 0.1, 0.2, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("collection")
    parser.add_argument("questions", type=Path)
    given = parser.parse_args()
    conn = sqlite3.connect(given.database)
    found = collection(conn, given.collection)
    model = load_model(found.model_id)
    questions = read_questions(conn, given.questions)
    everything = found.count_items()
    search = WordSearch(found)

    def scores(text: str, mode: str, limit: int = DEPTH) -> dict[str, float]:
        options = Options(limit, mode=mode)
        best = search_text(found, text, model=model, options=options)
        return {each.document_id: each.score for each in best}

    def bm25(text: str) -> dict[str, float]:
        found = search.matches(Query.read(text), as_typed=True).shares.of_all
        return by_name(search, found)

    def rrf(text: str) -> list[str]:
        return fused([ranks(scores(text, "meaning")), ranks(bm25(text))])

    def min_max(text: str) -> list[str]:
        return fused([stretched(scores(text, "meaning")), stretched(bm25(text))])

    ways = {f"ours, {mode}": lambda q, m=mode: list(scores(q, m)) for mode in MODES}
    ways |= {"SQLite's FTS5 bm25": lambda q: best_first(bm25(q))}
    ways |= {"reciprocal rank fusion": rrf, "min-max score fusion": min_max}
    for name, way in ways.items():
        run = Run(found.name, name, evaluate(questions, way))
        summary = run.summary()
        low, high = summary.low["mrr"], summary.high["mrr"]
        print(f"{name:24} {summary.means['mrr']:.3f} ({low:.3f} to {high:.3f})")
    parts = [
        Parts.of(found, search, scores(each.text, "meaning", everything), each)
        for each in questions
    ]
    cross_validate(parts)


def by_name(search: WordSearch, some: ByNumber) -> dict[str, float]:
    """The value of each document, by its id."""
    documents = search.documents(some.numbers, None)
    values = some.of(np.array([*documents.values()], np.int64))
    return dict(zip(documents, values.tolist(), strict=True))


class Parts:
    """What the ranking adds up for each document of one question."""

    def __init__(
        self, meaning: np.ndarray, words: np.ndarray, exact: np.ndarray, right: list
    ) -> None:
        self.meaning, self.words, self.exact, self.right = meaning, words, exact, right

    @classmethod
    def of(
        cls,
        found: StoredCollection,
        search: WordSearch,
        cosines: Mapping[str, float],
        asked,
    ) -> Parts:
        place = {name: number for number, name in enumerate(sorted(cosines))}
        matched = search.matches(Query.read(asked.text))
        cosine = np.array([cosines[name] for name in place])
        words, exact = np.zeros(len(place)), np.zeros(len(place))
        for name, share in by_name(search, matched.shares.of_all).items():
            words[place[name]] = share
        words += BENT * np.minimum(words, 1 - words)
        titled = search.titled(matched.corrected or asked.text)
        for name, value in by_name(search, titled).items():
            exact[place[name]] = value
        average = cosine.mean()
        meaning = (cosine - average) / (1 - average)
        right = [place[name] for name in asked.relevant if name in place]
        return cls(meaning, words, exact, right)

    def reciprocal_rank(self, weight: float, bonus: float) -> float:
        score = weight * self.meaning + (1 - weight) * self.words + bonus * self.exact
        rank = 1 + int((score > score[self.right].max()).sum())
        return 1 / rank if rank <= DEPTH else 0.0


def cross_validate(parts: Sequence[Parts]) -> None:
    """Print the weights that are best, and what weights chosen elsewhere reach."""
    grid = [*product(MEANING, EXACT)]
    table = np.array([[each.reciprocal_rank(*w) for w in grid] for each in parts])
    folds = np.random.default_rng(SEED).permutation(len(parts)) % FOLDS
    held_out = np.zeros(len(parts))
    for fold in range(FOLDS):
        best = table[folds != fold].mean(axis=0).argmax()
        held_out[folds == fold] = table[folds == fold, best]
    weight, bonus = grid[table.mean(axis=0).argmax()]
    low, high = interval(held_out[:, None])
    print(f"best weights: meaning {weight:.2f}, exact {bonus:.1f}", end="; ")
    print(f"held out {held_out.mean():.3f} ({low[0]:.3f} to {high[0]:.3f})")


def best_first(scores: Mapping[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: (-scores[name], name))[:DEPTH]


def ranks(scores: Mapping[str, float]) -> dict[str, float]:
    return {each: 1 / (RRF + n) for n, each in enumerate(best_first(scores), 1)}


def stretched(scores: Mapping[str, float]) -> dict[str, float]:
    best = {name: scores[name] for name in best_first(scores)}
    low, high = min(best.values(), default=0), max(best.values(), default=0)
    return {name: (each - low) / ((high - low) or 1) for name, each in best.items()}


def fused(parts: Sequence[Mapping[str, float]]) -> list[str]:
    names = set().union(*parts)
    return best_first({name: sum(p.get(name, 0.0) for p in parts) for name in names})


if __name__ == "__main__":
    main()
