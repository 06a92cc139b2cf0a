"""Plugins chunk texts and write captions of images; the one of docs/plugins.md."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from datasette import hookimpl
from datasette.plugins import pm

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.collections import collection
from tests.models import Eyes

REPOSITORY = Path(__file__).parent.parent
DOCUMENT = (REPOSITORY / "docs" / "plugins.md").read_text("utf-8")
[EXAMPLE] = re.findall(r"^```python\n(.+?)^```", DOCUMENT, re.M | re.S)
PLAY = """\
HAMLET:
To be, or not to be.

OPHELIA:
Good my lord, how does your honour for this many a day?
"""
WORDS = Options(mode="words")
PNG = b"\x89PNG"


@pytest.fixture
def plugin():
    """Registers functions as a plugin's; what they are called with is recorded."""
    registered = []

    def register(**hooks):
        found = SimpleNamespace(__name__=f"plugin{len(registered)}")
        for hook, functions in hooks.items():
            setattr(found, hook, hookimpl(_returning(functions)))
        pm.register(found)
        registered.append(found)

    yield register
    for each in registered:
        pm.unregister(each)


def _returning(functions):
    def hook():
        return functions

    return hook


@pytest.fixture
def plays(conn):
    conn.execute("create table plays (id integer primary key, title text, body text)")
    conn.execute(
        "insert into plays values (1, 'Hamlet', ?), (2, 'Poem', 'No one.')", [PLAY]
    )
    conn.commit()
    return conn


def embedded(conn, model, name, **given):
    existing = [] if "stored" not in given else given.pop("stored")
    options = given.pop("options", IngestOptions())
    source = source_from_config(conn, CollectionConfig(table=name, **given), existing)
    return ingest(conn, name, source, model, options=options)


def chunks(conn):
    rows = conn.execute(
        'select document_id, start, "end" from _embedding_chunks order by id'
    )
    return [tuple(row) for row in rows]


def lines_of(text):
    return [match.span() for match in re.finditer(r"[^\n]+", text)]


def test_a_chunker_of_a_plugin_splits_texts(plays, model, plugin):
    plugin(register_embedding_chunkers={"lines": lines_of})
    report = embedded(plays, model, "plays", columns=("body",), chunk="lines")
    assert report == Report(new=2, chunks=5)
    texts = [PLAY, "No one."]
    assert [
        texts[int(document) - 1][start:end] for document, start, end in chunks(plays)
    ] == [*PLAY.replace("\n\n", "\n").splitlines(), "No one."]
    found = search_text(collection(plays, "plays"), "good lord", model=model)[0]
    assert found.content.startswith("Good my lord")
    # It is stored with the source, and used again
    plays.execute("update plays set body = 'Now a\nsecond line' where id = 2")
    found = collection(plays, "plays")
    assert found.source.chunking.method == "lines"
    report = embedded(plays, model, "plays", columns=("body",), stored=found.sources)
    assert (report.changed, report.chunks) == (1, 2)


def test_a_chunk_of_a_plugin_that_is_too_long_is_split_further(plays, model, plugin):
    plugin(register_embedding_chunkers={"whole": lambda text: [(0, len(text))]})
    embedded(plays, model, "plays", columns=("body",), chunk="whole", chunk_size=20)
    assert [each[0] for each in chunks(plays)] == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([(0, 10_000)], r"text of \d+; found \(0, 10000\)"),
        ([(5, 5)], "found (5, 5)"),
        ([(-1, 5)], "found (-1, 5)"),
        ([(5, 8), (0, 4)], "found (0, 4)"),
        ([("0", 4)], "found ('0', 4)"),
        ([], "at least one chunk"),
        (7, "TypeError"),
        ([3], "TypeError"),
    ],
)
def test_a_chunker_that_returns_something_else_fails_on_that_document_alone(
    plays, model, plugin, spans, reason
):
    def chunker(text):
        return [(0, len(text))] if text == "No one." else spans

    plugin(register_embedding_chunkers={"odd": chunker})
    report = embedded(plays, model, "plays", columns=("body",), chunk="odd")
    assert (report.new, report.failed) == (1, 1)
    [failure] = report.failures
    assert failure.id == "1"
    assert failure.error.startswith("The chunker 'odd' of a plugin failed: ")
    assert re.search(reason, failure.error) or reason in failure.error


def test_a_chunker_that_raises_fails_on_that_document_alone(plays, model, plugin):
    def chunker(text):
        if text != "No one.":
            raise KeyError("no such speaker")
        return lines_of(text)

    plugin(register_embedding_chunkers={"picky": chunker})
    report = embedded(plays, model, "plays", columns=("body",), chunk="picky")
    assert [(each.id, each.error) for each in report.failures] == [
        ("1", "The chunker 'picky' of a plugin failed: KeyError: 'no such speaker'")
    ]
    # The next run tries again
    assert embedded(plays, model, "plays", columns=("body",), chunk="picky").failed == 1


def test_without_its_plugin_a_collection_is_searched_and_a_run_is_an_error(
    plays, model, plugin
):
    message = r"one of auto, none, fixed, .*'others'.*found 'lines'. Install the plugin"
    plugin(register_embedding_chunkers={"others": lines_of})
    with pytest.raises(InvalidInputError, match=message):
        embedded(plays, model, "plays", chunk="lines")
    assert (
        plays.execute(
            "select name from sqlite_master where name = 'embeddings'"
        ).fetchall()
        == []
    )
    with_lines = SimpleNamespace(
        register_embedding_chunkers=hookimpl(_returning({"lines": lines_of}))
    )
    pm.register(with_lines)
    embedded(plays, model, "plays", columns=("body",), chunk="lines")
    pm.unregister(with_lines)
    assert search_text(collection(plays, "plays"), "my lord", model=model)
    with pytest.raises(InvalidInputError, match=message):
        ingest(plays, "plays", collection(plays, "plays").source, model)


@pytest.mark.parametrize("given", [7, ["lines"], None])
def test_a_plugin_that_registers_something_else_is_an_error(
    plays, model, plugin, given
):
    plugin(register_embedding_chunkers=given)
    with pytest.raises(InvalidInputError, match="gave no dictionary"):
        embedded(plays, model, "plays", chunk="lines")


def test_a_name_that_two_plugins_register_is_an_error(plays, model, plugin):
    plugin(register_embedding_chunkers={"lines": lines_of})
    plugin(register_embedding_chunkers={"lines": lines_of})
    with pytest.raises(InvalidInputError, match="'lines' in two plugins"):
        embedded(plays, model, "plays", chunk="lines")


@pytest.fixture
def photos(conn):
    conn.execute("create table photos (id integer primary key, title text, photo blob)")
    rows = [(1, "One", PNG + b"a"), (2, "Two", PNG + b"b"), (3, "Three", PNG + b"c")]
    conn.executemany("insert into photos values (?, ?, ?)", rows)
    conn.commit()
    return conn


@pytest.fixture
def describe(plugin):
    """The captions that were asked for; a picture that ends with "z" cannot be."""
    asked = []

    def caption(image):
        asked.append(image)
        if image.endswith(b"z"):
            raise ConnectionError("it is down")
        return {b"a": "a quiet harbour", b"b": "two penguins"}.get(
            image[-1:], "a tower"
        )

    plugin(
        register_embedding_captions={
            "describe": caption,
            "shout": lambda _image: "LOUD",
        }
    )
    return asked


def stored(conn):
    return [
        tuple(row)
        for row in conn.execute(
            "select id, content, content_blob is not null from embeddings order by id"
        )
    ]


CAPTIONED = {"images": True, "caption": "describe"}


def found_by(conn, text):
    return [
        each.id
        for each in search_text(
            collection(conn, "photos"), text, model=None, options=WORDS
        )
    ]


def test_an_image_is_found_by_the_words_of_its_caption(photos, describe):
    report = embedded(photos, Eyes(), "photos", **CAPTIONED)
    assert report == Report(new=3)
    assert stored(photos) == [
        ("1", "a quiet harbour", 0),
        ("2", "two penguins", 0),
        ("3", "a tower", 0),
    ]
    found = collection(photos, "photos")
    [match] = search_text(found, "penguin", model=None, options=WORDS)
    assert (match.id, match.title, match.content) == ("2", "Two", "two penguins")
    assert (match.has_image, match.stale) == (True, False)
    both = search_text(found, "penguin", model=Eyes())
    assert both[0].id == "2"
    assert "words" in both[0].matched
    assert list(problems(photos)) == []


def test_a_caption_is_made_for_new_and_changed_images_only(photos, describe):
    embedded(photos, Eyes(), "photos", **CAPTIONED)
    photos.execute("update photos set photo = ? where id = 1", [PNG + b"d"])
    photos.execute("update photos set title = 'Renamed' where id = 2")
    photos.execute("insert into photos values (4, 'Four', ?)", [PNG + b"b"])
    describe.clear()
    report = embedded(photos, Eyes(), "photos", **CAPTIONED)
    assert (report.new, report.changed, report.unchanged) == (1, 1, 2)
    assert sorted(describe) == [PNG + b"b", PNG + b"d"]
    assert found_by(photos, "harbour") == []
    # The new title, and the caption that was there before
    assert found_by(photos, "renamed") == ["2"]
    assert set(found_by(photos, "penguins")) == {"2", "4"}
    describe.clear()
    # Neither do metadata, and copies of the images, make a caption again
    given = {**CAPTIONED, "metadata": ("title",), "columns": ("photo",), "store": True}
    embedded(photos, Eyes(), "photos", **given)
    assert describe == []
    assert stored(photos)[1] == ("2", "two penguins", 1)
    assert set(found_by(photos, "penguins")) == {"2", "4"}


def test_captions_come_with_another_run_change_and_go(photos, describe):
    embedded(photos, Eyes(), "photos", images=True)
    assert stored(photos)[0] == ("1", None, 0)
    eyes = Eyes()
    report = embedded(photos, eyes, "photos", **CAPTIONED)
    assert (report.changed, len(describe)) == (3, 3)
    assert stored(photos)[0] == ("1", "a quiet harbour", 0)
    # As in the collection
    sources = collection(photos, "photos").sources
    assert embedded(photos, eyes, "photos", images=True, stored=sources).unchanged == 3
    embedded(photos, eyes, "photos", images=True, caption="shout")
    assert stored(photos)[0] == ("1", "LOUD", 0)
    assert set(found_by(photos, "loud")) == {"1", "2", "3"}
    embedded(photos, eyes, "photos", images=True, caption="none", stored=sources)
    assert stored(photos)[0] == ("1", None, 0)
    assert found_by(photos, "loud") == []


def test_an_image_whose_caption_fails_fails_alone_and_is_tried_again(photos, describe):
    photos.execute("update photos set photo = ? where id = 2", [PNG + b"z"])
    report = embedded(photos, Eyes(), "photos", **CAPTIONED)
    reason = "The captioner 'describe' of a plugin failed: ConnectionError: it is down"
    assert [(each.id, each.error) for each in report.failures] == [("2", reason)]
    assert (report.new, [row[0] for row in stored(photos)]) == (2, ["1", "3"])
    describe.clear()
    assert embedded(photos, Eyes(), "photos", **CAPTIONED).failed == 1
    assert describe == [PNG + b"z"]


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        (None, "expected a text, found None"),
        (" ", "expected a text"),
        (b"bytes", "expected a text"),
        ("x" * 10_001, "at most 10,000 characters, found 10,001"),
        ("\ud800", "UnicodeEncodeError"),
    ],
)
def test_a_caption_that_is_no_text_is_a_failure(photos, plugin, caption, reason):
    plugin(register_embedding_captions={"odd": lambda _image: caption})
    report = embedded(photos, Eyes(), "photos", images=True, caption="odd")
    assert report.failed == 3
    assert reason in report.failures[0].error


def test_captions_go_with_images_and_an_installed_plugin(photos, model, describe):
    with pytest.raises(
        InvalidInputError, match=r"Expected images .* found a source of texts"
    ):
        embedded(photos, model, "photos", columns=("title",), caption="describe")
    message = "'describe', 'shout'.*found 'paint'. Install the plugin"
    with pytest.raises(InvalidInputError, match=message):
        embedded(photos, Eyes(), "photos", images=True, caption="paint")


def test_an_interrupted_run_keeps_the_captions_it_has_paid_for(photos, plugin):
    photos.executemany(
        "insert into photos values (?, 'More', ?)",
        [(number, PNG + bytes([number])) for number in range(10, 40)],
    )
    photos.commit()
    asked = []

    def caption(image):
        asked.append(image)
        if len(asked) == 20:
            raise KeyboardInterrupt
        return "a picture"

    plugin(register_embedding_captions={"paid": caption})
    with pytest.raises(KeyboardInterrupt):
        embedded(photos, Eyes(), "photos", images=True, caption="paid")
    assert len(stored(photos)) == 16
    report = embedded(photos, Eyes(), "photos", images=True, caption="paid")
    assert (report.new, report.unchanged, len(asked)) == (17, 16, 37)


@pytest.fixture
def installed(tmp_path):
    """The environment of a process with the plugin of docs/plugins.md."""
    site = tmp_path / "site"
    info = site / "datasette_plays-1.dist-info"
    info.mkdir(parents=True)
    (site / "datasette_plays.py").write_text(EXAMPLE)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: datasette-plays\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text("[datasette]\nplays = datasette_plays\n")
    paths = str(site), os.environ.get("PYTHONPATH", ""), str(REPOSITORY)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_the_plugin_of_the_documentation_works(plays, installed, tmp_path):
    path = tmp_path / "plays.db"
    with sqlite3.connect(path) as copy:
        plays.backup(copy)
    command = [sys.executable, "-m", "datasette", "embeddings"]
    embed = ["embed", str(path), "plays", "-t", "plays", "--column", "body", "--silent"]
    done = subprocess.run(
        [*command, *embed, "--chunk", "speakers"],
        capture_output=True,
        text=True,
        check=False,
        env=installed,
    )
    assert (done.returncode, "3 chunks" in done.stderr) == (0, True), done.stderr
    conn = sqlite3.connect(path)
    assert [
        PLAY[start:end].partition("\n")[0] for _id, start, end in chunks(conn)[:2]
    ] == ["HAMLET:", "OPHELIA:"]
    conn.close()
    # Without the plugin, a run says so, and a search works
    result = CliRunner().invoke(embeddings, ["sync", str(path), "--silent"])
    assert result.exit_code == 1
    assert "found 'speakers'. Install the plugin" in result.output
    result = CliRunner().invoke(
        embeddings, ["search", str(path), "plays", "my lord", "--format", "json"]
    )
    assert json.loads(result.stdout)[0]["id"].startswith("1")
