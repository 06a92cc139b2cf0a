"""The images of items: who is served them, how, and where they are linked."""

from __future__ import annotations

import base64
import json
import sqlite3

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import tilde_encode
from datasette_embeddings.models import registry
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.datasette.conftest import (
    actor_cookie,
    execute,
    get_json,
    http,
    make_datasette,
    running,
)
from tests.datasette.image_tables import (
    COLOURS,
    EYES,
    HTML,
    SVG,
    TIFF,
    collect,
    collect_images,
    image_source,
    png,
    write_images,
)
from tests.models import Eyes, runtimes_with

pytestmark = pytest.mark.asyncio

SEARCH = "/shop/-/embeddings/images"
RED = png(COLOURS["Red"])
RED_BODY = json.dumps({"image": base64.b64encode(RED).decode()}).encode()
ROOT_ONLY = {"id": "root"}


@pytest.fixture
def shop_db(tmp_path):
    path = tmp_path / "shop.db"
    conn = sqlite3.connect(path)
    write_images(conn)
    collect_images(conn)
    conn.close()
    return path


@pytest.fixture
def shop(shop_db):
    return make_datasette(shop_db)


@pytest.fixture
def seeing(shop_db, monkeypatch):
    """The same with a model that takes images."""
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(Eyes()))
    monkeypatch.setattr(registry, "_loaded", {})
    return make_datasette(shop_db, settings=EYES)


def write_stored(path, content, item_id="a"):
    """The collection `stored`, of no table, with one item whose image is stored."""
    conn = sqlite3.connect(path)
    collect(conn, "stored", None, {item_id: content}, is_stored=True)
    conn.close()
    return f"/shop/-/embeddings/stored/image/{tilde_encode(item_id)}"


def links(html, selector):
    soup = BeautifulSoup(html, "html.parser")
    return [each.get("src") or each.get("href") for each in soup.select(selector)]


# What is served


async def test_the_image_of_a_row_is_served_and_can_do_nothing(shop):
    response = await shop.client.get(f"{SEARCH}/image/1")
    assert (response.status_code, response.content) == (200, RED)
    headers = dict(response.headers)
    etag = headers.pop("etag")
    assert (etag[0], etag[-1], len(etag)) == ('"', '"', 34)
    assert "set-cookie" not in headers
    assert (
        headers.items()
        >= {
            "content-type": "image/png",
            "content-length": str(len(RED)),
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
            "cache-control": "public, max-age=3600",
        }.items()
    )


async def test_a_stored_image_needs_no_source(shop, shop_db):
    path = write_stored(shop_db, TIFF)
    response = await shop.client.get(path)
    assert (response.content, response.headers["content-type"]) == (TIFF, "image/tiff")


async def test_who_has_it_is_not_sent_it_again(shop):
    path = f"{SEARCH}/image/1"
    etag = (await shop.client.get(path)).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        headers = {"If-None-Match": known}
        response = await shop.client.get(path, headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
        assert response.headers["cache-control"] == "public, max-age=3600"
    for other in ('"other"', etag.strip('"'), ""):
        headers = {"If-None-Match": other}
        assert (await shop.client.get(path, headers=headers)).status_code == 200


async def test_a_changed_image_has_another_tag(shop, shop_db):
    path = f"{SEARCH}/image/1"
    etag = (await shop.client.get(path)).headers["etag"]
    execute(
        shop_db,
        "update images set image = (select image from images where id = 2)"
        " where id = 1",
    )
    response = await shop.client.get(path, headers={"If-None-Match": etag})
    assert (response.status_code, response.content == RED) == (200, False)


async def test_head_tells_the_same_without_the_image(shop):
    told = await shop.client.head(f"{SEARCH}/image/1")
    found = await shop.client.get(f"{SEARCH}/image/1")
    assert (told.status_code, told.content) == (200, b"")
    assert dict(told.headers) == dict(found.headers)


async def test_other_methods_are_refused(shop):
    response = await shop.client.put(f"{SEARCH}/image/1")
    assert (response.status_code, response.headers["allow"]) == (
        405,
        "GET, HEAD, OPTIONS",
    )


async def test_an_immutable_database_is_kept_longer(shop_db):
    datasette = make_datasette(immutables=[str(shop_db)])
    response = await datasette.client.get(f"{SEARCH}/image/1")
    assert response.headers["cache-control"] == "public, max-age=86400"


async def test_five_megabytes_are_served_whole(shop, shop_db):
    large = png((1, 2, 3), noise=bytes(range(256)) * 20_000)
    response = await shop.client.get(write_stored(shop_db, large))
    assert len(large) > 5_000_000
    assert response.content == large
    assert response.headers["content-length"] == str(len(large))


@pytest.mark.parametrize(
    "content", [HTML, SVG, b"<?xml version='1.0'?>" + SVG, b"text", b"", b"\x89PNG"]
)
async def test_what_is_no_image_is_never_served(shop, shop_db, content):
    path = write_stored(shop_db, b"x")
    conn = sqlite3.connect(shop_db)
    conn.execute("update embeddings set content_blob = ? where id = 'a'", [content])
    conn.execute("update images set image = ? where id = 2", [content])
    conn.commit()
    conn.close()
    for each in (path, f"{SEARCH}/image/2"):
        response = await shop.client.get(each)
        assert response.status_code == 415
        assert "Expected an image (image/jpeg" in response.text
        assert b"alert" not in response.content


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{SEARCH}/image/99", "No item &#39;99&#39;"),
        (f"{SEARCH}/image/", "No item &#39;&#39;"),
        (f"{SEARCH}/image/~ZZ", "No item &#39;%ZZ&#39;"),
        (f"{SEARCH}/image/3", "The item &#39;3&#39; has no image here"),
        ("/shop/-/embeddings/nothing/image/1", "Collection not found: nothing"),
        ("/nothing/-/embeddings/images/image/1", "Database not found: nothing"),
        ("/shop/-/embeddings/titles/image/1", "The item &#39;1&#39; has no image here"),
    ],
)
async def test_what_is_not_there_is_not_found(shop, shop_db, path, message):
    execute(shop_db, "update images set image = 'a text' where id = 3")
    conn = sqlite3.connect(shop_db)
    titles = table_source(conn, "images", content_columns=["title"])
    collect(conn, "titles", titles, {"1": "Red"})
    conn.close()
    response = await shop.client.get(path)
    assert (response.status_code, message in response.text) == (404, True)


async def test_an_image_that_is_too_large_is_not_read(shop, shop_db):
    path = write_stored(shop_db, b"x")
    large = "cast(x'ffd8ff' || zeroblob(50000000) as blob)"
    execute(shop_db, f"update embeddings set content_blob = {large} where id = 'a'")
    execute(shop_db, f"update images set image = {large} where id = 2")
    for each in (path, f"{SEARCH}/image/2"):
        response = await shop.client.get(each)
        assert response.status_code == 404
        assert "has no image here of at most 50,000,000 bytes" in response.text


async def test_a_column_that_is_gone_is_no_image(shop, shop_db):
    execute(shop_db, "alter table images rename column image to photograph")
    assert (await shop.client.get(f"{SEARCH}/image/1")).status_code == 404


IDS = [
    "a/b.png",
    "100%",
    "ü 🥕",
    'say "hi"\r\nSet-Cookie: x=1',
    "../../etc/passwd",
    "a.json",
    "x" * 300,
    "~2F",
    ".",
    "v1/embeddings",
]


@pytest.mark.parametrize("item_id", IDS, ids=lambda each: each[:20])
async def test_an_id_of_any_characters_has_its_image(shop, shop_db, item_id):
    write_stored(shop_db, RED, item_id)
    _status, body = await get_json(
        shop, f"/shop/-/embeddings/stored.json?like={tilde_encode('a')}"
    )
    assert body["status"] == 404
    conn = sqlite3.connect(shop_db)
    collect(conn, "stored", None, {"other": TIFF}, is_stored=True)
    conn.close()
    _status, body = await get_json(shop, "/shop/-/embeddings/stored.json?like=other")
    url = body["matches"][0]["image_url"]
    response = await shop.client.get(url)
    assert (response.status_code, response.content) == (200, RED)
    assert "set-cookie" not in response.headers


async def test_a_compound_key_has_its_image(shop, shop_db):
    conn = sqlite3.connect(shop_db)
    conn.execute("create table parts (a text, b text, image, primary key (a, b))")
    conn.execute("insert into parts values ('x/y', 'z.1', ?)", [RED])
    source = image_source(conn, "parts", id_prefix="p:")
    ids = ("p:x~2Fy,z~2E1", "p:gone,gone")
    collect(conn, "parts", source, dict.fromkeys(ids, RED))
    conn.close()
    _status, body = await get_json(
        shop, "/shop/-/embeddings/parts.json?like=p:gone,gone"
    )
    found = body["matches"][0]
    assert (found["id"], found["url"]) == (ids[0], "/shop/parts/x~2Fy,z~2E1")
    assert (await shop.client.get(found["image_url"])).content == RED


async def test_base_url_is_part_of_the_address(shop_db):
    datasette = make_datasette(shop_db, base_url="/data/")
    _status, body = await get_json(datasette, f"{SEARCH}.json?like=1&_size=1")
    match = body["matches"][0]
    assert match["image_url"] == f"/data{SEARCH}/image/{match['id']}"
    assert (await datasette.client.get(f"{SEARCH}/image/1")).content == RED


# For whom


DENIED = {
    "table": {"shop": {"tables": {"images": {"allow": ROOT_ONLY}}}},
    "database": {"shop": {"allow": ROOT_ONLY}},
}


@pytest.mark.parametrize("allow", DENIED.values(), ids=DENIED)
async def test_an_actor_that_may_not_see_the_row_is_not_served(shop_db, allow):
    datasette = make_datasette(shop_db, allow=allow)
    path = f"{SEARCH}/image/1"
    etag = (await make_datasette(shop_db).client.get(path)).headers["etag"]
    for cookies in ({}, actor_cookie(datasette, "other")):
        for headers in ({}, {"If-None-Match": etag}):
            response = await datasette.client.get(
                path, cookies=cookies, headers=headers
            )
            assert (response.status_code, response.content == RED) == (404, False)
    cookies = actor_cookie(datasette, "root")
    response = await datasette.client.get(path, cookies=cookies)
    assert (response.status_code, response.content) == (200, RED)
    assert response.headers["cache-control"].startswith("private")


async def test_a_closed_instance_serves_whom_it_knows(shop_db):
    datasette = make_datasette(shop_db, allow_all=ROOT_ONLY)
    path = f"{SEARCH}/image/1"
    assert (await datasette.client.get(path)).status_code == 404
    cookies = actor_cookie(datasette, "root")
    response = await datasette.client.get(path, cookies=cookies)
    assert (response.status_code, response.content) == (200, RED)
    assert response.headers["cache-control"].startswith("private")


async def test_a_stored_image_of_a_denied_row_is_denied_too(shop_db):
    conn = sqlite3.connect(shop_db)
    collect(conn, "copies", image_source(conn), {"1": RED}, is_stored=True)
    conn.close()
    datasette = make_datasette(shop_db, allow=DENIED["table"])
    path = "/shop/-/embeddings/copies/image/1"
    assert (await datasette.client.get(path)).status_code == 404
    cookies = actor_cookie(datasette, "root")
    assert (await datasette.client.get(path, cookies=cookies)).content == RED


# Where it is linked


async def test_matches_have_the_address_of_their_image_where_there_is_one(
    shop, shop_db
):
    execute(
        shop_db,
        "update images set image = null where id = 2",
        "delete from images where id = 3",
    )
    _status, body = await get_json(shop, f"{SEARCH}.json?like=1")
    assert {each["id"]: each["image_url"] for each in body["matches"]} == {
        "2": None,
        "3": None,
        **{each: f"{SEARCH}/image/{each}" for each in ("4", "5", "6")},
    }


async def test_the_page_shows_a_grid_of_images(shop):
    response = await shop.client.get(f"{SEARCH}?like=1")
    page = BeautifulSoup(response.text, "html.parser")
    cards = page.select("ol.embeddings-grid > li")
    assert len(cards) == 5
    for card in cards:
        link, image = card.h2.a, card.h2.a.img
        item_id = link["href"].rpartition("/")[2]
        assert link["href"] == f"/shop/images/{item_id}"
        assert image["src"] == f"{SEARCH}/image/{item_id}"
        assert (image["loading"], image["alt"]) == ("lazy", "Image:")
    assert "is not stored" not in response.text
    asked = page.select_one(".embeddings-asked img")
    assert (asked["src"], asked["alt"]) == (f"{SEARCH}/image/1", "The image of 1")
    assert "This data as" in response.text


async def test_a_collection_of_texts_is_no_grid_and_asks_for_no_image(articles_db):
    datasette = make_datasette(articles_db)
    response = await datasette.client.get("/articles/-/embeddings/articles?like=1")
    page = BeautifulSoup(response.text, "html.parser")
    assert page.select(".embeddings-grid, .embeddings-image, img") == []


async def test_an_image_of_no_row_leads_to_itself(shop, shop_db):
    conn = sqlite3.connect(shop_db)
    images = {"a": RED, "b": TIFF}
    collect(conn, "stored", None, images, is_stored=True)
    conn.close()
    response = await shop.client.get("/shop/-/embeddings/stored?like=a")
    path = "/shop/-/embeddings/stored/image/b"
    assert links(response.text, ".embeddings-grid h2 a") == [path]


async def test_texts_stand_beside_images(shop, shop_db):
    conn = sqlite3.connect(shop_db)
    images = {"a": RED, "b": "What a red disc is"}
    collect(conn, "mixed", None, {**images, "c": TIFF}, is_stored=True)
    conn.close()
    response = await shop.client.get("/shop/-/embeddings/mixed?like=a")
    page = BeautifulSoup(response.text, "html.parser")
    cards = {card.h2.text.split()[-1]: card for card in page.select("ol > li")}
    assert cards["b"].img is None
    assert cards["b"].select_one(".embeddings-snippet").text == "What a red disc is"
    assert cards["c"].img["src"] == "/shop/-/embeddings/mixed/image/c"


async def test_row_pages_templates_and_pairs_show_images(shop_db, tmp_path):
    conn = sqlite3.connect(shop_db)
    build(collection(conn, "images"), SimilaritySettings(2))
    conn.close()
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "mine.html").write_text(
        '{% for each in related_items("images", 1) %}[{{ each.image_url }}]{% endfor %}'
    )
    datasette = make_datasette(shop_db, template_dir=str(tmp_path))
    _status, body = await get_json(datasette, f"{SEARCH}.json?like=1&_size=2")
    expected = [match["image_url"] for match in body["matches"]]
    row = (await datasette.client.get("/shop/images/1")).text
    assert links(row, ".embeddings-related img") == expected
    mine = (await datasette.client.get("/mine")).text
    assert mine == "".join(f"[{url}]" for url in expected)
    _status, body = await get_json(datasette, f"{SEARCH}/pairs.json")
    pair = body["pairs"][0]
    assert pair["image_url"] == f"{SEARCH}/image/{pair['id']}"
    assert pair["other_image_url"] == f"{SEARCH}/image/{pair['other_id']}"
    pairs = (await datasette.client.get(f"{SEARCH}/pairs")).text
    assert links(pairs, "td img")[:2] == [pair["image_url"], pair["other_image_url"]]


# An image as a question


def posted(datasette, path, image=RED, **options):
    body = {"image": base64.b64encode(image).decode()}
    return datasette.client.post(path, json=body, **options)


async def test_the_page_answers_an_image_with_the_same_first(seeing):
    response = await posted(seeing, SEARCH)
    page = BeautifulSoup(response.text, "html.parser")
    assert response.status_code == 200
    assert page.select_one("[role=status]").text.strip() == (
        "6 items closest to your image, best first."
    )
    first = page.select_one("ol.embeddings-grid > li")
    assert first.h2.a["href"] == "/shop/images/1"
    assert "score 1.000" in first.text
    assert page.title.text == "An image: images"
    # No address leads to the JSON of an image
    assert "This data as" not in response.text


async def test_conditions_of_the_address_narrow_an_image(seeing):
    path = f"{SEARCH}?price__lt=40&_size=2&_facet=title&_next=1"
    response = await posted(seeing, path)
    page = BeautifulSoup(response.text, "html.parser")
    api = await seeing.client.post(
        f"{SEARCH}.json",
        json={
            "image": base64.b64encode(RED).decode(),
            "filters": {"price__lt": 40},
            "size": 2,
            "next": "1",
        },
    )
    expected = [match["url"] for match in api.json()["matches"]]
    assert links(response.text, ".embeddings-grid h2 a") == expected
    assert len(page.select(".embeddings-facet li")) == 3
    assert page.select_one("[rel=prev]")["href"] == (
        f"{SEARCH}?price__lt=40&_size=2&_facet=title"
    )


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", b"{", 400, "Expected a JSON object"),
        ("", b"{}", 400, 'Expected {"image": base64}'),
        ("", b'{"image": null}', 400, 'Expected {"image": base64}'),
        ("", b'{"image": 5}', 400, "image: expected an image in base64, found 5"),
        ("", b'{"image": "?"}', 400, "image: expected an image in base64"),
        ("", b'{"image": "aGk=", "size": 2}', 400, 'Expected {"image": base64}'),
        ("", b'{"text": "red"}', 400, 'Expected {"image": base64}'),
        ("?q=red", b'{"image": "aGk="}', 400, "neither q nor like"),
        ("?like=1", b'{"image": "aGk="}', 400, "neither q nor like"),
        ("?_size=none", b'{"image": "aGk="}', 400, "a whole number of at least 1"),
        ("?nocolumn=1", RED_BODY, 400, "No column 'nocolumn'"),
        ("", b'{"image": "aGVsbG8="}', 400, "Expected an image"),
        ("", b'{"image": ""}', 400, "image: expected an image in base64"),
    ],
)
async def test_what_is_no_image_is_told_on_the_page(
    seeing, query, body, status, message
):
    headers = {"Content-Type": "application/json"}
    response = await seeing.client.post(SEARCH + query, content=body, headers=headers)
    page = BeautifulSoup(response.text, "html.parser")
    told = page.select_one("[role=status]").text
    assert (response.status_code, message in told) == (status, True), told
    assert page.select_one("#embeddings-file") is not None


@pytest.mark.usefixtures("seeing")
async def test_an_image_that_is_too_large_is_refused(shop_db):
    datasette = make_datasette(shop_db, settings={"max_body_bytes": 100})
    page = (await datasette.client.get(SEARCH)).text
    assert 'data-max-bytes="100"' in page
    response = await posted(datasette, SEARCH)
    assert response.status_code == 413
    assert "at most 100 bytes" in response.text


async def test_a_model_that_is_not_here_or_takes_texts_is_told(shop, shop_db):
    response = await posted(shop, SEARCH)
    told = "Search by image is not available here at the moment"
    assert (response.status_code, told in response.text) == (422, True)
    bundled = "sentence-transformers/all-MiniLM-L6-v2"
    execute(shop_db, f"update collections set model = '{bundled}'")
    response = await posted(make_datasette(shop_db), SEARCH)
    assert (response.status_code, "texts, not images" in response.text) == (422, True)


async def test_with_cookies_an_image_must_be_json(seeing):
    cookies = actor_cookie(seeing, "root")
    assert (await posted(seeing, SEARCH, cookies=cookies)).status_code == 200
    assert (await posted(seeing, f"{SEARCH}?price__lt=40", cookies=cookies)).is_success


async def test_the_cookie_tells_who_asks_with_an_image(shop_db):
    datasette = make_datasette(shop_db, allow=DENIED["table"])
    root, other = (actor_cookie(datasette, each) for each in ("root", "other"))
    # Its model is not here, which is more than others are told
    assert (await posted(datasette, SEARCH, cookies=root)).status_code == 422
    assert (await posted(datasette, SEARCH, cookies=other)).status_code == 404
    assert (await posted(datasette, SEARCH)).status_code == 404


async def test_a_form_of_another_site_is_refused(shop_db):
    """1.0 looks where a request comes from, 0.65 at what it is."""
    with running(make_datasette(shop_db)) as url:
        response = http.post(
            url + SEARCH,
            data={"image": "aGk="},
            headers={
                "Cookie": "ds_actor=x",
                "Origin": "http://elsewhere",
                "Sec-Fetch-Site": "cross-site",
            },
        )
    assert response.status_code == 403


async def test_other_pages_take_no_post(shop):
    for path in (f"{SEARCH}/pairs", f"{SEARCH}/image/1", "/-/embeddings"):
        response = await shop.client.post(path, json={"image": "aGk="})
        assert (path, response.status_code) == (path, 405)


async def test_a_search_by_an_image_has_no_samples_of_code(seeing):
    response = await posted(seeing, SEARCH)
    assert response.status_code == 200
    assert "embeddings-samples" not in response.text
