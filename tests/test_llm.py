"""Both directions of promise 2: llm reads what we write, and we what llm wrote.

The real programs, llm with the fp32 weights.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner
from llm.cli import cli as llm_command
from llm.embeddings_migrations import embeddings_migrations
from sqlite_utils import Database

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import SchemaError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.search.answers import search_vector
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import StoredCollection, collections
from datasette_embeddings.vectors import decode, encode
from tests import programs
from tests.hub import MODEL_ID, llm_environment

NOTES = [
    (1, "Sourdough", "Bread rises overnight with a wild yeast starter."),
    (2, "Night sky", "A small telescope shows the rings of Saturn and its moons."),
    (3, "Flat tyre", "Find the hole in the tube, roughen it and glue on a patch."),
    (4, "Tax return", "What a freelancer may deduct from taxable income."),
    (5, "Kittens", "Young cats eat four times a day and sleep the rest."),
    (6, "Backups", "Copy the database to another machine every night."),
    (7, "Café crème", "Milk foam wants 65 °C; above that it tastes burnt."),
    (8, "Marathon", "Long slow runs build the endurance for 42 kilometres."),
    (9, "Sonata", "The pianist practises Beethoven's slow movement."),
    (10, "Tomatoes", "Water the roots in the morning, and never the leaves."),
    (11, "猫の世話", "子猫には一日に四回ご飯をあげます。"),
    (12, "Chess openings for beginners", None),
]
QUESTION = "planets seen through a telescope"
ANSWER = "2"
NL = ("--format", "nl")

SHARED_TABLES = ("collections", "embeddings", "_sqlite_migrations")
OLDER_STEPS = [
    "m002_foreign_key",
    "m003_add_updated",
    "m004_store_content_hash",
    "m005_add_content_blob",
]


def process(*arguments, environment=None):
    """What a Python program prints, which must have succeeded."""
    finished = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def ours(*arguments):
    """What our command line prints."""
    return programs.ours(*arguments).stdout


def report(*arguments):
    """What our command line says on stderr about its work."""
    return programs.ours(*arguments).stderr.strip()


def objects(lines):
    return [json.loads(line) for line in lines.splitlines()]


def ids(matches):
    return [match["id"] for match in matches]


def query(database, sql, parameters=()):
    with closing(sqlite3.connect(database)) as conn:
        return conn.execute(sql, parameters).fetchall()


def schema(database, tables=None):
    """The rows of `sqlite_master`: all of them, or what belongs to *tables*."""
    rows = query(
        database,
        "select type, name, tbl_name, sql from sqlite_master order by type, name",
    )
    return [row for row in rows if tables is None or row[2] in tables]


def recorded_steps(database):
    return query(
        database,
        """
        select *
        from _sqlite_migrations
        where migration_set = 'llm.embeddings'
        order by id
        """,
    )


def write_notes(database):
    with closing(sqlite3.connect(database)) as conn:
        conn.execute(
            "create table notes (id integer primary key, title text, body text)"
        )
        conn.executemany("insert into notes values (?, ?, ?)", NOTES)
        conn.commit()


@pytest.fixture(scope="session")
def llm(tmp_path_factory):
    """The real llm: called with its arguments, it answers with its output."""
    home = tmp_path_factory.mktemp("llm")
    programs.write_llm_home(home)

    def run_llm(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            programs.go_home(patch, home)
            return programs.run(llm_command, *arguments).stdout

    return run_llm


@pytest.fixture(scope="session")
def built_by_us(tmp_path_factory):
    database = tmp_path_factory.mktemp("built-by-us") / "notes.db"
    write_notes(database)
    ours("embed", database, "notes", "--table", "notes")
    return database.read_bytes()


@pytest.fixture
def our_database(tmp_path, built_by_us):
    """A database with the table `notes` and a collection of its rows."""
    database = tmp_path / "ours.db"
    database.write_bytes(built_by_us)
    return database


@pytest.fixture(scope="session")
def built_by_llm(tmp_path_factory, llm):
    folder = tmp_path_factory.mktemp("built-by-llm")
    database, source = folder / "llm.db", folder / "source.db"
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "title", "body"), *NOTES])
    llm(
        *("embed-multi", "stored", folder / "notes.csv", "--format", "csv", "--store"),
        *("--model", MODEL_ID, "--database", database),
    )
    write_notes(source)
    llm(
        *("embed-multi", "bare", "--attach", "source", source),
        *("--sql", "select id, title, body from source.notes"),
        *("--model", MODEL_ID, "--database", database),
    )
    return database.read_bytes()


@pytest.fixture
def llm_database(tmp_path, built_by_llm):
    """A database of llm: `stored` is from CSV with --store, `bare` from a query."""
    database = tmp_path / "llm.db"
    database.write_bytes(built_by_llm)
    return database


def test_llm_lists_our_collection(llm, our_database):
    listed = llm("collections", "list", "--database", our_database, "--json")
    assert json.loads(listed) == [
        {"name": "notes", "model": MODEL_ID, "num_embeddings": 12}
    ]


@pytest.mark.parametrize("item_id", ["2", "11"])
def test_llm_finds_the_similar_items_that_we_find(llm, our_database, item_id):
    found = objects(llm("similar", "notes", item_id, "--database", our_database))
    expected = objects(ours("similar", our_database, "notes", item_id, *NL))
    assert [(match["id"], match["score"]) for match in found] == [
        (match["id"], pytest.approx(match["score"], abs=1e-5)) for match in expected
    ]


def test_llm_searches_our_int8_vectors_with_its_fp32_model(llm, our_database):
    similar = ("similar", "notes", "--content", QUESTION, "--database", our_database)
    found = objects(llm(*similar))
    expected = objects(ours("search", our_database, "notes", QUESTION, *NL))
    assert ids(found)[0] == ids(expected)[0] == ANSWER


@pytest.mark.long
def test_it_does_so_in_processes_as_people_run_them(our_database, tmp_path):
    environment = llm_environment(tmp_path)
    similar = ("similar", "notes", "--content", QUESTION, "--database", our_database)
    found = objects(process("llm", *similar, environment=environment))
    search = ("embeddings", "search", our_database, "notes", QUESTION, *NL)
    expected = objects(process("datasette", *search))
    assert ids(found)[0] == ids(expected)[0] == ANSWER


def test_llm_leaves_our_schema_as_it_is_when_it_reads(llm, our_database):
    before = schema(our_database), recorded_steps(our_database)
    llm("collections", "list", "--database", our_database)
    llm("similar", "notes", "1", "--database", our_database)
    assert (schema(our_database), recorded_steps(our_database)) == before


def test_llm_adds_to_our_collection_and_leaves_our_schema_as_it_is(llm, our_database):
    before = schema(our_database), recorded_steps(our_database)
    text = "Jupiter and Saturn in the evening sky"
    llm("embed", "notes", "13", "--content", text, "--database", our_database)
    found = objects(ours("search", our_database, "notes", text, *NL))
    assert ids(found)[:2] == ["13", ANSWER]
    assert (schema(our_database), recorded_steps(our_database)) == before


def test_the_schema_that_we_create_is_the_one_that_llm_creates(
    our_database, llm_database
):
    assert schema(our_database, SHARED_TABLES) == schema(llm_database)


def test_llm_finds_every_step_of_its_own_done(our_database):
    with closing(sqlite3.connect(our_database)) as conn:
        assert embeddings_migrations.pending(Database(conn)) == []


def test_a_collection_of_llm_is_listed_at_once(llm_database):
    listed = ours("collections", "list", llm_database, "--format", "json")
    facts = {"model": MODEL_ID, "count": 12, "dimensions": 384, "sources": None}
    assert json.loads(listed) == [
        {"name": "bare", **facts},
        {"name": "stored", **facts},
    ]


@pytest.mark.parametrize(
    ("collection", "content"),
    [("stored", " ".join(NOTES[1][1:])), ("bare", None)],
    ids=["stored", "bare"],
)
def test_a_collection_of_llm_is_searched_at_once(llm_database, collection, content):
    [best] = objects(ours("search", llm_database, collection, QUESTION, "-n1", *NL))
    assert (best["id"], best["content"], best["metadata"]) == (ANSWER, content, None)


@pytest.mark.parametrize("collection", ["stored", "bare"])
def test_we_find_the_similar_items_that_llm_finds(llm, llm_database, collection):
    found = objects(ours("similar", llm_database, collection, "5", *NL))
    expected = objects(llm("similar", collection, "5", "--database", llm_database))
    assert found == [
        {
            **match,
            "score": pytest.approx(match["score"], abs=1e-5),
            "cosine": pytest.approx(match["score"], abs=1e-5),
            "matched": ["meaning"],
            "title": None,
            "headings": [],
            "url": None,
            "stale": None,
        }
        for match in expected
    ]


def test_reading_a_database_of_llm_changes_no_byte_of_it(llm_database, built_by_llm):
    ours("collections", "list", llm_database)
    ours("search", llm_database, "stored", QUESTION)
    ours("similar", llm_database, "bare", "5")
    assert llm_database.read_bytes() == built_by_llm


@pytest.mark.parametrize("collection", ["stored", "bare"])
def test_what_llm_embedded_is_not_embedded_again(llm_database, collection):
    write_notes(llm_database)
    done = report("embed", llm_database, collection, "--table", "notes")
    assert done == f"{collection}: 0 new, 0 changed, 12 unchanged"


def test_llm_works_as_before_after_we_wrote_to_its_database(llm, llm_database):
    before = llm("similar", "stored", "5", "--database", llm_database)
    write_notes(llm_database)
    ours("embed", llm_database, "stored", "--table", "notes")
    assert llm("similar", "stored", "5", "--database", llm_database) == before


def test_our_writing_leaves_the_tables_of_llm_as_they_are(llm_database):
    before = schema(llm_database, SHARED_TABLES), recorded_steps(llm_database)
    write_notes(llm_database)
    ours("embed", llm_database, "stored", "--table", "notes")
    after = schema(llm_database, SHARED_TABLES), recorded_steps(llm_database)
    assert after == before


@pytest.fixture(scope="session")
def built_with_a_reused_id(tmp_path_factory, llm, built_by_us):
    folder = tmp_path_factory.mktemp("reused-id")
    database = folder / "reused.db"
    database.write_bytes(built_by_us)
    (folder / "pets.csv").write_text("id,text\n1,Parrots learn to talk\n")
    llm("collections", "delete", "notes", "--database", database)
    llm(
        *("embed-multi", "pets", folder / "pets.csv", "--format", "csv"),
        *("--model", MODEL_ID, "--database", database),
    )
    assert query(database, "select id, name from collections") == [(1, "pets")]
    return database.read_bytes()


@pytest.fixture
def reused_id(tmp_path, built_with_a_reused_id):
    """Our database after llm gave the id of our collection to one of its own."""
    database = tmp_path / "reused.db"
    database.write_bytes(built_with_a_reused_id)
    return database


def test_what_we_knew_of_a_deleted_collection_is_not_told_of_the_next(reused_id):
    assert json.loads(ours("collections", "show", reused_id, "pets")) == {
        "name": "pets",
        "model": MODEL_ID,
        "count": 1,
        "dimensions": 384,
        "failed": 0,
        "similarities": None,
        "clusters": None,
        "source": None,
        "sources": [],
        "without_source": 1,
        "synced": None,
        "words": None,
        "indexed": 0,
        "closeness": None,
        "metadata_index": [],
    }


def test_a_match_shows_no_row_of_a_deleted_collections_source(reused_id):
    [match] = objects(ours("search", reused_id, "pets", "a talking bird", *NL))
    # Row 1 of the table `notes` would be the content, were the old source believed
    assert (match["id"], match["content"]) == ("1", None)


def test_the_next_write_cleans_what_we_knew_of_a_deleted_collection(reused_id):
    ours("embed", reused_id, "notes", "--table", "notes")
    sql = "select collection_id, name from _embedding_collections"
    assert query(reused_id, sql) == [(2, "notes")]


@pytest.fixture(params=OLDER_STEPS, ids=lambda step: f"before {step[:4]}")
def older_database(request, tmp_path, model):
    """A database whose llm stopped before a step: two items, the table `notes`."""
    database = tmp_path / "older.db"
    write_notes(database)
    with closing(sqlite3.connect(database)) as conn:
        db = Database(conn)
        embeddings_migrations.apply(db, stop_before=request.param)
        db["collections"].insert({"name": "old", "model": MODEL_ID})
        db["embeddings"].insert_all(older_rows(model, db["embeddings"].columns_dict))
    return database


def older_rows(model, columns):
    """One item with its content and one without, as far as there are *columns*."""
    texts = [" ".join(note[1:]) for note in NOTES[:2]]
    vectors = model.embed_passages(texts)
    for text, vector, number in zip(texts, vectors, (1, 2), strict=True):
        row = {
            "collection_id": 1,
            "id": str(number),
            "embedding": encode(vector),
            "content": text if number == 1 else None,
            "content_hash": hashlib.md5(text.encode()).digest(),
            "metadata": json.dumps({"page": number}),
            "updated": 1_700_000_000,
        }
        yield {name: value for name, value in row.items() if name in columns}


def test_a_database_of_an_older_llm_is_left_to_a_newer_one(older_database, model):
    before = older_database.read_bytes()
    with (
        open_database(older_database, writable=True) as conn,
        pytest.raises(SchemaError, match="from before November 2023 made it"),
    ):
        ingest(conn, "new", table_source(conn, "notes"), model)
    assert older_database.read_bytes() == before
    with open_database(older_database, writable=True) as conn:
        embeddings_migrations.apply(Database(conn))
        [old] = collections(conn)
        assert old == StoredCollection(conn, 1, "old", ModelSettings(MODEL_ID), 384)
        matches = search_vector(old, model.embed_query(QUESTION))
    assert [(match.id, match.metadata) for match in matches] == [
        ("2", {"page": 2}),
        ("1", {"page": 1}),
    ]


@pytest.mark.parametrize("command", ["sync", "check --fix", "embed --words english"])
def test_words_of_a_collection_of_llm_are_indexed_and_searched(
    llm, llm_database, command
):
    """Its own tables stay as they are, and llm reads, embeds and deletes as before."""
    before = schema(llm_database, SHARED_TABLES), recorded_steps(llm_database)
    similar = llm("similar", "stored", "5", "--database", llm_database)
    by_words = ("--mode", "words", *NL)
    asked = ("search", llm_database, "stored", "--as-typed")
    assert problems(llm_database) == ""
    name, *options = command.split()
    ours(name, llm_database, *(["stored"] if name == "embed" else []), *options)
    [found] = objects(ours(*asked, "telescope", *by_words))
    assert (found["id"], found["matched"]) == (ANSWER, ["words"])
    assert problems(llm_database) == ""
    after = schema(llm_database, SHARED_TABLES), recorded_steps(llm_database)
    assert after == before
    assert llm("similar", "stored", "5", "--database", llm_database) == similar

    # llm replaces one item, adds one and deletes one
    embed = ("embed", "stored", "--database", llm_database, "--store")
    llm(*embed, ANSWER, "--content", "Marmalade is made of oranges")
    llm(*embed, "13", "--content", "Cardamom and cinnamon")
    with closing(sqlite3.connect(llm_database)) as conn, conn:
        conn.execute("delete from embeddings where id = '5' and collection_id = 1")
    for text in ("telescope", "kittens", "marmalade"):
        assert objects(ours(*asked, text, *by_words)) == []
    found = [
        (row["problem"], row["count"])
        for row in objects(problems(llm_database))
        if row["collection"] == "stored"
    ]
    assert found == [
        ("documents with words of other content", 2),
        ("stored texts whose words are not indexed", 1),
    ]
    ours("sync", llm_database)
    assert problems(llm_database) == ""
    for text, expected in (("marmalade", ANSWER), ("cinnamon", "13")):
        assert ids(objects(ours(*asked, text, *by_words))) == [expected]
    for text in ("telescope", "kittens"):
        assert objects(ours(*asked, text, *by_words)) == []

    llm("collections", "delete", "stored", "--database", llm_database)
    listed = json.loads(ours("collections", "list", llm_database, "--format", "json"))
    assert [row["name"] for row in listed] == ["bare"]


def problems(database):
    """What our check prints, a line for each."""
    done = CliRunner().invoke(embeddings, ["check", str(database), *NL])
    return done.stdout


def test_the_next_collection_of_llm_with_an_id_has_its_own_words(reused_id, llm):
    """Not those of the collection that had the id before."""
    assert objects(ours("search", reused_id, "pets", "saturn", *NL))[0]["matched"] == [
        "meaning"
    ]
    similar = ("embed", "pets", "2", "--content", "An old parrot", "--store")
    llm(*similar, "--database", reused_id)
    ours("sync", reused_id)
    asked = ("search", reused_id, "pets", "--mode", "words", "--as-typed", *NL)
    assert ids(objects(ours(*asked, "parrots"))) == ["2"]
    assert objects(ours(*asked, "saturn")) == []
    facts = query(reused_id, "select name, words from _embedding_collections")
    assert facts == [("pets", "english")]


def write_rows(path, rows):
    lines = [json.dumps({"id": key, "text": text}) for key, text in rows.items()]
    path.write_text("\n".join(lines) + "\n")


def stored_rows(database):
    """Hash and vector of each item by id, which must come once each."""
    rows = query(database, "select id, content_hash, embedding from embeddings")
    assert len({row[0] for row in rows}) == len(rows)
    return {item_id: (digest, decode(vector)) for item_id, digest, vector in rows}


@pytest.mark.parametrize("first", ["llm", "ours"])
def test_both_programs_take_turns_in_one_collection(llm, tmp_path, model, first):
    """Each finds the other's rows unchanged, and no row twice, lost or stale."""
    database, path = tmp_path / "shared.db", tmp_path / "rows.nl"
    texts = {f"note {number}": " ".join(note[1:3]) for number, *note in NOTES[:6]}
    texts = {key: f"{text} for all" for key, text in texts.items()}

    def by_llm():
        llm(
            *("embed-multi", "notes", path, "--format", "nl"),
            *("--model", MODEL_ID, "--database", database),
        )

    def by_us():
        return report("embed", database, "notes", path, "--silent")

    if first == "ours":
        write_rows(path, texts)
        sqlite3.connect(database).close()
        assert by_us() == "notes: 6 new, 0 changed, 0 unchanged"
    for turn in range(2):
        write_rows(path, texts)
        by_llm()
        assert by_us().endswith(f"0 new, 0 changed, {len(texts)} unchanged")
        texts["note 1"] = f"Something else in turn {turn}"
        texts[f"added {turn}"] = f"A note that was added in turn {turn}"
        write_rows(path, texts)
        assert by_us().startswith("notes: 1 new, 1 changed")
        before = stored_rows(database)
        by_llm()
        assert {key: row[0] for key, row in stored_rows(database).items()} == {
            key: row[0] for key, row in before.items()
        }
    rows = stored_rows(database)
    assert set(rows) == set(texts)
    expected = model.embed_passages(list(texts.values()))
    for (key, text), vector in zip(texts.items(), expected, strict=True):
        digest, stored = rows[key]
        assert digest == hashlib.md5(text.encode()).digest()
        assert stored @ vector >= 0.998
