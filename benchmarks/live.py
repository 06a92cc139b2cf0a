"""Live collections: from a write to the search that finds it, and what that costs.

    python benchmarks/live.py                         # everything, about 20 minutes
    python benchmarks/live.py latency writes searches
    python benchmarks/live.py hold
    python benchmarks/live.py kills --kills 100

It needs Datasette 1.0, whose write API it uses, against one real ``datasette`` process
on 127.0.0.1 with the bundled model.  ``latency`` and ``writes`` also have a table of
100,000 rows, whose texts are short.

Must hold: 95 of 100 rows that the API writes are found within 2 s, and those of another
program within 5 s; a write takes at most 1 ms longer with ``live``; 95 of 100 searches,
at 10 a second beside writes, take at most twice as long with ``live``; after 60 s of
1,000 writes and 8 searching clients no request has failed, all is embedded 5 s later,
no answer has a text beside the score of another, and the vectors are those of a new
collection; so they are after each kill.
"""

from __future__ import annotations

import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from commands import SCRIPTS, datasette_environment
from measuring import duration, print_line
from server_memory import free_port

from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.sources.from_config import table_source

WORDS = re.findall("[a-z]{3,}", Path(__file__).read_text("utf-8"))
SMALL, LARGE = 1_000, 100_000
LATENCIES, WRITES, ROUNDS = 50, 500, 3
HOLD_S, HOLD_WRITES, CLIENTS, WRITERS = 60, 1_000, 8, 4
HOLD_ROWS = 1_000
# Between two searches of a client
THINK_S = 0.1
SEARCHES_A_SECOND, WRITES_A_SECOND, SEARCHING_S = 10, 5, 30
# A score is rounded, and the model is quantised by what is in a batch
CLOSE_ENOUGH = 0.03
SEARCH = "/notes/-/embeddings/notes.json"
PERMISSIONS = ("insert-row", "update-row", "delete-row")


def main() -> None:
    parser = ArgumentParser()
    names = {e.__name__: e for e in (latency, writes, searches, hold, kills)}
    parser.add_argument("parts", nargs="*", help=", ".join(names))
    parser.add_argument("--kills", type=int, default=100)
    given = parser.parse_args()
    for name in given.parts or names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "kills":
                kills(Path(folder), given.kills)
            else:
                names[name](Path(folder))


def text_of(choose: random.Random, most_words: int = 20) -> str:
    return " ".join(choose.choices(WORDS, k=choose.randint(5, most_words)))


def write_notes(path: Path, rows: int, *, most_words: int = 20) -> None:
    """A table with a collection."""
    choose = random.Random(0)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("pragma journal_mode = wal")
        conn.execute("create table notes (id integer primary key, body text)")
        texts = [(text_of(choose, most_words),) for _ in range(rows)]
        conn.executemany("insert into notes (body) values (?)", texts)
        conn.commit()
        ingest(conn, "notes", table_source(conn, "notes"), load_model(DEFAULT_MODEL))


@dataclass
class Site:
    """A server, and a client of it."""

    url: str
    process: subprocess.Popen[bytes]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def get(self, **parameters: str) -> dict:
        response = self.client.get(self.url + SEARCH, params=parameters)
        response.raise_for_status()
        return response.json()

    def live(self) -> dict:
        return self.get()["collection"].get("live", {})

    def post(self, path: str, body: dict) -> dict:
        response = self.client.post(f"{self.url}/notes/notes/{path}", json=body)
        response.raise_for_status()
        return response.json()

    def insert(self, text: str) -> int:
        answer = self.post("-/insert", {"row": {"body": text}, "return": True})
        return answer["rows"][0]["id"]

    def is_found(self, row_id: int, text: str) -> bool:
        found = self.get(q=text, _mode="meaning", _size="3")["matches"]
        return any(e["id"] == str(row_id) and e["cosine"] > 0.9 for e in found)


@contextmanager
def serving(path: Path, *, live: bool = True) -> Iterator[Site]:
    """A server that has caught up, if it is to follow at all."""
    collection = {"table": "notes", "live": live}
    settings = path.parent / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "permissions": dict.fromkeys(PERMISSIONS, True),
                "plugins": {
                    "datasette-embeddings": {"collections": {"notes": collection}}
                },
            }
        )
    )
    port = free_port()
    command = [SCRIPTS / "datasette", path, "--config", settings, "--port", str(port)]
    # The package of this checkout
    environment = datasette_environment(path.parent)
    environment["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent.parent}"
    with (
        (path.parent / "log").open("ab") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            site = Site(f"http://127.0.0.1:{port}", process)
            until(lambda: is_up(site))
            site.get(q="warm")
            if live:
                until(lambda: site.live()["state"] == "following")
            yield site
        finally:
            process.kill()


def is_up(site: Site) -> bool:
    try:
        return bool(site.get())
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], most_s: float = 600, pause_s: float = 0.01):
    """The seconds until *condition* holds."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > most_s:
            raise SystemExit(f"It did not come true in {most_s:g} s")
        time.sleep(pause_s)
    return time.perf_counter() - started


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def latency(folder: Path) -> None:
    """From a write to the search that finds it."""
    for rows in (SMALL, LARGE):
        path = folder / f"{rows}" / "notes.db"
        path.parent.mkdir()
        write_notes(path, rows, most_words=8)
        choose = random.Random(1)
        with serving(path) as site, closing(sqlite3.connect(path)) as conn:
            by_api, by_others = [], []
            for _ in range(LATENCIES):
                time.sleep(choose.random() / 2)
                text = text_of(choose)
                started = time.perf_counter()
                row = site.insert(text)
                until(lambda r=row, t=text: site.is_found(r, t))
                by_api.append(time.perf_counter() - started)
                text = text_of(choose)
                started = time.perf_counter()
                with conn:
                    row = conn.execute(
                        "insert into notes (body) values (?)", [text]
                    ).lastrowid
                until(lambda r=row, t=text: site.is_found(r, t))
                by_others.append(time.perf_counter() - started)
        for name, times, bound in (("API", by_api, 2), ("others", by_others, 5)):
            print_line(
                f"found after a write, {name}, {rows:,} rows",
                [
                    f"p50 {duration(statistics.median(times))}",
                    f"p95 {duration(p95(times))}",
                ],
                p95(times),
                " s",
                at_most=bound,
            )


def writes(folder: Path) -> None:
    """What a write costs more."""
    for rows in (SMALL, LARGE):
        path = folder / f"{rows}" / "notes.db"
        path.parent.mkdir()
        write_notes(path, rows, most_words=8)
        means: dict[bool, list[float]] = {True: [], False: []}
        choose = random.Random(2)
        for _ in range(ROUNDS):
            for live in means:
                with serving(path, live=live) as site:
                    times = []
                    for _ in range(WRITES):
                        text = text_of(choose)
                        started = time.perf_counter()
                        site.insert(text)
                        times.append(time.perf_counter() - started)
                    if live:
                        until(lambda s=site: not s.live()["behind"])
                means[live].append(statistics.mean(times) * 1000)
        with_live, without = (statistics.median(means[e]) for e in (True, False))
        print_line(
            f"{WRITES} writes, {rows:,} rows",
            [f"with live {with_live:.2f} ms", f"without {without:.2f} ms"],
            with_live - without,
            " ms more",
            at_most=1,
        )


def searches(folder: Path) -> None:
    """Searches at a steady rate, beside writes and without."""
    path = folder / "notes.db"
    write_notes(path, 20_000)
    found: dict[str, list[float]] = {"live": [], "not live": [], "no writes": []}
    for _ in range(ROUNDS):
        for name, times in found.items():
            with serving(path, live=name == "live") as site:
                ended = threading.Event()
                writer = threading.Thread(target=write_steadily, args=(site.url, ended))
                if name != "no writes":
                    writer.start()
                times += searched(site.url)
                ended.set()
                if name != "no writes":
                    writer.join()
    p95s = {name: p95(times) for name, times in found.items()}
    print_line(
        f"p95 at {SEARCHES_A_SECOND} searches/s beside {WRITES_A_SECOND} writes/s",
        [f"{name} {duration(each)}" for name, each in p95s.items()],
        p95s["live"] / p95s["not live"],
        "x",
        at_most=2,
    )


def write_steadily(url: str, ended: threading.Event) -> None:
    choose = random.Random(3)
    with httpx.Client(timeout=60) as client:
        while not ended.wait(1 / WRITES_A_SECOND):
            body = {"row": {"body": text_of(choose)}}
            client.post(f"{url}/notes/notes/-/insert", json=body).raise_for_status()


def searched(url: str) -> list[float]:
    """The times of searches that begin at a steady rate, whatever the last one took."""
    times, threads, choose = [], list[threading.Thread](), random.Random(4)
    client = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=100))

    def search(text: str, planned: float) -> None:
        client.get(url + SEARCH, params={"q": text}).raise_for_status()
        times.append(time.perf_counter() - planned)

    started = time.perf_counter()
    for number in range(SEARCHES_A_SECOND * SEARCHING_S):
        planned = started + number / SEARCHES_A_SECOND
        time.sleep(max(0.0, planned - time.perf_counter()))
        words = " ".join(choose.choices(WORDS, k=4))
        threads.append(threading.Thread(target=search, args=(words, planned)))
        threads[-1].start()
    for each in threads:
        each.join()
    return times


class Writer:
    """Writes rows at random, and keeps what must be there."""

    def __init__(self, site: Site, choose: random.Random, ids: list[int]) -> None:
        self.site, self.choose, self.ids = site, choose, ids

    def write(self) -> None:
        kind = self.choose.choice(["insert", "update", "update", "delete"])
        if kind == "insert" or len(self.ids) < 100:
            self.ids.append(self.site.insert(text_of(self.choose)))
            return
        position = self.choose.randrange(len(self.ids))
        if kind == "update":
            body = {"update": {"body": text_of(self.choose)}}
            self.site.post(f"{self.ids[position]}/-/update", body)
        else:
            self.site.post(f"{self.ids.pop(position)}/-/delete", {})


def hold(folder: Path) -> None:
    """Writes and searching clients for a minute."""
    path = folder / "notes.db"
    write_notes(path, HOLD_ROWS)
    answers: list[tuple[str, str, float]] = []
    failed: list[str] = []
    ended = threading.Event()
    with serving(path) as site:
        clients = [
            threading.Thread(
                target=search_on, args=(site.url, number, ended, answers, failed)
            )
            for number in range(CLIENTS)
        ]
        for each in clients:
            each.start()
        writers = [
            threading.Thread(target=write_on, args=(site, number, failed))
            for number in range(WRITERS)
        ]
        started = time.perf_counter()
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        took = time.perf_counter() - started
        behind_s = until(lambda: not site.live()["behind"])
        ended.set()
        for each in clients:
            each.join()
        failing = site.live()["failing"]
    print(f"{len(answers):,} matches in {took:.0f} s; failed: {failed[:3]}")
    print_line("requests that failed", [], len(failed) + failing, at_most=0)
    print_line("all embedded after", [duration(behind_s)], behind_s, " s", at_most=5)
    print_line("texts beside another's score", [], wrong(answers), at_most=0)
    print_line("other vectors than a new one", [], differences(path), at_most=0)


def write_on(site: Site, number: int, failed: list[str]) -> None:
    """Write to rows of its own for HOLD_S seconds, at a steady rate."""
    own = list(range(1 + number, HOLD_ROWS + 1, WRITERS))
    started, share = time.perf_counter(), HOLD_WRITES // WRITERS
    with httpx.Client(timeout=60) as client:
        writer = Writer(
            Site(site.url, site.process, client), random.Random(number), own
        )
        for each in range(share):
            planned = started + each * HOLD_S / share
            time.sleep(max(0.0, planned - time.perf_counter()))
            try:
                writer.write()
            except httpx.HTTPError as error:
                failed.append(str(error))


def search_on(
    url: str,
    number: int,
    ended: threading.Event,
    answers: list[tuple[str, str, float]],
    failed: list[str],
) -> None:
    """Search until the end; keep the text and the cosine of what is not stale."""
    choose = random.Random(100 + number)
    with httpx.Client(timeout=60) as client:
        while not ended.wait(THINK_S):
            query = " ".join(choose.choices(WORDS, k=4))
            response = client.get(
                url + SEARCH, params={"q": query, "_mode": "meaning", "_size": 5}
            )
            if response.status_code != 200:
                failed.append(response.text[:200])
                continue
            answers += [
                (query, each["content"], each["cosine"])
                for each in response.json()["matches"]
                if not each["stale"] and each["content"] is not None
            ]


def wrong(answers: list[tuple[str, str, float]]) -> int:
    """How many of some answers have a score that is not that of their text."""
    model = load_model(DEFAULT_MODEL)
    some = random.Random(6).sample(answers, min(len(answers), 4_000))
    texts, queries = sorted({e[1] for e in some}), sorted({e[0] for e in some})
    passages = dict(zip(texts, model.embed_passages(texts), strict=True))
    asked = dict(zip(queries, model.embed_queries(queries), strict=True))
    return sum(
        abs(float(asked[query] @ passages[text]) - cosine) > CLOSE_ENOUGH
        for query, text, cosine in some
    )


def differences(path: Path) -> int:
    """Items that differ from those of a new collection of the table."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("delete from collections where name = 'again'")
        ingest(conn, "again", table_source(conn, "notes"), load_model(DEFAULT_MODEL))
        own, again = (
            {
                key: np.frombuffer(blob, np.float32)
                for key, blob in conn.execute(
                    """
                    select id, embedding
                    from embeddings
                    where collection_id = (select id from collections where name = ?)
                    """,
                    [name],
                )
            }
            for name in ("notes", "again")
        )
    both = own.keys() & again.keys()
    others = [key for key in both if float(own[key] @ again[key]) < 1 - CLOSE_ENOUGH]
    return len(own.keys() ^ again.keys()) + len(others)


def kills(folder: Path, count: int) -> None:
    """The server is killed while rows are written and embedded."""
    path = folder / "notes.db"
    write_notes(path, 500)
    choose, ids = random.Random(7), list(range(1, 501))
    wrong_after = 0
    for number in range(count):
        with serving(path) as site:
            writer = Writer(site, choose, ids)
            timer = threading.Timer(0.1 + choose.random(), site.process.kill)
            timer.start()
            try:
                while site.process.poll() is None:
                    writer.write()
            except httpx.HTTPError:
                # Whether it was written is not known
                pass
            timer.join()
        with closing(sqlite3.connect(path)) as conn:
            ids[:] = [row for (row,) in conn.execute("select id from notes")]
        if number % 10 == 9 or number == count - 1:
            with serving(path) as site:
                until(lambda s=site: not s.live()["behind"])
            wrong_after += differences(path)
            print(f"{number + 1} kills: {len(ids):,} rows, {wrong_after} wrong")
    print_line(f"wrong after {count} kills", [], wrong_after, at_most=0)


if __name__ == "__main__":
    main()
