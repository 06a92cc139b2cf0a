"""What docs/keeping-fresh.md tells its reader to save and to run."""

from __future__ import annotations

import csv
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
import sqlite_utils
import yaml

from datasette_embeddings.cli.commands import embeddings

PAGE = Path(__file__).parent.parent / "docs" / "keeping-fresh.md"
TEXT = PAGE.read_text("utf-8")
COMMAND = re.compile(r"datasette embeddings ([^\n;|]*)")
#: Each block in YAML, as it is written
SETTINGS, WORKFLOW, LIVE = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.M | re.S)
STEPS = {
    step["name"]: step
    for step in yaml.safe_load(WORKFLOW)["jobs"]["build"]["steps"]
    if "name" in step
}
WRITE, CHECK, EMBED = "Write the tables", "Check the settings", "Embed what changed"
ROWS = "id,title,body\n1,Bread,Sourdough rises overnight\n2,Rings,Saturn has rings\n"
# No server listens there
DOWN = """
    models:
      text-embedding-3-small:
        url: http://127.0.0.1:9/v1
        retries: 0
"""


@pytest.fixture
def build(tmp_path):
    """Runs a step of the workflow as GitHub does, and returns what it prints."""
    (tmp_path / "metadata.yml").write_text(SETTINGS)
    (tmp_path / "articles.csv").write_text(ROWS)
    sqlite_utils.Database(tmp_path / "docs.db")["articles"].insert_all(
        csv.DictReader(ROWS.splitlines()), pk="id"
    )
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outputs = str(tmp_path / "outputs")

    def run(step: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", STEPS[step]["run"]],
            cwd=tmp_path,
            env={**os.environ, "PATH": programs, "GITHUB_OUTPUT": outputs},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout

    return run


def test_a_build_embeds_what_changed(build, tmp_path):
    build(WRITE)
    assert "articles: 2 new, 0 changed" in build(EMBED)
    (tmp_path / "articles.csv").write_text(ROWS.replace("has rings", "has 146 moons"))
    build(WRITE)
    said = build(EMBED)
    assert "articles: 0 new, 1 changed, 1 unchanged" in said
    assert "::warning::" not in said
    assert (tmp_path / "outputs").read_text() == "status=0\n" * 2


def test_a_build_warns_and_publishes_nothing_while_the_model_is_down(build, tmp_path):
    model = "        model: text-embedding-3-small\n"
    (tmp_path / "metadata.yml").write_text(SETTINGS.rstrip("\n") + f"\n{model}{DOWN}")
    # The settings are right
    assert "articles: would be: 2 new" in build(CHECK)
    assert "::warning::Not everything is embedded." in build(EMBED)
    assert (tmp_path / "outputs").read_text() == "status=1\n"
    assert STEPS["Publish"]["if"] == "steps.embed.outputs.status != '1'"


def test_a_build_publishes_the_other_rows_when_some_fail(build, tmp_path):
    conn = sqlite3.connect(tmp_path / "docs.db")
    with conn:
        conn.execute("update articles set body = x'ff' where id = 2")
    conn.close()
    said = build(EMBED)
    assert "::warning::The database is published" in said
    assert "rows that failed" in said
    assert (tmp_path / "outputs").read_text() == "status=2\n"


def test_wrong_settings_fail_the_build(build, tmp_path):
    (tmp_path / "metadata.yml").write_text(SETTINGS.replace("body", "text"))
    with pytest.raises(subprocess.CalledProcessError) as error:
        build(CHECK)
    assert "No column 'text'" in error.value.stdout


@pytest.mark.parametrize(
    "line", sorted({line.strip() for line in COMMAND.findall(TEXT)})
)
def test_every_command_of_the_page_exists(line):
    name, *arguments = shlex.split(line.replace("`", " "))
    command = embeddings.get_command(click.Context(embeddings), name)
    assert command is not None
    known = {option for each in command.params for option in each.opts}
    assert known.issuperset(each for each in arguments if each.startswith("--"))


def test_the_settings_of_a_live_collection_are_those_of_the_others():
    assert LIVE.replace("        live: true\n", "") == SETTINGS
