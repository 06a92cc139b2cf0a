"""A table of small images, a collection of it, and a server whose model sees them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from datasette_embeddings.documents import Document
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.attaching import finish_sync
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from tests.models import Eyes

COLOURS = {
    "Red": (200, 30, 40),
    "Green": (20, 140, 60),
    "Blue": (30, 60, 190),
    "Yellow": (230, 200, 40),
    "Grey": (128, 128, 128),
    "Pink": (240, 150, 180),
}
# What another program may have put where images are
HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
TIFF = b"II*\x00\x08\x00\x00\x00" + bytes(40)


def png(colour, *, side=40, noise=b"") -> bytes:
    """A disc of *colour* on white; *noise* makes the file as large as one wants it."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = (x**2 + y**2 < (side * 0.4) ** 2)[..., np.newaxis]
    pixels = np.where(inside, np.array(colour), 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if noise:
        parts.insert(1, (b"prVt", noise))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def write_images(conn, images=None) -> None:
    """The table `images`, one row for each of COLOURS unless told."""
    conn.execute(
        "create table images (id integer primary key, title text, price integer,"
        " shape text, image blob)"
    )
    found = images or {name: png(colour) for name, colour in COLOURS.items()}
    conn.executemany(
        "insert into images (title, price, shape, image) values (?, ?, 'disc', ?)",
        [
            (title, 10 * place, image)
            for place, (title, image) in enumerate(found.items(), 1)
        ],
    )
    conn.commit()


def image_source(conn, table="images", **rules):
    return table_source(
        conn, table, content_columns=["image"], rules=Source(images=True, **rules)
    )


def collect(conn, name, source, images, *, is_stored=False):
    """The collection *name* of *images* by id, with vectors of Eyes."""
    made = create_collection(conn, name, Eyes.model_id, source)
    vectors = [Eyes()._vector(_as_seen(image)) for image in images.values()]
    documents = [Document(item_id, image) for item_id, image in images.items()]
    with transaction(conn):
        write_embeddings(made, documents, np.stack(vectors), store_content=is_stored)
    finish_sync(made, source)
    return made


def _as_seen(content):
    return content.hex() if isinstance(content, bytes) else content


def collect_images(conn, **options):
    """The collection `images` of the table of that name."""
    source = image_source(conn)
    images = dict(conn.execute("select cast(id as text), image from images"))
    return collect(conn, "images", source, images, **options)


# A server of its own has a registry of its own, where the stand-in must be put
PLUGIN = """
from datasette_embeddings.models import registry
from tests.models import Eyes, runtimes_with

registry.RUNTIMES = runtimes_with(Eyes())
"""
# The stand-in as a model of the configuration
EYES = {"models": {"eyes": {}}}


def write_plugin(folder):
    """A folder for ``--plugins-dir`` whose plugin brings the stand-in."""
    plugins = folder / "plugins"
    plugins.mkdir()
    (plugins / "eyes.py").write_text(PLUGIN)
    return plugins
