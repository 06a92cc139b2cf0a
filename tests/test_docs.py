"""What the documents say is what happens, and nothing is missing in them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cogapp import Cog

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.distribution import version
from datasette_embeddings.sql.functions import FUNCTIONS
from datasette_embeddings.web.http_errors import STATUSES
from datasette_embeddings.web.routes import ROUTES
from datasette_embeddings.web.search_request import NAMES, QUERIES
from tests.test_cli import commands

EMBED_FIELDS = ("model", "input", "encoding_format", "input_type")
REPOSITORY = Path(__file__).parent.parent
DOCS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
CLI = (REPOSITORY / "docs" / "cli.md").read_text("utf-8")
SEARCHING = (REPOSITORY / "docs" / "searching.md").read_text("utf-8")
EXPLORING = (REPOSITORY / "docs" / "exploring.md").read_text("utf-8")
TEXT = "\n".join(path.read_text("utf-8") for path in DOCS)


@pytest.mark.parametrize("name", ["sql-functions", "cli"])
def test_every_output_in_the_docs_is_what_the_example_gives(monkeypatch, name):
    """The results of SQL, and the help of every command."""
    monkeypatch.chdir(REPOSITORY)
    said = io.StringIO()
    cog = Cog()
    cog.set_output(stdout=said, stderr=said)
    status = cog.main(["cog", "-P", "--check", f"docs/{name}.md"])
    assert status == 0, f"{said.getvalue()} Run: make docs"


@pytest.mark.parametrize(
    "name", sorted({name for each in FUNCTIONS for name in (each.name, *each.aliases)})
)
def test_every_function_is_documented(name):
    assert f"`{name}" in TEXT


@pytest.mark.parametrize(
    "path", [path for path, _ in commands(embeddings)], ids=" ".join
)
def test_the_help_of_every_command_is_in_the_docs(path):
    assert f"\n### {' '.join(path)}\n" in CLI


@pytest.mark.parametrize("name", [*NAMES.values(), *QUERIES, *EMBED_FIELDS])
def test_every_word_of_the_api_is_documented(name):
    assert f"`{name}`" in SEARCHING


@pytest.mark.parametrize("name", ["_size", "_next", "_min_score", "_prefix"])
def test_every_name_of_a_query_string_is_documented(name):
    assert f"| `{name}` |" in SEARCHING


@pytest.mark.parametrize("status", sorted({status for _kind, status in STATUSES}))
def test_every_status_is_documented(status):
    assert str(status) in SEARCHING


@pytest.mark.parametrize("route", [route for route, _view in ROUTES])
def test_every_route_is_documented(route):
    path = route.replace("\\", "").strip("^$")
    path = path.replace("(?P<database>[^/.]+)", "demo")
    path = path.replace("(?P<collection>[^/.]+)", "stdlib")
    path = path.replace("(?P<item>[^/.]*)", "{id}")
    path = path.replace("(?P<tile>[^/.]*)", "{tile}")
    assert path in SEARCHING + EXPLORING


def test_every_link_within_the_project_leads_somewhere():
    for document in DOCS:
        for target in document.read_text("utf-8").split("](")[1:]:
            path = target.partition(")")[0].partition("#")[0]
            if not path.startswith("http"):
                assert (document.parent / path).exists(), path


def test_the_changelog_begins_with_this_version_and_leaves_the_released_one_alone():
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    _title, newest, *released = text.split("\n## ")
    assert version() in newest.splitlines()[0]
    # A merge can put a new line below the wrong heading
    [released] = released
    assert released.startswith("0.2a0\n")
    assert (released.count("\n- "), released.count("\n### ")) == (35, 1)
