"""How long other visitors wait while one sends the largest possible requests.

    python benchmarks/hostile_requests.py

Against one real ``datasette`` process on 127.0.0.1, in the environment that runs the
script: addresses just below the limit of 64 KB, and bodies just below
``max_body_bytes``, one after the other.  Meanwhile another client asks for
``/-/versions.json`` without a pause, which needs the event loop and nothing else.

Must hold: the slowest of those answers takes at most 0.5 seconds.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import datasette
from commands import datasette_environment
from measuring import duration, print_line
from random_items import COLLECTION, unit_vectors, write_collection
from server_memory import Server

ADDRESS_BYTES, BODY_BYTES = 64_000, 1_900_000
AT_MOST_S = 0.5
PAGE = f"/items/-/embeddings/{COLLECTION}"
SETTINGS = {"plugins": {"datasette-embeddings": {"preload": False}}}


def main() -> None:
    print(f"Datasette {datasette.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_collection(folder / "items.db", unit_vectors(1_000, 384))
        metadata = folder / "metadata.json"
        metadata.write_text(json.dumps(SETTINGS))
        environment = datasette_environment(folder)
        server = Server([folder / "items.db", "-m", metadata], environment)
        with server.running() as (_process, url):
            for path in (PAGE, f"{PAGE}.json", f"{PAGE}/pairs", "/-/embeddings"):
                search_response(url + path, None)
            measure(url, "nothing", url + "/-/versions.json")
            for work, path in addresses().items():
                measure(url, work, url + path)
            for work, (path, asked) in bodies().items():
                body = json.dumps(asked, separators=(",", ":")).encode()
                measure(url, work, url + path, body)


def addresses() -> dict[str, str]:
    """Addresses that are hostile by their length alone."""

    def pairs(piece: str) -> str:
        return (piece + "&") * (ADDRESS_BYTES // (len(piece) + 1))

    return {
        "4,000 pairs, page": f"{PAGE}?{'a=1&' * 4_000}",
        "short pairs, page": f"{PAGE}?{pairs('a=1')}",
        "short pairs, JSON": f"{PAGE}.json?{pairs('a=1')}",
        "short pairs, pairs": f"{PAGE}/pairs?{pairs('a=1')}",
        "short pairs, list": f"/-/embeddings?{pairs('a=1')}",
        "900 filters, page": f"{PAGE}?_facet=id&{'id__gt=1234567&' * 900}",
        "one long value": f"{PAGE}?q=x&_prefix={'x' * ADDRESS_BYTES}",
        "inputs": f"/-/embeddings/embed.json?{pairs('input=x')}",
        "a path of our name": "/-/embeddings" * (ADDRESS_BYTES // 13),
    }


def bodies() -> dict[str, tuple[str, object]]:
    """Paths and the bodies to post there."""
    numbers = range(BODY_BYTES // 20)
    lists: list[object] = [[]] * (BODY_BYTES // 3 - 20)
    return {
        "body: keys": (f"{PAGE}.json", {f"c{each}": each for each in numbers}),
        "body: filters": (
            f"{PAGE}.json",
            {"like": "1", "filters": {f"c{each}": each for each in numbers}},
        ),
        "body: a vector": (f"{PAGE}.json", {"vector": [0.5] * (BODY_BYTES // 5)}),
        "body: inputs": (
            "/-/embeddings/embed.json",
            {"input": ["x"] * (BODY_BYTES // 5)},
        ),
        "body: lists as input": ("/-/embeddings/embed.json", {"input": [lists]}),
        "body: lists as filters": (f"{PAGE}.json", {"like": "1", "filters": lists}),
        "body: lists as vector": (f"{PAGE}.json", {"vector": lists}),
    }


def measure(url: str, work: str, hostile: str, body: bytes | None = None) -> None:
    """Print how long the hostile request took, and the slowest other meanwhile."""
    waits: list[float] = []
    with asking(f"{url}/-/versions.json", waits):
        status, took = search_response(hostile, body)
    figures = [f"answered {status} after {duration(took)}"]
    figures.append(f"slowest of {len(waits)} others {duration(max(waits))}")
    print_line(work, figures, max(waits), " s", at_most=AT_MOST_S)


def search_response(url: str, body: bytes | None) -> tuple[int, float]:
    """The status of the answer, and the seconds until all of it was here."""
    headers = {"Content-Type": "application/json"}
    start = time.perf_counter()
    try:
        with urlopen(Request(url, body, headers)) as response:
            response.read()
            status = response.status
    except HTTPError as error:
        error.read()
        status = error.code
    return status, time.perf_counter() - start


@contextmanager
def asking(url: str, waits: list[float]) -> Iterator[None]:
    """Within, and once before and behind, how long *url* takes is added to *waits*."""
    over = threading.Event()
    begun = threading.Event()

    def ask() -> None:
        while True:
            is_last = over.is_set()
            start = time.perf_counter()
            with suppress(HTTPError), urlopen(url) as response:
                response.read()
            waits.append(time.perf_counter() - start)
            begun.set()
            if is_last:
                return

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
