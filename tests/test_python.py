"""Embeddings and Collection: every verb, on files, connections and other programs'."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing

import llm
import numpy as np
import pytest
import sqlite_utils
from llm.embeddings_migrations import embeddings_migrations

from datasette_embeddings import (
    Embeddings,
    EmbeddingsError,
    cosine,
    decode,
    encode,
    load_model,
)
from datasette_embeddings.errors import (
    DatabaseError,
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    MissingLibraryError,
    ModelError,
    ModelMismatchError,
    SourceUnavailableError,
    UnknownCollectionError,
    UnknownItemError,
    UnknownModelError,
)
from tests.models import Eyes, StandIn
from tests.programs import ours

TEXTS = [
    ("bread", "Bread rises overnight with a wild yeast starter."),
    ("saturn", "A small telescope shows the rings of Saturn."),
    ("tyre", "Find the hole in the tube and glue on a patch."),
]
LONG = "\n\n".join(f"Paragraph {n} is about number {n} of many." for n in range(80))
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def db(tmp_path):
    with Embeddings(tmp_path / "notes.db") as opened:
        yield opened


@pytest.fixture
def notes(db):
    """A collection of three texts, of the bundled model."""
    found = db.collection("notes", create=True)
    found.embed_many(TEXTS)
    return found


@pytest.fixture
def standing(db):
    """An empty collection of a model that costs nothing, and the model."""
    model = StandIn()
    return db.collection("standing", model=model, create=True), model


def query(db, sql, parameters=()):
    with db._database.connections.lent() as conn:
        return conn.execute(sql, parameters).fetchall()


def ids(matches):
    return [match.id for match in matches]


def test_items_are_embedded_found_and_read(notes):
    assert ids(notes.search("planets", limit=1)) == ["saturn"]
    item = notes.get("saturn")
    assert (item.content, item.metadata) == (TEXTS[1][1], None)
    assert item.vector.shape == (384,)
    assert item.vector.dtype == np.float32
    assert [each.id for each in notes] == ["bread", "saturn", "tyre"]
    assert len(notes) == 3
    assert "tyre" in notes
    assert "cat" not in notes
    assert None not in notes
    assert notes.get("cat") is None
    assert notes.check() == []


def test_vectors_are_those_of_the_model(notes):
    model = load_model(notes.model_id)
    found, vectors = notes.vectors()
    assert sorted(found) == ["bread", "saturn", "tyre"]
    assert vectors.shape == (3, 384)
    expected = model.embed_passages([text for _id, text in TEXTS])
    for each, vector in zip(TEXTS, expected, strict=True):
        np.testing.assert_allclose(vectors[found.index(each[0])], vector, atol=0.02)


def test_a_number_is_an_id_as_its_text(standing):
    notes, _model = standing
    notes.embed(7, "seven")
    assert 7 in notes
    assert "7" in notes
    assert notes.get(7) == notes.get("7")
    assert notes.delete_items([7]) == 1


def test_what_is_stored_already_is_not_embedded_again(standing):
    notes, model = standing
    notes.embed("a", "a text", {"kind": "x"})
    notes.embed("a", "a text", {"kind": "x"})
    notes.embed("a", "a text")
    assert model.embedded == ["a text"]
    assert notes.get("a").metadata == {"kind": "x"}


def test_other_metadata_take_the_place_of_the_stored_ones_without_the_model(standing):
    notes, model = standing
    notes.embed("a", "a text", {"kind": "x"})
    notes.embed("a", "a text", {"kind": "y"})
    assert notes.get("a").metadata == {"kind": "y"}
    notes.embed("a", "a text", {})
    assert notes.get("a").metadata == {}
    assert model.embedded == ["a text"]


def test_many_are_counted_by_what_became_of_them(standing):
    notes, _model = standing
    notes.embed_many([("same", "1"), ("text", "2"), ("data", "3"), ("gone", "4")])
    report = notes.embed_many(
        [
            ("same", "1"),
            ("text", "two"),
            ("data", "3", {"n": 3}),
            ("gone", " "),
            {"id": "new", "content": "5", "title": "Five"},
            ("null", None),
            ("list", ["a"]),
        ]
    )
    assert (report.unchanged, report.changed, report.metadata) == (1, 1, 1)
    assert (report.empty, report.new, report.failed) == (2, 1, 1)
    assert [each.id for each in report.failures] == ["list"]
    assert [each.id for each in notes] == ["data", "new", "same", "text"]
    assert notes.get("new").metadata == {"title": "Five"}
    assert notes.check() == []


def test_of_several_with_one_id_the_last_stays(standing):
    notes, _model = standing
    notes.embed_many([("a", "first"), ("b", "x"), ("a", "last")])
    assert notes.get("a").content == "last"
    notes.embed_many(iter([("a", "3"), ("a", "4")]), batch_size=1)
    assert notes.get("a").content == "4"


def test_an_item_that_fails_does_not_stop_the_others(db):
    notes = db.collection("n", model=StandIn(poison="bad"), create=True)
    entries = [(n, f"bad {n}" if n < 12 else f"good {n}") for n in range(20)]
    report = notes.embed_many(entries)
    assert (report.new, report.failed, len(report.failures)) == (8, 12, 10)
    assert report.failures[0].error == "The model cannot take this"
    with pytest.raises(InvalidInputError, match="The item 'x': The model cannot"):
        notes.embed("x", "bad")


def test_what_was_committed_stays_when_the_model_goes_down(standing):
    notes, model = standing

    def entries():
        yield from ((n, f"text {n}") for n in range(10))
        model.is_down = True
        yield "last", "text"

    with pytest.raises(ModelError, match="What was committed is kept"):
        notes.embed_many(entries(), batch_size=5)
    assert len(notes) == 10


def test_an_entry_of_another_shape_ends_the_run_after_what_came_before(standing):
    notes, _model = standing
    with pytest.raises(InvalidInputError, match=r"Expected \(id, content\)"):
        notes.embed_many([("a", "1"), ("b", "2"), "cd"], batch_size=1)
    assert len(notes) == 2


def test_progress_counts_every_entry_once(standing):
    notes, _model = standing
    notes.embed_many([("a", "1"), ("b", "2")])
    done = []
    entries = [("a", "1"), ("b", "other"), ("c", ""), ("d", 5), ("a", "1")]
    notes.embed_many(entries, progress=done.append)
    assert sum(done) == 5


def test_not_every_entry_is_in_memory_at_once(standing):
    notes, model = standing
    seen = []

    def entries():
        for number in range(3_000):
            seen.append(len(model.embedded))
            yield number, f"text {number}"

    notes.embed_many(entries())
    assert (seen[1_023], seen[1_024], seen[2_999]) == (0, 1_024, 2_048)


def test_a_long_text_is_one_document_in_chunks(notes):
    notes.embed("long", LONG, {"kind": "x"}, title="Numbers")
    assert len(notes) > 5
    assert "long" in notes
    document = notes.get("long")
    assert (document.content, document.vector) == (LONG, None)
    assert document.metadata == {"kind": "x", "title": "Numbers"}
    chunk = notes.get("long#1")
    assert chunk.document_id == "long"
    assert LONG[chunk.start : chunk.end] == chunk.content
    assert notes.search("numbers", limit=1)[0].document_id == "long"
    notes.embed("long", LONG)
    assert notes.delete_items(["long"]) == 1
    assert [each.id for each in notes] == ["bread", "saturn", "tyre"]
    assert notes.check() == []


def test_a_text_without_a_title_keeps_that_of_its_metadata(notes, db):
    """It would be embedded again without the title otherwise."""
    notes.embed("long", LONG, title="Numbers")
    titles = "select distinct title from _embedding_chunks"
    rowids = "select max(rowid), count(*) from embeddings"
    before = query(db, rowids)
    assert query(db, titles) == [("Numbers",)]
    notes.embed("long", LONG)
    assert query(db, rowids) == before
    notes.embed("long", LONG, title="Lines")
    assert query(db, titles) == [("Lines",)]


def test_a_long_text_is_whole_if_that_is_asked_for(notes):
    notes.embed("long", LONG, chunk="none")
    assert len(notes) == 4
    notes.embed("long", LONG + "More.")
    assert len(notes) > 5
    notes.embed("long", LONG, chunk="none")
    assert len(notes) == 4
    assert notes.check() == []


def test_content_is_not_stored_if_that_is_asked_for(standing):
    notes, _model = standing
    notes.embed("a", "secret", store=False)
    assert notes.get("a").content is None
    notes.embed("a", "secret", store=True)
    assert notes.get("a").content == "secret"


def test_images_are_items_too(db):
    model = Eyes()
    pictures = db.collection("pictures", model=model, create=True)
    report = pictures.embed_many([("a", PNG + b"a"), ("b", PNG + b"b"), ("c", "text")])
    assert report.new == 3
    assert pictures.get("a").content == PNG + b"a"
    assert ids(pictures.search(PNG + b"b", limit=1)) == ["b"]
    with pytest.raises(InvalidInputError, match="Expected an image"):
        pictures.embed("d", b"no picture")
    assert pictures.check() == []


def test_deleting_says_how_many_there_were_and_leaves_nothing(notes, db):
    assert notes.delete_items(["bread", "cat", "bread"]) == 1
    assert notes.delete_items([]) == 0
    assert len(notes) == 2
    assert ids(notes.search("yeast bread", mode="words")) == []
    for table in ("embeddings", "_embedding_words", "_embedding_origins"):
        assert query(db, f"select count(*) from {table}") <= [(2,)]
    assert notes.check() == []


def test_a_collection_can_be_deleted_and_made_again(notes, db):
    notes.delete()
    assert db.collections() == []
    with pytest.raises(UnknownCollectionError):
        len(notes)
    with pytest.raises(UnknownCollectionError):
        notes.embed("a", "text")
    db.collection("notes", create=True)
    assert len(notes) == 0


def test_similarities_are_kept_up_to_date(notes, db, tmp_path):
    ours("similarities", tmp_path / "notes.db", "notes", "--silent")
    notes.embed("jupiter", "A telescope shows the moons of Jupiter.")
    pairs = "select other_id from similarities where id = 'saturn' order by score desc"
    assert query(db, pairs)[0] == ("jupiter",)
    assert notes.check() == []
    notes.delete_items(["jupiter"])
    assert ("jupiter",) not in query(db, pairs)
    assert notes.check() == []


def test_a_filter_by_columns_and_one_by_ids(articles_db):
    with Embeddings(articles_db) as db:
        articles = db.collection("articles")
        where = "title < :last and id > 1"
        found = articles.search("food", where=where, params={"last": "K"})
        assert sorted(ids(found)) == ["3", "6"]
        assert ids(articles.similar(5, where="id in (1, 2)", limit=1)) == ["1"]
        vector = articles.get("5").vector
        assert ids(articles.nearest(vector, where="id <> 5", limit=9))[0] != "5"
        assert ids(articles.nearest(vector.tolist(), prefix="6")) == ["6"]


def test_given_items_are_filtered_by_their_metadata(tmp_path):
    with Embeddings(tmp_path / "notes.db") as db:
        notes = db.collection("notes", create=True)
        for year in (2019, 2021, 2022):
            notes.embed(year, f"Notes of {year}", metadata={"year": year})
        found = notes.search("notes", where="year > :y", params={"y": 2020})
        assert sorted(ids(found)) == ["2021", "2022"]


def test_a_filter_by_metadata(standing):
    notes, _model = standing
    notes.embed_many([(n, f"text {n}", {"n": n}) for n in range(9)])
    found = notes.search("text", where="n > :least", params={"least": 6})
    assert sorted(ids(found)) == ["7", "8"]
    assert ids(notes.similar(1, where="id = 5 or n = 1")) == ["5"]
    with pytest.raises(InvalidInputError, match="price"):
        notes.search("text", where="price < 3")


def test_the_title_of_an_item_is_that_of_its_metadata(notes):
    notes.embed("moon", "It has craters.", title="The Moon")
    assert notes.get("moon").title == "The Moon"
    assert notes.search("moon", mode="words")[0].title == "The Moon"
    notes.embed("long", LONG, title="Numbers")
    assert notes.get("long").title == "Numbers"


@pytest.mark.parametrize(
    ("where", "params", "message"),
    [
        ("price < 3", None, "no such column: price; the columns are id, title, body"),
        ("1) or (1", None, "one SQL expression"),
        ("1); delete from articles; --", None, "one SQL expression"),
        ("id = 1 --", None, None),
        ("", None, "one SQL expression"),
        ("id = :n", None, "one SQL expression"),
        ("id = :n", [1], "Expected params as a mapping"),
        (None, {"n": 1}, "found params alone"),
    ],
)
def test_a_condition_is_one_expression(articles_db, where, params, message):
    with Embeddings(articles_db) as db:
        articles = db.collection("articles")
        if message is None:
            assert ids(articles.search("x", where=where, params=params)) == ["1"]
            return
        with pytest.raises(InvalidInputError, match=message):
            articles.search("x", where=where, params=params)
        assert len(articles) == 6


def test_the_source_is_read_again_and_given_items_are_kept(articles_db):
    with Embeddings(articles_db) as db:
        articles = db.collection("articles")
        articles.embed("mine", "A text of my own")
        articles.embed("5", "Young dogs")
        with db._database.connections.lent() as conn, conn:
            conn.execute("delete from articles where id = 6")
            conn.execute("update articles set body = 'Flour' where id = 1")
        assert [each.problem for each in articles.check()] != []
        [report] = articles.sync()
        assert (report.changed, report.gone) == (2, 1)
        # The row is still that of the source
        assert articles.get("5").content.startswith("Kittens")
        assert "mine" in articles
        assert articles.check() == []


def test_a_collection_of_no_source_has_nothing_to_sync(notes):
    with pytest.raises(SourceUnavailableError, match="no source"):
        notes.sync()


def test_items_of_a_table_have_its_content_and_titles(articles_db):
    with Embeddings(articles_db) as db:
        item = db.collection("articles").get(5)
        assert item.title == "Kittens"
        assert item.content.startswith("Kittens Young cats need food")


@pytest.mark.parametrize("kind", ["path", "text", "connection", "sqlite-utils"])
def test_a_database_is_a_path_or_a_connection(tmp_path, kind):
    path = tmp_path / "a.db"
    given = {
        "path": lambda: path,
        "text": lambda: str(path),
        "connection": lambda: sqlite3.connect(path),
        "sqlite-utils": lambda: sqlite_utils.Database(path),
    }[kind]()
    with Embeddings(given) as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        notes.embed("a", "text")
    with Embeddings(path) as db:
        assert [each.name for each in db.collections()] == ["notes"]
        assert repr(db) == f"Embeddings({str(path)!r})"
        assert repr(db.collections()) == "[<Collection 'notes'>]"
    with pytest.raises(DatabaseError, match="was closed"):
        db.collections()
    conn = getattr(given, "conn", given)
    if isinstance(conn, sqlite3.Connection):
        assert conn.execute("select count(*) from embeddings").fetchone() == (1,)
        conn.close()


def test_a_connection_keeps_how_it_gives_rows(tmp_path):
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.row_factory = sqlite3.Row
        notes = Embeddings(conn).collection("notes", model=StandIn(), create=True)
        notes.embed("a", "text")
        assert notes.get("a").content == "text"
        assert conn.execute("select 1 as one").fetchone()["one"] == 1


@pytest.mark.parametrize("isolation_level", ["", None])
def test_a_transaction_of_the_caller_is_neither_committed_nor_rolled_back(
    tmp_path, isolation_level
):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=isolation_level)) as conn:
        db = Embeddings(conn)
        notes = db.collection("notes", model=StandIn(), create=True)
        notes.embed("cat", "Cats purr")
        conn.execute("create table own (n)")
        conn.commit()
        conn.execute("begin")
        conn.execute("insert into own values (1)")
        for write in (
            lambda: notes.embed("dog", "Dogs bark"),
            lambda: notes.embed_many([("dog", "Dogs bark")]),
            lambda: notes.delete_items(["cat"]),
            notes.sync,
            notes.delete,
            lambda: db.collection("other", model=StandIn(), create=True),
        ):
            with pytest.raises(InvalidInputError, match="without an open transaction"):
                write()
        assert [match.id for match in notes.search("cats")] == ["cat"]
        assert [each.id for each in notes] == ["cat"]
        assert conn.in_transaction
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("select count(*) from own").fetchone() == (0,)
        conn.commit()
        notes.embed("dog", "Dogs bark")


@pytest.mark.parametrize(
    "settings",
    [
        {"row_factory": lambda cursor, row: {"first": row[0]}},
        {"row_factory": sqlite3.Row},
        {"text_factory": bytes},
    ],
    ids=["dictionaries", "rows", "bytes"],
)
def test_a_connection_may_give_rows_in_any_way(tmp_path, settings):
    with closing(sqlite3.connect(tmp_path / "a.db")) as conn:
        for name, value in settings.items():
            setattr(conn, name, value)
        notes = Embeddings(conn).collection("notes", model=StandIn(), create=True)
        notes.embed("cat", "Cats purr", {"kind": "pet"})
        assert [match.id for match in notes.search("cats")] == ["cat"]
        assert {name: getattr(conn, name) for name in settings} == settings


def test_a_connection_that_is_closed_is_an_error_of_ours(tmp_path):
    conn = sqlite3.connect(tmp_path / "a.db")
    conn.close()
    with pytest.raises(DatabaseError, match="closed"):
        Embeddings(conn)


@pytest.mark.parametrize(
    "call",
    [
        lambda db, notes: notes.embed(10**5000, "Cats purr"),
        lambda db, notes: notes.embed("a", "Cats purr", title="\ud800"),
        lambda db, notes: notes.embed("a", "Cats purr", {"of": ["\ud800"]}),
        lambda db, notes: notes.embed_many(None),
        lambda db, notes: notes.embed_many({"a": "Cats purr"}),
        lambda db, notes: notes.delete_items(None),
        lambda db, notes: notes.search("cats", prefix=5),
        lambda db, notes: notes.search("cats", min_score="high"),
        lambda db, notes: notes.search("cats", min_cosine=[]),
        lambda db, notes: notes.search("cats", where="id = :p", params={"p": object()}),
        lambda db, notes: db.collection(5, create=True),
        lambda db, notes: db.collection("\ud800", create=True),
        lambda db, notes: db.collection("notes", model=5),
        lambda db, notes: Embeddings("a\0b"),
    ],
)
def test_an_argument_of_another_type_is_an_error_of_ours(notes, db, call):
    with pytest.raises(InvalidInputError, match="Expected"):
        call(db, notes)
    assert "\ud800" not in notes


def test_a_database_in_memory_lasts_as_long_as_it_is_open():
    with Embeddings(":memory:") as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        notes.embed("a", "text")
        assert ids(notes.search("text")) == ["a"]


def test_a_file_that_takes_the_place_of_another_is_the_one_that_is_used(tmp_path):
    path = tmp_path / "a.db"
    with Embeddings(path) as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        notes.embed("cat", "Cats purr")
        path.rename(tmp_path / "before.db")
        with pytest.raises(DatabaseError, match="found nothing"):
            len(notes)
        with Embeddings(path) as other:
            other.collection("notes", model=StandIn(), create=True).embed("a", "One")
        notes.embed("dog", "Dogs bark")
        assert [each.id for each in notes] == ["a", "dog"]


def test_no_file_is_made_by_looking(tmp_path):
    with Embeddings(tmp_path / "no.db") as db:
        for look in (db.collections, lambda: db.collection("notes")):
            with pytest.raises(DatabaseError, match="Expected a database file"):
                look()
    with Embeddings(tmp_path) as db, pytest.raises(DatabaseError, match="a folder"):
        db.collection("notes", create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_an_error_of_ours(tmp_path):
    path = tmp_path / "text.db"
    path.write_text("not a database" * 100)
    with Embeddings(path) as db, pytest.raises(DatabaseError, match="is not a SQLite"):
        db.collections()


def test_the_model_of_a_collection_stays(notes, db):
    assert notes.model_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert db.collection("notes", model="all-MiniLM-L6-v2").name == "notes"
    for create in (False, True):
        with pytest.raises(ModelMismatchError):
            db.collection("notes", model="other", create=create)
    with pytest.raises(UnknownModelError):
        db.collection("new", model="no/such-model", create=True)
    assert [each.name for each in db.collections()] == ["notes"]


def test_models_have_settings(tmp_path):
    settings = {"mine": {"model": "sentence-transformers/all-MiniLM-L6-v2"}}
    with Embeddings(tmp_path / "a.db", models=settings) as db:
        assert db.collection("notes", create=True).model_id
    with pytest.raises(EmbeddingsError, match=r"models\.mine\.threads"):
        Embeddings(tmp_path / "a.db", models={"mine": {"threads": 0}})


WRONG = {
    "empty content": lambda notes: notes.embed("a", " "),
    "no text": lambda notes: notes.embed("a", 3),
    "an image for a model of texts": lambda notes: notes.embed("a", PNG),
    "a text that UTF-8 cannot hold": lambda notes: notes.embed("a", "\ud800"),
    "an id that UTF-8 cannot hold": lambda notes: notes.embed("\ud800", "a"),
    "no id": lambda notes: notes.embed("", "a"),
    "an id that is none": lambda notes: notes.embed(None, "a"),
    "a long id": lambda notes: notes.embed("a" * 10_001, "a"),
    "metadata that are no mapping": lambda notes: notes.embed("a", "a", [1]),
    "metadata that are no JSON": lambda notes: notes.embed("a", "a", {"a": {1}}),
    "not a number in metadata": lambda n: n.embed("a", "a", {"a": float("nan")}),
    "another chunking": lambda notes: notes.embed("a", "a", chunk="zigzag"),
    "a batch of none": lambda notes: notes.embed_many([], batch_size=0),
    "nothing to search": lambda notes: notes.search(" "),
    "a number to search": lambda notes: notes.search(3),
    "a limit of 0": lambda notes: notes.search("a", limit=0),
    "a negative offset": lambda notes: notes.search("a", offset=-1),
    "another mode": lambda notes: notes.search("a", mode="fuzzy"),
    "a text for ids": lambda notes: notes.delete_items("saturn"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(notes, wrong):
    with pytest.raises(InvalidInputError):
        wrong(notes)
    assert len(notes) == 3


def test_an_unknown_item_and_a_vector_of_another_length_are_told(notes):
    with pytest.raises(UnknownItemError, match="'cat'"):
        notes.similar("cat")
    with pytest.raises(DimensionMismatchError):
        notes.nearest([1, 2])
    for wrong in (["a"], [[1, 2]], [], [float("nan")] * 384, None):
        with pytest.raises(InvalidVectorError):
            notes.nearest(wrong)


def test_what_llm_left_is_taken_over(tmp_path):
    """As its own migrations make the tables, without those of this package."""
    path = tmp_path / "llm.db"
    with closing(sqlite_utils.Database(path)) as database:
        embeddings_migrations.apply(database)
        model = "sentence-transformers/all-MiniLM-L6-v2"
        vector = load_model(model).embed_passages(["Cats purr"])[0]
        database["collections"].insert({"id": 1, "name": "n", "model": model})
        database["embeddings"].insert(
            {
                "collection_id": 1,
                "id": "cat",
                "embedding": llm.encode(vector.tolist()),
                "content": "Cats purr",
                "metadata": json.dumps({"kind": "pet"}),
                "updated": 1,
            }
        )
    with Embeddings(path) as db:
        notes = db.collection("n")
        assert notes.get("cat").metadata == {"kind": "pet"}
        assert notes.delete_items(["dog"]) == 0
        notes.embed("dog", "Dogs bark")
        assert ids(notes.search("purr", mode="words")) == ["cat"]
        assert notes.check() == []


def test_frames_have_a_row_for_each_item(notes):
    notes.embed("tyre", TEXTS[2][1], {"kind": "x"})
    frame, table = notes.to_pandas(), notes.to_arrow()
    assert list(frame["id"]) == ["bread", "saturn", "tyre"]
    assert frame["metadata"][2] == {"kind": "x"}
    np.testing.assert_array_equal(frame["embedding"][1], notes.get("saturn").vector)
    assert table.column_names == [
        *("id", "content", "content_blob", "title", "metadata", "embedding")
    ]
    assert table.to_pylist()[2]["metadata"] == '{"kind": "x"}'
    assert len(table["embedding"][0]) == 384


@pytest.mark.parametrize("name", ["pandas", "pyarrow"])
def test_a_library_that_is_not_installed_is_named(notes, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingLibraryError, match=f"pip install .*{name}"):
        notes.to_pandas() if name == "pandas" else notes.to_arrow()


def test_vectors_are_encoded_as_llm_does():
    for given in ([1, 2.5], (1, 2.5), np.array([1, 2.5]), np.float32([1, 2.5])):
        assert encode(given) == llm.encode([1, 2.5])
    assert decode(llm.encode([1, 2.5])).tolist() == [1, 2.5]
    with pytest.raises(InvalidVectorError):
        decode("text")


def test_the_cosine_is_that_of_llm():
    one, other = [1.0, 2.0, -3.0], [0.5, 0.0, 4.0]
    expected = pytest.approx(llm.cosine_similarity(one, other), abs=1e-12)
    assert cosine(one, other) == expected
    assert cosine(encode(one), encode(other)) == expected
    assert cosine([1e30, 0], [1e30, 0]) == 1
    assert np.isnan(cosine([0, 0], [1, 2]))
    with pytest.raises(DimensionMismatchError):
        cosine([1], [1, 2])


def test_what_is_far_too_long_is_refused_in_a_short_sentence(tmp_path):
    with Embeddings(tmp_path / "notes.db") as db:
        notes = db.collection("notes", create=True)
        notes.embed("1", "One.")
        for work in (
            lambda: notes.embed("2", "Two.", {"key": "x" * 1_000_000}),
            lambda: notes.search("one", where="x" * 100_001),
            lambda: notes.search("one", where="x" * 90_000),
            lambda: notes.search("one", where=5),
        ):
            with pytest.raises(InvalidInputError, match="Expected") as error:
                work()
            assert len(str(error.value)) < 600
        assert len(notes) == 1


def test_a_chunk_far_from_the_one_before_makes_no_text(tmp_path):
    with Embeddings(tmp_path / "notes.db") as db:
        notes = db.collection("notes", create=True)
        notes.embed("1", "Cats purr. " * 500)
        assert notes.get("1").content.startswith("Cats purr.")
        with closing(sqlite3.connect(tmp_path / "notes.db")) as other, other:
            other.execute(
                "update _embedding_chunks set start = 1000000000000 where position = 1"
            )
        assert notes.get("1").content is None
