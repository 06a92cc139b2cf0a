"""The databases with a search for vectors that `scale.py` compares."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from scale_ways import (
    ADDING,
    COMPARED,
    DIMENSIONS,
    LINKS,
    PROBED,
    SEARCHING,
    THREADS,
    K,
    Search,
    Way,
    every_vector,
    items_of,
    lists_of,
)


def loaded(path: Path, extension: str) -> object:
    """A connection to *path* with a loadable extension, which Python's may lack."""
    import apsw

    conn = apsw.Connection(str(path))
    conn.enable_load_extension(True)
    conn.load_extension(extension)
    return conn


def sqlite_vec(folder: Path) -> object:
    import sqlite_vec

    return loaded(folder / "items.db", sqlite_vec.loadable_path())


def build_sqlite_vec(database: Path, folder: Path) -> None:
    conn = sqlite_vec(folder)
    conn.execute(f"create virtual table items using vec0(vector float[{DIMENSIONS}])")
    insert_all(conn, database, "insert into items (rowid, vector) values (?, ?)")


def insert_all(conn: object, database: Path, sql: str) -> None:
    reading = sqlite3.connect(database)
    rows = reading.execute("select rowid - 1, embedding from embeddings order by rowid")
    with conn:
        conn.executemany(sql, rows)


def load_sqlite_vec(_database: Path, folder: Path) -> Search:
    conn = sqlite_vec(folder)
    sql = "select rowid from items where vector match ? and k = ? order by distance"
    return lambda vector: [row for (row,) in conn.execute(sql, [vector.tobytes(), K])]


def sqlite_vector(folder: Path) -> object:
    import sqlite_vector

    binary = Path(sqlite_vector.__file__).parent / "binaries" / "vector"
    conn = loaded(folder / "items.db", str(binary))
    conn.execute(
        "create table if not exists items (id integer primary key, vector blob)"
    )
    settings = f"dimension={DIMENSIONS},type=FLOAT32,distance=DOT"
    conn.execute("select vector_init('items', 'vector', ?)", [settings])
    return conn


def build_sqlite_vector(database: Path, folder: Path) -> None:
    conn = sqlite_vector(folder)
    insert_all(conn, database, "insert into items (id, vector) values (?, ?)")
    conn.execute("select vector_quantize('items', 'vector')")


def load_sqlite_vector(_database: Path, folder: Path) -> Search:
    conn = sqlite_vector(folder)
    conn.execute("select vector_quantize_preload('items', 'vector')")
    sql = "select rowid from vector_quantize_scan('items', 'vector', ?, ?)"
    return lambda vector: [row for (row,) in conn.execute(sql, [vector.tobytes(), K])]


def vectorlite(folder: Path, count: int) -> object:
    import vectorlite_py

    conn = loaded(Path(":memory:"), vectorlite_py.vectorlite_path())
    # The graph is a file of its own, which the table's first use reads, and closing
    # the connection writes
    conn.execute(
        f"create virtual table items using vectorlite(vector float32[{DIMENSIONS}] ip, "
        f"hnsw(max_elements={count}, M={LINKS}, ef_construction={ADDING}), "
        f"'{folder / 'index.hnsw'}')"
    )
    return conn


def build_vectorlite(database: Path, folder: Path) -> None:
    conn = vectorlite(folder, items_of(database))
    insert_all(conn, database, "insert into items (rowid, vector) values (?, ?)")
    conn.close()


def load_vectorlite(database: Path, folder: Path) -> Search:
    conn = vectorlite(folder, items_of(database))
    sql = f"""
        select rowid
        from items
        where knn_search(vector, knn_param(?, {K}, {SEARCHING}))
    """
    return lambda vector: [row for (row,) in conn.execute(sql, [vector.tobytes()])]


def arrow_table(database: Path) -> object:
    import pyarrow

    vectors = every_vector(database)
    lists = pyarrow.FixedSizeListArray.from_arrays(vectors.reshape(-1), DIMENSIONS)
    return pyarrow.table({"id": np.arange(len(vectors)), "vector": lists})


def build_lancedb(database: Path, folder: Path) -> None:
    import lancedb

    table = lancedb.connect(folder).create_table("items", arrow_table(database))
    table.create_index(
        metric="dot",
        index_type="IVF_PQ",
        num_partitions=lists_of(table.count_rows()),
        num_sub_vectors=DIMENSIONS // 4,
    )


def load_lancedb(_database: Path, folder: Path) -> Search:
    import lancedb

    table = lancedb.connect(folder).open_table("items")

    def search(vector: np.ndarray) -> list[int]:
        found = table.search(vector).distance_type("dot").nprobes(PROBED)
        found = found.refine_factor(COMPARED // K).limit(K).select(["id"])
        return found.to_arrow()["id"].to_pylist()

    return search


def duckdb(folder: Path) -> object:
    import duckdb
    import duckdb_ext

    conn = duckdb.connect(config={"threads": THREADS})
    extensions = Path(duckdb_ext.__path__[0]) / "extensions"
    conn.execute("set extension_directory = ?", [str(extensions)])
    conn.execute("load vss")
    conn.execute("set hnsw_enable_experimental_persistence = true")
    conn.execute(f"set hnsw_ef_search = {SEARCHING}")
    # Otherwise it reads every row of the table again beside those of the index
    conn.execute("set late_materialization_max_rows = 0")
    conn.execute(f"attach '{folder / 'items.duckdb'}' as vectors")
    conn.execute("use vectors")
    return conn


def build_duckdb(database: Path, folder: Path) -> None:
    conn = duckdb(folder)
    conn.execute(f"create table items (id integer, vector float[{DIMENSIONS}])")
    conn.register("rows", arrow_table(database))
    conn.execute("insert into items select id, vector from rows")
    conn.execute(
        "create index nearest on items using hnsw (vector) with "
        f"(metric = 'ip', m = {LINKS}, m0 = {2 * LINKS}, ef_construction = {ADDING})"
    )
    conn.execute("checkpoint vectors")
    conn.close()


def load_duckdb(_database: Path, folder: Path) -> Search:
    conn = duckdb(folder)
    sql = f"""
        select id
        from items
        order by array_negative_inner_product(vector, ?::float[{DIMENSIONS}])
        limit {K}
    """

    def search(vector: np.ndarray) -> list[int]:
        # As text: it takes 50 ms to bind a list of 384 numbers
        return [row for (row,) in conn.execute(sql, [str(vector.tolist())]).fetchall()]

    return search


DATABASES = {
    "sqlite-vec": Way(
        build_sqlite_vec,
        load_sqlite_vec,
        ("apsw", "sqlite_vec"),
        "vec0, exact: its stable kind of table",
    ),
    "sqlite-vector": Way(
        build_sqlite_vector,
        load_sqlite_vector,
        ("apsw", "sqlite_vector"),
        "8 bits a number, its default, loaded into memory as it recommends",
    ),
    "vectorlite": Way(
        build_vectorlite,
        load_vectorlite,
        ("apsw", "vectorlite_py"),
        f"{LINKS} links, {ADDING} and {SEARCHING}; one thread, it has no more",
    ),
    "LanceDB": Way(
        build_lancedb,
        load_lancedb,
        ("lancedb",),
        f"IVF_PQ, 4 sqrt(n) lists, {PROBED} read, 8 bits for 4 numbers; the best "
        f"{COMPARED} compared exactly",
    ),
    "DuckDB VSS": Way(
        build_duckdb,
        load_duckdb,
        ("duckdb",),
        f"{LINKS} links, {ADDING} and {SEARCHING}; to save its index is experimental; "
        "questions as text, which it binds fastest",
    ),
}
