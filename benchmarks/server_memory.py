"""The memory of a Datasette server that has answered a search over 20,000 x 384.

    python benchmarks/server_memory.py

Measured: the resident memory of a real ``datasette`` process on 127.0.0.1 with its
default settings, after one search.  Against: the same server before any search
and no model is loaded beforehand (``preload: false``).

Must hold: at most 256 MB.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from commands import SCRIPTS, datasette_environment
from measuring import print_line
from random_items import COLLECTION, unit_vectors, write_collection

IDLE = {"plugins": {"datasette-embeddings": {"preload": False}}}
START_TIMEOUT_S = 60.0
AT_MOST_MB = 256


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = datasette_environment(folder)
        db, metadata = folder / "items.db", folder / "metadata.json"
        write_collection(db, unit_vectors(20_000, 384))
        metadata.write_text(json.dumps(IDLE))
        searching = Server([db], environment)
        waiting = Server([db, "-m", metadata], environment)
        search = f"/items/-/embeddings/{COLLECTION}.json?q=backup"
        searched, idle = [], []
        for _ in range(3):
            searched.append(searching.megabytes_after(search))
            idle.append(waiting.megabytes_after("/-/versions.json"))
    ours, other = statistics.median(searched), statistics.median(idle)
    figures = [f"ours {ours:.0f} MB", f"without a search {other:.0f} MB"]
    figures.append(f"{ours / other:.2f}x its memory")
    print_line("memory of a server", figures, ours, " MB", at_most=AT_MOST_MB)


@dataclass(frozen=True)
class Server:
    """A ``datasette`` that is started again for each question."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]

    def megabytes_after(self, path: str) -> float:
        """The resident memory once *path* is answered."""
        with self.running() as (process, url):
            with urlopen(url + path) as response:
                answer = json.load(response)
            assert len(answer.get("matches", range(10))) == 10, answer
            return resident_megabytes(process.pid)

    @contextmanager
    def running(self) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """The process, and the URL at which it answers already."""
        port = free_port()
        options = ["-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(
            [SCRIPTS / "datasette", "serve", *self.arguments, *options],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(url)
            yield process, url
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urlopen(f"{url}/-/versions.json").close()
            return
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def resident_megabytes(process_id: int) -> float:
    """What the operating system counts for the process, in MB of 1,000,000 bytes."""
    printed = subprocess.check_output(["ps", "-o", "rss=", "-p", str(process_id)])
    return int(printed) * 1024 / 1e6


if __name__ == "__main__":
    main()
