"""Addresses of items on the owner's site: the setting ``url``, ``--base-url``."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig, SimilaritySettings
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_vector, similar_items
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.related import related_items
from datasette_embeddings.sources.definitions import Source, source_from_json
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sources.links import link, link_template
from datasette_embeddings.store.collections import collection
from tests.models import StandIn


@pytest.fixture
def conn():
    conn = sqlite3.connect(":memory:")
    conn.execute(
        """
        create table posts (
          id integer primary key, slug text, year int, title text, body text,
          "my link" text
        )
        """
    )
    conn.executemany(
        "insert into posts values (?, ?, ?, ?, ?, ?)",
        [
            (1, "on cats", 2021, "Cats", "cats purr", "https://cats.example/a?b=1"),
            (2, "dögs/a", 2022, "Dogs", "dogs bark", "javascript:alert(1)"),
            (3, None, 2023, "Stars", "stars shine", "//evil.example/"),
        ],
    )
    yield conn
    conn.close()


def posts(conn, url, **settings):
    """The collection of posts with the setting *url*."""
    config = CollectionConfig(table="posts", columns=("body",), url=url, **settings)
    ingest(conn, "posts", source_from_config(conn, config), StandIn())
    return collection(conn, "posts")


def urls(found):
    vector = StandIn().embed_query("anything")
    matches = search_vector(found, vector, options=Options(limit=50))
    return [match.url for match in sorted(matches, key=lambda match: match.id)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://me.dev/{{ year }}/{{ slug }}/",
            [
                "https://me.dev/2021/on%20cats/",
                "https://me.dev/2022/d%C3%B6gs/a/",
                None,
            ],
        ),
        ("https://me.dev/posts", [f"https://me.dev/posts/{n}" for n in (1, 2, 3)]),
        ("/blog/", ["/blog/1", "/blog/2", "/blog/3"]),
        ("/?p=", ["/?p=1", "/?p=2", "/?p=3"]),
        (
            "/{{ title|lower|replace('s', ' ') }}/",
            ["/cat%20/", "/dog%20/", "/%20tar%20/"],
        ),
        ("{{ row['my link'] }}", ["https://cats.example/a?b=1", None, None]),
        ("/{{ year // (year - 2022) }}", ["/-2021", None, "/2023"]),
    ],
)
def test_a_row_has_an_address_made_of_its_columns(conn, url, expected):
    assert urls(posts(conn, url)) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("javascript:{{ id }}", "http:// or /; found 'javascript:"),
        ("//evil.example/{{ id }}", "begins with https://"),
        ("notes/", "begins with https://"),
        ("/{{ colour }}", "No column 'colour' in the table 'posts'"),
        ("/{{ id", "The template cannot be read"),
    ],
)
def test_a_url_that_cannot_work_is_an_error_before_anything_is_embedded(
    conn, url, message
):
    with pytest.raises(EmbeddingsError, match=message):
        posts(conn, url)


def test_a_url_that_names_what_a_query_does_not_keep_is_an_error(conn):
    config = CollectionConfig(
        sql="select id, body, slug from posts", url="/{{ slug }}", columns=("body",)
    )
    with pytest.raises(EmbeddingsError, match="add it with --metadata slug"):
        source_from_config(conn, config)


def test_a_url_of_columns_without_a_source_asks_for_the_source(conn):
    config = CollectionConfig(url="/{{ slug }}")
    assert source_from_config(conn, config) is None


ADDRESS = "https://me.dev/{{ path }}"


@pytest.mark.parametrize(
    ("item_id", "expected"),
    [
        ("notes/a.md", "https://me.dev/notes/a"),
        ("b.rst", "https://me.dev/b"),
        ("scan.pdf", "https://me.dev/scan.pdf"),
        ("what? 50%.md", "https://me.dev/what%3F%2050%25"),
        ("größe.markdown", "https://me.dev/gr%C3%B6%C3%9Fe"),
        ("javascript:alert(1)", "https://me.dev/javascript%3Aalert%281%29"),
        ('"><script>', "https://me.dev/%22%3E%3Cscript%3E"),
        ("\ud800", None),
        ("a" * 3000, None),
    ],
)
def test_an_id_is_quoted_in_its_address(item_id, expected):
    assert link(Source(url=ADDRESS, id_prefix="x:"), f"x:{item_id}", {}) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("javascript:alert(1)", "data:text/html,x", " https://a.example", "//a"),
        *("https://", None, b"/x", [1], ""),
    ],
)
def test_only_addresses_of_sites_are_links(value):
    assert link(Source(url="{{ to }}"), "1", {"to": value}) is None


def test_an_address_in_metadata_is_taken_as_it_is():
    source = Source(url="{{ to }}")
    address = 'https://a.example/b?c=d&e=%20#f"<'
    expected = "https://a.example/b?c=d&e=%20#f%22%3C"
    assert link(source, "1", {"to": address}) == expected
    assert link(source, "1", {"to": "/2024/post"}) == "/2024/post"


@pytest.mark.parametrize(
    ("url", "template"),
    [
        ("https://me.dev", "https://me.dev/{{ path }}"),
        ("https://me.dev/", "https://me.dev/{{ path }}"),
        ("https://me.dev/?page=", "https://me.dev/?page={{ path }}"),
        ("/{{ id }}", "/{{ id }}"),
    ],
)
def test_a_url_without_braces_stands_before_the_path(url, template):
    assert link_template(url) == template


def test_another_url_embeds_nothing_again_and_is_stored(conn):
    posts(conn, None)
    config = CollectionConfig(table="posts", columns=("body",), url="/{{ slug }}")
    model = StandIn()
    report = ingest(conn, "posts", source_from_config(conn, config), model)
    assert (report.new, report.changed, report.unchanged) == (0, 0, 3)
    assert model.embedded == []
    found = collection(conn, "posts")
    assert urls(found) == ["/on%20cats", "/d%C3%B6gs/a", None]
    stored = found.source.to_json()
    assert source_from_json(stored) == found.source
    assert "url" not in json.loads(posts(conn, None).source.to_json())


def test_rows_that_were_deleted_have_no_address_and_changed_ones_the_present_one(conn):
    found = posts(conn, "/{{ slug }}")
    conn.execute("delete from posts where id = 1")
    conn.execute("update posts set slug = 'hounds', body = 'other' where id = 2")
    assert urls(found) == [None, "/hounds", None]


def test_files_and_their_chunks_lead_to_the_page_of_the_file(conn, tmp_path, model):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("cats", "dogs"):
        text = "\n\n".join(f"{name} paragraph {n} says this." for n in range(5))
        (folder / f"{name}.md").write_text(text)
    config = CollectionConfig(
        files=((str(folder), "**/*.md"),), url="https://me.dev/notes"
    )
    source = source_from_config(conn, config)
    chunked = Chunking("paragraphs", 12)
    source = type(source)(**{**vars(source), "chunking": chunked})
    ingest(conn, "notes", source, model)
    notes = collection(conn, "notes")
    assert notes.has_chunks
    (found,) = similar_items(notes, "cats.md")
    assert (found.document_id, found.url) == ("dogs.md", "https://me.dev/notes/dogs")


def test_related_documents_in_chunks_have_addresses_of_their_metadata(conn, model):
    conn.execute("update posts set body = body || char(10, 10) || body")
    config = CollectionConfig(
        sql="select id, body, year from posts",
        columns=("body",),
        metadata=("year",),
        url="/{{ year }}",
        chunk="paragraphs",
        chunk_size=5,
    )
    options = IngestOptions(similarities=SimilaritySettings(5))
    source = source_from_config(conn, config)
    ingest(conn, "posts", source, model, options=options)
    found = related_items(collection(conn, "posts"), "1")
    assert {match.id: match.url for match in found} == {"2": "/2022", "3": "/2023"}


def test_items_of_a_pipe_have_addresses_and_the_command_line_prints_them(tmp_path):
    def run(*arguments, **given):
        result = CliRunner().invoke(embeddings, [*map(str, arguments)], **given)
        assert result.exit_code == 0, result.output
        return result.stdout

    db = tmp_path / "rows.db"
    rows = json.dumps([{"id": 1, "text": "cats purr", "slug": "on-cats"}])
    columns = ["--column", "text", "--metadata", "slug", "--silent"]
    run("embed", db, "rows", "-", *columns, "--base-url", "/{{ slug }}", input=rows)
    found = run("search", db, "rows", "cats", "--format", "nl")
    assert json.loads(found)["url"] == "/on-cats"
    run("embed", db, "rows", "-", *columns, "--base-url", "https://a.b/", input=rows)
    found = run("search", db, "rows", "cats", "--format", "nl")
    assert json.loads(found)["url"] == "https://a.b/1"


def test_check_says_that_a_url_makes_no_address(conn, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("cats purr")
    for url, expected in (("/{{ sulg }}", 1), ("/{{ path }}", 0)):
        config = CollectionConfig(files=((str(folder), "*.md"),), url=url)
        ingest(conn, "notes", source_from_config(conn, config), StandIn())
        found = [each.problem for each in problems(conn)]
        assert found.count("a url that makes no address of an item") == expected


@pytest.mark.parametrize(
    "url",
    [
        "/{% for a in range(9) %}{{ a }}{% endfor %}",
        "/{{ 'a' * 10 ** 10 }}",
        "/{{ 'a'|center(10 ** 10) }}",
        "/{{ '%10000000000d' % 1 }}",
        "/{{ range(99999)|list }}",
        "/{{ id" + "|replace('', 'a')" * 60 + " }}",
        "/{{ id.join(id) }}",
        "/{{ " + "(" * 490 + "id" + ")" * 490 + " }}",
    ],
)
def test_a_database_cannot_bring_a_template_that_takes_long(url):
    """The setting is refused, and a stored one makes no address."""
    assert link(Source(url=url), "1", {}) is None
    with pytest.raises(EmbeddingsError, match=r"Expected a url|No filter|recursion"):
        link_template(url)


def test_a_text_that_grows_makes_no_address():
    url = "/{{ id" + "|replace('a', 'aaaaaaaaaa')" * 20 + " }}"
    assert link(Source(url=url), "a", {}) is None
