"""`datasette embeddings ask`: an answer with citations, from passages.

The chat model of these tests stands in for a real one, which costs money: a plugin of
the real llm, which answers what it was given to answer.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import llm
import pytest
from click.testing import CliRunner
from llm.plugins import pm

from datasette_embeddings.cli import context
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.context.prompts import DEFAULT_PROMPT
from datasette_embeddings.models import chat as chat_models
from datasette_embeddings.store.collection_writes import rename_collection

QUESTION = "How do I bake bread?"


class Chat(llm.Model):
    """It notes what it was asked, and answers what it was given to answer."""

    model_id = "chat-of-the-test"
    can_stream = True

    def __init__(self):
        self.asked = []
        self.parts = ["Flour and ", "water [1", "]. Stars [", "2]."]

    def execute(self, prompt, stream, response, conversation):
        self.asked.append((prompt.system, prompt.prompt))
        for part in self.parts:
            if isinstance(part, BaseException):
                raise part
            yield part


class Plugin:
    def __init__(self):
        self.chat = Chat()

    @llm.hookimpl
    def register_models(self, register):
        register(self.chat, aliases=("chatty",))


@pytest.fixture
def chat(monkeypatch, tmp_path):
    """The chat model of a plugin of llm, where the owner has set nothing."""
    (tmp_path / "llm").mkdir()
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    plugin = Plugin()
    pm.register(plugin, "chat-of-the-test")
    yield plugin.chat
    pm.unregister(name="chat-of-the-test")


def execute(path, sql):
    conn = sqlite3.connect(path)
    conn.execute(sql)
    conn.commit()
    conn.close()


def run(database, *options, name="articles", question=QUESTION, code=0):
    arguments = ["ask", database, name, question, *options]
    result = CliRunner().invoke(embeddings, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


def test_an_answer_has_its_sources_below(articles_db, chat):
    result = run(articles_db, "--llm", "chatty")
    answer, sources, others = result.stdout.split("\n\n")
    assert answer == "Flour and water [1]. Stars [2]."
    heading, first, second = sources.splitlines()
    assert (heading, first) == ("Sources:", "[1] Sourdough  (articles 1)")
    assert second.startswith("[2] ")
    assert others.startswith("Not cited: [3] ")
    assert "[6] " in others
    assert "chat-of-the-test reads 6 passages" in result.stderr


def test_the_model_reads_the_instruction_the_sources_and_the_question(
    articles_db, chat
):
    run(articles_db, "--llm", "chatty")
    ((system, prompt),) = chat.asked
    assert system == DEFAULT_PROMPT
    assert prompt.startswith("<sources>\n[1] Sourdough\n")
    assert "wild yeast starter" in prompt
    assert prompt.endswith(f"</sources>\n\nQuestion: {QUESTION}")


def test_the_prompt_and_the_number_of_tokens_are_options(articles_db, chat, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Speak like a pirate", "utf-8")
    run(articles_db, "--llm", "chatty", "--prompt", f"@{file}", "--tokens", 60)
    run(articles_db, "--llm", "chatty", "--prompt", "Be short")
    (first, short), (second, long) = chat.asked
    assert (first, second) == ("Speak like a pirate", "Be short")
    assert len(short) < len(long)


def test_a_number_that_no_source_has_is_marked(articles_db, chat):
    chat.parts = [*"a [1, 9] b [7] c [1-3] array[0] [1](x) `b[8]`"]
    result = run(articles_db, "--llm", "chatty")
    assert result.stdout.startswith(
        "a [1, 9 \N{EM DASH} no such source: 9] b [7 \N{EM DASH} no such source] "
        "c [1-3] array[0] [1](x) `b[8]`\n\nSources:\n[1]"
    )
    assert "The answer cites 7, 9: there is no such source" in result.stderr


def test_an_answer_that_cites_nothing_says_so(articles_db, chat):
    chat.parts = ["I do not know."]
    stdout = run(articles_db, "--llm", "chatty").stdout
    assert "Sources:" not in stdout
    assert "The answer cites none of its sources: [1] Sourdough" in stdout


def test_control_characters_do_not_steer_a_terminal(articles_db, chat):
    chat.parts = ["a\x1b[2J\tb\nc", "\r\x00"]
    assert run(articles_db, "--llm", "chatty").stdout.startswith("a [2J\tb\nc  \n")


def test_json_has_the_answer_as_it_is_and_the_passages(articles_db, chat):
    chat.parts = ["Flour [1], ", "stars [9]"]
    body = json.loads(run(articles_db, "--llm", "chatty", "--json").stdout)
    assert (body["question"], body["model"]) == (QUESTION, "chat-of-the-test")
    assert body["answer"] == "Flour [1], stars [9]"
    assert (body["cited"], body["unknown"]) == ([1], [9])
    assert body["context"]["passages"][0]["title"] == "Sourdough"


def test_the_question_can_come_from_standard_input(articles_db, chat):
    arguments = ["ask", str(articles_db), "articles", "-", "--llm", "chatty"]
    CliRunner().invoke(embeddings, arguments, input=f"{QUESTION}\n")
    assert chat.asked[0][1].endswith(f"\n\nQuestion: {QUESTION}")


def test_several_collections_are_read(articles_db, chat, tmp_path, built_articles):
    other = tmp_path / "other.db"
    other.write_bytes(built_articles)
    conn = sqlite3.connect(other)
    rename_collection(conn, "articles", "notes")
    conn.close()
    # Each has texts of its own
    execute(other, "delete from articles where id = 1")
    execute(articles_db, "delete from articles where id > 1")
    chat.parts = ["[1] [2]"]
    stdout = run(
        articles_db, "--llm", "chatty", "--also", other, "notes", "--tokens", 500
    ).stdout
    assert f"[1] Sourdough  ({articles_db} articles 1)" in stdout
    assert f"({other} notes " in stdout
    # No collection twice
    result = run(articles_db, "--llm", "chatty", "--also", articles_db, "articles")
    assert "reads 1 passage\n" in result.stderr


def test_no_model_is_asked_unless_the_owner_named_one(articles_db, chat, tmp_path):
    assert "such as --llm" in run(articles_db, code=1).stderr
    (tmp_path / "llm" / "default_model.txt").write_text("chatty")
    assert "water [1]" in run(articles_db).stdout


def test_no_model_is_asked_where_no_passage_was_found(articles_db, chat):
    execute(articles_db, "delete from articles")
    result = run(articles_db, "--llm", "chatty", code=1)
    assert "No passage was found" in result.stderr
    assert (result.stdout, chat.asked) == ("", [])
    result = run(articles_db, "--llm", "chatty", "--json", code=1)
    assert json.loads(result.stdout)["answer"] is None
    assert chat.asked == []


def test_where_nothing_is_close_it_is_said(articles_db, chat, monkeypatch):
    # Of so few documents it is not known
    monkeypatch.setattr(context, "best_chunks", far(context.best_chunks))
    result = run(articles_db, "--llm", "chatty")
    assert "Nothing here is close to that question" in result.stderr
    assert "Note: nothing that was found is close" in chat.asked[0][1]


def far(best_chunks):
    def found(*arguments, **options):
        return replace(best_chunks(*arguments, **options), close=False)

    return found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm", "no-such-chat"], "'no-such-chat' is not available"),
        (["--llm", "chatty", "--prompt", "@nowhere.txt"], "nowhere.txt cannot be read"),
        (["--llm", "chatty", "--prompt", " "], "Expected a prompt, found an empty one"),
        (["--llm", "chatty", *(["--also", "x.db", "x"] * 5)], "at most 4 times, found"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(articles_db, chat, options, message):
    assert message in run(articles_db, *options, code=1).stderr
    assert chat.asked == []


@pytest.mark.parametrize(
    ("name", "question", "message"),
    [
        ("nothing", "x", "No collection 'nothing'"),
        ("articles", " ", "found an empty one"),
    ],
)
def test_what_cannot_be_asked(articles_db, chat, name, question, message):
    options = {"name": name, "question": question}
    assert message in run(articles_db, "--llm", "chatty", **options, code=1).stderr
    assert chat.asked == []


def test_without_llm_an_error_says_what_to_install(articles_db, monkeypatch):
    monkeypatch.setattr(chat_models, "find_spec", lambda _name: None)
    error = run(articles_db, "--llm", "chatty", code=1).stderr
    assert "'llm', which an answer by a chat model needs, is not installed" in error
    assert "Install it with: " in error


def test_a_model_that_fails_in_the_middle_leaves_what_it_wrote(articles_db, chat):
    chat.parts = ["Flour [1", "] and [", ValueError("over quota")]
    result = run(articles_db, "--llm", "chatty", code=1)
    assert result.stdout.startswith("Flour [1] and [\n\nSources:\n[1] Sourdough")
    assert (
        "Error: The chat model 'chat-of-the-test' fails: over quota. The answer above "
        "is not complete\n"
    ) in result.stderr
    result = run(articles_db, "--llm", "chatty", "--json", code=1)
    assert (result.stdout, "over quota" in result.stderr) == ("", True)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_model_that_says_nothing_has_failed(articles_db, chat, options):
    chat.parts = [ValueError("over quota")]
    result = run(articles_db, "--llm", "chatty", *options, code=1)
    assert (result.stdout, "not complete" in result.stderr) == ("", False)
    chat.parts = []
    result = run(articles_db, "--llm", "chatty", *options, code=1)
    assert "answered nothing" in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_a_model_that_does_not_stop_is_stopped(articles_db, chat, options):
    chat.parts = ("flour " * 1_000 for _ in range(10**9))
    result = run(articles_db, "--llm", "chatty", *options, code=1)
    assert "wrote more than 200,000 characters" in result.stderr


# The command as a process, with a chat model that never ends its answer
PROCESS = """
import sys, threading
import llm
from llm.plugins import pm
from datasette_embeddings.cli.commands import embeddings

class Slow(llm.Model):
    model_id = "slow-of-the-test"
    can_stream = True
    def execute(self, prompt, stream, response, conversation):
        yield "Flour [1] and"
        threading.Event().wait()

class Plugin:
    @llm.hookimpl
    def register_models(self, register):
        register(Slow())

pm.register(Plugin(), "slow-of-the-test")
embeddings(["ask", *sys.argv[1:], "--llm", "slow-of-the-test"])
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_answer_says_that_it_is_not_complete(
    articles_db, tmp_path, monkeypatch, sent
):
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    command = [sys.executable, "-c", PROCESS, str(articles_db), "articles", QUESTION]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        # Each part is printed when it comes
        assert process.stdout.read(5) == b"Flour"
        process.send_signal(sent)
        stdout, stderr = (each.decode() for each in process.communicate())
    assert process.returncode == 1
    assert stdout.startswith(" [1] and\n\nSources:\n[1] Sourdough")
    assert stderr.endswith("Error: Interrupted. The answer above is not complete\n")


def test_half_a_character_does_not_lose_an_answer(articles_db, chat):
    chat.parts = ["Flour \ud800 and water [1]."]
    result = run(articles_db, "--llm", "chatty", "--json")
    assert json.loads(result.stdout)["answer"] == "Flour ? and water [1]."
