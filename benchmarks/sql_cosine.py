"""Sort a table by cosine similarity in SQL, as a page of Datasette does.

    python benchmarks/sql_cosine.py

Measured: ``order by embed_cosine(embedding, (select ...)) desc limit 5`` on a plain
``sqlite3`` connection.  Against: the function of datasette-llm-embed over 472 x 1536,
that of llm itself over 16,796 x 384, both in Python, and sqlite-vec's
``vec_distance_cosine``, in C, on a connection of apsw.

Must hold: 472 x 1536 at least 80 times as fast as datasette-llm-embed and at most 1.2
times the time of sqlite-vec; 16,796 x 384 at least 25 times as fast as llm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import apsw
import datasette_llm_embed
import llm
import sqlite_vec
from measuring import OURS, median_seconds, print_share, print_speedup
from random_items import unit_vectors

from datasette_embeddings import register

SQL = """
    select id
    from items
    order by {function}(
      embedding, (select embedding from items where id = 0)
    ) {direction}
    limit 5
"""


def main() -> None:
    compare(
        (472, 1536), "datasette-llm-embed", datasette_llm_embed.llm_embed_cosine, 9, 80
    )
    compare((16_796, 384), "llm", llm_cosine, 3, 25)


def compare(
    shape: tuple[int, int],
    peer: str,
    peer_cosine: Callable[[bytes, bytes], float],
    turns: int,
    at_least: float,
) -> None:
    works = {
        OURS: our_query(shape),
        peer: python_query(shape, peer_cosine),
        "sqlite-vec": sqlite_vec_query(shape),
    }
    assert len({tuple(work()) for work in works.values()}) == 1, "all find the same"
    times = median_seconds(turns, works, runs=10)
    name = f"order by cosine, {shape[0]:,} x {shape[1]}"
    print_speedup(name, times, peer, at_least=at_least)
    print_share(name, times, "sqlite-vec", at_most=1.2 if shape[0] == 472 else None)


def our_query(shape: tuple[int, int]) -> Callable[[], list[Any]]:
    conn = filled(sqlite3.connect(":memory:"), shape)
    register(conn)
    return partial(fetched, conn, SQL.format(function="embed_cosine", direction="desc"))


def python_query(
    shape: tuple[int, int], cosine: Callable[[bytes, bytes], float]
) -> Callable[[], list[Any]]:
    conn = filled(sqlite3.connect(":memory:"), shape)
    conn.create_function("peer_cosine", 2, cosine)
    return partial(fetched, conn, SQL.format(function="peer_cosine", direction="desc"))


def sqlite_vec_query(shape: tuple[int, int]) -> Callable[[], list[Any]]:
    conn = apsw.Connection(":memory:")
    conn.enable_load_extension(True)
    conn.load_extension(sqlite_vec.loadable_path())
    return partial(
        fetched,
        filled(conn, shape),
        SQL.format(function="vec_distance_cosine", direction=""),
    )


def filled(conn: Any, shape: tuple[int, int]) -> Any:
    """*conn*, of either module, with a table of that many vectors."""
    conn.execute("create table items (id integer primary key, embedding blob)")
    conn.executemany(
        "insert into items values (?, ?)",
        [(row, vector.tobytes()) for row, vector in enumerate(unit_vectors(*shape))],
    )
    return conn


def fetched(conn: Any, sql: str) -> list[Any]:
    return list(conn.execute(sql))


def llm_cosine(a: bytes, b: bytes) -> float:
    return llm.cosine_similarity(llm.decode(a), llm.decode(b))


if __name__ == "__main__":
    main()
