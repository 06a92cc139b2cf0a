"""The plugin shows an actor exactly what Datasette itself shows, however configured.

What is expected is never written down here: it is what Datasette's own pages of the
database, the source tables and, in a twin database without collections, the raw tables
answer to the same actor.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from datasette.app import Datasette

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collection_writes import (
    delete_collection,
    rename_collection,
)
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.tables import RAW_TABLES
from datasette_embeddings.web.compat import is_modern
from tests.clusters import give_clusters
from tests.maps import give_map

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each collection, and what its rows come from: a table, a view and both
SOURCES = {
    "heron": ["recent"],
    "kestrel": ["articles"],
    "osprey": ["articles", "recent"],
}
SOURCE_PAGES = ["/articles/articles", "/articles/recent"]
SEARCH = "/articles/-/embeddings"
# The second has the same tables and the same configuration, but no collections
DATABASES = ("articles", "twin")
# Every path of a map
MAP_PATHS = (
    *("", ".json", ".svg", "/tiles/1", "/colors/1?by=cluster", "/ids/1.json"),
    *("/legend.json?by=cluster", "/items.json?id=5", "/matches.json?q=pets"),
)
CLOSED = False
ROOT, OTHER, EDITORS = {"id": "root"}, {"id": "other"}, {"role": "editor"}
ALL_KNOWN, STRANGERS = {"id": "*"}, {"unauthenticated": True}


@dataclass(frozen=True)
class Configuration:
    """What is said of all, of the database "articles" and of its tables."""

    instance: dict
    database: dict
    default_deny: bool = False
    root_enabled: bool = False

    def for_datasette(self, *databases):
        """The same for each of *databases*, as Datasette takes it."""
        return {**self.instance, "databases": dict.fromkeys(databases, self.database)}


def allowing(*, to_all=None, database=None, default_deny=False, root=False, **tables):
    """A configuration with allow blocks; *tables* are those of tables and views."""
    said = {} if database is None else {"allow": database}
    blocks = {name: {"allow": allow} for name, allow in tables.items()}
    return Configuration(
        {} if to_all is None else {"allow": to_all},
        {**said, "tables": blocks},
        default_deny=default_deny,
        root_enabled=root,
    )


def permitting(*, to_all=None, database=None, default_deny=False, **tables):
    """A configuration with 1.0's permissions blocks."""
    return Configuration(
        {"permissions": to_all or {}},
        {
            "permissions": database or {},
            "tables": {name: {"permissions": said} for name, said in tables.items()},
        },
        default_deny=default_deny,
    )


CONFIGURATIONS = {
    "open": allowing(),
    "instance for root": allowing(to_all=ROOT),
    "closed instance": allowing(to_all=CLOSED),
    "instance for editors": allowing(to_all=EDITORS),
    "instance for all known actors": allowing(to_all=ALL_KNOWN),
    "instance for strangers": allowing(to_all=STRANGERS),
    "database for root": allowing(database=ROOT),
    "closed database": allowing(database=CLOSED),
    "database for strangers": allowing(database=STRANGERS),
    "table for root": allowing(articles=ROOT),
    "closed table": allowing(articles=CLOSED),
    "table for editors": allowing(articles=EDITORS),
    "table for all known actors": allowing(articles=ALL_KNOWN),
    "table for one of two roles": allowing(articles={"role": ["author", "editor"]}),
    "closed view": allowing(recent=CLOSED),
    "view for other": allowing(recent=OTHER),
    "closed table and view": allowing(articles=CLOSED, recent=CLOSED),
    "table for root, view for other": allowing(articles=ROOT, recent=OTHER),
    "open table in a closed database": allowing(database=ROOT, articles=True),
    "open sources in a closed database": allowing(
        database=CLOSED, articles=True, recent=True
    ),
    "open database in a closed instance": allowing(to_all=CLOSED, database=True),
    "open table in a closed instance": allowing(to_all=CLOSED, articles=True),
    "open database and table in an instance for root": allowing(
        to_all=ROOT, database=True, articles=True
    ),
    "closed table in an open database of a closed instance": allowing(
        to_all=ROOT, database=True, articles=CLOSED
    ),
    "database for other, table for root": allowing(database=OTHER, articles=ROOT),
    "instance for other, database for editors": allowing(
        to_all=OTHER, database=EDITORS
    ),
    "another table closed": allowing(authors=CLOSED),
    "closed embeddings": allowing(embeddings=CLOSED),
    "embeddings for root": allowing(embeddings=ROOT),
    "open embeddings beside a closed table": allowing(
        embeddings=True, collections=True, articles=ROOT
    ),
    "open embeddings in a closed database": allowing(database=ROOT, embeddings=True),
    "collection facts for other": allowing(_embedding_collections=OTHER),
    "no SQL": Configuration({}, {"allow_sql": False}),
    "SQL for root, closed table": Configuration(
        {"allow_sql": ROOT}, {"tables": {"articles": {"allow": CLOSED}}}
    ),
}
if is_modern():
    CONFIGURATIONS |= {
        "permission for the table": permitting(articles={"view-table": ROOT}),
        "permission for the view": permitting(recent={"view-table": OTHER}),
        "no permission for the table": permitting(articles={"view-table": False}),
        "permission for the tables of the database": permitting(
            database={"view-table": ROOT}
        ),
        "permission for the database": permitting(database={"view-database": OTHER}),
        "no permission for the database but its table": permitting(
            database={"view-database": False}, articles={"view-table": True}
        ),
        "permission for one table of closed ones": permitting(
            database={"view-table": False}, articles={"view-table": OTHER}
        ),
        "permission for the instance": permitting(to_all={"view-instance": ROOT}),
        "permission for all tables": permitting(to_all={"view-table": EDITORS}),
        "no permission for all databases": permitting(
            to_all={"view-database": False}, database={"view-database": OTHER}
        ),
        "no permission for SQL": permitting(
            database={"execute-sql": False}, articles={"view-table": ROOT}
        ),
        "permission for embeddings, not for the table": permitting(
            articles={"view-table": False}, embeddings={"view-table": True}
        ),
        "deny": allowing(default_deny=True),
        "deny, instance for all": allowing(default_deny=True, to_all=True),
        "deny, database for other": allowing(default_deny=True, database=OTHER),
        "deny, table for all": allowing(default_deny=True, articles=True),
        "deny, instance, database and table for all": allowing(
            default_deny=True, to_all=True, database=True, articles=True
        ),
        "deny, permission for all databases and one view": permitting(
            default_deny=True,
            to_all={"view-instance": True, "view-database": True},
            recent={"view-table": OTHER},
        ),
        "deny, permission for tables only": permitting(
            default_deny=True, to_all={"view-table": True}
        ),
        "root": allowing(root=True),
        "root, deny": allowing(root=True, default_deny=True),
        "root, closed table": allowing(root=True, articles=CLOSED),
        "root, database for other": allowing(root=True, database=OTHER),
        "root, open embeddings, deny": allowing(
            root=True, default_deny=True, embeddings=True
        ),
    }

OF_EACH_KIND = {
    "open",
    "instance for root",
    "database for root",
    "table for root",
    "table for editors",
    "view for other",
    "open embeddings beside a closed table",
    "SQL for root, closed table",
    "permission for the table",
    "deny, database for other",
    "root, deny",
}
# Cookies, but for the stranger and the two with a token
ACTORS = ["stranger", "root", "editor", "other", "narrow token"]
# The view is not among what this token is for
NARROW = {
    "a": ["vi", "vd"],
    "r": {name: {"articles": ["vt"], "embeddings": ["vt"]} for name in DATABASES},
}


def identity(datasette, actor):
    """What a request of *actor* brings with it."""
    if actor == "stranger":
        return {}
    if actor in ("root", "editor"):
        known = {"id": actor, "role": actor}
        return {"cookies": {"ds_actor": datasette.sign({"a": known}, "actor")}}
    token = {"a": "other", "t": int(time.time())}
    if actor == "narrow token":
        token["_r"] = NARROW
    signed = datasette.sign(token, namespace="token")
    return {"headers": {"Authorization": f"Bearer dstok_{signed}"}}


@pytest.fixture(scope="module")
def paths(tmp_path_factory, built_articles, model):
    """A database with two collections, and its twin, whose raw tables hold nothing."""
    folder = tmp_path_factory.mktemp("matrix")
    path, twin = folder / "articles.db", folder / "twin.db"
    path.write_bytes(built_articles)
    conn = sqlite3.connect(path)
    conn.execute("create view recent as select id, title, body from articles")
    conn.execute("create table authors (id integer primary key, name text)")
    conn.commit()
    delete_collection(conn, "articles")
    for name, tables in SOURCES.items():
        for table in tables:
            rules = Source(id_prefix=f"{table}/" if len(tables) > 1 else "")
            chosen = table_source(conn, table, key_columns=("id",), rules=rules)
            ingest(conn, name, chosen, model)
        build(collection(conn, name), SimilaritySettings(limit=5))
        give_parts(conn, name, "pets")
    give_image(conn, "5")
    conn.close()
    shutil.copyfile(path, twin)
    conn = sqlite3.connect(twin)
    for name in SOURCES:
        delete_collection(conn, name)
    conn.close()
    return [str(path), str(twin)]


def give_parts(conn, name, word):
    """Two clusters that are called by *word*, and a map, to a collection."""
    ids = sorted(collection(conn, name).item_ids())
    give_clusters(conn, name, [([word, "one"], ids[:1]), ([word, "two"], ids[1:])])
    give_map(conn, name, {each: (n, n) for n, each in enumerate(ids)})


def give_image(conn, item_id):
    """A stored image to each item of that id, as far as its first bytes tell."""
    conn.execute(
        "update embeddings set content_blob = x'89504e470d0a1a0a' where id = ?",
        [item_id],
    )
    conn.commit()


def datasette_of(configuration, paths):
    name = "config" if is_modern() else "metadata"
    options = {"default_deny": True} if configuration.default_deny else {}
    datasette = Datasette(
        paths, **{name: configuration.for_datasette(*DATABASES)}, **options
    )
    datasette.root_enabled = configuration.root_enabled
    return datasette


def cases():
    """Each configuration with each actor; in every run at least one actor of each.

    The ones that stand for their kind are asked by all actors, and the others by one,
    in turn.
    """
    for number, name in enumerate(CONFIGURATIONS):
        asked = ACTORS if name in OF_EACH_KIND else [ACTORS[number % len(ACTORS)]]
        for place, actor in enumerate(ACTORS):
            yield pytest.param(
                (name, actor, number + place),
                marks=() if actor in asked else pytest.mark.long,
                id=f"{name}-{actor}",
            )


@pytest.fixture(scope="module")
def datasettes(paths):
    """The Datasette of a configuration; the one before it is closed."""
    made = {}

    def datasette(name):
        if name not in made:
            close(made)
            made[name] = datasette_of(CONFIGURATIONS[name], paths)
        return made[name]

    yield datasette
    close(made)


def close(datasettes):
    while datasettes:
        _name, datasette = datasettes.popitem()
        if is_modern():
            datasette.close()


@dataclass(frozen=True)
class Visitor:
    """An actor's client, and what Datasette's own pages answer it: status and text."""

    client: httpx.AsyncClient
    pages: dict[str, tuple[int, str]]
    number: int

    async def status(self, path):
        return (await self.client.get(path)).status_code

    def is_shown(self, path):
        return self.pages[path][0] == 200

    def sources(self):
        """The collections whose source core shows."""
        return [
            name
            for name, tables in SOURCES.items()
            if all(self.is_shown(f"/articles/{table}") for table in tables)
        ]

    def visible(self):
        """The collections whose database and source core shows."""
        return self.sources() if self.is_shown("/articles") else []


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=cases())
async def visitor(request, datasettes):
    configuration, actor, number = request.param
    configured = datasettes(configuration)
    # One client for all requests, with what the actor brings
    transport = httpx.ASGITransport(configured.app())
    known = identity(configured, actor)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", **known
    ) as client:
        pages = {}
        for path in ("/", "/articles", *SOURCE_PAGES, "/articles/articles/5"):
            response = await client.get(path)
            pages[path] = response.status_code, response.text
        yield Visitor(client, pages, number)


async def test_a_collection_is_there_exactly_when_core_shows_its_source(
    request, visitor
):
    # One visitor after the other asks the next third of the paths
    thirds = 1 if request.config.getoption("--all") else 3
    for number, name in enumerate(SOURCES, visitor.number):
        expected = 200 if name in visitor.visible() else 404
        has_one_source = len(SOURCES[name]) == 1
        page = f"{SEARCH}/{name}"
        asked = [page, f"{page}?q=pets", f"{page}.json", f"{page}.json?q=pets"]
        asked += [f"{page}/pairs", f"{page}/pairs.json"]
        asked += [f"{page}/map{each}" for each in MAP_PATHS]
        ends = "low=pets&high=stars"
        asked += [f"{page}/axis", f"{page}/axis?{ends}", f"{page}/axis.json?{ends}"]
        asked += [f"{page}.json?_cluster=1", f"{page}/clusters"]
        asked += [f"{page}/clusters.json"]
        asked += [f"{page}/{each}" for each in ("duplicates", "duplicates.json")]
        asked += [f"{page}/{each}" for each in ("outliers", "outliers.json", "labels")]
        asked += [f"{page}/labels.json?labels=a,b&q=pets"]
        asked += [f"{page}/context.json?q=pets"]
        if has_one_source:
            asked += [f"{page}.json?like=5", f"{page}.json?q=pets&_facet=title"]
            asked += [f"{page}/image/5"]
        else:
            asked += [f"{page}.json?like=articles%2F5"]
        asked = asked[number % thirds :: thirds]
        found = {path: await visitor.status(path) for path in asked}
        assert found == dict.fromkeys(asked, expected)
        posted = await visitor.client.post(f"{page}.json", json={"text": "pets"})
        assert (posted.status_code, posted.json()["ok"]) == (expected, expected == 200)
        body = {"text": "pets", "labels": ["a", "b"]}
        posted = await visitor.client.post(f"{page}/labels.json", json=body)
        assert (posted.status_code, posted.json()["ok"]) == (expected, expected == 200)
        body = {"question": "pets"}
        posted = await visitor.client.post(f"{page}/context.json", json=body)
        assert (posted.status_code, posted.json()["ok"]) == (expected, expected == 200)


async def test_a_context_reads_others_exactly_where_core_shows_their_sources(visitor):
    visible = visitor.visible()
    for first in visible[:1]:
        for name in SOURCES:
            expected = 200 if name in visible else 404
            path, body = f"{SEARCH}/{first}/context.json", {"question": "pets"}
            for also in (name, f"articles/{name}"):
                found = await visitor.status(f"{path}?q=pets&_also={also}")
                posted = await visitor.client.post(path, json={**body, "also": [also]})
                assert (also, found) == (also, expected)
                assert (also, posted.status_code) == (also, expected)


async def test_lists_name_exactly_the_collections_that_are_there(visitor):
    visible = visitor.visible()
    of_database = 200 if visitor.is_shown("/articles") else 404
    for path, expected in {
        "/-/embeddings": 200,
        "/-/embeddings.json": 200,
        "/articles/-/embeddings": of_database,
        "/articles/-/embeddings.json": of_database,
    }.items():
        response = await visitor.client.get(path)
        named = [name for name in SOURCES if name in response.text]
        linked = [name for name in SOURCES if f'"{SEARCH}/{name}"' in response.text]
        assert (path, response.status_code) == (path, expected)
        assert (path, named, linked) == (path, visible, visible)


async def test_core_pages_name_exactly_the_collections_that_are_there(visitor):
    visible = set(visitor.visible())
    for path, (_status, text) in visitor.pages.items():
        made_of_it = {
            name for name in SOURCES if path == f"/articles/{'+'.join(SOURCES[name])}"
        }
        linked = {name for name in SOURCES if f'"{SEARCH}/{name}"' in text}
        named = {name for name in SOURCES if name in text}
        assert (path, linked) == (path, visible & made_of_it)
        assert (path, named - visible) == (path, set())


async def test_the_page_offers_sql_exactly_where_core_runs_it(visitor):
    for name in visitor.visible()[:1]:
        page = (await visitor.client.get(f"{SEARCH}/{name}?q=pets")).text
        path = "/articles/-/query" if is_modern() else "/articles"
        is_run = await visitor.status(f"{path}.json?sql=select+1") == 200
        assert (f'href="{path}?sql=' in page) is is_run


async def test_raw_tables_are_what_core_says_of_them_unless_a_source_is_denied(visitor):
    are_sources_shown = visitor.sources() == list(SOURCES)
    for table in ("embeddings", "_embedding_collections"):
        is_shown = await visitor.status(f"/twin/{table}.json") == 200
        found = await visitor.status(f"/articles/{table}.json") == 200
        assert (table, found) == (table, is_shown and are_sources_shown)


async def test_raw_tables_are_listed_as_core_would_unless_a_source_is_denied(visitor):
    listed = {name: await raw_tables_listed(visitor, name) for name in DATABASES}
    are_sources_shown = visitor.sources() == list(SOURCES)
    assert listed["articles"] == (listed["twin"] if are_sources_shown else set())


async def raw_tables_listed(visitor, database):
    response = await visitor.client.get(f"/{database}.json")
    tables = response.json()["tables"] if response.status_code == 200 else []
    return {table["name"] for table in tables} & set(RAW_TABLES)


# No visitor may learn one of these who may not see where it comes from.  Each has a
# double of its length that is in no database
DOUBLES = {
    "cormorant": "guillemot",  # a collection of a table
    "pelican": "sparrow",  # of a query
    "secretmodel": "nowheremodl",  # of none that is known, and its model
    "vaultpapers": "ghostpapers",  # the table
    "vaultkey": "goneakey",  # its columns
    "secretcolumn": "absentcolumn",
    "zq-9071": "zq-1234",  # an id in it
    "quagga": "zebras",  # a title
    "marmalade": "jelly-jar",  # a text
    "cloister": "basilica",  # a database
}
OPEN, HIDDEN = "/library/-/embeddings/wren", "/library/-/embeddings/cormorant"


@pytest.fixture(scope="module")
def library(tmp_path_factory, built_articles, model):
    """An open collection beside hidden ones, and a database that is hidden whole."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "cloister.db").write_bytes(built_articles)
    (folder / "library.db").write_bytes(built_articles)
    conn = sqlite3.connect(folder / "library.db")
    conn.execute(
        "create table vaultpapers (vaultkey text primary key, title text,"
        " secretcolumn text)"
    )
    conn.execute(
        "insert into vaultpapers values ('zq-9071', 'quagga', 'marmalade everywhere')"
    )
    conn.commit()
    rename_collection(conn, "articles", "wren")
    metadata = Source(metadata_columns=("secretcolumn",), store_content=True)
    papers = table_source(
        conn, "vaultpapers", content_columns=("title",), rules=metadata
    )
    ingest(conn, "cormorant", papers, model)
    joined = "select vaultkey, secretcolumn, body from vaultpapers join articles"
    ingest(conn, "pelican", query_source(conn, joined), model)
    for name in ("wren", "cormorant", "pelican"):
        build(collection(conn, name), SimilaritySettings(limit=5))
        give_parts(conn, name, "treasure" if name == "wren" else "marmalade")
    give_image(conn, "zq-9071")
    conn.execute("insert into collections values (99, 'secretmodel', 'secretmodel')")
    conn.commit()
    conn.close()
    return [str(folder / "cloister.db"), str(folder / "library.db")]


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["stranger", "other"]
)
async def outsider(request, library):
    """A client that may see the open collection only, and run no SQL."""
    root = {"allow": ROOT}
    databases = {
        "cloister": root,
        "library": {"allow_sql": ROOT, "tables": {"vaultpapers": root}},
    }
    name = "config" if is_modern() else "metadata"
    said = {
        "databases": databases,
        "plugins": {"datasette-embeddings": {"max_body_bytes": 500}},
    }
    datasette = Datasette(library, **{name: said})
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(datasette.app()),
        base_url="http://localhost",
        **identity(datasette, request.param),
    ) as client:
        yield client
    if is_modern():
        datasette.close()


def everything(response):
    """What a client is told, apart from how long it took."""
    text = re.sub(r'"took_ms": [0-9.]+', "", response.text)
    return f"{response.status_code} {dict(response.headers)} {text}"


async def test_an_insider_finds_what_is_hidden(library):
    datasette = Datasette(library)
    body = (await datasette.client.get(f"{HIDDEN}.json?q=x")).json()
    found = body["matches"][0]
    assert (found["id"], found["title"]) == ("zq-9071", "quagga")
    assert found["metadata"] == {"secretcolumn": "marmalade everywhere"}
    for path in ("pelican.json", "secretmodel.json", "cormorant/image/zq-9071"):
        response = await datasette.client.get(f"/library/-/embeddings/{path}")
        assert response.status_code == 200


async def test_the_lists_are_those_of_a_library_without_secrets(outsider):
    for path in ("/-/embeddings.json", "/library/-/embeddings.json"):
        collections = (await outsider.get(path)).json()["collections"]
        assert [each["name"] for each in collections] == ["wren"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/library",
        "/library.json",
        "/library/articles",
        "/library/articles/5",
        "/library/embeddings.csv",
        "/library/embeddings.json?_facet=id",
        "/library/collections.csv",
        "/library/collections/2.json",
        "/library/_embedding_collections.json",
        "/-/embeddings",
        "/-/embeddings.json",
        "/-/embeddings.json?_shape=array",
        "/-/embeddings.json?_shape=nonsense",
        "/-/embeddings/openapi.json",
        "/-/embeddings/embed.json",
        "/-/embeddings/embed.json?input=x&model=acme/unknown",
        "/-/embeddings/embed.json?input=x&nonsense=1",
        "/library/-/embeddings",
        "/library/-/embeddings.json",
        "/library/-/embeddings/nothing",
        "/library/-/embeddings/nothing.json?q=x",
        OPEN,
        f"{OPEN}.json",
        f"{OPEN}?q=treasure&_size=100",
        f"{OPEN}.json?q=treasure&_size=100",
        f"{OPEN}.json?like=5&_size=100",
        f"{OPEN}.json?like=unknown",
        f"{OPEN}?like=unknown",
        f"{OPEN}?q=x&nocolumn=1",
        f"{OPEN}.json?q=x&nocolumn=1",
        f"{OPEN}.json?q=x&id__nonsense=1",
        f"{OPEN}.json?q=x&_facet=nocolumn",
        f"{OPEN}?q=x&_facet=title",
        f"{OPEN}.json?q=x&_size=none",
        f"{OPEN}.json?q=x&_next=none",
        f"{OPEN}.json?q=x&_min_score=9",
        f"{OPEN}.json?q=x&_prefix=zz",
        f"{OPEN}/axis?low=treasure&high=x&_size=100",
        f"{OPEN}/axis.json?low_item=unknown&high=x",
        f"{OPEN}?_cluster=1",
        f"{OPEN}.json?_cluster=1,2&_facet=title",
        f"{OPEN}.json?_cluster=99",
        f"{OPEN}.json?_area=-9,-9,9,-9,9,9",
        f"{OPEN}/clusters",
        f"{OPEN}/clusters.json",
        "/library/embedding_clusters.csv",
        "/library/embedding_cluster_names.json?_facet=name",
        "/library/embedding_cluster_names.csv",
        "/library/embedding_coordinates.csv",
        f"{OPEN}/context.json?q=treasure",
        f"{OPEN}/context.json?q=treasure&_also=nothing",
        f"{OPEN}/pairs",
        f"{OPEN}/pairs.json?_size=100",
        f"{OPEN}/nothing",
        f"{OPEN}/map",
        f"{OPEN}/map.json",
        f"{OPEN}/map.svg?by=title",
        f"{OPEN}/map/ids/1.json",
        f"{OPEN}/map/legend.json?by=title",
        f"{OPEN}/map/matches.json?q=treasure",
    ],
)
async def test_no_page_tells_what_is_hidden(outsider, path):
    response = await outsider.get(path)
    told = everything(response).lower()
    assert [secret for secret in DOUBLES if secret in told] == []


async def test_the_embedding_api_tells_no_model_of_a_hidden_collection(outsider):
    for body in (b"{", b"[]", b'{"input": []}', b'{"input": "x", "model": "no/model"}'):
        response = await outsider.post("/-/embeddings/embed.json", content=body)
        assert [secret for secret in DOUBLES if secret in response.text] == []


SQL_PATH = "/library/-/query" if is_modern() else "/library"
SEARCH_SQL = "embed_search('cormorant', 'marmalade', 3)"


@pytest.mark.parametrize(
    "path",
    [
        HIDDEN,
        f"{HIDDEN}?q=x",
        f"{HIDDEN}?q=",
        f"{HIDDEN}?like=zq-9071",
        f"{HIDDEN}?secretcolumn=1&_facet=secretcolumn",
        f"{HIDDEN}?_filter_column=secretcolumn&_filter_op=exact&_filter_value=1",
        f"{HIDDEN}?_prefix=",
        f"{HIDDEN}.json",
        f"{HIDDEN}.json?q=x",
        f"{HIDDEN}.json?q={'x' * 3000}",
        f"{HIDDEN}.json?q=x&like=zq-9071",
        f"{HIDDEN}.json?like=zq-9071",
        f"{HIDDEN}.json?_size=none",
        f"{HIDDEN}.json?q=x&_facet=secretcolumn",
        f"{HIDDEN}.json?q=x&_facet=title&_facet=secretcolumn",
        f"{HIDDEN}.json?q=x&secretcolumn__contains=marmalade",
        f"{HIDDEN}.json?q=x&title__nonsense=1",
        f"{HIDDEN}.json?q=x&_shape=nonsense",
        f"{HIDDEN}.json?q=x&_shape=array",
        f"{HIDDEN}.json?q=%FF",
        f"{HIDDEN}/axis",
        f"{HIDDEN}/axis?low=x&high_item=zq-9071",
        f"{HIDDEN}/axis.json?low=x&high_item=zq-9071&_points=9",
        f"{HIDDEN}/axis.json?low=x&at=none",
        f"{OPEN}/axis.json?low=x&high_item=zq-9071",
        f"{HIDDEN}/context.json",
        f"{HIDDEN}/context.json?q=marmalade",
        f"{HIDDEN}/context.json?q=x&_tokens=none",
        f"{HIDDEN}/context.json?q=x&_also=wren",
        f"{OPEN}/context.json?q=x&_also=cormorant",
        f"{OPEN}/context.json?q=x&_also=wren&_also=library/cormorant",
        f"{OPEN}/context.json?q=x&_also=pelican&_also=wren",
        f"{OPEN}/context.json?q=x&_also=cloister/articles",
        f"{OPEN}/context.json?q=x&_also=cloister/nothing",
        f"{OPEN}/context.json?q=x&_also=cloister/",
        f"{OPEN}/context.json?q=x&secretcolumn=1",
        f"{OPEN}/context.json?q=x&_also=cormorant&secretcolumn=1",
        f"{OPEN}/context.json?_also=cormorant",
        f"{HIDDEN}?_cluster=1",
        f"{HIDDEN}.json?_cluster=1",
        f"{HIDDEN}.json?_cluster=none",
        f"{HIDDEN}.json?_cluster=99",
        f"{HIDDEN}.json?_area=0,0,9,0,9,9",
        f"{HIDDEN}.json?_area=0,0",
        f"{HIDDEN}/clusters",
        f"{HIDDEN}/clusters.json",
        f"{HIDDEN}/clusters.json?_size=none",
        "/library/embedding_clusters/2,zq-9071.json",
        "/library/embedding_cluster_names/2,1.json",
        "/library/embedding_coordinates/2,zq-9071.json",
        f"{HIDDEN}/pairs",
        f"{HIDDEN}/pairs?_size=none",
        f"{HIDDEN}/pairs.json",
        f"{HIDDEN}/pairs.json?_next=none",
        f"{HIDDEN}/image/zq-9071",
        f"{HIDDEN}/image/~ZZ",
        *(f"{HIDDEN}/map{each}" for each in MAP_PATHS),
        f"{HIDDEN}/map.png",
        f"{HIDDEN}/map?by=secretcolumn&embed=1",
        f"{HIDDEN}/map.svg?by=secretcolumn",
        f"{HIDDEN}/map/tiles/x",
        f"{HIDDEN}/map/tiles/1?v=none",
        f"{HIDDEN}/map/colors/1?by=secretcolumn",
        f"{HIDDEN}/map/legend.json?by=nonsense",
        f"{HIDDEN}/map/items.json?id=zq-9071",
        f"{HIDDEN}/map/items.json",
        f"{HIDDEN}/map/matches.json?like=zq-9071",
        f"{HIDDEN}/map/matches.json?_size=none",
        "/library/-/embeddings/pelican/map.json",
        f"{OPEN}/map/items.json?id=zq-9071",
        f"{OPEN}/map/matches.json?like=zq-9071",
        f"{OPEN}/map/legend.json?by=secretcolumn",
        f"{OPEN}/image/zq-9071",
        "/library/-/embeddings/pelican",
        "/library/-/embeddings/pelican.json?q=x",
        "/library/-/embeddings/secretmodel.json?like=1",
        f"{OPEN}.json?like=zq-9071",
        f"{OPEN}?like=zq-9071",
        f"{OPEN}.json?q=x&secretcolumn=1",
        f"{OPEN}?q=x&secretcolumn=1",
        f"{OPEN}.json?q=x&_facet=secretcolumn",
        f"{OPEN}.json?q=x&_prefix=zq-9071",
        "/cloister/-/embeddings",
        "/cloister/-/embeddings.json",
        "/cloister/-/embeddings/articles",
        "/cloister/-/embeddings/articles.json?q=x",
        "/-/embeddings/embed.json?input=x&model=secretmodel",
        "/library/embeddings/2,zq-9071.json",
        "/library/embeddings/2,zq-9071.blob?_blob_column=embedding",
        f"{SQL_PATH}?sql=select+{SEARCH_SQL}",
        f"{SQL_PATH}.json?sql=select+{SEARCH_SQL}",
        f"/library/articles.json?_where={SEARCH_SQL}+is+null",
        f"/library/articles?_where={SEARCH_SQL}+is+null",
    ],
)
async def test_what_is_hidden_is_answered_like_what_is_not_there(outsider, path):
    await assert_answered_like_its_double(outsider, "GET", path)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("path", [HIDDEN, f"{HIDDEN}.json", f"{HIDDEN}/image/zq-9071"])
async def test_other_methods_do_not_tell_what_is_hidden_either(outsider, method, path):
    await assert_answered_like_its_double(outsider, method, path)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        '{"text": "x"}',
        '{"text": ""}',
        '{"text": 5}',
        '{"like": "zq-9071"}',
        '{"like": "x", "text": "x"}',
        '{"vector": [1]}',
        '{"vector": "x"}',
        '{"image": "?"}',
        '{"text": "\\ud800"}',
        '{"text": "x", "nonsense": 1}',
        '{"text": "x", "size": 0}',
        '{"text": "x", "filters": {"secretcolumn": 1}}',
        '{"text": "x", "facet": "secretcolumn"}',
        "x" * 501,
    ],
    ids=lambda body: body[:50],
)
@pytest.mark.parametrize("path", [HIDDEN, f"{HIDDEN}.json", f"{HIDDEN}/context.json"])
async def test_no_body_finds_out_what_is_hidden(outsider, path, body):
    await assert_answered_like_its_double(outsider, "POST", path, content=body)


@pytest.mark.parametrize(
    "also",
    [
        ["cormorant"],
        ["wren", "library/cormorant"],
        ["pelican", "wren"],
        ["cloister/articles"],
        ["cloister/nothing", "cormorant"],
    ],
    ids=str,
)
@pytest.mark.parametrize("question", ["x", "", None, 5], ids=repr)
async def test_no_other_collection_of_a_body_finds_it_out(outsider, also, question):
    body = json.dumps({"question": question, "also": also})
    path = f"{OPEN}/context.json"
    await assert_answered_like_its_double(outsider, "POST", path, content=body)


async def assert_answered_like_its_double(client, method, path, *, content=""):
    """One secret after the other, and its double, which is nowhere, bring the same."""
    found = await client.request(method, path, content=content)
    double = await client.request(method, doubled(path), content=doubled(content))
    assert doubled(everything(found)) == everything(double)


def doubled(text):
    """*text* with the double of each secret in its place."""
    for secret, double in DOUBLES.items():
        text = text.replace(secret, double)
    return text
