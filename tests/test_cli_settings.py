"""The configuration file, as the commands read it."""

from __future__ import annotations

import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.errors import ConfigError

PLUGIN = "plugins: {datasette-embeddings: {models: {far: %s}}}"


@pytest.fixture
def settings(tmp_path):
    """A configuration file with these settings of a model."""

    def write(model):
        path = tmp_path / "metadata.yml"
        path.write_text(PLUGIN.replace("%s", model))
        return path

    return write


# Datasette 0.65 leaves open what $file names
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
def test_env_and_file_are_what_they_name(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-environment")
    (tmp_path / "key").write_text("sk-file\n")
    for name, key in (
        ("$env: THE_KEY", "sk-environment"),
        (f"$file: {tmp_path / 'key'}", "sk-file"),
    ):
        path = settings(f"{{url: 'http://host/v1', api_key: {{{name}}}}}")
        assert config_in(path).models["far"].api_key == key


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("{$env: NO_KEY}", "asks with $env for the variable 'NO_KEY', which is not"),
        ("{$file: /no/key}", "asks with $file for one that cannot be read: [Errno 2]"),
    ],
    ids=["env", "file"],
)
def test_what_is_not_there_is_told(settings, monkeypatch, key, said):
    monkeypatch.delenv("NO_KEY", raising=False)
    path = settings(f"{{url: 'http://host/v1', api_key: {key}}}")
    with pytest.raises(ConfigError) as raised:
        config_in(path)
    assert f"{path} {said}" in str(raised.value)


def test_sync_reads_env_below_a_database_too(articles_db, tmp_path, monkeypatch):
    path = tmp_path / "metadata.yml"
    path.write_text(
        "databases: {articles: {plugins: {datasette-embeddings: {collections: "
        "{mine: {table: articles, model: {$env: THE_MODEL}}}}}}}"
    )
    monkeypatch.delenv("THE_MODEL", raising=False)
    with pytest.raises(ConfigError, match="'THE_MODEL', which is not set"):
        config_in(path, articles_db)
    monkeypatch.setenv("THE_MODEL", "mini-l6")
    assert config_in(path, articles_db).collections["mine"].model == "mini-l6"


@pytest.mark.parametrize(
    "arguments", [("sync",), ("search", "articles", "pets"), ("check", "--fix")]
)
def test_commands_read_the_file_that_they_are_given(settings, articles_db, arguments):
    name, *rest = arguments
    command = [name, str(articles_db), *rest, "--config", str(settings("{url: 3}"))]
    if name == "check":
        remove_one(articles_db)
    result = CliRunner().invoke(embeddings, command)
    assert result.exit_code == 1
    assert "expected an address that begins with http://" in result.output


def test_embed_reads_it_too(settings, articles_db):
    command = ["embed", str(articles_db), "articles", "--table", "articles"]
    path = str(settings("{url: 3}"))
    result = CliRunner().invoke(embeddings, [*command, "--config", path])
    assert result.exit_code == 1
    assert "expected an address that begins with http://" in result.output


def remove_one(database):
    conn = sqlite3.connect(database)
    conn.execute("delete from embeddings where id = '1'")
    conn.commit()
    conn.close()
