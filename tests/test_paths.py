"""How much of this package common work enters; lower the numbers, never raise them."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ARTICLES

FUNCTIONS, MODULES = 165, 33


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """The trace of `embed` of six rows, by a process that has to load the model."""
    path = tmp_path_factory.mktemp("paths") / "articles.db"
    conn = sqlite3.connect(path)
    conn.execute("create table articles (id integer primary key, title, body text)")
    conn.executemany("insert into articles values (?, ?, ?)", ARTICLES)
    conn.commit()
    conn.close()

    def embed(name):
        arguments = ["embed", path, name, "--table", "articles"]
        return subprocess.run(
            [sys.executable, "-m", "tests.tracing", *arguments],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    # The first makes the tables
    embed("first")
    return embed("second")


def test_an_embed_of_six_rows_enters_few_functions(trace):
    last = trace.splitlines()[-1]
    functions, modules = map(int, re.findall(r"\d+", last))
    assert (functions <= FUNCTIONS, modules <= MODULES) == (True, True), trace
