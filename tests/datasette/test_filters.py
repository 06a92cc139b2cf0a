"""Filters, facets and pages of a search, as Datasette has those of a table."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from urllib.parse import urlencode

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings import Embeddings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import execute, get_json, make_datasette, open_datasette

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEARCH = "/notes/-/embeddings/notes.json"
TOPICS = ["sqlite", "python", "", None, '["a", "b"]']
COLUMNS = ["id", "title", "topic", "year", "created", "tags"]
ROWS = [
    (
        number,
        f"Note {number}",
        TOPICS[number % 5],
        2015 + number % 9,
        f"2022-0{1 + number % 9}-01T10:00",
        '["x", "y"]' if number % 2 else "[]",
    )
    for number in range(60)
]


@pytest.fixture(scope="module")
def notes_db(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("notes") / "notes.db"
    conn = sqlite3.connect(path)
    conn.execute(
        """
        create table notes (
          id integer primary key, title text, topic text, year int, created text,
          tags text
        )
        """
    )
    conn.executemany("insert into notes values (?, ?, ?, ?, ?, ?)", ROWS)
    conn.execute("create table q (q text primary key, like text, _x text, body text)")
    conn.execute("insert into q values ('a', 'b', 'c', 'one'), ('d', 'e', 'f', 'two')")
    conn.commit()
    notes = table_source(conn, "notes", content_columns=["title"])
    ingest(conn, "notes", notes, model)
    ingest(conn, "q", table_source(conn, "q", content_columns=["body"]), model)
    conn.execute("create view recent as select * from notes where year > 2019")
    recent = table_source(conn, "recent", content_columns=["title"], key_columns=["id"])
    ingest(conn, "recent", recent, model)
    ingest(conn, "titles", query_source(conn, "select id, title from notes"), model)
    rules = Source(metadata_columns=("title", "topic", "year", "created", "tags"))
    sql = "select id, title as text, * from notes"
    metadata = query_source(conn, sql, content_columns=["text"], rules=rules)
    ingest(conn, "metadata", metadata, model)
    conn.close()
    return path


@pytest.fixture(scope="module")
def datasette(notes_db):
    with open_datasette(notes_db) as datasette:
        yield datasette


FILTERS = [
    "topic=sqlite",
    "topic__exact=sqlite",
    "topic__not=sqlite",
    "topic__contains=l",
    "topic__endswith=n",
    "topic__startswith=py",
    "topic__like=%25y%25",
    "topic__notlike=%25y%25",
    "topic__glob=*y*",
    "topic__in=sqlite,python",
    'topic__in=["sqlite", ""]',
    "topic__notin=sqlite,python",
    "topic__isnull=1",
    "topic__notnull=1",
    "topic__isblank=1",
    "topic__notblank=1",
    "topic=",
    "year=2020",
    "year__gt=2020",
    "year__gte=2020",
    "year__lt=2017",
    "year__lte=2017",
    "created__date=2022-03-01",
    "tags__arraycontains=x",
    "tags__arraynotcontains=x",
    "topic=sqlite&year__gt=2018",
    "year__gt=2017&year__lt=2019",
    "topic=nowhere",
    "id__in=1,2,3,99",
    *(["topic__notcontains=l"] if is_modern() else []),
]


@pytest.mark.parametrize("query", FILTERS)
async def test_a_filter_lets_pass_what_it_does_on_the_page_of_the_table(
    datasette, query
):
    path = f"/notes/notes.json?{query}&_shape=array&_size=100"
    rows = (await datasette.client.get(path)).json()
    status, body = await get_json(datasette, f"{SEARCH}?q=note&_size=100&{query}")
    expected = sorted(str(row["id"]) for row in rows)
    assert (status, sorted(match["id"] for match in body["matches"])) == (200, expected)


@pytest.mark.parametrize("query", ["topic=sqlite", "year__gt=2020"])
async def test_filters_come_before_the_ranking(datasette, query):
    path = f"{SEARCH}?q=note+17&_size=100"
    everything = (await get_json(datasette, path))[1]["matches"]
    kept = (await get_json(datasette, f"{path}&{query}"))[1]["matches"]
    few = (await get_json(datasette, f"{SEARCH}?q=note+17&_size=3&{query}"))[1]
    ids = [match["id"] for match in kept]
    ranked = [match["id"] for match in everything if match["id"] in ids]
    assert (ids, [match["id"] for match in few["matches"]]) == (ranked, ranked[:3])


async def test_a_body_has_the_same_filters_as_a_query_string(datasette):
    by_url = f"{SEARCH}?q=note&topic__in=sqlite,python&year__gt=2016&year__lt=2020"
    _status, expected = await get_json(datasette, by_url)
    filters = {"topic__in": ["sqlite", "python"], "year__gt": 2016, "year__lt": "2020"}
    response = await datasette.client.post(
        SEARCH, json={"text": "note", "filters": filters}
    )
    assert response.json()["matches"] == expected["matches"]
    assert len(expected["matches"]) == 7


async def test_a_list_in_a_body_is_a_filter_for_each(datasette):
    filters = {"title__contains": ["Note", "7"]}
    response = await datasette.client.post(
        SEARCH, json={"text": "note", "filters": filters, "size": 100}
    )
    ids = sorted(int(match["id"]) for match in response.json()["matches"])
    assert ids == [7, 17, 27, 37, 47, 57]


async def test_columns_called_like_a_word_of_ours_are_reached_all_the_same(datasette):
    path = "/notes/-/embeddings/q.json?like=a"
    for name in ("q", "like", "_x"):
        value = {"q": "d", "like": "e", "_x": "f"}[name]
        _status, body = await get_json(datasette, f"{path}&{name}__exact={value}")
        assert [match["id"] for match in body["matches"]] == ["d"]


async def test_a_view_can_be_filtered(datasette):
    path = "/notes/-/embeddings/recent.json?q=note&_size=100&topic=sqlite&_facet=year"
    status, body = await get_json(datasette, path)
    assert (status, len(body["matches"])) == (200, 5)
    assert {each["value"] for each in facet(body, "year")} <= set(range(2020, 2024))


def facet(body, column):
    return body["facet_results"]["results"][column]["results"]


@pytest.mark.parametrize("query", ["", "&year__gt=2018", "&topic=nowhere"])
async def test_a_facet_counts_what_that_of_the_table_does(datasette, query):
    path = f"/notes/notes.json?_facet=topic{query}"
    _status, table = await get_json(
        datasette, f"{path}&_extra=facet_results" if is_modern() else path
    )
    results = table["facet_results"]
    results = results.get("results", results)
    expected = [
        {"value": each["value"], "count": each["count"]}
        for each in results["topic"]["results"]
    ]
    _status, body = await get_json(datasette, f"{SEARCH}?q=note&_facet=topic{query}")
    assert sorted(facet(body, "topic"), key=str) == sorted(expected, key=str)


async def test_a_facet_with_many_values_says_that_there_are_more(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}?q=note&_facet=title")
    found = body["facet_results"]["results"]["title"]
    assert (len(found["results"]), found["truncated"]) == (30, True)


async def test_a_facet_needs_no_question(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}?_facet=topic")
    assert (body["matches"], len(facet(body, "topic"))) == ([], 4)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "colour=red",
            "No column 'colour' in the source table; "
            "it has id, title, topic, year, created, tags",
        ),
        ("topic__near=x", "No comparison 'near' for the column 'topic'; there are"),
        ("topic__in=[1", "A filter has a value out of place: "),
        ("topic__in=[[1]]", "Expected a filter's JSON list to hold texts and numbers"),
        ("topic__arraycontains=x", "needs JSON, which a row of that column is not"),
        ("_sort=colour", "No column 'colour' in the source table"),
        ("_sort=year&_sort_desc=id", "Expected either _sort or _sort_desc, found both"),
        ("_facet=colour", "No column 'colour' in the source table"),
        ("_facet=topic&_facet=year", "Expected one _facet, found 2"),
        ("year__gt=9999999999999999999999", "a value SQL cannot take"),
        ("_min_score=2", "_min_score: expected a score from -1 to 1, found 2.0"),
        ("_min_score=nan", "a score from -1 to 1, found nan"),
        ("_next=-1", "_next: expected what an answer gave as next, found '-1'"),
        ("_next=1e3", "_next: expected what an answer gave as next"),
        ("_chunks=some", "_chunks: expected one of best, all, found 'some'"),
        ("_shape=round", "_shape: expected one of objects, array, found 'round'"),
    ],
)
async def test_what_cannot_be_answered_is_said(datasette, query, message):
    status, body = await get_json(datasette, f"{SEARCH}?q=note&{query}")
    assert (status, message in body["error"]) == (400, True), body["error"]
    page = await datasette.client.get(f"{SEARCH.removesuffix('.json')}?q=note&{query}")
    assert page.status_code == (200 if query[:3] == "_sh" else 400)


METADATA = "/notes/-/embeddings/metadata.json"


@pytest.mark.parametrize("query", FILTERS)
async def test_a_filter_does_to_metadata_what_it_does_to_columns(datasette, query):
    _status, expected = await get_json(datasette, f"{SEARCH}?q=note&_size=100&{query}")
    status, body = await get_json(datasette, f"{METADATA}?q=note&_size=100&{query}")
    ids = [
        sorted(match["id"] for match in each["matches"]) for each in (expected, body)
    ]
    assert (status, ids[1]) == (200, ids[0])


@pytest.mark.parametrize("facet_query", ["topic", "year", "topic&year__gt=2018"])
async def test_a_facet_counts_metadata_as_it_counts_columns(datasette, facet_query):
    column = facet_query.partition("&")[0]
    _status, expected = await get_json(datasette, f"{SEARCH}?_facet={facet_query}")
    status, body = await get_json(datasette, f"{METADATA}?_facet={facet_query}")
    assert (status, facet(body, column)) == (200, facet(expected, column))


async def test_a_facet_counts_what_lists_of_metadata_contain(datasette):
    status, body = await get_json(datasette, f"{METADATA}?_facet=tags&year__gt=2018")
    expected = sum(row[3] > 2018 and row[0] % 2 for row in ROWS)
    assert (status, facet(body, "tags")) == (
        200,
        [{"value": "x", "count": expected}, {"value": "y", "count": expected}],
    )
    assert body["facet_results"]["results"]["tags"]["type"] == "array"

    page = f"{METADATA.removesuffix('.json')}?q=note&_facet=tags"
    page = BeautifulSoup((await datasette.client.get(page)).text, "html.parser")
    link = page.select(".embeddings-facet li a")[0]["href"]
    assert link.endswith("&tags__arraycontains=x")
    body = (await get_json(datasette, link.replace("?", ".json?")))[1]
    assert all(int(match["id"]) % 2 for match in body["matches"])
    assert len(body["matches"]) == 10


async def test_a_facet_of_lists_and_texts_counts_them_whole(datasette):
    _status, body = await get_json(datasette, f"{METADATA}?_facet=topic")
    assert '["a", "b"]' in [each["value"] for each in facet(body, "topic")]


@pytest.mark.parametrize(
    "order", ["_sort=year", "_sort_desc=title", "_sort_desc=topic"]
)
async def test_matches_come_in_the_order_of_a_column(datasette, order):
    best = (await get_json(datasette, f"{SEARCH}?q=note&_size=7"))[1]["matches"]
    for path in (SEARCH, METADATA):
        status, body = await get_json(datasette, f"{path}?q=note&_size=7&{order}")
        name, column = order.split("=")
        rows = [ROWS[int(match["id"])] for match in body["matches"]]
        values = [row[("id", "title", "topic", "year").index(column)] for row in rows]
        known = [value for value in values if value is not None]
        assert (status, known) == (200, sorted(known, reverse=name == "_sort_desc"))
        assert values[len(known) :] == [None] * (7 - len(known))
        if path == SEARCH:
            assert {m["id"] for m in best} == {m["id"] for m in body["matches"]}
        assert body["query"][name.removeprefix("_")] == column
    sort = {name.removeprefix("_"): column}
    response = await datasette.client.post(
        METADATA, json={"text": "note", "size": 7, **sort}
    )
    assert response.json()["matches"] == body["matches"]


async def test_the_form_offers_keys_of_metadata_and_its_order_leads_to_an_address(
    datasette,
):
    page = METADATA.removesuffix(".json")
    response = await datasette.client.get(f"{page}?q=note&_sort_desc=year")
    form = BeautifulSoup(response.text, "html.parser")
    offered = [each.text for each in form.select("#embeddings-sort option")]
    assert offered == ["- score -", *COLUMNS]
    assert form.select_one("#embeddings-sort option[selected]").text == "year"
    assert "in descending order of year" in form.select_one("#embeddings-status").text
    query = "q=note&_sort=year&_sort_by_desc=on"
    response = await datasette.client.get(f"{page}?{query}")
    assert response.headers["location"] == f"{page}?q=note&_sort_desc=year"
    response = await datasette.client.get(f"{page}?q=note&_sort=&_sort_by_desc=on")
    assert response.headers["location"] == f"{page}?q=note"


async def test_the_page_shows_metadata_but_the_title_only_once(datasette):
    page = f"{METADATA.removesuffix('.json')}?q=note&_size=1&topic=python"
    page = BeautifulSoup((await datasette.client.get(page)).text, "html.parser")
    shown = [each.text for each in page.select(".embeddings-metadata dt")]
    assert shown == ["topic", "year", "created", "tags"]


async def test_a_collection_without_metadata_offers_no_columns(datasette):
    response = await datasette.client.get("/notes/-/embeddings/titles?q=note")
    assert "embeddings-sort" not in response.text
    status, body = await get_json(
        datasette, "/notes/-/embeddings/titles.json?q=note&title=x"
    )
    message = "No column 'title' in the metadata of 'titles'; it has id"
    assert (status, body["error"]) == (400, message)
    status, body = await get_json(
        datasette, "/notes/-/embeddings/titles.json?q=note&id=17"
    )
    assert [match["id"] for match in body["matches"]] == ["17"]


async def test_a_filter_that_takes_too_long_is_stopped(tmp_path, model):
    path = tmp_path / "notes.db"
    execute(
        path,
        "create table notes (id integer primary key, body text)",
        """
        with numbers(n) as (select 1 union all select n + 1 from numbers where n < 300)
        insert into notes select n, 'a text' from numbers
        """,
        """
        create view slow as select notes.id, notes.body, (
          select count(*) from notes a, notes b, notes c where a.id + b.id < notes.id
        ) as n from notes
        """,
    )
    conn = sqlite3.connect(path)
    source = table_source(conn, "slow", content_columns=["body"], key_columns=["id"])
    made = create_collection(conn, "slow", model.model_id, source)
    conn.close()
    assert made.name == "slow"
    datasette = make_datasette(path, sql_time_limit_ms=50)
    query = "/notes/-/embeddings/slow.json?q=x&n__gt=5"
    status, body = await get_json(datasette, query)
    assert (status, "longer than this server's time limit" in body["error"]) == (
        400,
        True,
    )


async def test_pages_follow_each_other_without_gap_or_repetition(datasette):
    path = f"{SEARCH}?q=note&_size=7&year__gt=2016"
    seen, url = [], path
    while url:
        status, body = await get_json(datasette, url)
        assert status == 200
        seen += [match["id"] for match in body["matches"]]
        url = (body["next_url"] or "").removeprefix("http://localhost")
    everything = await get_json(datasette, f"{path}&_size=100".replace("_size=7&", ""))
    assert seen == [match["id"] for match in everything[1]["matches"]]
    assert (len(seen), body["next"], body["next_url"]) == (46, None, None)


async def test_a_page_behind_the_last_is_empty(datasette):
    status, body = await get_json(datasette, f"{SEARCH}?q=note&_next=999999")
    assert (status, body["matches"], body["next"]) == (200, [], None)


async def test_blank_filters_stay_in_the_address_of_the_next_page(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}?q=note&topic=&_size=2")
    assert "topic=&" in body["next_url"]


async def test_the_next_page_of_a_body_is_asked_for_by_its_token(datasette):
    first = (await datasette.client.post(SEARCH, json={"text": "note"})).json()
    second = await datasette.client.post(
        SEARCH, json={"text": "note", "next": first["next"]}
    )
    _status, expected = await get_json(datasette, f"{SEARCH}?q=note&_next=10")
    assert (first["next"], first["next_url"]) == ("10", None)
    assert second.json()["matches"] == expected["matches"]


async def test_the_lowest_score_and_the_prefix_narrow_the_answer(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}?q=note&_size=100&_prefix=1")
    ids = {match["id"] for match in body["matches"]}
    assert ids == {"1", *map(str, range(10, 20))}
    lowest = body["matches"][4]["score"]
    path = f"{SEARCH}?q=note&_prefix=1&_min_score={lowest}"
    _status, narrowed = await get_json(datasette, path)
    assert narrowed["matches"] == body["matches"][:5]
    assert narrowed["query"] == {"text": "note", "min_score": lowest, "prefix": "1"}


@pytest.mark.parametrize(
    "asked",
    [{"like": "3"}, {"text": "note"}, {"vector": "of item 3"}],
    ids=["like", "text", "vector"],
)
async def test_a_body_asks_by_text_item_or_vector(datasette, notes_db, asked):
    if "vector" in asked:
        conn = sqlite3.connect(notes_db)
        notes = collection(conn, "notes")
        asked = {"vector": notes.vector("3").tolist()}
        conn.close()
    response = await datasette.client.post(SEARCH, json={**asked, "size": 3})
    body = response.json()
    assert (response.status_code, len(body["matches"])) == (200, 3)
    assert ("3" in [match["id"] for match in body["matches"]]) is ("vector" in asked)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "Expected one of text, like, vector, image; found none"),
        ({"text": "a", "like": "1"}, 400, "found text, like"),
        ({"text": "a", "colour": 1}, 400, "colour: unknown, expected one of"),
        ({"text": 3}, 400, "text: expected a text in UTF-8, found 3"),
        ({"text": "a", "size": "3"}, 400, "size: expected a whole number"),
        ({"text": "a", "size": 0}, 400, "a whole number of at least 1"),
        ({"text": "a", "filters": [1]}, 400, "Expected filters as an object"),
        ({"text": "a", "filters": {"topic": None}}, 400, "Expected a text, a number"),
        ({"vector": [1, 2]}, 400, "Expected a vector of 384 dimensions, found 2"),
        ({"vector": ["a"]}, 400, "Expected numbers only"),
        ({"vector": []}, 400, "at least one number"),
        ({"image": "!"}, 400, "image: expected an image in base64"),
        ({"image": "aGk="}, 422, "takes texts, not images"),
        ({"like": "nowhere"}, 404, "No item 'nowhere'"),
    ],
)
async def test_a_body_that_cannot_be_answered_is_refused(
    datasette, body, status, message
):
    response = await datasette.client.post(SEARCH, json=body)
    assert (response.status_code, message in response.json()["error"]) == (
        status,
        True,
    ), response.text


async def test_all_faults_of_a_body_are_in_one_answer(datasette):
    body = {"text": 3, "size": "3", "min_score": 2, "filters": [1], "colour": 1}
    response = await datasette.client.post(SEARCH, json=body)
    found = response.json()
    assert [fault.partition(":")[0] for fault in found["errors"]] == [
        "text",
        "size",
        "min_score",
        "Expected filters as an object of column and value, found [1]",
        "colour",
    ]
    assert found["error"] == "; ".join(found["errors"])


async def test_the_list_alone_is_given_as_datasette_does(datasette):
    path = f"{SEARCH}?q=note&_size=2"
    _status, objects = await get_json(datasette, path)
    matches = objects["matches"]
    assert (await get_json(datasette, f"{path}&_shape=array"))[1] == matches
    _status, collections = await get_json(datasette, "/-/embeddings.json?_shape=array")
    names = ["metadata", "notes", "q", "recent", "titles"]
    assert [each["name"] for each in collections] == names


async def test_the_form_leads_to_an_address_worth_sharing(datasette):
    form = [("q", "note"), ("year__gt", "2017"), ("_min_score", ""), ("_prefix", "")]
    form += [("_filter_column", "topic"), ("_filter_op", "not")]
    form += [("_filter_value", "a b"), ("_facet", "")]
    page = SEARCH.removesuffix(".json")
    response = await datasette.client.get(f"{page}?{urlencode(form)}")
    assert (response.status_code, response.headers["location"]) == (
        302,
        f"{page}?q=note&year__gt=2017&topic__not=a+b",
    )
    unfilled = [("q", "note"), ("_filter_column", ""), ("_filter_op", "exact")]
    response = await datasette.client.get(f"{page}?{urlencode(unfilled)}")
    assert response.headers["location"] == f"{page}?q=note"


async def test_metadata_of_a_match_is_given(tmp_path, model):
    path = tmp_path / "notes.db"
    execute(path, "create table notes (id integer primary key, body text, year int)")
    execute(path, "insert into notes values (1, 'a text', 2022)")
    conn = sqlite3.connect(path)
    rules = Source(metadata_columns=("year",))
    ingest(conn, "notes", table_source(conn, "notes", rules=rules), model)
    conn.close()
    _status, body = await get_json(make_datasette(path), f"{SEARCH}?q=text")
    assert body["matches"][0]["metadata"] == {"year": 2022}


async def test_many_names_that_no_item_has_are_one_error(datasette):
    query = "&".join(f"nothing{number}=1" for number in range(1_000))
    status, body = await get_json(datasette, f"{METADATA}?q=note&{query}")
    message = "No column 'nothing0' in the metadata of 'metadata'; it has id, title"
    assert (status, body["error"][: len(message)]) == (400, message)
    status, body = await get_json(datasette, f"{METADATA}?{query}&one=more")
    message = "Expected at most 1,000 values in filters, found 1,001"
    assert (status, body["error"]) == (400, message)


@pytest.mark.parametrize("page", [SEARCH, METADATA])
async def test_as_many_conditions_as_a_request_may_have(datasette, page):
    query = "&".join(f"title__not=nothing{number}" for number in range(1_000))
    status, body = await get_json(datasette, f"{page}?q=note&{query}")
    assert (status, body.get("error")) == (200, None)
    assert body["matches"]


@pytest.fixture(scope="module")
def large_db(tmp_path_factory, model):
    """Metadata that take SQLite far longer than 50 ms."""
    path = tmp_path_factory.mktemp("large") / "notes.db"
    conn = sqlite3.connect(path)
    rules = Source(metadata_columns=("topic",))
    sql = "select 1 as id, 'a text' as text, 'x' as topic"
    ingest(conn, "notes", query_source(conn, sql, rules=rules), model)
    metadata = json.dumps({f"key {number}": "x" * 20 for number in range(100)})
    conn.execute(
        """
        with numbers(n) as (
          select 2 union all select n + 1 from numbers where n < 20000
        )
        insert into embeddings (collection_id, id, embedding, metadata, updated)
        select collection_id, n, x'00', ?, updated from numbers, embeddings
        """,
        [metadata],
    )
    conn.commit()
    conn.close()
    return path


@pytest.mark.parametrize("query", ["topic=x", "nothing=x", "_facet=topic", "_sort=no"])
async def test_a_search_of_metadata_that_takes_too_long_is_stopped(large_db, query):
    datasette = make_datasette(large_db, sql_time_limit_ms=50)
    status, body = await get_json(datasette, f"{SEARCH}?q=x&{query}")
    message = "The filter takes longer than this server's time limit for SQL"
    assert (status, body["error"]) == (400, message)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\ud800", "title": "\\ud800"}',
        f'{{"a": {"[" * 950}{"]" * 950}}}',
        f'{{"a": {"[" * 100_000}{"]" * 100_000}}}',
        '{"a": NaN}',
        '{"a": 1e999}',
    ],
    ids=["half a character", "deep", "very deep", "no number", "infinity"],
)
@pytest.mark.parametrize("question", ["q=cats", "q=cats&_sort=b", "q=cats&_facet=b"])
async def test_metadata_that_no_answer_can_hold_are_shown_all_the_same(
    tmp_path, text, question
):
    path = tmp_path / "pets.db"
    with Embeddings(path) as db:
        pets = db.collection("pets", create=True)
        pets.embed_many([("cat", "Cats purr", {"a": 1}), ("dog", "Dogs", {"b": 1})])
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("update embeddings set metadata = ? where id = 'cat'", [text])
    datasette = make_datasette(path)
    search = f"/pets/-/embeddings/pets.json?{question}"
    answer = (await datasette.client.get(search)).text
    found = json.loads(answer, parse_constant=pytest.fail)["matches"]
    assert {match["id"] for match in found} == {"cat", "dog"}
    page = await datasette.client.get(search.replace(".json", ""))
    assert page.status_code == 200
