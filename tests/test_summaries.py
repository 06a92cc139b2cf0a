"""Titles of clusters by a chat model of llm.

The chat model of these tests stands in for a real one: a plugin of the real llm, which
answers without weights.
"""

from __future__ import annotations

import json

import llm
import pytest
from llm.plugins import pm

from datasette_embeddings.clusters import summaries
from datasette_embeddings.clusters.summaries import (
    DEFAULT_PROMPT,
    clusters_as_json,
    summarize,
    title,
)
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
    UnknownModelError,
)
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.models import chat as chat_models
from datasette_embeddings.models.chat import ChatModel
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import current

TEXTS = {"cat": "Cats purr", "lion": "Lions roar", "tax": "Pay your tax"}


class Chat(llm.Model):
    """It notes what it was asked, and answers what it was given to answer."""

    model_id = "chat-of-the-test"
    can_stream = True

    def __init__(self):
        self.asked = []
        self.answer = "Large and small cats"
        self.parts = 0

    def execute(self, prompt, stream, response, conversation):
        self.asked.append((prompt.system, prompt.prompt))
        if "poison" in prompt.prompt:
            raise ValueError("I cannot read that")
        parts = [self.answer] if isinstance(self.answer, str) else self.answer
        for part in parts:
            self.parts += 1
            yield part


class LockedChat(llm.KeyModel):
    model_id = "locked-chat-of-the-test"
    needs_key = "locked"
    key_env_var = "LOCKED_KEY"

    def execute(self, prompt, stream, response, conversation, key):
        if key == "wrong-key-1234":
            raise ValueError(f"{key} is not valid")
        yield f"opened with {key}"


class Plugin:
    def __init__(self):
        self.chat = Chat()

    @llm.hookimpl
    def register_models(self, register):
        register(self.chat, aliases=("chatty",))
        register(LockedChat())


@pytest.fixture
def chat(monkeypatch, tmp_path):
    """The chat model of a plugin of llm, where the owner has set nothing."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    monkeypatch.delenv("LOCKED_KEY", raising=False)
    plugin = Plugin()
    pm.register(plugin, "chat-of-the-test")
    yield plugin.chat
    pm.unregister(name="chat-of-the-test")


def notes(conn, model, texts=TEXTS, **options):
    found = create_collection(conn, "notes", model.settings, None)
    documents = [
        each if isinstance(each, Document) else Document(each, texts[each])
        for each in texts
    ]
    embed_items(found, model, documents, **options)
    return current(found)


MEMBERS = {1: ["cat", "lion"], 2: ["tax"]}


def test_each_cluster_has_the_title_that_the_model_gives(conn, model, chat):
    done = []
    found = notes(conn, model)
    titles = summarize(found, MEMBERS, model=ChatModel("chatty"), progress=done.append)
    assert titles == {1: "Large and small cats", 2: "Large and small cats"}
    assert chat.asked == [
        (DEFAULT_PROMPT, "Cats purr\nLions roar"),
        (DEFAULT_PROMPT, "Pay your tax"),
    ]
    assert done == [1, 1]


def test_the_prompt_and_the_characters_of_a_document_are_options(conn, model, chat):
    found = notes(conn, model)
    options = {"prompt": "Speak like a pirate", "truncate": 4}
    summarize(found, {1: ["cat", "lion"]}, model=ChatModel("chatty"), **options)
    assert chat.asked == [("Speak like a pirate", "Cats\nLion")]


def test_a_prompt_has_the_most_central_documents_and_an_end(
    conn, model, chat, monkeypatch
):
    texts = {str(number): f"text {number} " + "x" * 50 for number in range(9)}
    found = notes(conn, model, texts)
    monkeypatch.setattr(summaries, "MOST_DOCUMENTS", 2)
    summarize(found, {1: ["7", "3", "5"]}, model=ChatModel("chatty"), truncate=6)
    monkeypatch.setattr(summaries, "MOST_DOCUMENTS", 9)
    monkeypatch.setattr(summaries, "MOST_OF_PROMPT", 100)
    summarize(found, {1: sorted(texts)}, model=ChatModel("chatty"), truncate=0)
    first, second = (prompt for _system, prompt in chat.asked)
    assert first == "text 7\ntext 3"
    assert len(second) == 100


def test_a_document_is_one_line_with_its_title(conn, model, chat):
    document = Document("a", "Purring\n\nis a sound", {"title": "Cats"}, title="Cats")
    found = notes(conn, model, [document])
    summarize(found, {1: ["a"]}, model=ChatModel("chatty"))
    assert chat.asked[0][1] == "Cats: Purring is a sound"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("\n\n  **Cats, large and small**\n\nBecause …", "Cats, large and small"),
        ('"Cats"', "Cats"),
        ("# Cats\n", "Cats"),
        ("Cats\x1b[2J\x00 purr", "Cats[2J purr"),
        ("cats " * 100, ("cats " * 16).strip()),
        ("c" * 500, "c" * 80),
        (["Ca", "ts", "\nmore"], "Cats"),
    ],
    ids=["bold", "quoted", "heading", "controls", "words", "a long word", "streamed"],
)
def test_a_title_is_one_line_and_not_too_long(conn, model, chat, answer, expected):
    chat.answer = answer
    found = notes(conn, model)
    assert summarize(found, MEMBERS, model=ChatModel("chatty"))[1] == expected


def test_a_model_that_does_not_stop_is_stopped(conn, model, chat):
    chat.answer = ("cats " for _ in range(1_000_000))
    assert title(ChatModel("chatty"), ["text"]).startswith("cats cats")
    assert chat.parts < 1_000


def test_a_cluster_that_fails_fails_alone(conn, model, chat):
    found = notes(conn, model, {**TEXTS, "bad": "poison"})
    said, done = [], []
    titles = summarize(
        found,
        {1: ["bad"], 2: ["tax"]},
        model=ChatModel("chatty"),
        warn=said.append,
        progress=done.append,
    )
    assert titles == {2: "Large and small cats"}
    assert said == [
        "Cluster 1 keeps its words. The chat model 'chat-of-the-test' fails: I cannot "
        "read that"
    ]
    assert done == [1, 1]


def test_an_empty_answer_is_a_failure(conn, model, chat):
    chat.answer, said = ' "" \n', []
    found = notes(conn, model)
    titles = summarize(found, {2: ["tax"]}, model=ChatModel("chatty"), warn=said.append)
    assert titles == {}
    assert "gave no title" in said[0]


def test_a_model_that_always_fails_is_not_asked_about_every_cluster(conn, model, chat):
    found, said = notes(conn, model, {"bad": "poison"}), []
    members = {number: ["bad"] for number in range(1, 8)}
    assert summarize(found, members, model=ChatModel("chatty"), warn=said.append) == {}
    assert len(chat.asked) == 3
    assert said[-1] == "The chat model is not asked about the rest of the clusters"


def test_clusters_without_texts_cost_no_question(conn, model, chat):
    found = notes(conn, model, store=False)
    assert summarize(found, MEMBERS, model=ChatModel("chatty")) == {}
    assert chat.asked == []


def test_the_model_must_be_named_unless_the_owner_has_set_a_default(chat, tmp_path):
    with pytest.raises(InvalidInputError, match="such as --llm"):
        ChatModel(None)
    (tmp_path / "default_model.txt").write_text("chatty")
    assert ChatModel(None).model_id == "chat-of-the-test"


def test_an_unknown_model_is_an_error(chat):
    with pytest.raises(UnknownModelError, match="no-such-chat"):
        ChatModel("no-such-chat")


def test_without_llm_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(chat_models, "find_spec", lambda _name: None)
    with pytest.raises(MissingLibraryError, match="llm"):
        ChatModel("chatty")


def test_a_key_is_given_or_is_that_of_llm(chat, tmp_path, monkeypatch):
    name = LockedChat.model_id
    with pytest.raises(ModelError, match="key"):
        ChatModel(name)
    assert title(ChatModel(name, "a-key"), ["text"]) == "opened with a-key"
    monkeypatch.setenv("LOCKED_KEY", "of-the-environment")
    assert title(ChatModel(name), ["text"]) == "opened with of-the-environment"
    (tmp_path / "keys.json").write_text(json.dumps({"locked": "stored", "mine": "own"}))
    assert title(ChatModel(name), ["text"]) == "opened with stored"
    assert title(ChatModel(name, "mine"), ["text"]) == "opened with own"


def test_a_message_never_shows_the_key(chat):
    with pytest.raises(ModelError) as raised:
        title(ChatModel(LockedChat.model_id, "wrong-key-1234"), ["text"])
    assert "*** is not valid" in str(raised.value)


def test_clusters_are_written_as_llm_cluster_does(conn, model):
    found = notes(conn, model)
    cat, tax = {"id": "cat", "content": "Cats"}, {"id": "tax", "content": "Pay "}
    members = {1: ["cat"], 2: ["tax"]}
    assert list(clusters_as_json(found, members, truncate=4)) == [
        {"id": "1", "items": [cat]},
        {"id": "2", "items": [tax]},
    ]
    rows = clusters_as_json(found, members, truncate=0, summaries={1: "Cats!"})
    assert list(rows) == [
        {"id": "1", "items": [{**cat, "content": "Cats purr"}], "summary": "Cats!"},
        {"id": "2", "items": [{**tax, "content": "Pay your tax"}], "summary": None},
    ]


def test_content_that_is_not_known_is_null(conn, model):
    found = notes(conn, model, store=False)
    (row,) = clusters_as_json(found, {1: ["cat"]})
    assert row["items"] == [{"id": "cat", "content": None}]


def test_a_document_in_chunks_has_its_beginning(conn, model):
    texts = {"long": "Cats purr. " * 60}
    found = notes(conn, model, texts, chunking=Chunking("fixed", 20))
    (row,) = clusters_as_json(found, {1: ["long"]}, truncate=9)
    assert row["items"] == [{"id": "long", "content": "Cats purr"}]
