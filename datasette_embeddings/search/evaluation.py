"""How good rankings are: their measures, with intervals, and which one is better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from datasette_embeddings.models.base import ignore
from datasette_embeddings.search.questions import Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How many of the best documents are looked at
DEPTH = 100
#: What counts as found, for a person who reads the first results
TOP = 10
MEASURES = ("mrr", "ndcg_10", "recall_10", "right_at_1")
#: The kind of all questions together
ALL_KINDS = "all"
RESAMPLES, SEED = 2_000, 15
# Numbers in the memory of one block of resamples
BLOCK = 500_000
# The percentiles that hold 95 % between them
INTERVAL = (2.5, 97.5)


def figures(ranking: Sequence[str], relevant: frozenset[str]) -> tuple[float, ...]:
    """The :data:`MEASURES` of one question whose answers are *relevant*."""
    places = [place for place, each in enumerate(ranking, 1) if each in relevant]
    top = [place for place in places if place <= TOP]
    ideal = range(1, min(len(relevant), TOP) + 1)
    gain = sum(1 / math.log2(place + 1) for place in top)
    return (
        1 / places[0] if places else 0.0,
        gain / sum(1 / math.log2(place + 1) for place in ideal),
        len(top) / len(relevant),
        float(places[:1] == [1]),
    )


@dataclass(frozen=True)
class Outcome:
    """What a search found for *question*: document ids, best first."""

    question: Question
    ranking: tuple[str, ...]
    time_ms: float

    @property
    def figures(self) -> tuple[float, ...]:
        """Its :data:`MEASURES`."""
        return figures(self.ranking, self.question.relevant)

    @property
    def is_failure(self) -> bool:
        """Whether none of its answers is in the top 10."""
        return self.question.relevant.isdisjoint(self.ranking[:TOP])


@dataclass(frozen=True)
class Run:
    """The outcomes of all questions, in one *mode* of search in one *collection*."""

    collection: str
    mode: str
    outcomes: tuple[Outcome, ...]

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """The measures of each question, (questions, measures)."""
        return np.array([each.figures for each in self.outcomes])

    def summary(self, kind: str = ALL_KINDS) -> Summary:
        """Its measures over the questions of *kind*."""
        rows = [n for n, each in enumerate(self.outcomes) if is_of(each, kind)]
        table = self.table[rows]
        low, high = interval(table)
        times = [self.outcomes[row].time_ms for row in rows]
        return Summary(
            len(rows),
            means=_named(table.mean(axis=0)),
            low=_named(low),
            high=_named(high),
            p50_ms=statistics.median(times),
        )


@dataclass(frozen=True)
class Summary:
    """Means of measures over *count* questions, with their 95 % intervals."""

    count: int
    means: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    p50_ms: float


@dataclass(frozen=True)
class Comparison:
    """How much higher the MRR of one run is than that of another, 0 or more."""

    better: Run
    worse: Run
    gain: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether the 95 % interval of the gain excludes 0."""
        return self.low > 0

    def sentence(self, name: Callable[[Run], str]) -> str:
        """The result in plain words, with the *name* of each run."""
        better, worse = name(self.better), name(self.worse)
        if self.gain == self.low == self.high == 0:
            return f"{better} and {worse} are equal"
        gain = f"{better} beats {worse}: {self.gain:+.2f} MRR"
        between = f"between {_signed(self.low)} and {_signed(self.high)}"
        certainty = "certain" if self.is_certain else "not certain"
        return f"{gain}, {certainty}: {between}"


def is_of(outcome: Outcome, kind: str) -> bool:
    """Whether its question is of *kind*."""
    return kind in (ALL_KINDS, outcome.question.kind)


def evaluate(
    questions: Sequence[Question],
    search: Callable[[str], Sequence[str]],
    *,
    progress: Callable[[int], None] = ignore,
) -> tuple[Outcome, ...]:
    """What *search* finds for each of *questions*, and how long it takes."""
    outcomes = []
    for question in questions:
        start = perf_counter()
        ranking = search(question.text)
        time_ms = (perf_counter() - start) * 1_000
        outcomes.append(Outcome(question, tuple(ranking), time_ms))
        progress(1)
    return tuple(outcomes)


def compare(one: Run, other: Run, kind: str = ALL_KINDS) -> Comparison:
    """The run with the higher MRR over the questions of *kind*, and by how much.

    Both answered the same questions in the same order.
    """
    rows = [n for n, each in enumerate(one.outcomes) if is_of(each, kind)]
    gains = (one.table - other.table)[rows, :1]  # (questions of the kind, 1)
    if gains.mean() < 0:
        one, other, gains = other, one, -gains
    low, high = interval(gains)
    return Comparison(one, other, float(gains.mean()), float(low[0]), float(high[0]))


def interval(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of the mean of each column of *values*, by bootstrap.

    The same questions are drawn for all columns, and in each call with as many rows.
    """
    draw = np.random.default_rng(SEED)
    count = len(values)
    at_once = max(1, BLOCK // count)
    blocks = []
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start), count
        blocks.append(values[draw.integers(count, size=size)].mean(axis=1))
    low, high = np.percentile(np.concatenate(blocks), INTERVAL, axis=0)
    return low, high


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(MEASURES, map(float, values), strict=True))


def _signed(gain: float) -> str:
    """*gain* with its sign, and a minus sign as in print; 0.00 is 0 and no less."""
    digits = 2 if abs(gain) >= 0.005 or gain == 0 else 4
    return f"{gain:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
