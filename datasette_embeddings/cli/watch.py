"""``watch``: collections that follow their files and tables."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from datasette_embeddings.cli.commands import (
    Command,
    ended_like_interrupted,
    error_text,
)
from datasette_embeddings.cli.options import (
    CONFIG,
    SILENT,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.output import failure_lines, report_line
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.cli.sync import declares_files, label_of, problem_line, synced
from datasette_embeddings.config import Config
from datasette_embeddings.databases import explained, open_database
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.sync import SyncOutcome
from datasette_embeddings.ingest.watching import Watch

INTERVAL = option(
    "--interval",
    "How often to look at tables and files, and how long they must rest before they "
    "are read.",
    type=click.FloatRange(0.1, 3_600),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
)
POLL = flag(
    "--poll",
    "List folders every 20 intervals, for network file systems that do not report "
    "changes.",
)


@click.command(cls=Command, sections={"This run": (INTERVAL, POLL, SILENT, CONFIG)})
@database_argument
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...")
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    database: Path,
    collections: tuple[str, ...],
    *,
    config_file: Path | None,
    silent: bool,
    interval: float,
    poll: bool,
) -> None:
    """Keep every collection up to date while files and tables change.

    It begins as sync does, and prints a line for each collection; then a line for each
    change. With names, only these collections. Ctrl-C or SIGTERM ends it.

    \b
        datasette embeddings watch docs.db
        datasette embeddings watch docs.db notes articles
        datasette embeddings watch docs.db --config metadata.yml --interval 2

    After an error a collection is tried again when a minute has passed. Rows that
    failed are tried again with the next change.
    """
    config = config_in(config_file, database)
    indexes.configure(config)
    printer, is_first = _Printer(ctx), True
    with suppress(KeyboardInterrupt), ended_like_interrupted():
        while True:
            create = is_first and declares_files(config)
            try:
                with open_database(database, writable=True, create=create) as conn:
                    watched = Watch(
                        conn,
                        config.collections,
                        only=collections,
                        interval=interval,
                        polls=poll,
                    )
                    is_first = False
                    if not watched.names:
                        printer.print_none(database)
                    follow = _Following(conn, database, config, printer, silent)
                    follow.until_replaced(watched)
            except EmbeddingsError as error:
                if is_first:
                    raise
                printer.print_error(error)
            time.sleep(interval)


@dataclass(frozen=True)
class _Following:
    """Keeps the collections of one database file up to date."""

    conn: sqlite3.Connection
    database: Path
    config: Config
    printer: _Printer
    silent: bool
    #: The collections of which all rows were compared
    compared: set[str] = field(default_factory=set)

    def until_replaced(self, watched: Watch) -> None:
        """Sync each collection that is due, until the file is replaced."""
        while True:
            try:
                name = watched.wait()
            except sqlite3.Error as error:
                self.printer.print_error(explained(error, self.database))
                continue
            if name is None:
                return
            self._sync(name, watched)

    def _sync(self, name: str, watched: Watch) -> None:
        """Sync the collection *name*, and report the result to *watched*."""
        started, options = (
            time.monotonic(),
            IngestOptions(prune=True, changed_only=True),
        )
        has_written = has_failed = False
        try:
            for outcome in synced(
                self.conn, self.config, options, [name], silent=self.silent
            ):
                self.printer.print_outcome(outcome)
                has_written = has_written or _has_written(outcome.report)
                has_failed = has_failed or outcome.error is not None
        except EmbeddingsError as error:
            self.printer.print_outcome(SyncOutcome(name, error=error))
            has_failed = True
        except sqlite3.Error as error:
            # SQLite writes to no file that was moved away
            if not watched.is_replaced:
                self.printer.print_error(explained(error, self.database), name)
            has_failed = True
        if not has_failed:
            self.compared.add(name)
        idle = 0.0 if has_written else time.monotonic() - started
        watched.finish(name, idle=idle, has_failed=has_failed)


def _has_written(report: Report | None) -> bool:
    """Whether a run changed any item."""
    if report is None:
        return False
    deleted = report.replaced or (report.pruned and report.gone)
    return bool(report.new or report.changed or report.metadata or deleted)


@dataclass
class _Printer:
    """Prints a line for each change, and for what else differs from the time before."""

    ctx: click.Context
    _printed: dict[tuple[str | None, str | None], object] = field(default_factory=dict)

    def print_outcome(self, outcome: SyncOutcome) -> None:
        """Print *outcome*, unless nothing was written and it is the same as before."""
        key, report = (outcome.collection, outcome.prefix), outcome.report
        # The database could be read
        self._printed.pop((None, None), None)
        if report is None:
            line = problem_line(self.ctx, outcome)
            self._print(key, line, [line])
            return
        if _has_written(report):
            self._printed.pop(key, None)
        lines = [report_line(label_of(outcome), report), *failure_lines(report)]
        self._print(key, (report.empty, report.failures), lines)

    def print_error(self, error: EmbeddingsError, name: str | None = None) -> None:
        """Print *error* of the whole database, found at the sync of *name*."""
        line = f"Error: {error_text(self.ctx, error)}"
        self._print((name, None), line, [line])

    def print_none(self, database: Path) -> None:
        """Print that there is nothing to do yet."""
        line = f"{database} has no collections yet, and none is declared"
        self._print((None, None), line, [line])

    def _print(
        self, key: tuple[str | None, str | None], found: object, lines: list[str]
    ) -> None:
        if self._printed.get(key) != found:
            text = "\n".join(lines)
            click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)
        self._printed[key] = found
