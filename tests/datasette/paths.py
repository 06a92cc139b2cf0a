"""The functions that one search and one `embed` enter, as JSON on standard output.

    python -m tests.datasette.paths search
    python -m tests.datasette.paths search_by_both
    python -m tests.datasette.paths embed

A program of its own, because it has to wrap SQLite and the tokenizers before anything
else uses them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import tokenizers
from click.testing import CliRunner
from datasette.app import Datasette
from datasette.cli import cli

import datasette_embeddings
from tests.conftest import write_articles

PACKAGE = Path(datasette_embeddings.__file__).parent
NO_FUNCTIONS = {"<module>", "<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>"}
OPTIMIZED = 1  # set in the flags of a function's code, and not in those of a class body

#: What ran since :func:`traced` began, in all threads
functions: Counter = Counter()
statements: list[str] = []
hashed: Counter = Counter()
tokenized: Counter = Counter()
is_on = threading.Event()


def called(frame, event, _argument):
    code = frame.f_code
    if is_on.is_set() and event == "call" and code.co_flags & OPTIMIZED:
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE) and code.co_name not in NO_FUNCTIONS:
            name = path.relative_to(PACKAGE).as_posix()
            functions[name, f"{code.co_firstlineno} {code.co_name}"] += 1


class Connection(sqlite3.Connection):
    """One that records what is executed, and can still be traced by others."""

    def __init__(self, database, *arguments, **options):
        super().__init__(database, *arguments, **options)
        self._is_ours = "traced.db" in str(database)
        self._callback = None
        super().set_trace_callback(self._begins)

    def set_trace_callback(self, callback):
        self._callback = callback

    def _begins(self, sql):
        if self._callback is not None:
            self._callback(sql)
        # Datasette looks at the version of the schema in each request, and SQLite
        # tells with dashes what a trigger does
        is_other = "schema_version" in sql.lower() or sql.startswith("--")
        if is_on.is_set() and self._is_ours and not is_other:
            statements.append(" ".join(sql.split()))


class Tokenizer:
    """A real one that counts the texts it is given."""

    def __init__(self, real):
        self.__dict__["real"] = real

    def __getattr__(self, name):
        value = getattr(self.real, name)
        return self._counted(value) if name.startswith("encode") else value

    def __setattr__(self, name, value):
        setattr(self.real, name, value)

    def _counted(self, encode):
        def counted(texts, *arguments, **options):
            if is_on.is_set():
                tokenized.update([texts] if isinstance(texts, str) else texts)
            return encode(texts, *arguments, **options)

        return counted

    @staticmethod
    def from_file(path):
        return Tokenizer(REAL_TOKENIZER.from_file(path))


REAL_TOKENIZER, REAL_MD5, REAL_CONNECT = (
    tokenizers.Tokenizer,
    hashlib.md5,
    sqlite3.connect,
)


def md5(content=b"", **options):
    if is_on.is_set():
        hashed[bytes(content)] += 1
    return REAL_MD5(content, **options)


def connect(*arguments, **options):
    return REAL_CONNECT(*arguments, **{"factory": Connection, **options})


@contextmanager
def traced():
    is_on.set()
    yield
    is_on.clear()


def embed(path, name):
    arguments = ["embeddings", "embed", str(path), name, "-t", "articles"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output


def trace_embed(path):
    embed(path, "warm")
    with traced():
        embed(path, "articles")


def trace_search(path, mode="meaning"):
    embed(path, "articles")
    asyncio.run(search_for(path, mode, "cats", "a telescope", "mend a bicycle"))


def trace_search_by_both(path):
    trace_search(path, "both")


async def search_for(path, mode, *texts):
    """The last of *texts* is traced."""
    # One thread, or a connection may be new while the trace is on
    datasette = Datasette([str(path)], settings={"num_sql_threads": 1})
    url = "/traced/-/embeddings/articles.json"
    for text in texts[:-1]:
        await datasette.client.get(url, params={"q": text, "_mode": mode})
    with traced():
        last = {"q": texts[-1], "_mode": mode}
        response = await datasette.client.get(url, params=last)
    assert len(response.json()["matches"]) == 6, response.text


if __name__ == "__main__":
    tokenizers.Tokenizer, hashlib.md5, sqlite3.connect = Tokenizer, md5, connect
    threading.setprofile(called)
    sys.setprofile(called)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traced.db"
        conn = sqlite3.connect(path)
        write_articles(conn)
        conn.close()
        {
            "search": trace_search,
            "search_by_both": trace_search_by_both,
            "embed": trace_embed,
        }[sys.argv[1]](path)
    sys.setprofile(None)
    found = {
        "functions": [f"{name}:{function}" for name, function in sorted(functions)],
        "modules": sorted({name for name, _function in functions}),
        "statements": statements,
        "hashed": sorted(hashed.values()),
        "tokenized": sorted(tokenized.values()),
    }
    print(json.dumps(found))
