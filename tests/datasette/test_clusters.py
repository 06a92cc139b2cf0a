"""The clusters of a collection: a page, JSON, filters, and where results name them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.web.compat import is_modern
from tests.clusters import MADE, give_clusters
from tests.datasette.conftest import (
    actor_cookie,
    execute,
    get_json,
    make_datasette,
    open_datasette,
)
from tests.maps import give_map

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTES = "/notes/-/embeddings/notes"
# Nearest to the center first
EVEN, ODD = ["8", "2", "4", "6", "10", "12"], ["9", "3", "5"]
NONE = ["1", "7", "11"]
# A square of the map that has the items 3 to 6
AREA = "2.5,-1,6.5,-1,6.5,1,2.5,1"


@pytest.fixture(scope="module")
def notes_db(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("clusters") / "notes.db"
    conn = sqlite3.connect(path)
    conn.execute("create table notes (id integer primary key, title text, topic text)")
    conn.executemany(
        "insert into notes values (?, ?, ?)",
        [(n, f"Note {n}", ["cats", "dogs", "birds"][n % 3]) for n in range(1, 13)],
    )
    conn.execute("create table pairs (a text, b int, body text, primary key (a, b))")
    conn.executemany(
        "insert into pairs values (?, ?, ?)", [("x", n, f"Pair {n}") for n in range(4)]
    )
    conn.commit()
    ingest(conn, "notes", table_source(conn, "notes"), model)
    build(collection(conn, "notes"), SimilaritySettings(limit=3))
    give_clusters(
        conn, "notes", [(["even", "number"], EVEN), (["odd"], ODD)], none=NONE
    )
    points = {str(n): (n, 0) for n in range(1, 13)}
    give_map(conn, "notes", points)
    ingest(conn, "bare", table_source(conn, "notes", content_columns=["title"]), model)
    ingest(conn, "pairs", table_source(conn, "pairs"), model)
    give_clusters(conn, "pairs", [(["pair"], ["x,0", "x,3"])], none=["x,1", "x,2"])
    rules = Source(metadata_columns=("topic",))
    sql = "select id, title as text, topic from notes"
    query = query_source(conn, sql, content_columns=["text"], rules=rules)
    ingest(conn, "metadata", query, model)
    summaries = {1: "Notes with even <b>numbers</b>"}
    clusters = [(["even", "number"], EVEN), (["odd"], ODD)]
    give_clusters(conn, "metadata", clusters, none=NONE, summaries=summaries)
    conn.close()
    return path


@pytest.fixture(scope="module")
def datasette(notes_db):
    with open_datasette(notes_db) as datasette:
        yield datasette


async def get_page(datasette, path):
    response = await datasette.client.get(path)
    return response.status_code, BeautifulSoup(response.text, "html.parser")


def ids(body):
    return [match["id"] for match in body["matches"]]


# The filters


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_cluster=1", EVEN),
        ("_cluster=2", ODD),
        ("_cluster=none", sorted(NONE)),
        ("_cluster=2,none", [*ODD, *sorted(NONE)]),
        ("_cluster=2&_cluster=none", [*ODD, *sorted(NONE)]),
        ("_cluster=1&topic=dogs", ["4", "10"]),
        ("_cluster=1&_prefix=1", ["10", "12"]),
        ("_cluster=1&_min_score=0.65", ["8", "2", "4"]),
        ("_cluster=1&_min_cosine=0.85", ["8"]),
        (f"_area={AREA}", ["3", "4", "5", "6"]),
        (f"_area={AREA}&_cluster=1", ["4", "6"]),
        (f"_area={AREA}&topic=dogs", ["4"]),
        ("_cluster=1&_sort_desc=title", ["8", "6", "4", "2", "12", "10"]),
    ],
)
async def test_a_part_is_listed_without_a_search(datasette, query, expected):
    status, body = await get_json(datasette, f"{NOTES}.json?{query}")
    assert (status, ids(body)) == (200, expected)
    assert (body["mode"], body["close"], body["index"]) == (None, None, None)
    status, page = await get_page(datasette, f"{NOTES}?{query}")
    shown = [each.text.strip() for each in page.select(".embeddings-results h2")]
    assert (status, shown) == (200, [f"Note {each}" for each in expected])


@pytest.mark.parametrize("asked", ["q=note", "like=8", "q=note&_mode=words"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("_cluster=1", EVEN),
        ("_cluster=none", NONE),
        ("_cluster=1,2&topic=dogs", ["4", "10"]),
        (f"_area={AREA}", ["3", "4", "5", "6"]),
        (f"_area={AREA}&_cluster=2", ["3", "5"]),
    ],
)
async def test_a_search_finds_only_what_is_in_the_part(
    datasette, asked, query, expected
):
    _status, body = await get_json(datasette, f"{NOTES}.json?{asked}&_size=100&{query}")
    assert sorted(ids(body)) == sorted(set(expected) - {asked.partition("like=")[2]})


async def test_pages_of_a_cluster_follow_each_other(datasette):
    path, seen = f"{NOTES}.json?_cluster=1&_size=4", []
    while path:
        _status, body = await get_json(datasette, path)
        seen.append(ids(body))
        path = (body["next_url"] or "").removeprefix("http://localhost")
    assert seen == [EVEN[:4], EVEN[4:]]
    _status, page = await get_page(datasette, f"{NOTES}?_cluster=1&_size=4&_next=4")
    status = page.select_one("#embeddings-status").text.strip()
    assert status == "6 items, the most central first, from number 5."
    _status, page = await get_page(datasette, f"{NOTES}?_cluster=1&_next=99")
    assert "There are no more items." in page.select_one("#embeddings-status").text


async def test_a_body_has_the_same_filters(datasette):
    for part, query in (
        ({"cluster": 1}, "_cluster=1"),
        ({"cluster": [1, "none"]}, "_cluster=1,none"),
        ({"cluster": "2"}, "_cluster=2"),
        ({"area": [[2.5, -1], [6.5, -1], [6.5, 1], [2.5, 1]]}, f"_area={AREA}"),
        ({"area": [*map(float, AREA.split(","))]}, f"_area={AREA}"),
    ):
        _status, expected = await get_json(datasette, f"{NOTES}.json?q=note&{query}")
        body = {"text": "note", **part}
        found = (await datasette.client.post(f"{NOTES}.json", json=body)).json()
        assert found["matches"] == expected["matches"] != []
        assert found["query"] == expected["query"]


async def test_an_answer_repeats_the_part(datasette):
    path = f"{NOTES}.json?_cluster=none,1&_area=0,0,4,0,0,4"
    _status, body = await get_json(datasette, path)
    assert body["query"] == {"cluster": ["none", 1], "area": [0, 0, 4, 0, 0, 4]}


@pytest.mark.parametrize("name", ["notes", "metadata"])
async def test_a_facet_counts_what_is_in_the_part(datasette, name):
    for query in ("", "q=note&"):
        path = f"/notes/-/embeddings/{name}.json?{query}_facet=topic"
        for part, expected in (
            ("_cluster=2", {"cats": 2, "birds": 1}),
            ("_cluster=1&topic__not=cats", {"dogs": 2, "birds": 2}),
        ):
            status, body = await get_json(datasette, f"{path}&{part}")
            counts = body["facet_results"]["results"]["topic"]["results"]
            found = {each["value"]: each["count"] for each in counts}
            assert (status, found) == (200, expected)


async def test_a_facet_counts_rows_with_a_compound_key(datasette):
    path = "/notes/-/embeddings/pairs.json?_facet=a&_cluster=1"
    _status, body = await get_json(datasette, path)
    assert ids(body) == ["x,0", "x,3"]
    [count] = body["facet_results"]["results"]["a"]["results"]
    assert count == {"value": "x", "count": 2}


async def test_the_function_that_counts_tells_nothing_afterwards(datasette):
    await get_json(datasette, f"{NOTES}.json?_facet=topic&_cluster=1")

    def told(conn):
        with suppress(sqlite3.OperationalError):
            return conn.execute("select _embeddings_is_one(2)").fetchone()[0]
        return None

    for _ in range(6):
        assert await datasette.get_database("notes").execute_fn(told) is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("_cluster=x", "Expected 1 to 100 clusters, such as 3 or 3,5, or none"),
        ("_cluster=0", "found '0'"),
        ("_cluster=-1", "Expected 1 to 100 clusters"),
        ("_cluster=1.5", "Expected 1 to 100 clusters"),
        ("_cluster=" + "1," * 100 + "1", "Expected 1 to 100 clusters"),
        ("_cluster=3", "No cluster 3 in 'notes'; there are 1 to 2"),
        ("_cluster=1,999999999999999999", "No cluster 999999999999999999"),
        ("_cluster=1,9999999999999999999", "Expected 1 to 100 clusters"),
        ("_area=1", "Expected an area of 3 to 100 corners"),
        ("_area=1,2,3,4", "Expected an area of 3 to 100 corners"),
        ("_area=" + ",".join(["1"] * 2_000), "Expected an area of 3 to 100 corners"),
        ("_area=1,2,3,4,5,nan", "each a finite number; found '1,2,3,4,5,nan'"),
        ("_area=1,2,3,4,5,1e999", "each a finite number"),
    ],
)
async def test_a_part_that_is_none_is_said(datasette, query, message):
    for asked in ("", "q=note&"):
        status, body = await get_json(datasette, f"{NOTES}.json?{asked}{query}")
        assert (status, message in body["error"]) == (400, True), body["error"]
    status, page = await get_page(datasette, f"{NOTES}?{query}")
    assert (status, message in page.select_one("#embeddings-status").text) == (
        400,
        True,
    )
    # The filter can be removed
    [link] = page.select(".embeddings-filters a")
    assert link["href"] == NOTES


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        (
            "_cluster=1",
            "clusters; the command that finds them: datasette embeddings clusters",
        ),
        (f"_area={AREA}", "map; the command that makes it: datasette embeddings map"),
    ],
)
async def test_without_clusters_or_a_map_the_command_is_said(datasette, query, missing):
    path = f"/notes/-/embeddings/bare.json?{query}"
    status, body = await get_json(datasette, path)
    error = f"The collection 'bare' has no {missing}"
    assert (status, body["error"]) == (400, error)


# What the page shows of them


async def test_the_page_names_the_scope_and_removes_it(datasette):
    path = f"{NOTES}?q=note&_cluster=2,none&_area={AREA}&topic=cats"
    _status, page = await get_page(datasette, path)
    shown = [
        each.text.split("✖")[0].strip()
        for each in page.select(".embeddings-filters li")
    ]
    assert shown == ["Cluster: odd; none", "Area of the map", 'topic = "cats"']
    links = [each["href"] for each in page.select(".embeddings-filters a")]
    assert "_cluster" not in links[0]
    assert "_area=" in links[0]
    assert "_area" not in links[1]
    assert "_cluster=2%2Cnone" in links[1]
    hidden = {e["name"]: e["value"] for e in page.select("form input[type=hidden]")}
    assert hidden == {"_cluster": "2,none", "_area": AREA, "topic": "cats"}


async def test_an_empty_part_says_so(datasette):
    _status, page = await get_page(datasette, f"{NOTES}?_area=90,0,91,0,91,1")
    assert page.select_one("#embeddings-status").text.strip() == "No items here."
    query = f"q=note&_cluster=2&_area={AREA}&topic=dogs"
    _status, page = await get_page(datasette, f"{NOTES}?{query}")
    assert (
        "no item is in the cluster and is in the area of the map and passes the filters"
        in page.select_one("#embeddings-status").text
    )


async def test_a_result_names_its_cluster(datasette):
    _status, body = await get_json(datasette, f"{NOTES}.json?q=note&_size=100")
    found = {e["id"]: (e["cluster"], e["cluster_name"]) for e in body["matches"]}
    assert (found["8"], found["3"]) == ((1, "even, number"), (2, "odd"))
    assert found["7"] == (None, None)
    _status, page = await get_page(datasette, f"{NOTES}?like=2&_size=100")
    links = {each.text: each["href"] for each in page.select(".embeddings-facts a")}
    assert links["in odd"] == f"{NOTES}?_cluster=2"
    # Not where all are of the same
    _status, page = await get_page(datasette, f"{NOTES}?_cluster=2")
    assert {each.text for each in page.select(".embeddings-facts a")} == {
        "more like this"
    }
    _status, body = await get_json(datasette, "/notes/-/embeddings/bare.json?q=note")
    assert {(e["cluster"], e["cluster_name"]) for e in body["matches"]} == {
        (None, None)
    }


async def test_the_page_of_a_row_names_its_cluster(datasette):
    _status, page = await get_page(datasette, "/notes/notes/3")
    section = page.select_one("section.embeddings-related")
    assert "In cluster: odd" in section.text
    assert section.select_one(f'a[href="{NOTES}?_cluster=2"]').text == "odd"
    assert len(section.select("ul li")) == 3
    _status, page = await get_page(datasette, "/notes/notes/7")
    [section] = page.select("section.embeddings-related")
    assert "In cluster" not in section.text
    # A row without similarities, in a collection with a compound key
    _status, page = await get_page(datasette, "/notes/pairs/x,3")
    [section] = page.select("section.embeddings-related")
    assert "In cluster: pair" in section.text
    assert section.select("ul") == []
    _status, page = await get_page(datasette, "/notes/pairs/x,1")
    assert page.select("section.embeddings-related") == []


# The page of clusters


async def test_clusters_are_cards_and_json(datasette):
    status, body = await get_json(datasette, f"{NOTES}/clusters.json")
    assert status == 200
    assert {key: body[key] for key in body if key != "clusters"} == {
        "ok": True,
        "database": "notes",
        "collection": "notes",
        "method": "kmeans",
        "count": 2,
        "documents": 12,
        "in_no_cluster": 3,
        "joined": 2,
        "made": MADE,
        "next": None,
        "next_url": None,
    }
    assert body["clusters"][1] == {
        "cluster": 2,
        "name": "odd",
        "size": 3,
        "words": ["odd"],
        "summary": None,
        "url": f"{NOTES}?_cluster=2",
        "central": [
            {
                "id": each,
                "title": f"Note {each}",
                "url": f"/notes/notes/{each}",
                "image_url": None,
            }
            for each in ODD
        ],
    }
    status, page = await get_page(datasette, f"{NOTES}/clusters")
    cards = page.select(".embeddings-clusters > li")
    assert [each.h2.text for each in cards] == ["even, number", "odd"]
    assert cards[0].h2.a["href"] == f"{NOTES}?_cluster=1"
    assert (
        " ".join(cards[0].select_one(".embeddings-size").text.split()) == "6 items 50%"
    )
    links = [each["href"] for each in cards[1].select("ul a")]
    assert links == [f"/notes/notes/{each}" for each in ODD]
    content = page.select_one(".content").text
    assert "12 items in 2 clusters" in content
    assert "Found by k-means on 2025-06-15" in content
    assert "Since then, 2 new or changed items joined the nearest cluster." in content
    none = page.find("a", string="3 items in no cluster")
    assert none["href"] == f"{NOTES}?_cluster=none"


async def test_a_summary_is_the_name_and_the_words_stand_below(datasette):
    path = "/notes/-/embeddings/metadata/clusters"
    response = await datasette.client.get(path)
    assert "Notes with even &lt;b&gt;numbers" in response.text
    card = BeautifulSoup(response.text, "html.parser").select(
        ".embeddings-clusters > li"
    )[0]
    assert card.h2.text == "Notes with even <b>numbers</b>"
    assert card.select_one(".embeddings-note").text == "even, number"
    # Without rows there are no links, but titles
    assert [each.text for each in card.select("ul li")] == EVEN[:3]


async def test_clusters_come_in_pages(datasette):
    path = f"{NOTES}/clusters.json?_size=1"
    _status, first = await get_json(datasette, path)
    _status, rest = await get_json(datasette, f"{path}&_next={first['next']}")
    names = [each["name"] for body in (first, rest) for each in body["clusters"]]
    assert (names, rest["next"]) == (["even, number", "odd"], None)
    assert first["next_url"].endswith("/clusters.json?_size=1&_next=1")
    _status, page = await get_page(datasette, f"{NOTES}/clusters?_size=1")
    assert page.find("a", rel="next")["href"] == f"{NOTES}/clusters?_size=1&_next=1"
    _status, page = await get_page(datasette, f"{NOTES}/clusters?_next=7")
    assert "There are no more clusters." in page.text
    _status, body = await get_json(datasette, f"{NOTES}/clusters.json?_shape=array")
    assert [each["cluster"] for each in body] == [1, 2]
    status, body = await get_json(datasette, f"{NOTES}/clusters.json?_size=0")
    assert (status, "_size" in body["error"]) == (400, True)
    status, body = await get_json(datasette, f"{NOTES}/clusters.json?_page=2")
    assert (status, "Unknown parameter '_page'" in body["error"]) == (400, True)


async def test_a_collection_without_clusters_says_how_to_find_them(datasette):
    path = "/notes/-/embeddings/bare/clusters"
    status, page = await get_page(datasette, path)
    assert (status, page.select_one(".content code").text) == (
        200,
        "datasette embeddings clusters",
    )
    status, body = await get_json(datasette, f"{path}.json")
    message = (
        "'bare' has no clusters; the command that finds them: datasette embeddings"
    )
    assert (status, message in body["error"]) == (404, True)


async def test_the_list_in_sql_runs(datasette):
    _status, page = await get_page(datasette, f"{NOTES}/clusters")
    path = page.find("a", string="Run it")["href"]
    path = path.replace("/-/query?", "/-/query.json?").replace(
        "/notes?", "/notes.json?"
    )
    rows = (await datasette.client.get(f"{path}&_shape=array")).json()
    assert rows == [
        {"cluster": 1, "name": "even, number", "documents": 6},
        {"cluster": 2, "name": "odd", "documents": 3},
    ]
    config = {"notes": {"allow_sql": False}}
    closed = make_datasette(datasette.get_database("notes").path, allow=config)
    _status, page = await get_page(closed, f"{NOTES}/clusters")
    assert page.find("a", string="Run it") is None
    if is_modern():
        closed.close()


async def test_pages_lead_to_each_other(datasette):
    for path, names in (
        (NOTES, ["Search", "Clusters (2)", "Duplicates"]),
        (f"{NOTES}/clusters", ["Search", "Clusters (2)", "Duplicates"]),
        ("/notes/-/embeddings/bare", ["Search"]),
    ):
        _status, page = await get_page(datasette, path)
        links = page.select(".embeddings-views a")
        shown = [each.text for each in links]
        assert [each for each in shown if each in names] == names
        assert ("Clusters (2)" in shown) == ("Clusters (2)" in names)
        [current] = page.select(".embeddings-views a[aria-current=page]")
        assert current["href"] == path
    for path in ("/-/embeddings", "/notes/-/embeddings"):
        _status, page = await get_page(datasette, path)
        links = {each["href"] for each in page.select("a.embeddings-view")}
        assert {e for e in links if e.endswith("/clusters")} == {
            f"/notes/-/embeddings/{name}/clusters"
            for name in ("metadata", "notes", "pairs")
        }


# Who may see them


async def test_what_another_program_stored_is_no_error(notes_db, tmp_path):
    path = tmp_path / "notes.db"
    path.write_bytes(notes_db.read_bytes())
    for statement in (
        "update embedding_cluster_names set central = '{', words = '[1]'",
        "update embedding_cluster_names set name = x'00'",
        "update embedding_clusters set distance = 'far' where id = '8'",
        "delete from embeddings where id = '2'",
        "delete from embedding_cluster_names",
        "drop table embedding_clusters",
        "update _embedding_collections set clusters = '{\"method\": 1}'",
    ):
        execute(path, statement)
        datasette = make_datasette(path)
        for tail in (
            "/clusters",
            "/clusters.json",
            "?q=note",
            "?_cluster=1",
            ".json?q=x",
        ):
            response = await datasette.client.get(NOTES + tail)
            assert response.status_code in (200, 400, 404), (statement, tail)
        response = await datasette.client.get("/notes/notes/8")
        assert response.status_code == 200
        if is_modern():
            datasette.close()


async def test_names_of_clusters_are_hidden_from_who_may_not_see_the_rows(notes_db):
    allow = {"notes": {"tables": {"notes": {"allow": {"id": "root"}}}}}
    datasette = make_datasette(notes_db, allow=allow)
    root = {"cookies": actor_cookie(datasette, "root")}
    pages = (
        *(NOTES, f"{NOTES}/clusters", f"{NOTES}/clusters.json", f"{NOTES}?_cluster=1"),
        *(f"{NOTES}.json?_cluster=1", f"{NOTES}.json?_area={AREA}"),
        *("/-/embeddings", "/notes/-/embeddings", "/notes", "/notes/pairs/x,3"),
        *(
            f"/notes/{table}"
            for table in ("embedding_clusters", "embedding_cluster_names")
        ),
        "/notes/embedding_coordinates",
    )
    for path in pages:
        response = await datasette.client.get(path)
        assert "even, number" not in response.text, path
        if path.startswith((NOTES, "/notes/embedding_")):
            assert response.status_code in (403, 404), path
            # As a collection that does not exist
            missing = await datasette.client.get(path.replace("notes?", "no?"))
            assert missing.status_code in (403, 404)
        response = await datasette.client.get(path, **root)
        assert response.status_code == 200, path
    for tail in (
        "/clusters",
        "/clusters.json",
        "/clusters.json?_size=x",
        "?_cluster=9",
    ):
        hidden = await datasette.client.get(f"{NOTES}{tail}")
        missing = await datasette.client.get(f"{NOTES}x{tail}")
        assert hidden.status_code == missing.status_code == 404
        assert hidden.text == missing.text.replace("notesx", "notes")
    if is_modern():
        datasette.close()


async def test_a_large_list_is_stopped_at_the_time_limit(notes_db, monkeypatch):
    datasette = make_datasette(notes_db, sql_time_limit_ms=100)
    listed_slowly = (
        "with recursive n(i) as (select 1 union all select i + 1 from n where "
        "i < 100000000) select count(*) from n"
    )
    monkeypatch.setattr(
        "datasette_embeddings.store.clusters.Clusters.members",
        lambda clusters, *_given, **_options: clusters.conn.execute(
            listed_slowly
        ).fetchall(),
    )
    status, body = await get_json(datasette, f"{NOTES}.json?_cluster=1")
    assert (status, body["error"]) == (
        400,
        "The filter takes longer than this server's time limit for SQL",
    )
    if is_modern():
        datasette.close()
    assert json.loads(json.dumps(body))["ok"] is False
