"""``evaluate``: how good a search is, by questions whose answers are known."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click

from datasette_embeddings.cli import evaluation_report as report
from datasette_embeddings.cli.calibration import calibrated, off_topic_texts
from datasette_embeddings.cli.commands import Command, ended_like_interrupted
from datasette_embeddings.cli.options import (
    CONFIG,
    SILENT,
    collection_argument,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.output import FORMATS, progress
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.config import MODES, Config, Mode
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, listed
from datasette_embeddings.ingest.known_items import collection_without, known_items
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search import evaluation
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.questions import (
    MOST_QUESTIONS,
    Question,
    answerable,
    read_questions,
)
from datasette_embeddings.search.text_search import mode_of
from datasette_embeddings.store import collections
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.collections import StoredCollection

# As many questions as --known-item asks, unless --sample says another number
SAMPLE, SEED = 1_000, 15

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OPTIONS = (
    option("--qrels", "The answers, where QUESTIONS are topics of TREC.", type=_FILE),
    option(
        "--known-item",
        "Ask for each text of this column, in a copy that does not contain it.",
        metavar="COLUMN",
    ),
    option(
        "--sample",
        "Ask so many of the questions, drawn at random, always the same. "
        f"Default: all; with --known-item {SAMPLE:,}.",
        type=click.IntRange(1, MOST_QUESTIONS),
        metavar="N",
    ),
    option(
        "modes --mode",
        "Search in this mode only. Repeatable. Default: all that the collection has.",
        type=click.Choice(MODES),
        multiple=True,
    ),
    option(
        "other --compare",
        "Another collection of the same documents, to compare with.",
        metavar="COLLECTION",
    ),
    flag("--failures", "List the questions without an answer among the 10 best."),
    option(
        "--min-mrr",
        "Exit with 1 if the MRR of both, or of the only --mode, is lower.",
        type=click.FloatRange(0, 1),
        metavar="MRR",
    ),
    option(
        "--calibrate",
        "Store when an answer is close, by questions that have no answer here.",
        type=_FILE,
        metavar="OFF_TOPIC",
    ),
    option(
        "output_format --format",
        "The figures only, for programs. Default: for people.",
        type=click.Choice(FORMATS),
    ),
    SILENT,
    CONFIG,
)


@click.command(cls=Command, options=OPTIONS)
@database_argument
@collection_argument
@click.argument("questions", required=False, type=_FILE)
@click.pass_context
def evaluate(
    ctx: click.Context,
    database: Path,
    collection: str,
    questions: Path | None,
    *,
    qrels: Path | None,
    known_item: str | None,
    sample: int | None,
    modes: tuple[Mode, ...],
    other: str | None,
    failures: bool,
    min_mrr: float | None,
    calibrate: Path | None,
    output_format: str | None,
    silent: bool,
    config_file: Path | None,
) -> None:
    """Measure how well COLLECTION answers QUESTIONS, in each mode of search.

    QUESTIONS is a file of JSON, newline-delimited JSON or CSV: a question, the ids of
    all documents that answer it, and if you like its kind. With --qrels it has the
    topics of TREC. The database is not changed, except by --calibrate: OFF_TOPIC is a
    JSON list of questions that cannot be answered, or a text file with one a line.

    \b
        {"q": "how to make a backup", "relevant": ["17", "23"], "kind": "question"}

    \b
        datasette embeddings evaluate docs.db articles questions.json
        datasette embeddings evaluate docs.db articles questions.json --failures
        datasette embeddings evaluate docs.db articles questions.json --min-mrr 0.8
        datasette embeddings evaluate docs.db articles questions.json --compare other
        datasette embeddings evaluate docs.db articles --known-item title
        datasette embeddings evaluate docs.db articles q.json --calibrate off_topic.txt

    The exit code is 1 if the MRR is below --min-mrr, or --calibrate found no threshold.
    """
    if (questions is None) == (known_item is None) or (qrels and not questions):
        raise InvalidInputError(
            "Expected a file of QUESTIONS, with --qrels for the topics of TREC, or "
            "--known-item COLUMN, which makes them"
        )
    config = config_in(config_file)
    opened = open_database(database, writable=calibrate is not None)
    with opened as conn, ended_like_interrupted():
        names = [collection] if other is None else [collection, other]
        found = [collections.collection(conn, name) for name in names]
        of_each = [_modes(each, modes) for each in found]
        common = [mode for mode in of_each[0] if mode in of_each[-1]]
        guarded = _guarded(common, min_mrr)
        is_alone = not (other or known_item)
        off_topic = off_topic_texts(found[0], calibrate, is_alone=is_alone)
        if questions is not None:
            asked = read_questions(conn, questions, qrels)
        elif known_item is not None:
            asked, sample = known_items(found[0], known_item), sample or SAMPLE
        with _searched(found, known_item, config, silent=silent) as searched:
            asked = _sampled(_answerable(asked, searched), sample)
            calibration = calibrated(*searched[0], asked, off_topic, silent=silent)
            runs = _runs(searched, common, asked, silent=silent)
    report.show(runs, output_format)
    shown = [run for run in runs if run.mode == guarded]
    if failures:
        report.show_failures(shown, err=output_format is not None)
    is_calibrated = report.show_calibration(calibration, output_format)
    if _is_low(shown[0], min_mrr) or not is_calibrated:
        ctx.exit(1)


def _is_low(run: evaluation.Run, min_mrr: float | None) -> bool:
    """Whether the MRR of *run* is below *min_mrr*; prints that."""
    mrr = run.summary().means["mrr"]
    if min_mrr is None or mrr >= min_mrr:
        return False
    message = f"The MRR of {run.mode!r} is {mrr:.3f}, below {min_mrr:g}"
    click.echo(f"Error: {message}", err=True)
    return True


def _modes(collection: StoredCollection, asked: Sequence[Mode]) -> list[Mode]:
    """The modes that are *asked* for, or all in which *collection* can be searched."""
    for mode in asked:
        mode_of(collection, mode)
        if mode == "both" and not collection.has_words:
            mode_of(collection, "words")
    return [mode for mode in MODES if mode in (asked or _possible(collection))]


def _possible(collection: StoredCollection) -> Sequence[Mode]:
    return MODES if collection.has_words else ("meaning",)


def _guarded(modes: Sequence[Mode], min_mrr: float | None) -> str:
    """The mode whose MRR ``--min-mrr`` is about, and whose failures are listed."""
    if min_mrr is not None and len(modes) > 1 and "both" not in modes:
        raise InvalidInputError(
            f"Expected --min-mrr with one --mode or with both, found {listed(modes)}"
        )
    return "both" if "both" in modes else modes[0]


@contextmanager
def _searched(
    found: Sequence[StoredCollection],
    column: str | None,
    config: Config,
    *,
    silent: bool,
) -> Iterator[list[tuple[StoredCollection, EmbeddingModel]]]:
    """The collections that are *found*, without *column*, each with its model."""
    with ExitStack() as stack:
        searched = []
        for each in found:
            model = load_model(each.model_id, each.located_models(config.models))
            if column is not None:
                with progress(each.name, silent=silent) as callbacks:
                    copy = collection_without(each, column, model, **callbacks)
                    each = stack.enter_context(copy)
            searched.append((each, model))
        yield searched


def _answerable(
    asked: Sequence[Question],
    searched: Sequence[tuple[StoredCollection, EmbeddingModel]],
) -> list[Question]:
    """The questions that each of *searched* can answer; prints what is left out."""
    for each, _model in searched:
        ids = sorted(set().union(*(question.relevant for question in asked)))
        asked, left_out, missing = answerable(asked, existing_documents(each, ids))
        if missing:
            click.echo(
                f"{len(missing):,} of {len(ids):,} answers are not in {each.name!r}: "
                f"{listed(sorted(missing))}",
                err=True,
            )
        if left_out:
            count = len(left_out) + len(asked)
            click.echo(
                f"Left out, without an answer in {each.name!r}: {len(left_out):,} of "
                f"{count:,} questions: {listed([e.text for e in left_out])}",
                err=True,
            )
    if not asked:
        raise InvalidInputError(
            "Expected questions with the ids of documents that answer them, found none "
            f"whose answers are in {searched[0][0].name!r}"
        )
    return list(asked)


def _sampled(asked: list[Question], sample: int | None) -> list[Question]:
    if sample is None or len(asked) <= sample:
        return asked
    click.echo(f"{sample:,} of {len(asked):,} questions, drawn at random", err=True)
    drawn = random.Random(SEED).sample(range(len(asked)), sample)
    return [asked[number] for number in sorted(drawn)]


def _runs(
    searched: Sequence[tuple[StoredCollection, EmbeddingModel]],
    modes: Sequence[Mode],
    asked: Sequence[Question],
    *,
    silent: bool,
) -> list[evaluation.Run]:
    """A run for each of *modes* in each of the collections that are *searched*."""
    runs = []
    with progress("questions", silent=silent, unit=" searches") as callbacks:
        callbacks["start"](len(asked) * len(searched) * len(modes))
        for collection, model in searched:
            for mode in modes:
                search = partial(_ranking, collection, model, mode)
                done = callbacks["progress"]
                outcomes = evaluation.evaluate(asked, search, progress=done)
                runs.append(evaluation.Run(collection.name, mode, outcomes))
    return runs


def _ranking(
    collection: StoredCollection, model: EmbeddingModel, mode: Mode, text: str
) -> list[str]:
    """The ids of the documents that a search for *text* finds, best first."""
    options = Options(limit=evaluation.DEPTH, mode=mode)
    found = search_text(collection, text, model=model, options=options)
    return [match.document_id for match in found]
