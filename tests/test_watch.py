"""`watch`: collections that follow their files and tables, in real processes."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from contextlib import closing, contextmanager

import pytest
import yaml
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.ingest import watching
from datasette_embeddings.ingest.watching import FolderChanges, Watch
from datasette_embeddings.store.changes import track
from datasette_embeddings.store.collections import collection
from tests.conftest import write_articles
from tests.programs import ours

# A busy machine may be slow; nothing here takes longer than it must
PATIENCE = 60
INSERT = "insert into articles (body) values ('new')"
# The command with other constants
PROGRAM = """
from datasette_embeddings import databases
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.ingest import watching
from datasette_embeddings.store import staging

{}
embeddings()
"""


class Program:
    """A `watch` that runs; its lines come without their time."""

    def __init__(self, process):
        self.process, self._lines = process, queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self):
        line = self._lines.get(timeout=PATIENCE)
        assert line is None or re.match(r"\d\d:\d\d:\d\d ", line), line
        return line and line[9:]

    def end(self, sent):
        """What it prints after the signal *sent*, and its exit code."""
        self.process.send_signal(sent)
        return self.line(), self.process.wait(PATIENCE)


@contextmanager
def running(*arguments, where=""):
    command = [
        sys.executable,
        "-c",
        PROGRAM.format(where),
        "watch",
        *map(str, arguments),
        "--interval",
        "0.1",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def save_by_renaming(path, text):
    """As editors do it, beside a file of their own."""
    path.with_name(f".{path.name}.swp").write_text("an editor's own")
    path.with_name(f"{path.name}~").write_text(text)
    path.with_name(f"{path.name}~").rename(path)


def change(path, sql):
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(sql)


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("Flour and water become bread.")
    (folder / "b.md").write_text("Saturn has rings.")
    return folder


def test_collections_follow_files_and_tables(articles_db, notes, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("id,body\n1,one\n")
    ours("embed", articles_db, "notes", "--files", notes, "*.md")
    ours("embed", articles_db, "rows", rows)
    with running(articles_db) as program:
        assert sorted(program.line() for _ in range(3)) == [
            "articles: 0 new, 0 changed, 6 unchanged",
            "notes: 0 new, 0 changed, 2 unchanged",
            "rows: 0 new, 0 changed, 1 unchanged",
        ]
        save_by_renaming(notes / "a.md", "A telescope shows the moon.")
        assert program.line() == "notes: 0 new, 1 changed, 1 unchanged"
        change(articles_db, "insert into articles values (7, 'Moon', 'far')")
        assert program.line() == "articles: 1 new, 0 changed, 6 unchanged"
        rows.write_text("id,body\n1,one\n2,two\n")
        assert program.line() == "rows: 1 new, 0 changed, 1 unchanged"
        notes.rename(tmp_path / "away")
        gone = f"Error: notes: Expected a folder at {notes}, found nothing"
        assert program.line() == gone
        (tmp_path / "away" / "b.md").unlink()
        (tmp_path / "away").rename(notes)
        deleted = "1 no longer in the source (deleted)"
        assert program.line() == f"notes: 0 new, 0 changed, 1 unchanged, {deleted}"
        assert program.end(signal.SIGTERM) == (None, 0)
    assert "nothing is wrong" in ours("check", articles_db).output


def test_of_a_tracked_table_only_changed_rows_are_read(articles_db):
    """The first run compares all rows; the others are not even counted then."""
    with closing(sqlite3.connect(articles_db)) as conn:
        found = collection(conn, "articles")
        track(found, found.source)
    with running(articles_db) as program:
        assert program.line() == "articles: 0 new, 0 changed, 6 unchanged"
        change(articles_db, "insert into articles values (7, 'Moon', 'far')")
        assert program.line() == "articles: 1 new, 0 changed, 0 unchanged"
        change(articles_db, "delete from articles where id = 7")
        deleted = "1 no longer in the source (deleted)"
        assert program.line() == f"articles: 0 new, 0 changed, 0 unchanged, {deleted}"
        assert program.end(signal.SIGTERM) == (None, 0)
    assert "nothing is wrong" in ours("check", articles_db).output


def test_what_fails_is_printed_once_and_tried_again(tmp_path, notes):
    rows, path = tmp_path / "rows.csv", tmp_path / "new.db"
    declared = {"rows": {"input": str(rows)}, "notes": {"files": {str(notes): "*.md"}}}
    settings = tmp_path / "settings.yml"
    plugins = {"datasette-embeddings": {"collections": declared}}
    settings.write_text(yaml.safe_dump({"plugins": plugins}, sort_keys=False))
    hasty = "databases.BUSY_TIMEOUT_S = watching.RETRY = 0.2"
    with running(path, "--config", settings, where=hasty) as program:
        assert program.line().startswith(f"Error: rows: {rows} cannot be read")
        assert program.line() == "notes: 2 new, 0 changed, 0 unchanged"
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("begin exclusive")
            save_by_renaming(notes / "a.md", "A telescope shows the moon.")
            assert program.line().startswith(f"Error: {path} is locked")
            conn.rollback()
        assert program.line() == "notes: 0 new, 1 changed, 1 unchanged"
        shutil.copy(path, tmp_path / "backup.db")
        rows.write_text("id,body\n1,one\n")
        assert program.line() == "rows: 1 new, 0 changed, 0 unchanged"
        # Another file, of which the program has another connection
        (tmp_path / "backup.db").replace(path)
        assert program.line() == "rows: 1 new, 0 changed, 0 unchanged"
        path.unlink()
        missing = f"Error: Expected a database file at {path}, found nothing"
        assert program.line() == missing
        assert program.end(signal.SIGINT) == (None, 0)


def test_a_run_that_is_killed_leaves_a_database_to_go_on_with(tmp_path):
    path = tmp_path / "articles.db"
    with closing(sqlite3.connect(path)) as conn:
        write_articles(conn)
    with (
        closing(sqlite3.connect(path)) as conn,
        running(path, where="staging.WINDOW_DOCUMENTS = 8") as program,
    ):
        assert program.line() == f"{path} has no collections yet, and none is declared"
        ours("embed", path, "articles", "--table", "articles")
        assert program.line() == "articles: 0 new, 0 changed, 6 unchanged"
        rows = ", ".join(f"('Body {number}')" for number in range(40))
        conn.execute(f"insert into articles (body) values {rows}")
        conn.commit()
        before = conn.execute("pragma data_version").fetchone()
        while conn.execute("pragma data_version").fetchone() == before:
            time.sleep(0.01)
        program.process.kill()
    ours("sync", path)
    assert "nothing is wrong" in ours("check", path).output


def test_a_collection_that_is_not_there_is_an_error(articles_db):
    result = CliRunner().invoke(embeddings, ["watch", str(articles_db), "nowhere"])
    assert (result.exit_code, "No collection 'nowhere'" in result.output) == (1, True)


@pytest.fixture
def watch(articles, articles_db, notes):
    """A watch over a table and a folder, both of which were synced just now."""
    ours("embed", articles_db, "notes", "--files", notes, "*.md")
    found = Watch(articles, {}, interval=0.05)
    assert {settle(found), settle(found)} == {"articles", "notes"}
    return found


def settle(found, **how):
    """The collection that is due, which is not synced at all."""
    alarm = threading.Timer(PATIENCE, interrupt_main)
    alarm.start()
    try:
        name = found.wait()
    except KeyboardInterrupt:
        pytest.fail("Nothing is due")
    finally:
        alarm.cancel()
    found.finish(name, **how)
    return name


def test_its_own_commits_do_not_count(watch, articles, articles_db, notes):
    articles.execute(INSERT)
    articles.commit()
    # What is found of it is found before this
    save_by_renaming(notes / "a.md", "new")
    assert settle(watch) == "notes"
    change(articles_db, INSERT)
    assert settle(watch) == "articles"


def test_files_that_the_source_does_not_read_do_not_count(watch, articles_db, notes):
    (notes / ".a.md.swp").write_text("new")
    (notes / "a.txt").write_text("new")
    for _ in range(3):
        change(articles_db, INSERT)
        assert settle(watch) == "articles"


def test_a_folder_that_is_made_again_is_followed(watch, notes):
    for name in ("a.md", "b.md"):
        (notes / name).unlink()
    assert settle(watch) == "notes"
    for _ in range(2):
        # The system may give it the number that it had before
        notes.rmdir()
        notes.mkdir()
        (notes / "c.md").write_text("new")
        assert settle(watch) == "notes"
        (notes / "c.md").unlink()
        assert settle(watch) == "notes"


def test_a_folder_that_is_moved_away_and_back_is_followed(watch, notes, tmp_path):
    notes.rename(tmp_path / "away")
    (tmp_path / "away").rename(notes)
    (notes / "c.md").write_text("new")
    assert settle(watch) == "notes"
    for text in ("newer", "newest"):
        (notes / "c.md").write_text(text)
        assert settle(watch) == "notes"


def test_a_table_that_never_rests_is_read_all_the_same(articles, articles_db):
    found, ends = Watch(articles, {}, interval=0.1), threading.Event()
    assert settle(found) == "articles"

    def write():
        with closing(sqlite3.connect(articles_db)) as conn:
            conn.execute("pragma synchronous = off")
            while not ends.is_set():
                conn.execute(INSERT)
                conn.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert settle(found) == "articles"
    finally:
        ends.set()
        writer.join()


def test_a_sync_that_finds_nothing_is_followed_by_a_pause(watch, articles_db, notes):
    change(articles_db, INSERT)
    assert settle(watch, idle=PATIENCE) == "articles"
    change(articles_db, INSERT)
    for text in ("new", "newer"):
        save_by_renaming(notes / "a.md", text)
        assert settle(watch) == "notes"


def test_the_first_sync_is_followed_by_no_pause(articles, articles_db, monkeypatch):
    """It loads the model, which takes long once."""
    monkeypatch.setattr(watching, "LONGEST_PAUSE", 2 * PATIENCE)
    found = Watch(articles, {}, interval=0.05)
    assert settle(found, idle=PATIENCE) == "articles"
    change(articles_db, INSERT)
    assert settle(found) == "articles"


def test_a_sync_that_failed_is_tried_again(watch, articles_db, monkeypatch):
    monkeypatch.setattr(watching, "RETRY", 0.1)
    change(articles_db, INSERT)
    assert settle(watch, has_failed=True) == "articles"
    assert settle(watch) == "articles"


def test_a_collection_that_another_program_makes_is_followed(
    watch, articles_db, tmp_path
):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.md").write_text("A bicycle needs air.")
    ours("embed", articles_db, "more", "--files", tmp_path / "more", "*.md")
    # The table has no change, but its database has
    assert {settle(watch), settle(watch)} == {"articles", "more"}
    for text in ("new", "newer"):
        save_by_renaming(tmp_path / "more" / "c.md", text)
        assert settle(watch) == "more"


def test_a_query_follows_the_databases_that_it_attaches(watch, articles_db, tmp_path):
    other = tmp_path / "other.db"
    change(other, "create table rows (id integer primary key, body text)")
    sql = "select id, body from other.rows"
    with closing(sqlite3.connect(other)) as conn:
        conn.execute("pragma journal_mode = wal")
        # Not in the main file until the last connection is closed
        conn.execute("insert into rows values (1, 'one')")
        conn.commit()
        ours("embed", articles_db, "query", "--sql", sql, "--attach", "other", other)
        assert {settle(watch), settle(watch)} == {"articles", "query"}
        conn.execute("insert into rows values (2, 'two')")
        conn.commit()
        assert settle(watch) == "query"


def test_folders_can_be_listed_instead(articles, watch, notes):
    found = Watch(articles, {}, only=["notes"], interval=0.05, polls=True)
    assert settle(found) == "notes"
    (notes / "a.md").write_text("new")
    assert settle(found) == "notes"


def test_folders_are_listed_where_the_system_reports_no_more(notes):
    resource = pytest.importorskip("resource", reason="not on Windows")
    changes, limits = FolderChanges(0.05, polls=False), resource.RLIMIT_NOFILE
    first, most = resource.getrlimit(limits)
    descriptor = os.dup(1)
    os.close(descriptor)
    resource.setrlimit(limits, (descriptor, most))
    try:
        assert changes.wait([str(notes)]) == {str(notes)}
    finally:
        resource.setrlimit(limits, (first, most))
    assert changes.wait([str(notes)]) == {str(notes)}
