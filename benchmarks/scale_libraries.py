"""The libraries for vectors in memory that `scale.py` compares: faiss and others."""

from __future__ import annotations

from functools import partial
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
    lists_of,
    save_vectors,
)


def best_of(rows: np.ndarray, vectors: np.ndarray, vector: np.ndarray) -> list[int]:
    """The nearest of *rows*, compared exactly."""
    return rows[np.argsort(-(vectors[rows] @ vector))][:K].tolist()


def build_faiss(description: str, database: Path, folder: Path) -> None:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    vectors = every_vector(database)
    lists = lists_of(len(vectors))
    kind = faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(DIMENSIONS, description.format(lists=lists), kind)
    if "HNSW" in description:
        index.hnsw.efConstruction = ADDING
    if not index.is_trained:
        # faiss asks for 39 to 256 of a list; with all, k-means takes most of the time
        chosen = np.random.default_rng(0).permutation(len(vectors))[: 64 * lists]
        index.train(vectors[np.sort(chosen)])
    index.add(vectors)
    faiss.write_index(index, str(folder / "index.faiss"))


def load_faiss(parameters: str, _database: Path, folder: Path) -> Search:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.read_index(str(folder / "index.faiss"))
    if parameters:
        faiss.ParameterSpace().set_index_parameters(index, parameters)
    return lambda vector: index.search(vector[None], K)[1][0].tolist()


def build_turbovec(database: Path, folder: Path) -> None:
    from turbovec import TurboQuantIndex

    save_vectors(database, folder)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    index = TurboQuantIndex(DIMENSIONS, 2)
    chosen = np.random.default_rng(0).permutation(len(vectors))[:1024]
    index.calibrate(vectors[np.sort(chosen)])
    index.add(np.asarray(vectors))
    index.write(str(folder / "index.tv"))


def load_turbovec(_database: Path, folder: Path) -> Search:
    from turbovec import TurboQuantIndex

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    index = TurboQuantIndex.load(str(folder / "index.tv"))
    index.prepare()

    def search(vector: np.ndarray) -> list[int]:
        _scores, rows = index.search(vector[None], COMPARED)
        return best_of(np.asarray(rows[0]).astype(np.int64), vectors, vector)

    return search


def build_usearch(database: Path, folder: Path) -> None:
    from usearch.index import Index

    index = Index(
        ndim=DIMENSIONS,
        metric="ip",
        dtype="f32",
        connectivity=LINKS,
        expansion_add=ADDING,
    )
    vectors = every_vector(database)
    index.add(np.arange(len(vectors)), vectors, threads=THREADS)
    index.save(str(folder / "index.usearch"))


def load_usearch(_database: Path, folder: Path) -> Search:
    from usearch.index import Index

    index = Index.restore(str(folder / "index.usearch"))
    index.expansion_search = SEARCHING
    return lambda vector: index.search(vector, K, threads=THREADS).keys.tolist()


GRAPH = (
    f"{LINKS} links, {ADDING} items looked at to add and {SEARCHING} to search: about "
    "twice the usual, for all graphs here"
)
LIBRARIES = {
    "faiss Flat": Way(
        partial(build_faiss, "Flat"),
        partial(load_faiss, ""),
        ("faiss",),
        "every vector, compared exactly",
    ),
    "faiss IVF": Way(
        partial(build_faiss, "IVF{lists},Flat"),
        partial(load_faiss, f"nprobe={PROBED}"),
        ("faiss",),
        f"4 sqrt(n) lists, as faiss recommends, of which {PROBED} are read",
    ),
    "faiss HNSW": Way(
        partial(build_faiss, f"HNSW{LINKS},Flat"),
        partial(load_faiss, f"efSearch={SEARCHING}"),
        ("faiss",),
        GRAPH,
    ),
    "faiss PQFastScan": Way(
        partial(build_faiss, "IVF{lists},PQ96x4fs,RFlat"),
        partial(load_faiss, f"nprobe={PROBED},k_factor_rf={COMPARED // K}"),
        ("faiss",),
        f"the same lists, 4 bits for 4 numbers; the best {COMPARED} compared exactly "
        "with vectors in memory",
    ),
    "turbovec": Way(
        build_turbovec,
        load_turbovec,
        ("turbovec",),
        f"2 bits a number, the smallest; the best {COMPARED} compared exactly with "
        "vectors in a mapped file",
    ),
    "usearch": Way(
        build_usearch, load_usearch, ("usearch.index",), f"float32; {GRAPH}"
    ),
}
