"""Follows live collections in a server: rows are embedded as they are written."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from datasette_embeddings.config import Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.ingest.sync import SyncOutcome
from datasette_embeddings.ingest.watching import PAUSE, Watch
from datasette_embeddings.serving.allowed_models import LONGEST_LOGGED, log_once
from datasette_embeddings.serving.live_state import (
    FOLLOWING,
    NOT_THERE,
    LiveState,
    Pause,
    state_of_database,
    state_of_error,
    turn_to_embed,
)
from datasette_embeddings.serving.live_work import (
    LiveWork,
    StoppedError,
    has_due_changes,
    is_followed_by_rows,
    resume,
    untrack_others,
)
from datasette_embeddings.store.collections import StoredCollection, collections

# How often a database is looked at, and how long files must rest before they are read
TICK_S = 0.25
# Steady writes are embedded about once a second: each run takes time from searches
REST_S = 1.0
# How often a process looks whether the one that embeds has ended
TURN_S = 2.0
# How long the end of the server waits for a run of a model
STOP_S = 10.0
logger = logging.getLogger("datasette_embeddings")


class Follower:
    """Keeps the live collections of one database up to date, in a thread of its own.

    Those are the ones that *config* declares with ``live``.  What another one has of
    triggers is removed.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config
        self.live = {n: each for n, each in config.collections.items() if each.live}
        self.states = dict.fromkeys(self.live, LiveState())
        #: When the database was looked at last, in Unix seconds
        self.checked: float | None = None
        self._stopping, self._pause = threading.Event(), Pause()
        name = f"embeddings-live-{path.stem}"
        # Not waited for without end: a remote model may take minutes to fail
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, in another thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, and wait for it; what it had not written stays behind."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    @property
    def is_stopping(self) -> bool:
        """Whether the thread is to end."""
        return self._stopping.is_set()

    def wait(self, seconds: float) -> None:
        """Wait so many *seconds*, or until the thread is to end."""
        self._stopping.wait(seconds)

    def set_state(self, name: str, state: LiveState, error: object = None) -> None:
        """Note the *state* of the collection *name*; *error* is logged if it is new."""
        if error is not None and self.states.get(name) != state:
            logger.warning("The live collection %r is behind: %s", name, error)
        self.states[name] = state

    def note_look(self) -> None:
        """Note that the database could be read just now."""
        self.checked = time.time()
        self._pause.end()

    def _run(self) -> None:
        while not self.is_stopping:
            try:
                with turn_to_embed(self.path) as is_ours:
                    if is_ours and self._follow():
                        continue
                if is_ours:
                    return
                # Another process embeds; searches here see what it writes
                self.states = dict.fromkeys(self.live, FOLLOWING)
                self.note_look()
                self.wait(TURN_S)
            except Exception as error:  # the thread lasts as long as the server
                self._pause.begin(time.monotonic())
                for name in self.live:
                    self.set_state(name, state_of_database(error), error)
                self.wait(self._pause.until - time.monotonic())

    def _follow(self) -> bool:
        """Follow until the database is replaced; whether there is more to follow."""
        with open_database(self.path, writable=True) as conn:
            _check_writable(conn)
            untrack_others(conn, self.live)
            resume(conn, self.live)
            if self.live:
                _Following(conn, self).until_replaced()
        self.wait(TICK_S)
        return bool(self.live)


def _check_writable(conn: sqlite3.Connection) -> None:
    """Raise SQLite's error if *conn* cannot write."""
    conn.execute("begin immediate")
    conn.rollback()


class _Following:
    """Follows the live collections of one database through *conn*."""

    def __init__(self, conn: sqlite3.Connection, follower: Follower) -> None:
        self._conn, self._follower = conn, follower
        self._work = LiveWork(conn, follower.config, lambda: follower.is_stopping)
        self._watch = Watch(conn, {}, interval=TICK_S)
        #: Those whose sources record each change, and those that are watched
        self._recorded: dict[str, StoredCollection] = {}
        self._watched: set[str] = set()
        self._pauses = {name: Pause() for name in follower.live}
        #: Until when rows that change are collected for the next run
        self._rests: dict[str, float] = {}
        self._version: int | None = None

    def until_replaced(self) -> None:
        """Follow until the file is replaced, or the thread is to end."""
        while not self._follower.is_stopping and not self._watch.is_replaced:
            self._read_collections()
            for name in self._due():
                self._bring_up_to_date(name)
                if self._follower.is_stopping:
                    return
            self._follower.note_look()
            if self._watched:
                self._watch.look()
            else:
                self._follower.wait(TICK_S)

    def _read_collections(self) -> None:
        """See how each live collection is followed, if the database has changed."""
        version = self._conn.execute("pragma data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        stored = {each.name: each for each in collections(self._conn)}
        self._recorded, watched = {}, set[str]()
        for name, declared in self._follower.live.items():
            found = stored.get(name)
            if found is not None and is_followed_by_rows(found, declared):
                self._recorded[name] = found
            elif found is not None or not declared.is_of_searches:
                watched.add(name)
            else:
                self._follower.set_state(name, NOT_THERE, NOT_THERE.reason)
        if not watched <= self._watched:
            self._watch = Watch(
                self._conn, self._follower.live, only=sorted(watched), interval=TICK_S
            )
        self._watched = watched

    def _due(self) -> Iterator[str]:
        """The collections that are behind; each is to be brought up to date at once."""
        for name, found in self._recorded.items():
            begin = max(self._pauses[name].until, self._rests.get(name, 0.0))
            if time.monotonic() < begin:
                continue
            if has_due_changes(found):
                self._follower.set_state(name, LiveState("behind"))
                yield name
            else:
                # Also at the start, and where another program brought it up to date
                self._follower.set_state(name, FOLLOWING)
        while self._watched and (due := self._watch.due()) is not None:
            yield due

    def _bring_up_to_date(self, name: str) -> None:
        started, outcomes = time.monotonic(), list[SyncOutcome]()
        try:
            outcomes.extend(self._work.outcomes(name))
        except EmbeddingsError as error:
            outcomes.append(SyncOutcome(name, error=error))
        except StoppedError:
            return
        except sqlite3.Error:
            # The database cannot be used, nor can its other collections
            raise
        except Exception as error:  # other collections are followed all the same
            message = f"{type(error).__name__}: {error}"
            outcomes.append(SyncOutcome(name, error=EmbeddingsError(message)))
        now, pause = time.monotonic(), self._pauses[name]
        failed = next((each.error for each in outcomes if each.error), None)
        skipped = [each.skipped for each in outcomes if each.skipped]
        if failed is not None:
            pause.begin(now)
            self._follower.set_state(name, state_of_error(failed), failed)
        elif len(skipped) == len(outcomes):
            state = LiveState("off", "; ".join(skipped))
            self._follower.set_state(name, state, state.reason)
        else:
            pause.end()
            self._follower.set_state(name, FOLLOWING)
            _log_failures(name, outcomes)
        if name in self._watched:
            idle = 0.0 if any(map(_has_written, outcomes)) else now - started
            wait_s = max(0.0, pause.until - now)
            self._watch.finish(
                name,
                idle=idle if failed is None else wait_s / PAUSE,
                has_failed=failed is not None,
                retry_s=wait_s,
            )
        self._rests[name] = time.monotonic() + REST_S
        # A collection may be followed in another way now
        self._version = None


def _log_failures(name: str, outcomes: Sequence[SyncOutcome]) -> None:
    """Log why rows cannot be embedded: a visitor may not learn all of it."""
    for outcome in outcomes:
        for each in () if outcome.report is None else outcome.report.failures:
            message = f"The live collection {name!r}: {each.id}: {each.error}"
            log_once(message[:LONGEST_LOGGED])


def _has_written(outcome: SyncOutcome) -> bool:
    """Whether a source had anything to write."""
    report = outcome.report
    return report is not None and bool(
        report.new + report.changed + report.metadata + report.gone + report.replaced
    )
