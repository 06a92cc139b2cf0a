"""Datasettes to test: in this process, in a thread of it, and in their own."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager

import httpx
import uvicorn
from datasette.app import Datasette

from datasette_embeddings.web.compat import is_modern

# A busy machine is no fault: requests wait for their answer
http = httpx.Client(timeout=None, limits=httpx.Limits(max_keepalive_connections=0))


def make_datasette(
    *paths,
    settings=None,
    allow=None,
    allow_all=None,
    base_url="/",
    sql_time_limit_ms=60_000,
    num_sql_threads=3,
    **options,
) -> Datasette:
    """A Datasette over *paths*; *settings* are the plugin's, *allow* is by database."""
    options["settings"] = {
        "base_url": base_url,
        "sql_time_limit_ms": sql_time_limit_ms,
        "num_sql_threads": num_sql_threads,
    }
    config: dict = {"databases": allow or {}}
    if allow_all is not None:
        config["allow"] = allow_all
    if settings is not None:
        config["plugins"] = {"datasette-embeddings": settings}
    name = "config" if is_modern() else "metadata"
    return Datasette([str(path) for path in paths], **{name: config}, **options)


def actor_cookie(datasette, actor_id: str) -> dict[str, str]:
    return {"ds_actor": datasette.sign({"a": {"id": actor_id}}, "actor")}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def served(*arguments, with_model=True, log_path=None):
    """The URL of a real Datasette process on the loopback interface.

    *with_model*: its bundled model is in memory, or its embedding API is closed.
    What the process prints goes to *log_path*, if that is given.
    """
    port = free_port()
    command = [sys.executable, "-m", "datasette", *map(str, arguments)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with open(log_path, "w+b") if log_path else tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        url = f"http://127.0.0.1:{port}"
        try:
            if not is_answering(url, process):
                log.seek(0)
                raise RuntimeError(f"Datasette did not start: {log.read().decode()}")
            if with_model:
                http.get(f"{url}/-/embeddings/embed.json", params={"input": "ready"})
            yield url
        finally:
            process.terminate()
            process.wait()


def is_answering(url, process) -> bool:
    while process.poll() is None:
        try:
            http.get(f"{url}/-/versions.json")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return process.poll() is None
    return False


@contextmanager
def running(datasette):
    """The URL of *datasette* in a thread of this process.

    It has the model of this process, and starts in no time.
    """
    port = free_port()
    config = uvicorn.Config(
        datasette.app(), port=port, log_level="error", lifespan="on", http="h11"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def execute(path, *statements) -> None:
    conn = sqlite3.connect(path)
    for statement in statements:
        conn.execute(statement)
    conn.commit()
    conn.close()
