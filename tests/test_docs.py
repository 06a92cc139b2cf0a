"""What the documents say is what happens, and nothing is missing in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datasette_embeddings.cli import embeddings
from datasette_embeddings.sql_functions import FUNCTIONS
from tests.test_cli import commands

REPOSITORY = Path(__file__).parent.parent
DOCS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
TEXT = "\n".join(path.read_text("utf-8") for path in DOCS)


def test_every_output_in_the_sql_docs_is_what_the_example_gives():
    result = subprocess.run(
        [sys.executable, "-m", "cogapp", "-P", "--check", "docs/sql-functions.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout


@pytest.mark.parametrize(
    "name",
    sorted({name for each in FUNCTIONS for name in (each.name, *each.aliases)}),
)
def test_every_function_is_documented(name):
    assert f"`{name}" in TEXT


@pytest.mark.parametrize(
    "path", [path for path, _ in commands(embeddings)], ids=" ".join
)
def test_every_command_is_named(path):
    assert path[-1] in TEXT


def test_every_link_within_the_project_leads_somewhere():
    for document in DOCS:
        for target in document.read_text("utf-8").split("](")[1:]:
            path = target.partition(")")[0]
            if not path.startswith("http"):
                assert (document.parent / path).exists(), path
