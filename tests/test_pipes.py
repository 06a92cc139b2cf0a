"""What other programs print, piped into ``embed``."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings

# As `symbex --nl`, `apple-notes-to-sqlite --dump` and `paginate-json` print
SYMBEX = [
    {"id": "xyz.py:1", "code": "def foo1():\n    pass"},
    {"id": "xyz.py:4", "code": "def foo2():\n    return 5"},
]
NOTES = [
    {
        "id": "x-coredata://D2D50498-BBD1-4097-B122-D15ABD32BDEC/ICNote/p15276",
        "created": "2023-03-08T16:36:41",
        "updated": "2023-03-08T16:36:41",
        "folder": "x-coredata://D2D50498-BBD1-4097-B122-D15ABD32BDEC/ICFolder/p6113",
        "title": "Bread",
        "body": "<div><h1>Bread</h1></div>\n<div>Flour and water</div>\n",
    }
]
ISSUES = [
    {"number": 1, "title": "A bug", "labels": [{"name": "bug"}], "body": None},
    {"number": 2, "title": "An idea", "labels": [], "body": "Make it fast"},
]


def as_lines(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def as_list(rows):
    return json.dumps(rows, indent=2)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (as_lines(SYMBEX), [], [(row["id"], row["code"]) for row in SYMBEX]),
        (
            as_lines(NOTES),
            ["--column", "title", "--column", "body", "--strip-html"],
            [(NOTES[0]["id"], "Bread Bread\n\nFlour and water")],
        ),
        (
            as_list(ISSUES),
            ["--id", "number", "--column", "title", "--column", "body"],
            [("1", "A bug "), ("2", "An idea Make it fast")],
        ),
    ],
    ids=["symbex", "apple-notes", "paginate-json"],
)
def test_what_a_program_prints_is_embedded(tmp_path, text, options, expected):
    db = tmp_path / "piped.db"
    arguments = ["embed", str(db), "piped", "-", *options, "--silent"]
    result = CliRunner().invoke(embeddings, arguments, input=text)
    assert result.exit_code == 0, result.output
    with closing(sqlite3.connect(db)) as conn:
        rows = conn.execute("select id, content from embeddings order by id")
        assert rows.fetchall() == expected
