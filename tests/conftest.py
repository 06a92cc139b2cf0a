from __future__ import annotations

import gc
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli import demo as demonstration
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.serving import allowed_models
from datasette_embeddings.sources.from_config import table_source

with suppress(ImportError):
    # Not in the environment of the next Datasette, where nothing uses it
    from hypothesis import settings

    # A slow machine is no fault, and the first example loads the libraries
    settings.register_profile("short", deadline=None, max_examples=25)
    settings.register_profile("long", deadline=None, max_examples=100)

# Two workers share the machine: each has one thread, and so have the programs that it
# starts.  The libraries read this when they are imported
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"

DATASETTE_VERSION = metadata.version("datasette")

# A background job of a shell ignores Ctrl-C, and so would the programs that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
DOCUMENTS = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
# All of these: the documents show what is in them, and how much
SAMPLE_MODULES = {"argparse", "calendar", "collections", "difflib", "filecmp", "json"}
SAMPLE_MODULES |= {"mimetypes", "random"}
# They load torch and what stands on it, which takes a process 8 seconds
WITH_TORCH = {"test_bundled_model.py", "test_llm.py", "test_llm_models.py"}
WITH_TORCH |= {"test_models.py", "test_python_llm.py", "test_reranking.py"}
ARTICLES = [
    (1, "Sourdough", "Flour, water and salt become bread with a wild yeast starter."),
    (2, "Night sky", "With a small telescope you can see the rings of Saturn."),
    (3, "Bicycle repair", "How to mend a flat tyre: find the hole and patch the tube."),
    (4, "Tax return", "Which expenses a freelancer may deduct from taxable income."),
    (5, "Kittens", "Young cats need food four times a day and a warm place to sleep."),
    (6, "Backups", "Copy the database to another machine every night, and test it."),
]


def pytest_addoption(parser):
    help_text = "also run the tests that are marked long"
    parser.addoption("--all", action="store_true", help=help_text)


def pytest_configure(config):
    """How many examples hypothesis tries; what a test says itself goes before."""
    with suppress(NameError):
        settings.load_profile("long" if config.getoption("--all") else "short")


def pytest_collection_finish():
    """Let the garbage collector leave out what stays: the libraries and the tests."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config, items):
    """Leave out what is long, unless everything is asked for."""
    # Each process of xdist begins with its part of the list, and those that have done
    # theirs take from the end of it: what comes first is run by one process
    items.sort(key=lambda item: item.path.name not in WITH_TORCH)
    if config.getoption("--all"):
        return
    config.hook.pytest_deselected(items=[item for item in items if is_long(item)])
    items[:] = [item for item in items if not is_long(item)]


def is_long(item) -> bool:
    """Whether its marks, or else those of its module, say so."""
    for node in reversed(item.listchain()):
        marks = [mark for mark in node.own_markers if mark.name in ("long", "short")]
        if marks:
            return any(map(is_about_this_datasette, marks))
    return False


def is_about_this_datasette(mark) -> bool:
    """`long` is, and `long(datasette="0.65")` on that version."""
    version = mark.kwargs.get("datasette", "")
    return mark.name == "long" and DATASETTE_VERSION.startswith(version)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The same for ONNX Runtime, which looks at no environment variable."""
    import onnxruntime

    class OneThread(onnxruntime.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "SessionOptions", OneThread)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_llm(tmp_path_factory):
    """llm without the settings of the person who tests, and without writing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_USER_PATH", str(tmp_path_factory.mktemp("llm-user")))
        for name in ("DB", "MODEL"):
            patch.delenv(f"DATASETTE_EMBEDDINGS_{name}", raising=False)
        yield


@pytest.fixture(scope="session")
def model():
    return load_model("sentence-transformers/all-MiniLM-L6-v2")


@pytest.fixture(autouse=True)
def _closed_indexes():
    """No test sees a matrix, or keeps a file open, of the one before.

    Nor does it miss a line in the log, which is there once only.
    """
    yield
    indexes.close()
    allowed_models.log_once.cache_clear()


def write_articles(conn: sqlite3.Connection) -> None:
    conn.execute(
        "create table articles (id integer primary key, title text, body text)"
    )
    conn.executemany("insert into articles values (?, ?, ?)", ARTICLES)
    conn.commit()


@pytest.fixture
def conn():
    """A database in memory with the table `articles`."""
    connection = sqlite3.connect(":memory:")
    write_articles(connection)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def built_articles(tmp_path_factory, model) -> bytes:
    """The bytes of a database with `articles` and a collection of that name."""
    path = tmp_path_factory.mktemp("built") / "articles.db"
    connection = sqlite3.connect(path)
    write_articles(connection)
    ingest(connection, "articles", table_source(connection, "articles"), model)
    connection.close()
    return path.read_bytes()


@pytest.fixture
def articles_db(tmp_path: Path, built_articles: bytes) -> Path:
    """A database file with the table `articles` and a collection over it."""
    path = tmp_path / "articles.db"
    path.write_bytes(built_articles)
    return path


@pytest.fixture
def articles(articles_db: Path):
    """A connection to :func:`articles_db`."""
    connection = sqlite3.connect(articles_db)
    yield connection
    connection.close()


WHOLE = pytest.param("whole", marks=pytest.mark.long)


@dataclass(frozen=True)
class Demo:
    """A demo database, and what the command printed that made it and ran again."""

    path: Path
    output: str
    again: str
    is_sample: bool


@pytest.fixture(scope="session", params=["sample", WHOLE])
def demo(request, tmp_path_factory):
    """Of a sample with all that the documents show, for a search to find the same."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    if request.param == "whole":
        # Its own process: pytest replaces a few functions of the library
        command = [sys.executable, "-m", "datasette", "embeddings", "demo", str(path)]
        outputs = [subprocess.check_output(command, text=True) for _ in range(2)]
        return Demo(path, *outputs, is_sample=False)
    entries = stdlib_sample()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "stdlib_entries", lambda: iter(entries))
        runs = [CliRunner().invoke(embeddings, ["demo", str(path)]) for _ in range(2)]
    assert [run.exit_code for run in runs] == [0, 0], runs[-1].output
    return Demo(path, *(run.stdout for run in runs), is_sample=True)


def stdlib_sample():
    """What of the library the documents and the tests name, and every 40th entry."""
    texts = [path.read_text("utf-8") for path in DOCUMENTS]
    named = set(re.findall(r"[\w.]+\w", "\n".join(texts)))
    return [
        entry
        for number, entry in enumerate(demonstration.stdlib_entries())
        if entry.path in named or entry.module in SAMPLE_MODULES or number % 40 == 0
    ]
