from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources import files as files_module
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.from_config import source_from_config

CSV = "id,title,body\n1,Bread,Flour\n2,Bees,\n"
OBJECTS = [{"id": 1, "title": "Bread"}, {"id": 2, "title": "Bees"}]
LINES = "".join(f"{json.dumps(each)}\n" for each in OBJECTS)
GERMAN = (
    "Die Bäckerei öffnet früh: Für süße Brötchen müssen die Gäste über die Straße "
    "gehen, und wer zu spät kommt, hört schon von weitem, dass die schönsten Stücke "
    "längst verkauft sind. Außerdem gibt es Käse, Gemüse und Öl aus der Mühle."
)


def read(**config):
    """What a source without a database yields, and ids and contents of that."""
    conn = sqlite3.connect(":memory:")
    source = source_from_config(conn, CollectionConfig(**config))
    with reading.documents(conn, source) as found:
        documents = list(found)
    conn.close()
    return [
        (each.id, each.content) if isinstance(each, Document) else each
        for each in documents
    ]


@pytest.fixture
def rows(tmp_path):
    """Reads a file of some content, which is called *name*."""

    def rows_of(content, name="rows.csv", **config):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read(input=str(path), **config)

    return rows_of


@pytest.fixture
def folder(tmp_path):
    """A folder of notes; in it are a text, a page and two folders of more."""
    root = tmp_path / "notes"
    (root / "b" / "c").mkdir(parents=True)
    (root / "z.md").write_text("zebra")
    (root / "a.md").write_text("# Äpfel", encoding="utf-8")
    (root / "b" / "page.md").write_text("<p>One</p><p>Two &amp; three</p>")
    (root / "b" / "c" / "deep.md").write_text("deep")
    (root / "list.txt").write_text("no note")
    return root


def files(*folders, pattern="**/*.md", **config):
    return read(files=tuple((str(each), pattern) for each in folders), **config)


ROWS = [("1", "Bread"), ("2", "Bees")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "id,title\n1,Bread\n2,Bees\n"),
        ("ROWS.CSV", "id,title\r\n1,Bread\r\n\r\n2,Bees"),
        ("rows.tsv", "id\ttitle\n1\tBread\n2\tBees\n"),
        ("rows.tab", "id\ttitle\n1\tBread\n2\tBees\n"),
        ("rows.json", json.dumps(OBJECTS, indent=2)),
        ("rows.nl", LINES),
        ("rows.ndjson", LINES.replace("\n", "\r\n")),
        ("rows.jsonl", LINES.replace("\n", "\n\n")),
        ("csv", "id,title\n1,Bread\n2,Bees\n"),
        ("tsv", "id\ttitle\n1\tBread\n2\tBees\n"),
        ("json", f"\n {json.dumps(OBJECTS, indent=2)}"),
        ("nl", LINES),
    ],
    ids=lambda value: value if len(value) < 12 else "",
)
def test_the_format_is_told_by_the_suffix_else_by_the_beginning(rows, name, content):
    assert rows(content, name) == ROWS


@pytest.mark.parametrize(
    "content",
    ['{"id": 1, "a": "x"}', '{\n"id": 1,\n"a": "x"\n}\n', '{"id": 1, "a": "x"}\n'],
    ids=["one line", "several lines", "newline"],
)
@pytest.mark.parametrize("name", ["one.json", "one"])
def test_one_json_object_is_one_row(rows, name, content):
    assert rows(content, name) == [("1", "x")]


def test_a_long_first_line_is_newline_delimited_json(rows):
    long = "x" * 10_000
    content = f'{{"id": 1, "a": "{long}"}}\n{{"id": 2, "a": "y"}}\n'
    assert rows(content, "rows") == [("1", long), ("2", "y")]


def test_a_format_that_is_named_wins(rows):
    assert rows(LINES, "rows.csv", input_format="nl") == ROWS


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [("1", "Bread Flour"), ("2", "Bees ")]),
        ({"id": ("title",)}, [("Bread", "1 Flour"), ("Bees", "2 ")]),
        ({"columns": ("title",)}, [("1", "Bread"), ("2", "Bees")]),
        ({"id": ("title", "id")}, [("Bread,1", "Flour"), ("Bees,2", "")]),
        ({"prefix": "food/"}, [("food/1", "Bread Flour"), ("food/2", "Bees ")]),
        ({"template": "{{ title }}!"}, [("1", "Bread!"), ("2", "Bees!")]),
    ],
    ids=["first column", "id", "columns", "compound", "prefix", "template"],
)
def test_the_first_column_is_the_id_unless_another_is_named(rows, config, expected):
    assert rows(CSV, **config) == expected


def test_json_values_that_are_no_text_are_content_as_json_writes_them(rows):
    row = {"id": 7, "a": 1.5, "b": True, "c": None, "d": [1, "ü"], "e": {"f": None}}
    assert rows(json.dumps([row]), "rows.json") == [
        ("7", '1.5 true  [1, "ü"] {"f": null}')
    ]


def test_a_key_that_only_later_objects_have_is_content_of_those(rows):
    objects = [{"id": 1, "a": "x"}, {"b": "y", "id": 2}, {"a": "z", "id": 3}]
    expected = [("1", "x"), ("2", "y"), ("3", "z")]
    assert rows(json.dumps(objects), "rows.json") == expected


def test_an_object_without_keys_is_no_reason_to_lose_the_others(rows):
    content = '{}\n{"id": 1, "a": "x"}\n'
    assert rows(content, "rows.nl")[1:] == [("1", "x")]


@pytest.mark.parametrize(
    "config", [{}, {"columns": ("b",)}, {"template": "{{ b }}"}], ids=str
)
def test_a_key_that_the_first_object_lacks_may_be_content(rows, config):
    content = '{"id": 1}\n{"id": 2, "b": "y"}\n'
    assert rows(content, "rows.nl", **config) == [("1", ""), ("2", "y")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["rows.json", "rows.csv", "rows"])
def test_a_byte_order_mark_tells_the_encoding_and_is_no_text(rows, name, encoding):
    text = '[{"id": 1, "a": "é日"}]' if name == "rows.json" else "id,a\n1,é日\n"
    assert rows(text.encode(encoding), name) == [("1", "é日")]


def test_the_encodings_are_tried_in_order_after_utf_8(rows):
    content = "id,a\n1,Gänge\n".encode("latin-1")
    assert rows(content, encodings=("ascii", "latin-1")) == [("1", "Gänge")]
    assert rows("id,a\n1,Gänge\n", encodings=("latin-1",)) == [("1", "Gänge")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_another_encoding_has_to_be_named(rows, encoding):
    content = f'id,a\n1,"{GERMAN}"\n'.encode(encoding)
    with pytest.raises(SourceError, match=r"name it with --encoding|binary data"):
        rows(content)
    assert rows(content, encodings=(encoding,)) == [("1", GERMAN)]


@pytest.mark.parametrize(
    ("encodings", "message"),
    [
        (("latin-99",), "such as latin-1; found 'latin-99'"),
        (("ascii", "utf-32"), "UTF-8 or ascii or utf-32, found another encoding; name"),
        (("base64",), "such as latin-1; found 'base64'"),
        (("rot13",), "such as latin-1; found 'rot13'"),
    ],
    ids=["no encoding", "none fits", "bytes", "texts"],
)
def test_text_in_none_of_the_named_encodings_is_refused(rows, encodings, message):
    with pytest.raises(SourceError, match=message):
        rows("id,a\n1,Gänge".encode("latin-1"), encodings=encodings)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "id,a,b\n1,x\n2,x,y\n3,x,y,z\n",
            [
                Failure(
                    "row 1", "Expected 3 fields as in the first line, found 2 in line 2"
                ),
                ("2", "x y"),
                Failure(
                    "row 3", "Expected 3 fields as in the first line, found 4 in line 4"
                ),
            ],
        ),
        (
            'id,a\n1,x\n2,"y\n3,z\n',
            [
                ("1", "x"),
                Failure("row 2", "Line 4 cannot be read: unexpected end of data"),
            ],
        ),
        (
            'id,a\n1,"x"y\n2,"z,\nz"\n',
            [
                Failure("row 1", "Line 2 cannot be read: ',' expected after '\"'"),
                ("2", "z,\nz"),
            ],
        ),
        ("id,a\n,x\n", [("", "x")]),
        ("id,a\n", []),
    ],
    ids=["fields", "open quote", "text behind a quote", "empty id", "no rows"],
)
def test_a_bad_row_of_a_csv_file_is_a_failure_beside_the_others(
    rows, content, expected
):
    assert rows(content) == expected


@pytest.mark.parametrize("row", ["5", "null", '"text"', "[1]"])
@pytest.mark.parametrize("kind", ["json", "nl"])
def test_what_is_no_object_is_a_failure_beside_the_others(rows, kind, row):
    lines = ['{"id": 1, "a": "x"}', row, '{"id": 3, "a": "z"}']
    content = "\n".join(lines) if kind == "nl" else f"[{','.join(lines)}]"
    assert rows(content, f"rows.{kind}") == [
        ("1", "x"),
        Failure("row 2", f"Expected a JSON object, found {row}"),
        ("3", "z"),
    ]


def test_a_line_that_is_no_json_is_a_failure_beside_the_others(rows):
    content = 'oops\n{"id": 2, "a": "y"}\nnull and void\n{"id": 4, "a": "z"}'
    assert rows(content, "rows.nl") == [
        Failure("row 1", "Line 1 is no JSON: Expecting value"),
        ("2", "y"),
        Failure("row 3", "Line 3 is no JSON: Extra data"),
        ("4", "z"),
    ]


def test_a_row_without_an_id_is_a_failure(rows):
    content = '{"id": null, "a": "x"}\n{"a": "y"}\n{"id": 0, "a": "z"}'
    reason = "A row has NULL for its id; every row needs one"
    assert rows(content, "rows.nl") == [
        Failure("row 1", reason),
        Failure("row 2", reason),
        ("0", "z"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "names of the columns in the first line; it is empty"),
        ("rows", "", "names of the columns in the first line; it is empty"),
        ("rows.csv", '"id,a\n1,x\n', "The first line cannot be read"),
        ("rows.csv", "id\n1\n", "id and the content; found 1"),
        ("rows.csv", bytes(range(256)), "found binary data"),
        ("rows.json", "", "The JSON cannot be read"),
        ("rows.json", '[{"id": 1, "a": "x"}, {"id"', "The JSON cannot be read"),
        ("rows.json", "[" * 100_000, "The JSON cannot be read: maximum recursion"),
        ("rows.json", "5", "Expected a JSON list of objects, found 5"),
        ("rows.json", "[{}]", "Expected JSON objects with keys, found none"),
        ("rows.nl", "{}\noops", "Line 2 is no JSON: Expecting value"),
    ],
    ids=[
        *("empty CSV", "empty", "first line", "one column", "binary", "empty JSON"),
        *("truncated", "deep", "number", "empty object", "no object"),
    ],
)
def test_a_file_of_no_rows_is_refused_with_the_reason(rows, name, content, message):
    with pytest.raises(SourceError, match=message):
        rows(content, name)


@pytest.mark.parametrize(("name", "content"), [("rows.json", "[]"), ("rows.nl", "")])
def test_an_empty_list_has_no_rows(rows, name, content):
    assert rows(content, name) == []


def test_a_field_may_be_longer_than_csv_allows_by_itself(rows):
    assert rows(f"id,a\n1,{'x' * 200_000}\n") == [("1", "x" * 200_000)]


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file or dir"):
        read(input=str(tmp_path / "none.csv"))


@pytest.mark.parametrize("content", [CSV, CSV.encode("utf-16")], ids=["text", "utf-16"])
def test_the_standard_input_is_read_as_a_file(monkeypatch, content):
    buffer = io.BytesIO(content.encode() if isinstance(content, str) else content)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer))
    assert read(input="-") == [("1", "Bread Flour"), ("2", "Bees ")]


def test_a_pipe_is_embedded(articles_db, articles):
    command = [sys.executable, "-m", "datasette", "embeddings", "embed"]
    subprocess.run(
        [*command, str(articles_db), "piped", "-"],
        input=LINES.encode(),
        capture_output=True,
        check=True,
    )
    ids = articles.execute(
        """
        select embeddings.id, content
        from embeddings join collections on collections.id = collection_id
        where name = 'piped'
        order by 1
        """
    )
    assert ids.fetchall() == ROWS


def test_what_may_not_be_read_is_named(folder):
    # As another user, for root may read everything: hence a folder outside tmp_path
    script = (
        "import os, sys\n"
        "from tests.test_files import SourceError, files, read\n"
        "if os.geteuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "try: read(input=sys.argv[1] + '/z.md')\n"
        "except SourceError as problem: print(str(problem).partition('notes')[2])\n"
        "print(files(sys.argv[1]))\n"
    )
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        root = shutil.copytree(folder, Path(parent) / "notes")
        (root / "z.md").chmod(0)
        (root / "b").chmod(0)
        result = subprocess.run(
            [sys.executable, "-c", script, str(root)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        (root / "b").chmod(0o755)
    expected = [
        Failure("b/", "The folder cannot be read: Permission denied", is_item=False),
        ("a.md", "# Äpfel"),
        Failure("z.md", "The file cannot be read: Permission denied"),
    ]
    assert result.stdout.splitlines() == [
        "/z.md cannot be read: Permission denied",
        str(expected),
    ], result.stderr


def test_the_id_of_a_file_is_its_path_within_the_folder_and_files_are_in_order(folder):
    page = "<p>One</p><p>Two &amp; three</p>"
    assert files(folder) == [
        ("a.md", "# Äpfel"),
        ("b/c/deep.md", "deep"),
        ("b/page.md", page),
        ("z.md", "zebra"),
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.md", ["a.md", "z.md"]),
        ("*", ["a.md", "list.txt", "z.md"]),
        ("b/*", ["b/page.md"]),
    ],
)
def test_a_glob_chooses_files_and_no_folders(folder, pattern, expected):
    assert [item_id for item_id, _ in files(folder, pattern=pattern)] == expected


@pytest.mark.parametrize("pattern", ["*.zip", "b", "**/*.MD5"])
def test_a_glob_that_matches_no_file_is_an_error(folder, pattern):
    with pytest.raises(SourceError, match=r"Expected files .*found none"):
        files(folder, pattern=pattern)
    with pytest.raises(SourceError, match="found none"):
        read(files=((str(folder), "*.md"), (str(folder), pattern)))


def test_several_folders_are_read_in_turn_with_the_prefix_in_front(folder):
    found = files(folder / "b" / "c", folder, pattern="*.md", prefix="p/")
    assert found == [("p/deep.md", "deep"), ("p/a.md", "# Äpfel"), ("p/z.md", "zebra")]


TEXT = "# Cats\n\nThey purr.\n"


@pytest.mark.parametrize(
    "block",
    [
        "---\ntitle: Cats\n---\n",
        "---\r\ntitle: Cats\r\ntags:\r\n- a\r\n---\r\n",
        "--- \ntitle: 'Cats: two'\n\n# of two\nog:image: x\nlong: >\n  a\n\n  b\n...\n",
        '---\ntitle: Cats: not quite YAML\n"quoted": yes\nlist: [\n  a,\n]\n---\n',
        "---\n---\n",
        '+++\ntitle = \'Cats\'\n[params]\ntext = """\nAny line\n"""\n+++\n',
        "+++\n\n# A comment\n[params]\n+++\n",
    ],
    ids=["YAML", "CRLF", "dots", "not quite YAML", "empty", "TOML", "a TOML table"],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_front_matter_is_no_content_of_a_markdown_file(tmp_path, block, mark):
    (tmp_path / "a.md").write_bytes(mark + (block + TEXT).encode())
    assert files(tmp_path) == [("a.md", TEXT)]


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA break, and a text: this one.\n\n---\n\nAnother.\n",
        "---\nA text with a colon: it goes on\nin the next line.\n---\n",
        "---\n# Groceries\n- milk: two\n---\n",
        "---\ntitle: Cats\n\nThis is never closed.\n",
        "---\ntitle: Cats\nlist:\n- one\n",
        "----\ntitle: Cats\n----\n",
        "\n---\ntitle: Cats\n---\n",
        "+++\nNo TOML\n+++\n",
        "+++\ntitle = 1\n",
        "---",
        "+++",
        "--- a/file: x\n+++ b/file\n",
    ],
)
def test_a_document_that_only_begins_with_a_break_keeps_its_text(tmp_path, text):
    (tmp_path / "a.md").write_text(text)
    assert files(tmp_path) == [("a.md", text)]


@pytest.mark.parametrize(
    ("name", "is_left_out"),
    [
        *((f"a.{each}", True) for each in ("md", "MD", "markdown", "mdx", "Rmd")),
        *((f"a.{each}", True) for each in ("html", "htm", "adoc")),
        *((f"a.{each}", False) for each in ("txt", "rst", "yml", "yaml", "py")),
        ("a", False),
    ],
)
def test_the_name_tells_whether_a_file_has_front_matter(tmp_path, name, is_left_out):
    text = f"---\ntitle: Cats\n---\n{TEXT}"
    (tmp_path / name).write_text(text)
    assert files(tmp_path, pattern="*") == [(name, TEXT if is_left_out else text)]


def test_front_matter_goes_before_html_is_stripped(tmp_path):
    (tmp_path / "a.html").write_text("---\ntitle: <b>Cats</b>\n---\n<p>They purr.</p>")
    assert files(tmp_path, pattern="*", strip_html=True) == [("a.html", "They purr.")]


def test_a_row_keeps_what_looks_like_front_matter(rows):
    text = f"---\ntitle: Cats\n---\n{TEXT}"
    assert rows(json.dumps([{"id": 1, "a": text}]), "rows.json") == [("1", text)]


def test_html_is_stripped_from_files_as_asked(folder):
    found = files(folder, pattern="*/*.md", strip_html=True)
    assert found == [("b/page.md", "One\n\nTwo & three")]


def test_images_are_bytes(folder):
    (folder / "b.png").write_bytes(b"\x89PNG\xff")
    found = files(folder, pattern="*.png", images=True)
    assert found == [("b.png", b"\x89PNG\xff")]


def test_links_that_lead_round_or_nowhere_end_nothing(folder):
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "b" / "self.md").symlink_to("self.md")
    (folder / "b" / "gone.md").symlink_to("nowhere.md")
    (folder / "b" / "to_z.md").symlink_to("../z.md")
    (folder / "b" / "page.md").unlink()
    assert files(folder) == [
        ("a.md", "# Äpfel"),
        ("b/c/deep.md", "deep"),
        Failure("b/gone.md", "The file cannot be read: No such file or directory"),
        Failure(
            "b/self.md", "The file cannot be read: Too many levels of symbolic links"
        ),
        ("b/to_z.md", "zebra"),
        ("z.md", "zebra"),
    ]


OUTSIDE = "The link leads out of the folder; to embed the file, name the folder that "


def test_a_link_that_leads_out_of_the_folder_is_refused(folder, tmp_path):
    secrets = tmp_path / "notes secret"
    secrets.mkdir()
    (secrets / "key.md").write_text("the secret")
    (folder / "b" / "absolute.md").symlink_to(secrets / "key.md")
    (folder / "b" / "relative.md").symlink_to("../../notes secret/key.md")
    (folder / "b" / "twice.md").symlink_to("relative.md")
    (folder / "b" / "behind").symlink_to(secrets)
    found = files(folder, pattern="b/**/*.md")
    refused = [each for each in found if isinstance(each, Failure)]
    assert [each.id for each in refused] == [
        *("b/absolute.md", "b/relative.md", "b/twice.md")
    ]
    assert all(each.error.startswith(OUTSIDE) for each in refused)
    assert "secret" not in str(found)
    # A folder that is a link itself was named by the user
    (tmp_path / "linked").symlink_to(folder)
    assert files(tmp_path / "linked", pattern="a.md") == [("a.md", "# Äpfel")]


@pytest.mark.parametrize("images", [False, True], ids=["text", "image"])
def test_a_file_of_ten_gigabytes_fails_alone_and_is_not_read(folder, images):
    name = "huge.png" if images else "huge.md"
    with (folder / name).open("wb") as file:
        file.truncate(10 * 2**30)
    if images:
        (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    # In a process that has not the memory to read it
    script = (
        "import resource, sys\n"
        "from tests.test_files import files\n"
        "from datasette_embeddings.documents import Failure\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
        f"found = files(sys.argv[1], pattern='*.*', images={images})\n"
        "failures = [each for each in found if isinstance(each, Failure)]\n"
        "documents = [each for each in found if isinstance(each, tuple)]\n"
        "print(failures, len(documents))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    most = "50,000,000" if images else "100,000,000"
    reason = f"Expected a file of at most {most} bytes, found 10,737,418,240"
    expected = [Failure(name, reason)]
    assert result.stdout == f"{expected} {1 if images else 3}\n", result.stderr


def test_no_more_of_a_file_is_read_than_it_may_have(folder, monkeypatch):
    # As of one that grows after its size was looked at
    monkeypatch.setattr(files_module, "_check_status", lambda _status, _largest: None)
    monkeypatch.setattr(files_module, "MAX_TEXT_BYTES", 4)
    reason = "Expected a file of at most 4 bytes, found more"
    assert files(folder, pattern="?.md") == [
        Failure("a.md", reason),
        Failure("z.md", reason),
    ]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(folder, monkeypatch):
    check = files_module._check_status

    def checked_and_replaced(status, largest):
        check(status, largest)
        os.remove(folder / "a.md")
        os.mkfifo(folder / "a.md")

    monkeypatch.setattr(files_module, "_check_status", checked_and_replaced)
    assert files(folder, pattern="a.md") == [
        Failure("a.md", "Expected a file; it is a pipe, socket or device")
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_not_utf_8_fails_alone(folder):
    with open(os.path.join(os.fsencode(folder), b"m\xff.md"), "wb") as file:
        file.write(b"text")
    a, bad, z = files(folder, pattern="*.md")
    assert (a[0], z[0]) == ("a.md", "z.md")
    assert bad.error == "The name of the file is not in UTF-8; rename it"


def test_each_file_has_its_own_encoding_and_a_binary_one_is_left_out(folder):
    (folder / "b.md").write_bytes(GERMAN.encode("cp1252"))
    (folder / "c.md").write_bytes(GERMAN.encode("utf-16"))
    (folder / "d.md").write_bytes(bytes(range(256)))
    assert files(folder, pattern="*.md", encodings=("cp1252",)) == [
        ("a.md", "# Äpfel"),
        ("b.md", GERMAN),
        ("c.md", GERMAN),
        LeftOut("binary"),
        ("z.md", "zebra"),
    ]


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def a_database():
    with tempfile.NamedTemporaryFile() as file:
        conn = sqlite3.connect(file.name)
        conn.execute("create table a (b)")
        conn.close()
        return file.read()


BINARY_FILES = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "pdf": b"%PDF-1.4\n1 0 obj\n<< >>\nendobj",
    "zip": zipped(),
    "office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
    "gzip": gzip.compress(b"text"),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0",
    "xz": lzma.compress(b"text"),
    "woff2": b"wOF2\0\1\0\0\0\0",
    "sqlite": a_database(),
}


# By their bytes, because the name says something else
LEFT_OUT_AS = {"png": "picture", "jpeg": "picture"}


@pytest.mark.parametrize("content", BINARY_FILES.values(), ids=BINARY_FILES)
@pytest.mark.parametrize("encodings", [(), ("latin-1",)], ids=["", "latin-1"])
def test_a_file_that_is_no_text_is_left_out(request, folder, rows, content, encodings):
    (folder / "z.md").write_bytes(content)
    *_, left_out = files(folder, pattern="*.md", encodings=encodings)
    kind = request.node.callspec.id.rpartition("-")[2]
    expected = LeftOut(LEFT_OUT_AS.get(kind, "binary"))
    assert left_out == (LeftOut("pdf", "z.md") if kind == "pdf" else expected)
    with pytest.raises(SourceError, match="found binary data"):
        rows(content, encodings=encodings)


@pytest.mark.parametrize(
    "text",
    [
        *("BMW builds cars.", "II* is a mark", "GIF89a is a format", "PK and more"),
        *("BZh is a start", "Rar! cried the bear", "wOF2 is a font", "OTTO baut Möbel"),
        *("SQLite format 3 is old", "7z", "%PDF is a mark", "ID3 tags", "8BPS", "fLaC"),
        *('<svg xmlns="http://www.w3.org/2000/svg"></svg>', "RIFF of the WEBP", "II"),
    ],
)
@pytest.mark.parametrize(
    "end", ["", "\r\n\x1a", "\x1a" * 100], ids=["", "ended by DOS", "filled by DOS"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_a_text_may_begin_as_a_binary_file_does(tmp_path, text, end, encoding):
    text += end
    (tmp_path / "a").write_bytes(text.encode(encoding))
    assert files(tmp_path, pattern="*", encodings=("latin-1",)) == [("a", text)]


@pytest.mark.parametrize(
    ("path", "pattern", "message"),
    [
        ("none", "*", "Expected a folder at .*none, found nothing"),
        ("z.md", "*", "Expected a folder at .*z.md, found a file"),
        ("", "/etc/*", r"a glob within the folder, .*; found '/etc/\*'"),
        ("", "", "a glob within the folder, .*; found ''"),
        ("b", "../*.md", r"a glob within the folder, .*; found '\.\./\*\.md'"),
    ],
    ids=["missing", "file", "absolute", "empty", "upwards"],
)
def test_a_folder_or_glob_that_cannot_be_is_refused(folder, path, pattern, message):
    with pytest.raises(SourceError, match=message):
        files(folder / path, pattern=pattern)


def test_a_byte_in_another_encoding_is_found_anywhere_in_a_file(rows):
    lines = [f"{number},plain text" for number in range(30_000)]
    content = "\n".join(["id,text", *lines, "x,Müller"]).encode("cp1252")
    with pytest.raises(SourceError, match="Expected text in UTF-8, found another"):
        rows(content)
    assert rows(content, encodings=("cp1252",))[-1] == ("x", "Müller")


def test_a_pipe_in_a_folder_is_a_failure_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.md")
    assert read(files=((str(tmp_path), "*"),)) == [
        Failure("a.md", "Expected a file; it is a pipe, socket or device")
    ]


@pytest.mark.parametrize("value", ["[1]", '{"a": 1}'])
def test_a_list_or_object_is_no_id(rows, value):
    [failure] = rows(f'{{"id": {value}, "text": "x"}}', "rows.nl")
    assert "for its id; expected a text or number" in failure.error


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_file_may_have_another_mark_than_a_comma(rows, mark):
    content = f'id{mark}text\n1{mark}"one, two"\n2{mark}three\n'
    assert rows(content) == [("1", "one, two"), ("2", "three")]
