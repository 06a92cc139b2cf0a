"""``demo``: Python's standard library as a database, built and searched."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pkgutil
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.embed import embed_source
from datasette_embeddings.cli.output import report_line
from datasette_embeddings.config import DEFAULT_MODEL, Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import collections

TABLE = "functions"
COLLECTION = "stdlib"
SEARCHES = (
    "find spelling suggestions for a mistyped word",
    "check if two files have the same contents",
    "guess the kind of a file from its name",
)
# These open a window or a browser, print a poem, or are not a library; the last line
# holds the implementations of os and os.path
SKIPPED = frozenset(
    {"antigravity", "distutils", "idlelib", "lib2to3", "msilib", "test", "this"}
    | {"tkinter", "turtle", "turtledemo"}
    | {"genericpath", "nt", "ntpath", "posix", "posixpath"}
)
# A module that its package does not list
UNLISTED = ("os.path",)
# Some libraries put a function of their own in its place
REPLACED = "sys.excepthook"


class Entry(NamedTuple):
    """A function, class or method of the standard library that has a docstring."""

    path: str
    module: str
    kind: str
    signature: str
    summary: str
    doc: str


@click.command(cls=Command)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def demo(path: Path) -> None:
    """Build a database of Python's own standard library at PATH, and search it.

    \b
        datasette embeddings demo demo.db
        datasette demo.db
    """
    with open_database(path, create=True) as conn:
        count = write_functions(conn)
        source = table_source(
            conn, TABLE, content_columns=("path", "doc"), title_column="path"
        )
        options = IngestOptions(prune=True)
        report = embed_source(conn, Config(), options, COLLECTION, source, silent=False)
        click.echo(f"{path}: {count:,} functions, classes and methods of Python")
        click.echo(report_line(COLLECTION, report))
        collection = collections.collection(conn, COLLECTION)
        model, three = load_model(DEFAULT_MODEL), Options(limit=3)
        for text in SEARCHES:
            click.echo(f"\n{text}")
            for match in search_text(collection, text, model=model, options=three):
                click.echo(f"  {match.score:.3f}  {match.id}")
    click.echo(f"\nServe it with:\n\n    datasette {path}\n")


def write_functions(conn: sqlite3.Connection) -> int:
    """Fill the table ``functions``, a row each; return how many there are."""
    columns = tuple(row[1] for row in conn.execute(f"pragma table_info({TABLE})"))
    if columns not in ((), Entry._fields):
        raise InvalidInputError(
            f"This database has a table {TABLE!r} of its own, with the columns "
            f"{', '.join(columns)}; choose another path for the demo"
        )
    entries = list(stdlib_entries())
    with conn:
        conn.execute(
            "create table if not exists functions (path text primary key, module text, "
            "kind text, signature text, summary text, doc text)"
        )
        conn.execute("delete from functions")
        conn.executemany("insert into functions values (?, ?, ?, ?, ?, ?)", entries)
    return len(entries)


def stdlib_entries() -> Iterator[Entry]:
    """Every entry of the interpreter that runs, each under its shortest name."""
    seen: set[int] = set()

    def is_new(value: object) -> bool:
        documented = isinstance(value.__doc__, str) and bool(value.__doc__.strip())
        is_entry = documented and (inspect.isroutine(value) or inspect.isclass(value))
        if not is_entry or id(value) in seen:
            return False
        seen.add(id(value))
        return True

    for module, namespace in _modules():
        for name, value in filter(lambda each: is_new(each[1]), _public(namespace)):
            path, is_class = f"{module}.{name}", inspect.isclass(value)
            if path == REPLACED:
                continue
            yield _entry(path, module, "class" if is_class else "function", value)
            for inner, raw in vars(value).items() if is_class else ():
                method = getattr(raw, "__func__", raw)
                is_public = inspect.isroutine(method) and not inner.startswith("_")
                if is_public and is_new(method):
                    yield _entry(f"{path}.{inner}", module, "method", method)


def _entry(path: str, module: str, kind: str, value: object) -> Entry:
    doc = inspect.cleandoc(str(value.__doc__))
    summary = " ".join(doc.partition("\n\n")[0].split())
    try:
        signature = str(inspect.signature(value))  # type: ignore[arg-type]  # it may be any callable
    except Exception:
        # Some built-in functions have none, and a default or an annotation that cannot
        # be evaluated here may raise anything
        signature = ""
    return Entry(path, module, kind, signature, summary, doc)


def _public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The names in the ``__all__`` of *module*, else those that it defines itself."""
    exported = getattr(module, "__all__", None)
    for name in sorted(exported or vars(module)):
        value = getattr(module, name, None)
        own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and (exported or own):
            yield name, value


def _modules() -> Iterator[tuple[str, ModuleType]]:
    """The public modules of the standard library, a package before its parts."""
    names = [*UNLISTED, *filter(_is_public, sorted(sys.stdlib_module_names))]
    # The list grows while it is read
    for name in names:
        module = _imported(name)
        if module is not None:
            yield name, module
            parts = pkgutil.iter_modules(getattr(module, "__path__", []))
            names += [f"{name}.{part.name}" for part in parts if _is_public(part.name)]


def _is_public(name: str) -> bool:
    return not name.startswith("_") and name not in SKIPPED


def _imported(name: str) -> ModuleType | None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, OSError):
            # A module that this system does not have
            return None
