"""``clusters``: which documents of a collection are about the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
from click import Choice

from datasette_embeddings.cli import options
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.output import Row, advise_on_clusters, progress, write
from datasette_embeddings.clusters import building
from datasette_embeddings.clusters.building import ClusterReport, Summarizer
from datasette_embeddings.clusters.summaries import (
    DEFAULT_PROMPT,
    TRUNCATE,
    clusters_as_json,
    summarize,
)
from datasette_embeddings.clusters.texts import read_contents
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, NoClustersError
from datasette_embeddings.models.chat import ChatModel
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store.cluster_facts import KMEANS, METHODS, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.collections import collection as collection_named

# Characters of a title in the table
TITLE_LENGTH = 60
HOW = (
    options.option(
        "count -n --number",
        "How many clusters. Default: the number that separates a sample best.",
        type=int,
    ),
    options.option(
        "--method",
        "hdbscan finds the number of clusters itself, and leaves documents out.",
        type=Choice(METHODS),
        default=KMEANS,
        show_default=True,
    ),
    options.option(
        "--min-size", "With hdbscan: the fewest documents of a cluster.", type=int
    ),
    options.option(
        "--seed",
        "Another seed may find other clusters.",
        type=int,
        default=0,
        show_default=True,
    ),
)
TITLES = (
    options.flag(
        "--summary", "Let a chat model of llm write a title for each cluster."
    ),
    options.option(
        "llm_model --llm",
        "The chat model. Default: the default model of llm.",
        metavar="MODEL",
    ),
    options.option(
        "--prompt", "The instruction for the chat model, instead of asking for a title."
    ),
    options.option(
        "--truncate",
        "Characters of each document that the chat model reads, and that --format json "
        "prints; 0 for all.",
        type=click.IntRange(min=0),
        default=TRUNCATE,
        show_default=True,
    ),
)
OUTPUT = (
    options.flag("--stored", "Print the stored clusters, and find no others."),
    options.flag("--remove", "Delete the stored clusters and stop maintaining them."),
    options.option(
        "output_format --format",
        "json and nl print every document, as llm-cluster does. Default: table.",
        type=Choice(("table", "json", "nl", "csv")),
        default="table",
    ),
    options.SILENT,
)


@click.command(cls=Command, sections={"Clusters": HOW, "Names": TITLES}, options=OUTPUT)
@options.database_argument
@options.collection_argument
@click.argument("number", type=int, required=False)
def clusters(
    database: Path,
    collection: str,
    number: int | None,
    *,
    count: int | None,
    method: str,
    min_size: int | None,
    seed: int,
    summary: bool,
    llm_model: str | None,
    prompt: str | None,
    truncate: int,
    stored: bool,
    remove: bool,
    output_format: str,
    silent: bool,
) -> None:
    """Find which documents of COLLECTION are about the same, and store the clusters.

    A cluster is named by words that set it apart from the others. The clusters are rows
    of embedding_clusters(collection_id, id, cluster, distance). Every later embed, sync
    and delete updates them: new documents join the nearest cluster. NUMBER is the same
    as -n.

    \b
        datasette embeddings clusters docs.db articles
        datasette embeddings clusters docs.db articles -n 20 --format json
        datasette embeddings clusters docs.db articles --summary --llm gpt-4o-mini

    This command needs scikit-learn, which the extra maps installs.
    """
    if number is not None and count is not None:
        raise InvalidInputError("Expected NUMBER or -n, found both")
    if stored and remove:
        raise InvalidInputError("Expected --stored or --remove, found both")
    settings = ClusterSettings(
        method, number if count is None else count, min_size, seed
    )
    asks = summary or llm_model is not None or prompt is not None
    with open_database(database, writable=not stored) as conn:
        found = collection_named(conn, collection)
        if remove:
            building.remove(found)
            click.echo(f"{collection}: clusters removed", err=True)
            return
        if not stored:
            # Before the work of minutes
            building.check_settings(settings)
            summarizer = _summarizer(llm_model, prompt, truncate) if asks else None
            with progress(collection, silent=silent) as callbacks:
                report = building.build(
                    found, settings, summarizer=summarizer, **callbacks
                )
            click.echo(f"{collection}: {report_line(report)}", err=True)
            found = current(found)
        _show(found, output_format, truncate)


def _summarizer(name: str | None, prompt: str | None, truncate: int) -> Summarizer:
    return partial(
        summarize,
        model=ChatModel(name, purpose="a title"),
        prompt=prompt or DEFAULT_PROMPT,
        truncate=truncate,
        warn=partial(click.echo, err=True),
    )


def report_line(report: ClusterReport) -> str:
    """What a run found, in one line."""
    parts = [f"{report.clusters:,} clusters of {report.documents:,} documents"]
    if report.silhouette is not None:
        parts.append(
            f"as many as separate them best (silhouette {report.silhouette:.3f})"
        )
    if report.outside:
        parts.append(f"{report.outside:,} documents are in none")
    return "; ".join(parts)


def _show(found: StoredCollection, output_format: str, truncate: int) -> None:
    """Print the stored clusters of *found*."""
    table = Clusters(found)
    if table.settings is None:
        raise NoClustersError(found.name)
    clusters = table.all()
    if output_format in ("json", "nl"):
        members = {
            each.number: [
                id for id, _distance in table.members(each.number, limit=each.size)
            ]
            for each in clusters
        }
        titles = {each.number: each.summary for each in clusters}
        has_titles = any(each is not None for each in titles.values())
        rows = clusters_as_json(
            found, members, truncate=truncate, summaries=titles if has_titles else None
        )
        write(list(rows), output_format)
    else:
        write(list(_rows(found, clusters)), output_format)
    advise_on_clusters(found)


def _rows(found: StoredCollection, clusters: Sequence[Cluster]) -> Iterator[Row]:
    """Each of *clusters*, with the titles of its central documents."""
    central = [each for cluster in clusters for each in cluster.central]
    titles = {match.id: match.title for match, _text in read_contents(found, central)}
    for each in clusters:
        names = (titles.get(document) or document for document in each.central)
        yield {
            "cluster": each.number,
            "documents": each.size,
            "name": each.name,
            "central": "\n".join(shortened(name, TITLE_LENGTH) for name in names),
        }
