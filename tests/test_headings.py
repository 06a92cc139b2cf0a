"""A passage knows the title of its document and the headings above it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest

from datasette_embeddings.chunking import HEADING_CHARACTERS, split
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.documents import AUTO_CHUNKS, Chunking, Document
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.ingest.splitting import split_documents
from datasette_embeddings.search.answers import search_text, similar_items
from datasette_embeddings.search.matches import HEADINGS_BETWEEN
from datasette_embeddings.search.related import related_items
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection

GUIDE = """\
# Guide

The first words of this guide say nothing special at all.

## Install *it* with `pip`

These are the five words about installing.

### Linux

A penguin eats herring in the cold south.

```sh
# this is a comment of a shell
```

## Remove

A shark deletes everything from the whole disk.
"""
LONG = Chunking("paragraphs", 15)
LINUX = ("Guide", "Install it with pip", "Linux")


def join(*names):
    return HEADINGS_BETWEEN.join(names)


def headings_of(text, method="paragraphs", size=12, **options):
    """The first word and the headings of each chunk of *text*, a word a token."""
    tokens = [match.span() for match in re.finditer(r"\S+", text)]
    chunks = split(text, Chunking(method), tokens=tokens, size=size, **options)
    return {each.text.partition("\n")[0]: each.headings for each in chunks}


@pytest.mark.parametrize("method", ["fixed", "paragraphs", "markdown", AUTO_CHUNKS])
def test_a_chunk_has_the_headings_that_are_open_where_it_starts(method):
    found = headings_of(GUIDE, method)
    assert next(iter(found.values())) == ("Guide",)
    assert list(found.values())[-1] == ("Guide", "Remove")
    assert LINUX in found.values()


def test_a_heading_counts_for_the_chunk_that_begins_with_it_and_not_before():
    found = headings_of(
        "# One\n\nA b c d e f g h.\n\n# Two\n\nI j k l m n.\n", "markdown"
    )
    assert found == {"# One": ("One",), "# Two": ("Two",)}
    text = "A b c d e.\n\n# Two\n\nI j k l m n.\n"
    assert headings_of(text, size=50) == {"A b c d e.": ()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No heading has #one or #hash\n\nmore words of it follow here", ()),
        ("```\n# a comment\n```\n\nmore words of it follow here now", ()),
        ("Under\n=====\n\nmore words of it follow here now ok", ()),
        ("# A\n\n### C\n\n## B\n\nmore words of it follow here now", ("A", "B")),
        ("# A\r\n\r\n## B ##\r\n\r\nmore words of it follow here", ("A", "B")),
        ("# \n\n## B\n\nmore words of it follow here now", ("B",)),
        (f"# {'x' * 500}\n\nmore words of it follow here", ("x" * HEADING_CHARACTERS,)),
        (
            "# [a](b) ![c](d) &amp; <i>e</i>\n\nmore words of it here",
            ("a c & <i>e</i>",),
        ),
    ],
)
def test_headings_are_those_of_commonmark(text, expected):
    [*_before, last] = headings_of(text, "fixed", size=6).values()
    assert last == expected


@pytest.mark.parametrize(("kind", "expected"), [("code", ()), ("markdown", ("a b",))])
def test_a_comment_of_code_is_no_heading(model, kind, expected):
    text = "# a b\n\n" + "print('words')\n" * 5
    document = Document("a.py", text, {"kind": kind})
    [[chunk]] = split_documents([document], model, Chunking("paragraphs"), [])
    assert chunk.headings == expected


@pytest.fixture
def guides(conn):
    """A connection to a database with the table `guides`, and its source."""
    conn.execute("create table guides (id integer primary key, title text, body text)")
    rows = [(1, "The guide", GUIDE), (2, "GUIDE", GUIDE.replace("penguin", "walrus"))]
    conn.executemany("insert into guides values (?, ?, ?)", rows)
    rules = Source(chunking=LONG)
    return conn, table_source(conn, "guides", content_columns=["body"], rules=rules)


def best(conn, name, text, model):
    return search_text(collection(conn, name), text, model=model)[0]


def test_a_match_has_the_headings_in_its_title(guides, model):
    conn, source = guides
    ingest(conn, "guides", source, model)
    found = best(conn, "guides", "penguin herring", model)
    assert (found.document_id, found.headings) == ("1", LINUX)
    assert found.title == join("The guide", *LINUX)
    assert found.text.startswith(f"{found.title}\n")
    # The first heading repeats the title
    found = best(conn, "guides", "walrus herring", model)
    assert found.title == join("GUIDE", *LINUX[1:])
    # A document as a whole is below no heading
    [other] = similar_items(collection(conn, "guides"), "1")
    assert other.title.startswith("GUIDE")


def test_headings_of_a_changed_row_are_not_shown(guides, model):
    conn, source = guides
    ingest(conn, "guides", source, model)
    conn.execute("update guides set body = 'other' where id = 1")
    found = best(conn, "guides", "penguin herring", model)
    assert (found.stale, found.title, found.headings) == (True, None, ())


def test_a_document_without_a_title_is_named_by_its_headings(conn, model):
    conn.execute("create table pages (id integer primary key, body text)")
    conn.execute("insert into pages values (1, ?)", [GUIDE])
    ingest(
        conn, "pages", table_source(conn, "pages", rules=Source(chunking=LONG)), model
    )
    assert best(conn, "pages", "penguin herring", model).title == join(*LINUX)


def test_chunks_of_an_earlier_release_get_headings_with_a_rebuild(guides, model):
    conn, source = guides
    ingest(conn, "guides", source, model)
    conn.execute("alter table _embedding_chunks drop column headings")
    conn.execute("delete from _sqlite_migrations where name = 'm011_headings'")
    assert best(conn, "guides", "penguin herring", model).title == "The guide"
    report = ingest(conn, "guides", source, model)
    assert report.unchanged == 2
    assert best(conn, "guides", "penguin herring", model).headings == ()
    ingest(conn, "guides", source, model, options=IngestOptions(rebuild=True))
    assert best(conn, "guides", "penguin herring", model).headings == LINUX


@pytest.mark.parametrize(
    "written", ["no JSON", "7", '{"a": 1}', "[" * 100_000, b"\xff"]
)
def test_headings_that_another_program_wrote_are_left_out(guides, model, written):
    conn, source = guides
    ingest(conn, "guides", source, model)
    conn.execute("update _embedding_chunks set headings = ?", [written])
    assert best(conn, "guides", "penguin herring", model).headings == ()


def test_a_file_has_its_title_in_results_whole_and_in_chunks(tmp_path, run):
    (tmp_path / "long.md").write_text(f"{GUIDE}\n" + "Words of no meaning. " * 200)
    (tmp_path / "tool.py").write_text("# a comment\n" + "print('words')\n" * 200)
    (tmp_path / "short.md").write_text("A bicycle needs air.\n")
    db = tmp_path / "files.db"
    size = "--chunk", "auto", "--chunk-size", 20
    run("embed", db, "notes", "--files", tmp_path, "*.*", *size, "--silent")
    found = run("search", db, "notes", "penguin herring", "--format", "nl")
    rows = {
        row["id"].partition("#")[0]: row for row in map(json.loads, found.splitlines())
    }
    long = rows["long.md"]
    # The title is the first heading
    assert (long["title"], long["headings"]) == (join(*LINUX), [*LINUX])
    assert (rows["short.md"]["title"], rows["short.md"]["headings"]) == ("short", [])
    assert (rows["tool.py"]["title"], rows["tool.py"]["headings"]) == ("tool", [])
    assert join(*LINUX) in run("search", db, "notes", "herring", "-n", "1")


def test_the_title_of_an_item_of_no_table_is_that_of_its_metadata(tmp_path, run):
    db, rows = tmp_path / "pipe.db", tmp_path / "rows.json"
    texts = [
        {"id": "1", "text": "Kittens sleep.", "title": "Cats"},
        {"id": "2", "text": "Kittens drink.", "title": 7},
    ]
    rows.write_text(json.dumps(texts))
    run(
        "embed",
        db,
        "notes",
        rows,
        "--metadata",
        "title",
        "--column",
        "text",
        "--silent",
        "--similarities",
        1,
    )
    found = run("search", db, "notes", "kittens", "--format", "nl")
    titles = {row["id"]: row["title"] for row in map(json.loads, found.splitlines())}
    assert titles == {"1": "Cats", "2": None}
    with closing(sqlite3.connect(db)) as conn:
        [related] = related_items(collection(conn, "notes"), "2")
    assert (related.id, related.title) == ("1", "Cats")


@pytest.fixture
def run():
    """Runs a command, which must succeed, and returns what it prints."""
    from click.testing import CliRunner

    def run(*arguments):
        result = CliRunner().invoke(embeddings, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.stdout

    return run
