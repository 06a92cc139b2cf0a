"""The table of docs/python.md: llm.Collection and ours do the same, line by line."""

from __future__ import annotations

import re
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import llm
import numpy as np
import pytest
import sqlite_utils
from llm.embeddings import Entry

from datasette_embeddings import Embeddings, Match, cosine, decode, encode
from tests import programs
from tests.hub import MODEL_ID

DOCUMENT = Path(__file__).parent.parent / "docs" / "python.md"
# llm has the weights in fp32, we in int8
TOLERANCE = 0.03


def pairs():
    """Each line of the table: what llm calls it, and what it is called here."""
    table = DOCUMENT.read_text("utf-8").partition("| llm | here |")[2]
    return re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", table, re.MULTILINE)


def plain(value):
    """*value* of either side, to compare; numbers as far as they may differ."""
    if isinstance(value, Entry | Match):
        return value.id, Score(value.score), value.content, value.metadata
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


class Score(float):
    """A number that equals those near it."""

    __hash__ = None

    def __eq__(self, other):
        return abs(self - other) <= TOLERANCE


def rows(path):
    """What a database holds of its items."""
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute(
            """
            select
              name, model, embeddings.id, content, metadata, content_hash, embedding
            from embeddings join collections on collections.id = collection_id
            order by embeddings.id
            """
        ).fetchall()
    return [row[:-1] for row in found], [row[-1] for row in found]


@pytest.fixture
def sides(tmp_path, tmp_path_factory, monkeypatch):
    """The names that the lines of each side use, and the path of its database."""
    home = tmp_path_factory.mktemp("llm")
    programs.write_llm_home(home)
    programs.go_home(monkeypatch, home)
    ours = {"Embeddings": Embeddings, "encode": encode, "decode": decode}
    theirs = {"llm": with_collection(), "sqlite_utils": sqlite_utils}
    both = {"model": MODEL_ID}
    return [
        ({**theirs, **both}, str(tmp_path / "llm.db")),
        ({**ours, **both, "cosine": cosine}, str(tmp_path / "ours.db")),
    ]


def with_collection():
    names = ("Collection", "encode", "decode", "cosine_similarity")
    return SimpleNamespace(**{name: getattr(llm, name) for name in names})


def run(line, names, path):
    """The value of *line*, or None for one that only gives a name to something."""
    line = line.replace('"notes.db"', repr(path))
    with warnings.catch_warnings():
        # As in a program of its own, where warnings are no errors
        warnings.simplefilter("ignore")
        if re.match(r"\w+ = ", line):
            return exec(line, names)
        return eval(line, names)


def test_every_line_of_the_table_gives_and_writes_the_same(sides):
    (theirs, their_path), (ours, our_path) = sides
    lines = pairs()
    assert len(lines) >= 18
    for number, (their_line, our_line) in enumerate(lines):
        expected = run(their_line, theirs, their_path)
        found = run(our_line, ours, our_path)
        if "embed" not in our_line and "delete" not in our_line:
            assert plain(found) == plain(expected), our_line
        if number == 0:
            continue
        (their_rows, their_vectors), (our_rows, our_vectors) = map(
            rows, (their_path, our_path)
        )
        assert our_rows == their_rows, our_line
        for one, other in zip(our_vectors, their_vectors, strict=True):
            assert cosine(one, other) > 1 - TOLERANCE


def test_each_side_reads_what_the_other_wrote(sides):
    """Every line that only reads, on the file of the other side."""
    (theirs, their_path), (ours, our_path) = sides
    for their_line, our_line in pairs()[:6]:
        run(their_line, theirs, their_path)
        run(our_line, ours, our_path)
    exchanged = [(theirs, our_path), (ours, their_path)]
    for number, (names, path) in enumerate(exchanged):
        for line in pairs()[:2]:
            run(line[number], names, path)
    for their_line, our_line in pairs()[6:-1]:
        expected = run(their_line, theirs, our_path)
        assert plain(run(our_line, ours, their_path)) == plain(expected), our_line
