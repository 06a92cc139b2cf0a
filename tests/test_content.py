from __future__ import annotations

import json
import sqlite3

import pytest

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.databases import open_database
from datasette_embeddings.documents import Chunking, Document, Failure
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.sources.content import stripped
from datasette_embeddings.sources.definitions import source_from_json
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sources.reading import documents
from datasette_embeddings.sources.table_rows import SourceRow, source_rows


@pytest.fixture
def conn():
    connection = sqlite3.connect(":memory:")
    connection.execute(
        """
        create table foods (
            id integer primary key, name text, "odd name" text, price real, photo blob
        )
        """
    )
    connection.executemany(
        "insert into foods values (?, ?, ?, ?, ?)",
        [
            (1, "Bread", "<b>Flour</b> &amp; water", 2.5, b"\xff"),
            (2, None, "Honey", 0, None),
            (3, "Tea", None, None, "no photo"),
        ],
    )
    yield connection
    connection.close()


def chosen(conn, **config):
    return source_from_config(conn, CollectionConfig(**config))


def read(conn, **config):
    with documents(conn, chosen(conn, **config)) as found:
        return list(found)


def contents(conn, template, **config):
    """The content of each of the foods, or the reason why it has none."""
    return [
        each.content if isinstance(each, Document) else each.error
        for each in read(conn, table="foods", template=template, **config)
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ name }}: {{ price }}", ["Bread: 2.5", ": 0.0", "Tea: "]),
        ('{{ row["odd name"] }}', ["<b>Flour</b> &amp; water", "Honey", ""]),
        ("{% if name %}{{ name|upper }}{% endif %}", ["BREAD", "", "TEA"]),
        ("{% for n in range(2) %}{{ id }}{% endfor %}", ["11", "22", "33"]),
        ("a food", ["a food"] * 3),
        ("", [""] * 3),
    ],
    ids=["columns", "row", "condition", "loop", "no column", "empty"],
)
def test_a_template_makes_the_content_and_null_is_nothing(conn, template, expected):
    assert contents(conn, template) == expected


def test_a_template_reads_the_columns_that_it_names(conn):
    source = chosen(conn, table="foods", template="{{ price }} {{ name }}")
    assert source.content_columns == ("name", "price")
    source = chosen(conn, table="foods", template="{{ row.name }}")
    assert source.content_columns == ("id", "name", "odd name", "price", "photo")


def test_a_row_shows_what_its_template_made_of_it(conn):
    source = chosen(conn, table="foods", template="{{ name }}!", prefix="f/")
    content_hash = Document("", "Bread!").content_hash
    assert source_rows(conn, source, ["f/1", "1", "f/9"]) == {
        "f/1": SourceRow(title="Bread", content="Bread!", content_hash=content_hash)
    }


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ size }}",
            "No column 'size' in the table 'foods': it has 'id', 'name', 'odd name'",
        ),
        ("{{ name", "The template cannot be read: unexpected end of template"),
        ("{% for %}", "The template cannot be read: Expected an expression"),
    ],
    ids=["unknown column", "open braces", "tag"],
)
def test_a_template_that_cannot_be_is_refused(conn, template, message):
    with pytest.raises(SourceError, match=message):
        chosen(conn, table="foods", template=template)


def test_a_template_that_fails_on_a_row_is_a_failure_beside_the_others(conn):
    assert read(conn, table="foods", template="{{ 10 / price }}") == [
        Document("1", "4.0"),
        Failure("2", "The template fails on the row: float division by zero"),
        Failure(
            "3",
            "The template fails on the row: "
            "unsupported operand type(s) for /: 'int' and 'str'",
        ),
    ]


@pytest.mark.parametrize(
    "template",
    [
        "{{ photo }}",
        "{{ photo|length }}",
        "{% if photo %}{% endif %}",
        "{{ row.photo }}",
    ],
)
def test_a_blob_that_a_template_uses_is_a_failure(conn, template):
    assert contents(conn, template)[0] == (
        "The template fails on the row: the column 'photo' holds a BLOB"
    )


def test_a_blob_that_a_template_leaves_alone_does_no_harm(conn):
    assert contents(conn, "{{ row.name }}") == ["Bread", "", "Tea"]


def test_a_template_reaches_a_column_called_row():
    conn = sqlite3.connect(":memory:")
    conn.execute('create table seats (id integer primary key, "row" text)')
    conn.execute("insert into seats values (1, 'seven')")
    assert read(conn, table="seats", template="{{ row }}") == [Document("1", "seven")]


@pytest.mark.parametrize(
    "template",
    [
        "{{ name.__class__.__mro__ }}",
        "{{ name|attr('__class__') }}",
        "{{ '{0.__class__}'.format(name) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ row.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ row.update(name='x') }}",
        "{{ row.clear() }}",
        "{{ row.pop('name') }}",
    ],
)
def test_a_template_meets_nothing_but_its_row_and_changes_nothing(conn, template):
    sql = "select id, name from foods where id = 1"
    [failure] = read(conn, sql=sql, template=template)
    assert failure.id == "1"
    assert "is unsafe" in failure.error


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% include '/etc/passwd' %}", "no loader for this environment specified"),
        ("{{ range(10 ** 9)|list }}", "Range too big"),
        ("{% set _ = name.extend([1]) %}", "'extend' of 'list' object is unsafe"),
    ],
    ids=["files", "memory", "lists"],
)
def test_a_template_has_no_way_out_of_the_sandbox(tmp_path, conn, template, reason):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"id": 1, "name": ["Bread"]}]))
    [failure] = read(conn, input=str(path), template=template)
    assert reason in failure.error


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("  no tags,\n as it was ", "  no tags,\n as it was "),
        ("a <b>bold</b> <a href='x'>link</a>", "a bold link"),
        ("&eacute;t&eacute; &amp; &#8364;&nbsp;5", "été & €\u00a05"),
        ("<script>var x = '<p>';</script>a<style>p { }</style>b", "ab"),
        ("<!-- hidden -->shown", "shown"),
        ("<p>One</p><p>Two <i>and</i></p>three", "One\n\nTwo and\n\nthree"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<tr><td>a</td><td>b</td></tr>", "a\nb"),
        ("<p>never <b>closed", "never closed"),
        ("a < b and c > d", "a < b and c > d"),
        ("x <3 you & me, AT&T", "x <3 you & me, AT&T"),
        ("https://example.com/?a=1&b=2", "https://example.com/?a=1&b=2"),
        (7, 7),
        (None, None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_stripped_html_is_the_text_that_a_reader_sees(html, text):
    assert stripped(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Bread<p>Flour</p>", "Bread\n\nFlour"),
        ("Bread<ul><li>Flour</li></ul>", "Bread\n\nFlour"),
    ],
    ids=["paragraph", "list"],
)
def test_text_before_a_block_is_a_paragraph_of_its_own(html, text):
    assert stripped(html) == text


@pytest.mark.parametrize("html", ["<p>a</p>", "<div>a", "<li>", "a<br>"])
def test_html_of_very_many_elements_is_read(html):
    assert len(str(stripped(html * 100_000))) <= 300_000


def test_html_is_stripped_from_columns_and_from_what_a_template_gets(conn):
    [bread, *_] = read(conn, table="foods", columns=("odd name",), strip_html=True)
    assert bread == Document("1", "Flour & water")
    [bread, *_] = contents(conn, "<i>{{ row['odd name'] }}</i>", strip_html=True)
    assert bread == "<i>Flour & water</i>"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"metadata": ("odd name", "price")},
            Document("2", "", {"odd name": "Honey", "price": 0.0}),
        ),
        (
            {"metadata": ("price",), "columns": ("odd name", "price")},
            Document("2", "Honey 0.0", {"price": 0.0}),
        ),
        ({"metadata": ("name",)}, Document("2", "Honey", {"name": None})),
        ({"prefix": "food:"}, Document("food:2", " Honey")),
        ({"id": ("odd name",)}, Document("Honey", "")),
        ({"id": ("odd name", "id")}, Document("Honey,2", "")),
    ],
    ids=["metadata", "content too", "null", "prefix", "id", "compound id"],
)
def test_a_row_is_a_document_of_id_content_and_metadata(conn, config, expected):
    assert read(conn, table="foods", **config)[1] == expected


def test_metadata_of_a_query_is_no_content(conn):
    sql = "select id, name, price, 'x' as note from foods where id = 1"
    assert read(conn, sql=sql, metadata=("price", "name")) == [
        Document("1", "x", {"price": 2.5, "name": "Bread"})
    ]


def test_a_blob_in_the_metadata_is_a_failure(conn):
    assert read(conn, table="foods", columns=("name",), metadata=("photo",)) == [
        Failure(
            "1",
            "The row has a BLOB in its metadata, column 'photo'; "
            "expected text or a number",
        ),
        Document("2", "", {"photo": None}),
        Document("3", "Tea", {"photo": "no photo"}),
    ]


@pytest.mark.parametrize("setting", ["id", "columns", "metadata"])
def test_a_column_that_a_query_lacks_is_refused_with_what_there_is(conn, setting):
    config = {"sql": "select id, name from foods", setting: ("size",)}
    message = "No column 'size' in the rows: they have 'id', 'name'"
    with pytest.raises(SourceError, match=message):
        read(conn, **config)


TABLE = {"table": "foods"}
QUERY = {"sql": "select id, name from foods"}
FILES = {"files": (("notes", "*.md"),)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            TABLE | QUERY,
            "Expected one of table, sql, input, files; found table and sql",
        ),
        (QUERY | {"title": "name"}, "'title' goes with table, not with sql"),
        (
            TABLE | {"attach": (("o", "o.db"),)},
            "'attach' goes with sql, not with table",
        ),
        (
            {"input": "x.csv", "images": True},
            "'images' goes with table or sql or files, not with input",
        ),
        (
            TABLE | {"images": True, "columns": ("a", "b")},
            "Expected one column of images, found a, b",
        ),
        (TABLE | {"input_format": "csv"}, "'input_format' goes with input, not with"),
        (TABLE | {"encodings": ("x",)}, "'encodings' goes with input or files, not"),
        (FILES | {"id": ("id",)}, "'id' goes with table or sql or input, not with fi"),
        (FILES | {"template": "x"}, "'template' goes with table or sql or input, not"),
        (FILES | {"metadata": ("x",)}, "'metadata' goes with table or sql or input"),
        (
            {"input": "-", "input_format": "xml"},
            "Expected an input format, one of csv, tsv, json, nl; found 'xml'",
        ),
        (
            TABLE | {"columns": ("name",), "template": "x"},
            "Expected either columns or a template, which names its own columns",
        ),
        (
            TABLE | {"chunk_size": 9},
            "A chunk size or overlap goes with a way to chunk, such as paragraphs",
        ),
        (
            {"input": "x.csv", "images": True, "chunk_overlap": 1},
            "'images' goes with .*, not with input; A chunk size or overlap goes",
        ),
        (
            FILES | {"images": True, "chunk": "fixed"},
            "Images have no text to split, to strip of HTML or to put in a template",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_go_together_are_refused(conn, config, message):
    with pytest.raises(InvalidInputError, match=message):
        chosen(conn, **config)


def test_without_a_way_to_rows_there_is_no_source(conn):
    assert chosen(conn, chunk="fixed", prefix="x") is None


@pytest.mark.parametrize(
    "config",
    [
        TABLE | {"columns": ("name",), "title": "odd name", "metadata": ("price",)},
        TABLE | {"template": "{{ name }}", "prefix": "p/", "store": True},
        QUERY | {"id": ("name",), "metadata": ("id",), "strip_html": True},
        {"input": "x.csv", "input_format": "nl", "encodings": ("a", "b"), "id": ("x",)},
        {"input": "-", "chunk": "markdown", "chunk_size": 9, "chunk_overlap": 2},
        FILES | {"images": True},
        {"files": (("a", "*"), ("b", "**/*.md")), "encodings": ("latin-1",)},
    ],
    ids=["table", "template", "sql", "input", "stdin", "images", "files"],
)
def test_what_is_noted_of_a_source_is_that_source_again(conn, config):
    source = chosen(conn, **config)
    assert source_from_json(source.to_json()) == source


def test_chunking_is_part_of_the_source(conn):
    source = chosen(conn, **TABLE, chunk="fixed", chunk_size=9, chunk_overlap=2)
    assert source.chunking == Chunking("fixed", size=9, overlap=2)


@pytest.fixture
def shelves(tmp_path):
    """A connection to the file main.db, beside which is another with a space."""
    for name in ("main", "other shelf"):
        connection = sqlite3.connect(tmp_path / f"{name}.db")
        connection.execute("create table books (id integer primary key, title text)")
        connection.execute("insert into books values (1, ?)", [f"of {name}"])
        connection.commit()
        connection.close()
    (tmp_path / "text.db").write_text(
        "This is no database, though it may be read. " * 20
    )
    with open_database(tmp_path / "main.db") as connection:
        yield connection


def attached(tmp_path, name, sql, alias="other"):
    return {"sql": sql, "attach": ((alias, str(tmp_path / name)),)}


@pytest.mark.parametrize(
    ("sql", "tables", "expected"),
    [
        ("select id, title from other.books", (), ["of other shelf"]),
        ("select id, title from books", ("books",), ["of main"]),
        (
            """
            select 'a' || id, title from books
            union all
            select 'b' || id, title from other.books
            """,
            ("books",),
            ["of main", "of other shelf"],
        ),
        ("select 1, count(*) from other.books", (), ["1"]),
    ],
    ids=["other", "main", "both", "count"],
)
def test_a_query_with_an_attached_database_needs_embeddings_too(
    tmp_path, shelves, sql, tables, expected
):
    source = chosen(shelves, **attached(tmp_path, "other shelf.db", sql))
    assert source.tables == tables
    assert source.permission_tables == (*tables, "embeddings")
    assert source_from_json(source.to_json()) == source
    with documents(shelves, source) as found:
        assert [each.content for each in found] == expected
    databases = shelves.execute("pragma database_list").fetchall()
    assert {name for _number, name, _path in databases} <= {"main", "temp"}


@pytest.mark.parametrize(
    ("name", "alias", "reason"),
    [
        ("none.db", "other", "unable to open database"),
        ("text.db", "other", "file is not a database"),
        ("other shelf.db", "main", "main is already in use"),
    ],
    ids=["missing", "no database", "alias"],
)
def test_a_database_that_cannot_be_attached_is_refused_and_not_made(
    tmp_path, shelves, name, alias, reason
):
    before = sorted(tmp_path.iterdir())
    config = attached(tmp_path, name, "select id, title from books", alias)
    message = f"The database .*{name} cannot be attached as '{alias}': .*{reason}"
    with pytest.raises(SourceError, match=message):
        chosen(shelves, **config)
    assert sorted(tmp_path.iterdir()) == before


def test_a_note_of_a_database_that_is_gone_meanwhile_is_refused(tmp_path, shelves):
    sql = "select id, title from other.books"
    source = chosen(shelves, **attached(tmp_path, "other shelf.db", sql))
    (tmp_path / "other shelf.db").unlink()
    with (
        pytest.raises(SourceError, match="cannot be attached as 'other'"),
        documents(shelves, source),
    ):
        pass
