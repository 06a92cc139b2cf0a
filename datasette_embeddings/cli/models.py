"""``models``: what can embed here, be fetched ahead, or be made lighter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from datasette_embeddings.cli.base import fetched_model, format_option, write
from datasette_embeddings.cli.groups import Group, verbose_option
from datasette_embeddings.cli.settings import config_in, metadata_option
from datasette_embeddings.config import DEFAULT_MODEL, Config, ModelConfig
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import UnknownModelError
from datasette_embeddings.formats import Row
from datasette_embeddings.models import (
    exporting,
    llm_models,
    sentence_transformer,
)
from datasette_embeddings.models.base import Candidate
from datasette_embeddings.models.hub import cached_names
from datasette_embeddings.models.open_clip_weights import cached_ids
from datasette_embeddings.models.registry import candidates, find, model_spec
from datasette_embeddings.store.catalog import collections, models_of


@click.group(
    cls=Group,
    invoke_without_command=True,
)
@click.pass_context
def models(ctx: click.Context) -> None:
    """The embedding models that can be used here: without a command, list them."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list")
@click.argument("database", required=False, type=click.Path(path_type=Path))
@metadata_option
@format_option
def list_models(
    database: Path | None, metadata: Path | None, output_format: str | None
) -> None:
    """Every model that can run here, and why others cannot.

    The bundled one, those of the configuration, those in the hub's cache, those of
    llm's plugins, and with DATABASE those of its collections. Nothing is loaded and
    nothing is fetched.

    \b
        datasette embeddings models list
        datasette embeddings models list docs.db -m metadata.yml
    """
    config = config_in(metadata)
    names = {DEFAULT_MODEL: None, **dict.fromkeys([config.default_model])}
    names |= dict.fromkeys([*config.models, *cached_names()])
    names |= dict.fromkeys([*cached_ids(), *llm_models.registered_ids()])
    if database is not None:
        with open_database(database) as conn:
            stored = collections(conn)
        for each in sorted(stored, key=lambda each: each.model_id):
            names.setdefault(each.model_id)
            config = replace(config, models=models_of(each, config.models))
    rows = [_row(name, config) for name in names]
    write(rows, output_format or "table")
    if output_format is None:
        _show_missing()


def _row(model_id: str, config: Config) -> Row:
    try:
        found = find(model_spec(model_id, config.models))
    except UnknownModelError as problem:
        reason = "; ".join([problem.way_out, *problem.reasons])
        return {"model": model_id, "runtime": None, "ready": False, "reason": reason}
    note = "another machine may do the work" if found.is_remote else None
    return {"model": model_id, "runtime": found.runtime, "ready": True, "reason": note}


def _show_missing() -> None:
    """Tell of the runtimes that an extra would bring."""
    for name, answer in candidates(model_spec("USER/MODEL", {})):
        if not isinstance(answer, Candidate) and "pip install" in answer.reason:
            click.echo(f"{name}: {answer.reason}", err=True)


@models.command("fetch")
@click.argument("model_ids", metavar="MODEL...", nargs=-1, required=True)
@metadata_option
@verbose_option
def fetch(model_ids: tuple[str, ...], metadata: Path | None) -> None:
    """Bring the files of each MODEL here, and try it.

    For a Docker build, say: a server fetches nothing for a visitor.

    \b
        datasette embeddings models fetch BAAI/bge-small-en-v1.5
    """
    config = config_in(metadata)
    for model_id in model_ids:
        model = fetched_model(model_id, config)
        [length] = {len(vector) for vector in model.embed_passages(["a"])}
        click.echo(
            f"{model.model_id} is here: {model.runtime or 'it'} gives vectors of "
            f"{length} numbers",
            err=True,
        )


@models.command("export")
@click.argument("model_id", metavar="MODEL")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Weights of 8 bits: a quarter of the size.")
@metadata_option
@verbose_option
def export(model_id: str, folder: Path, metadata: Path | None, *, int8: bool) -> None:
    """Write MODEL to FOLDER as ONNX, to be served where no torch is.

    It is read with sentence-transformers, which fetches it if need be, and compared
    with the original before anything is written.

    \b
        datasette embeddings models export BAAI/bge-small-en-v1.5 bge --int8
        datasette embeddings embed docs.db articles --table articles --model ./bge
    """
    config = config_in(metadata)
    known = config.models.get(model_id, ModelConfig())
    # What the owner adds to it is added where it is served
    settings = replace(
        known,
        runtime=sentence_transformer.RUNTIME,
        device="cpu",
        query_prompt=None,
        passage_prompt=None,
        dimensions=None,
    )
    model = fetched_model(model_id, Config(models={model_id: settings}))
    assert isinstance(model, sentence_transformer.SentenceTransformerModel)
    made = exporting.export(model, folder, int8=int8)
    click.echo(
        f"{made.folder} has {made.size_bytes / 1e6:.1f} MB; its vectors have a cosine "
        f"of at least {made.cosine:.5f} to those of {model.model_id}",
        err=True,
    )
