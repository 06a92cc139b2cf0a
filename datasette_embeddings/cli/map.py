"""``map``: where the documents of a collection are on a map, and pictures of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from datasette_embeddings.cli import options
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.output import progress
from datasette_embeddings.databases import open_database
from datasette_embeddings.maps import building, pictures
from datasette_embeddings.maps.export import map_rows
from datasette_embeddings.maps.projections import DEFAULT_METHOD, METHODS
from datasette_embeddings.store import collections as stored
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts, MapSettings

_FILE = click.Path(dir_okay=False, path_type=Path)
OPTIONS = (
    options.option(
        "--method",
        "pacmap and umap keep near documents near; pca shows the two directions in "
        "which they differ most. umap needs the extra umap. Default: that of the "
        "stored map, or pacmap.",
        type=click.Choice(METHODS),
    ),
    options.option(
        "--seed",
        "Another seed makes another map. Default: that of the stored map, or 0.",
        type=click.IntRange(0, building.MOST_SEEDS - 1),
    ),
    options.flag("--remove", "Delete the map and stop maintaining it."),
    options.option("svg_file --svg", "Draw the map as SVG.", type=_FILE),
    options.option(
        "png_file --png", "Draw the map as PNG, which needs Pillow.", type=_FILE
    ),
    options.option(
        "json_file --json",
        "Write id, x, y, cluster and title of each document as JSON; - prints them.",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    ),
    options.option(
        "--color-by",
        "Colour the points of a picture by cluster or by a column. Default: cluster.",
        metavar="COLUMN",
    ),
    options.SILENT,
)


@click.command("map", cls=Command, options=OPTIONS)
@options.database_argument
@options.collection_argument
def map_collection(
    database: Path,
    collection: str,
    method: str | None,
    seed: int | None,
    *,
    remove: bool,
    silent: bool,
    **pictured: Path | str | None,
) -> None:
    """Place each document of COLLECTION on a map, near those like it.

    The coordinates are rows of embedding_coordinates(collection_id, id, x, y). Every
    later embed, sync and delete updates the map: new documents are placed near those
    like them, and the others stay. An existing map is made again only with --method or
    --seed.

    \b
        datasette embeddings map docs.db articles
        datasette embeddings map docs.db articles --method pca
        datasette embeddings map docs.db articles --svg map.svg --color-by author
    """
    with open_database(database, writable=True) as conn:
        found = stored.collection(conn, collection)
        if remove:
            building.remove(found)
            click.echo(f"{collection}: map removed", err=True)
            return
        before, facts = Coordinates(found).settings, Coordinates(found).facts
        if facts is None or method is not None or seed is not None:
            old = before or MapSettings(DEFAULT_METHOD)
            number = old.seed if seed is None else seed
            settings = MapSettings(method or old.method, number)
            with progress(collection, silent=silent) as callbacks:
                facts = building.build(found, settings, **callbacks)
        else:
            facts = building.refresh(found) or facts
        click.echo(_line(collection, facts), err=True)
        _write_files(stored.current(found), **pictured)  # type: ignore[arg-type]


def _line(collection: str, facts: MapFacts) -> str:
    line = f"{collection}: {facts.documents:,} documents on a map by {facts.method}"
    if not facts.placed:
        return line
    return f"{line}; {facts.placed:,} of them placed since it was made"


def _write_files(
    collection: stored.StoredCollection,
    svg_file: Path | None,
    png_file: Path | None,
    json_file: Path | None,
    color_by: str | None,
) -> None:
    # The PNG first: its library may be missing
    if png_file is not None:
        png_file.write_bytes(pictures.png(collection, color_by=color_by))
    if svg_file is not None:
        svg_file.write_text(pictures.svg(collection, color_by=color_by), "utf-8")
    if json_file is not None:
        text = json.dumps(list(map_rows(collection)), ensure_ascii=False)
        with click.open_file(json_file, "w", encoding="utf-8") as file:
            file.write(text + "\n")
