"""Chunked, prefixed and rebuilt collections in the pages and the API."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.documents import Chunking
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import FolderSource, Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.tables import RAW_TABLES
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

PATH = "/articles/-/embeddings/docs"
GUIDE = (
    "Bread dough rises overnight with a wild yeast starter.\n\n"
    "A small telescope shows the rings of the planet Saturn."
)


@pytest.fixture
def chunked(articles_db, model):
    """A collection of chunks over a table with an odd key."""
    conn = sqlite3.connect(articles_db)
    conn.execute("create table docs (id text primary key, title, body text)")
    conn.execute("insert into docs values ('a/b#1', 'Guide', ?)", [GUIDE])
    conn.execute("insert into docs values ('c', 'Cats', 'Cats sleep all day.')")
    rules = Source(chunking=Chunking("paragraphs", size=20), id_prefix="docs:")
    source = table_source(conn, "docs", content_columns=["body"], rules=rules)
    ingest(conn, "docs", source, model)
    conn.close()
    return make_datasette(articles_db)


async def test_a_match_is_the_best_passage_of_a_document(chunked):
    status, body = await get_json(chunked, f"{PATH}.json?q=planets")
    best, second = body["matches"]
    assert (status, second["document_id"]) == (200, "docs:c")
    assert -1 <= best.pop("cosine") <= 1
    assert 0 <= best.pop("score") <= 1
    assert best == {
        "id": "docs:a/b#1#1",
        "title": "Guide",
        "headings": [],
        "content": GUIDE.split("\n\n")[1],
        "url": "/articles/docs/a~2Fb~231",
        "image_url": None,
        "metadata": None,
        "document_id": "docs:a/b#1",
        "start": 56,
        "end": 111,
        "stale": False,
        "matched": ["words", "meaning"],
        "rerank_score": None,
        "cluster": None,
        "cluster_name": None,
    }
    assert GUIDE[best["start"] : best["end"]] == best["content"]


async def test_every_passage_comes_on_request(chunked):
    _status, body = await get_json(chunked, f"{PATH}.json?q=planets&_chunks=all")
    assert {match["id"] for match in body["matches"]} == {
        "docs:a/b#1#0",
        "docs:a/b#1#1",
        "docs:c#0",
    }
    status, body = await get_json(chunked, f"{PATH}.json?q=planets&_chunks=3")
    assert (status, body["error"]) == (
        400,
        "_chunks: expected one of best, all, found '3'",
    )


async def test_more_like_a_document_leaves_it_out(chunked):
    _status, body = await get_json(chunked, f"{PATH}.json?like=docs:a/b%231")
    assert [match["document_id"] for match in body["matches"]] == ["docs:c"]


async def test_the_page_shows_the_passage_and_its_place(chunked):
    page = (await chunked.client.get(f"{PATH}?q=planets")).text
    assert "A small telescope shows" in page
    assert "characters 56 to 111" in page
    assert "2 results from 3 passages, best first." in page
    assert "3 passages, embedded with" in page
    assert 'href="/articles/docs/a~2Fb~231"' in page
    assert "like=docs%3Aa%2Fb%231" in page


async def test_sql_joins_a_passage_to_its_row(chunked):
    sql = """
        select docs.title
        from json_each(embed_search('docs', 'planets', 1)) as found
        join docs
          on 'docs:' || docs.id = json_extract(found.value, '$.document_id')
    """
    rows = await chunked.get_database("articles").execute(sql)
    assert [tuple(row) for row in rows] == [("Guide",)]


async def test_a_collection_that_is_being_rebuilt_is_shown_as_the_old_one(
    articles_db, model
):
    conn = sqlite3.connect(articles_db)
    options = IngestOptions(rebuild=True, limit=2, replace_source=True)
    ingest(conn, "articles", table_source(conn, "articles"), model, options=options)
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, "/-/embeddings.json")
    assert [each["name"] for each in body["collections"]] == ["articles"]
    path = "/articles/-/embeddings/articles~20~28rebuilding~29.json?q=x"
    status, _body = await get_json(datasette, path)
    assert status == 404


async def test_rows_of_a_rebuild_are_as_secret_as_their_table(articles_db, model):
    execute(
        articles_db,
        "create table secret (id integer primary key, body text)",
        "insert into secret values (1, 'hidden')",
    )
    conn = sqlite3.connect(articles_db)
    options = IngestOptions(rebuild=True, limit=2, replace_source=True)
    ingest(conn, "articles", table_source(conn, "secret"), model, options=options)
    conn.close()
    allow = {"articles": {"tables": {"secret": {"allow": False}}}}
    datasette = make_datasette(articles_db, allow=allow)
    for table in RAW_TABLES:
        response = await datasette.client.get(f"/articles/{table}.json")
        assert response.status_code in (403, 404), table
    response = await datasette.client.get("/articles/-/embeddings/articles.json?q=x")
    assert response.status_code == 200


async def test_files_are_found_without_a_link(articles_db, model, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "cats.md").write_text("Kittens sleep all day.")
    conn = sqlite3.connect(articles_db)
    source = FolderSource(((str(tmp_path / "notes"), "*.md"),))
    ingest(conn, "notes", source, model)
    conn.close()
    datasette = make_datasette(articles_db)
    path = "/articles/-/embeddings/notes"
    _status, body = await get_json(datasette, f"{path}.json?q=cats")
    [match] = body["matches"]
    assert (match["id"], match["url"]) == ("cats.md", None)
    assert match["content"] == "Kittens sleep all day."
    assert (await datasette.client.get(f"{path}?q=cats")).status_code == 200


async def test_how_many_documents_were_cut_is_told(articles_db, model):
    conn = sqlite3.connect(articles_db)
    conn.execute("update articles set body = ? where id = 2", ["word " * 300])
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model)
    conn.close()
    datasette = make_datasette(articles_db)
    path = "/articles/-/embeddings"
    _status, found = await get_json(datasette, f"{path}/articles.json?q=pets")
    _status, listed = await get_json(datasette, f"{path}.json")
    assert found["collection"]["truncated"] == 1
    assert [each["truncated"] for each in listed["collections"]] == [1]
