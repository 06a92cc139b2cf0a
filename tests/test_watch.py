"""`watch`: collections that follow their files and tables, in real processes."""

from __future__ import annotations

import os
import queue
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
import yaml

from datasette_embeddings.ingest.watching import Watch
from tests.programs import ours

# A busy machine may be slow; nothing here takes longer than it must
PATIENCE = 60
# A minute of watching in a moment
HASTY = """
from datasette_embeddings import databases
from datasette_embeddings.ingest import watching
databases.BUSY_TIMEOUT_S = watching.RETRY = 0.2
from datasette.cli import cli
cli()
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
def running(*arguments, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", "datasette"])]
    command += ["embeddings", "watch", *map(str, arguments), "--interval", "0.1"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TZ": "UTC"}
    ) as process:
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


def test_what_fails_is_told_once_and_tried_again(tmp_path, notes):
    declared = {"later": {"table": "later"}, "notes": {"files": [[str(notes), "*.md"]]}}
    settings, path = tmp_path / "settings.yml", tmp_path / "new.db"
    plugins = {"datasette-embeddings": {"collections": declared}}
    settings.write_text(yaml.safe_dump({"plugins": plugins}))
    with running(path, "--config", settings, code=HASTY) as program:
        assert program.line().startswith("Error: later: No table 'later'")
        assert program.line() == "notes: 2 new, 0 changed, 0 unchanged"
        with closing(sqlite3.connect(path)) as conn:
            conn.execute("begin exclusive")
            save_by_renaming(notes / "a.md", "A telescope shows the moon.")
            assert program.line().startswith(f"Error: {path} is locked")
            conn.rollback()
        assert program.line() == "notes: 0 new, 1 changed, 1 unchanged"
        change(path, "create table later (id integer primary key, body text)")
        assert program.line() == "later: 0 new, 0 changed, 0 unchanged"
        assert program.end(signal.SIGINT) == (None, 0)


@pytest.fixture
def watch(articles, articles_db, notes):
    """A watch over a table and a folder, both of which were synced just now."""
    ours("embed", articles_db, "notes", "--files", notes, "*.md")
    found = Watch(articles, {}, interval=0.05)
    assert {settle(found), settle(found)} == {"articles", "notes"}
    return found


def settle(found):
    name = found.wait()
    found.finish(name, 0, has_failed=False)
    return name


def test_only_commits_of_others_count(watch, articles, articles_db, notes):
    articles.execute("insert into articles values (7, 'Moon', 'far')")
    articles.commit()
    # Its own commit would be found no later
    save_by_renaming(notes / "a.md", "new")
    assert settle(watch) == "notes"
    change(articles_db, "insert into articles values (8, 'Sun', 'near')")
    assert settle(watch) == "articles"


def test_files_that_the_source_does_not_read_do_not_count(watch, articles_db, notes):
    (notes / "a.txt").write_text("new")
    (notes / ".a.md.swp").write_text("new")
    time.sleep(0.3)
    change(articles_db, "insert into articles values (8, 'Sun', 'near')")
    assert settle(watch) == "articles"
