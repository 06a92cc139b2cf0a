"""An `embed`, or what follows changed rows, that is killed at a statement of SQL.

It runs in a process that is forked from one that has imported everything: the model
costs nothing either, so that a run is all reading and writing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

from datasette.cli import cli

from datasette_embeddings.ingest import run
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.models import registry
from datasette_embeddings.store import documents, staging
from datasette_embeddings.store.changes import count_changes
from datasette_embeddings.store.collections import collection
from tests.models import StandIn, runtimes_with

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


class Words(StandIn):
    """The stand-in, whose tokens are words, so that a text has several chunks."""

    def token_spans(self, texts):
        return [[each.span() for each in re.finditer(r"\S+", text)] for text in texts]


class Clock:
    """Some seconds behind."""

    @staticmethod
    def time() -> float:
        return time.time() - 9


def embed(path: Path, *arguments: str, last: int | None = None) -> int:
    """The exit code of an `embed` that is killed before statement number *last*."""
    process = _forks.Process(target=_embed, args=(str(path), arguments, last))
    process.start()
    process.join()
    return process.exitcode


def statements(path: Path) -> int:
    """How many statements the last run of *path* executed."""
    return int(_counted(path).read_text())


def _counted(path):
    return Path(f"{path}-statements")


def _embed(path, arguments, last):
    registry.RUNTIMES = runtimes_with(Words())
    # Small windows, so that a run has many moments between two commits
    staging.WINDOW_DOCUMENTS = 16
    # A compact index is saved where the settings declare one
    run.LEAST_SAVED = 1
    # Rows of the last seconds would be read again at once
    documents.time = Clock
    numbers, connect = itertools.count(1), sqlite3.connect

    def begins(_sql):
        number = next(numbers)
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*options, **named):
        conn = connect(*options, **named)
        # What a killed process has written stays: only a machine that fails needs more
        conn.execute("pragma synchronous = off")
        conn.set_trace_callback(begins)
        return conn

    sqlite3.connect = traced
    command = ["embed", path, "docs", "-m", Words.model_id, *arguments, "--silent"]
    cli(["embeddings", *command], standalone_mode=False)
    _counted(path).write_text(str(next(numbers) - 1))


def follow(path: Path, *, last: int | None = None) -> int:
    """The exit code of a program that embeds the changes of `docs`, killed likewise."""
    process = _forks.Process(target=_follow, args=(str(path), last))
    process.start()
    process.join()
    return process.exitcode


def _follow(path, last):
    staging.WINDOW_DOCUMENTS = 4
    numbers = itertools.count(1)

    def begins(_sql):
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    conn = sqlite3.connect(path)
    conn.execute("pragma synchronous = off")
    conn.set_trace_callback(begins)
    found = collection(conn, "docs")
    while count_changes(found).due:
        embed_changes(found, found.source, Words(), limit=16)
    conn.close()
    _counted(path).write_text(str(next(numbers) - 1))
