"""``models``: listing, downloading and exporting embedding models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from datasette_embeddings.cli.commands import ListingGroup
from datasette_embeddings.cli.options import (
    CONFIG,
    FORMAT,
    flag,
    optional_database_argument,
)
from datasette_embeddings.cli.output import Row, write
from datasette_embeddings.cli.settings import (
    config_in,
    fetched_model,
    fetched_reranker,
    say_fetching,
)
from datasette_embeddings.config import DEFAULT_MODEL, Config, ModelConfig
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import UnknownModelError
from datasette_embeddings.models import llm_models, onnx_export, sentence_transformer
from datasette_embeddings.models.files import cached_names
from datasette_embeddings.models.names import Candidate
from datasette_embeddings.models.registry import candidates, find, load, model_spec
from datasette_embeddings.store.collections import collections


@click.group(cls=ListingGroup)
def models() -> None:
    """List, download and export embedding models. Without a command: list them.

    \b
        datasette embeddings models
        datasette embeddings models fetch BAAI/bge-small-en-v1.5
    """


@models.command("list", options=(CONFIG, FORMAT))
@optional_database_argument
def list_models(
    database: Path | None, config_file: Path | None, output_format: str | None
) -> None:
    """List the models that can run here, and why others cannot.

    These are the bundled model, those of the settings, of the hub's cache and of llm's
    plugins, and with DB those of its collections. Nothing is loaded or
    downloaded.

    \b
        datasette embeddings models list
        datasette embeddings models list docs.db --config metadata.yml
    """
    config = config_in(config_file)
    names = [DEFAULT_MODEL, config.default_model, *config.models, *cached_names()]
    names += llm_models.registered_ids()
    if database is not None:
        with open_database(database) as conn:
            stored = sorted(collections(conn), key=lambda each: each.model_id)
        for each in stored:
            names.append(each.model_id)
            config = replace(config, models=each.located_models(config.models))
    rows = [_row(name, config) for name in dict.fromkeys(names)]
    write(rows, output_format or "table")
    if output_format is None:
        # The libraries that would bring further runtimes
        for name, answer in candidates(model_spec("USER/MODEL", {})):
            if not isinstance(answer, Candidate) and "pip install" in answer.reason:
                click.echo(f"{name}: {answer.reason}", err=True)


def _row(model_id: str, config: Config) -> Row:
    try:
        found = find(model_spec(model_id, config.models))
    except UnknownModelError as error:
        reason = "; ".join([error.way_out, *error.reasons])
        return {"model": model_id, "runtime": None, "ready": False, "reason": reason}
    note = "another machine may do the work" if found.is_remote else None
    return {"model": model_id, "runtime": found.runtime, "ready": True, "reason": note}


_RERANKER = flag("is_reranker --reranker", "They are cross-encoders, which rerank.")


@models.command("fetch", options=(_RERANKER, CONFIG))
@click.argument("model_ids", metavar="MODEL...", nargs=-1, required=True)
def fetch(
    model_ids: tuple[str, ...], *, is_reranker: bool, config_file: Path | None
) -> None:
    """Download the files of each MODEL, and try it.

    Use it in a Docker build, for example: a server downloads nothing for a visitor.

    \b
        datasette embeddings models fetch BAAI/bge-small-en-v1.5
        datasette embeddings models fetch --reranker \\
          cross-encoder/ms-marco-MiniLM-L6-v2
    """
    config = config_in(config_file)
    for model_id in model_ids:
        if is_reranker:
            reranker = fetched_reranker(model_id, config)
            click.echo(f"{reranker.model_id} is ready ({reranker.runtime})", err=True)
            continue
        spec = replace(model_spec(model_id, config.models), may_download=True)
        found = find(spec)
        if found.downloads:
            say_fetching(spec)
        settings = replace(spec.config, runtime=found.runtime)
        model = load(replace(spec, config=settings, fetches_again=True))
        runtime = f"{model.runtime}, " if model.runtime else ""
        dimensions = len(model.embed_passages(["a"])[0])
        click.echo(
            f"{model.model_id} is ready ({runtime}{dimensions} dimensions)", err=True
        )


@models.command("export", options=(CONFIG,))
@click.argument("model_id", metavar="MODEL")
@click.argument("folder", type=click.Path(path_type=Path))
def export(model_id: str, folder: Path, config_file: Path | None) -> None:
    """Write MODEL to FOLDER as ONNX, for servers without torch.

    It is read with sentence-transformers, which downloads it if necessary, and compared
    with the original before anything is written.

    \b
        datasette embeddings models export BAAI/bge-small-en-v1.5 bge
        datasette embeddings embed docs.db articles --table articles --model ./bge
    """
    config = config_in(config_file)
    # Prompts and dimensions are settings of the server that uses the folder
    settings = replace(
        config.models.get(model_id, ModelConfig()),
        runtime=sentence_transformer.RUNTIME,
        device="cpu",
        query_prompt=None,
        passage_prompt=None,
        dimensions=None,
    )
    model = fetched_model(model_id, Config(models={model_id: settings}))
    assert isinstance(model, sentence_transformer.SentenceTransformerModel)
    cosine = onnx_export.export(model, folder)
    click.echo(
        f"Wrote {folder}; its vectors have a cosine of at least {cosine:.5f} to those "
        f"of {model.model_id}",
        err=True,
    )
