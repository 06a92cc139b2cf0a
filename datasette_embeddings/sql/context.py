"""A connection's policy, clock and last error, as its functions need them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

from datasette_embeddings.analysis.axes import Axis
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import EmbeddingsError, shortened
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.names import is_path, located
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.vectors import Vector, Vectors

logger = logging.getLogger("datasette_embeddings")
SqlValue: TypeAlias = str | bytes | int | float | None
#: Of a search: its kind or mode, the collection, a digest of the query, the limit
SearchKey: TypeAlias = tuple[str, str, bytes, int]
#: Of an axis: its ends as texts or vectors, and the model if it is named
AxisKey: TypeAlias = tuple[str | bytes, ...]
#: A collection, or none for the default model, and the labels
LabelsKey: TypeAlias = tuple[str | None, tuple[str, ...]]
# Characters of a text on a connection without the limits of a server
LONGEST_TEXT = 10_000_000
# Virtual machine steps between two looks at the clock, as in Datasette
PROGRESS_STEPS = 1_000


def load_local(conn: sqlite3.Connection, model_id: str) -> EmbeddingModel:
    """The model called *model_id*; a path starts at the folder of the database."""
    if not is_path(model_id):
        return load_model(model_id)
    return load_model(model_id, located({}, model_id, folder_of(conn)))


@dataclass(frozen=True)
class Policy:
    """What SQL on one connection may use."""

    #: The model of an id, or an error
    load: Callable[[str], EmbeddingModel] = load_model
    default_model: str = DEFAULT_MODEL
    #: The file is opened as one that no program changes
    immutable: bool = False
    #: Queries that take longer are interrupted
    time_limit_s: float | None = None
    max_text_length: int = LONGEST_TEXT
    max_image_pixels: int | None = None
    #: Called with the reason why a function failed
    report: Callable[[str], None] | None = None
    #: Adds embed_error(), which on a shared connection shows errors of other users
    expose_errors: bool = True


@dataclass
class Context:
    """One connection: its policy, and what it remembers between two calls."""

    conn: sqlite3.Connection
    policy: Policy
    clock: Clock
    last_error: str | None = None
    #: Answers of searches, with the state of the database when they were found
    remembered: dict[SearchKey, tuple[object, str]] = field(default_factory=dict)
    #: Axes of the last calls, whose ends need the model
    axes: dict[AxisKey, Axis] = field(default_factory=dict)
    #: The vectors of labels, (m, d), and their scale, with the state of the database
    labels: dict[LabelsKey, tuple[object, Vectors, float]] = field(default_factory=dict)

    def model(self, model_id: str) -> EmbeddingModel:
        """The model of that id; loading takes none of the time."""
        with self.clock.loading():
            return self.policy.load(model_id)

    def query_vectors(
        self, model: EmbeddingModel, texts: Sequence[str]
    ) -> list[Vector]:
        """The vectors of *texts* as queries, as long as there is time.

        :raises sqlite3.OperationalError: if the time is up.
        """
        rows = []
        for text in texts:
            rows.append(model.query_vector(text))
            if self.clock.is_over:
                # The model remembers those that it has embedded
                raise sqlite3.OperationalError("interrupted")
        return rows

    def report(self, name: str, error: EmbeddingsError) -> EmbeddingsError:
        """Report *error*, and return a short one to raise instead.

        SQLite cannot carry a message, and Datasette has sqlite3 print the traceback.
        """
        reason = shortened(f"{name}(): {error}")
        if self.policy.expose_errors:
            self.last_error = reason
        logger.warning(reason)
        if self.policy.report is not None:
            self.policy.report(reason)
        return EmbeddingsError("The reason is in the log line above")


class Clock:
    """Interrupts a query that runs past its limit inside our functions.

    Datasette looks at the time every thousand steps of SQLite's virtual machine, and
    one call of a function is one step.  Loading a model or a matrix is not counted.
    """

    def __init__(self, conn: sqlite3.Connection, limit_s: float | None) -> None:
        self._conn = conn
        self._limit_s = limit_s
        self._started, self._excused = perf_counter(), 0.0
        # One of the functions runs; its statements are part of the one that called it
        self._inside = False
        self._statement = 0
        self._is_watching = limit_s is None

    def _statement_begins(self, sql: str) -> None:
        # Virtual tables, such as those of full-text search, run statements of their
        # own, and SQLite writes each line of those as a comment
        is_nested = all(line.startswith("-- ") for line in sql.split("\n"))
        if not self._inside and not is_nested:
            self._statement += 1
            self._started, self._excused = perf_counter(), 0.0

    @property
    def is_over(self) -> bool:
        """Whether the statement that runs has used up its time."""
        elapsed = perf_counter() - self._started - self._excused
        return self._limit_s is not None and elapsed > self._limit_s

    def timed(self, call: Callable[..., SqlValue]) -> Callable[..., SqlValue]:
        """*call*, run only while the statement that calls it has time left."""

        def timed(*arguments: Any) -> SqlValue:  # noqa: ANN401 - what *call* takes
            if not self._is_watching:
                # Only this callback reports where a statement begins
                self._conn.set_trace_callback(self._statement_begins)
                self._started, self._is_watching = perf_counter(), True
            if self._interrupted():
                return None
            self._inside = True
            try:
                result = call(*arguments)
            except sqlite3.OperationalError as error:
                if str(error) != "interrupted":
                    raise
                # A statement within ran out of time, so the one that called it ends
                self._conn.interrupt()
                return None
            finally:
                self._inside = False
            self._interrupted()
            return result

        return timed

    def _interrupted(self) -> bool:
        """Whether time is up; if so, the statement ends at its next step."""
        if self.is_over:
            self._conn.interrupt()
            # Another program may have replaced the callback that restarts the clock
            self._conn.set_trace_callback(self._statement_begins)
        return self.is_over

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Work that is not counted, after which the whole limit is still there."""
        began = perf_counter()
        try:
            yield
        finally:
            took = perf_counter() - began
            self._excused += took
            if self._limit_s is not None and took > self._limit_s / 10:
                # Datasette's own deadline does not know.  It removes the handler when
                # a query ends, but has none where it writes
                statement = self._statement
                self._conn.set_progress_handler(
                    lambda: self.is_over and statement == self._statement,
                    PROGRESS_STEPS,
                )
