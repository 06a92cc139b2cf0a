"""What a text is searched by: words and meaning, or one of them; in JSON and pages."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

SEARCH = "/articles/-/embeddings/articles"


async def found(datasette, query, **options):
    status, body = await get_json(datasette, f"{SEARCH}.json?{query}", **options)
    assert status == 200, body
    return body


async def error_of(datasette, query):
    status, body = await get_json(datasette, f"{SEARCH}.json?{query}")
    assert status == 400, body
    return body["error"]


async def test_a_text_is_searched_by_words_and_meaning(datasette):
    """Unless the request says otherwise; a score is 0 to 1, each match has a cosine."""
    body = await found(datasette, "q=Kittens")
    best = body["matches"][0]
    assert (body["mode"], best["title"]) == ("both", "Kittens")
    assert best["matched"] == ["exact", "words", "meaning"]
    assert 0.5 < best["score"] <= 1
    assert all(0 <= match["score"] <= 1 for match in body["matches"])
    assert all(-1 <= match["cosine"] <= 1 for match in body["matches"])
    assert body == await found(datasette, "q=Kittens&_mode=both") | {
        "took_ms": body["took_ms"]
    }


async def test_by_meaning_the_score_is_the_cosine(datasette):
    body = await found(datasette, "q=Kittens&_mode=meaning")
    assert (body["mode"], body["query"]["mode"]) == ("meaning", "meaning")
    assert len(body["matches"]) == 6
    for match in body["matches"]:
        assert (match["score"], match["matched"]) == (match["cosine"], ["meaning"])


async def test_by_words_only_what_has_them_is_found(datasette):
    body = await found(datasette, "q=kittens&_mode=words")
    (match,) = body["matches"]
    assert (body["mode"], match["title"], match["cosine"]) == ("words", "Kittens", None)
    assert match["matched"] == ["exact", "words"]
    assert (await found(datasette, "q=pets&_mode=words"))["matches"] == []


async def test_a_search_by_words_needs_no_model(articles_db):
    for table in ("collections", "_embedding_collections"):
        execute(articles_db, f"update {table} set model = 'nobody/has-it'")
    datasette = make_datasette(articles_db)
    body = await found(datasette, "q=kittens&_mode=words")
    assert [match["title"] for match in body["matches"]] == ["Kittens"]
    status, body = await get_json(datasette, f"{SEARCH}.json?q=kittens")
    assert (status, body["error"]) == (
        422,
        'Search by text is not available here at the moment; "more like this" works, '
        "and so does search by words alone (mode: words)",
    )


@pytest.mark.parametrize("mode", ["both", "words"])
async def test_what_is_like_an_item_goes_by_meaning(datasette, mode):
    body = await found(datasette, f"like=5&_mode={mode}")
    assert body["mode"] == "meaning"
    assert all(match["score"] == match["cosine"] for match in body["matches"])


async def test_without_a_question_there_is_no_mode(datasette):
    body = await found(datasette, "_mode=words")
    assert (body["mode"], body["corrected"], body["matches"]) == (None, None, [])


@pytest.fixture
def without_words(articles_db):
    """The collection as one that `llm` wrote, whose words are not indexed."""
    execute(articles_db, "update _embedding_collections set words = null")
    return make_datasette(articles_db)


async def test_without_indexed_words_a_search_goes_by_meaning_and_says_so(
    without_words,
):
    body = await found(without_words, "q=Kittens")
    assert body["mode"] == "meaning"
    assert body["matches"][0]["score"] == body["matches"][0]["cosine"]
    error = await error_of(without_words, "q=Kittens&_mode=words")
    assert error.startswith("The words of 'articles' are not indexed, so it can be")


async def test_a_misspelled_word_is_corrected_and_told(datasette):
    body = await found(datasette, "q=bicycle+repar")
    assert body["corrected"] == "bicycle repair"
    assert body["query"] == {"text": "bicycle repar"}
    assert body["matches"][0]["matched"] == ["exact", "words", "meaning"]


async def test_words_may_be_searched_as_they_are_typed(datasette):
    body = await found(datasette, "q=sourdoh&_as_typed=1")
    assert (body["corrected"], body["query"]["as_typed"]) == (None, True)
    assert {tuple(match["matched"]) for match in body["matches"]} == {("meaning",)}


async def test_while_typing_the_last_word_is_a_beginning(datasette):
    async def by_words(query):
        body = await found(datasette, f"q={query}&_mode=words")
        return [match["title"] for match in body["matches"]]

    assert await by_words("kitt&_as_typed=1") == []
    assert await by_words("kitt&_as_typed=1&_typing=1") == ["Kittens"]
    assert await by_words("kitt+&_as_typed=1&_typing=1") == []
    assert await by_words("kitt+telescope&_as_typed=1&_typing=1") == ["Night sky"]


async def test_phrases_must_be_there_and_excluded_words_not(datasette):
    body = await found(datasette, "q=%22warm+place%22")
    assert [match["title"] for match in body["matches"]] == ["Kittens"]
    body = await found(datasette, "q=cats+-kittens")
    assert "Kittens" not in [match["title"] for match in body["matches"]]
    assert len(body["matches"]) == 5


async def test_scores_and_cosines_filter(datasette):
    whole = (await found(datasette, "q=Kittens"))["matches"]
    least = sorted(match["cosine"] for match in whole)[-2]
    body = await found(datasette, f"q=Kittens&_min_cosine={least}")
    assert body["query"]["min_cosine"] == least
    assert body["matches"] == [each for each in whole if each["cosine"] >= least]
    least = whole[1]["score"]
    body = await found(datasette, f"q=Kittens&_min_score={least}")
    assert body["matches"] == whole[:2]
    body = await found(datasette, "q=Kittens&_mode=meaning&_min_cosine=0.1")
    assert body["matches"]
    assert all(match["cosine"] >= 0.1 for match in body["matches"])
    error = await error_of(datasette, "q=kittens&_mode=words&_min_cosine=0.1")
    assert error.startswith("A search by words alone compares no vectors")


@pytest.mark.parametrize("mode", ["both", "words"])
async def test_pages_and_filters_hold_in_each_mode(articles_db, model, mode):
    """With a word that all rows have, and each its own number."""
    conn = sqlite3.connect(articles_db)
    conn.execute("create table notes (id integer primary key, title text, kind)")
    rows = [(n, f"kitten number {n}", "odd" if n % 2 else "even") for n in range(30)]
    conn.executemany("insert into notes values (?, ?, ?)", rows)
    ingest(conn, "notes", table_source(conn, "notes"), model)
    conn.close()
    datasette = make_datasette(articles_db)
    path = f"/articles/-/embeddings/notes.json?q=kitten+7&_mode={mode}&kind=odd"
    _status, whole = await get_json(datasette, f"{path}&_size=100")
    ids = [match["id"] for match in whole["matches"]]
    assert (ids[0], len(ids)) == ("7", 15)
    assert all(int(each) % 2 for each in ids)
    paged, following = [], "0"
    while following is not None:
        _status, body = await get_json(datasette, f"{path}&_size=4&_next={following}")
        paged += body["matches"]
        following = body["next"]
    assert paged == whole["matches"]


async def test_a_body_has_the_same_options(datasette):
    async def posted(**body):
        response = await datasette.client.post(f"{SEARCH}.json", json=body)
        return response.status_code, response.json()

    status, body = await posted(text="kitt", mode="words", as_typed=True, typing=True)
    assert (status, len(body["matches"])) == (200, 1)
    assert body["query"] == {
        "text": "kitt",
        "mode": "words",
        "as_typed": True,
        "typing": True,
    }
    status, body = await posted(text="x", mode=1, as_typed="1", min_cosine=2)
    assert (status, body["errors"]) == (
        400,
        [
            "mode: expected one of both, meaning, words, found 1",
            "as_typed: expected true or false, found '1'",
            "min_cosine: expected a cosine from -1 to 1, found 2",
        ],
    )


async def test_all_faults_of_an_address_are_told(datasette):
    error = await error_of(
        datasette, "q=x&_mode=all&_as_typed=2&_typing=perhaps&_min_cosine=much"
    )
    assert error == (
        "_mode: expected one of both, meaning, words, found 'all'; "
        "_as_typed: expected true or false, found '2'; "
        "_typing: expected true or false, found 'perhaps'; "
        "_min_cosine: expected a cosine from -1 to 1, found 'much'"
    )
