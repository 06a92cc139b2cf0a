"""Folders: which files are read, what each becomes, and what is said of the others."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources import file_kinds, reading
from datasette_embeddings.sources.definitions import FolderSource, source_from_json
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.collections import collection
from tests.models import Eyes, StandIn

PNG = b"\x89PNG\r\n\x1a\n image"
MODIFIED = "2024-05-06T07:08:09Z"
SECONDS = 1_714_979_289


@pytest.fixture
def folder(tmp_path):
    """A folder of a project: notes and pictures, and what tools have put there."""
    root = tmp_path / "project"
    files = {
        "readme.md": "# About cats\n\nThey purr.\n",
        "notes/list.txt": "Milk and bread",
        "notes/page.html": "<title>A page</title><p>Of <b>text</b></p>",
        "notes/guide.rst": "=====\nGuide\n=====\n\nRead it.\n",
        "code/main.py": "print('hello')\n",
        "drafts/idea.md": "An idea",
        "photos/IMG.JPG": "\xff\xd8\xff\xe0",
        "photos/b.png": PNG.decode("latin-1"),
        ".hidden.md": "hidden",
        ".git/config": "hidden too",
        "node_modules/a/readme.md": "vendored",
        "build.zip": "PK\x03\x04\0",
        "data.bin": "\0",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))
    return root


@pytest.fixture
def run():
    return lambda *arguments, **options: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments], **options
    )


@pytest.fixture
def conn():
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def found(path, **config):
    """What a run would read of the folder at *path*, by id, and what it leaves out."""
    with closing(sqlite3.connect(":memory:")) as conn:
        source = source_from_config(conn, CollectionConfig(input=str(path), **config))
        with reading.documents(conn, source) as rows:
            rows = list(rows)
    left_out = [each.kind for each in rows if isinstance(each, LeftOut)]
    return {e.id: e for e in rows if not isinstance(e, LeftOut)}, sorted(left_out)


def names(path, **config):
    return sorted(found(path, **config)[0])


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (SECONDS, SECONDS))


def document(tmp_path, name, text, **config):
    write(tmp_path / name, text)
    [only] = found(tmp_path, **config)[0].values()
    return only


TEXTS = ["code/main.py", "drafts/idea.md", "notes/guide.rst", "notes/list.txt"]
TEXTS += ["notes/page.html", "readme.md"]


def test_a_folder_is_embedded_by_its_name_alone(run, folder, tmp_path):
    db = tmp_path / "notes.db"
    result = run("embed", db, "notes", folder, "--silent")
    assert (result.exit_code, result.stderr) == (
        0,
        "notes: 6 new, 0 changed, 0 unchanged\n"
        "  left out: 2 hidden, 2 pictures (choose a model that takes images, such as "
        "--model clip), 1 archive, 1 file of another kind, 1 node_modules\n",
    )
    again = run("sync", db, "--silent", "--format", "json")
    report = json.loads(again.stdout)
    assert (report["unchanged"], report["gone"]) == (6, 0)
    assert report["left_out"] == {
        "archive": 1,
        "binary": 1,
        "hidden": 2,
        "node_modules": 1,
        "picture": 2,
    }
    searched = run("search", db, "notes", "purring", "--format", "nl")
    first = json.loads(searched.stdout.splitlines()[0])
    assert (first["id"], first["metadata"]["kind"]) == ("readme.md", "markdown")
    similar = run("similar", db, "notes", "notes/list.txt").stdout
    # The path of each file, and its title where that is another
    named = {line[7:] for line in similar.splitlines() if line[0] != " "}
    assert {"readme.md  About cats", "code/main.py"} < named


def test_the_files_of_a_folder_are_read_by_their_kind(folder):
    documents, left_out = found(folder)
    kinds = {item_id: each.metadata["kind"] for item_id, each in documents.items()}
    assert kinds == {
        "code/main.py": "code",
        "drafts/idea.md": "markdown",
        "notes/guide.rst": "rst",
        "notes/list.txt": "text",
        "notes/page.html": "html",
        "readme.md": "markdown",
    }
    assert documents["notes/page.html"].content == "A page\n\nOf text"
    expected = ["archive", "binary", "hidden", "hidden", "node_modules", "picture"]
    assert left_out == [*expected, "picture"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"glob": ("**/*.md",)}, ["drafts/idea.md", "readme.md"]),
        ({"glob": ("**/*.md", "*.md")}, ["drafts/idea.md", "readme.md"]),
        ({"glob": ("notes/*.txt", "code/*")}, ["code/main.py", "notes/list.txt"]),
        ({"exclude": ("drafts/**", "notes")}, ["code/main.py", "readme.md"]),
        ({"exclude": ("*.*", "!*.md")}, ["drafts/idea.md", "readme.md"]),
        ({"exclude": ("/*.md",)}, [each for each in TEXTS if each != "readme.md"]),
        (
            {"ignore": False, "glob": ("**/*.md",)},
            [".hidden.md", "drafts/idea.md", "node_modules/a/readme.md", "readme.md"],
        ),
        (
            {"ignore": False, "exclude": ("node_modules", "?*/**")},
            [".hidden.md", "readme.md"],
        ),
    ],
    ids=str,
)
def test_globs_choose_files_and_patterns_leave_them_out(folder, config, expected):
    assert names(folder, **config) == expected


def test_gitignore_files_apply_below_their_folder_and_the_closest_wins(tmp_path):
    for name in ("a.log", "keep.log", "sub/a.log", "sub/b.log", "out/x.md", "sub/out"):
        write(tmp_path / name, "text")
    write(tmp_path / ".gitignore", "*.log\n# a comment\n\n!keep.log\n/out/\n!\n\\\n")
    write(tmp_path / "sub/.gitignore", "!b.log\n")
    documents, left_out = found(tmp_path)
    assert sorted(documents) == ["keep.log", "sub/b.log", "sub/out"]
    assert left_out == ["hidden", "hidden", "ignored", "ignored", "ignored"]


def test_a_gitignore_above_the_folder_does_not_count(tmp_path):
    write(tmp_path / ".gitignore", "*")
    write(tmp_path / "notes/a.md", "text")
    assert names(tmp_path / "notes") == ["a.md"]


@pytest.mark.parametrize("pattern", ["*a" * 20 + "b", "**/a/" * 20, "[z-a]"])
def test_patterns_that_would_not_end_or_are_invalid_count_for_nothing(
    tmp_path, pattern
):
    name = f"{'a/' * 50}{'a' * 200}.md"
    write(tmp_path / name, "text")
    write(tmp_path / "b.log", "text")
    write(tmp_path / ".gitignore", f"{pattern}\n*.log\n")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_gitignore_that_is_no_file_counts_for_nothing(tmp_path, kind):
    write(tmp_path / "a.md", "text")
    if kind == "pipe":
        os.mkfifo(tmp_path / ".gitignore")
    else:
        (tmp_path / ".gitignore").symlink_to("/dev/zero")
    assert names(tmp_path) == ["a.md"]


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_a_pattern_that_is_invalid_is_refused(folder, pattern):
    with pytest.raises(SourceError, match=r"as in a .gitignore.*; found '[!\[]"):
        found(folder, exclude=(pattern,))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"glob": ("*.zip",)}, "found none: left out 2 hidden, 1 archive"),
        ({"exclude": ("*",)}, r"found none \(left out: 10 excluded\)"),
        ({"glob": (".hidden.md",)}, r"match '.hidden.md' .* \(left out: 2 hidden, "),
    ],
    ids=["archive", "all excluded", "hidden"],
)
def test_a_folder_without_anything_to_read_is_an_error_that_says_what_is_there(
    folder, config, said
):
    with pytest.raises(SourceError, match=said):
        found(folder, **config)


@pytest.mark.parametrize(
    ("name", "text", "title"),
    [
        ("a.md", "Text\n\n## The *first* `heading`\n\n# Other", "The first heading"),
        ("a.md", "```\n# no heading\n```\n\nSetext\n======\n", "Setext"),
        ("a.md", "---\ntitle: ' In  front '\n---\n# Heading\n", "In front"),
        ("a.md", "---\ntitle: 2024\n---\n# Heading\n", "2024"),
        ("a.md", "---\ntitle:\n---\n# Heading\n", "Heading"),
        ("a.md", "+++\ntitle = 'TOML'\n+++\n# Heading\n", "TOML"),
        ("a.md", "# [A link](https://example.com)\n", "A link"),
        ("my-note.md", "No heading.\n", "my-note"),
        ("sub/b.txt", "# no Markdown\n", "b"),
        ("a.html", "<html><title>\n One &amp;\n two</title><h1>H</h1>", "One & two"),
        ("a.htm", "<h1>A <b>heading</b></h1><p>text", "A heading"),
        ("a.html", "<p>nothing", "a"),
        ("a.rst", ".. comment\n\nTitle\n-----\n\ntext", "Title"),
        ("a.rst", "=======\n Title\n=======\n\ntext", "Title"),
        ("a.rst", "Text.\n\n----\n\nMore.\n", "a"),
        ("a.py", "# a comment\n", "a"),
        ("archive.tar.md", "text", "archive.tar"),
    ],
)  # fmt: skip
def test_the_title_of_a_file_is_what_it_calls_itself_else_its_name(
    tmp_path, name, text, title
):
    read = document(tmp_path, name, text)
    assert (read.title, read.metadata["title"]) == (title, title)


def test_the_metadata_of_a_file_are_its_front_matter_and_what_it_is(tmp_path):
    text = (
        "---\ntitle: Cats\ntags: [pets, 'cats']\ndate: 2024-01-02\n"
        "at: 2024-01-02 03:04:05\nyear: 2024\nrate: 4.5\ndraft: false\nnone:\n"
        "author:\n  name: Ann\n1: one\nkind: essay\nfolder: x\nodd: .nan\n---\nText"
    )
    read = document(tmp_path, "a/b/cats.md", text)
    assert read == Document(
        "a/b/cats.md",
        "Text",
        {
            "title": "Cats",
            "tags": ["pets", "cats"],
            "date": "2024-01-02",
            "at": "2024-01-02T03:04:05",
            "year": 2024,
            "rate": 4.5,
            "draft": False,
            "none": None,
            "author": {"name": "Ann"},
            "1": "one",
            "kind": "markdown",
            "folder": "a/b",
            "odd": "nan",
            "modified": MODIFIED,
        },
    )


def test_toml_front_matter_gives_fields_too(tmp_path):
    text = "+++\ntags = ['a']\ndate = 2024-01-02\n[params]\ntime = 03:04:05\n+++\nText"
    metadata = document(tmp_path, "cats.md", text).metadata
    assert metadata == {
        "tags": ["a"],
        "date": "2024-01-02",
        "params": {"time": "03:04:05"},
        "title": "cats",
        "folder": ".",
        "kind": "markdown",
        "modified": MODIFIED,
    }


LAUGHS = "a: &a [x]\n" + "".join(
    f"{name}: &{name} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "block",
    [
        "---\ntitle: Cats: a guide\n---\n",
        "---\na: b\na : [\n---\n",
        "---\na: !!python/name:os.system x\n---\n",
        f"---\n{LAUGHS}---\n",
        f"---\na: {'[' * 5_000}\n---\n",
        f"---\na: {'x' * 30_000}\n---\n",
        f"---\na: {'9' * 10_000}\n---\n",
        "+++\na = b\n+++\n",
    ],
    ids=["colon", "list", "Python", "laughs", "deep", "long", "number", "TOML"],
)
def test_front_matter_that_is_not_valid_has_no_fields_and_is_no_error(tmp_path, block):
    read = document(tmp_path, "a.md", f"{block}# Heading\n")
    assert set(read.metadata) == {"title", "folder", "kind", "modified"}
    assert (read.content, read.title) == ("# Heading\n", "Heading")


def test_a_time_that_no_calendar_has_is_no_error(tmp_path):
    write(tmp_path / "a.md", "text")
    os.utime(tmp_path / "a.md", (2**40, 2**40))
    [read] = found(tmp_path)[0].values()
    # Or the last time that the file system can store
    assert read.metadata["modified"] > "2100"


def test_a_modified_file_with_the_same_text_updates_only_its_metadata(conn, folder):
    source = source_from_config(conn, CollectionConfig(input=str(folder)))
    model = StandIn()
    ingest(conn, "notes", source, model)
    model.embedded.clear()
    os.utime(folder / "readme.md", (SECONDS, SECONDS))
    report = ingest(conn, "notes", source, model)
    assert (report.metadata, report.unchanged, model.embedded) == (1, 5, [])
    stored = collection(conn, "notes").items(["readme.md"])["readme.md"]
    assert stored.metadata["modified"] == MODIFIED


def test_a_source_of_an_earlier_release_keeps_its_items_and_gets_metadata(conn, folder):
    # As 0.2a0 stored it: hidden files are embedded, HTML with its tags
    stored = {"folders": [[str(folder), "**/*"]], "chunking": {"method": "auto"}}
    source = source_from_json(json.dumps(stored))
    model = StandIn()
    ingest(conn, "notes", source, model)
    conn.execute("update embeddings set metadata = null")
    conn.commit()
    model.embedded.clear()
    for again in (source, configured(conn, folder)):
        report = ingest(conn, "notes", again, model, options=IngestOptions(prune=True))
        assert (report.new, report.changed, report.gone) == (0, 0, 0)
    assert model.embedded == []
    items = collection(conn, "notes").items([".hidden.md", "notes/page.html"])
    assert items[".hidden.md"].metadata["kind"] == "markdown"
    assert items["notes/page.html"].content.startswith("<title>")


def configured(conn, folder, **config):
    known = collection(conn, "notes").sources
    return source_from_config(
        conn, CollectionConfig(input=str(folder), **config), known
    )


def test_ignore_and_rebuild_bring_the_rules_of_now(conn, folder):
    source = FolderSource(((str(folder), "**/*"),))
    ingest(conn, "notes", source, StandIn())
    options = IngestOptions(prune=True, rebuild=True, replace_source=True)
    again = configured(conn, folder, ignore=True)
    ingest(conn, "notes", again, StandIn(), options=options)
    assert sorted(collection(conn, "notes").item_ids()) == TEXTS
    items = collection(conn, "notes").items(["notes/page.html"])
    assert items["notes/page.html"].content == "A page\n\nOf text"
    assert configured(conn, folder).ignore


def test_the_pictures_of_a_folder_are_what_a_model_of_images_embeds(conn, folder):
    (folder / "photos" / "IMG.JPG").write_bytes(PNG + b"2")
    (folder / "photos" / "unnamed").write_bytes(PNG + b"3")
    source = source_from_config(conn, CollectionConfig(input=str(folder)))
    report = ingest(conn, "notes", source, Eyes())
    assert (report.new, report.failed) == (3, 0)
    assert report.left_out == {
        "archive": 1,
        "binary": 1,
        "hidden": 2,
        "node_modules": 1,
        "text": 6,
    }
    items = collection(conn, "notes").items(["photos/IMG.JPG"])
    metadata = items["photos/IMG.JPG"].metadata
    assert (metadata["kind"], metadata["title"]) == ("picture", "IMG")
    # The collection remembers that, also when its pictures are gone
    for name in ("b.png", "IMG.JPG"):
        (folder / "photos" / name).unlink()
    again = ingest(conn, "notes", configured(conn, folder), Eyes())
    assert (again.new, again.unchanged, again.gone) == (0, 1, 2)


def test_images_with_a_folder_are_its_pictures(run, folder, tmp_path):
    documents, left_out = found(folder, images=True)
    assert sorted(documents) == ["photos/IMG.JPG", "photos/b.png"]
    assert left_out.count("text") == 6
    result = run("embed", tmp_path / "a.db", "notes", folder, "--images")
    assert result.exit_code == 1
    assert "takes texts, not images" in result.output


def test_a_folder_without_pictures_is_text_for_a_model_of_both(conn, folder):
    config = CollectionConfig(input=str(folder), exclude=("photos",))
    source = source_from_config(conn, config)
    assert ingest(conn, "notes", source, Eyes()).new == 6
    # A picture that is added later does not replace the texts
    added = configured(conn, folder)
    report = ingest(conn, "notes", added, Eyes())
    assert (report.unchanged, report.left_out["picture"]) == (6, 2)


@pytest.fixture
def without_converter(monkeypatch):
    monkeypatch.setattr(file_kinds, "CONVERTER", "a_library_that_does_not_exist")


@pytest.mark.usefixtures("without_converter")
def test_without_the_converter_documents_are_left_out_with_the_way_to_read_them(
    run, folder, tmp_path
):
    for name in ("a.pdf", "b.PDF", "c.docx", "d.epub"):
        (folder / name).write_bytes(b"%PDF-1.7")
    result = run("embed", tmp_path / "a.db", "notes", folder, "--glob", "*.*")
    assert result.exit_code == 0
    assert (
        "2 PDFs, 1 archive, 1 file of another kind, 1 book, 1 node_modules, 1 Word "
        "document (to read them: pip install a_library_that_does_not_exist)\n"
    ) in result.stderr


@pytest.mark.usefixtures("without_converter")
def test_items_of_documents_stay_where_the_converter_is_missing(conn, folder):
    source = source_from_config(conn, CollectionConfig(input=str(folder)))
    (folder / "paper.pdf.md").write_text("A paper")
    ingest(conn, "notes", source, StandIn())
    # As if it had been converted before
    os.rename(folder / "paper.pdf.md", folder / "paper.pdf")
    conn.execute("update embeddings set id = 'paper.pdf' where id = 'paper.pdf.md'")
    conn.execute(
        "update _embedding_origins set id = 'paper.pdf' where id glob '*.pdf.md'"
    )
    conn.commit()
    report = ingest(conn, "notes", source, StandIn(), options=IngestOptions(prune=True))
    assert (report.gone, report.left_out["pdf"]) == (0, 1)
    assert "paper.pdf" in collection(conn, "notes").item_ids()


def test_a_limit_counts_files_that_are_read(conn, folder):
    source = source_from_config(conn, CollectionConfig(input=str(folder)))
    report = ingest(conn, "notes", source, StandIn(), options=IngestOptions(limit=2))
    assert (report.new, report.left_out["hidden"]) == (2, 2)


def test_a_dry_run_says_what_it_would_leave_out(conn, folder):
    source = source_from_config(conn, CollectionConfig(input=str(folder)))
    options = IngestOptions(dry_run=True)
    report = ingest(conn, "notes", source, StandIn(), options=options)
    assert (report.new, report.left_out["picture"]) == (6, 2)


def test_the_size_of_a_film_does_not_matter_because_it_is_not_opened(folder):
    with (folder / "film.mp4").open("wb") as film:
        film.truncate(10 * 2**30)
    documents, left_out = found(folder)
    assert not any(isinstance(each, Failure) for each in documents.values())
    assert "video" in left_out


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"table": "x", "glob": ("*",)}, "'glob' goes with a folder as input"),
        ({"table": "x", "exclude": ("*",)}, "'exclude' goes with files, not"),
        ({"table": "x", "binary": True}, "'binary' goes with files, not with table"),
        ({"binary": True, "images": True}, "images or binary, found both"),
    ],
    ids=str,
)
def test_settings_of_folders_go_with_nothing_else(conn, tmp_path, config, message):
    (tmp_path / "a.md").write_text("text")
    if "table" not in config:
        config = {**config, "input": str(tmp_path)}
    with pytest.raises(InvalidInputError, match=message):
        source_from_config(conn, CollectionConfig(**config))


def test_a_folder_that_is_not_there_any_more_is_no_file_of_rows(conn, folder):
    ingest(conn, "notes", configured_new(conn, folder), StandIn())
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(SourceError, match=r"Expected a folder at .*, found nothing"):
        ingest(conn, "notes", configured(conn, folder), StandIn())


def configured_new(conn, folder):
    return source_from_config(conn, CollectionConfig(input=str(folder)))


def test_nothing_is_left_out_of_a_report_without_a_folder():
    assert Report().left_out == {}
