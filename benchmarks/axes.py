"""Concrete and abstract words on an axis: how well it orders others, and how fast.

    python benchmarks/axes.py

Measured: Spearman's correlation between the positions of 40 words, which are in neither
end, and whether a person called them concrete or abstract. A perfect order reaches
0.866, because the judgement has two values only. Also how many are on the right side of
0; with ends of 8 words, and of 8 against 1. Against: the same by hand with llm, whose
``decode`` reads the stored vectors: how much nearer a word is to the average of one
list than to that of the other. Then ``embed_axis`` over 100,000 vectors of 384 numbers
in SQL, beside ``embed_cosine``, in seconds of a processor.

Must hold: as many words on the right side as by hand, and at most twice the time.
"""

from __future__ import annotations

import sqlite3
import statistics
import time

import llm
import numpy as np
from measuring import print_line
from random_items import unit_vectors

from datasette_embeddings import load_model, register
from datasette_embeddings.config import DEFAULT_MODEL

CONCRETE = ["concrete", "table", "stone", "water", "shoe", "apple", "brick", "cloth"]
ABSTRACT = ["abstract", "idea", "truth", "freedom", "logic", "virtue", "theory", "hope"]
JUDGED = {
    0: "hammer river chair bread window horse pencil bottle tree knife carpet spoon "
    "rope cheese door sand bicycle lamp shirt bone",
    1: "justice concept belief honour morality essence wisdom destiny ambiguity "
    "philosophy reason doubt dignity necessity meaning mercy principle relevance "
    "purpose possibility",
}
ROWS, DIMENSIONS, TURNS = 100_000, 384, 5


def main() -> None:
    words = [(w, kind) for kind, each in JUDGED.items() for w in each.split()]
    model = load_model(DEFAULT_MODEL)
    conn = sqlite3.connect(":memory:")
    register(conn)
    conn.execute("create table words (word text, kind integer, embedding blob)")
    vectors = model.embed_passages([word for word, _kind in words])
    rows = [(*w, llm.encode(v.tolist())) for w, v in zip(words, vectors, strict=True)]
    conn.executemany("insert into words values (?, ?, ?)", rows)
    for low, high in ((8, 8), (8, 1), (1, 8)):
        compare(conn, CONCRETE[:low], ABSTRACT[:high])
    speed(conn, [", ".join(each) for each in (CONCRETE, ABSTRACT)])


def compare(conn: sqlite3.Connection, low: list[str], high: list[str]) -> None:
    """Print the correlation of ours and by hand, and what is on the right side of 0."""
    rows = conn.execute("select kind, embedding from words order by rowid").fetchall()
    sql = "select embed_axis(embedding, ?, ?) from words order by rowid"
    ends = [", ".join(each) for each in (low, high)]
    ways = {
        "ours": [position for (position,) in conn.execute(sql, ends)],
        "by hand": nearer_by_hand(
            [llm.decode(blob) for _kind, blob in rows], low, high
        ),
    }
    kinds = [kind for kind, _blob in rows]
    figures, right = [], {}
    for name, found in ways.items():
        sides = zip(kinds, found, strict=True)
        right[name] = sum((each > 0) == kind for kind, each in sides)
        correlation = spearman(kinds, found)
        figures.append(f"{name} {correlation:.3f}, {right[name]} on the right side")
    work = f"40 words between {len(low)} and {len(high)}"
    print_line(work, figures, right["ours"], at_least=right["by hand"])


def nearer_by_hand(
    vectors: list[tuple[float, ...]], low: list[str], high: list[str]
) -> list[float]:
    """How much nearer each vector is to the average of *high* than to that of *low*."""
    model = load_model(DEFAULT_MODEL)
    averages = [model.embed_passages(each).mean(axis=0) for each in (low, high)]
    far, near = (np.linalg.norm(np.array(vectors) - a, axis=1) for a in averages)
    return list(far - near)


def spearman(one, other) -> float:
    """The correlation of the ranks of both, ties in the middle of theirs."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def ranks(values) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def speed(conn: sqlite3.Connection, ends: list[str]) -> None:
    conn.execute("create table items (embedding blob)")
    blobs = ((vector.tobytes(),) for vector in unit_vectors(ROWS, DIMENSIONS))
    conn.executemany("insert into items values (?)", blobs)
    calls = {
        "embed_axis": ("embed_axis(embedding, ?, ?)", ends),
        "embed_cosine": ("embed_cosine(embedding, embed_query(?))", ["a cat"]),
    }
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, (call, values) in calls.items():
            start = time.process_time()
            conn.execute(f"select sum({call}) from items", values).fetchone()
            took[name].append(time.process_time() - start)
    median = {name: statistics.median(each) for name, each in took.items()}
    ratio = median["embed_axis"] / median["embed_cosine"]
    figures = [f"{name} {value:.2f} s" for name, value in median.items()]
    print_line("100,000 rows in SQL", [*figures, f"{ratio:.2f}x"], ratio, at_most=2)


if __name__ == "__main__":
    main()
