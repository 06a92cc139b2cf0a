"""Hostile names, contents and questions are text, wherever they stand."""

from __future__ import annotations

import re
import shutil
import sqlite3
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio
from bs4 import BeautifulSoup

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import tilde_encode
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.datasette.conftest import get_json, make_datasette, open_datasette

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = {
    "script": "<script>window.hurt = 1</script>",
    "double quotes": '" autofocus onfocus="window.hurt = 1" x="',
    "single quotes": "' onmouseover='window.hurt = 1' x='",
    "image": '"><img src=x onerror=window.hurt=1>',
    "url": "javascript:window.hurt=1",
    "end tags": "</title></option></select></pre></textarea><svg onload=hurt()>",
    "comment": "<!-- --!> <![CDATA[ ]]> <?x ?>",
    "entities": "&lt;b&gt; &amp;amp; &#8238; &quot",
    "template": "{{ 7 * 7 }}{% raw %}{# #}",
    "controls": "a\x00b\x07c\x1b[31md\x08e\x7ff\x85g\ufffeh\uffffi",
    "lines": "one\r\nSet-Cookie: hurt=1\r\n\r\ntwo\ttab\u2028\u2029three",
    "right to left": "\u202egnp.exe\u202d \u2067\u2066\u200f\u061c \u0645\u0631\u062d",
    "invisible": "a\u200b\ufeff\u00ad\u2060\u3164b",
    "combining": "Z" + "\u0351" * 80,
    "emoji": "\U0001f608\U0001f1fa\U0001f1f8\U000e0041\U000e007f",
    "sql": "'; drop table embeddings; --`]",
    "format": "%s %(x)s {0} $HOME `id` $(id) \\",
    "url parts": "../../%2e%2e/?#;&=+~/.json",
}
HARMLESS = "harmless"
# A file may be called so, and its database is
DATABASE = '"><i onclick=hurt()>&amp;'
MEGABYTE = 1_000_000


def identifier(text):
    """*text* as the name of a table or column.

    SQL takes no NUL in it, and Datasette 0.65 reads no schema with a "]".
    """
    return text.replace("\0", "").replace("]", "")


def write_collection(conn, text, model):
    """A table of two rows, in which all is called *text*, and its collection."""
    name = identifier(text)
    columns = [f"{name} key", f"{name} title", f"{name} body", name]
    quoted = ['"' + each.replace('"', '""') + '"' for each in [name, *columns]]
    table, key, *others = quoted
    conn.execute(f"create table {table} ({key} text primary key, {','.join(others)})")
    rows = [(text, text, f"cats {text}", text), ("other", "other", "dogs", "other")]
    conn.executemany(f"insert into {table} values (?, ?, ?, ?)", rows)
    conn.commit()
    source = table_source(
        conn,
        name,
        content_columns=(columns[2],),
        title_column=columns[1],
        rules=Source(metadata_columns=(name,)),
    )
    ingest(conn, text, source, model)
    build(collection(conn, text), SimilaritySettings(limit=5))


@pytest.fixture(scope="module")
def hostile_db(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("hostile") / f"{DATABASE}.db"
    conn = sqlite3.connect(path)
    for text in [HARMLESS, *HOSTILE.values()]:
        write_collection(conn, text, model)
    conn.close()
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(hostile_db):
    with open_datasette(hostile_db) as datasette:
        yield datasette


@pytest.fixture(scope="module")
def shown(hostile):
    """The page of a path: its response and its elements, asked for once."""
    pages = {}

    async def page(path):
        if path not in pages:
            response = await hostile.client.get(path)
            pages[path] = response, parsed(response)
        return pages[path]

    return page


PREFIX = f"/{tilde_encode(DATABASE)}/-/embeddings"
every_text = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def place(text):
    return f"{PREFIX}/{tilde_encode(text)}"


def questions(text):
    """What may be asked of the collection called *text*: status, page and arguments."""
    column = identifier(text)
    asked = {
        "nothing": (200, []),
        "text": (200, [("q", text), (f"{column}__exact", text), ("_facet", column)]),
        "item": (200, [("like", text)]),
        "prefix": (200, [("q", "cats"), ("_prefix", text)]),
        "condition": (200, [(f"{column}__not", text)]),
        "unknown item": (404, [("like", f"{text} gone")]),
        "unknown column": (400, [("q", "x"), (f"{column} gone", text)]),
        "unknown comparison": (400, [("q", "x"), (f"{column}__{text}", text)]),
        "unknown facet": (400, [("q", "x"), ("_facet", f"{text} gone")]),
        "two facets": (400, [("q", "x"), ("_facet", column), ("_facet", text)]),
        "text and item": (400, [("q", text), ("like", text)]),
    }
    for name in ("_size", "_next", "_min_score", "_chunks"):
        asked[name] = (400, [("q", "x"), (name, text)])
    pages = {kind: (status, "", pairs) for kind, (status, pairs) in asked.items()}
    pages["pairs"] = (200, "/pairs", [])
    pages["axis"] = (200, "/axis", [("low_item", text), ("high", "cats")])
    pages["size of an axis"] = (400, "/axis", [("high", text), ("_size", text)])
    pages["no image"] = (404, f"/image/{tilde_encode(text)}", [])
    pages["size of pairs"] = (400, "/pairs", [("_size", text)])
    return pages


every_question = pytest.mark.parametrize("kind", questions(HARMLESS))
# These two end an attribute and an element
ALWAYS = ("double quotes", "end tags")


def texts_and_questions():
    """The whole product; in every run each text with some questions, in turn."""
    for at_text, (name, text) in enumerate(HOSTILE.items()):
        for at_kind, kind in enumerate(questions(HARMLESS)):
            is_short = name in ALWAYS or at_text % 6 == at_kind % 6
            marks = () if is_short else pytest.mark.long
            yield pytest.param(text, kind, marks=marks, id=f"{name}-{kind}")


every_text_and_question = pytest.mark.parametrize(
    ("text", "kind"), list(texts_and_questions())
)


def path_of(text, kind, suffix=""):
    _status, page, pairs = questions(text)[kind]
    return f"{place(text)}{page}{suffix}?{urlencode(pairs)}"


def parsed(response):
    return BeautifulSoup(response.text, "html.parser")


def structure(soup):
    """Each element but ``<mark>``, with the names of its attributes."""
    return [
        (element.name, sorted(element.attrs))
        for element in soup.find_all(True)
        if element.name != "mark"
    ]


def scripts(soup):
    return [str(element) for element in soup.find_all("script")]


def attributes(soup):
    return [pair for element in soup.find_all(True) for pair in element.attrs.items()]


def on_one_line(text):
    return " ".join(text.split())


@every_text_and_question
async def test_a_page_has_the_elements_of_a_harmless_one(shown, text, kind):
    response, found = await shown(path_of(text, kind))
    harmless, expected = await shown(path_of(HARMLESS, kind))
    status = questions(text)[kind][0]
    assert (response.status_code, harmless.status_code) == (status, status)
    assert structure(found) == structure(expected)
    assert scripts(found) == scripts(expected)
    assert [name for name, _value in attributes(found) if name.startswith("on")] == []


@every_text_and_question
async def test_a_page_leads_only_to_this_server(shown, text, kind):
    response, soup = await shown(path_of(text, kind))
    leading = [
        value
        for name, value in attributes(soup)
        if name in ("href", "src", "action", "formaction")
    ]
    own = re.compile(r"/([^/\\].*)?|https://datasette\.io/")
    assert [path for path in leading if not own.fullmatch(path)] == []
    headers = "".join(response.headers.values())
    assert headers.isascii()
    assert headers.isprintable()


@every_text
async def test_a_page_shows_the_text_itself(shown, text):
    column = identifier(text)
    _response, soup = await shown(path_of(text, "text"))
    line = on_one_line(text)
    assert [on_one_line(each.text) for each in soup.select("h1 bdi, h2 bdi")] == [
        line,
        on_one_line(column),
        line,
    ]
    assert on_one_line(soup.select_one(".embeddings-snippet").text) == f"cats {line}"
    assert [
        on_one_line(each.text) for each in soup.select(".embeddings-metadata bdi")
    ] == [on_one_line(column), line]
    assert soup.select_one("#embeddings-q")["value"] == text
    assert [
        (each["name"], each["value"])
        for each in soup.select("#embeddings-form input[type=hidden]")
    ] == [(f"{column}__exact", text)]
    columns = ["", f"{column} key", f"{column} title", f"{column} body", column]
    assert [
        each.get("value", each.text) for each in soup.select("[name=_facet] option")
    ] == columns


@every_text
async def test_links_carry_the_text_itself(shown, text):
    column = identifier(text)
    pairs = questions(text)["text"][2]
    _response, soup = await shown(path_of(text, "text"))

    def asked(selector):
        href = urlsplit(soup.select_one(selector)["href"])
        return href.path, parse_qsl(href.query, keep_blank_values=True)

    assert asked(".embeddings-facts a") == (place(text), [("like", text)])
    assert asked(".export-links a") == (f"{place(text)}.json", pairs)
    assert asked(".embeddings-filters a") == (place(text), [pairs[0], pairs[2]])
    assert asked(".embeddings-facet li a") == (place(text), [*pairs, (column, text)])


@every_text
async def test_the_json_gives_every_text_back(hostile, text):
    column = identifier(text)
    _status, body = await get_json(hostile, path_of(text, "text", ".json"))
    facets = body["facet_results"]["results"][column]
    assert (body["database"], body["collection"]["name"]) == (DATABASE, text)
    assert body["query"] == {"text": text, "filters": [[f"{column}__exact", text]]}
    assert (facets["name"], facets["results"]) == (
        column,
        [{"value": text, "count": 1}],
    )
    match = body["matches"][0]
    assert (match["id"], match["document_id"], match["title"]) == (text, text, text)
    assert match["content"] == f"cats {text}"
    assert match["metadata"] == {column: text}


@every_text
async def test_a_posted_text_comes_back(hostile, text):
    column = identifier(text)
    asked = {"text": text, "prefix": text, "filters": {column: text}, "facet": column}
    response = await hostile.client.post(f"{place(text)}.json", json=asked)
    body = response.json()
    assert body["query"] == {"text": text, "prefix": text, "filters": [[column, text]]}
    assert [match["id"] for match in body["matches"]] == [text]


@every_text
async def test_a_match_leads_to_its_row(hostile, text):
    _status, body = await get_json(
        hostile, f"{place(text)}.json?{urlencode({'like': 'other'})}"
    )
    path = body["matches"][0]["url"]
    status, row = await get_json(hostile, f"{path}.json?_shape=objects")
    assert (status, row["rows"][0][f"{identifier(text)} key"]) == (200, text)


@every_text
async def test_the_sql_on_the_page_finds_the_same(hostile, text):
    for asked in ({"q": text}, {"like": "other"}):
        response = await hostile.client.get(f"{place(text)}?{urlencode(asked)}")
        path = parsed(response).select_one(".embeddings-samples a")["href"]
        path = path.replace("?", ".json?", 1)
        status, body = await get_json(hostile, f"{path}&_shape=arrays")
        assert status == 200
        # SQLite's JSON functions end a text at its NUL
        assert "\0" in text or text in [row[0] for row in body["rows"]]


@every_text_and_question
async def test_an_error_in_json_has_four_keys(hostile, text, kind):
    status = questions(text)[kind][0]
    found, body = await get_json(hostile, path_of(text, kind, ".json"))
    assert (found, body["ok"]) == (status, status == 200)
    if status != 200:
        assert sorted(body) == ["error", "errors", "ok", "status"]


@every_text
async def test_a_missing_collection_is_named_as_text(hostile, text):
    missing = f"{text} gone"
    response = await hostile.client.get(place(missing))
    assert (response.status_code, "<script>window.hurt" in response.text) == (
        404,
        False,
    )
    assert on_one_line(missing) in on_one_line(parsed(response).text)
    assert await get_json(hostile, f"{place(missing)}.json") == (
        404,
        {
            "ok": False,
            "error": f"Collection not found: {missing}",
            "errors": [f"Collection not found: {missing}"],
            "status": 404,
        },
    )


@every_text
async def test_pairs_are_named_by_the_text_itself(hostile, shown, text):
    _response, soup = await shown(path_of(text, "pairs"))
    named = [on_one_line(each.text) for each in soup.select("td bdi")]
    assert sorted(named) == sorted([on_one_line(text), "other"])
    _status, body = await get_json(hostile, path_of(text, "pairs", ".json"))
    [pair] = body["pairs"]
    assert {pair["id"], pair["other_id"]} == {text, "other"}
    assert {pair["title"], pair["other_title"]} == {text, "other"}


@every_text
async def test_related_rows_are_named_by_the_text_itself(hostile, text):
    row = f"/{tilde_encode(DATABASE)}/{tilde_encode(identifier(text))}/other"
    soup = parsed(await hostile.client.get(row))
    [found] = soup.select(".embeddings-related")
    [link] = found.select("li a")
    assert on_one_line(link.text) == on_one_line(text)
    assert link["href"] == row.removesuffix("other") + tilde_encode(text)


@every_text
async def test_the_fields_of_a_filter_become_a_url(hostile, text):
    column = identifier(text)
    fields = {"_filter_column": column, "_filter_op": "exact", "_filter_value": text}
    response = await hostile.client.get(f"{place(text)}?{urlencode(fields)}")
    location = response.headers["location"]
    assert (response.status_code, location.isprintable()) == (302, True)
    assert (urlsplit(location).path, parse_qsl(urlsplit(location).query)) == (
        place(text),
        [(f"{column}__exact", text)],
    )


async def test_the_lists_name_every_collection(hostile):
    names = sorted([HARMLESS, *HOSTILE.values()])
    for path in ("/-/embeddings", PREFIX):
        _status, body = await get_json(hostile, f"{path}.json")
        assert [each["name"] for each in body["collections"]] == names
        assert [each["url"] for each in body["collections"]] == list(map(place, names))
        soup = parsed(await hostile.client.get(path))
        links = soup.select("td.col-collection a")
        assert [each["href"] for each in links] == list(map(place, names))
        assert [each.text for each in links] == names
        assert "window.hurt" not in "".join(scripts(soup))


@every_question
async def test_a_text_that_turns_the_direction_turns_only_itself(shown, kind):
    text = HOSTILE["right to left"]
    for path in (path_of(text, kind), "/-/embeddings", PREFIX):
        _response, soup = await shown(path)
        turned = soup.find_all(string=lambda found: text in found)
        assert [str(found) for found in turned if turns_others(found, text)] == []


def turns_others(found, text):
    """Whether something behind *text* is in the same paragraph, and nothing between."""
    if found.find_parent(["bdi", "title", "option", "pre"]):
        return False
    block = found.find_parent(["p", "li", "td", "th", "h1", "h2", "legend", "dd"])
    return not block.text.rstrip().endswith(text)


async def test_the_name_of_a_model_is_text(hostile_db, tmp_path):
    path = tmp_path / "models.db"
    shutil.copyfile(hostile_db, path)
    conn = sqlite3.connect(path)
    for number, text in enumerate(HOSTILE.values(), 100):
        conn.execute(
            "insert into collections values (?, ?, ?)", [number, f"m{number}", text]
        )
    conn.commit()
    conn.close()
    datasette = make_datasette(path)
    for number, text in enumerate(HOSTILE.values(), 100):
        response = await datasette.client.get(f"/models/-/embeddings/m{number}")
        soup = parsed(response)
        about = on_one_line(soup.select_one(".embeddings-about").text)
        assert (response.status_code, on_one_line(text) in about) == (200, True)
        assert "hurt" not in "".join(scripts(soup))


HALF = "\\ud800"  # of a surrogate pair, as JSON spells it


@pytest.mark.parametrize(
    "body",
    [
        f'{{"text": "{HALF}"}}',
        f'{{"text": "pets {HALF} pets"}}',
        f'{{"like": "{HALF}"}}',
        f'{{"vector": "{HALF}"}}',
        f'{{"vector": ["{HALF}"]}}',
        f'{{"image": "{HALF}"}}',
        f'{{"text": "x", "prefix": "{HALF}"}}',
        f'{{"text": "x", "facet": "{HALF}"}}',
        f'{{"text": "x", "size": "{HALF}"}}',
        f'{{"text": "x", "next": "{HALF}"}}',
        f'{{"text": "x", "min_score": "{HALF}"}}',
        f'{{"text": "x", "chunks": "{HALF}"}}',
        f'{{"text": "x", "{HALF}": 1}}',
        f'{{"text": "x", "filters": "{HALF}"}}',
        f'{{"text": "x", "filters": {{"title": "{HALF}"}}}}',
        f'{{"text": "x", "filters": {{"title": ["{HALF}"]}}}}',
        f'{{"text": "x", "filters": {{"title__in": ["{HALF}"]}}}}',
        f'{{"text": "x", "filters": {{"title": {{"{HALF}": 1}}}}}}',
        f'{{"text": "x", "filters": {{"{HALF}": "x"}}}}',
        f'{{"text": "x", "filters": {{"title__{HALF}": "x"}}}}',
        f'"{HALF}"',
    ],
)
async def test_half_a_character_is_refused(shared_articles, body):
    response = await shared_articles.client.post(
        "/articles/-/embeddings/articles.json", content=body
    )
    assert_refused(response)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"input": "{HALF}"}}',
        f'{{"input": ["x", "{HALF}"]}}',
        f'{{"input": {{"image": "{HALF}"}}}}',
        f'{{"input": {{"{HALF}": "x"}}}}',
        f'{{"input": "x", "encoding_format": "{HALF}"}}',
        f'{{"input": "x", "input_type": "{HALF}"}}',
        f'{{"input": "x", "dimensions": "{HALF}"}}',
        f'{{"input": "x", "{HALF}": 1}}',
    ],
)
async def test_half_a_character_is_not_embedded(shared_articles, body):
    for path in ("/-/embeddings/embed.json", "/-/embeddings/v1/embeddings"):
        assert_refused(await shared_articles.client.post(path, content=body))


async def test_half_a_character_is_no_model(shared_articles):
    response = await shared_articles.client.post(
        "/-/embeddings/embed.json", content=f'{{"input": "x", "model": "{HALF}"}}'
    )
    assert_refused(response, status=422)


def assert_refused(response, *, status=400):
    """With Datasette's four keys, in UTF-8, and at no length."""
    body = response.json()
    message = body["error"]
    assert (response.status_code, body) == (
        status,
        {"ok": False, "error": message, "errors": [message], "status": status},
    )
    assert len(message.encode()) < 2000


@pytest.mark.parametrize(
    "query",
    [
        "q=%ff",
        "q=a%80b",
        "q=%ed%a0%80",
        "q=%00",
        "q=x&title=%ff",
        "q=x&_prefix=%ff",
        "q=x&title__contains=%00",
        "q=x;y&",
        "q=x&&&",
    ],
)
async def test_bytes_that_are_no_text_find_something_or_nothing(shared_articles, query):
    path = f"/articles/-/embeddings/articles.json?{query}"
    assert (await get_json(shared_articles, path))[0] == 200


@pytest.mark.parametrize("mode", ["both", "meaning", "words"])
@pytest.mark.parametrize(
    "typed",
    [
        *('"', '""', '"cats', 'cats"', "'", "-", "--", "-cats", "- cats", "*", "cat*"),
        *(
            "^cats",
            "NEAR",
            "NEAR(cats dogs)",
            "cats NEAR/2",
            "AND",
            "OR OR",
            "NOT cats",
        ),
        *(
            "(",
            "cats)",
            "title:",
            "title : cats",
            "{title}: cats",
            "a + b",
            "\0",
            "a\0b",
        ),
        *("\U0001f408", "\u732b", '"\0"', '-"cats"', "%", "_", "\\", ";--", "cats;"),
    ],
)
async def test_nothing_that_is_typed_is_a_syntax_error(shared_articles, typed, mode):
    for typing in ("0", "1"):
        asked = urlencode({"q": typed, "_mode": mode, "_typing": typing})
        path = f"/articles/-/embeddings/articles?{asked}"
        response = await shared_articles.client.get(path)
        assert (typed, response.status_code) == (typed, 200)
        assert "_typing" not in response.text


@pytest.mark.parametrize(
    "query",
    [
        *("%ff=1", "q=x&%ff=1", "q=x&_facet=%ff", "q=x&_size=%ff", "q=x&title__%ff=1"),
        *("=1", "q=x&%5f%ff=1"),
    ],
)
async def test_bytes_that_are_no_text_name_nothing(shared_articles, query):
    path = "/articles/-/embeddings/articles"
    assert_refused(await shared_articles.client.get(f"{path}.json?{query}"))
    assert (await shared_articles.client.get(f"{path}?{query}")).status_code == 400


LONG = "x" * 60_000  # the longest that a server takes in a URL


@pytest.mark.parametrize(
    "pairs",
    [
        [("q", LONG)],
        [("q", "x"), ("_size", LONG)],
        [("q", "x"), ("_next", "9" * 60_000)],
        [("q", "x"), ("_min_score", LONG)],
        [("q", "x"), ("_chunks", LONG)],
        [("q", "x"), ("_unknown", LONG)],
        [("q", "x"), (f"_{LONG}", "x")],
        [("q", "x"), ("_facet", LONG)],
        [("q", "x"), (LONG, "x")],
        [("q", "x"), (f"title__{LONG}", "x")],
        [("q", "x"), ("title__like", "_" * 60_000)],
        [("q", "x"), ("title__in", "[" * 20_000)],
        [("q", "x")] + [("title", "x")] * 5_000,
        [("q", "x")] + [(f"c{number}", "x") for number in range(5_000)],
    ],
    ids=lambda pairs: "&".join("=".join(pair) for pair in pairs)[:40],
)
async def test_a_long_query_string_is_refused_in_short(shared_articles, pairs):
    path = "/articles/-/embeddings/articles"
    asked = urlencode(pairs)
    assert_refused(await shared_articles.client.get(f"{path}.json?{asked}"))
    response = await shared_articles.client.get(f"{path}?{asked}")
    page = parsed(response)
    # Of too many parameters there is no form
    shown = (page.select_one("#embeddings-answer") or page).text
    assert (response.status_code, len(shown) < 2000) == (400, True)


@pytest.mark.parametrize(
    "pairs",
    [
        [("like", LONG)],
        [("q", "x"), ("_prefix", LONG)],
        [("q", "x"), ("title", LONG)],
        [("q", "x"), ("id__in", ",".join(map(str, range(8_000))))],
    ],
    ids=lambda pairs: "&".join("=".join(pair) for pair in pairs)[:40],
)
async def test_a_long_query_string_is_answered_in_short(shared_articles, pairs):
    path = "/articles/-/embeddings/articles"
    response = await shared_articles.client.get(f"{path}?{urlencode(pairs)}")
    shown = parsed(response).select_one("#embeddings-answer")
    for example in shown.select(".embeddings-samples"):
        example.extract()
    assert (response.status_code < 500, len(shown.text) < 5000) == (True, True)


async def test_a_megabyte_of_everything_makes_a_small_page(tmp_path, model):
    path = tmp_path / "large.db"
    write_large(path, model)
    datasette = make_datasette(path)
    for query in ("q=pets", "q=pets&_facet=topic", "like=1", "topic__notblank=1"):
        response = await datasette.client.get(f"/large/-/embeddings/notes?{query}")
        assert (query, response.status_code) == (query, 200)
        assert (query, len(response.text) < 100_000) == (query, True)


async def test_a_megabyte_comes_back_in_json(tmp_path, model):
    path = tmp_path / "large.db"
    write_large(path, model)
    datasette = make_datasette(path, settings={"max_body_bytes": 3 * MEGABYTE})
    search = "/large/-/embeddings/notes.json"
    _status, body = await get_json(datasette, f"{search}?q=pets&_facet=topic")
    found = {match["id"]: match for match in body["matches"]}
    large = "x" * MEGABYTE
    assert sorted(found, key=len) == ["1", large]
    assert found["1"]["title"] == found["1"]["metadata"]["topic"] == large
    assert found["1"]["content"] == f"{large} pets"
    assert body["facet_results"]["results"]["topic"]["results"] == [
        {"value": large, "count": 1},
        {"value": "y", "count": 1},
    ]
    response = await datasette.client.post(search, json={"like": large})
    assert [match["id"] for match in response.json()["matches"]] == ["1"]


def write_large(path, model):
    """Two rows: one with a megabyte in everything but its id, one with such an id."""
    large = "x" * MEGABYTE
    conn = sqlite3.connect(path)
    conn.execute(
        "create table notes (id text primary key, title text, body text, topic text)"
    )
    rows = [("1", large, f"{large} pets", large), (large, "title", "pets", "y")]
    conn.executemany("insert into notes values (?, ?, ?, ?)", rows)
    conn.commit()
    rules = Source(metadata_columns=("topic",))
    source = table_source(conn, "notes", content_columns=("body",), rules=rules)
    ingest(conn, "notes", source, model)
    conn.close()
