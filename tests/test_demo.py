"""The demo: Python's own standard library, built and searched for real."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from datasette_embeddings.cli.demo import SEARCHES, stdlib_entries

FIRST = ["difflib.get_close_matches", "filecmp.cmp", "mimetypes."]
COMMAND = [sys.executable, "-m", "datasette", "embeddings"]


def test_it_prints_what_it_built_and_how_to_serve_it(demo):
    conn = sqlite3.connect(demo.path)
    count = conn.execute("select count(*) from functions").fetchone()[0]
    conn.close()
    assert count > 300
    assert f"{count:,} functions, classes and methods of Python" in demo.output
    assert f"stdlib: {count:,} new" in demo.output
    assert f"datasette {demo.path}" in demo.output
    assert f"stdlib: 0 new, 0 changed, {count:,} unchanged\n" in demo.again


@pytest.mark.parametrize(("text", "first"), list(zip(SEARCHES, FIRST, strict=True)))
def test_it_finds_by_meaning(demo, text, first):
    answer = demo.output.partition(f"{text}\n")[2].splitlines()[0]
    assert answer.split("  ")[-1].startswith(first)


def test_every_entry_has_a_docstring_and_one_name():
    entries = list(stdlib_entries())
    assert all(entry.doc.strip() and entry.summary for entry in entries)
    paths = [entry.path for entry in entries]
    assert len(set(paths)) == len(paths) > 4_000
    by_path = {entry.path: entry for entry in entries}
    expected = {
        "json.dumps": ("json", "function"),
        "collections.Counter.most_common": ("collections", "method"),
        "pathlib.Path": ("pathlib", "class"),
        "os.path.join": ("os.path", "function"),
        "urllib.parse.quote": ("urllib.parse", "function"),
    }
    found = {path: (by_path[path].module, by_path[path].kind) for path in expected}
    assert found == expected
    assert by_path["json.loads"].signature.startswith("(s, *, ")


def test_a_file_that_is_no_database_is_kept(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    result = subprocess.run(
        [*COMMAND, "demo", str(path)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (
        1,
        f"Error: {path} is not a SQLite database\n",
    )
    assert path.read_text() == "Dear reader, " * 100
