"""How the work of this package grows with a collection: `scale.py --growth`.

A table of texts is embedded by a stand-in for a model, whose vectors are those of
`scripts/random_walk.py`, seed 0, and whose time is not counted. Then the unchanged
table is embedded again, as `sync` does, and new processes search: with the kind of
index that a collection of that size gets, and with a compact one. The line of a work
over all counts, by least squares of logarithms, rises by its exponent: 1 is linear.
There is one of the seconds, and one of the processor's time, which other load hardly
changes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from drawing import line_chart
from measuring import duration
from stand_in import StandIn

from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import StoredCollection, collection
from datasette_embeddings.vectors import Vectors, normalize

sys.path.append(str(Path(__file__).parent.parent / "scripts"))
from random_walk import WINDOW, texts, walks

COUNTS = [10_000, 30_000, 100_000, 300_000, 1_000_000]
NAME, SEARCHES, QUESTION_WORDS = "rows", 100, 3
#: How often what is fast enough is measured; the median counts
TURNS = 3
# What a shared machine adds to the exponent of work that is linear
NOISE = 0.05


#: Seconds on the clock, and of the processor
Taken = tuple[float, float]


class Walker(StandIn):
    """The vectors of a random walk, one for each text, and what they took."""

    def __init__(self, model_id: str, seed: int = 0) -> None:
        super().__init__(model_id)
        self._random = np.random.default_rng(seed)
        self._ahead: Vectors = np.empty((0, self.dimensions), np.float32)
        self.taken: Taken = (0.0, 0.0)

    def embed_passages(self, texts: Sequence[str], **_callbacks: object) -> Vectors:
        clock, used = timed(partial(self._walk, len(texts)))
        self.taken = self.taken[0] + clock, self.taken[1] + used
        found, self._ahead = np.split(self._ahead, [len(texts)])
        return found

    def _walk(self, count: int) -> None:
        while len(self._ahead) < count:
            more = walks(self._random, self.dimensions)
            self._ahead = np.concatenate([self._ahead, more])


class Asked(StandIn):
    """A model that knows the vectors of its questions."""

    def __init__(self, model_id: str, known: dict[str, np.ndarray]) -> None:
        super().__init__(model_id)
        self._known = known

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._known[each] for each in texts])


def growth(counts: list[int], picture: Path | None) -> None:
    """Print what each work takes for each of *counts*, and that for 1,000 items.

    *picture*, if one is given, shows the seconds with the index that each count gets.
    """
    found: dict[str, list[Taken]] = {}
    for count in counts:
        for work, taken in works_of(count).items():
            found.setdefault(work, []).append(taken)
    print("\n| |", *(f"{n:,} |" for n in counts), "exponent | of processor time |")
    print("|---" * (len(counts) + 3) + "|")
    clocks = {work: [clock for clock, _used in each] for work, each in found.items()}
    for work, clock in clocks.items():
        pairs = zip(clock, counts, strict=True)
        cells = [
            f"{duration(each)}, {duration(1000 * each / n)} |" for each, n in pairs
        ]
        used = [each for _clock, each in found[work]]
        print(f"| {work} |", *cells, verdict(counts, clock), verdict(counts, used))
    if picture:
        lines = {work: each for work, each in clocks.items() if "index" not in work}
        line_chart(picture, "seconds", "items", counts, lines)


def works_of(count: int) -> dict[str, Taken]:
    """What each work takes with *count* rows, whose sizes are printed."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.db"
        works, sizes = in_new_process("written", path, count), []
        for kind in ("auto", "compact"):
            in_new_process("saved", path, kind)
            some = [in_new_process("searched", path, kind) for _ in range(TURNS)]
            works |= medians(some)
            sizes.append(f"{works.pop('index')[0]:,.0f} MB")
        sizes = [f"{path.stat().st_size / 1e6:,.0f} MB", *sizes]
    print(
        f"{count:,} rows: database {sizes[0]}, index {sizes[1]}, compact {sizes[2]}, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return works


def medians(turns: list[dict[str, Taken]]) -> dict[str, Taken]:
    return {work: median([each[work] for each in turns]) for work in turns[0]}


def median(taken: list[Taken]) -> Taken:
    clock, used = np.median(taken, axis=0).tolist()
    return clock, used


def timed(work: Callable[[], object]) -> Taken:
    clock, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - used


def verdict(counts: list[int], taken: list[float]) -> str:
    if len(counts) < 2:
        return "|"
    exponent, _start = np.polyfit(np.log(counts), np.log(taken), 1)
    is_linear = exponent <= 1 + NOISE
    return f"{exponent:.2f}{'' if is_linear else ', MORE THAN LINEAR'} |"


def in_new_process(step: str, *arguments: object) -> dict[str, Taken]:
    command = [sys.executable, __file__, step, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Taken] = json.loads(done.stdout)
    return found


def written(path: str, count: str) -> dict[str, Taken]:
    conn = sqlite3.connect(path)
    conn.execute("create table rows (id integer primary key, body text)")
    conn.executemany("insert into rows (body) values (?)", bodies(int(count)))
    conn.commit()
    source, model = table_source(conn, "rows"), Walker("walk")
    run = partial(ingest, conn, NAME, source, model)
    clock, used = timed(run)
    first = clock - model.taken[0], used - model.taken[1]
    second = median([timed(run) for _ in range(TURNS)])
    return {"embed, without the model": first, "sync, nothing changed": second}


def saved(path: str, kind: str) -> dict[str, Taken]:
    """Save the index that a run saves where the settings ask for *kind*."""
    indexes.kind = kind
    indexes.save(collection(sqlite3.connect(path), NAME))
    return {}


def bodies(count: int) -> Iterator[tuple[str]]:
    random = np.random.default_rng(0)
    for start in range(0, count, WINDOW):
        for text in texts(random, min(WINDOW, count - start)):
            yield (text,)


def searched(path: str, kind: str) -> dict[str, Taken]:
    conn = sqlite3.connect(path)
    questions = questions_of(conn)
    model, asked = Asked("walk", questions), [*questions]
    indexes.kind = kind
    found = collection(conn, NAME)
    suffix = "" if kind == "auto" else f", {kind} index"
    first = timed(partial(search, found, asked[0], model, "meaning"))
    taken = {f"first answer{suffix}": first}
    for mode, name in (("meaning", "meaning"), ("both", "words and meaning")):
        works = [partial(search, found, each, model, mode) for each in asked]
        taken[f"search by {name}{suffix}"] = median([timed(work) for work in works])
    # Megabytes
    return {**taken, "index": (indexes.index(found).size / 1e6, 0.0)}


def search(found: StoredCollection, text: str, model: Asked, mode: str) -> None:
    search_text(found, text, model=model, options=Options(mode=mode))


def questions_of(conn: sqlite3.Connection) -> dict[str, np.ndarray]:
    """Words of some texts, and vectors as near theirs as one step of a walk is."""
    random = np.random.default_rng(1)
    (count,) = conn.execute("select max(id) from rows").fetchone()
    found = {}
    for each in random.integers(1, count + 1, SEARCHES).tolist():
        (body,) = conn.execute("select body from rows where id = ?", [each]).fetchone()
        sql = "select embedding from embeddings where id = ?"
        (blob,) = conn.execute(sql, [str(each)]).fetchone()
        vector = np.frombuffer(blob, "<f4")
        noise = random.standard_normal(len(vector)) / np.sqrt(len(vector))
        words = random.choice(body.split(), QUESTION_WORDS, replace=False)
        found[" ".join(words)] = normalize((vector + 0.5 * noise).astype("<f4")[None])[
            0
        ]
    return found


STEPS = {"written": written, "saved": saved, "searched": searched}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](*sys.argv[2:])))
