"""`datasette embeddings context`, and its output as the input of llm."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import llm
import pytest
from click.testing import CliRunner
from llm.cli import cli as llm_command
from llm.plugins import pm

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.context.passages import context_json
from tests.models import StandIn

QUESTION = "What do young cats eat?"


class Repeater(llm.Model):
    """A stand-in for a chat model, which costs money: it notes what it reads."""

    model_id = "repeater-of-the-test"

    def __init__(self):
        self.read = []

    def execute(self, prompt, stream, response, conversation):
        self.read.append((prompt.system, prompt.prompt))
        yield "Four times a day [1]"


class Plugin:
    def __init__(self):
        self.model = Repeater()

    @llm.hookimpl
    def register_models(self, register):
        register(self.model)


@pytest.fixture
def chat(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    plugin = Plugin()
    pm.register(plugin, "repeater-of-the-test")
    yield plugin.model
    pm.unregister(name="repeater-of-the-test")


def run(*arguments, **options):
    done = CliRunner().invoke(embeddings, [str(each) for each in arguments], **options)
    return done


def context(*arguments, **options):
    return run("context", *arguments, **options)


def test_the_text_can_be_piped_into_llm(articles_db, chat):
    piped = context(articles_db, "articles", QUESTION)
    assert (piped.exit_code, piped.stderr) == (0, "")
    with Embeddings(articles_db) as db:
        expected = db.collection("articles").context(QUESTION).text
    assert piped.stdout == f"{expected}\n"
    arguments = ["-m", chat.model_id, "-s", QUESTION]
    answered = CliRunner().invoke(llm_command, arguments, input=piped.stdout)
    assert answered.output == "Four times a day [1]\n"
    assert chat.read == [(QUESTION, f"{expected}\n")]


def test_a_process_writes_nothing_else(articles_db):
    command = [sys.executable, "-m", "datasette", "embeddings", "context"]
    command += [str(articles_db), "articles", "-", "--tokens", "50"]
    done = subprocess.run(
        shlex.join(command) + " | head -n 1",
        input=f"{QUESTION}\n",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("[1] Kittens\n", "")


def test_json_is_that_of_every_interface(articles_db):
    printed = context(articles_db, "articles", QUESTION, "--tokens", 60, "--json")
    with Embeddings(articles_db) as db:
        found = db.collection("articles").context(QUESTION, tokens=60)
    assert json.loads(printed.stdout) == json.loads(json.dumps(context_json(found)))


def test_other_collections_may_be_of_other_databases(articles_db, tmp_path):
    other = tmp_path / "pets.db"
    run("embed", other, "pets", "dog", "-c", "Dogs eat twice a day.")
    also = ["--also", other, "pets", "--also", articles_db, "articles"]
    printed = context(articles_db, "articles", QUESTION, *also, "--json")
    passages = json.loads(printed.stdout)["passages"]
    assert (str(other), "pets", "dog") in [
        (each["database"], each["collection"], each["id"]) for each in passages
    ]
    assert len(passages) == 7


def test_a_reranker_of_the_settings_orders_the_passages(articles_db, tmp_path):
    settings = tmp_path / "metadata.yml"
    settings.write_text("plugins: {datasette-embeddings: {rerank: no-such/model}}")
    asked = [articles_db, "articles", QUESTION, "--config", settings]
    assert "no-such/model" in context(*asked).stderr


def test_corrected_words_are_told_beside_the_text(articles_db):
    printed = context(articles_db, "articles", "teleskope")
    assert printed.stderr == "Passages for: telescope\n"
    assert printed.stdout.startswith("[1] Night sky\n")


def test_counting_by_characters_is_told_beside_the_text(tmp_path, monkeypatch):
    class Remote(StandIn):
        model_id = "remote"
        is_remote = True

    path = tmp_path / "remote.db"
    with Embeddings(path) as db:
        db.collection("notes", model=Remote(), create=True).embed("a", "Some text")
    monkeypatch.setattr(
        "datasette_embeddings.cli.context.load_model", lambda *_arguments: Remote()
    )
    printed = context(path, "notes", "question")
    assert printed.stdout == "[1] a\nSome text\n"
    assert printed.stderr.startswith("4 characters were counted as a token")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["articles", " "], 1, "Error: Expected a text to search for, found an empty"),
        (["nowhere", "x"], 1, "Error: No collection 'nowhere'"),
        (["articles", "x", "--tokens", "49"], 2, "49 is not in the range"),
        (["articles", "x" * 100_001], 1, "at most 100,000 characters, found 100,001"),
        (["articles", "x", *["--also", "a.db", "b"] * 5], 1, "--also at most 4 times"),
        (["articles", "x", "--also", "a.db", "b"], 1, "a.db"),
        (["articles"], 2, "Missing argument 'QUESTION'"),
    ],
)
def test_misuse_is_an_error(articles_db, arguments, code, message):
    done = context(articles_db, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr
