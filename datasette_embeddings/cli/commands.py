"""``datasette embeddings …``, and the same as ``sqlite-utils embeddings …``."""

from __future__ import annotations

import click

from datasette_embeddings import distribution
from datasette_embeddings.cli.base import Commands
from datasette_embeddings.cli.check import check
from datasette_embeddings.cli.collections import collections
from datasette_embeddings.cli.demo import demo
from datasette_embeddings.cli.embed import embed
from datasette_embeddings.cli.exports import export_collection
from datasette_embeddings.cli.imports import import_table
from datasette_embeddings.cli.models import models
from datasette_embeddings.cli.search import search, similar
from datasette_embeddings.cli.similarities import similarities
from datasette_embeddings.cli.sync import sync

SECTIONS = {
    "Build and update": (embed, sync, similarities, import_table),
    "Search": (search, similar),
    "Manage": (collections, models, check, export_collection),
    "Try it": (demo,),
}


@click.group(cls=Commands, sections=SECTIONS)
@click.version_option(package_name=distribution.NAME, message="%(package)s %(version)s")
def embeddings() -> None:
    """Semantic search over SQLite: build collections of embeddings and search them.

    \b
        datasette embeddings embed docs.db articles --table articles
        datasette embeddings search docs.db articles "how to make a backup"
    """
