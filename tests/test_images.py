"""Which bytes are an image, and where the image of an item is."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import UnknownItemError
from datasette_embeddings.images import media_type
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.answers import similar_items
from datasette_embeddings.search.matches import has_images, item_image, matches
from datasette_embeddings.sources.table_rows import (
    LARGEST_COMPARED_IMAGE,
    SourceRow,
    source_rows,
)
from tests.datasette.image_tables import (
    HTML,
    SVG,
    TIFF,
    collect,
    collect_images,
    image_source,
    png,
    write_images,
)


def has_image(made, item_id: str) -> bool:
    return matches(made, [Hit(item_id, 1.0)])[0].has_image


def md5(content: bytes) -> bytes:
    return Document("", content).content_hash


BITMAP = b"BM" + (100).to_bytes(4, "little") + bytes(4) + b"\x36\0\0\0\x28\0\0\0"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (png((1, 2, 3)), "image/png"),
        (b"GIF87a\1\0\1\0", "image/gif"),
        (b"GIF89a\1\0\1\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (TIFF, "image/tiff"),
        (b"MM\0*\0\0\0\x08", "image/tiff"),
        (BITMAP, "image/bmp"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1", "image/avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0miafavif", "image/avif"),
        (b"", None),
        (b"\x89PNG", None),
        (b"\x89PNG one", None),
        (HTML, None),
        (SVG, None),
        (b"\xef\xbb\xbf" + SVG, None),
        (b"<?xml version='1.0'?>" + SVG, None),
        (b"%PDF-1.7", None),
        (b"BMW is a maker of cars and motorcycles", None),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"\0\0\0\x0cftypmif1\0\0\0\0avif", None),
        (b"\xff\xff\xff\xffftypmif1", None),
        (b"GIF88a", None),
    ],
)
def test_an_image_is_told_by_its_first_bytes(content, expected):
    assert media_type(content) == expected


@pytest.fixture
def images():
    conn = sqlite3.connect(":memory:")
    write_images(conn)
    yield conn
    conn.close()


def test_a_row_tells_of_its_image_and_does_not_show_it(images):
    images.execute("update images set image = null where id = 2")
    images.execute("update images set image = 'a text' where id = 3")
    red = images.execute("select image from images where id = 1").fetchone()[0]
    source = image_source(images)
    assert source_rows(images, source, ["1", "2", "3"]) == {
        "1": SourceRow("Red", None, has_image=True, content_hash=md5(red)),
        "2": SourceRow("Green", None, has_image=False, content_hash=md5(b"")),
        # What could not be embedded is no content
        "3": SourceRow("Blue", None, has_image=False, content_hash=b""),
    }


def test_an_image_is_read_from_the_store_before_the_row(images):
    made = collect_images(images)
    in_row = png((200, 30, 40))
    assert item_image(made, "1") == in_row
    images.execute("update embeddings set content_blob = x'00' where id = '1'")
    assert item_image(made, "1") == b"\0"
    assert item_image(made, "2") != in_row


def test_an_item_without_an_image_has_none(images):
    made = collect_images(images)
    images.execute("update images set image = 'a text' where id = 1")
    images.execute("delete from images where id = 2")
    assert item_image(made, "1") is None
    assert item_image(made, "2") is None
    images.execute("drop table images")
    assert item_image(made, "3") is None
    with pytest.raises(UnknownItemError):
        item_image(made, "99")


def test_an_id_of_a_row_that_is_no_item_has_no_image(images):
    made = collect_images(images)
    images.execute("delete from embeddings where id = '1'")
    with pytest.raises(UnknownItemError):
        item_image(made, "1")


def test_a_prefix_is_no_part_of_the_key(images):
    source = image_source(images, id_prefix="p/")
    made = collect(images, "prefixed", source, {"p/1": png((200, 30, 40))})
    assert item_image(made, "p/1") == png((200, 30, 40))
    assert has_image(made, "p/1")


def test_an_image_that_has_changed_is_not_shown_beside_the_score(images):
    made = collect_images(images)
    assert has_image(made, "1")
    images.execute("update images set image = ? where id = 1", [png((1, 1, 1))])
    images.execute("update images set image = null where id = 2")
    found = matches(made, [Hit(each, 1.0) for each in ("1", "2", "3")])
    assert [(each.stale, each.has_image) for each in found] == [
        (True, False),
        (True, False),
        (False, True),
    ]


def test_a_large_image_is_not_read_to_be_compared(images):
    made = collect_images(images)
    large = png((1, 1, 1), noise=bytes(LARGEST_COMPARED_IMAGE))
    images.execute("update images set image = ? where id = 1", [large])
    (found,) = matches(made, [Hit("1", 1.0)])
    assert (found.stale, found.has_image, found.title) == (None, True, "Red")


def test_several_columns_are_no_image(images):
    source = image_source(images)
    two = type(source)(**{**vars(source), "content_columns": ("image", "title")})
    made = collect(images, "two", two, {"1": b"x"})
    assert item_image(made, "1") is None
    assert not has_image(made, "1")


def test_matches_tell_who_stands_for_an_image(images):
    made = collect_images(images)
    images.execute("delete from images where id = 2")
    images.execute("delete from images where id = 3")
    images.execute("update embeddings set content_blob = x'00' where id = '3'")
    found = similar_items(made, "1")
    assert {each.id: each.has_image for each in found} == {
        "2": False,
        **dict.fromkeys(["3", "4", "5", "6"], True),
    }


def test_one_query_tells_of_all_and_reads_no_image(images):
    """SQLite reads a column's type from the head of the row, whatever follows it."""
    made = collect_images(images, is_stored=True)
    asked: list[str] = []
    images.set_trace_callback(asked.append)
    made.items(["1", "2", "3"])
    images.set_trace_callback(None)
    about_blobs = [sql for sql in asked if "from embeddings" in sql]
    assert len(about_blobs) == 1
    assert about_blobs[0].count("content_blob") == 1
    assert "typeof(content_blob)" in about_blobs[0]


def test_a_collection_of_images_is_told_from_one_of_texts(images):
    assert has_images(collect_images(images))
    stored = collect(images, "stored", None, {"a": b"x"}, is_stored=True)
    texts = collect(images, "texts", None, {"a": "x"}, is_stored=True)
    assert has_images(stored)
    assert not has_images(texts)
