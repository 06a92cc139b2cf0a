"""Contexts of real collections: what is stored, where it is from, by Python."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import sqlite_utils
from llm.embeddings_migrations import embeddings_migrations

from datasette_embeddings import Context, Embeddings, encode, load_model
from datasette_embeddings.context.texts import NO_TEXT, NOT_CLOSE, NOTHING_FOUND
from datasette_embeddings.errors import InvalidInputError, UnknownCollectionError
from tests.conftest import ARTICLES, DOCUMENTS
from tests.models import Eyes, StandIn
from tests.programs import ours

MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
BREAD = ("bread", "Bread rises overnight with a wild yeast starter.")
SATURN = ("saturn", "A small telescope shows the rings of Saturn.")
PNG = b"\x89PNG\r\n\x1a\n"
PAGE = next(path for path in DOCUMENTS if path.name == "searching.md").read_text(
    "utf-8"
)


class Remote(StandIn):
    """A stand-in for a model behind an API, whose tokenizer is not known."""

    model_id = "remote"
    is_remote = True


@pytest.fixture
def db(tmp_path):
    with Embeddings(tmp_path / "notes.db") as opened:
        yield opened


@pytest.fixture
def notes(db):
    found = db.collection("notes", create=True)
    found.embed_many([BREAD, SATURN])
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A document of many chunks."""
    with Embeddings(tmp_path_factory.mktemp("page") / "page.db") as opened:
        found = opened.collection("page", create=True)
        found.embed("page", PAGE, title="Searching")
        yield found


def context(path, question, *, name="articles", **options):
    with Embeddings(path) as opened:
        return opened.collection(name).context(question, **options)


def ids_of(found: Context) -> list[str]:
    return [each.id for each in found.passages]


def test_the_best_passage_comes_first(notes):
    found = notes.context("planets")
    assert isinstance(found, Context)
    assert ids_of(found) == ["saturn", "bread"]
    assert str(found) == f"[1] saturn\n{SATURN[1]}\n\n[2] bread\n{BREAD[1]}"
    assert found.question == "planets"
    assert (found.counted_by, found.budget) == ("tokenizer", 2000)
    assert found.tokens == load_model(MODEL_ID).count_tokens([found.text])[0]


@pytest.mark.parametrize("tokens", [50, 100, 250, 500, 1000, 2000, 4000, 20_000])
def test_passages_are_pieces_of_the_document_within_the_budget(page, tokens):
    for question in ("How is a search ranked?", "JSON API", "rerank"):
        found = page.context(question, tokens=tokens)
        counted = load_model(MODEL_ID).count_tokens([found.text])[0]
        assert counted == found.tokens <= tokens
        assert found.passages
        last = 0
        for each in sorted(found.passages, key=lambda passage: passage.start):
            # Apart from the white space between two chunks, which is not stored
            piece = PAGE[each.start : each.end]
            assert each.text.split() == piece.split()
            # Neighbours are joined, so that nothing is there twice
            assert each.start >= last
            last = each.end


def test_all_of_a_document_that_fits_is_one_passage(page):
    found = page.context("How is a search ranked?", tokens=20_000)
    [passage] = found.passages
    assert passage.text.split() == PAGE.split()
    assert (passage.start, passage.end) == (0, len(PAGE.rstrip()))
    assert not passage.truncated


def test_a_filter_selects_what_may_be_a_passage(notes):
    notes.embed("moon", "The moon has no rings.", {"kind": "moon"})
    found = notes.context("rings", where="kind = :kind", params={"kind": "moon"})
    assert ids_of(found) == ["moon"]
    assert ids_of(notes.context("rings", prefix="sat")) == ["saturn"]
    assert notes.context("rings", prefix="none").text == NOTHING_FOUND


def test_several_collections_of_two_databases(notes, db, tmp_path):
    with Embeddings(tmp_path / "other.db") as other:
        moons = other.collection("moons", create=True)
        moons.embed_many([("titan", "Titan is a moon of Saturn."), BREAD])
        here = db.collection("here", create=True)
        here.embed("jupiter", "Jupiter is a planet with faint rings.")
        found = notes.context("the rings of Saturn", also=[moons, here])
        assert {
            (each.database, each.collection, each.id) for each in found.passages
        } == {
            (str(tmp_path / "notes.db"), "notes", "saturn"),
            (str(tmp_path / "notes.db"), "notes", "bread"),
            (str(tmp_path / "other.db"), "moons", "titan"),
            (str(tmp_path / "notes.db"), "here", "jupiter"),
        }
        assert found.passages[0].id == "saturn"
    of_one = notes.context("the rings of Saturn", also=[here])
    assert {each.database for each in of_one.passages} == {None}


def test_the_filters_are_about_the_first_collection(notes, db):
    here = db.collection("here", create=True)
    here.embed("jupiter", "Jupiter is a planet with faint rings.")
    found = notes.context("rings", also=[here], prefix="sat")
    assert {*ids_of(found)} == {"saturn", "jupiter"}


def test_collections_of_two_models_take_turns(notes, db):
    remote = db.collection("remote", model=Remote(), create=True)
    remote.embed_many([("a", "The first"), ("b", "The second")])
    found = notes.context("rings", also=[remote])
    assert [each.collection for each in found.passages] == ["notes", "remote"] * 2
    assert found.counted_by == "tokenizer"


def test_four_characters_are_a_token_of_a_remote_model(db):
    remote = db.collection("remote", model=Remote(), create=True)
    remote.embed_many([(str(n), f"This is number {n} of many.") for n in range(40)])
    found = remote.context("number", tokens=100)
    assert found.counted_by == "characters"
    assert 350 < len(found.text) <= 400
    assert found.tokens == -(-len(found.text) // 4)


def test_rows_that_changed_since_are_left_out(articles_db):
    question = "bread and telescopes"
    assert {*ids_of(context(articles_db, question))} == {*"123456"}
    with closing(sqlite3.connect(articles_db)) as conn, conn:
        conn.execute("update articles set body = 'Nothing' where id = 1")
        conn.execute("delete from articles where id = 2")
    found = context(articles_db, question)
    assert {*ids_of(found)} == {*"3456"}
    assert "Nothing" not in found.text


def test_a_title_of_a_row_is_said_once(articles_db):
    found = context(articles_db, "young cats", tokens=50)
    assert found.text.startswith(f"[1] Kittens\n{ARTICLES[4][2]}")


def test_a_title_of_a_row_of_a_file_is_said_once(articles_db, tmp_path):
    path = tmp_path / "recipes.csv"
    path.write_text("id,title,body\n1,Kimchi,Salt cabbage.\n", "utf-8")
    columns = ["--column", "title", "--column", "body", "--metadata", "title"]
    ours("embed", articles_db, "recipes", path, *columns)
    found = context(articles_db, "cabbage", name="recipes", tokens=50)
    assert found.text == "[1] Kimchi\nSalt cabbage."


def test_an_image_is_there_by_its_caption_only(db):
    images = db.collection("images", model=Eyes(), create=True)
    images.embed_many([("one", PNG + b"1"), ("two", PNG + b"2")])
    found = images.context("a chair")
    assert (found.passages, found.text) == ((), NO_TEXT)


def test_a_collection_that_llm_made(tmp_path):
    path, model = tmp_path / "llm.db", load_model(MODEL_ID)
    made = sqlite_utils.Database(path)
    embeddings_migrations.apply(made)
    made["collections"].insert({"id": 1, "name": "notes", "model": MODEL_ID})
    for item_id, text in (BREAD, SATURN, ("empty", None)):
        vector = encode(model.embed_passages([text or "nothing"])[0])
        row = {"collection_id": 1, "id": item_id, "embedding": vector, "content": text}
        made["embeddings"].insert(row)
    made.close()
    found = context(path, "planets", name="notes", tokens=50)
    assert ids_of(found) == ["saturn", "bread"]
    assert found.close is None


def test_a_question_about_something_else_is_told(db):
    texts = [(str(n), f"The telescope number {n} shows a planet.") for n in range(60)]
    many = db.collection("many", create=True)
    many.embed_many(texts)
    near, far = many.context("telescope number 3"), many.context("a cheese cake recipe")
    assert (near.close, far.close) == (True, False)
    assert far.text.startswith(f"{NOT_CLOSE}\n\n[1] ")
    assert near.text.startswith("[1] 3\n")
    assert many.context("teleskope").corrected == "telescope"


def test_passages_have_the_addresses_of_their_rows(articles_db):
    columns = ["--column", "title", "--column", "body", "--title", "title"]
    source = ["--table", "articles", *columns, "--base-url", "https://example.com/"]
    ours("embed", articles_db, "articles", *source)
    found = context(articles_db, "young cats", tokens=50)
    assert found.passages[0].url == "https://example.com/5"
    assert found.text.startswith("[1] Kittens (https://example.com/5)\n")


@pytest.mark.parametrize(
    ("question", "others", "message"),
    [
        (" ", {}, "found an empty one"),
        (7, {}, "Expected a question, a text; found 7"),
        ("x" * 1_000_001, {}, "at most 1,000,000 characters"),
        ("x", {"tokens": 49}, "Expected tokens, a whole number from 50 to 100,000"),
        ("x", {"also": ["notes"]}, "Expected other collections, found 'notes'"),
        ("x", {"also": 7}, "Expected other collections, a list, found 7"),
    ],
)
def test_misuse_is_an_error(notes, question, others, message):
    with pytest.raises(InvalidInputError, match=message):
        notes.context(question, **others)


def test_there_are_at_most_four_other_collections(notes):
    assert ids_of(notes.context("rings", also=[notes] * 4)) == ["saturn", "bread"]
    with pytest.raises(InvalidInputError, match="at most 4 other collections, found 5"):
        notes.context("rings", also=[notes] * 5)


def test_another_collection_must_be_there(notes, db):
    other = db.collection("other", create=True)
    other.delete()
    with pytest.raises(UnknownCollectionError, match="'other'"):
        notes.context("rings", also=[other])
