from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig, SimilaritySettings
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import (
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sql.functions import register
from datasette_embeddings.store import collections, staging
from datasette_embeddings.store.collection_writes import create_collection
from tests.drawings import COMBINATIONS, draw, file_of
from tests.images.conftest import HELD_OUT, RED_CIRCLES, TINY_CLIP
from tests.images.test_image_decoding import png_header

NEAREST = Options(limit=10)
DEFAULTS = IngestOptions()


@pytest.fixture(scope="module")
def found_db(tmp_path_factory, gallery):
    """A database made of the gallery by the real command; the model by its path."""
    path = tmp_path_factory.mktemp("found") / "images.db"
    arguments = ["embed", path, "images", "--files", gallery, "**/*.png", "--images"]
    done = command(*arguments, "--model", TINY_CLIP)
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"{len(COMBINATIONS) * 12:,} new" in done.stderr
    return path


@pytest.fixture
def found(found_db):
    conn = sqlite3.connect(found_db)
    yield conn
    conn.close()


@pytest.fixture
def conn():
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


@pytest.fixture
def photos(conn):
    """A table of photos, one of each of some combinations."""
    conn.execute(
        """
        create table photos (
          id integer primary key,
          name text,
          price real,
          photo blob
        )
        """
    )
    chance = random.Random(11)
    conn.executemany(
        "insert into photos values (?, ?, ?, ?)",
        [
            (number, what.caption, number * 1.5, file_of(draw(what, chance)))
            for number, what in enumerate(HELD_OUT[:8], 1)
        ],
    )
    conn.commit()
    return conn


def command(*arguments):
    """What is done by a command, in this process."""
    return CliRunner().invoke(embeddings, [str(each) for each in arguments])


def caption_of(item_id):
    return item_id.partition("/")[0]


def precision(answers):
    """Which share of what was found shows what was asked for."""
    right = [
        caption_of(match.id) == what.caption
        for what, matches in answers
        for match in matches
    ]
    assert len(right) == 10 * len(HELD_OUT)
    return sum(right) / len(right)


def source(conn, **settings):
    given = {"table": "photos", "images": True} | settings
    return source_from_config(conn, CollectionConfig(**given))


def embedded(conn, clip, *, options=DEFAULTS, **settings):
    return ingest(conn, "photos", source(conn, **settings), clip, options=options)


def items(conn, columns):
    return conn.execute(f"select {columns} from embeddings order by id").fetchall()


def test_a_text_finds_images_that_the_model_never_saw(found, clip):
    collection = collections.collection(found, "images")
    answers = [
        (what, search_text(collection, what.caption, model=clip, options=NEAREST))
        for what in HELD_OUT
    ]
    assert precision(answers) >= 0.95
    assert {caption_of(match.id) for match in dict(answers)[RED_CIRCLES]} == {
        "three red circles"
    }


def test_an_image_finds_images_of_the_same(found, clip):
    collection = collections.collection(found, "images")
    chance = random.Random(99)
    vectors = clip.embed_images([file_of(draw(what, chance)) for what in HELD_OUT])
    answers = [
        (what, search_vector(collection, vector, options=NEAREST))
        for what, vector in zip(HELD_OUT, vectors, strict=True)
    ]
    assert precision(answers) >= 0.95


def test_an_image_of_the_collection_finds_its_like(found):
    collection = collections.collection(found, "images")
    answers = [
        (what, similar_items(collection, f"{what.caption}/3.png", options=NEAREST))
        for what in HELD_OUT
    ]
    assert precision(answers) >= 0.95


def test_three_red_circles_are_found_from_the_shell(found_db, gallery):
    question = ["search", found_db, "images", "--limit", "10", "--format", "nl"]
    image = gallery / "three red circles" / "5.png"
    for asked in (["three red circles"], ["--image", image]):
        done = command(*question, *asked)
        assert (done.exit_code, done.stderr) == (0, "")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert {caption_of(row["id"]) for row in rows} == {"three red circles"}
        assert {row["content"] for row in rows} == {None}
    done = command("search", found_db, "images", "three red circles")
    assert "three red circles/" in done.stdout.splitlines()[0]


@pytest.mark.parametrize("asked", [[], ["text", "--image", __file__]])
def test_the_shell_wants_a_text_or_an_image(found_db, asked):
    done = CliRunner().invoke(embeddings, ["search", str(found_db), "images", *asked])
    assert done.exit_code == 1
    assert "Expected one of TEXT, --input FILE and --image FILE" in done.stderr


def test_a_question_that_is_no_image_is_refused(found_db):
    arguments = ["search", str(found_db), "images", "--image", __file__]
    done = CliRunner().invoke(embeddings, arguments)
    assert done.exit_code == 1
    assert "Expected an image" in done.stderr


def test_a_question_is_read_only_as_far_as_an_image_may_be_long(found_db, tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(10 * 2**30)
    for path in (tmp_path / "huge.png", "/dev/zero"):
        arguments = ["search", str(found_db), "images", "--image", str(path)]
        # In a process that has not the memory to read it all
        done = subprocess.run(
            [sys.executable, "-m", "datasette", "embeddings", *arguments],
            capture_output=True,
            text=True,
            preexec_fn=_with_eight_gigabytes,
        )
        assert done.returncode == 1
        assert done.stderr == (
            "Error: Expected an image of at most 50,000,000 bytes, found more in "
            f"{path}\n"
        )


def _with_eight_gigabytes():
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))


def test_a_pipe_may_be_the_question(found_db, gallery, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = (gallery / "three red circles" / "5.png").read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    done = command("search", found_db, "images", "--image", pipe, "--format", "nl")
    writer.join()
    assert json.loads(done.stdout.splitlines()[0])["id"] == "three red circles/5.png"


def test_files_are_stored_and_a_second_run_changes_nothing(found, gallery, clip):
    before = items(found, "id, embedding, updated, content_hash, content_blob, rowid")
    item_id, vector, _updated, digest, blob, _rowid = before[0]
    content = (gallery / item_id).read_bytes()
    assert (blob, digest) == (content, hashlib.md5(content).digest())
    assert np.frombuffer(vector, "<f4") == pytest.approx(
        clip.embed_images([content])[0], abs=1e-5
    )
    known = collections.collection(found, "images").source
    assert ingest(found, "images", known, clip) == Report(unchanged=len(before))
    after = items(found, "id, embedding, updated, content_hash, content_blob, rowid")
    assert after == before
    assert list(problems(found)) == []


def test_the_one_blob_column_of_a_table_is_taken(photos, clip):
    assert source(photos).content_columns == ("photo",)
    assert source(photos).title_column == "name"
    assert embedded(photos, clip, metadata=("price",), prefix="p/") == Report(new=8)
    assert embedded(photos, clip, metadata=("price",), prefix="p/") == Report(
        unchanged=8
    )
    row = items(photos, "id, content, content_blob, metadata, content_hash")[0]
    photo = photos.execute("select photo from photos where id = 1").fetchone()[0]
    assert row == ("p/1", None, None, '{"price": 1.5}', hashlib.md5(photo).digest())


def test_what_is_found_in_a_table_has_a_title_and_no_text(photos, clip):
    embedded(photos, clip)
    collection = collections.collection(photos, "photos")
    for number, what in enumerate(HELD_OUT[:8], 1):
        found = search_text(collection, what.caption, model=clip)
        assert (found[0].id, found[0].title) == (str(number), what.caption)
        assert (found[0].content, found[0].has_row) == (None, True)
        assert found[0].has_image
        assert found[0].snippet(100) == ""


def test_the_columns_of_images_must_be_one(photos):
    photos.execute("alter table photos add column thumbnail blob")
    with pytest.raises(SourceError, match="found 'photo' and 'thumbnail'; name the"):
        source(photos)
    assert source(photos, columns=("photo",)).content_columns == ("photo",)
    photos.execute("create table empty (id integer primary key, name text)")
    with pytest.raises(SourceError, match="'empty', found none"):
        source(photos, table="empty")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"columns": ("photo", "name")},
            "Expected one column of images, found photo, n",
        ),
        ({"template": "{{ name }}"}, "Images have no text"),
        ({"strip_html": True}, "Images have no text"),
        ({"chunk": "fixed"}, "Images have no text"),
    ],
    ids=["columns", "template", "html", "chunk"],
)
def test_what_is_done_to_texts_is_refused(photos, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        source(photos, **settings)


def test_rows_without_an_image_are_empty_and_texts_fail(photos, clip):
    embedded(photos, clip)
    photos.execute("update photos set photo = null where id = 1")
    photos.execute("update photos set photo = x'' where id = 2")
    photos.execute("update photos set photo = 'photo.jpg' where id = 3")
    photos.execute("update photos set photo = 17 where id = 4")
    report = embedded(photos, clip)
    assert (report.empty, report.failed, report.unchanged) == (2, 2, 4)
    assert report.failures[0].id == "3"
    assert "The row has str in the column of images; expected a BLOB" in str(
        report.failures[0].error
    )
    # What failed keeps the vector it had
    assert [row[0] for row in items(photos, "id")] == ["3", "4", "5", "6", "7", "8"]


def test_a_changed_image_is_embedded_again(photos, clip):
    embedded(photos, clip)
    before = dict(items(photos, "id, embedding"))
    other = file_of(draw(COMBINATIONS[0], random.Random(4)))
    photos.execute("update photos set photo = ? where id = 5", [other])
    photos.execute("update photos set name = 'another' where id = 6")
    # The name is the title, whose words are indexed
    assert [(each.problem, each.count) for each in problems(photos)] == [
        ("rows that have changed since they were embedded", 1),
        ("rows whose words are not indexed", 1),
    ]
    assert embedded(photos, clip) == Report(changed=1, unchanged=7)
    assert list(problems(photos)) == []
    after = dict(items(photos, "id, embedding"))
    assert [item_id for item_id in after if after[item_id] != before[item_id]] == ["5"]
    assert list(problems(photos)) == []


def test_the_images_of_a_table_are_copied_only_on_request(photos, clip):
    embedded(photos, clip)
    assert items(photos, "content_blob") == [(None,)] * 8
    assert embedded(photos, clip, store=True) == Report(unchanged=8)
    expected = photos.execute("select photo from photos order by id").fetchall()
    assert items(photos, "content_blob") == expected
    assert items(photos, "content") == [(None,)] * 8


def test_images_of_a_query_are_embedded_and_stored(photos, clip):
    sql = "select 'no-' || id as key, photo, price from photos where id > 2"
    given = {"table": None, "sql": sql, "metadata": ("price",)}
    assert embedded(photos, clip, **given) == Report(new=6)
    assert embedded(photos, clip, **given) == Report(unchanged=6)
    expected = photos.execute("select photo from photos where id > 2 order by id")
    assert items(photos, "content_blob") == expected.fetchall()
    collection = collections.collection(photos, "photos")
    asked = HELD_OUT[2].caption
    assert search_text(collection, asked, model=clip)[0].id == "no-3"
    with pytest.raises(SourceError, match="Expected one column of images besides"):
        embedded(photos, clip, table=None, sql=sql)


def test_a_model_of_texts_is_refused(photos, model):
    with pytest.raises(InvalidInputError, match="takes texts, not images"):
        embedded(photos, model)


def test_files_that_are_no_images_fail_alone(tmp_path, conn, clip, monkeypatch):
    chance = random.Random(1)
    good = [file_of(draw(what, chance)) for what in HELD_OUT]
    for number, content in enumerate(good):
        (tmp_path / f"{number}.png").write_bytes(content)
    bad = {
        "bomb.png": png_header(100_000, 100_000),
        "cut.png": good[0][: len(good[0]) // 2],
        "none.png": png_header(0, 0),
        "text.png": b"no image at all",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "empty.png").write_bytes(b"")
    runs = []
    encode = clip._model.encode_image

    def counted(batch, **options):
        runs.append(len(batch))
        return encode(batch, **options)

    monkeypatch.setattr(clip._model, "encode_image", counted)
    folder = FolderSource(((str(tmp_path), "*.png"),), images=True)
    report = ingest(conn, "files", folder, clip)
    assert (report.new, report.failed, report.empty) == (len(good), len(bad), 1)
    assert {failure.id for failure in report.failures} == set(bad)
    # No half of the images was tried again because one of them is broken
    assert runs == [len(good)]
    collection = collections.collection(conn, "files")
    assert [each.id for each in collection.failures()] == sorted(bad)
    (problem,) = [each for each in problems(conn) if each.problem == "rows that failed"]
    assert problem.count == len(bad)
    assert "bomb.png: " in problem.remedy
    assert "pixels" in problem.remedy
    (tmp_path / "cut.png").write_bytes(good[0])
    report = ingest(conn, "files", folder, clip)
    assert (report.new, report.failed, report.unchanged) == (1, 3, len(good))


@pytest.mark.parametrize("stores", [True, False], ids=["stored", "in a table"])
def test_texts_and_images_of_the_same_bytes_are_embedded_in_turn(
    tmp_path, conn, clip, monkeypatch, stores
):
    image = file_of(draw(RED_CIRCLES, random.Random(1)))
    text = "three red circles"
    # An image that is a text as well: as if its bytes were those of the text
    real = clip.image_outcomes
    monkeypatch.setattr(
        clip,
        "image_outcomes",
        lambda images, **options: real([image for _ in images], **options),
    )
    conn.execute("create table things (id text primary key, words text, bytes blob)")
    conn.execute("insert into things values ('a', ?, ?)", [text, text.encode()])
    conn.commit()

    def sync(column, images):
        config = CollectionConfig(
            table="things", columns=(column,), images=images, store=stores
        )
        source = source_from_config(conn, config)
        options = IngestOptions(prune=True)
        report = ingest(conn, "x", source, clip, options=options)
        item = collections.collection(conn, "x").items(["a"])["a"]
        assert item.has_image == (images and stores)
        return report.changed, collections.collection(conn, "x").vector("a")

    sync("words", images=False)
    for column, images in (("bytes", True), ("words", False)):
        changed, vector = sync(column, images)
        expected = clip.embed_images([image]) if images else clip.embed_passages([text])
        assert (changed, vector.tolist()) == (1, pytest.approx(expected[0].tolist()))
        assert sync(column, images)[0] == 0
        # Nor under another id
        conn.execute("insert into things select 'b', words, bytes from things")
        conn.commit()
        sync(column, images)
        other = collections.collection(conn, "x").vector("b")
        assert other.tolist() == vector.tolist()
        conn.execute("delete from things where id = 'b'")
        conn.commit()


def test_a_text_that_was_embedded_is_no_image(tmp_path):
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "broken.jpg").write_text("not an image")
    arguments = ["embed", tmp_path / "b.db", "p", "--files", folder, "*", "--silent"]
    command(*arguments, "--model", TINY_CLIP)
    done = command(*arguments, "--images", "--model", TINY_CLIP)
    assert "1 failed" in done.stdout + done.stderr
    assert "broken.jpg" in command("check", tmp_path / "b.db").stdout


def test_equal_images_are_embedded_once(photos, clip, monkeypatch):
    photos.execute("update photos set photo = (select photo from photos where id = 1)")
    sizes = []
    encode = clip._model.encode_image

    def counted(batch, **options):
        sizes.append(len(batch))
        return encode(batch, **options)

    monkeypatch.setattr(clip._model, "encode_image", counted)
    assert embedded(photos, clip) == Report(new=8)
    assert sizes == [1]


def test_a_window_ends_where_its_files_are_large(photos, clip, monkeypatch):
    largest = photos.execute("select max(length(photo)) from photos").fetchone()[0]
    monkeypatch.setattr(staging, "WINDOW_BYTES", 2 * largest)
    windows = []
    original = staging.Staging.windows

    def watched(self, *of, **options):
        for window in original(self, *of, **options):
            windows.append([len(each.content) for each in window])
            yield window

    monkeypatch.setattr(staging.Staging, "windows", watched)
    assert embedded(photos, clip) == Report(new=8)
    assert sum(map(len, windows)) == 8
    assert len(windows) > 1
    assert max(map(sum, windows)) <= 3 * largest


def test_progress_hears_of_each_row_once(photos, clip):
    photos.execute("update photos set photo = x'00' where id in (2, 3)")
    done = []
    report = embedded(photos, clip, options=IngestOptions(progress=done.append))
    assert (report.new, report.failed, sum(done)) == (6, 2, 8)


def test_similarities_and_a_rebuild_work_for_images(photos, clip):
    embedded(photos, clip, options=IngestOptions(similarities=SimilaritySettings(3)))
    count = photos.execute("select count(*) from similarities").fetchone()[0]
    assert count == 8 * 3
    before = items(photos, "id, content_hash")
    assert embedded(photos, clip, options=IngestOptions(rebuild=True)).new == 8
    assert items(photos, "id, content_hash") == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sql_embeds_an_image_and_a_text_into_one_space(photos, clip):
    register(photos)
    rows = photos.execute(
        """
        select name
        from photos
        order by embed_cosine(embed(:model, photo), embed_query(:model, :asked)) desc
        """,
        {"model": str(TINY_CLIP), "asked": HELD_OUT[3].caption},
    ).fetchall()
    assert rows[0] == (HELD_OUT[3].caption,)
    for sql, message in (
        ("embed(x'00ff')", "found a BLOB of 2 bytes, and the model"),
        (f"embed('{TINY_CLIP}', x'00ff')", "Expected an image"),
        (
            f"embed_query('{TINY_CLIP}', x'00ff')",
            "Expected a text as TEXT, found a BLOB of 2 bytes",
        ),
    ):
        with pytest.raises(sqlite3.OperationalError):
            photos.execute(f"select {sql}").fetchone()
        assert message in photos.execute("select embed_error()").fetchone()[0]
    assert photos.execute("select embed(:m, null)", [str(TINY_CLIP)]).fetchone() == (
        None,
    )


def test_a_collection_of_llm_clip_needs_no_model_for_its_like(photos, clip):
    """As llm writes it: model clip, the files in content_blob, no source of ours."""
    collection = create_collection(photos, "llm", "clip", None)
    rows = photos.execute("select id, photo from photos order by id").fetchall()
    vectors = clip.embed_images([photo for _id, photo in rows])
    photos.execute("delete from _embedding_collections")
    photos.executemany(
        """
        insert into embeddings
          (collection_id, id, embedding, content_blob, content_hash, updated)
        values (?, ?, ?, ?, ?, 0)
        """,
        [
            (
                collection.id,
                str(id),
                vector.tobytes(),
                photo,
                hashlib.md5(photo).digest(),
            )
            for (id, photo), vector in zip(rows, vectors, strict=True)
        ],
    )
    photos.commit()
    collection = collections.collection(photos, "llm")
    found = similar_items(collection, "1")
    expected = sorted(
        ((float(vectors[0] @ vectors[n - 1]), str(n)) for n, _photo in rows[1:]),
        reverse=True,
    )
    assert [match.id for match in found] == [item_id for _score, item_id in expected]
    assert {(match.content, match.has_image) for match in found} == {(None, True)}
    assert list(problems(photos)) == []
